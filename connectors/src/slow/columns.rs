//! The row that a slow twin fills.

use std::net::IpAddr;

use serde_json::{Map, Value};
use weir_engine::schema::COLUMNS;

/// Columns by name. What was set first stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns(pub Map<String, Value>);

impl Columns {
    pub fn has(&self, column: usize) -> bool {
        self.0.contains_key(COLUMNS[column].name)
    }

    pub fn set(&mut self, column: usize, value: impl Into<Value>) {
        let name = COLUMNS[column].name.to_owned();
        self.0.entry(name).or_insert(value.into());
    }

    /// Sets a text, unless there is none or it is empty.
    pub fn text(&mut self, column: usize, text: Option<String>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.set(column, text);
        }
    }

    pub fn status(&mut self, failed: bool) {
        let status = if failed { "failure" } else { "success" };
        self.set(weir_engine::schema::col::STATUS, status);
    }

    /// Sets `column` if the text is an address.
    pub fn address(&mut self, column: usize, text: Option<String>) {
        self.text(column, text.as_deref().and_then(address));
    }
}

/// The canonical text of an address.
pub fn address(text: &str) -> Option<String> {
    let parsed = text.parse::<IpAddr>().ok()?;
    Some(parsed.to_canonical().to_string())
}

/// A whole number of 64 bits, as JSON writes it.
pub fn int(text: &str) -> Option<i64> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}
