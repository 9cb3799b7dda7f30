//! Log files as a source: newline-delimited JSON, pretty-printed documents, CloudTrail's `{"Records": […]}`,
//! each also gzipped.
//!
//! Every file is a partition; its position is the byte offset in the uncompressed text. Files are merged by
//! event time: the one whose events are the oldest is read next, so that a folder of a year's logs needs no
//! more window state than the year did. Reading and decoding run on one thread of their own.
//!
//! Invariant: every byte of every listed file ends up in a record; a record becomes rows, counts or a dead
//! letter. What cannot be a log is listed as skipped, with the reason.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use weir_engine::batch::{EventBatch, Partition};
use weir_engine::schema::col;
use weir_engine::source::{Positions, Source, SourceMessage, SourceSender};
use weir_engine::{Error, Result};

use crate::decode::{Decoder, DecoderConfig};

mod discover;
mod read;

use discover::discover;
use read::{Block, Reader};

/// Between two looks for appended lines and new files.
const POLL: Duration = Duration::from_secs(1);
/// Bytes of a file that are decoded early, to learn how old its events are.
const PEEK_BYTES: usize = 256 << 10;

#[derive(Debug, Clone)]
pub struct FileConfig {
    /// Name of the source.
    pub name: String,
    /// Files, or folders that are searched to the bottom.
    pub paths: Vec<PathBuf>,
    pub decoder: DecoderConfig,
    /// Wait for appended lines and new files at the end instead of finishing. A gzipped file is finished
    /// once it was read.
    pub follow: bool,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// On-disk bytes read, and to read.
    done: AtomicU64,
    total: AtomicU64,
    skipped: Mutex<Vec<(String, String)>>,
}

/// A running file source.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl FileSource {
    /// Lists the files and starts reading. Fails when a path does not exist or no path holds a log.
    pub fn start(
        config: FileConfig,
        positions: &Positions,
        out: SourceSender,
    ) -> Result<Arc<Self>> {
        let (files, skipped) = discover(&config.paths)?;
        if files.is_empty() && !config.follow {
            let places: Vec<_> = config
                .paths
                .iter()
                .map(|p| p.display().to_string())
                .collect();
            let reason = format!(
                "no logs in {}: looked for *.json, *.ndjson, *.jsonl and *.log, each also .gz",
                places.join(", ")
            );
            return Err(Error::Source {
                source_name: config.name,
                reason,
            });
        }
        let shared = Arc::new(Shared::default());
        let bytes = |path: &PathBuf| path.metadata().map_or(0, |m| m.len());
        shared
            .total
            .store(files.iter().map(bytes).sum(), Ordering::Relaxed);
        *shared
            .skipped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = skipped;
        let name = config.name.clone();
        let worker = Worker {
            positions: positions.clone(),
            decoder: Decoder::new(config.decoder.clone()),
            config,
            shared: shared.clone(),
            out,
            inputs: vec![],
        };
        let spawned = thread::Builder::new()
            .name(format!("file-{name}"))
            .spawn(move || worker.run(files));
        let thread = spawned.map_err(|error| Error::Source {
            source_name: name.clone(),
            reason: error.to_string(),
        })?;
        Ok(Arc::new(Self {
            name,
            shared,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// On-disk bytes (compressed ones for gzip) read so far, and in all.
    pub fn progress(&self) -> (u64, u64) {
        (
            self.shared.done.load(Ordering::Relaxed),
            self.shared.total.load(Ordering::Relaxed),
        )
    }

    /// Files that were found and not read, with the reason.
    pub fn skipped(&self) -> Vec<(String, String)> {
        self.shared
            .skipped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }
    fn committed(&self, _: &[(Partition, i64)]) {}
    async fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It notices within a poll, or at its next message to the closed channel.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// One file while it is read.
#[derive(Debug)]
struct Input {
    path: PathBuf,
    partition: Partition,
    /// Where reading goes on, in uncompressed bytes.
    position: i64,
    reader: Option<Reader>,
    /// How far in event time it has come; none when nothing is known.
    current: Option<i64>,
    finished: bool,
    waiting: bool,
}

struct Worker {
    config: FileConfig,
    positions: Positions,
    decoder: Decoder,
    shared: Arc<Shared>,
    out: SourceSender,
    inputs: Vec<Input>,
}

/// The engine is gone, or we are asked to stop.
struct Ended;

impl Worker {
    fn run(mut self, files: Vec<PathBuf>) {
        let _ = self.read_all(files);
    }

    fn read_all(&mut self, files: Vec<PathBuf>) -> Result<(), Ended> {
        self.add(files)?;
        loop {
            while let Some(index) = self.next_input() {
                self.step(index)?;
            }
            if !self.config.follow {
                return Ok(());
            }
            self.sleep()?;
            self.look_again()?;
        }
    }

    fn send(&self, message: SourceMessage) -> Result<(), Ended> {
        if self.shared.stop.load(Ordering::Relaxed) {
            return Err(Ended);
        }
        self.out.blocking_send(message).map_err(|_| Ended)
    }

    fn sleep(&self) -> Result<(), Ended> {
        for _ in 0..10 {
            if self.shared.stop.load(Ordering::Relaxed) || self.out.is_closed() {
                return Err(Ended);
            }
            thread::sleep(POLL / 10);
        }
        Ok(())
    }

    fn add(&mut self, files: Vec<PathBuf>) -> Result<(), Ended> {
        let mut partitions = vec![];
        for path in files {
            let partition = Partition::new(self.config.name.as_str(), path.display().to_string());
            let position = self.positions.get(&partition).copied().unwrap_or(0);
            let floor = self.peek(&path, &partition, position);
            partitions.push((partition.clone(), floor));
            self.inputs.push(Input {
                path,
                partition,
                position,
                reader: None,
                current: floor,
                finished: false,
                waiting: false,
            });
        }
        self.send(SourceMessage::Assigned { partitions })
    }

    /// Earliest event time near the file's beginning, if it can be told.
    fn peek(&mut self, path: &Path, partition: &Partition, position: i64) -> Option<i64> {
        let mut reader = Reader::open(path, position, None).ok()?;
        let block = reader
            .next_block(
                PEEK_BYTES,
                100,
                false,
                self.config.decoder.max_envelope_bytes,
            )
            .ok()??;
        let batch = self
            .decoder
            .decode(partition, block.bytes, &block.records, block.next)
            .ok()?;
        min(batch
            .events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>())
    }

    /// The file whose events are the oldest; those that nothing is known of come first.
    fn next_input(&self) -> Option<usize> {
        let open = self
            .inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| !input.finished && !input.waiting);
        open.min_by_key(|(_, input)| input.current)
            .map(|(index, _)| index)
    }

    /// Reads one block of one file.
    fn step(&mut self, index: usize) -> Result<(), Ended> {
        let max_envelope = self.config.decoder.max_envelope_bytes;
        let input = &mut self.inputs[index];
        if input.reader.is_none() {
            match Reader::open(&input.path, input.position, Some(self.shared.clone())) {
                Ok(reader) => input.reader = Some(reader),
                Err(error) => {
                    let reason = format!("{}: {error}", input.path.display());
                    return self
                        .send(SourceMessage::Failed {
                            source: self.config.name.clone(),
                            reason,
                        })
                        .and(Err(Ended));
                }
            }
        }
        let Some(reader) = &mut input.reader else {
            return Ok(());
        };
        let follow = self.config.follow && !reader.is_gzip();
        let partition = input.partition.clone();
        match reader.next_block(read::BLOCK_BYTES, read::BLOCK_RECORDS, follow, max_envelope) {
            Ok(Some(block)) => {
                let next = block.next;
                let batch = self.decode(&partition, block)?;
                let newest = max(batch
                    .events
                    .column(col::TIME)
                    .as_primitive::<TimestampMicrosecondType>());
                let input = &mut self.inputs[index];
                input.position = next;
                input.current = input.current.max(newest).or(Some(i64::MIN));
                self.send(SourceMessage::Batch(Box::new(batch)))
            }
            Ok(None) => {
                let input = &mut self.inputs[index];
                input.reader = None;
                if follow {
                    input.waiting = true;
                    self.send(SourceMessage::CaughtUp { partition })
                } else {
                    input.finished = true;
                    self.send(SourceMessage::Finished { partition })
                }
            }
            Err(error) => {
                // A torn gzip stream, a failing disk: what came before is processed, the rest is one letter.
                let input = &mut self.inputs[index];
                input.finished = true;
                input.reader = None;
                let letter = read::unreadable(&partition, input.position, &error);
                let next = input.position + 1;
                let mut batch = self.decode(&partition, Block::empty(next))?;
                batch.counts.read += 1;
                batch.counts.dead_lettered += 1;
                batch.dead_letters.push(letter);
                self.send(SourceMessage::Batch(Box::new(batch)))?;
                self.send(SourceMessage::Finished { partition })
            }
        }
    }

    fn decode(&mut self, partition: &Partition, block: Block) -> Result<EventBatch, Ended> {
        let decoded = self
            .decoder
            .decode(partition, block.bytes, &block.records, block.next);
        decoded.or_else(|error| {
            let reason = format!("{partition}: {error}");
            self.send(SourceMessage::Failed {
                source: self.config.name.clone(),
                reason,
            })
            .and(Err(Ended))
        })
    }

    /// Appended lines, and files that are new.
    fn look_again(&mut self) -> Result<(), Ended> {
        for input in self.inputs.iter_mut().filter(|input| input.waiting) {
            let length = File::open(&input.path)
                .and_then(|f| f.metadata())
                .map_or(0, |m| m.len() as i64);
            if length < input.position {
                tracing::warn!(path = %input.path.display(), "file became shorter: reading it from its beginning");
                input.position = 0;
            }
            input.waiting = length <= input.position;
        }
        let Ok((files, skipped)) = discover(&self.config.paths) else {
            return Ok(());
        };
        *self
            .shared
            .skipped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = skipped;
        let new: Vec<PathBuf> = files
            .into_iter()
            .filter(|path| !self.inputs.iter().any(|i| i.path == *path))
            .collect();
        if new.is_empty() {
            Ok(())
        } else {
            self.add(new)
        }
    }
}
