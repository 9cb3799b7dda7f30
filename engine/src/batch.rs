//! What a source hands to the engine: decoded events together with the position they reach.
//!
//! Invariant: positions ride in the batch. Whoever commits the batch's effects commits its position in the
//! same transaction, so that neither can run ahead of the other.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::mask;

/// One ordered stream of a source: a Kafka topic partition (`topic/3`), or a file (its path).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// Name of the configured source.
    pub source: Arc<str>,
    pub name: Arc<str>,
}

impl Partition {
    pub fn new(source: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            source: source.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.name)
    }
}

/// Decoded events of one partition, in its order.
#[derive(Debug, Clone)]
pub struct EventBatch {
    pub partition: Partition,
    /// Where reading goes on after this batch: the next Kafka offset, or the next byte of a file
    /// (uncompressed).
    pub next: i64,
    /// When the last of them was handed over to what the source reads from, µs, where that is known: the highest time
    /// that a broker noted of a message.
    pub delivered: Option<i64>,
    /// Rows in the schema of [`crate::schema::events`].
    pub events: RecordBatch,
    pub counts: Counts,
    pub dead_letters: Vec<DeadLetter>,
}

/// Events by what became of them. Conservation law:
/// `read = processed + duplicates + unchanged + dead_lettered + filtered + waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events after envelopes were peeled; a record that cannot be decoded counts as one.
    pub read: u64,
    /// Rows that went through the rules.
    pub processed: u64,
    /// Rows whose `event_uid` was seen before.
    pub duplicates: u64,
    /// Rows of scans that say what the last one said, see [`crate::scans`].
    pub unchanged: u64,
    /// Rows of scans of which that is not certain yet. Goes down again.
    pub waiting: u64,
    pub dead_lettered: u64,
    /// Events left out by configuration, as the early stages of a Kubernetes request.
    pub filtered: u64,
    /// Part of `processed`: rows behind the watermark.
    pub late: u64,
    /// Input bytes of the records read.
    pub bytes: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.processed += other.processed;
        self.duplicates += other.duplicates;
        self.unchanged += other.unchanged;
        self.waiting += other.waiting;
        self.dead_lettered += other.dead_lettered;
        self.filtered += other.filtered;
        self.late += other.late;
        self.bytes += other.bytes;
    }
    /// Whether nothing was lost.
    pub fn conserved(&self) -> bool {
        let seen = self.processed + self.duplicates + self.unchanged;
        self.read == seen + self.dead_lettered + self.filtered + self.waiting
    }
    /// Rows that waited went on, or turned out to be unchanged.
    pub fn release(&mut self, processed: u64, unchanged: u64) {
        self.processed += processed;
        self.unchanged += unchanged;
        self.waiting = self.waiting.saturating_sub(processed + unchanged);
    }
}

/// A record that could not be decoded, kept with its place and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    pub partition: Partition,
    /// Kafka offset, or byte offset of the record in the (uncompressed) file.
    pub position: i64,
    /// Short and countable: `invalid_json`, `invalid_utf8`, `too_large`, `too_deep`, `unknown_format`,
    /// `missing_field`, `wrong_type`, `bad_time`, `empty`, `unreadable` (the rest of a damaged file).
    pub reason: &'static str,
    /// For people: what was wrong and where.
    pub detail: String,
    /// The record's first 4 KiB.
    #[serde(serialize_with = "lossy")]
    pub payload: Vec<u8>,
    pub payload_bytes: u64,
    /// What came with the record beside its payload, where a source has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Box<Attributes>>,
}

/// Key and headers of a Kafka message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    #[serde(serialize_with = "lossy_option")]
    pub key: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Header {
    pub name: String,
    #[serde(serialize_with = "lossy_option")]
    pub value: Option<Vec<u8>>,
}

impl DeadLetter {
    /// Masks the secrets in what people will read.
    pub fn mask(&mut self) {
        if let Cow::Owned(masked) = mask::bytes(&self.payload) {
            self.payload = masked;
        }
        if let Cow::Owned(masked) = mask::text(&self.detail) {
            self.detail = masked;
        }
    }
}

/// Bytes of a dead letter's payload that are kept.
pub const DEAD_LETTER_PAYLOAD: usize = 4096;

fn lossy_option<S: serde::Serializer>(
    bytes: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => serializer.serialize_some(&String::from_utf8_lossy(bytes)),
        None => serializer.serialize_none(),
    }
}

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
