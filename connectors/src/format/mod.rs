//! Log formats, one file each: which keys of a vendor's JSON fill which columns of the event schema.
//!
//! A format reads one JSON object in one pass and fills the row that was begun. It decides by required keys
//! whether the object is its own; it never sets `raw`, the log name or other columns that do not depend on
//! the format.

pub mod cloudtrail;
pub mod falco;
pub mod k8s_audit;

use std::net::IpAddr;
use std::ops::Range;

use weir_engine::builder::{EventBuilder, Interned};
use weir_engine::schema::col;

use crate::decode::DecoderConfig;
use crate::json::{self, Scanner, Text, unescape_into};
use crate::time;

/// A log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CloudTrail,
    K8sAudit,
    Falco,
}

impl Format {
    pub const ALL: [Format; 3] = [Format::CloudTrail, Format::K8sAudit, Format::Falco];

    pub fn name(self) -> &'static str {
        match self {
            Format::CloudTrail => "CloudTrail event",
            Format::K8sAudit => "Kubernetes audit event",
            Format::Falco => "Falco alert",
        }
    }

    /// `family` and `metadata_product_name`.
    pub fn labels(self) -> [&'static str; 2] {
        match self {
            Format::CloudTrail => ["cloud_audit", "CloudTrail"],
            Format::K8sAudit => ["k8s_audit", "Kubernetes"],
            Format::Falco => ["agent_alerts", "Falco"],
        }
    }

    /// What makes an object this format.
    pub fn required(self) -> &'static str {
        match self {
            Format::CloudTrail => "eventName, eventSource and eventTime",
            Format::K8sAudit => "auditID, and kind Event or requestURI or verb",
            Format::Falco => "rule, priority, and output or output_fields",
        }
    }

    pub(crate) fn decode(self, s: &mut Scanner, row: &mut Row) -> Result<Decoded, Reject> {
        let decoded = match self {
            Format::CloudTrail => cloudtrail::decode(s, row),
            Format::K8sAudit => k8s_audit::decode(s, row),
            Format::Falco => falco::decode(s, row),
        };
        match decoded {
            Err(Stop::Json(error)) => Err(Reject::Json(error)),
            Err(Stop::NotThis) => Ok(Decoded::NotThis),
            Err(Stop::Event(reject)) => Err(Reject::Event(reject)),
            Ok(decoded) => Ok(decoded),
        }
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    Row,
    /// An event of this format that is left out on purpose.
    Filtered,
    /// An object, but not of this format. The scanner may stand anywhere.
    NotThis,
}

/// Why there is no row.
#[derive(Debug)]
pub(crate) enum Reject {
    /// Not JSON: nothing behind the fault can be read.
    Json(json::Error),
    /// JSON, but not a usable event.
    Event(Box<Fault>),
}

/// Reason and detail of a dead letter.
#[derive(Debug)]
pub(crate) struct Fault {
    pub reason: &'static str,
    pub detail: String,
}

impl From<json::Error> for Reject {
    fn from(error: json::Error) -> Self {
        Self::Json(error)
    }
}

/// Ends the reading of an object early.
#[derive(Debug)]
pub(crate) enum Stop {
    Json(json::Error),
    NotThis,
    Event(Box<Fault>),
}

impl From<json::Error> for Stop {
    fn from(error: json::Error) -> Self {
        Self::Json(error)
    }
}

pub(crate) fn fault(reason: &'static str, detail: impl Into<String>) -> Box<Fault> {
    let detail = detail.into();
    Box::new(Fault { reason, detail })
}

/// Whether events lie under this top-level key: then the object is no event itself. See [`crate::envelope`].
#[cold]
pub(crate) fn is_envelope_key(key: &[u8]) -> bool {
    matches!(
        key,
        b"Records"
            | b"records"
            | b"items"
            | b"Events"
            | b"logEvents"
            | b"detail"
            | b"jsonPayload"
            | b"properties"
            | b"CloudTrailEvent"
    )
}

/// Texts that are the same in all rows of a source, or that come back in many rows.
#[derive(Debug)]
pub(crate) struct Labels {
    pub log_name: Interned,
    pub cluster: Option<Interned>,
    /// Family and product, by format.
    pub formats: [[Interned; 2]; 3],
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
            formats: Format::ALL.map(|format| format.labels().map(&mut label)),
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
        if is_array && range.len() > 2 {
            self.slice(s, column, range);
        }
        Ok(())
    }

    /// Sets `addresses` to the canonical text of an IP address; `other`, if given, to anything else.
    pub fn address(&mut self, s: &Scanner, text: Text, addresses: usize, other: Option<usize>) {
        let bytes = s.slice(text);
        if is_canonical_v4(bytes) {
            return self.text(s, addresses, text);
        }
        let parsed = std::str::from_utf8(bytes).ok();
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
        match time::parse(s.slice(text)) {
            Some(micros) => {
                self.builder.int(col::TIME, micros);
                Ok(())
            }
            None => Err(bad_time(s, text)),
        }
    }
}

#[cold]
fn bad_time(s: &Scanner, text: Text) -> Stop {
    let text = String::from_utf8_lossy(s.slice(text));
    let detail = format!("`{:.60}` is not an RFC 3339 time", text);
    Stop::Event(fault("bad_time", detail))
}

#[cold]
pub(crate) fn wrong_type(key: &str) -> Stop {
    Stop::Event(fault("wrong_type", format!("`{key}` is not a string")))
}

#[cold]
pub(crate) fn missing(key: &str) -> Stop {
    Stop::Event(fault(
        "missing_field",
        format!("`{key}` is missing or null"),
    ))
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
fn is_canonical_v4(text: &[u8]) -> bool {
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

#[cfg(test)]
mod tests;
