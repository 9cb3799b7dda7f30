//! What a file is cut into.

use datafusion::arrow::buffer::Buffer;

use crate::decode::Record;

/// Some records of a file, or what could not become records.
pub(super) struct Block {
    pub bytes: Buffer,
    pub records: Vec<Record>,
    /// Where the file goes on after this block.
    pub next: i64,
    pub letter: Option<Letter>,
    /// From this place on the records come of compressed data whose checksum is wrong.
    pub doubtful: Option<i64>,
}

/// A part of the file that is no record.
pub(super) struct Letter {
    pub position: i64,
    pub reason: &'static str,
    pub detail: String,
    pub payload: Vec<u8>,
    pub bytes: u64,
    /// Bytes of text that are lost, as far as that is known: how many events they were is estimated.
    pub lost: u64,
}
