//! What forwarders and services put around events. A value comes here only if its own keys make it no event.
//!
//! [`members`] is the table of what is known: arrays of events, events as objects, as text, in base64, compressed. [`head`] knows
//! what stands before a line, [`unpack`] encodings and compression. Envelopes may nest. Invariants: what lies inside is
//! judged by its own content, never by the envelope's names; an unusable event costs its neighbours nothing.

pub(crate) mod exports;
mod head;
pub(crate) mod members;
mod runtime;
mod unpack;

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;

pub(crate) use self::head::has_head;
use self::members::{ARRAY, BASE64, OBJECT, TEXT, holds};
pub(crate) use self::unpack::{Pieces, Text, inflate};
use crate::decode::{FormatChoice, Work};
use crate::format::{Fault, Reject, fault};
use crate::json::{self, Scanner};

/// Envelopes within envelopes that are followed.
pub(crate) const LEVELS: usize = 8;

/// Keys that a dead letter names.
const NAMED_KEYS: usize = 12;

impl Work<'_, '_> {
    /// Reads a value that is no event: see [`Work::value`].
    pub(crate) fn peel(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        match s.peek() {
            b'{' => self.peel_object(s, level),
            b'[' if level < LEVELS => self.peel_array(s, level),
            b'"' if level < LEVELS => Ok(self.text(s, level)?),
            _ => {
                s.skip()?;
                Ok(Some(fault("unknown_format", "not a JSON object")))
            }
        }
    }

    fn peel_array(&mut self, s: &mut Scanner, level: usize) -> Result<Option<Box<Fault>>, Reject> {
        let mut others = 0;
        s.array(|s| {
            if matches!(s.peek(), b'{' | b'[' | b'"') {
                return self.element(s, level + 1);
            }
            others += 1;
            Ok::<_, Reject>(s.skip()?)
        })?;
        Ok((others > 0).then(|| {
            let detail = format!("{others} elements of an array are no JSON objects");
            fault("unknown_format", detail)
        }))
    }

    /// One of many events: a dead letter of its own if it is unusable.
    pub(crate) fn element(&mut self, s: &mut Scanner, level: usize) -> Result<(), Reject> {
        s.peek();
        let (mark, start) = (s.mark(), s.position());
        let unusable = match self.value(s, level) {
            Ok(None) => return Ok(()),
            Ok(Some(fault)) => fault,
            Err(Reject::Event(fault)) => {
                s.reset(mark);
                s.skip()?;
                fault
            }
            Err(reject) => return Err(reject),
        };
        self.dead_letter(&s.bytes()[start..s.position()], unusable);
        Ok(())
    }

    fn peel_object(&mut self, s: &mut Scanner, level: usize) -> Result<Option<Box<Fault>>, Reject> {
        let mut seen = Seen::default();
        let (mut is_envelope, mut found, mut unusable) = (false, false, None);
        let deeper = level < LEVELS;
        let start = s.position();
        s.object(|s, key| {
            seen.add(s, key)?;
            let what = match deeper {
                true => holds(key),
                false => 0,
            };
            let inside = match s.peek() {
                b'[' if key == b"QueryResultRows" && deeper => {
                    is_envelope = true;
                    return self.query_rows(s, level);
                }
                b'[' if what & ARRAY != 0 => {
                    is_envelope = true;
                    unusable = self.peel_array(s, level)?;
                    return Ok(());
                }
                // Forwarders keep the line beside what they made of it.
                _ if found => return Ok(s.skip()?),
                b'{' if what & OBJECT != 0 => self.object_inside(s, level)?,
                b'{' if key == b"properties" && deeper => match self.kubernetes_log(s, level)? {
                    Some(inside) => inside,
                    None => return Ok(()),
                },
                b'"' if what & (TEXT | BASE64) != 0 => match key {
                    b"log" => self.docker_log(s, level)?,
                    _ if what & BASE64 != 0 => self.base64(s, level, what & TEXT != 0)?,
                    _ => self.text(s, level)?,
                },
                _ => return Ok(s.skip()?),
            };
            match inside {
                None => (is_envelope, found) = (true, true),
                Some(fault) => unusable = Some(fault),
            }
            Ok::<_, Reject>(())
        })?;
        if found {
            return Ok(None);
        }
        if is_envelope {
            return Ok(unusable);
        }
        if seen.columns == [true; 3]
            && deeper
            && let Some(event) = exports::of_row(&s.bytes()[start..s.position()])
        {
            return Ok(self.read_text(event.as_bytes(), vec![], level + 1));
        }
        Ok(Some(self.unknown(&seen, unusable)))
    }

    /// Rows of a CloudTrail Lake query.
    fn query_rows(&mut self, s: &mut Scanner, level: usize) -> Result<(), Reject> {
        s.array(|s| {
            let range = s.range()?;
            let row = &s.bytes()[range];
            let unusable = match exports::of_cells(row) {
                Some(event) => self.read_text(event.as_bytes(), vec![], level + 1),
                None => {
                    let detail = "a row of a query without eventName, eventSource and eventTime";
                    Some(fault("unknown_format", detail))
                }
            };
            if let Some(fault) = unusable {
                self.dead_letter(row, fault);
            }
            Ok(())
        })
    }

    /// An event under a member. One that cannot be used costs the member, not the object around it.
    fn object_inside(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let mark = s.mark();
        match self.value(s, level + 1) {
            Err(Reject::Event(fault)) => {
                s.reset(mark);
                s.skip()?;
                Ok(Some(fault))
            }
            other => other,
        }
    }

    /// The control plane of AKS writes audit events and lines of its own under `properties.log`; nothing if there is no such
    /// member.
    fn kubernetes_log(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Option<Box<Fault>>>, Reject> {
        let mut inside = None;
        s.object(|s, key| {
            if key != b"log" || s.peek() != b'"' || inside.is_some() {
                return s.skip();
            }
            let mark = s.mark();
            let text = s.text()?;
            if text.is_some_and(|text| s.slice(text).trim_ascii_start().first() != Some(&b'{')) {
                self.counts.read += 1;
                self.counts.filtered += 1;
                inside = Some(None);
                return Ok(());
            }
            s.reset(mark);
            inside = Some(self.text(s, level)?);
            Ok(())
        })?;
        Ok(inside)
    }

    /// The text of a string, escapes resolved, and where U+FFFD in it stands for what could not be read.
    fn unescaped<'s>(&self, s: &mut Scanner<'s>) -> json::Result<(Cow<'s, [u8]>, Vec<usize>)> {
        let faults = s.repairs();
        let Some(text) = s.text()? else {
            return Ok((Cow::Borrowed(b""), vec![]));
        };
        let value = s.value(text);
        let range = text.range();
        let mut marks = vec![];
        if s.repairs() != faults || self.marks().iter().any(|mark| range.contains(mark)) {
            marks.extend(memchr::memmem::find_iter(&value, "\u{fffd}"));
        }
        Ok((value, marks))
    }

    /// Reads what a string holds: JSON, or lines of a log.
    fn text(&mut self, s: &mut Scanner, level: usize) -> json::Result<Option<Box<Fault>>> {
        let (text, marks) = self.unescaped(s)?;
        Ok(self.read_text(&text, marks, level + 1))
    }

    /// Reads valid UTF-8 that is not the block's own.
    fn read_text(&mut self, text: &[u8], marks: Vec<usize>, level: usize) -> Option<Box<Fault>> {
        self.inside(marks, |work| {
            let mut inner = Scanner::new(text, 0, work.config.max_depth);
            let unusable = work.stream(&mut inner, level);
            unusable.map(|mut fault| {
                fault.detail.push_str(" of the text inside");
                fault
            })
        })
    }

    /// Reads bytes of any encoding, compressed or not.
    fn read_bytes(&mut self, bytes: &[u8], level: usize) -> Option<Box<Fault>> {
        match Text::of(bytes) {
            Text::Utf8(text) => self.read_text(text.as_bytes(), vec![], level),
            Text::Other(made) => self.read_text(made.text.as_bytes(), made.marks, level),
            Text::Compressed => self.compressed(bytes, level),
        }
    }

    /// Events in base64; else, if there may be `text`, as that.
    fn base64(
        &mut self,
        s: &mut Scanner,
        level: usize,
        or_text: bool,
    ) -> json::Result<Option<Box<Fault>>> {
        let (text, marks) = self.unescaped(s)?;
        let engine = &base64::engine::general_purpose::STANDARD;
        Ok(match engine.decode(text.trim_ascii()) {
            Ok(bytes) => self.read_bytes(&bytes, level + 1),
            Err(_) if or_text => self.read_text(&text, marks, level + 1),
            Err(_) => Some(fault("unknown_format", "no base64")),
        })
    }

    /// Reads compressed data; what is damaged or beyond the limit is counted by its length.
    pub(crate) fn compressed(&mut self, packed: &[u8], level: usize) -> Option<Box<Fault>> {
        if level >= LEVELS {
            return Some(fault("unknown_format", "compressed too many times over"));
        }
        let limit = self.config.max_envelope_bytes;
        let inflated = inflate(packed, limit);
        if inflated.is_cut {
            let detail = format!("only the first {limit} bytes of what is compressed were read");
            // The last four bytes of gzip are the length, if it is one member below 4 GiB.
            let length = packed
                .last_chunk()
                .map_or(0, |bytes| u32::from_le_bytes(*bytes) as u64);
            let rest = length.saturating_sub(limit as u64).max(1);
            self.lost(packed, rest, fault("too_large", detail));
        }
        if let Some((bytes, error)) = &inflated.lost {
            let detail = format!("{bytes} bytes cannot be decompressed: {error}");
            let fault = fault("invalid_gzip", detail);
            if inflated.bytes.trim_ascii().is_empty() && packed.len() as u64 == *bytes {
                return Some(fault);
            }
            self.lost(packed, *bytes, fault);
        }
        self.read_bytes(&inflated.bytes, level + 1)
    }

    fn unknown(&self, seen: &Seen, inside: Option<Box<Fault>>) -> Box<Fault> {
        let (reason, mut detail) = match self.config.format.formats().as_slice() {
            [only, ..] if self.config.format != FormatChoice::Auto => (
                "missing_field",
                format!(
                    "no {}, which has {}",
                    only.name(),
                    only.required(self.config.custom())
                ),
            ),
            _ => ("unknown_format", "no known event".to_owned()),
        };
        // Writing into a string cannot fail.
        for (key, value) in &seen.labels {
            let _ = write!(detail, "; {key} is `{value}`");
        }
        match seen.names.as_slice() {
            [] => detail.push_str("; it has no keys"),
            names => drop(write!(detail, "; its keys are {}", names.join(", "))),
        }
        if seen.unnamed > 0 {
            let _ = write!(detail, " and {} more", seen.unnamed);
        }
        if let Some(inside) = inside {
            let _ = write!(detail, "; inside: {}", inside.detail);
        }
        fault(reason, detail)
    }
}

/// Whether a container runtime wrote the line.
pub(crate) fn has_container_head(line: &[u8]) -> bool {
    head::container(line).is_some()
}

/// Length of what a syslog daemon wrote before a line.
pub(crate) fn behind_syslog(line: &[u8]) -> Option<usize> {
    head::syslog(line)
}

/// Top-level keys of an object, as far as they tell what it is.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    /// Which of the columns of an exported event there are.
    columns: [bool; 3],
    unnamed: usize,
    /// Members in which an object says what it is.
    labels: Vec<(String, String)>,
}

impl Seen {
    fn add(&mut self, s: &mut Scanner, key: &[u8]) -> json::Result<()> {
        match key {
            b"kind" | b"detail-type" => {
                let mark = s.mark();
                if let Some(text) = s.text()? {
                    self.labels.push((shown(key), shown(s.slice(text))));
                }
                s.reset(mark);
            }
            _ => {}
        }
        for (column, seen) in exports::REQUIRED.iter().zip(&mut self.columns) {
            *seen |= column.as_bytes().eq_ignore_ascii_case(key);
        }
        if self.names.len() < NAMED_KEYS {
            self.names.push(shown(key));
        } else {
            self.unnamed += 1;
        }
        Ok(())
    }
}

/// A key or value as a message shows it.
fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
    text.escape_debug().to_string()
}
