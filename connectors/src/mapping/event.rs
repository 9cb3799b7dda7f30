//! What a format's `finish` sees and sets.

use std::borrow::Cow;

use super::apply::string;
use super::{Compiled, Value};
use crate::format::Row;
use crate::json::{self, Scanner, int};

/// The integer that a value of a tree is, also in quotes.
pub(crate) fn int_of(value: &serde_json::Value) -> Option<i64> {
    match value {
        serde_json::Value::Number(number) => int(number.to_string().as_bytes()),
        value => int(value.as_str()?.as_bytes()),
    }
}

/// One event, its values found, its columns not yet set. Values are named by their place in the mapping's
/// `reads`.
pub(crate) struct Event<'e, 'r, 's, 'b> {
    pub s: &'e Scanner<'s>,
    pub row: &'e mut Row<'r, 'b>,
    pub found: &'e [Option<Value>],
    pub tree: &'e Compiled,
    pub late: Vec<(usize, String)>,
}

impl<'s> Event<'_, '_, 's, '_> {
    pub fn value(&self, index: usize) -> Option<Value> {
        self.found[self.tree.reads[index] as usize].filter(|value| !value.is_nothing)
    }

    /// A string, a truth value, or a number: in digits if it is an integer.
    pub fn text(&self, index: usize) -> Option<Cow<'s, str>> {
        let value = self.value(index)?;
        let scalar = !matches!(value.first, b'{' | b'[');
        scalar.then(|| string(self.s, value))
    }

    pub fn is(&self, index: usize, text: &str) -> bool {
        let value = self.value(index);
        value.is_some_and(|value| *self.s.value(value.text) == *text.as_bytes())
    }

    pub fn int(&self, index: usize) -> Option<i64> {
        int(&self.s.value(self.value(index)?.text))
    }

    /// The JSON of an object or array as a tree: only for what is rare or small.
    pub fn tree(&self, index: usize) -> serde_json::Value {
        let value = self.value(index);
        let bytes = value.map_or(&[][..], |value| &self.s.bytes()[value.json()]);
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// The same, also of JSON that stands in a text.
    pub fn inner(&self, index: usize) -> serde_json::Value {
        match self.tree(index) {
            serde_json::Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
            tree => tree,
        }
    }

    /// The strings under these keys, of each object in an array: what a tree would tell, without one. Of a key that
    /// comes back, the last counts.
    pub fn strings<const N: usize>(
        &self,
        index: usize,
        keys: [&str; N],
    ) -> Vec<[Option<Cow<'s, str>>; N]> {
        let mut found = vec![];
        let Some(array) = self.value(index).filter(|value| value.first == b'[') else {
            return found;
        };
        let mut s = Scanner::new(self.s.bytes(), array.json().start, usize::MAX);
        // It was read once: it cannot fail.
        let _ = s.array(|s| {
            if s.peek() != b'{' {
                return s.skip();
            }
            let mut object = [const { None }; N];
            s.object(|s, key| {
                let Some(at) = keys.iter().position(|one| one.as_bytes() == key) else {
                    return s.skip();
                };
                let first = s.peek();
                let value = |text| Value {
                    text,
                    first,
                    is_nothing: false,
                };
                object[at] = s.text()?.map(|text| string(s, value(text)));
                json::Result::Ok(())
            })?;
            found.push(object);
            Ok(())
        });
        found
    }

    pub fn set(&mut self, column: usize, text: &str) {
        if !text.is_empty() {
            self.row.builder.text(column, text);
        }
    }

    /// Sets the column unless a field does.
    pub fn set_late(&mut self, column: usize, text: &str) {
        if !text.is_empty() {
            self.late.push((column, text.to_owned()));
        }
    }

    pub fn set_int(&mut self, column: usize, value: i64) {
        self.row.builder.int(column, value);
    }

    pub fn set_address(&mut self, column: usize, index: usize) {
        if let Some(value) = self.value(index).filter(|value| value.is_string()) {
            self.row.address(self.s, value.text, column, None);
        }
    }
}
