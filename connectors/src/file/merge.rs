//! Reads many files as one stream in order of time, block by block.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use flate2::bufread::MultiGzDecoder;
use weir_engine::Result;
use weir_engine::batch::{DeadLetter, EventBatch, Partition};
use weir_engine::schema::col;
use weir_engine::source::{Positions, SourceMessage, SourceSender};

use super::Shared;
use super::discover::{Discovery, Found};
use super::reader::{Block, Letter, Reader, is_gzip};
use crate::decode::Decoder;

/// Readers kept open. Files whose times overlap are open together; beyond this number the one that will be
/// read last is closed and found again by its position.
const OPEN_FILES: usize = 64;

/// Bytes of a file (uncompressed) in which its earliest event is looked for: some hundred events.
const FLOOR_BYTES: u64 = 128 << 10;

const POLL: Duration = Duration::from_secs(1);

struct Item {
    path: PathBuf,
    partition: Partition,
    decoder: Decoder,
    reader: Option<Reader>,
    /// Where to open it.
    next: i64,
    /// How far its event times have come, by the middle one of a block, as one clock may be far ahead; before the first
    /// block, the earliest to expect.
    reached: Option<i64>,
    state: State,
    /// Of the file's bytes on disk, what `bytes_done` already holds.
    counted: u64,
}

#[derive(PartialEq, Clone, Copy)]
enum State {
    Reading,
    /// Read to its end, but it may grow.
    CaughtUp,
    Finished,
}

/// Nobody listens any more.
struct Closed;

struct Merge<'a> {
    shared: &'a Shared,
    positions: &'a Positions,
    out: &'a SourceSender,
    items: Vec<Item>,
}

pub(super) fn run(
    shared: &Shared,
    files: Vec<Found>,
    positions: &Positions,
    out: &SourceSender,
) -> Result<()> {
    let mut merge = Merge {
        shared,
        positions,
        out,
        items: vec![],
    };
    let source = shared.config.name.as_str().into();
    let told = merge.add(files);
    if told
        .and_then(|()| {
            merge.send(SourceMessage::Ready {
                source,
                shared: false,
            })
        })
        .is_err()
    {
        return Ok(());
    }
    let mut polls = 0;
    while !shared.stopped.load(Ordering::Relaxed) {
        let step = match merge.furthest_behind() {
            Some(index) => merge.step(index)?,
            None if shared.config.follow => {
                std::thread::sleep(POLL / 10);
                polls += 1;
                match polls % 10 {
                    0 => merge.look_for_more(),
                    _ if out.is_closed() => Err(Closed),
                    _ => Ok(()),
                }
            }
            None => return Ok(()),
        };
        if step.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Merge<'_> {
    /// Announces files, with the time at which each begins.
    fn add(&mut self, files: Vec<Found>) -> Result<(), Closed> {
        let first = self.items.len();
        for file in files {
            let source = self.shared.config.name.as_str();
            let partition = Partition::new(source, file.path.display().to_string());
            let next = self.positions.get(&partition).copied().unwrap_or(0).max(0);
            let mut item = Item {
                decoder: Decoder::new(self.shared.config.decoder.clone()),
                path: file.path,
                partition,
                reader: None,
                next,
                reached: None,
                state: State::Reading,
                counted: 0,
            };
            if next > 0 {
                let line = first_line(&item.path).unwrap_or_default();
                item.decoder.learn_header(&item.partition, &line);
            }
            item.reached = self.floor(&item);
            self.items.push(item);
        }
        let partitions = self.items[first..].iter();
        let partitions = partitions
            .map(|item| (item.partition.clone(), item.reached))
            .collect();
        self.send(SourceMessage::Assigned { partitions })
    }

    /// Earliest event time in the first bytes that will be read; `None` if there is no event in them.
    fn floor(&self, item: &Item) -> Option<i64> {
        let limit = self.shared.config.decoder.max_envelope_bytes;
        let reader = Reader::open(&item.path, item.next as u64, limit, false).ok()?;
        let block = reader.only(FLOOR_BYTES).next_block()?;
        let bytes = Buffer::from_vec(block.bytes);
        // What it keeps of these bytes must not meet them again.
        let mut decoder = Decoder::new(self.shared.config.decoder.clone());
        decoder.take_headers(&item.decoder);
        let batch = decoder.decode(&item.partition, bytes, &block.records, block.next);
        let times = batch.ok()?.events;
        compute::min(
            times
                .column(col::TIME)
                .as_primitive::<TimestampMicrosecondType>(),
        )
    }

    /// The file to read next; first those of which no time is known, for they hold the watermark.
    fn furthest_behind(&self) -> Option<usize> {
        let reading = self.items.iter().enumerate();
        let reading = reading.filter(|(_, item)| item.state == State::Reading);
        let (index, _) = reading.min_by_key(|(_, item)| item.reached)?;
        Some(index)
    }

    /// Reads one block of a file and sends it; at the end of the file, says so.
    fn step(&mut self, index: usize) -> Result<Result<(), Closed>> {
        self.make_room(index);
        let config = &self.shared.config;
        let item = &mut self.items[index];
        let reader = match item.reader.take() {
            Some(reader) => Ok(reader),
            None => {
                let growing = config.follow && !is_gzip(&item.path).unwrap_or(false);
                let limit = config.decoder.max_envelope_bytes;
                Reader::open(&item.path, item.next as u64, limit, growing)
            }
        };
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                let letter = Letter {
                    position: item.next,
                    reason: "unreadable",
                    detail: format!("the file cannot be opened: {error}"),
                    payload: vec![],
                    bytes: 0,
                };
                let block = Block {
                    bytes: vec![],
                    records: vec![],
                    next: item.next,
                    letter: Some(letter),
                };
                let batch = item.decode(block)?;
                item.state = State::Finished;
                let partition = item.partition.clone();
                return Ok(self
                    .send(SourceMessage::Batch(Box::new(batch)))
                    .and_then(|()| self.send(SourceMessage::Finished { partition })));
            }
        };
        let Some(block) = reader.next_block() else {
            self.count(index, reader.on_disk());
            return Ok(self.end(index));
        };
        let on_disk = reader.on_disk();
        item.reader = Some(reader);
        let batch = item.decode(block)?;
        self.count(index, on_disk);
        Ok(self.send(SourceMessage::Batch(Box::new(batch))))
    }

    /// Closes readers if too many are open: first of the file that will be read last.
    fn make_room(&mut self, index: usize) {
        let open = self
            .items
            .iter()
            .filter(|item| item.reader.is_some())
            .count();
        if open < OPEN_FILES || self.items[index].reader.is_some() {
            return;
        }
        let open = self.items.iter_mut().filter(|item| item.reader.is_some());
        if let Some(last) = open.max_by_key(|item| item.reached) {
            last.reader = None;
        }
    }

    fn end(&mut self, index: usize) -> Result<(), Closed> {
        let item = &mut self.items[index];
        let partition = item.partition.clone();
        let may_grow = self.shared.config.follow && !is_gzip(&item.path).unwrap_or(true);
        let (state, message) = match may_grow {
            true => (State::CaughtUp, SourceMessage::CaughtUp { partition }),
            false => (State::Finished, SourceMessage::Finished { partition }),
        };
        item.state = state;
        self.send(message)
    }

    /// Files that grew, vanished or are new.
    fn look_for_more(&mut self) -> Result<(), Closed> {
        let mut gone = vec![];
        for item in &mut self.items {
            if item.state != State::CaughtUp {
                continue;
            }
            match item.path.metadata() {
                Ok(metadata) => {
                    let length = metadata.len();
                    let size = &self.shared.bytes_total;
                    size.fetch_add(length.saturating_sub(item.counted), Ordering::Relaxed);
                    // Shorter: replaced by a new file.
                    if length != item.next as u64 {
                        item.state = State::Reading;
                    }
                }
                Err(_) => {
                    item.state = State::Finished;
                    gone.push(item.partition.clone());
                }
            }
        }
        for partition in gone {
            self.send(SourceMessage::Finished { partition })?;
        }
        let mut known: HashSet<PathBuf> = self.items.iter().map(|item| real(&item.path)).collect();
        let mut discovery = Discovery::default();
        for folder in self.shared.config.paths.iter().filter(|path| path.is_dir()) {
            discovery.walk(&mut known, folder);
        }
        if discovery.files.is_empty() {
            return Ok(());
        }
        let bytes = discovery.files.iter().map(|file| file.bytes).sum();
        self.shared.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        let files = discovery.files.len() as u64;
        self.shared.files.fetch_add(files, Ordering::Relaxed);
        self.add(discovery.files)
    }

    fn count(&mut self, index: usize, on_disk: u64) {
        let item = &mut self.items[index];
        let more = on_disk.saturating_sub(item.counted);
        item.counted += more;
        self.shared.bytes_done.fetch_add(more, Ordering::Relaxed);
    }

    fn send(&self, message: SourceMessage) -> Result<(), Closed> {
        self.out.blocking_send(message).map_err(|_| Closed)
    }
}

/// The first line of a file, or its first 4 KiB.
fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let input: Box<dyn Read> = match is_gzip(path)? {
        true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        false => Box::new(file),
    };
    let mut line = vec![];
    input.take(4096).read_to_end(&mut line)?;
    line.truncate(memchr::memchr(b'\n', &line).unwrap_or(line.len()));
    Ok(line)
}

impl Item {
    fn decode(&mut self, block: Block) -> Result<EventBatch> {
        let bytes = Buffer::from_vec(block.bytes);
        let partition = &self.partition;
        let mut batch = self
            .decoder
            .decode(partition, bytes, &block.records, block.next)?;
        if let Some(letter) = block.letter {
            batch.counts.read += 1;
            batch.counts.dead_lettered += 1;
            batch.counts.bytes += letter.bytes;
            batch.dead_letters.push(DeadLetter {
                partition: partition.clone(),
                position: letter.position,
                reason: letter.reason,
                detail: letter.detail,
                payload: letter.payload,
                payload_bytes: letter.bytes,
                attributes: None,
            });
        }
        self.next = block.next;
        let times = batch.events.column(col::TIME);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        self.reached = self.reached.max(middle(times.values()));
        Ok(batch)
    }
}

/// The middle one of some times.
fn middle(times: &[i64]) -> Option<i64> {
    let mut times = times.to_vec();
    let at = times.len() / 2;
    (at < times.len()).then(|| *times.select_nth_unstable(at).1)
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
