//! The spool as a source: one partition, whose positions are places in the spool.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::buffer::Buffer;
use weir_engine::batch::{Counts, Partition};
use weir_engine::health::Intake;
use weir_engine::source::{Positions, Source, SourceMessage, SourceSender};
use weir_engine::{Error, Result};

use super::recover;
use super::segment::{self, FILE_HEADER, Fault, Kind};
use super::spool::Shared;
use super::{HttpConfig, Inbox};
use crate::decode::{Decoder, Record};

/// Bytes and records after which a block is handed on.
const BLOCK_BYTES: usize = 8 << 20;
const BLOCK_RECORDS: usize = 8192;
/// After a pause, the first body waits this long for others to make a batch with.
const GATHER: Duration = Duration::from_millis(20);
/// How soon a stop is noticed.
const TICK: Duration = Duration::from_millis(200);

/// Name of the only partition.
const PARTITION: &str = "spool";

pub(super) fn partition(source: &str) -> Partition {
    Partition::new(source, PARTITION)
}

/// A running reader of an [`Inbox`].
pub struct HttpSource {
    inbox: Arc<Inbox>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl HttpSource {
    /// Reads what is spooled from the position in `positions`, then what comes.
    pub fn start(inbox: Arc<Inbox>, positions: &Positions, out: SourceSender) -> Result<Self> {
        let name: Arc<str> = inbox.config.name.as_str().into();
        let stopped = Arc::new(AtomicBool::new(false));
        let partition = partition(&name);
        let spool = inbox.spool.shared().clone();
        let known = positions.get(&partition).copied();
        let mut reader = Reader {
            next: known.unwrap_or_else(|| spool.committed()),
            spool,
            open: None,
        };
        let mut decoder = Decoder::new(inbox.config.decoder.clone());
        let stop = stopped.clone();
        let source = name.clone();
        let run = move || {
            let work = || read(&mut reader, &mut decoder, &partition, &stop, &out);
            let reason = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => "the reading thread panicked; this is a bug".to_owned(),
            };
            let source = source.to_string();
            // If nobody listens any more, nobody needs to know.
            let _ = out.blocking_send(SourceMessage::Failed { source, reason });
        };
        let spawned = std::thread::Builder::new()
            .name(format!("http {name}"))
            .spawn(run);
        let thread = spawned.map_err(|error| Error::Source {
            source_name: name.to_string(),
            reason: format!("cannot start its thread: {error}"),
        })?;
        Ok(Self {
            inbox,
            stopped,
            thread,
        })
    }
}

fn read(
    reader: &mut Reader,
    decoder: &mut Decoder,
    partition: &Partition,
    stopped: &AtomicBool,
    out: &SourceSender,
) -> Result<(), String> {
    // A channel that is closed is the end of the work.
    let send = |message| out.blocking_send(message).is_ok();
    let begin = SourceMessage::Assigned {
        partitions: vec![(partition.clone(), None)],
    };
    let ready = SourceMessage::Ready {
        source: partition.source.clone(),
        shared: false,
    };
    let (mut alive, mut at_end) = (send(begin) && send(ready), false);
    while alive && !stopped.load(Ordering::Relaxed) && !out.is_closed() {
        let Some(block) = reader.next_block()? else {
            if !at_end {
                at_end = true;
                let partition = partition.clone();
                alive = send(SourceMessage::CaughtUp { partition });
            }
            if reader.spool.wait_for(reader.next, TICK) {
                std::thread::sleep(GATHER);
            }
            continue;
        };
        at_end = false;
        let batch = decoder.decode(partition, block.bytes, &block.records, block.next);
        let mut batch = batch.map_err(|error| error.to_string())?;
        batch.delivered = block.delivered;
        alive = send(SourceMessage::Batch(Box::new(batch)));
    }
    Ok(())
}

/// Records of some requests.
struct Block {
    bytes: Buffer,
    records: Vec<Record>,
    /// When the segment was last written to, µs: none of it came later.
    delivered: Option<i64>,
    next: i64,
}

struct Reader {
    spool: Arc<Shared>,
    next: i64,
    /// The segment that was read last, by its base.
    open: Option<(i64, File)>,
}

impl Reader {
    /// What stands at `next`; `None` at the end of the spool.
    fn next_block(&mut self) -> Result<Option<Block>, String> {
        let found = {
            let state = self.spool.state();
            let next = self.next;
            state.segments.iter().find(|s| s.end() > next).copied()
        };
        let Some(found) = found else {
            return Ok(None);
        };
        if found.base > self.next {
            tracing::error!(
                folder = %self.spool.folder.display(),
                "the spool has nothing from position {} to {}: going on behind",
                self.next, found.base
            );
            self.next = found.base;
        }
        let path = segment::path(&self.spool.folder, found.base);
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = match self.open.take() {
            Some((base, file)) if base == found.base => file,
            _ => File::open(&path).map_err(fail)?,
        };
        let left = (found.end() - self.next) as usize;
        let offset = FILE_HEADER + (self.next - found.base) as u64;
        let mut want = left.min(BLOCK_BYTES);
        let block = loop {
            let mut bytes = vec![0; want];
            file.read_exact_at(&mut bytes, offset).map_err(fail)?;
            let (records, used) = records(&bytes, self.next);
            match used {
                Ok(used) if used > 0 => {
                    bytes.truncate(used);
                    break Block {
                        bytes: Buffer::from_vec(bytes),
                        records,
                        delivered: written(&file),
                        next: self.next + used as i64,
                    };
                }
                Err(Fault::Short(length)) if length > want && length <= left => want = length,
                _ => return Err(recover::damaged(&path, found.base, self.next)),
            }
        };
        self.open = Some((found.base, file));
        self.next = block.next;
        Ok(Some(block))
    }
}

/// When a file was last written to, µs since the epoch.
fn written(file: &File) -> Option<i64> {
    let at = file.metadata().ok()?.modified().ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

/// Records in some bytes that begin at `base`, and how many of the bytes they take; if there is not even one,
/// why.
fn records(bytes: &[u8], base: i64) -> (Vec<Record>, Result<usize, Fault>) {
    let (mut records, mut at) = (vec![], 0);
    while at < bytes.len() && records.len() < BLOCK_RECORDS {
        let position = base + at as i64;
        let found = match segment::decode(&bytes[at..], position) {
            Ok(found) => found,
            Err(fault) if at == 0 => return (records, Err(fault)),
            // Cut off by the block's end, or damage, which is told when it is reached.
            Err(_) => break,
        };
        let body = at + found.range.start..at + found.range.end;
        add_records(&mut records, found.kind, bytes, body.clone(), position);
        at = body.end;
    }
    (records, Ok(at))
}

/// What a body holds, for the answer to its sender; it is read again when its turn comes.
pub(super) fn judge(config: &HttpConfig, body: &[u8], parts: &[(Kind, Range<usize>)]) -> Counts {
    let mut all = vec![];
    for (kind, part) in parts {
        add_records(&mut all, *kind, body, part.clone(), 0);
    }
    let mut decoder = Decoder::new(config.decoder.clone());
    let (partition, block) = (partition(&config.name), Buffer::from(body));
    let batch = decoder.decode(&partition, block, &all, 0);
    batch.map_or_else(|_| Counts::default(), |batch| batch.counts)
}

/// Adds the records of one part, which begins at `position` of the spool.
fn add_records(
    records: &mut Vec<Record>,
    kind: Kind,
    bytes: &[u8],
    part: Range<usize>,
    position: i64,
) {
    match kind {
        Kind::Document => records.push(Record {
            range: part,
            position,
        }),
        Kind::Lines => {
            let lines = super::body::lines(&bytes[part.clone()]);
            records.extend(lines.map(|line| Record {
                position: position + line.start as i64,
                range: part.start + line.start..part.start + line.end,
            }));
        }
    }
}

#[async_trait]
impl Source for HttpSource {
    fn name(&self) -> &str {
        &self.inbox.config.name
    }

    fn committed(&self, positions: &[(Partition, i64)]) {
        for (partition, position) in positions {
            if &*partition.source == self.name() && &*partition.name == PARTITION {
                self.inbox.spool.forget(*position);
            }
        }
    }

    fn intake(&self) -> Option<Intake> {
        Some(self.inbox.intake())
    }

    /// Asks the thread to end and gives it a moment: it may be at a full channel that nobody empties.
    async fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            if self.thread.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
