//! Reads many files as one stream in order of time, block by block.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use weir_engine::Result;
use weir_engine::batch::{DeadLetter, EventBatch, Partition};
use weir_engine::schema::col;
use weir_engine::source::{Positions, SourceMessage, SourceSender};

use super::Shared;
use super::block::{Block, Letter};
use super::discover::{Discovery, Found, identity};
use super::input::{Input, is_stream};
use super::pending::Pool;
use super::reader::Reader;
use super::rest::Rest;
use crate::decode::{Decoder, are_flow_fields, estimated};

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
    /// It can be opened but once.
    is_stream: bool,
    /// Of the file's bytes on disk, what `bytes_done` already holds.
    counted: u64,
    /// What stands at its end, if it may grow.
    rest: Option<Rest>,
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
    pool: Pool,
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
        pool: Pool::default(),
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
                    0 => merge.look_for_more()?,
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
                is_stream: is_stream(&file.path),
                path: file.path,
                partition,
                reader: None,
                next,
                reached: None,
                state: State::Reading,
                counted: 0,
                rest: None,
            };
            // Of a stream no time is known before it is read, and it has but one start.
            if !item.is_stream {
                // What cannot be read is told when it is read again.
                let header = match next {
                    0 => vec![],
                    next => last_header(&item.path, next as u64).unwrap_or_default(),
                };
                item.decoder.learn_header(&item.partition, &header);
                item.reached = self.floor(&item, &header);
            }
            self.items.push(item);
        }
        let partitions = self.items[first..].iter();
        let partitions = partitions
            .map(|item| (item.partition.clone(), item.reached))
            .collect();
        self.send(SourceMessage::Assigned { partitions })
    }

    /// Earliest event time in the first bytes that will be read; `None` if there is no event in them. What the decoder
    /// learns there does not hold for what is read then.
    fn floor(&self, item: &Item, header: &[u8]) -> Option<i64> {
        let config = &self.shared.config.decoder;
        let limit = config.max_envelope_bytes;
        let reader = Reader::open(&item.path, item.next as u64, limit, false).ok()?;
        let block = reader.only(FLOOR_BYTES).next_block()?;
        let bytes = block.bytes;
        let mut decoder = Decoder::new(config.clone());
        decoder.learn_header(&item.partition, header);
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
                let limit = config.decoder.max_envelope_bytes;
                let rest = item.rest.filter(|rest| rest.position == item.next);
                let waited = rest.map(|rest| rest.waited(Instant::now()));
                let reader = Reader::open(&item.path, item.next as u64, limit, config.follow);
                let pool = self.pool.clone();
                reader.map(|reader| reader.with(pool).after(waited.unwrap_or_default()))
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
                    lost: 0,
                };
                let block = Block {
                    bytes: Buffer::default(),
                    records: vec![],
                    next: item.next,
                    letter: Some(letter),
                    doubtful: None,
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
            let (may_grow, length) = (reader.is_growing(), reader.on_disk());
            item.rest = may_grow.then(|| Rest::of(item.rest, item.next, length, Instant::now()));
            self.count(index, length);
            if !may_grow && let Err(closed) = self.finish(index)? {
                return Ok(Err(closed));
            }
            return Ok(self.end(index, may_grow));
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
        let open = self.items.iter_mut();
        let open = open.filter(|item| item.reader.is_some() && !item.is_stream);
        if let Some(last) = open.max_by_key(|item| item.reached) {
            last.reader = None;
        }
    }

    /// Sends what the decoder still held of a file of which nothing more comes.
    fn finish(&mut self, index: usize) -> Result<Result<(), Closed>> {
        let item = &mut self.items[index];
        Ok(match item.decoder.finish(&item.partition, item.next)? {
            Some(batch) => self.send(SourceMessage::Batch(Box::new(batch))),
            None => Ok(()),
        })
    }

    fn end(&mut self, index: usize, may_grow: bool) -> Result<(), Closed> {
        let item = &mut self.items[index];
        let partition = item.partition.clone();
        let (state, message) = match may_grow {
            true => (State::CaughtUp, SourceMessage::CaughtUp { partition }),
            false => (State::Finished, SourceMessage::Finished { partition }),
        };
        item.state = state;
        self.send(message)
    }

    /// Files that grew, vanished or are new.
    fn look_for_more(&mut self) -> Result<Result<(), Closed>> {
        let mut gone = vec![];
        for (index, item) in self.items.iter_mut().enumerate() {
            if item.state != State::CaughtUp {
                continue;
            }
            match item.path.metadata() {
                Ok(metadata) => {
                    let length = metadata.len();
                    let size = &self.shared.bytes_total;
                    size.fetch_add(length.saturating_sub(item.counted), Ordering::Relaxed);
                    // Shorter: replaced by a new file.
                    let now = Instant::now();
                    if item.rest.is_none_or(|rest| rest.is_due(length, now)) {
                        item.state = State::Reading;
                    }
                }
                Err(_) => {
                    item.state = State::Finished;
                    gone.push((index, item.partition.clone()));
                }
            }
        }
        for (index, partition) in gone {
            let told = self.finish(index)?;
            let told = told.and_then(|()| self.send(SourceMessage::Finished { partition }));
            if told.is_err() {
                return Ok(told);
            }
        }
        let mut known: HashSet<PathBuf> =
            self.items.iter().map(|item| identity(&item.path)).collect();
        let mut discovery = Discovery::default();
        for folder in self.shared.config.paths.iter().filter(|path| path.is_dir()) {
            discovery.walk(&mut known, folder);
        }
        if discovery.files.is_empty() {
            return Ok(Ok(()));
        }
        let bytes = discovery.files.iter().map(|file| file.bytes).sum();
        self.shared.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        let files = discovery.files.len() as u64;
        self.shared.files.fetch_add(files, Ordering::Relaxed);
        Ok(self.add(discovery.files))
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

/// The line that names the columns of a flow log which is read on at a place: the file's first line, or the last one
/// before the place that names them anew.
fn last_header(path: &Path, place: u64) -> io::Result<Vec<u8>> {
    let input = Input::open(path, 0)?;
    let mut lines = BufReader::new(input.read.take(place));
    let (mut line, mut header) = (vec![], vec![]);
    // A line that is longer is no header.
    const LONGEST: u64 = 4096;
    while (&mut lines).take(LONGEST).read_until(b'\n', &mut line)? > 0 {
        match str::from_utf8(&line).is_ok_and(are_flow_fields) {
            true => header = std::mem::take(&mut line),
            false if header.is_empty() => break,
            false => line.clear(),
        }
    }
    Ok(header)
}

impl Item {
    fn decode(&mut self, block: Block) -> Result<EventBatch> {
        let bytes = block.bytes;
        let partition = &self.partition;
        if let Some(from) = block.doubtful {
            self.decoder.doubt(from);
        }
        let mut batch = self
            .decoder
            .decode(partition, bytes, &block.records, block.next)?;
        if let Some(letter) = block.letter {
            let events = self.decoder.estimate(letter.lost);
            batch.counts.read += events;
            batch.counts.dead_lettered += events;
            batch.counts.bytes += letter.bytes;
            batch.dead_letters.push(DeadLetter {
                partition: partition.clone(),
                position: letter.position,
                reason: letter.reason,
                detail: letter.detail + &estimated(events, letter.bytes),
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
