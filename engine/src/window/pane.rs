//! One pane: what it keeps of each input, its keys, and both as pieces of stored state.
//!
//! The first piece holds the whole pane, later ones what was added since: batches, and the counts of keys
//! that changed, which replaces what earlier pieces say of them. When there are many pieces, the whole is
//! written anew.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use hashbrown::HashSet;

use super::evidence::PaneKeys;
use super::piece::{read, stream};
use crate::Result;

/// Pieces after which a pane is written anew as a whole.
const MAX_PIECES: i64 = 32;
/// Keys, and bytes of batches, in one piece: the store refuses values of a gigabyte.
const PIECE_KEYS: usize = 50_000;
const PIECE_BYTES: usize = 64 << 20;

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
    pub keys: PaneKeys,
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
        let slots = self.keys.to_write(whole);
        let mut put = |bytes: Vec<u8>| {
            taken.written.push((self.pieces, bytes));
            self.pieces += 1;
        };
        for slots in slots.chunks(PIECE_KEYS) {
            let mut piece = vec![EVIDENCE];
            let [keys, events] = self.keys.batches(slots, whole)?;
            stream(&mut piece, &[keys])?;
            stream(&mut piece, &[events])?;
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
        self.keys.are_written();
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
            let before = self.keys.bytes;
            self.keys.restore(&keys, &events)?;
            self.bytes = self.bytes + self.keys.bytes - before;
            return Ok(());
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
}

/// Kind of a piece that holds evidence; others hold batches of the input of that number.
const EVIDENCE: u8 = u8::MAX;

#[derive(Debug, Default)]
pub struct Taken {
    pub gone: Vec<i64>,
    pub written: Vec<(i64, Vec<u8>)>,
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
