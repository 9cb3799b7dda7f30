//! Read-only SQL typed by people, over events, alerts and incidents.
//!
//! Three walls, each for what the one before cannot stop:
//!
//! 1. [`check`] looks at the text: length, number of operators, nesting, kind of statement, functions.
//! 2. [`run`] plans with everything but queries refused, and runs with a memory pool, a limit on rows and
//!    bytes, and a timeout.
//! 3. [`ChildRunner`] has it run in a process of its own, which has a hard limit on its memory, and is
//!    killed when its time is up. Only this one is a bound; a server uses nothing less.
//!
//! Nothing here writes, and nothing here reads a file that is not the archive's or the store's.

mod child;
mod functions;
mod guard;
mod run;
mod tables;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use child::{ChildRunner, child_main};
pub use guard::{Checked, check};
pub use run::{run, session};
pub use tables::{register_alerts, register_incidents};

/// Most rows that anybody may ask for.
pub const MAX_ROWS: usize = 10_000;

/// Bounds of one query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of SQL text.
    pub max_text: usize,
    /// Operators, joins, subqueries and other clauses. 2,000 exhaust the stack of a debug build; nobody types 200.
    pub max_operators: usize,
    /// Brackets within brackets.
    pub max_depth: usize,
    /// Tables named, each as often as it is named.
    pub max_tables: usize,
    /// Rows answered; the rest is cut off, and the answer says so.
    pub rows: usize,
    /// Bytes of the rows as JSON, about. The rest is cut off likewise.
    pub max_bytes: usize,
    /// Bytes that sorting, grouping and joining may take together.
    pub memory: usize,
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// Threads that a query may use.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_text: 8 << 10,
            max_operators: 200,
            max_depth: 32,
            max_tables: 16,
            rows: 1000,
            max_bytes: 16 << 20,
            memory: 256 << 20,
            timeout: Duration::from_secs(30),
            threads: 2,
        }
    }
}

impl Limits {
    /// With another limit on rows, at most [`MAX_ROWS`].
    pub fn with_rows(self, rows: usize) -> Self {
        let rows = rows.clamp(1, MAX_ROWS);
        Self { rows, ..self }
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_millis() as u64)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// A query's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryResult {
    pub columns: Vec<ResultColumn>,
    /// One value per column. Times are RFC 3339 in UTC.
    pub rows: Vec<Vec<Value>>,
    /// Whether there would have been more rows.
    pub truncated: bool,
    pub elapsed_ms: u64,
    /// What one should know to read the answer right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultColumn {
    pub name: String,
    /// text, integer, float, boolean, timestamp, date, array, object, json, or the Arrow type.
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Not answered here, whatever its size.
    Refused,
    /// Text, operators, nesting or the answer itself.
    TooLarge,
    Timeout,
    Memory,
    /// Wrong syntax, unknown names, wrong types.
    Invalid,
    /// Not the query's fault.
    Failed,
}

/// Why a query got no answer, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

macro_rules! kinds {
    ($($function:ident $kind:ident)*) => {
        impl Refusal {
            $(pub fn $function(message: impl Into<String>) -> Self {
                Self { kind: RefusalKind::$kind, message: message.into() }
            })*
        }
    };
}

kinds! {
    refused Refused
    too_large TooLarge
    timeout Timeout
    memory Memory
    invalid Invalid
    failed Failed
}

impl Refusal {
    fn out_of_time(limits: &Limits) -> Self {
        Self::timeout(format!(
            "the query ran longer than {} s; narrow its time range (time >= …) or name a family's table instead of events",
            limits.timeout.as_secs_f64()
        ))
    }
    fn out_of_memory(detail: impl fmt::Display) -> Self {
        Self::memory(format!(
            "the query needs more memory than it may have ({detail}); narrow its time range, select fewer columns, or group by fewer keys"
        ))
    }
}
