//! Gathers the messages of one partition into one block of bytes. Pure: knows no Kafka and no clock.

use std::time::{Duration, Instant};

use datafusion::arrow::buffer::Buffer;
use weir_engine::batch::Attributes;

use super::BLOCK_BYTES;
use crate::decode::Record;

/// Keys and headers of messages that have some, by position, in order.
pub(super) type AllAttributes = Vec<(i64, Box<Attributes>)>;

/// A partition that is being read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    records: Vec<Record>,
    attributes: AllAttributes,
    /// When the first of the records came.
    since: Option<Instant>,
    /// The highest time that the broker has of one of them, µs.
    delivered: Option<i64>,
    /// Position after the last message that came.
    pub next: Option<i64>,
    /// The partition's end was reached after what is gathered.
    pub at_end: bool,
    /// The engine was told of the end, and nothing came since.
    pub end_told: bool,
}

/// What is handed to the decoder.
#[derive(Debug)]
pub(super) struct Block {
    pub bytes: Buffer,
    pub records: Vec<Record>,
    pub attributes: AllAttributes,
    pub delivered: Option<i64>,
    pub next: i64,
}

impl Block {
    /// What it holds in memory.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(_, one)| size(one));
        self.bytes.len() + attributes.sum::<usize>()
    }
}

/// Memory of a message's key and headers.
pub(super) fn size(attributes: &Attributes) -> usize {
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers = attributes.headers.iter();
    let headers = headers.map(|h| size_of_val(h) + h.name.len() + length(&h.value));
    size_of_val(attributes) + length(&attributes.key) + headers.sum::<usize>()
}

impl Gathered {
    /// A null payload (tombstone) becomes an empty record, which the decoder makes a dead letter of. `delivered` is the
    /// broker's time of the message, µs.
    pub fn push(
        &mut self,
        payload: Option<&[u8]>,
        attributes: Option<Box<Attributes>>,
        position: i64,
        delivered: Option<i64>,
        now: Instant,
    ) {
        // One without a time is bounded by nothing but the clock on the wall.
        self.delivered = match (self.records.is_empty(), self.delivered, delivered) {
            (true, _, delivered) => delivered,
            (false, Some(before), Some(delivered)) => Some(before.max(delivered)),
            (false, ..) => None,
        };
        self.attributes
            .extend(attributes.map(|one| (position, one)));
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload.unwrap_or_default());
        self.records.push(Record {
            range: start..self.bytes.len(),
            position,
        });
        self.since.get_or_insert(now);
        self.next = Some(position + 1);
        self.at_end = false;
        self.end_told = false;
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether the block must be handed on before a payload of this length is added.
    pub fn full_for(&self, payload: usize, rows: usize) -> bool {
        !self.is_empty() && (self.records.len() >= rows || self.bytes.len() + payload > BLOCK_BYTES)
    }

    /// Whether the block must be handed on now.
    pub fn full(&self, rows: usize) -> bool {
        self.records.len() >= rows || self.bytes.len() >= BLOCK_BYTES
    }

    /// When the block must be handed on at the latest.
    pub fn due(&self, wait: Duration) -> Option<Instant> {
        self.since.map(|since| since + wait)
    }

    /// Hands the block over and starts a new one.
    pub fn take(&mut self) -> Option<Block> {
        self.since = None;
        if self.records.is_empty() {
            return None;
        }
        let next = self.records.last().map(|r| r.position + 1)?;
        Some(Block {
            bytes: Buffer::from_vec(std::mem::take(&mut self.bytes)),
            records: std::mem::take(&mut self.records),
            attributes: std::mem::take(&mut self.attributes),
            delivered: self.delivered.take(),
            next,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_messages_one_after_the_other() {
        let mut gathered = Gathered::default();
        let now = Instant::now();
        gathered.push(Some(b"first"), None, 7, Some(20), now);
        gathered.push(None, None, 8, Some(30), now);
        gathered.push(Some(b"third"), None, 12, Some(25), now);
        let block = gathered.take().unwrap();
        assert_eq!(block.bytes.as_slice(), b"firstthird");
        let texts: Vec<_> = block
            .records
            .iter()
            .map(|r| (&block.bytes[r.range.clone()], r.position))
            .collect();
        assert_eq!(texts, [(&b"first"[..], 7), (b"", 8), (b"third", 12)]);
        assert_eq!((block.next, block.delivered), (13, Some(30)));
        gathered.push(None, None, 13, None, now);
        gathered.push(None, None, 14, Some(40), now);
        assert_eq!(gathered.take().unwrap().delivered, None);
        assert!(gathered.take().is_none());
        assert_eq!(gathered.next, Some(15), "known also after the block left");
    }

    #[test]
    fn a_block_is_full_by_rows_or_bytes_and_one_long_message_fits_alone() {
        let mut gathered = Gathered::default();
        let now = Instant::now();
        assert!(!gathered.full_for(10 * BLOCK_BYTES, 2));
        gathered.push(Some(b"x"), None, 0, None, now);
        assert!(!gathered.full_for(1, 2));
        assert!(gathered.full_for(BLOCK_BYTES, 2));
        gathered.push(Some(b"x"), None, 1, None, now);
        assert!(gathered.full_for(1, 2) && gathered.full(2) && !gathered.full(3));
    }

    #[test]
    fn a_message_after_the_end_takes_the_end_back() {
        let mut gathered = Gathered {
            at_end: true,
            end_told: true,
            ..Gathered::default()
        };
        gathered.push(Some(b"x"), None, 0, None, Instant::now());
        assert!(!gathered.at_end && !gathered.end_told);
    }
}
