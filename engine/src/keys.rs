//! Keys of rows as texts: groups of windows, what rules remember, and alerts. One encoding, so that they can be compared.
//!
//! Values are separated by U+001F. A text stands as it is, everything else as its JSON.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use serde_json::Value;

use crate::json;

const SEPARATOR: char = '\u{1f}';

/// What stands in the place of a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    /// U+0000: GROUP BY tells it apart from an empty text.
    Marked,
    /// Nothing: an alert's key does not tell them apart.
    Empty,
}

/// A JSON value as part of a key.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A key of parts that are texts already.
pub fn join<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut key = String::new();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        key.push_str(part);
    }
    key
}

/// Appends the key of a row.
pub fn write(columns: &[ArrayRef], row: usize, null: Null, to: &mut String) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            to.push(SEPARATOR);
        }
        match column.as_string_view_opt() {
            _ if column.is_null(row) => match null {
                Null::Marked => to.push('\0'),
                Null::Empty => {}
            },
            Some(texts) => to.push_str(texts.value(row)),
            None => {
                let value = json::value(column, row).unwrap_or_default();
                let value = match null {
                    // GROUP BY tells apart what alerts do not.
                    Null::Marked => value,
                    Null::Empty => json::settled(value),
                };
                to.push_str(&text(&value));
            }
        }
    }
}

/// The keys of rows, in one buffer.
#[derive(Debug, Default)]
pub struct Keys {
    buffer: String,
    ends: Vec<usize>,
}

impl Keys {
    /// Of all rows of these columns; nothing without columns.
    pub fn of(columns: &[ArrayRef], null: Null) -> Self {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut keys = Self {
            buffer: String::with_capacity(rows * 32),
            ends: Vec::with_capacity(rows),
        };
        for row in 0..rows {
            write(columns, row, null, &mut keys.buffer);
            keys.ends.push(keys.buffer.len());
        }
        keys
    }

    pub fn get(&self, row: usize) -> Option<&str> {
        let end = *self.ends.get(row)?;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.buffer.get(start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|row| self.get(row))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BooleanArray, Float64Array, Int64Array, StringArray, StringViewArray,
    };

    use super::*;

    #[test]
    fn keys_of_rows_are_keys_of_their_values() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec![Some("a"), Some(""), None])),
            Arc::new(StringArray::from(vec![Some("b"), None, Some("c")])),
            Arc::new(Int64Array::from(vec![Some(-7), None, Some(0)])),
            Arc::new(Float64Array::from(vec![Some(0.5), None, Some(2.0)])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ];
        let near: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![0.1 + 0.2, 0.3]))];
        let apart = Keys::of(&near, Null::Marked);
        assert_ne!(apart.get(0), apart.get(1), "GROUP BY tells them apart");
        let marked = Keys::of(&columns, Null::Marked);
        let marked: Vec<&str> = marked.iter().collect();
        let expected = [
            "a\u{1f}b\u{1f}-7\u{1f}0.5\u{1f}true",
            "\u{1f}\0\u{1f}\0\u{1f}\0\u{1f}\0",
            "\0\u{1f}c\u{1f}0\u{1f}2.0\u{1f}false",
        ];
        assert_eq!(marked, expected);
        for (row, expected) in expected.iter().enumerate() {
            let mut key = String::new();
            write(&columns, row, Null::Empty, &mut key);
            assert_eq!(key, expected.replace('\0', ""));
            let value = |column| json::settled(json::value(column, row).unwrap_or_default());
            let parts: Vec<String> = columns.iter().map(|c| text(&value(c))).collect();
            assert_eq!(key, join(parts.iter().map(String::as_str)));
        }
    }
}
