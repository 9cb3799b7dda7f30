//! One pane: what it keeps of each input, evidence per key, and both as bytes.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use hashbrown::HashMap;

use crate::alert::Evidence;
use crate::{Error, Result};

/// Stand-in for the memory of one key's evidence.
pub const EVIDENCE_BYTES: usize = 512;
/// Evidence kept per key and pane: the earliest ones, so that what is kept does not depend on arrival.
pub const PANE_EVIDENCE: usize = 16;

/// What one key did in one pane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyEvidence {
    pub count: u64,
    pub first: i64,
    pub last: i64,
    /// Earliest [`PANE_EVIDENCE`] events, ascending.
    pub events: Vec<Evidence>,
}

impl KeyEvidence {
    pub fn add(&mut self, time: i64, event_uid: &str) {
        self.first = if self.count == 0 {
            time
        } else {
            self.first.min(time)
        };
        self.last = if self.count == 0 {
            time
        } else {
            self.last.max(time)
        };
        self.count += 1;
        let full = self.events.len() == PANE_EVIDENCE;
        let behind = |e: &Evidence| (e.time, e.event_uid.as_str()) < (time, event_uid);
        if full && self.events.last().is_some_and(behind) {
            return;
        }
        let place = self.events.partition_point(behind);
        self.events.insert(
            place,
            Evidence {
                time,
                event_uid: event_uid.to_owned(),
            },
        );
        self.events.truncate(PANE_EVIDENCE);
    }
}

#[derive(Debug, Default)]
pub struct Pane {
    /// By input of the plan.
    pub kept: Vec<Vec<RecordBatch>>,
    pub evidence: HashMap<String, KeyEvidence>,
    pub bytes: usize,
}

/// Texts in buffers of their own size: those that an aggregate fills are megabytes long.
pub fn compact(states: RecordBatch) -> Result<RecordBatch> {
    let columns = states.columns().iter();
    let columns = columns.map(|column| match column.as_string_view_opt() {
        Some(texts) => Arc::new(texts.gc()) as ArrayRef,
        None => column.clone(),
    });
    Ok(RecordBatch::try_new(states.schema(), columns.collect())?)
}

pub fn size(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::get_array_memory_size).sum()
}

// A pane's bytes: u32 length of the evidence (JSON), the evidence, then per input u32 length and an Arrow IPC
// stream of what is kept (length 0 for nothing).
pub fn encode(pane: &Pane) -> Result<Vec<u8>> {
    let mut keys: Vec<_> = pane.evidence.iter().collect();
    keys.sort_by(|a, b| a.0.cmp(b.0));
    let plain: Vec<_> = keys
        .into_iter()
        .map(|(key, e)| {
            let events: Vec<_> = e.events.iter().map(|e| (e.time, &e.event_uid)).collect();
            (key, e.count, e.first, e.last, events)
        })
        .collect();
    let evidence =
        serde_json::to_vec(&plain).map_err(|e| Error::Other(format!("evidence: {e}")))?;
    let mut bytes = (evidence.len() as u32).to_le_bytes().to_vec();
    bytes.extend(evidence);
    for kept in &pane.kept {
        let mut stream = vec![];
        if let Some(first) = kept.first() {
            let mut writer = StreamWriter::try_new(stream, &first.schema())?;
            for batch in kept {
                writer.write(batch)?;
            }
            stream = writer.into_inner()?;
        }
        bytes.extend((stream.len() as u32).to_le_bytes());
        bytes.extend(stream);
    }
    Ok(bytes)
}

type PlainEvidence = (String, u64, i64, i64, Vec<(i64, String)>);

pub fn decode(bytes: &[u8]) -> Result<Pane, String> {
    let (evidence, mut rest) = section(bytes)?;
    let plain: Vec<PlainEvidence> = serde_json::from_slice(evidence).map_err(|e| e.to_string())?;
    let mut pane = Pane::default();
    for (key, count, first, last, events) in plain {
        let events = events
            .into_iter()
            .map(|(time, event_uid)| Evidence { time, event_uid })
            .collect();
        pane.bytes += EVIDENCE_BYTES + key.len();
        pane.evidence.insert(
            key,
            KeyEvidence {
                count,
                first,
                last,
                events,
            },
        );
    }
    while !rest.is_empty() {
        let stream;
        (stream, rest) = section(rest)?;
        let mut kept = vec![];
        if !stream.is_empty() {
            let reader = StreamReader::try_new(stream, None).map_err(|e| e.to_string())?;
            kept = reader
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| e.to_string())?;
        }
        pane.bytes += size(&kept);
        pane.kept.push(kept);
    }
    Ok(pane)
}

/// A length and as many bytes, and what follows.
fn section(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("pane is cut short")?;
    Ok(rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or("pane is cut short")?)
}
