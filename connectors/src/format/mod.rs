//! Log formats, one file each: which keys of a vendor's JSON fill which columns of the event schema.
//!
//! A format reads one JSON object in one pass and fills the row that was begun. It decides by required keys
//! whether the object is its own; it never sets `raw`, the log name or other columns that do not depend on
//! the format.

mod aside;
pub mod azure;
pub mod azure_flow;
pub mod cloudtrail;
pub mod defender;
pub mod entra;
pub mod envoy;
pub mod falco;
pub mod gatekeeper;
pub mod gcp;
pub mod gcp_flow;
pub mod github;
pub mod graph;
pub mod guardduty;
pub mod hunting;
pub mod k8s_audit;
pub mod log_analytics;
pub mod ocsf;
pub mod okta;
pub mod prisma;
mod registry;
mod row;
pub mod tetragon;
pub mod trivy;
pub mod vpc_flow;
pub mod ztunnel;

pub use self::registry::{FORMATS, Format};
#[cfg(test)]
use self::row::is_canonical_v4;
pub(crate) use self::row::{Labels, Row, unescaped};

use crate::json::{self, Scanner, Text};

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

impl Fault {
    /// Of a text in which the byte at `at` is no character: no JSON for that reason.
    pub fn of_encoding(mut self: Box<Self>, at: usize) -> Box<Self> {
        if self.reason == "invalid_json" {
            self.reason = "invalid_utf8";
            self.detail = format!("not UTF-8 at byte {at}; without that: {}", self.detail);
        }
        self
    }
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

impl Stop {
    pub fn reject(self) -> Reject {
        match self {
            Stop::Json(error) => Reject::Json(error),
            Stop::NotThis => Reject::Event(fault("unknown_format", "not this format")),
            Stop::Event(fault) => Reject::Event(fault),
        }
    }
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

#[cold]
pub(crate) fn bad_time(s: &Scanner, text: Text) -> Stop {
    let text = String::from_utf8_lossy(s.slice(text));
    let detail = format!("`{:.60}` is no time that can be read", text);
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

#[cfg(test)]
pub(crate) mod tests;
