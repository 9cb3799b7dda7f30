//! Where pushed bodies wait for the engine: segment files that are only appended to.
//!
//! One thread writes. It takes all bodies that wait, appends them, makes them durable with one `fsync` and only
//! then lets their requests be answered. Readers see nothing before that.
//!
//! Invariants: what was answered is on the disk until the engine committed beyond it; positions never go
//! back; the folder holds at most `limit` bytes; a failed write leaves nothing behind that could be read.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::recover;
use super::segment::{self, FILE_HEADER, Kind, RECORD_HEADER};

/// A segment is followed by the next one when it is as long as this, or an eighth of the spool.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Bodies that one `fsync` makes durable, in bytes; a longer one goes alone.
const GROUP_BYTES: u64 = 8 << 20;

/// Why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The engine is behind by as much as may be spooled.
    Full,
    /// The disk is full or fails.
    Disk(String),
}

pub(super) struct Spool {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
}

pub(super) struct Shared {
    pub folder: PathBuf,
    limit: u64,
    state: Mutex<State>,
    /// More can be read.
    grown: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    /// Oldest first; the last is written to.
    pub segments: VecDeque<Segment>,
    committed: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub base: i64,
    /// Of its records, as far as they are durable.
    pub bytes: u64,
}

impl Segment {
    pub fn end(&self) -> i64 {
        self.base + self.bytes as i64
    }
}

impl State {
    pub fn end(&self) -> i64 {
        self.segments.back().map_or(0, Segment::end)
    }
    fn disk_bytes(&self) -> u64 {
        let sizes = self.segments.iter().map(|s| s.bytes + FILE_HEADER);
        sizes.sum()
    }
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn committed(&self) -> i64 {
        self.state().committed
    }

    /// Waits until something stands at `position` or the time is over; tells whether it does.
    pub fn wait_for(&self, position: i64, time: Duration) -> bool {
        let nothing = |state: &mut State| state.end() <= position;
        let waited = self.grown.wait_timeout_while(self.state(), time, nothing);
        let waited = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    /// Deletes segments that the engine is through with.
    fn forget(&self, position: i64) {
        let mut state = self.state();
        state.committed = state.committed.max(position);
        let committed = state.committed;
        while state.segments.len() > 1 && state.segments[0].end() <= committed {
            let path = segment::path(&self.folder, state.segments[0].base);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot delete what is read of the spool");
                return;
            }
            state.segments.pop_front();
        }
    }
}

/// A body on its way to the disk.
struct Job {
    body: Vec<u8>,
    parts: Vec<(Kind, Range<usize>)>,
    done: oneshot::Sender<Result<(), Refusal>>,
}

impl Job {
    fn bytes(&self) -> u64 {
        let parts = self.parts.iter();
        parts
            .map(|(_, part)| (RECORD_HEADER + part.len()) as u64)
            .sum()
    }
}

impl Spool {
    /// Opens or makes the folder. `committed` is the engine's position, if it has one.
    pub fn open(folder: &Path, limit: u64, committed: Option<i64>) -> Result<Self, String> {
        let fail = |error: io::Error| format!("the spool {}: {error}", folder.display());
        recover::make(folder).map_err(fail)?;
        let mut segments = recover::find(folder)?;
        let committed = committed.unwrap_or_else(|| segments.front().map_or(0, |s| s.base));
        let end = segments.back().map(Segment::end);
        if end.is_none_or(|end| end < committed) {
            if let Some(end) = end {
                tracing::warn!(
                    folder = %folder.display(),
                    "the spool ends at {end}, and the store has read to {committed} already: beginning a new one there"
                );
            }
            segment::create(folder, committed).map_err(fail)?;
            segments.push_back(Segment {
                base: committed,
                bytes: 0,
            });
        }
        let last = segments.back().map_or(committed, |s| s.base);
        let file = File::options()
            .read(true)
            .write(true)
            .open(segment::path(folder, last));
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            limit,
            state: Mutex::new(State {
                segments,
                committed,
            }),
            grown: Condvar::new(),
        });
        shared.forget(committed);
        let writer = Writer {
            shared: shared.clone(),
            file: file.map_err(fail)?,
            dirty: false,
        };
        let (jobs, received) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("spool".into())
            .spawn(move || writer.run(received))
            .map_err(fail)?;
        Ok(Self { shared, jobs })
    }

    /// Returns when the body is durable, in its parts.
    pub async fn append(
        &self,
        body: Vec<u8>,
        parts: Vec<(Kind, Range<usize>)>,
    ) -> Result<(), Refusal> {
        let (done, outcome) = oneshot::channel();
        let ended = || Refusal::Disk("the spool's writer has ended".into());
        let job = Job { body, parts, done };
        self.jobs.send(job).map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }

    pub fn forget(&self, position: i64) {
        self.shared.forget(position);
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn disk_bytes(&self) -> u64 {
        self.shared.state().disk_bytes()
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// The last segment.
    file: File,
    /// A failed write may have left something behind the last durable record.
    dirty: bool,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while bytes < GROUP_BYTES
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.bytes();
                group.push(job);
            }
            self.write(group);
        }
    }

    fn write(&mut self, group: Vec<Job>) {
        let ready = self.tidy().and_then(|()| self.roll());
        let disk_bytes = self.shared.state().disk_bytes();
        let mut room = self.shared.limit.saturating_sub(disk_bytes);
        let (mut taken, mut full) = (vec![], vec![]);
        for job in group {
            let bytes = job.bytes();
            if bytes <= room {
                room -= bytes;
                taken.push(job);
            } else {
                full.push(job);
            }
        }
        let written = ready.and_then(|()| self.append(&taken));
        let outcome = written.map_err(|error| Refusal::Disk(error.to_string()));
        // Nobody may be waiting any more: a client that hung up.
        for job in taken {
            let _ = job.done.send(outcome.clone());
        }
        for job in full {
            let _ = job.done.send(Err(Refusal::Full));
        }
    }

    fn last(&self) -> Segment {
        let state = self.shared.state();
        let last = state.segments.back().copied();
        last.unwrap_or(Segment { base: 0, bytes: 0 })
    }

    /// Removes what a failed write left.
    fn tidy(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(FILE_HEADER + self.last().bytes)?;
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Begins a new segment if the last one is long, so that it can be deleted.
    fn roll(&mut self) -> io::Result<()> {
        let last = self.last();
        if last.bytes < SEGMENT_BYTES.min(self.shared.limit / 8) {
            return Ok(());
        }
        let base = last.end();
        self.file = segment::create(&self.shared.folder, base)?;
        self.shared
            .state()
            .segments
            .push_back(Segment { base, bytes: 0 });
        self.shared.forget(0);
        Ok(())
    }

    fn append(&mut self, jobs: &[Job]) -> io::Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        let last = self.last();
        let group = last.end();
        let size: u64 = jobs.iter().map(Job::bytes).sum();
        let mut bytes = Vec::with_capacity(size as usize);
        for job in jobs {
            for (kind, part) in &job.parts {
                let position = group + bytes.len() as i64;
                segment::encode(&mut bytes, *kind, position, group, &job.body[part.clone()]);
            }
        }
        self.dirty = true;
        let written = self.file.write_all_at(&bytes, FILE_HEADER + last.bytes);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            // Tried again before the next write.
            let _ = self.tidy();
            return Err(error);
        }
        self.dirty = false;
        if let Some(last) = self.shared.state().segments.back_mut() {
            last.bytes += bytes.len() as u64;
        }
        self.shared.grown.notify_all();
        Ok(())
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
