//! From found values to the columns of a row.

use std::borrow::Cow;
use std::net::IpAddr;

use weir_engine::schema::{Kind, col};

use super::tree::NeededSlots;
use super::{Compiled, Event, Found, How, Value};
use crate::format::{Decoded, Row, Stop, bad_time, missing};
use crate::json::{self, Scanner, Text};
use crate::time;

impl How {
    /// What kind of column it fills.
    pub(crate) fn kind(self) -> Kind {
        match self {
            How::Int | How::PortOf | How::Words(_) | How::Bands(_) => Kind::Int,
            How::Float => Kind::Float,
            How::Bool => Kind::Bool,
            How::Time | How::Utc => Kind::Time,
            How::Text
            | How::Lower
            | How::Address
            | How::NoAddress
            | How::HostOf
            | How::Json
            | How::Names(_) => Kind::Text,
        }
    }
}

/// What an object around events contributes to their ids.
#[derive(Debug, Default)]
pub(crate) struct Outer {
    uid: String,
    finding: String,
}

impl Compiled {
    /// Reads the object at the scanner as an event of this format.
    pub fn decode(
        &self,
        s: &mut Scanner,
        row: &mut Row,
        found: &mut Found,
    ) -> Result<Decoded, Stop> {
        self.walk(s, found, row.rivals)?;
        match self.is_met(s, found) {
            true => self.fill(s, row, found),
            false => Ok(Decoded::NotThis),
        }
    }

    /// Whether the values make the object this format.
    pub fn is_met(&self, s: &Scanner, found: &[Option<Value>]) -> bool {
        self.has_all_of_any(s, found, &self.needs)
    }

    /// Whether all values of one of the lines were found.
    pub fn has_all_of_any(
        &self,
        s: &Scanner,
        found: &[Option<Value>],
        lines: &[NeededSlots],
    ) -> bool {
        let met = |(slot, texts): &(u16, Vec<Box<str>>)| match found[*slot as usize] {
            None => false,
            Some(_) if texts.is_empty() => true,
            Some(value) => {
                let text = digits(value, s.value(value.text));
                texts.iter().any(|one| one.as_bytes() == &*text)
            }
        };
        lines.iter().any(|line| line.iter().all(met))
    }

    /// Sets the columns of the row.
    pub fn fill(
        &self,
        s: &Scanner,
        row: &mut Row,
        found: &[Option<Value>],
    ) -> Result<Decoded, Stop> {
        let decoded = self.fill_inner(s, row, found, &Outer::default())?;
        match decoded {
            Decoded::Row if !row.builder.is_set(col::TIME) => Err(self.no_time(s, found)),
            decoded => Ok(decoded),
        }
    }

    /// Sets the columns of a row of which an object around the event may tell more.
    pub fn fill_inner(
        &self,
        s: &Scanner,
        row: &mut Row,
        found: &[Option<Value>],
        outer: &Outer,
    ) -> Result<Decoded, Stop> {
        let mut late = vec![];
        if let Some(finish) = self.finish {
            let mut event = Event {
                s,
                row: &mut *row,
                found,
                tree: self,
                late,
            };
            let decoded = finish(&mut event)?;
            late = event.late;
            if decoded != Decoded::Row {
                return Ok(decoded);
            }
        }
        if self.uid_with_content {
            self.set_uid_with_content(s, row, found);
        }
        let uid = (col::EVENT_UID, self.uid.as_slice());
        self.set_joined(s, row, found, uid, &outer.uid);
        let finding = (col::FINDING_UID, self.finding.as_slice());
        self.set_joined(s, row, found, finding, &outer.finding);
        self.set_fields(s, row, found);
        for (column, text) in &late {
            row.builder.text(*column, text);
        }
        self.set_fixed(row);
        Ok(Decoded::Row)
    }

    pub fn set_fixed(&self, row: &mut Row) {
        for (column, text) in &self.fixed {
            row.builder.text(*column, text);
        }
        if self.class > 0 {
            row.builder.int(col::CLASS_UID, self.class);
        }
    }

    pub fn set_fields(&self, s: &Scanner, row: &mut Row, found: &[Option<Value>]) {
        for (slot, column, how) in &self.fields {
            if let Some(value) = found[*slot as usize]
                && !value.is_nothing
            {
                apply(s, row, value, *column, *how);
            }
        }
    }

    /// Sets a column to the parts that were found, joined; nothing without the first.
    fn set_joined(
        &self,
        s: &Scanner,
        row: &mut Row,
        found: &[Option<Value>],
        (column, slots): (usize, &[u16]),
        outer: &str,
    ) {
        let part = |slot: &u16| part(found, *slot);
        let Some((first, more)) = slots.split_first() else {
            return;
        };
        let Some(first) = part(first) else {
            return;
        };
        if more.is_empty() && outer.is_empty() {
            return set_text(s, row, column, first);
        }
        let mut scratch = std::mem::take(row.scratch);
        scratch.clear();
        let mut joined = String::from_utf8(scratch).unwrap_or_default();
        joined.push_str(outer);
        joined.push_str(&string(s, first));
        for value in more.iter().filter_map(part) {
            joined.push('/');
            joined.push_str(&string(s, value));
        }
        row.builder.text(column, &joined);
        *row.scratch = joined.into_bytes();
    }

    /// The parts of the ids of event and finding that the object around the events has.
    pub fn outer(&self, s: &Scanner, found: &[Option<Value>], outer: &Outer) -> Outer {
        let join = |before: &str, slots: &[u16]| {
            let mut joined = String::with_capacity(before.len() + slots.len() * 48);
            joined.push_str(before);
            for slot in slots {
                if let Some(value) = part(found, *slot) {
                    joined.push_str(&string(s, value));
                    joined.push('/');
                }
            }
            joined
        };
        Outer {
            uid: join(&outer.uid, &self.uid),
            finding: join(&outer.finding, &self.finding),
        }
    }

    #[cold]
    pub fn no_time(&self, s: &Scanner, found: &[Option<Value>]) -> Stop {
        let times = self
            .fields
            .iter()
            .filter(|(_, column, _)| *column == col::TIME);
        let mut found = times.filter_map(|(slot, ..)| found[*slot as usize]);
        match found.find(|value| !value.is_nothing) {
            Some(value) => bad_time(s, value.text),
            None => missing(&self.time),
        }
    }
}

/// A part of an id: a string or number.
pub(super) fn part(found: &[Option<Value>], slot: u16) -> Option<Value> {
    let value = found[slot as usize].filter(|value| !value.is_nothing)?;
    (value.is_string() || value.is_number()).then_some(value)
}

/// The text of a string, a truth value or a number, escapes resolved. An integer is its digits.
pub(super) fn string<'s>(s: &Scanner<'s>, value: Value) -> Cow<'s, str> {
    match digits(value, s.value(value.text)) {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        },
        Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
    }
}

/// The text of a value; the digits of an integer that is written another way.
#[inline]
fn digits<'s>(value: Value, text: Cow<'s, [u8]>) -> Cow<'s, [u8]> {
    match value.is_number() {
        true => json::plain(&text).map_or(text, |plain| Cow::Owned(plain.into_bytes())),
        false => text,
    }
}

/// Sets a column to the text of a value.
#[inline]
fn set_text(s: &Scanner, row: &mut Row, column: usize, value: Value) {
    if value.is_number()
        && let Some(plain) = json::plain(s.slice(value.text))
    {
        return row.builder.text(column, &plain);
    }
    row.text(s, column, value.text);
}

fn apply(s: &Scanner, row: &mut Row, value: Value, column: usize, how: How) {
    let scalar = !matches!(value.first, b'{' | b'[');
    match how {
        How::Json if !scalar => {
            if !json::is_empty(s.slice(value.text)) {
                row.slice(s, column, value.json());
            }
            return;
        }
        _ if !scalar => return,
        How::Text | How::Json => return set_text(s, row, column, value),
        _ => {}
    }
    let bytes = &*s.value(value.text);
    match how {
        How::Text | How::Json => {}
        How::Lower => match bytes
            .iter()
            .any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
        {
            true => {
                let lower = string(s, value).to_lowercase();
                row.builder.text(column, &lower);
            }
            false => set_text(s, row, column, value),
        },
        How::Address => row.address(s, value.text, column, None),
        How::NoAddress => {
            if address(bytes).is_none() {
                set_text(s, row, column, value);
            }
        }
        How::HostOf => {
            let host = split_port(bytes).0;
            let start = value.text.range().start + usize::from(bytes.first() == Some(&b'['));
            if !value.text.is_escaped() && !host.is_empty() {
                row.address(s, Text::new(start, start + host.len(), false), column, None);
            } else if let Some(address) = address(host) {
                let canonical = address.to_canonical().to_string();
                row.builder.text(column, &canonical);
            }
        }
        How::PortOf => {
            let port = split_port(bytes).1.and_then(json::int);
            if let Some(port) = port.filter(|port| (0..=65_535).contains(port)) {
                row.builder.int(column, port);
            }
        }
        How::Int => set(json::int(bytes), |value| row.builder.int(column, value)),
        How::Float => set(float(bytes), |value| row.builder.float(column, value)),
        How::Bool => match bytes {
            b"true" | b"True" => row.builder.bool(column, true),
            b"false" | b"False" => row.builder.bool(column, false),
            _ => {}
        },
        How::Time => set(instant(bytes, time::parse), |value| {
            row.builder.int(column, value)
        }),
        How::Utc => set(instant(bytes, time::parse_utc), |value| {
            row.builder.int(column, value)
        }),
        How::Words(words) => set(named(words, bytes), |value| row.builder.int(column, value)),
        How::Names(words) => set(named(words, bytes), |value| row.builder.text(column, value)),
        How::Bands(bands) => set(band(bands, bytes), |value| row.builder.int(column, value)),
    }
}

fn set<T>(value: Option<T>, into: impl FnOnce(T)) {
    if let Some(value) = value {
        into(value);
    }
}

fn named<T: Copy>(words: &[(&str, T)], text: &[u8]) -> Option<T> {
    let known = |text: &[u8]| {
        let mut words = words.iter();
        let known = words.find(|(word, _)| word.as_bytes().eq_ignore_ascii_case(text));
        known.map(|(_, value)| *value)
    };
    known(text).or_else(|| known(json::plain(text)?.as_bytes()))
}

fn band(bands: &[(f64, i64)], text: &[u8]) -> Option<i64> {
    let number = float(text)?;
    let band = bands.iter().rev().find(|(from, _)| *from <= number);
    band.map(|(_, value)| *value)
}

fn float(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

fn address(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Host and port of `192.0.2.1:443`, `[2001:db8::1]:443`, or a host alone.
fn split_port(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    if let Some(inner) = text.strip_prefix(b"[") {
        let end = memchr::memchr(b']', inner).unwrap_or(inner.len());
        let port = inner
            .get(end + 1..)
            .and_then(|rest| rest.strip_prefix(b":"));
        return (&inner[..end], port);
    }
    let mut colons = memchr::memchr_iter(b':', text);
    match (colons.next(), colons.next()) {
        (Some(at), None) => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

/// A time as text or as a number.
fn instant(bytes: &[u8], text: fn(&[u8]) -> Option<i64>) -> Option<i64> {
    match bytes.get(4) {
        Some(b'-') if bytes[..4].iter().all(u8::is_ascii_digit) => text(bytes),
        _ if time::is_number(bytes) => time::parse_number(bytes),
        _ => text(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("192.0.2.1:443", "192.0.2.1", Some("443")),
            ("[2001:db8::1]:5000", "2001:db8::1", Some("5000")),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("192.0.2.1", "192.0.2.1", None),
            ("host:80", "host", Some("80")),
            ("", "", None),
            ("[", "", None),
        ] {
            let expected = (host.as_bytes(), port.map(str::as_bytes));
            assert_eq!(split_port(text.as_bytes()), expected, "{text}");
        }
    }
}
