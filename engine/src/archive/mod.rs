//! The event archive: every processed event as Parquet on local disk.
//!
//! ```text
//! <root>/family=cloud_audit/dt=2026-11-09/hour=13/<stream>-<from>-<to>.parquet
//! <root>/.tmp/        files being written; emptied at start
//! <root>/.set-aside/  files that no position of the store accounts for
//! ```
//!
//! `dt` and `hour` are event time, UTC. `stream` is one source partition ([`layout::stream_name`]);
//! `[from, to)` is the range of positions whose rows of this hour the file holds.
//!
//! The order of durable writes is: archive, then store, then the broker. So after a crash the archive may be
//! ahead of the store, never behind it. Invariants that make each event readable exactly once:
//!
//! 1. A file holds rows of one stream, one family and one hour.
//! 2. Within a folder the ranges of one stream are disjoint, except that a merged file covers the files it
//!    was made from. Readers skip a file whose range lies within another's of the same stream.
//! 3. [`ArchiveWriter::flush`] ends every file at a position that the next store commit will name. At start
//!    [`ArchiveWriter::reconcile`] removes what lies behind the store's positions: those rows are read
//!    again, and it does not matter how they are batched then.
//! 4. Only committed files are merged, so a merged file never has to be taken apart.
//! 5. A partition that starts over at a lower position (a topic made anew, a file rotated in place) gets a
//!    new generation in its stream name: old and new rows never share a range.
//!
//! The archive never looks at what an event means, and never changes one.

mod compact;
mod encode;
pub mod layout;
mod read;
mod worker;
mod writer;

use std::time::Duration;

pub use read::Archive;
pub use writer::{ArchiveWriter, Flushed, Reconciled};

/// Block compression of Parquet pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `LZ4_RAW`: the cheapest by far.
    #[default]
    Lz4,
    /// Level 1: smaller by a third, several times the cost.
    Zstd,
    None,
}

#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    pub compression: Compression,
    /// Rows of a row group. Readers decode and skip by row group.
    pub row_group_rows: usize,
    /// Encoded bytes that open files may hold before the largest of them is closed.
    pub memory: usize,
    /// Whether files and folders are synced. Without, a power cut may lose events that the store counts;
    /// only for archives that do not outlive the process.
    pub sync: bool,
    /// As soon as a stream has this many files of about one size in an hour, they are merged.
    pub merge_at: usize,
    /// How long merged files stay for readers that have listed them. Longer than any query may take.
    pub grace: Duration,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            compression: Compression::Lz4,
            row_group_rows: 128 * 1024,
            memory: 256 << 20,
            sync: true,
            merge_at: 16,
            grace: Duration::from_secs(120),
        }
    }
}
