//! Formats as data: which value of a JSON object fills which column of the event schema.
//!
//! A [`LogFormat`] says how a format is recognised, what its events are, and how they are read: by a table, as lines too, or
//! by a program ([`Read`]). A table is compiled once to a tree of keys ([`Compiled`]); an object is then walked in one pass, in which the places of the wanted values are noted. Only behind the end of the object are
//! they applied, in the order of the table, so that neither the order of keys nor duplicates matter.
//!
//! Invariant: the first field of a column that says something stays; a value of an unexpected type costs
//! only itself.

mod apply;
mod content;
pub mod custom;
mod event;
mod keys;
mod path;
mod spelling;
#[cfg(test)]
mod tests;
mod tree;

use crate::format::{Decoded, Fault, Row, Stop};
use crate::json::Scanner;

pub(crate) use self::apply::Outer;
pub(crate) use self::event::{Event, int_of};
pub(crate) use self::keys::Keys;
pub(crate) use self::path::{Path, Step};
pub use self::spelling::Spelling;
pub(crate) use self::tree::{Compiled, Rivals, Value};

/// What becomes of a value.
#[derive(Debug, Clone, Copy)]
pub enum How {
    /// A string, a truth value, or a number: in digits if it is an integer, else as it is written.
    Text,
    /// The same in lower case.
    Lower,
    /// An IP address in canonical form.
    Address,
    /// Anything but an IP address, of the same text.
    NoAddress,
    /// The address of `192.0.2.1:443` or `[2001:db8::1]:443`, or an address alone.
    HostOf,
    /// The port of such a text.
    PortOf,
    /// A whole number, however it is written, also in quotes.
    Int,
    /// A number, also in quotes.
    Float,
    /// True or false, also in quotes.
    Bool,
    /// Text with a zone, or seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by
    /// their size: see [`time`](crate::time).
    Time,
    /// The same of a vendor who means UTC where the text names no zone, and may write months first.
    Utc,
    /// An object, or an array that is not empty, as JSON text; a string as it is.
    Json,
    /// Words to numbers; case does not matter, nor how a number among them is written.
    Words(&'static [(&'static str, i64)]),
    /// Words to words, likewise.
    Names(&'static [(&'static str, &'static str)]),
    /// A number to that of the last band that begins at or below it.
    Bands(&'static [(f64, i64)]),
}

/// Severity words that most vendors use, to OCSF `severity_id`.
pub const SEVERITY: How = How::Words(&[
    ("informational", 1),
    ("information", 1),
    ("info", 1),
    ("low", 2),
    ("minor", 2),
    ("medium", 3),
    ("moderate", 3),
    ("warning", 3),
    ("high", 4),
    ("important", 4),
    ("major", 4),
    ("critical", 5),
    ("fatal", 6),
]);

/// Words for how it ended.
pub const STATUS: How = How::Names(&[
    ("success", "success"),
    ("succeeded", "success"),
    ("ok", "success"),
    ("allow", "success"),
    ("failure", "failure"),
    ("failed", "failure"),
    ("fail", "failure"),
    ("error", "failure"),
    ("denied", "failure"),
    ("deny", "failure"),
]);

/// Path, column and what becomes of the value. The path is in the form that [`Path::parse`] reads.
pub type Field<'a> = (&'a str, usize, How);

/// A path that must lead to something, to one of these texts if there are any.
pub type Need<'a> = (&'a str, &'a [&'a str]);

/// Looks at the event as a whole, before the fields are applied: what it sets stays. It can also say that
/// the object is no such event, or one to be left out.
pub(crate) type Finish = fn(&mut Event) -> Result<Decoded, Stop>;

/// How the events of a format are read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    /// Objects, by the table.
    Table,
    /// Objects by the table, and lines that are no JSON.
    Lines(Lines),
    /// Objects by code of their own, where speed demands it. The table then says only which top-level keys that code
    /// knows (`reads`).
    Program(Program),
}

/// How the lines of a format are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    /// Notes where the values of the line stand, whose columns a header may have told. False if it is no line of the format.
    pub split: fn(&Scanner, Option<&[Column]>, &Compiled, &mut Found) -> bool,
    /// The columns that the line names, if it is a header.
    pub header: fn(&[u8], &Compiled) -> Option<Vec<Column>>,
    /// Why a line cannot be used that was to be one of the format.
    pub refusal: Refusal,
}

/// The values that a table found in an event, by their numbers.
pub(crate) type Found = Vec<Option<Value>>;

type Refusal = fn(&[u8], Option<&[Column]>) -> Option<Box<Fault>>;

/// The number of the value that stands in a column of a line; none for a column that is not used.
pub(crate) type Column = Option<u16>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// Reads the object at the scanner.
    pub decode: fn(&mut Scanner, &mut Row) -> Result<Decoded, Stop>,
    /// What makes an object this format, for messages.
    pub required: &'static str,
}

/// One format, or the objects inside its events.
#[derive(Debug, Clone, Copy)]
pub struct LogFormat<'a> {
    /// What one event is called.
    pub name: &'a str,
    /// Name in the configuration; formats of one vendor share it.
    pub source: &'static str,
    pub family: &'a str,
    pub product: &'a str,
    /// OCSF class, unless `finish` sets another one.
    pub class: i64,
    /// What makes an object this format: all needs of any one line.
    pub needs: &'a [&'a [Need<'a>]],
    pub spelling: Spelling,
    /// Texts that mean nothing, besides the empty one.
    pub nothing: &'static [&'static str],
    /// Where the parts of the event's id stand, joined with `/`; without the first there is none.
    pub uid: &'a [&'a str],
    /// Whether the id decides only together with a hash of what the event says: somebody whom the event is about
    /// may have chosen it.
    pub uid_with_content: bool,
    /// Parts of the finding's id, in the same way; those of the object around the event come first.
    pub finding: &'a [&'a str],
    pub fields: &'a [Field<'a>],
    /// Columns that are the same for all events.
    pub fixed: &'a [(usize, &'a str)],
    /// What `finish` or a program reads, besides.
    pub reads: &'a [&'a str],
    pub(crate) read: Read,
    pub(crate) finish: Option<Finish>,
    /// If its events are texts in an array: what stands between their commas.
    pub words: &'static [&'static str],
    /// How many words there may be.
    pub counts: &'static [usize],
    /// Arrays whose elements are the events; the fields of the object around them apply to each.
    pub inside: &'a [(&'a str, &'static LogFormat<'static>)],
}

impl LogFormat<'_> {
    /// Nothing yet.
    pub const NEW: LogFormat<'static> = LogFormat {
        name: "",
        source: "",
        family: "cloud_audit",
        product: "",
        class: 0,
        needs: &[],
        spelling: Spelling::Exact,
        nothing: &[],
        uid: &[],
        uid_with_content: false,
        finding: &[],
        fields: &[],
        fixed: &[],
        reads: &[],
        read: Read::Table,
        finish: None,
        words: &[],
        counts: &[],
        inside: &[],
    };
}
