//! The pipeline's side of the archive: takes batches, answers when they are durable.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use datafusion::arrow::array::RecordBatch;
use tokio::sync::{mpsc, oneshot};

use super::ArchiveConfig;
use super::encode;
use super::layout::{self, Folder, SET_ASIDE, StoredFile, TEMPORARY};
use super::worker::{Command, Worker};
use crate::batch::Partition;
use crate::schema;
use crate::{Error, Result};

/// Batches that may wait for the encoder. When that many do, [`ArchiveWriter::push`] waits too.
const QUEUE: usize = 8;

/// What one flush made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushed {
    pub files: usize,
    pub rows: u64,
    pub bytes: u64,
}

/// What [`ArchiveWriter::reconcile`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Files behind the store's position, removed: their rows are read again.
    pub removed: usize,
    /// Files moved to `.set-aside`: of partitions that the store does not know, or begun before its position
    /// and ended behind it, as after restoring an old backup of the store.
    pub set_aside: usize,
}

/// How far a partition's rows go in the archive.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    generation: u32,
    next: Option<i64>,
}

/// Writes the archive. One per archive: a lock file keeps a second one out.
///
/// Call [`reconcile`](Self::reconcile) once after opening, then for every batch [`push`](Self::push), before
/// each store commit [`flush`](Self::flush), after it [`committed`](Self::committed). Encoding runs on a
/// thread of its own, next to the pipeline.
#[derive(Debug)]
pub struct ArchiveWriter {
    root: PathBuf,
    /// Taken when the writer ends.
    commands: Option<mpsc::Sender<Command>>,
    worker: Option<JoinHandle<()>>,
    queued: Arc<AtomicUsize>,
    encoding: Arc<AtomicUsize>,
    /// By hash of the partition.
    reach: HashMap<u64, Reach>,
    streams: HashMap<Partition, (u64, Arc<str>)>,
    /// Whether files were found at start and not yet compared with the store.
    unreconciled: bool,
}

impl ArchiveWriter {
    /// Opens or makes the archive in folder `root`. Fails if another process writes to it.
    pub fn open(root: impl Into<PathBuf>, config: ArchiveConfig) -> Result<Self> {
        let root = root.into();
        let temporary = root.join(TEMPORARY);
        fs::create_dir_all(&temporary).map_err(|e| Error::io(&temporary, e))?;
        let lock = lock(&root)?;
        for entry in fs::read_dir(&temporary).map_err(|e| Error::io(&temporary, e))? {
            let path = entry.map_err(|e| Error::io(&temporary, e))?.path();
            fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
        let mut reach: HashMap<u64, Reach> = HashMap::new();
        let mut found = false;
        for folder in layout::folders(&root, None)? {
            for file in layout::files(&root, &folder)?.0 {
                found = true;
                let Some((partition, generation)) = file.name.origin() else {
                    continue;
                };
                let reach = reach.entry(partition).or_default();
                if generation > reach.generation {
                    *reach = Reach {
                        generation,
                        next: None,
                    };
                }
                if generation == reach.generation {
                    reach.next = reach.next.max(Some(file.name.to));
                }
            }
        }
        let (commands, queue) = mpsc::channel(QUEUE);
        let (queued, encoding) = (Arc::default(), Arc::default());
        let worker = Worker::new(
            root.clone(),
            config,
            Arc::clone(&queued),
            Arc::clone(&encoding),
            lock,
        )?;
        let worker = std::thread::Builder::new()
            .name("weir-archive".into())
            .spawn(move || worker.run(queue))
            .map_err(|e| Error::io("thread weir-archive", e))?;
        Ok(Self {
            root,
            commands: Some(commands),
            worker: Some(worker),
            queued,
            encoding,
            reach,
            streams: HashMap::new(),
            unreconciled: found,
        })
    }

    /// Brings the archive back to the store's positions (`next` of each partition): what was archived but
    /// not committed before a crash is read again, so it goes. Before the first [`push`](Self::push).
    pub fn reconcile(&mut self, positions: &[(Partition, i64)]) -> Result<Reconciled> {
        let next: HashMap<u64, i64> = (positions.iter())
            .map(|(partition, next)| (layout::partition_hash(partition), *next))
            .collect();
        let mut done = Reconciled::default();
        for folder in layout::folders(&self.root, None)? {
            let (live, replaced) = layout::files(&self.root, &folder)?;
            let mut kept: Vec<StoredFile> = vec![];
            for file in live.into_iter().chain(replaced) {
                let Some((partition, generation)) = file.name.origin() else {
                    continue;
                };
                let latest = self.reach.get(&partition).map_or(0, |r| r.generation);
                let remove = || fs::remove_file(&file.path).map_err(|e| Error::io(&file.path, e));
                match next.get(&partition) {
                    // Left over from a merge that a crash cut short.
                    _ if kept.iter().any(|other| other.name.covers(&file.name)) => remove()?,
                    // Earlier generations were committed before the partition started over.
                    Some(_) if generation < latest => kept.push(file),
                    Some(next) if file.name.to <= *next => kept.push(file),
                    Some(next) if file.name.from >= *next => {
                        remove()?;
                        done.removed += 1;
                    }
                    _ => {
                        self.set_aside(&folder, &file)?;
                        done.set_aside += 1;
                    }
                }
            }
        }
        for (partition, reach) in &mut self.reach {
            reach.next = reach.next.min(next.get(partition).copied());
        }
        for (partition, next) in positions {
            let reach = self.reach.entry(layout::partition_hash(partition));
            reach.or_default().next = Some(*next);
        }
        if done.set_aside > 0 {
            tracing::warn!(
                files = done.set_aside,
                folder = %self.root.join(SET_ASIDE).display(),
                "archive files that the store does not account for were set aside; queries no longer see them"
            );
        }
        self.unreconciled = false;
        Ok(done)
    }

    fn set_aside(&self, folder: &Folder, file: &StoredFile) -> Result<()> {
        let root = self.root.join(SET_ASIDE);
        let aside = folder.path(&root);
        encode::create_folder(&self.root, &aside, false)?;
        let target = aside.join(file.name.to_string());
        fs::rename(&file.path, &target).map_err(|e| Error::io(&target, e))
    }

    /// Takes the rows of one batch (duplicates already dropped) that cover positions `[from, next)` of the
    /// partition. `next` below `from` says that the partition has started over. Waits only while the encoder
    /// is behind.
    pub async fn push(
        &mut self,
        partition: &Partition,
        from: i64,
        next: i64,
        events: &RecordBatch,
    ) -> Result<()> {
        if events.num_rows() == 0 {
            return Ok(());
        }
        let refuse = |reason: String| {
            Err(Error::Source {
                source_name: partition.to_string(),
                reason,
            })
        };
        if self.unreconciled {
            return refuse("archive holds files already: compare it with the store's positions (reconcile) before writing".into());
        }
        // Back behind where it was: the partition was made anew, and counts from 0 again.
        let from = if next < from { 0 } else { from };
        if next <= from {
            return refuse(format!(
                "a batch of {} events covers no position ([{from}, {next})): after a restart nobody could tell whether it was stored",
                events.num_rows()
            ));
        }
        if events.schema_ref().fields() != schema::events().fields() {
            return refuse("events to archive do not have the event schema".into());
        }
        let stream = self.stream(partition, from, next);
        let weight = encode::weight(events);
        self.queued.fetch_add(weight, Ordering::Relaxed);
        let events = events.clone();
        self.send(Command::Rows {
            stream,
            from,
            next,
            events,
            weight,
        })
        .await
    }

    /// Name of the partition's stream, a new one if it starts over.
    fn stream(&mut self, partition: &Partition, from: i64, next: i64) -> Arc<str> {
        let known = self.streams.get(partition);
        let hash = known.map_or_else(|| layout::partition_hash(partition), |known| known.0);
        let reach = self.reach.entry(hash).or_default();
        let again = reach.next.is_some_and(|reached| from < reached);
        reach.generation += u32::from(again);
        reach.next = Some(next);
        match known {
            Some((_, stream)) if !again => stream.clone(),
            _ => {
                let stream: Arc<str> = layout::stream_name(partition, reach.generation).into();
                self.streams
                    .insert(partition.clone(), (hash, stream.clone()));
                stream
            }
        }
    }

    /// Makes everything pushed so far durable and visible. Called before each store commit. After an error
    /// the archive takes nothing more: the engine stops.
    pub async fn flush(&mut self) -> Result<Flushed> {
        self.begin_flush().await?.await
    }

    /// As [`flush`](Self::flush), but returns at once; what is returned waits. Rows pushed meanwhile belong to the next
    /// flush.
    pub async fn begin_flush(
        &mut self,
    ) -> Result<impl Future<Output = Result<Flushed>> + Send + use<>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Flush(reply)).await?;
        let gone = self.gone();
        Ok(async move { answer.await.map_err(|_| gone)? })
    }

    /// Tells that the store has committed these positions, so that their files may be merged.
    pub async fn committed(&mut self, streams: Vec<(Arc<str>, i64)>) -> Result<()> {
        self.send(Command::Committed(streams)).await
    }

    /// Positions in the streams that the partitions are written to by now.
    pub fn in_streams(
        &self,
        positions: impl Iterator<Item = (Partition, i64)>,
    ) -> Vec<(Arc<str>, i64)> {
        let stream = |(partition, next)| {
            let (_, stream) = self.streams.get(&partition)?;
            Some((stream.clone(), next))
        };
        positions.filter_map(stream).collect()
    }

    /// Deletes the folders of hours that ended before this event time (µs). Returns how many.
    pub async fn expire(&mut self, before: i64) -> Result<usize> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Expire(before, reply)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Ends the writer after the merges under way. What was not flushed is dropped, as in a crash.
    pub async fn close(mut self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Stop(reply)).await?;
        let ended = answer.await.map_err(|_| self.gone());
        self.end();
        ended
    }

    /// Waits for the thread, and with it for the lock on the archive.
    fn end(&mut self) {
        self.commands = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }

    /// Bytes held in memory: batches that wait, and encoded pages of open files.
    pub fn buffered_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed) + self.encoding.load(Ordering::Relaxed)
    }

    async fn send(&self, command: Command) -> Result<()> {
        match &self.commands {
            Some(commands) => commands.send(command).await.map_err(|_| self.gone()),
            None => Err(self.gone()),
        }
    }

    fn gone(&self) -> Error {
        Error::Store {
            path: self.root.display().to_string(),
            reason: "the archive's thread has ended".into(),
        }
    }
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(".lock");
    let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Store {
            path: root.display().to_string(),
            reason: "another process writes to this archive; stop it, or give this one a data folder of its own".into(),
        }),
        Err(TryLockError::Error(e)) => Err(Error::io(&path, e)),
    }
}
