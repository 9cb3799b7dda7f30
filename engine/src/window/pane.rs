//! One pane: what it keeps of each input, evidence per key, and both as pieces of stored state.
//!
//! The first piece holds the whole pane, later ones what was added since: batches, and the evidence of keys
//! that changed, which replaces what earlier pieces say of them. When there are many pieces, the whole is
//! written anew.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};
use datafusion::common::utils::memory::get_record_batch_memory_size;
use hashbrown::{HashMap, HashSet};

use super::piece::{read, stream};
use crate::Result;
use crate::alert::Evidence;
use crate::plan::CONDITIONS;

/// Evidence kept per key and pane: the earliest ones, so that what is kept does not depend on arrival.
pub const PANE_EVIDENCE: usize = 16;
/// Memory of a key and of an event beside their texts.
const KEY_BYTES: usize = 224;
const EVENT_BYTES: usize = 56;
/// Pieces after which a pane is written anew as a whole.
const MAX_PIECES: i64 = 32;
/// Keys, and bytes of batches, in one piece: the store refuses values of a gigabyte.
const PIECE_KEYS: usize = 50_000;
const PIECE_BYTES: usize = 64 << 20;

/// What one key did in one pane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyEvidence {
    pub count: u64,
    /// Of these, how many satisfy each condition of the rule.
    pub that: [u32; CONDITIONS],
    pub first: i64,
    pub last: i64,
    /// Earliest [`PANE_EVIDENCE`] events, ascending.
    pub events: Vec<Evidence>,
    /// Not written as it is.
    fresh: bool,
}

impl KeyEvidence {
    fn add(&mut self, time: i64, event_uid: &str, that: [bool; CONDITIONS]) {
        for (count, holds) in self.that.iter_mut().zip(that) {
            *count = count.saturating_add(u32::from(holds));
        }
        let new = self.count == 0;
        self.first = if new { time } else { self.first.min(time) };
        self.last = if new { time } else { self.last.max(time) };
        self.count += 1;
        self.fresh = true;
        let full = self.events.len() == PANE_EVIDENCE;
        let behind = |e: &Evidence| (e.time, e.event_uid.as_str()) < (time, event_uid);
        if full && self.events.last().is_some_and(behind) {
            return;
        }
        let place = self.events.partition_point(behind);
        if full {
            self.events.pop();
        }
        let event_uid = event_uid.to_owned();
        self.events.insert(place, Evidence { time, event_uid });
    }

    fn bytes(&self, key: &str) -> usize {
        let events = self.events.iter().map(|e| EVENT_BYTES + e.event_uid.len());
        KEY_BYTES + key.len() + events.sum::<usize>()
    }
}

/// What a pane keeps of some rows.
#[derive(Debug, Clone)]
pub struct Kept {
    pub rows: RecordBatch,
    /// Hash of the key of each row; empty if nobody asks.
    pub keys: Vec<u64>,
}

impl Kept {
    /// The rows of these keys; all of them if none are given.
    pub fn of(&self, keys: Option<&HashSet<u64>>) -> Result<Option<RecordBatch>> {
        let Some(keys) = keys.filter(|_| !self.keys.is_empty()) else {
            return Ok(Some(self.rows.clone()));
        };
        let rows = self.keys.iter().zip(0..);
        let rows = rows.filter_map(|(key, row)| keys.contains(key).then_some(row));
        let rows = UInt32Array::from_iter_values(rows);
        match rows.len() {
            0 => Ok(None),
            some if some == self.keys.len() => Ok(Some(self.rows.clone())),
            _ => Ok(Some(take_record_batch(&self.rows, &rows)?)),
        }
    }

    fn bytes(&self) -> usize {
        get_record_batch_memory_size(&self.rows) + self.keys.len() * size_of::<u64>()
    }
}

#[derive(Debug, Default)]
pub struct Pane {
    /// By input of the plan.
    pub kept: Vec<Vec<Kept>>,
    /// Part of what is kept that is not written yet, as it came.
    fresh: Vec<Vec<RecordBatch>>,
    pub evidence: HashMap<String, KeyEvidence>,
    /// Memory.
    pub bytes: usize,
    /// The store has the pieces `[0, pieces)`.
    pieces: i64,
}

impl Pane {
    /// Adds what came of rows of one input. [`merge`](Self::tail) may make fewer of them.
    pub fn keep(&mut self, input: usize, inputs: usize, kept: Vec<Kept>) {
        self.kept.resize(inputs, vec![]);
        self.fresh.resize(inputs, vec![]);
        self.fresh[input].extend(kept.iter().map(|kept| kept.rows.clone()));
        self.bytes += size(&kept);
        self.kept[input].extend(kept);
    }

    /// Where the tail of an input's batches begins that is worth merging: those before it hold more rows than
    /// all after them, so that each row is merged a few times only, however many come.
    pub fn tail(&self, input: usize, least: usize) -> usize {
        let batches = &self.kept[input];
        let mut from = batches.len();
        let mut rows = 0;
        while from > 0
            && (batches.len() - from < least || batches[from - 1].rows.num_rows() <= rows)
        {
            from -= 1;
            rows += batches[from].rows.num_rows();
        }
        from
    }

    /// Puts one batch list in the place of a tail.
    pub fn replace(&mut self, input: usize, from: usize, merged: Vec<Kept>) {
        let tail = self.kept[input].split_off(from);
        self.bytes = self.bytes + size(&merged) - size(&tail);
        self.kept[input].extend(merged);
    }

    pub fn add_evidence(
        &mut self,
        key: &str,
        time: i64,
        event_uid: &str,
        that: [bool; CONDITIONS],
    ) {
        match self.evidence.get_mut(key) {
            Some(evidence) => {
                let before = evidence.events.len();
                evidence.add(time, event_uid, that);
                if evidence.events.len() > before {
                    self.bytes += EVENT_BYTES + event_uid.len();
                }
            }
            None => {
                // Most keys have one event: no room is taken for more.
                let mut evidence = KeyEvidence {
                    events: Vec::with_capacity(1),
                    ..KeyEvidence::default()
                };
                evidence.add(time, event_uid, that);
                self.bytes += evidence.bytes(key);
                self.evidence.insert(key.to_owned(), evidence);
            }
        }
    }

    /// Pieces to write, and numbers of those to delete.
    pub fn take_pieces(&mut self) -> Result<Taken> {
        let mut taken = Taken::default();
        let whole = self.pieces == 0 || self.pieces >= MAX_PIECES;
        if whole {
            taken.gone = (0..self.pieces).collect();
            self.pieces = 0;
        }
        let fresh = std::mem::take(&mut self.fresh);
        let all = || {
            self.kept
                .iter()
                .map(|kept| kept.iter().map(|kept| kept.rows.clone()))
        };
        let kept = match whole {
            true => all().map(Iterator::collect).collect(),
            false => fresh,
        };
        let mut keys: Vec<_> = self.evidence.iter_mut().collect();
        keys.retain(|(_, evidence)| whole || evidence.fresh);
        keys.sort_by(|a, b| a.0.cmp(b.0));
        let mut put = |bytes: Vec<u8>| {
            taken.written.push((self.pieces, bytes));
            self.pieces += 1;
        };
        for keys in keys.chunks(PIECE_KEYS) {
            let mut piece = vec![EVIDENCE];
            stream(&mut piece, &[key_batch(keys)?])?;
            stream(&mut piece, &[event_batch(keys)?])?;
            put(piece);
        }
        for (input, batches) in kept.iter().enumerate() {
            let mut batches = batches.as_slice();
            while !batches.is_empty() {
                let mut bytes = 0;
                let fits = |batch: &&RecordBatch| {
                    bytes += get_record_batch_memory_size(batch);
                    bytes <= PIECE_BYTES
                };
                let count = batches.iter().take_while(fits).count().max(1);
                let mut piece = vec![input as u8];
                stream(&mut piece, &batches[..count])?;
                put(piece);
                batches = &batches[count..];
            }
        }
        for (_, evidence) in keys {
            evidence.fresh = false;
        }
        Ok(taken)
    }

    /// Numbers of all pieces that the store has.
    pub fn all_pieces(&self) -> std::ops::Range<i64> {
        0..self.pieces
    }

    /// After the last [`restore`](Self::restore): finds the keys of what is kept.
    pub fn restored(&mut self, with_keys: impl Fn(RecordBatch) -> Kept) {
        for kept in self.kept.iter_mut().flatten() {
            *kept = with_keys(kept.rows.clone());
            self.bytes += kept.keys.len() * size_of::<u64>();
        }
    }

    /// Puts back one piece; they come in ascending order.
    pub fn restore(&mut self, number: i64, bytes: &[u8], inputs: usize) -> Result<(), String> {
        if number != self.pieces {
            return Err(format!("piece {} of a pane is missing", self.pieces));
        }
        self.pieces += 1;
        let (kind, mut rest) = bytes.split_first().ok_or("an empty piece")?;
        if *kind == EVIDENCE {
            let keys = read(&mut rest)?;
            let events = read(&mut rest)?;
            return self.restore_evidence(&keys, &events);
        }
        let input = usize::from(*kind);
        if input >= inputs {
            return Err("a pane holds more inputs than the rule has".into());
        }
        self.kept.resize(inputs, vec![]);
        for rows in read(&mut rest)? {
            let kept = Kept { rows, keys: vec![] };
            self.bytes += kept.bytes();
            self.kept[input].push(kept);
        }
        Ok(())
    }

    fn restore_evidence(
        &mut self,
        keys: &[RecordBatch],
        events: &[RecordBatch],
    ) -> Result<(), String> {
        let ([keys], [events]) = (keys, events) else {
            return Err("evidence is not one batch of keys and one of events".into());
        };
        let wrong = || "evidence has other columns".to_owned();
        let names = keys.column(0).as_string_opt::<i32>().ok_or_else(wrong)?;
        let counts = keys
            .column(1)
            .as_primitive_opt::<UInt64Type>()
            .ok_or_else(wrong)?;
        let firsts = keys
            .column(2)
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(wrong)?;
        let lasts = keys
            .column(3)
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(wrong)?;
        let sizes = keys
            .column(4)
            .as_primitive_opt::<UInt32Type>()
            .ok_or_else(wrong)?;
        let times = events
            .column(0)
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(wrong)?;
        let uids = events.column(1).as_string_opt::<i32>().ok_or_else(wrong)?;
        let that = keys.columns().get(5..).unwrap_or_default().iter();
        let that = that.map(|column| column.as_primitive_opt::<UInt32Type>().ok_or_else(wrong));
        let that = that.collect::<Result<Vec<_>, _>>()?;
        let mut next = 0;
        for row in 0..keys.num_rows() {
            let to = next + sizes.value(row) as usize;
            if to > times.len() {
                return Err("evidence has fewer events than it says".into());
            }
            let event = |index: usize| Evidence {
                time: times.value(index),
                event_uid: uids.value(index).to_owned(),
            };
            let evidence = KeyEvidence {
                count: counts.value(row),
                // A store of before they were counted: there may have been any number.
                that: std::array::from_fn(|i| that.get(i).map_or(u32::MAX, |t| t.value(row))),
                first: firsts.value(row),
                last: lasts.value(row),
                events: (next..to).map(event).collect(),
                fresh: false,
            };
            next = to;
            let key = names.value(row);
            self.bytes += evidence.bytes(key);
            if let Some(before) = self.evidence.insert(key.to_owned(), evidence) {
                self.bytes -= before.bytes(key);
            }
        }
        Ok(())
    }
}

/// Kind of a piece that holds evidence; others hold batches of the input of that number.
const EVIDENCE: u8 = u8::MAX;

#[derive(Debug, Default)]
pub struct Taken {
    pub gone: Vec<i64>,
    pub written: Vec<(i64, Vec<u8>)>,
}

type Keys<'a> = [(&'a String, &'a mut KeyEvidence)];

fn key_batch(keys: &Keys) -> Result<RecordBatch> {
    let names = StringArray::from_iter_values(keys.iter().map(|(key, _)| key));
    let counts = UInt64Array::from_iter_values(keys.iter().map(|(_, e)| e.count));
    let firsts = Int64Array::from_iter_values(keys.iter().map(|(_, e)| e.first));
    let lasts = Int64Array::from_iter_values(keys.iter().map(|(_, e)| e.last));
    let sizes = UInt32Array::from_iter_values(keys.iter().map(|(_, e)| e.events.len() as u32));
    let mut columns = vec![
        ("key".to_owned(), Arc::new(names) as ArrayRef),
        ("count".to_owned(), Arc::new(counts)),
        ("first".to_owned(), Arc::new(firsts)),
        ("last".to_owned(), Arc::new(lasts)),
        ("events".to_owned(), Arc::new(sizes)),
    ];
    for condition in 0..CONDITIONS {
        let that = UInt32Array::from_iter_values(keys.iter().map(|(_, e)| e.that[condition]));
        columns.push((format!("that_{condition}"), Arc::new(that)));
    }
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The events of all keys, one key after the other.
fn event_batch(keys: &Keys) -> Result<RecordBatch> {
    let events: Vec<&Evidence> = keys.iter().flat_map(|(_, e)| &e.events).collect();
    let times = Int64Array::from_iter_values(events.iter().map(|e| e.time));
    let uids = StringArray::from_iter_values(events.iter().map(|e| &e.event_uid));
    Ok(RecordBatch::try_from_iter([
        ("time", Arc::new(times) as ArrayRef),
        ("event_uid", Arc::new(uids)),
    ])?)
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

fn size(kept: &[Kept]) -> usize {
    // Counts a buffer once that several columns share.
    kept.iter().map(Kept::bytes).sum()
}
