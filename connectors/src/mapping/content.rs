//! Ids that a client can influence: they decide together with what the event says (docs/adr/0008).

use weir_engine::schema::col;
use xxhash_rust::xxh3::xxh3_128;

use super::{Compiled, Value};
use crate::format::Row;
use crate::json::{self, Scanner, Text, int};

impl Compiled {
    /// Sets `event_uid` to the parts that were found and a hash of every value that the mapping reads; nothing
    /// without the first part.
    pub(super) fn set_uid_with_content(&self, s: &Scanner, row: &mut Row, found: &[Option<Value>]) {
        let mut uid = vec![];
        for (place, slot) in self.uid.iter().enumerate() {
            let value = found[*slot as usize].filter(|value| !self.is_nothing(s, *value));
            let value = value.filter(|value| matches!(value.first, b'"' | b'-' | b'0'..=b'9'));
            match value {
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
        for value in &found[..usize::from(self.own)] {
            let start = content.len();
            content.extend_from_slice(&[0; 4]);
            if let Some(value) = value {
                plain(s, *value, content);
            }
            let length = (content.len() - start - 4) as u32;
            content[start..start + 4].copy_from_slice(&length.to_le_bytes());
        }
        let hash = xxh3_128(content);
        uid.extend_from_slice(format!("{hash:032x}").as_bytes());
        row.builder
            .text(col::EVENT_UID, &String::from_utf8_lossy(&uid));
    }
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
    match int(&text) {
        Some(number) if !value.is_string() => into.extend_from_slice(number.to_string().as_bytes()),
        _ => into.extend_from_slice(&text),
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
                let at = into.len();
                into.extend_from_slice(&[0; 4]);
                plain(s, Value { text, first }, into);
                let length = (into.len() - at - 4) as u32;
                into[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
        }
    }
    Ok(())
}
