//! What a dead letter tells of an object that is no event.

use std::fmt::Write;

use crate::decode::{DecoderConfig, FormatChoice};
use crate::format::{Fault, fault};
use crate::json::Scanner;

/// Keys that a dead letter names.
const NAMED_KEYS: usize = 12;

/// Members in which an object says what it is.
const LABELS: &[&[u8]] = &[b"kind", b"detail-type", b"category", b"Type", b"TableName"];

/// Top-level keys of an object, as far as they tell what it is.
#[derive(Default)]
pub(super) struct Seen {
    names: Vec<String>,
    unnamed: usize,
    labels: Vec<(String, String)>,
}

impl Seen {
    /// Of the object at `start`.
    pub fn of(bytes: &[u8], start: usize) -> Self {
        let mut seen = Self::default();
        let mut s = Scanner::new(bytes, start, usize::MAX);
        // What is broken ends it.
        let _ = s.object(|s, key| {
            if seen.names.len() < NAMED_KEYS {
                seen.names.push(shown(key));
            } else {
                seen.unnamed += 1;
            }
            if !LABELS.contains(&key) {
                return s.skip();
            }
            if let Some(text) = s.text()? {
                seen.labels.push((shown(key), shown(s.slice(text))));
            }
            Ok(())
        });
        seen
    }

    /// The fault of an object that is no event; `inside` is that of what lies in it.
    pub fn unknown(&self, config: &DecoderConfig, inside: Option<Box<Fault>>) -> Box<Fault> {
        let (reason, mut detail) = match config.format.formats().as_slice() {
            [only, ..] if config.format != FormatChoice::Auto => (
                "missing_field",
                format!(
                    "no {}, which has {}",
                    only.name(),
                    only.required(config.custom())
                ),
            ),
            _ => ("unknown_format", "no known event".to_owned()),
        };
        // Writing into a string cannot fail.
        for (key, value) in &self.labels {
            let _ = write!(detail, "; {key} is `{value}`");
        }
        match self.names.as_slice() {
            [] => detail.push_str("; it has no keys"),
            names => drop(write!(detail, "; its keys are {}", names.join(", "))),
        }
        if self.unnamed > 0 {
            let _ = write!(detail, " and {} more", self.unnamed);
        }
        if let Some(inside) = inside {
            let _ = write!(detail, "; inside: {}", inside.detail);
        }
        fault(reason, detail)
    }
}

/// A key or value as a message shows it.
fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
    text.escape_debug().to_string()
}
