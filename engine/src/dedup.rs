//! Duplicates by `event_uid`, inside a horizon of event time.
//!
//! Ids are kept as 128-bit hashes in buckets of one hour of event time: the same event has the same time, so
//! one bucket decides. Buckets older than the watermark by more than the horizon are dropped, which bounds
//! memory. What was added since the last commit is written as one piece per bucket.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128;

use crate::Result;
use crate::schema::col;
use crate::store::StateWrite;
use crate::time::{HOUR, floor};

const BUCKET: i64 = HOUR;
const OWNER: &str = "dedup/";

#[derive(Debug, Default)]
struct Bucket {
    seen: HashSet<u128>,
    /// Hashes not written yet.
    fresh: Vec<u8>,
    /// Number of the next piece.
    next_piece: i64,
}

#[derive(Debug)]
pub struct Dedup {
    horizon: i64,
    buckets: BTreeMap<i64, Bucket>,
    dropped: Vec<String>,
    /// Buckets before this are gone.
    from: i64,
}

impl Dedup {
    /// `horizon` in µs of event time behind the watermark; 0 turns deduplication off.
    pub fn new(horizon: i64) -> Self {
        Self {
            horizon,
            buckets: BTreeMap::new(),
            dropped: vec![],
            from: i64::MIN,
        }
    }

    /// The rows seen for the first time, and how many were not.
    pub fn filter(&mut self, events: RecordBatch) -> Result<(RecordBatch, u64)> {
        if self.horizon == 0 {
            return Ok((events, 0));
        }
        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        let uids = events.column(col::EVENT_UID).as_string_view();
        let mut fresh = Vec::with_capacity(uids.len());
        for row in 0..uids.len() {
            let start = floor(times.value(row), BUCKET);
            if start < self.from {
                fresh.push(true); // beyond the horizon: nobody knows, and losing an event is worse
                continue;
            }
            let bucket = self.buckets.entry(start).or_default();
            let hash = xxh3_128(uids.value(row).as_bytes());
            let new = bucket.seen.insert(hash);
            if new {
                bucket.fresh.extend_from_slice(&hash.to_le_bytes());
            }
            fresh.push(new);
        }
        let duplicates = fresh.iter().filter(|new| !**new).count() as u64;
        if duplicates == 0 {
            return Ok((events, 0));
        }
        Ok((
            filter_record_batch(&events, &BooleanArray::from(fresh))?,
            duplicates,
        ))
    }

    /// Drops what lies beyond the horizon.
    pub fn advance(&mut self, watermark: i64) {
        if watermark == i64::MAX {
            return; // the input is closed; nothing will be asked any more
        }
        let from = floor(watermark.saturating_sub(self.horizon), BUCKET);
        while let Some(entry) = self.buckets.first_entry() {
            if *entry.key() >= from {
                break;
            }
            self.dropped.push(format!("{OWNER}{}", entry.key()));
            entry.remove();
        }
        self.from = self.from.max(from);
    }

    /// Pieces added since the last call, and owners to drop.
    pub fn take_state(&mut self) -> (Vec<StateWrite>, Vec<String>) {
        let mut writes = vec![];
        for (start, bucket) in &mut self.buckets {
            if !bucket.fresh.is_empty() {
                let value = Some(std::mem::take(&mut bucket.fresh));
                writes.push(StateWrite {
                    owner: format!("{OWNER}{start}"),
                    key: bucket.next_piece,
                    value,
                });
                bucket.next_piece += 1;
            }
        }
        (writes, std::mem::take(&mut self.dropped))
    }

    /// Puts back a piece if it is one of ours.
    pub fn restore(&mut self, owner: &str, key: i64, value: &[u8]) -> Result<(), String> {
        let Some(start) = owner.strip_prefix(OWNER) else {
            return Ok(());
        };
        let start: i64 = start
            .parse()
            .map_err(|_| format!("`{start}` is not a time"))?;
        let (hashes, rest) = value.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(format!(
                "{} bytes are not a whole number of hashes",
                value.len()
            ));
        }
        let bucket = self.buckets.entry(start).or_default();
        bucket
            .seen
            .extend(hashes.iter().map(|hash| u128::from_le_bytes(*hash)));
        bucket.next_piece = bucket.next_piece.max(key + 1);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.seen.len()).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
