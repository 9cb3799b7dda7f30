//! Reads the CSV files that people and feeds write: indicator lists and the asset table.
//!
//! Columns are found by the names in the header, unknown ones are ignored, lines that start with `#` are
//! comments. A line that cannot be used is a warning with file and line number, never a failure.

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::problems::Account;

/// A field and the names that its column may have, the best first.
pub type Field = (&'static str, &'static [&'static str]);

/// Where each field stands in a file.
#[derive(Debug, Default)]
pub struct Header(Vec<(&'static str, usize)>);

impl Header {
    /// Finds fields in the names of columns. `named` names the columns of some fields outright.
    pub fn of<'n>(
        names: &StringRecord,
        fields: &[Field],
        named: impl Fn(&str) -> Option<&'n str>,
    ) -> Self {
        let position = |name: &str| {
            let same = |n: &str| n.trim().eq_ignore_ascii_case(name);
            names.iter().position(same)
        };
        let find = |(field, usual): &Field| {
            let at = match named(field) {
                Some(name) => position(name),
                None => usual.iter().find_map(|name| position(name)),
            };
            Some((*field, at?))
        };
        Self(fields.iter().filter_map(find).collect())
    }

    pub fn has(&self, field: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == field)
    }
}

/// One line of a CSV file, by field.
pub struct Line<'a> {
    header: &'a Header,
    record: &'a StringRecord,
}

impl<'a> Line<'a> {
    /// The trimmed value; none when it is empty or the file has no such column.
    pub fn get(&self, field: &str) -> Option<&'a str> {
        let (_, position) = self.header.0.iter().find(|(name, _)| *name == field)?;
        self.record.get(*position).filter(|value| !value.is_empty())
    }
}

/// The delimiter that a header uses.
pub fn delimiter(header: &str) -> u8 {
    let count = |delimiter: &u8| header.bytes().filter(|b| b == delimiter).count();
    let most = [b',', b';', b'\t', b'|']
        .into_iter()
        .rev()
        .max_by_key(count);
    most.unwrap_or(b',')
}

/// One line as a record of its own.
pub fn split(line: &str, delimiter: u8) -> StringRecord {
    let mut reader = reader(line, delimiter);
    let mut record = StringRecord::new();
    let _ = reader.read_record(&mut record);
    record
}

fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    ReaderBuilder::new()
        .comment(Some(b'#'))
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes())
}

/// Why a line is not used.
pub enum Refused {
    /// It is wrong: a warning.
    Wrong(String),
    /// It is sound and of no use here; counted by reason.
    Unused(&'static str),
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

/// Calls `each` for every line. The first `required` field must have a value in each; the error that `each`
/// returns becomes a warning. `before` lines stand in front of `text`.
pub fn read(
    text: &str,
    before: u64,
    delimiter: u8,
    header: &Header,
    required: &'static str,
    account: &mut Account,
    mut each: impl FnMut(&Line) -> Result<(), Refused>,
) {
    let mut reader = reader(text, delimiter);
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let number = record.position().map_or(0, |position| position.line());
                let line = Line {
                    header,
                    record: &record,
                };
                let result = match line.get(required) {
                    None => Err(format!("no {required}").into()),
                    Some(_) => each(&line),
                };
                match result {
                    Ok(()) => account.used(),
                    Err(Refused::Wrong(reason)) => account.skip(before + number, &reason),
                    Err(Refused::Unused(reason)) => account.unused(reason),
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line());
                account.skip(before + line, &error.to_string());
                if matches!(error.kind(), ErrorKind::Io(_)) {
                    break;
                }
            }
        }
    }
}
