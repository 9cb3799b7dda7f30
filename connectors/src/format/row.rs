//! The row that a format fills.

use std::net::IpAddr;
use std::ops::Range;

use weir_engine::builder::{EventBuilder, Interned};
use weir_engine::schema::col;

use super::{Format, Stop, bad_time};
use crate::decode::DecoderConfig;
use crate::json::{self, Scanner, Text, unescape_into};
use crate::mapping::Rivals;
use crate::time;

/// Texts that are the same in all rows of a source, or that come back in many rows.
#[derive(Debug)]
pub(crate) struct Labels {
    pub log_name: Interned,
    pub cluster: Option<Interned>,
    /// Its text; empty without one.
    pub cluster_name: Box<str>,
    /// Family and product, by format.
    pub formats: Vec<[Interned; 2]>,
    pub success: Interned,
    pub failure: Interned,
    pub aws: Interned,
    pub core: Interned,
    pub anonymous: Interned,
    pub service_account: Interned,
    pub node: Interned,
    pub user: Interned,
}

impl Labels {
    pub fn new(builder: &mut EventBuilder, config: &DecoderConfig) -> Self {
        let mut label = |text: &str| builder.intern(text);
        Self {
            log_name: label(&config.log_name),
            cluster: config.cluster.as_deref().map(&mut label),
            cluster_name: config.cluster.as_deref().unwrap_or_default().into(),
            formats: Format::all()
                .chain([Format::CUSTOM])
                .map(|format| format.labels(config.custom()).map(&mut label))
                .collect(),
            success: label("success"),
            failure: label("failure"),
            aws: label("AWS"),
            core: label("core"),
            anonymous: label("Anonymous"),
            service_account: label("ServiceAccount"),
            node: label("Node"),
            user: label("User"),
        }
    }
}

/// The row that is being filled, and where its text stands.
pub(crate) struct Row<'a, 'b> {
    pub builder: &'a mut EventBuilder<'b>,
    pub labels: &'a Labels,
    /// Whether the scanner's bytes are the builder's input: text can then be pointed at.
    pub in_block: bool,
    pub scratch: &'a mut Vec<u8>,
    /// An object that has any of it is left to the recognition.
    pub rivals: Rivals,
}

impl Row<'_, '_> {
    /// Sets a column to a string, unless it is empty: vendors write `""` for nothing.
    #[inline]
    pub fn text(&mut self, s: &Scanner, column: usize, text: Text) {
        if text.is_empty() {
            return;
        }
        if self.in_block && !text.is_escaped() {
            self.builder.text_at(column, text.range());
        } else {
            self.copy(s, column, text);
        }
    }

    #[inline(never)]
    fn copy(&mut self, s: &Scanner, column: usize, text: Text) {
        if let Some(value) = unescaped(s, text, self.scratch) {
            self.builder.text(column, value);
        }
    }

    /// Sets a column to the string at the scanner; skips any other value.
    #[inline]
    pub fn string(&mut self, s: &mut Scanner, column: usize) -> json::Result<()> {
        if let Some(text) = s.text()? {
            self.text(s, column, text);
        }
        Ok(())
    }

    pub fn label(&mut self, column: usize, label: Interned) {
        self.builder.interned(column, label);
    }

    pub fn status(&mut self, failed: bool) {
        let (success, failure) = (self.labels.success, self.labels.failure);
        self.label(col::STATUS, if failed { failure } else { success });
    }

    /// Sets a column to a piece of the input as it stands.
    pub fn slice(&mut self, s: &Scanner, column: usize, range: Range<usize>) {
        if self.in_block {
            self.builder.text_at(column, range);
        } else if let Ok(value) = std::str::from_utf8(&s.bytes()[range]) {
            self.builder.text(column, value);
        }
    }

    /// Sets a column to the JSON text of the array at the scanner; skips any other value.
    pub fn array(&mut self, s: &mut Scanner, column: usize) -> json::Result<()> {
        let is_array = s.peek() == b'[';
        let range = s.range()?;
        if is_array && !json::is_empty(&s.bytes()[range.clone()]) {
            self.slice(s, column, range);
        }
        Ok(())
    }

    /// Sets `addresses` to the canonical text of an IP address; `other`, if given, to anything else.
    pub fn address(&mut self, s: &Scanner, text: Text, addresses: usize, other: Option<usize>) {
        let bytes = s.value(text);
        if is_canonical_v4(&bytes) {
            return self.text(s, addresses, text);
        }
        let parsed = std::str::from_utf8(&bytes).ok();
        match (parsed.and_then(|text| text.parse::<IpAddr>().ok()), other) {
            (Some(address), _) => {
                let canonical = address.to_canonical().to_string();
                self.builder.text(addresses, &canonical);
            }
            (None, Some(other)) => self.text(s, other, text),
            (None, None) => {}
        }
    }

    /// Sets `time` from the event's mandatory time.
    pub fn time(&mut self, s: &Scanner, text: Text) -> Result<(), Stop> {
        match time::parse(&s.value(text)) {
            Some(micros) => {
                self.builder.int(col::TIME, micros);
                Ok(())
            }
            None => Err(bad_time(s, text)),
        }
    }
}

/// The value of a string; kept in `scratch` if it had escapes.
pub(crate) fn unescaped<'a>(
    s: &Scanner<'a>,
    text: Text,
    scratch: &'a mut Vec<u8>,
) -> Option<&'a str> {
    let bytes = s.slice(text);
    if !text.is_escaped() {
        return std::str::from_utf8(bytes).ok();
    }
    scratch.clear();
    unescape_into(bytes, scratch);
    std::str::from_utf8(scratch).ok()
}

/// Whether the text is an IPv4 address in canonical form: four numbers up to 255 without leading zeros.
pub(crate) fn is_canonical_v4(text: &[u8]) -> bool {
    let (mut octets, mut digits, mut value) = (1, 0, 0u32);
    for byte in text {
        match byte {
            b'.' if digits > 0 => {
                octets += 1;
                (digits, value) = (0, 0);
            }
            b'0'..=b'9' if digits == 0 || value > 0 => {
                digits += 1;
                value = value * 10 + u32::from(byte - b'0');
                if value > 255 {
                    return false;
                }
            }
            _ => return false,
        }
    }
    octets == 4 && digits > 0
}
