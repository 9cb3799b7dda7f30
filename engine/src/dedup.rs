//! Duplicates by `event_uid`, inside a horizon of event time.
//!
//! An id can hold text that the sender of an event chose, so they are hashed with a seed of the store's own: nobody can
//! make up an event that is taken for the duplicate of another one.
//!
//! Ids are kept as 128-bit hashes in buckets of ten minutes of event time: the same event has the same time, so
//! one bucket decides. Buckets older than the watermark by more than the horizon are dropped. If there are more
//! ids than there is room for, the oldest buckets go early, which is told ([`Dedup::short_of`]): rather a
//! duplicate than a lost event. What was added since the last commit is written as one piece per bucket.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::Result;
use crate::schema::col;
use crate::store::StateWrite;
use crate::time::{MINUTE, floor};

/// Length of a bucket, µs. Events that are to be known as one have times in one bucket.
pub const BUCKET: i64 = 10 * MINUTE;
/// Memory of one id: a hash in a table that is half empty.
const ID_BYTES: usize = 32;
const OWNER: &str = "ids/";
/// Owner of buckets of earlier versions, which hashed without a seed.
const UNSEEDED: &str = "dedup/";
const SEED: &str = "ids-seed";

#[derive(Debug, Default)]
struct Bucket {
    /// Of an earlier version.
    unseeded: bool,
    seen: HashSet<u128>,
    /// Hashes not written yet.
    fresh: Vec<u8>,
    /// Number of the next piece.
    next_piece: i64,
}

impl Bucket {
    fn owner(&self) -> &'static str {
        match self.unseeded {
            true => UNSEEDED,
            false => OWNER,
        }
    }
}

#[derive(Debug)]
pub struct Dedup {
    seed: u64,
    seed_written: bool,
    horizon: i64,
    buckets: BTreeMap<i64, Bucket>,
    dropped: Vec<String>,
    /// Buckets before this are gone.
    from: i64,
    max_ids: usize,
    ids: usize,
    /// Events that could not be told from duplicates for want of room.
    unknown: u64,
}

impl Dedup {
    /// `horizon` in µs of event time behind the watermark; 0 turns deduplication off. `max_bytes` of memory.
    pub fn new(horizon: i64, max_bytes: usize) -> Self {
        Self {
            // Its keys come from the system's random numbers.
            seed: RandomState::new().hash_one(horizon),
            seed_written: false,
            horizon,
            max_ids: max_bytes / ID_BYTES,
            ids: 0,
            unknown: 0,
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
            let known = self.buckets.get(&start);
            let seed = match known {
                Some(bucket) if bucket.unseeded => 0,
                _ => self.seed,
            };
            let hash = xxh3_128_with_seed(uids.value(row).as_bytes(), seed);
            if self.ids >= self.max_ids && !self.make_room(start) {
                let known = self.buckets.get(&start);
                let known = known.is_some_and(|bucket| bucket.seen.contains(&hash));
                self.unknown += u64::from(!known);
                fresh.push(!known);
                continue;
            }
            let bucket = self.buckets.entry(start).or_default();
            let new = bucket.seen.insert(hash);
            if new {
                self.ids += 1;
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

    /// Lets the oldest bucket go for one that is newer. False if there is none.
    fn make_room(&mut self, wanted: i64) -> bool {
        match self.buckets.first_key_value() {
            Some((oldest, _)) if *oldest < wanted => {
                let end = oldest + BUCKET;
                self.drop_before(end);
                true
            }
            _ => false,
        }
    }

    /// How much less than the horizon is remembered, µs of event time behind the watermark, and events that were
    /// let through unchecked.
    pub fn short_of(&self, watermark: i64) -> (i64, u64) {
        let wanted = floor(watermark.saturating_sub(self.horizon), BUCKET);
        (self.from.saturating_sub(wanted).max(0), self.unknown)
    }

    /// Makes the horizon at least this long; 0 stays off.
    pub fn reach(&mut self, horizon: i64) {
        if self.horizon > 0 {
            self.horizon = self.horizon.max(horizon);
        }
    }

    /// Drops what lies beyond the horizon.
    pub fn advance(&mut self, watermark: i64) {
        self.drop_before(floor(watermark.saturating_sub(self.horizon), BUCKET));
    }

    fn drop_before(&mut self, from: i64) {
        while let Some(entry) = self.buckets.first_entry() {
            if *entry.key() >= from {
                break;
            }
            self.dropped
                .push(format!("{}{}", entry.get().owner(), entry.key()));
            self.ids -= entry.remove().seen.len();
        }
        self.from = self.from.max(from);
    }

    /// Pieces added since the last call, and owners to drop.
    pub fn take_state(&mut self) -> (Vec<StateWrite>, Vec<String>) {
        let mut writes = vec![];
        if !std::mem::replace(&mut self.seed_written, true) {
            writes.push(StateWrite {
                owner: SEED.into(),
                key: 0,
                value: Some(self.seed.to_le_bytes().to_vec()),
            });
        }
        for (start, bucket) in &mut self.buckets {
            if !bucket.fresh.is_empty() {
                let value = Some(std::mem::take(&mut bucket.fresh));
                writes.push(StateWrite {
                    owner: format!("{}{start}", bucket.owner()),
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
        if owner == SEED {
            let bytes = value.try_into().map_err(|_| "not 8 bytes")?;
            self.seed = u64::from_le_bytes(bytes);
            self.seed_written = true;
            return Ok(());
        }
        let unseeded = owner.strip_prefix(UNSEEDED);
        let Some(start) = unseeded.or(owner.strip_prefix(OWNER)) else {
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
        bucket.unseeded = unseeded.is_some();
        let before = bucket.seen.len();
        bucket
            .seen
            .extend(hashes.iter().map(|hash| u128::from_le_bytes(*hash)));
        self.ids += bucket.seen.len() - before;
        bucket.next_piece = bucket.next_piece.max(key + 1);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.ids
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::arrow::buffer::Buffer;

    use super::*;
    use crate::builder::EventBuilder;

    fn events(ids: &[(i64, &str)]) -> RecordBatch {
        let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
        for (time, uid) in ids {
            builder.begin();
            builder.int(col::TIME, *time);
            for column in [col::FAMILY, col::PRODUCT, col::LOG_NAME, col::RAW] {
                builder.text(column, "x");
            }
            builder.text(col::EVENT_UID, uid);
            builder.keep();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn without_room_the_oldest_are_forgotten_and_that_is_told() {
        let mut dedup = Dedup::new(100 * BUCKET, 4 * ID_BYTES);
        let duplicates =
            |dedup: &mut Dedup, ids: &[(i64, &str)]| dedup.filter(events(ids)).unwrap().1;
        assert_eq!(duplicates(&mut dedup, &[(0, "a"), (0, "b"), (0, "a")]), 1);
        assert_eq!(duplicates(&mut dedup, &[(BUCKET, "c"), (BUCKET, "d")]), 0);
        assert_eq!(dedup.short_of(100 * BUCKET), (0, 0));
        // The fifth makes the first bucket go; what lies there is let through from now on.
        assert_eq!(
            duplicates(&mut dedup, &[(2 * BUCKET, "e"), (0, "a"), (BUCKET, "c")]),
            1
        );
        assert_eq!(dedup.len(), 3);
        assert_eq!(dedup.short_of(100 * BUCKET).0, BUCKET);
        // One bucket alone that is too big takes no more, and loses nothing.
        let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let many: Vec<(i64, &str)> = many.iter().map(|n| (9 * BUCKET, n.as_str())).collect();
        assert_eq!(duplicates(&mut dedup, &many), 0);
        assert_eq!(dedup.len(), 4);
        assert_eq!(duplicates(&mut dedup, &many), 4);
        assert_eq!(dedup.short_of(100 * BUCKET).1, 5 + 5);
    }

    #[test]
    fn the_seed_is_the_stores_own_and_ids_of_earlier_versions_stay_known() {
        let rows = [(0, "a"), (0, "b")];
        let mut one = Dedup::new(100 * BUCKET, 1 << 20);
        assert_eq!(one.filter(events(&rows)).unwrap().1, 0);
        let (state, _) = one.take_state();
        let restored = |state: &[StateWrite]| {
            let mut dedup = Dedup::new(100 * BUCKET, 1 << 20);
            for write in state {
                let value = write.value.as_deref().unwrap();
                dedup.restore(&write.owner, write.key, value).unwrap();
            }
            dedup
        };
        let mut again = restored(&state);
        assert_eq!(again.filter(events(&rows)).unwrap().1, 2);
        assert_eq!((again.seed, again.take_state().0.len()), (one.seed, 0));
        assert_ne!(Dedup::new(100 * BUCKET, 1 << 20).seed, one.seed);
        // As version 0 wrote it.
        let hash = xxh3_128_with_seed(b"a", 0).to_le_bytes().to_vec();
        let old = StateWrite {
            owner: "dedup/0".into(),
            key: 0,
            value: Some(hash),
        };
        let mut dedup = restored(&[old]);
        assert_eq!(dedup.filter(events(&rows)).unwrap().1, 1);
        let (state, _) = dedup.take_state();
        let owners: Vec<_> = state.iter().map(|write| write.owner.as_str()).collect();
        assert_eq!(owners, [SEED, "dedup/0"]);
        assert_eq!(
            dedup
                .filter(events(&[(BUCKET, "a"), (BUCKET, "a")]))
                .unwrap()
                .1,
            1
        );
        dedup.advance(i64::MAX - 1);
        assert_eq!(dedup.take_state().1, ["dedup/0", &format!("ids/{BUCKET}")]);
    }
}
