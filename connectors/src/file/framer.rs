//! Cuts line after line, and bounds the work of looking for the ends of documents.

use std::ops::Range;

use super::frame::{Cut, Text, Waited, filling, trimmed_end};

/// How often each byte may be looked at in vain, and bytes besides.
const PASSES: u64 = 8;
const BYTES: u64 = 1 << 20;

/// Cuts the lines of a text one after the other. Invariant: the bytes that are looked at, over all lines, are at most some
/// [`PASSES`] times as many as there are. When that is used up, lines that were looked at in vain stand alone.
#[derive(Debug)]
pub(super) struct Framer {
    /// Lines before this place are records, whether or not they end what they begin.
    alone_before: u64,
    /// Bytes that may still be looked at in vain.
    credit: u64,
    /// Up to where bytes have been read.
    read: u64,
}

impl Framer {
    /// Begins at this place of a text.
    pub fn new(offset: u64) -> Self {
        Self {
            alone_before: 0,
            credit: BYTES,
            read: offset,
        }
    }

    /// Cuts at the line from `start` to `end`. `is_part` says that it is the rest of a line that was cut already.
    pub fn cut(&mut self, text: &Text, start: usize, end: usize, is_part: bool) -> Cut {
        let place = |at: usize| text.offset + at as u64;
        let read = place(text.bytes.len());
        let more = PASSES * read.saturating_sub(self.read);
        let most = (text.limit as u64).saturating_mul(PASSES) + BYTES;
        (self.credit, self.read) = ((self.credit + more).min(most), read);
        let (cut, seen) = text.cut(start, end, is_part, place(start) < self.alone_before);
        let next = match cut {
            Cut::Line | Cut::Alone => end,
            Cut::At(_, next) => next,
            Cut::TooLong => start,
            // Each time twice as much is read before it is looked at again.
            Cut::More | Cut::Wait => return cut,
        };
        let vain = seen.saturating_sub(next) as u64;
        if vain > self.credit || cut == Cut::Alone {
            self.alone_before = self.alone_before.max(place(seen));
        }
        self.credit = self.credit.saturating_sub(vain);
        cut
    }
}

/// The records of a text that is there as a whole.
pub(crate) fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    let text = Text {
        bytes,
        offset: 0,
        ended: true,
        failed: false,
        growing: false,
        waited: Waited::default(),
        limit: bytes.len(),
    };
    let mut framer = Framer::new(0);
    let (mut records, mut start, mut part) = (vec![], 0, None);
    while start < bytes.len() {
        let line_end = || memchr::memchr(b'\n', &bytes[start..]);
        let end = part.unwrap_or_else(|| line_end().map_or(bytes.len(), |length| start + length));
        let (last, next) = match framer.cut(&text, start, end, part.is_some()) {
            Cut::At(last, next) => (last, next),
            _ => (end, end + 1),
        };
        part = (next < end).then_some(end);
        let record = trimmed_end(&bytes[start..last]);
        let first = filling(record);
        if first < record.len() {
            records.push(start + first..start + record.len());
        }
        start = next;
    }
    records
}
