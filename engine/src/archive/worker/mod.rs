//! The thread that encodes: it owns every open file, so nothing here is shared or locked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use parquet::file::properties::WriterProperties;
use tokio::sync::{mpsc, oneshot};

use crate::archive::ArchiveConfig;
use crate::archive::compact::{Compactor, Piece};
use crate::archive::encode::{self, Columns, FileWriter};
use crate::archive::layout::{FileName, Folder, Hour, TEMPORARY};
use crate::archive::writer::Flushed;
use crate::{Error, Result};

mod upkeep;

/// Files open at once; beyond, the one written longest ago is closed.
const MAX_OPEN: usize = 64;

#[derive(Debug)]
pub enum Command {
    Rows {
        stream: Arc<str>,
        from: i64,
        next: i64,
        events: RecordBatch,
        weight: usize,
    },
    Flush(oneshot::Sender<Result<Flushed>>),
    /// The store holds these positions now.
    Committed(Vec<(Arc<str>, i64)>),
    Expire(i64, oneshot::Sender<Result<usize>>),
    /// Ends the thread after the merges under way.
    Stop(oneshot::Sender<()>),
}

/// A file that rows still come to.
struct Open {
    writer: FileWriter,
    temporary: PathBuf,
    columns: Columns,
    from: i64,
    to: i64,
    rows: usize,
    /// Encoded bytes in memory.
    memory: usize,
    last_write: u64,
}

/// A complete file that waits for its name.
struct Sealed {
    folder: Folder,
    name: FileName,
    temporary: PathBuf,
    rows: usize,
    bytes: u64,
}

type Key = (Folder, Arc<str>);

pub struct Worker {
    root: PathBuf,
    config: ArchiveConfig,
    properties: WriterProperties,
    queued: Arc<AtomicUsize>,
    encoding: Arc<AtomicUsize>,
    open: HashMap<Key, Open>,
    sealed: Vec<Sealed>,
    /// Columns ever used by a family: a rare column then costs one extra file, not one with each row.
    columns: HashMap<String, Columns>,
    /// First failure. After it nothing is written any more.
    failure: Option<Failure>,
    counter: u64,
    /// Files of the folders that were written to of late.
    pieces: HashMap<Folder, BTreeMap<String, Vec<Piece>>>,
    committed: HashMap<Arc<str>, i64>,
    /// Places that got a file since they were last looked at for merging.
    grown: HashSet<(Folder, String)>,
    merging: HashSet<(Folder, String)>,
    compactor: Compactor,
    /// Replaced files, and since when.
    garbage: Vec<(Instant, PathBuf)>,
    /// Hour that [`Self::expire`] last came to.
    expired: Option<Hour>,
    /// Held until this thread has ended.
    #[expect(dead_code, reason = "it only has to stay open")]
    lock: File,
}

/// Why the archive writes nothing any more.
#[derive(Debug)]
struct Failure {
    is_full: bool,
    reason: String,
}

impl Failure {
    fn of(error: &Error) -> Self {
        Self {
            is_full: matches!(error, Error::Full { .. }),
            reason: error.to_string(),
        }
    }

    fn error(&self, root: &Path) -> Error {
        let (path, reason) = (root.display().to_string(), self.reason.clone());
        match self.is_full {
            true => Error::Full { path, reason },
            false => Error::Store { path, reason },
        }
    }
}

impl Worker {
    pub fn new(
        root: PathBuf,
        config: ArchiveConfig,
        queued: Arc<AtomicUsize>,
        encoding: Arc<AtomicUsize>,
        lock: File,
    ) -> Result<Self> {
        let properties = encode::properties(&config);
        let compactor = Compactor::start(root.clone(), properties.clone(), config.sync)?;
        Ok(Self {
            root,
            config,
            properties,
            queued,
            encoding,
            open: HashMap::new(),
            sealed: vec![],
            columns: HashMap::new(),
            failure: None,
            counter: 0,
            pieces: HashMap::new(),
            committed: HashMap::new(),
            grown: HashSet::new(),
            merging: HashSet::new(),
            compactor,
            garbage: vec![],
            expired: None,
            lock,
        })
    }

    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            match command {
                Command::Rows {
                    stream,
                    from,
                    next,
                    events,
                    weight,
                } => {
                    if self.failure.is_none()
                        && let Err(e) = self.write(&stream, from, next, &events)
                    {
                        self.failure = Some(Failure::of(&e));
                    }
                    self.queued.fetch_sub(weight, Ordering::Relaxed);
                }
                Command::Flush(reply) => {
                    let flushed = match &self.failure {
                        Some(_) => Ok(Flushed::default()),
                        None => self.flush(),
                    };
                    if let Err(e) = &flushed {
                        self.failure = Some(Failure::of(e));
                    }
                    let answer = match &self.failure {
                        Some(failure) => Err(failure.error(&self.root)),
                        None => flushed,
                    };
                    let _ = reply.send(answer);
                }
                Command::Committed(positions) => {
                    self.committed.extend(positions);
                    self.collect_merged();
                    self.submit_merges();
                    self.remove_garbage();
                }
                Command::Expire(before, reply) => {
                    let _ = reply.send(self.expire(before));
                }
                Command::Stop(reply) => {
                    self.compactor.stop();
                    self.collect_merged();
                    self.remove_garbage();
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    fn write(
        &mut self,
        stream: &Arc<str>,
        from: i64,
        next: i64,
        events: &RecordBatch,
    ) -> Result<()> {
        for (folder, rows) in encode::split(events)? {
            let used = Columns::used(&rows);
            let key = (folder, stream.clone());
            if self
                .open
                .get(&key)
                .is_some_and(|open| !open.columns.contains(used))
            {
                self.seal(&key)?;
            }
            if !self.open.contains_key(&key) {
                self.begin(&key, used, from)?;
            }
            self.counter += 1;
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            let rows = rows.project(&open.columns.indices())?;
            (open.writer.write(&rows)).map_err(|e| encode::failed(&open.temporary, e))?;
            open.to = next;
            open.rows += rows.num_rows();
            open.last_write = self.counter;
            let memory = open.writer.memory_size();
            let before = std::mem::replace(&mut open.memory, memory);
            self.encoding.fetch_add(memory, Ordering::Relaxed);
            self.encoding.fetch_sub(before, Ordering::Relaxed);
            self.bound_memory()?;
        }
        Ok(())
    }

    fn begin(&mut self, key: &Key, used: Columns, from: i64) -> Result<()> {
        let known = self.columns.entry(key.0.family.clone()).or_default();
        *known = known.union(used);
        let columns = *known;
        self.counter += 1;
        let temporary = self
            .root
            .join(TEMPORARY)
            .join(format!("{}.parquet", self.counter));
        let writer = encode::create(&temporary, columns, &self.properties)?;
        let open = Open {
            writer,
            temporary,
            columns,
            from,
            to: from,
            rows: 0,
            memory: 0,
            last_write: self.counter,
        };
        self.open.insert(key.clone(), open);
        Ok(())
    }

    fn bound_memory(&mut self) -> Result<()> {
        let close = if self.encoding.load(Ordering::Relaxed) > self.config.memory {
            self.open.iter().max_by_key(|(_, open)| open.memory)
        } else if self.open.len() > MAX_OPEN {
            self.open.iter().min_by_key(|(_, open)| open.last_write)
        } else {
            None
        };
        match close.map(|(key, _)| key.clone()) {
            Some(key) => self.seal(&key),
            None => Ok(()),
        }
    }

    /// Completes a file, with the range of positions that it got.
    fn seal(&mut self, key: &Key) -> Result<()> {
        let Some(open) = self.open.remove(key) else {
            return Ok(());
        };
        self.encoding.fetch_sub(open.memory, Ordering::Relaxed);
        let bytes = encode::finish(open.writer, &open.temporary, self.config.sync)?;
        self.sealed.push(Sealed {
            folder: key.0.clone(),
            name: FileName {
                stream: key.1.to_string(),
                from: open.from,
                to: open.to,
            },
            temporary: open.temporary,
            rows: open.rows,
            bytes,
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<Flushed> {
        for key in self.open.keys().cloned().collect::<Vec<_>>() {
            self.seal(&key)?;
        }
        let mut flushed = Flushed::default();
        let mut touched = HashSet::new();
        for file in std::mem::take(&mut self.sealed) {
            let folder = file.folder.path(&self.root);
            self.know_folder(&file.folder, &folder)?;
            let target = folder.join(file.name.to_string());
            std::fs::rename(&file.temporary, &target).map_err(|e| Error::io(&target, e))?;
            flushed.files += 1;
            flushed.rows += file.rows as u64;
            flushed.bytes += file.bytes;
            self.add_piece(&file);
            touched.insert(folder);
        }
        if self.config.sync {
            for folder in touched {
                encode::sync_folder(&folder)?;
            }
        }
        Ok(flushed)
    }
}
