//! Ids that a client can influence: they decide together with what the event says (docs/adr/0008).

use weir_engine::schema::col;
use xxhash_rust::xxh3::xxh3_128;

use super::apply::part;
use super::{Compiled, Value};
use crate::format::Row;
use crate::hash::Hex;
use crate::json::{self, Scanner, Text, int};

impl Compiled {
    /// Sets `event_uid` to the parts that were found and a hash of every value that the mapping reads; nothing
    /// without the first part.
    pub(super) fn set_uid_with_content(&self, s: &Scanner, row: &mut Row, found: &[Option<Value>]) {
        let mut uid = Vec::with_capacity(128);
        for (place, slot) in self.uid.iter().enumerate() {
            match part(found, *slot) {
                Some(value) => {
                    plain(s, value, &mut uid);
                    uid.push(b'/');
                }
                None if place == 0 => return,
                None => {}
            }
        }
        let content = &mut *row.scratch;
        content.clear();
        for (slot, value) in found[..usize::from(self.own)].iter().enumerate() {
            if let Some(value) = value {
                content.extend_from_slice(&(slot as u32).to_le_bytes());
                framed(s, *value, content);
            }
        }
        uid.extend_from_slice(Hex::of(xxh3_128(content)).as_bytes());
        row.builder
            .text(col::EVENT_UID, &String::from_utf8_lossy(&uid));
    }
}

/// Appends a value behind its length, so that no two lists of values are one list of bytes.
fn framed(s: &Scanner, value: Value, into: &mut Vec<u8>) {
    if value.is_string() && !value.text.is_escaped() {
        let text = s.slice(value.text);
        into.extend_from_slice(&(text.len() as u32).to_le_bytes());
        into.extend_from_slice(text);
        return;
    }
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    plain(s, value, into);
    let length = (into.len() - start - 4) as u32;
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends a value without the ways in which it can be written: escapes resolved, integers as digits, no blanks.
fn plain(s: &Scanner, value: Value, into: &mut Vec<u8>) {
    if matches!(value.first, b'{' | b'[') {
        let mut inner = Scanner::new(s.bytes(), value.json().start, usize::MAX);
        // It was read once: it cannot fail.
        let _ = tokens(&mut inner, value.json().end, into);
        return;
    }
    let text = s.value(value.text);
    // What begins with a digit and has nothing else is written in digits already.
    let is_digits = text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
    match value.is_string() || is_digits {
        true => into.extend_from_slice(&text),
        false => match int(&text) {
            Some(number) => into.extend_from_slice(number.to_string().as_bytes()),
            None => into.extend_from_slice(&text),
        },
    }
}

/// Appends the tokens of the object or array at the scanner, which ends at `end`: each bracket, and each key and scalar
/// behind a 1 and its length.
fn tokens(s: &mut Scanner, end: usize, into: &mut Vec<u8>) -> json::Result<()> {
    while s.position() < end {
        match s.peek() {
            b':' | b',' => s.advance(1),
            bracket @ (b'{' | b'}' | b'[' | b']') => {
                into.push(bracket);
                s.advance(1);
            }
            first => {
                let start = s.position();
                let text = match s.text()? {
                    Some(text) => text,
                    None => Text::new(start, s.position(), false),
                };
                into.push(1);
                let is_nothing = false;
                let value = Value {
                    text,
                    first,
                    is_nothing,
                };
                framed(s, value, into);
            }
        }
    }
    Ok(())
}
