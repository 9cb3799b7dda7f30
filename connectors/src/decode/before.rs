//! What can be taken back of what was read.

use std::ops::Range;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use weir_engine::Result;
use weir_engine::batch::Counts;

use super::Work;

/// How often the bytes of [`DecoderConfig::max_envelope_bytes`] may be decompressed for one record, as broken text is read again.
const UNPACKINGS: u64 = 4;

/// What can be taken back if a value turns out to be broken.
pub(crate) struct Before {
    pub(super) rows: usize,
    pub(crate) counts: Counts,
    pub(super) letters: usize,
    pub(super) letters_left: usize,
    pub(super) letters_omitted: u64,
    pieces: usize,
    pub(crate) held: usize,
    unpacked: u64,
}

impl Before {
    /// See [`Work::delivered`].
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.read - self.counts.dead_lettered
    }
}

impl Work<'_, '_> {
    pub(crate) fn before(&self) -> Before {
        Before {
            rows: self.builder.len(),
            counts: self.counts,
            letters: self.letters.len(),
            letters_left: self.letters_left,
            letters_omitted: self.letters_omitted,
            pieces: self.pieces.mark(),
            held: self.pieces.amount(),
            unpacked: self.unpacked.0,
        }
    }

    /// Takes back what was read since.
    pub(super) fn withdraw(&mut self, before: &Before) {
        if before.rows < self.builder.len() {
            self.withdrawn.push(before.rows..self.builder.len());
        }
        self.counts = before.counts;
        self.letters.truncate(before.letters);
        self.letters_left = before.letters_left;
        self.letters_omitted = before.letters_omitted;
        self.pieces.withdraw(before.pieces);
        self.unpacked.0 = before.unpacked;
    }

    /// Takes so many decompressed bytes into account; gives how many more the record may have.
    pub(crate) fn unpack(&mut self, bytes: u64) -> usize {
        self.unpacked.0 += bytes;
        self.unpacked.1 += bytes;
        let limit = self.config.max_envelope_bytes as u64;
        let left = limit.saturating_sub(self.unpacked.0);
        left.min((UNPACKINGS * limit).saturating_sub(self.unpacked.1)) as usize
    }
}

/// The rows that were not withdrawn.
pub(super) fn without(events: RecordBatch, withdrawn: &[Range<usize>]) -> Result<RecordBatch> {
    if withdrawn.is_empty() {
        return Ok(events);
    }
    let mut keep = vec![true; events.num_rows()];
    for rows in withdrawn {
        keep[rows.clone()].fill(false);
    }
    Ok(filter_record_batch(&events, &BooleanArray::from(keep))?)
}
