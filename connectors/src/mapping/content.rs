//! Ids that a client can influence: they decide together with what the event says (docs/adr/0008).

use serde_json::Value as Tree;
use weir_engine::schema::col;
use xxhash_rust::xxh3::xxh3_128;

use super::{Compiled, Value, int_of};
use crate::format::Row;
use crate::json::{Scanner, int};

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
        for value in found {
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
    if matches!(value.first, b'[' | b'{')
        && let Ok(tree) = serde_json::from_slice(&s.bytes()[value.json()])
    {
        return plain_tree(&tree, into);
    }
    let text = s.value(value.text);
    match int(&text) {
        Some(number) if !value.is_string() => into.extend_from_slice(number.to_string().as_bytes()),
        _ => into.extend_from_slice(&text),
    }
}

/// The same of all that an object or array holds, whatever the order of its keys.
fn plain_tree(tree: &Tree, into: &mut Vec<u8>) {
    match tree {
        Tree::Null => into.push(b'-'),
        Tree::Bool(said) => sized(&said.to_string(), into),
        Tree::String(text) => sized(text, into),
        Tree::Number(number) => match int_of(tree) {
            Some(number) => sized(&number.to_string(), into),
            None => sized(&number.to_string(), into),
        },
        Tree::Array(elements) => {
            into.push(b'[');
            elements.iter().for_each(|one| plain_tree(one, into));
            into.push(b']');
        }
        Tree::Object(members) => {
            into.push(b'{');
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            for (key, value) in members {
                sized(key, into);
                plain_tree(value, into);
            }
            into.push(b'}');
        }
    }
}

fn sized(text: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}
