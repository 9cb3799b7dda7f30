//! Cuts one file into blocks of records: lines, or JSON documents that span lines (see [`frame`](super::frame)).
//!
//! Invariants: at most twice a record over the limit plus one block is held in memory; what could not be read is told in
//! one letter, and everything readable before and behind it is delivered; positions count bytes of the text, unpacked
//! and in UTF-8.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::buffer::Buffer;
use weir_engine::batch::DEAD_LETTER_PAYLOAD;

use super::block::{Block, Letter};
use super::frame::{Cut, Text, Waited, filling, trimmed_end};
use super::framer::Framer;
use super::input::Input;
use super::outline::{Outline, inside};
use super::pending::{Pending, Pool};
use crate::decode::Record;
use crate::gzip;

/// A block is as large as one decoder call handles well: the batch is long enough for vectorised rules, and
/// reading ahead in one file does not run far before the others.
pub(super) const BLOCK_RECORDS: usize = 8192;
pub(super) const BLOCK_BYTES: usize = 8 << 20;
pub(super) const CHUNK: usize = 1 << 20;

pub(super) struct Reader {
    input: Box<dyn Read + Send>,
    /// Bytes read from the disk.
    on_disk: Arc<AtomicU64>,
    /// Bytes read and not yet delivered.
    pending: Pending,
    /// Place of the first pending byte in the text.
    offset: u64,
    ended: bool,
    failure: Option<io::Error>,
    /// Where the text begins that was unpacked of what failed.
    doubtful: Option<i64>,
    /// Longest record.
    limit: usize,
    /// Leave a last record without its line end for later: the file may still grow.
    growing: bool,
    framer: Framer,
    /// How long what is first has stood at the end of the file.
    waited: Waited,
    /// The next record is over the limit.
    is_too_long: bool,
    /// A container was opened for its events; the brackets that close it are no record.
    is_opened: bool,
    /// Zeros before records.
    zeros: u64,
    path: String,
}

impl Reader {
    /// Starts at `offset`; a plain file that is shorter by now was replaced and starts anew.
    pub fn open(path: &Path, offset: u64, limit: usize, growing: bool) -> io::Result<Self> {
        let input = Input::open(path, offset)?;
        Ok(Self {
            input: input.read,
            on_disk: input.on_disk,
            pending: Pending::default(),
            offset: input.offset,
            ended: false,
            failure: None,
            doubtful: None,
            limit,
            growing: growing && input.is_plain,
            framer: Framer::new(input.offset),
            waited: Waited::default(),
            is_too_long: false,
            is_opened: false,
            zeros: 0,
            path: path.display().to_string(),
        })
    }

    /// Reads no further than `bytes` from here, as if the file ended there.
    pub fn only(mut self, bytes: u64) -> Self {
        self.input = Box::new(self.input.take(bytes));
        self
    }

    /// Takes the memory of its blocks from there.
    pub fn with(mut self, pool: Pool) -> Self {
        self.pending = Pending::new(pool);
        self
    }

    /// Says how long what is first has stood at the end of the file.
    pub fn after(mut self, waited: Waited) -> Self {
        self.waited = waited;
        self
    }

    /// Bytes of the file on disk that were read so far.
    pub fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// Whether more may come at the end.
    pub fn is_growing(&self) -> bool {
        self.growing
    }

    /// The next records; `None` at the end of the file.
    pub fn next_block(&mut self) -> Option<Block> {
        let (records, end) = self.records();
        if !records.is_empty() || end > 0 {
            return Some(self.deliver(records, end));
        }
        if std::mem::take(&mut self.is_too_long) {
            return Some(self.skip_record());
        }
        if let Some(error) = self.failure.take() {
            return Some(self.unreadable(&error));
        }
        let zeros = std::mem::take(&mut self.zeros);
        if zeros > 0 {
            tracing::warn!(path = %self.path, zeros, "zero bytes stood between the records and were passed over");
        }
        None
    }

    /// Reads another chunk behind the pending bytes.
    fn fill(&mut self, bytes: usize) {
        match self.pending.read(&mut self.input, bytes) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) => {
                let end = self.offset + self.pending.len() as u64;
                let damage = gzip::damage(&error).filter(|damage| damage.unverified > 0);
                let from = damage.map(|damage| end.saturating_sub(damage.unverified));
                self.doubtful = from.map(|from| from as i64);
                self.failure = Some(error);
                self.ended = true;
            }
        }
    }

    /// Whole records, and the end of the last one.
    fn records(&mut self) -> (Vec<Record>, usize) {
        self.is_too_long = false;
        let (mut records, mut start) = (vec![], 0);
        // Where the next line end is looked for; and the line's end, once it is known and the line was cut before.
        let (mut at, mut part) = (0, None);
        while records.len() < BLOCK_RECORDS && start < BLOCK_BYTES {
            let zeros = self.pending[start..].iter().take_while(|byte| **byte == 0);
            let zeros = zeros.count();
            (start, self.zeros) = (start + zeros, self.zeros + zeros as u64);
            at = at.max(start);
            let found = part.or_else(|| {
                let length = memchr::memchr(b'\n', &self.pending[at..]);
                length.map(|length| at + length)
            });
            let end = match found {
                Some(end) => end,
                None if self.ended => {
                    let end = self.pending.len();
                    if start == end || !self.is_complete(start) {
                        break;
                    }
                    end
                }
                None => {
                    at = self.pending.len();
                    if at - start <= self.limit {
                        self.fill(CHUNK);
                    } else if let Some(next) = self.peel(&mut records, start) {
                        start = next;
                    } else {
                        self.is_too_long = true;
                        break;
                    }
                    continue;
                }
            };
            let text = Text {
                bytes: &self.pending,
                offset: self.offset,
                ended: self.ended,
                failed: self.failure.is_some(),
                growing: self.growing,
                waited: self.waited,
                limit: self.limit,
            };
            let cut = self.framer.cut(&text, start, end, part.is_some());
            part = None;
            match cut {
                Cut::Line | Cut::Alone => {
                    self.push(&mut records, start, end);
                    start = (end + 1).min(self.pending.len());
                }
                Cut::At(last, next) => {
                    self.push(&mut records, start, last);
                    start = next;
                    part = (next < end).then_some(end);
                }
                // Twice as much each time: a long document is not looked at over and over.
                Cut::More => self.fill(CHUNK.max(self.pending.len() - start)),
                Cut::Wait => break,
                Cut::TooLong => match self.peel(&mut records, start) {
                    Some(next) => start = next,
                    None => {
                        self.is_too_long = true;
                        break;
                    }
                },
            }
            at = start;
            if !records.is_empty() {
                self.waited = Waited::default();
            }
        }
        (records, start)
    }

    /// Whether the last record, which has no line end, is to be delivered.
    fn is_complete(&self, start: usize) -> bool {
        if self.growing {
            return false;
        }
        let first = start + filling(&self.pending[start..]);
        let text = trimmed_end(&self.pending[first..]);
        let mut outline = Outline::new();
        self.failure.is_none()
            || matches!(text.first(), Some(b'{' | b'['))
                && (outline.feed(text).end.is_some() || outline.elements > 0)
    }

    /// Takes the next event out of a record over the limit that holds many; gives where to go on.
    fn peel(&mut self, records: &mut Vec<Record>, start: usize) -> Option<usize> {
        let first = start + filling(&self.pending[start..]);
        let text = &self.pending[first..];
        if let Some(behind) = inside(text) {
            self.is_opened = true;
            return Some(first + behind);
        }
        if text.first() != Some(&b'{') {
            return None;
        }
        let end = first + Outline::new().feed(text).end?;
        self.push(records, first, end);
        Some(end + separator(&self.pending[end..]))
    }

    /// Adds a record, without what stands around it; nothing if that is all there is.
    fn push(&self, records: &mut Vec<Record>, start: usize, end: usize) {
        let text = trimmed_end(&self.pending[start..end]);
        let first = start + filling(text);
        let last = start + text.len();
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"]},".contains(byte);
        let is_closing = self.is_opened && self.pending[first..last].iter().all(is_end);
        if first < last && !is_closing {
            records.push(Record {
                range: first..last,
                position: (self.offset + first as u64) as i64,
            });
        }
    }

    fn deliver(&mut self, records: Vec<Record>, end: usize) -> Block {
        let bytes = self.pending.take(end);
        self.offset += end as u64;
        Block {
            bytes,
            records,
            next: self.offset as i64,
            letter: None,
            doubtful: self.doubtful,
        }
    }

    /// Leaves a record out that is longer than the limit, holding only its start. It ends where its document does, or
    /// with its line if it is none.
    fn skip_record(&mut self) -> Block {
        let position = self.offset as i64;
        let kept = self.pending.len().min(DEAD_LETTER_PAYLOAD);
        let payload = self.pending[..kept].to_vec();
        let mut at = filling(&self.pending);
        let is_json = matches!(self.pending.get(at), Some(b'{' | b'['));
        let (mut outline, mut faults) = (Outline::new(), 0);
        let end = loop {
            let line = memchr::memchr(b'\n', &self.pending[at..]);
            let end = line.map_or(self.pending.len(), |length| at + length + 1);
            if is_json {
                let fed = outline.feed(&self.pending[at..end]);
                faults += fed.faults;
                if let Some(length) = fed.end {
                    let end = at + length;
                    break end + separator(&self.pending[end..]);
                }
            }
            at = end;
            if line.is_some() {
                if at == self.pending.len() && !self.ended {
                    self.fill(CHUNK);
                }
                let begins = matches!(self.pending.get(at), Some(b'{' | b'['));
                if !is_json || faults > 0 || begins && !outline.takes_value() {
                    break at;
                }
            }
            if at == self.pending.len() {
                if self.ended {
                    break at;
                }
                self.offset += at as u64;
                self.pending.pass(at);
                at = 0;
                self.fill(CHUNK);
            }
        };
        self.pending.pass(end);
        self.offset += end as u64;
        let bytes = self.offset - position as u64;
        let detail = format!("{bytes} bytes, the limit is {}", self.limit);
        self.letter(position, "too_large", detail, payload, (bytes, bytes))
    }

    fn letter(
        &self,
        position: i64,
        reason: &'static str,
        detail: String,
        payload: Vec<u8>,
        (bytes, lost): (u64, u64),
    ) -> Block {
        Block {
            bytes: Buffer::default(),
            records: vec![],
            next: self.offset as i64,
            letter: Some(Letter {
                position,
                reason,
                detail,
                payload,
                bytes,
                lost,
            }),
            doubtful: None,
        }
    }

    /// A part of the file that cannot be read, with what was begun before it.
    fn unreadable(&mut self, error: &io::Error) -> Block {
        let rest = self.pending.take(self.pending.len());
        let position = self.offset as i64;
        self.offset += rest.len() as u64;
        let damage = gzip::damage(error);
        let (skipped, lost) = damage.map_or((0, 0), |damage| (damage.skipped, damage.lost));
        self.doubtful = None;
        self.ended = !damage.is_some_and(|damage| damage.goes_on);
        let bytes = rest.len() as u64;
        let place = self.offset;
        let detail = match self.ended {
            true => format!("the file cannot be read beyond byte {place}: {error}"),
            false => format!("the file cannot be read at byte {place}: {error}"),
        };
        let payload = rest[..rest.len().min(DEAD_LETTER_PAYLOAD)].to_vec();
        self.letter(
            position,
            "unreadable",
            detail,
            payload,
            (bytes + skipped, bytes + lost),
        )
    }
}

/// The length of a comma and the blanks around it.
fn separator(bytes: &[u8]) -> usize {
    let blanks = filling(bytes);
    match bytes.get(blanks) {
        Some(b',') => blanks + 1,
        _ => 0,
    }
}
