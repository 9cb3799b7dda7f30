//! Log files and folders as a source: each file is a partition, and many are read in the order of their
//! events' times.
//!
//! One thread reads and decodes. The file whose events are furthest behind is read next, so that the
//! watermark (the slowest partition) moves on and the engine holds few open windows.
//!
//! Invariants: every file that is announced is finished or, with `follow`, caught up; what cannot be read
//! is a dead letter or is listed by [`FileSource::skipped`], never passed over in silence; the channel's
//! bound is the only buffer.

mod block;
mod brackets;
mod discover;
mod frame;
mod framer;
mod input;
mod merge;
mod outline;
mod pending;
mod reader;
mod rest;
mod text_line;
pub(crate) mod utf16;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use weir_engine::batch::Partition;
use weir_engine::source::{Positions, Source, SourceMessage, SourceSender};
use weir_engine::{Error, Result};

pub(crate) use self::framer::records;
use crate::decode::DecoderConfig;

/// What to read, and how.
#[derive(Debug, Clone)]
pub struct FileConfig {
    /// Name of the configured source.
    pub name: String,
    /// Files, and folders to search for logs.
    pub paths: Vec<PathBuf>,
    pub decoder: DecoderConfig,
    /// Wait for more lines in plain files and for new files in folders, instead of finishing.
    pub follow: bool,
}

/// Path of a file that is not read, and why.
pub type Skipped = (String, String);

/// A running file source.
#[derive(Debug)]
pub struct FileSource {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the reading thread and the source's owner both see.
#[derive(Debug)]
struct Shared {
    config: FileConfig,
    stopped: AtomicBool,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    files: AtomicU64,
    skipped: Mutex<Vec<Skipped>>,
}

impl FileSource {
    /// Finds the files and starts to read them at `positions` (partition = path as found; absent = start).
    /// Fails if a path does not exist or a folder holds no log.
    pub fn start(
        config: FileConfig,
        positions: &Positions,
        out: SourceSender,
    ) -> Result<Arc<FileSource>> {
        let found = discover::discover(&config.name, &config.paths)?;
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            bytes_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(found.files.iter().map(|file| file.bytes).sum()),
            files: AtomicU64::new(found.files.len() as u64),
            skipped: Mutex::new(found.skipped),
            config,
        });
        let thread_shared = shared.clone();
        let positions = positions.clone();
        let run = move || {
            let name = thread_shared.config.name.clone();
            let work = || merge::run(&thread_shared, found.files, &positions, &out);
            let reason = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the reading thread panicked; this is a bug".to_owned(),
            };
            let source = name;
            // If nobody listens any more, nobody needs to know.
            let _ = out.blocking_send(SourceMessage::Failed { source, reason });
        };
        let spawned = std::thread::Builder::new()
            .name(format!("file {}", shared.config.name))
            .spawn(run);
        let thread = spawned.map_err(|error| Error::Source {
            source_name: shared.config.name.clone(),
            reason: format!("cannot start its thread: {error}"),
        })?;
        Ok(Arc::new(FileSource { shared, thread }))
    }

    /// Bytes read of the files on disk, and how many there are in all. Compressed files count as they are.
    pub fn progress(&self) -> (u64, u64) {
        let total = self.shared.bytes_total.load(Ordering::Relaxed);
        let done = self.shared.bytes_done.load(Ordering::Relaxed);
        (done.min(total), total)
    }

    /// Files found to read.
    pub fn files(&self) -> u64 {
        self.shared.files.load(Ordering::Relaxed)
    }

    /// Files found and not read.
    pub fn skipped(&self) -> Vec<Skipped> {
        let skipped = self.shared.skipped.lock();
        skipped.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Source for FileSource {
    fn name(&self) -> &str {
        &self.shared.config.name
    }

    fn committed(&self, _positions: &[(Partition, i64)]) {}

    /// Asks the thread to end, which it does before its next block, and gives it a moment. It cannot be
    /// waited for longer: it may be at a full channel that nobody empties any more.
    async fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            if self.thread.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests;
