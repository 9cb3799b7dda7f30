//! Cuts one file into blocks of records: lines, or JSON documents that span lines.
//!
//! A file whose first line begins a JSON value and breaks off where printers break lines is read as a
//! sequence of documents. Gzip is told by its first bytes, not by the file's name.
//!
//! Invariants: at most one record over the limit plus one block is held in memory; what could not be read
//! is told in one letter, and everything readable before it is delivered first; positions count
//! uncompressed bytes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use weir_engine::batch::DEAD_LETTER_PAYLOAD;

use crate::decode::Record;
use crate::json::{Fault, Scanner};

/// A block is as large as one decoder call handles well: the batch is long enough for vectorised rules, and
/// reading ahead in one file does not run far before the others.
pub(super) const BLOCK_RECORDS: usize = 8192;
pub(super) const BLOCK_BYTES: usize = 8 << 20;
const CHUNK: usize = 1 << 20;

const GZIP: [u8; 2] = [0x1F, 0x8B];
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Some records of a file, or what could not become records.
pub(super) struct Block {
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
    /// Where the file goes on after this block.
    pub next: i64,
    pub letter: Option<Letter>,
}

/// A part of the file that is no record.
pub(super) struct Letter {
    pub position: i64,
    pub reason: &'static str,
    pub detail: String,
    pub payload: Vec<u8>,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Lines,
    Documents,
}

pub(super) struct Reader {
    input: Box<dyn Read + Send>,
    /// Bytes read from the disk.
    on_disk: Arc<AtomicU64>,
    /// Bytes read and not yet delivered.
    pending: Vec<u8>,
    /// Place of the first pending byte in the (uncompressed) file.
    offset: u64,
    shape: Option<Shape>,
    ended: bool,
    failure: Option<io::Error>,
    /// Longest record.
    limit: usize,
    /// Leave a last record without its line end for later: the file may still grow.
    growing: bool,
}

/// Counts what passes.
struct Counted {
    file: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Whether the file is compressed.
pub(super) fn is_gzip(path: &Path) -> io::Result<bool> {
    let mut magic = vec![];
    File::open(path)?.take(2).read_to_end(&mut magic)?;
    Ok(magic == GZIP)
}

impl Reader {
    /// Starts at `offset`; a plain file that is shorter by now was replaced and starts anew.
    pub fn open(path: &Path, offset: u64, limit: usize, growing: bool) -> io::Result<Self> {
        let gzip = is_gzip(path)?;
        let mut file = File::open(path)?;
        let mut offset = offset;
        if !gzip {
            if offset > file.metadata()?.len() {
                tracing::warn!(path = %path.display(), offset, "file is shorter than the position reached in it; reading it from its start");
                offset = 0;
            }
            file.seek(SeekFrom::Start(offset))?;
        }
        let on_disk = Arc::new(AtomicU64::new(if gzip { 0 } else { offset }));
        let counted = Counted {
            file,
            count: on_disk.clone(),
        };
        let mut input: Box<dyn Read + Send> = match gzip {
            true => Box::new(MultiGzDecoder::new(BufReader::with_capacity(
                1 << 16,
                counted,
            ))),
            false => Box::new(counted),
        };
        if gzip && offset > 0 {
            io::copy(&mut (&mut input).take(offset), &mut io::sink())?;
        }
        Ok(Self {
            input,
            on_disk,
            pending: vec![],
            offset,
            shape: None,
            ended: false,
            failure: None,
            limit,
            growing,
        })
    }

    /// Reads no further than `bytes` from here, as if the file ended there.
    pub fn only(mut self, bytes: u64) -> Self {
        self.input = Box::new(self.input.take(bytes));
        self
    }

    /// Bytes of the file on disk that were read so far.
    pub fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// The next records; `None` at the end of the file.
    pub fn next_block(&mut self) -> Option<Block> {
        let shape = match self.shape {
            Some(shape) => shape,
            None => self.find_shape(),
        };
        let (records, end) = match shape {
            Shape::Lines => self.lines(),
            Shape::Documents => self.documents(),
        };
        if !records.is_empty() || end > 0 {
            return Some(self.deliver(records, end));
        }
        if !self.ended {
            // Nothing but the start of a record that is too long.
            return Some(self.skip_record(shape));
        }
        self.failure.take().map(|error| self.unreadable(&error))
    }

    /// Reads another chunk behind the pending bytes.
    fn fill(&mut self, bytes: usize) {
        if self.pending.len() >= CHUNK {
            // The file is not small: from here on, room for a whole block.
            let room = (BLOCK_BYTES + 2 * CHUNK).saturating_sub(self.pending.len());
            self.pending.reserve(room.max(bytes));
        }
        let mut chunk = (&mut self.input).take(bytes as u64);
        match chunk.read_to_end(&mut self.pending) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) => {
                self.failure = Some(error);
                self.ended = true;
            }
        }
    }

    fn find_shape(&mut self) -> Shape {
        let mut shape = Shape::Lines;
        loop {
            if self.offset == 0 && self.pending.starts_with(BYTE_ORDER_MARK) {
                self.pending.drain(..BYTE_ORDER_MARK.len());
                self.offset = BYTE_ORDER_MARK.len() as u64;
            }
            let blank = self.pending.iter().take_while(|b| b.is_ascii_whitespace());
            let start = blank.count();
            let line = &self.pending[start..];
            let end = memchr::memchr(b'\n', line);
            if end.is_some() || self.ended {
                let line = &line[..end.unwrap_or(line.len())];
                if end.is_some() && goes_on(line) {
                    shape = Shape::Documents;
                }
                break;
            }
            if line.len() > self.limit {
                break;
            }
            self.fill(CHUNK.max(self.pending.len()));
        }
        self.shape = Some(shape);
        shape
    }

    /// Whole lines, and the end of the last one.
    fn lines(&mut self) -> (Vec<Record>, usize) {
        let (mut records, mut start, mut at) = (vec![], 0, 0);
        while records.len() < BLOCK_RECORDS && start < BLOCK_BYTES {
            if let Some(length) = memchr::memchr(b'\n', &self.pending[at..]) {
                self.push(&mut records, start, at + length);
                start = at + length + 1;
                at = start;
                continue;
            }
            at = self.pending.len();
            if self.ended {
                if start < at && self.is_complete(start) {
                    self.push(&mut records, start, at);
                    start = at;
                }
                break;
            }
            if at - start > self.limit {
                break;
            }
            self.fill(CHUNK);
        }
        (records, start)
    }

    /// Whether the last record, which has no line end, is to be delivered.
    fn is_complete(&self, start: usize) -> bool {
        if self.growing {
            return false;
        }
        let mut scanner = Scanner::new(&self.pending, start, usize::MAX);
        self.failure.is_none() || (scanner.skip_any_depth().is_ok() && scanner.finish().is_ok())
    }

    /// Adds a record, without the whitespace around it; nothing if that is all there is.
    fn push(&self, records: &mut Vec<Record>, start: usize, end: usize) {
        let text = &self.pending[start..end];
        let trimmed = text.trim_ascii_start();
        let first = end - trimmed.len();
        let last = first + trimmed.trim_ascii_end().len();
        if first < last {
            records.push(Record {
                range: first..last,
                position: (self.offset + first as u64) as i64,
            });
        }
    }

    /// Whole documents, and the end of the last one.
    fn documents(&mut self) -> (Vec<Record>, usize) {
        let (mut records, mut start) = (vec![], 0);
        while records.len() < BLOCK_RECORDS && start < BLOCK_BYTES {
            let blank = self.pending[start..].iter();
            start += blank.take_while(|byte| byte.is_ascii_whitespace()).count();
            let mut scanner = Scanner::new(&self.pending, start, usize::MAX);
            let end = match scanner.skip_any_depth() {
                // A number at the very end could go on.
                Ok(()) if self.ended || scanner.position() < self.pending.len() => {
                    Some(scanner.position())
                }
                Err(error) if error.fault() != Fault::Truncated => {
                    line_of_document(&self.pending, error.at().max(start)).or(match self.ended {
                        true => Some(self.pending.len()),
                        false => None,
                    })
                }
                _ => None,
            };
            match end {
                Some(end) => {
                    self.push(&mut records, start, end);
                    start = end;
                }
                None if self.ended => {
                    let end = self.pending.len();
                    if start < end && self.is_complete(start) {
                        self.push(&mut records, start, end);
                        start = end;
                    }
                    break;
                }
                None if self.pending.len() - start > self.limit => break,
                // Twice as much each time: a long document is not scanned over and over.
                None => self.fill(CHUNK.max(self.pending.len() - start)),
            }
        }
        (records, start)
    }

    fn deliver(&mut self, records: Vec<Record>, end: usize) -> Block {
        let rest = self.pending[end..].to_vec();
        let mut bytes = std::mem::replace(&mut self.pending, rest);
        bytes.truncate(end);
        self.offset += end as u64;
        Block {
            bytes,
            records,
            next: self.offset as i64,
            letter: None,
        }
    }

    /// Leaves a record out that is longer than the limit, holding only its start.
    fn skip_record(&mut self, shape: Shape) -> Block {
        let position = self.offset as i64;
        let kept = self.pending.len().min(DEAD_LETTER_PAYLOAD);
        let payload = self.pending[..kept].to_vec();
        let mut from = 1;
        let end = loop {
            let end = match shape {
                Shape::Lines => memchr::memchr(b'\n', &self.pending).map(|at| at + 1),
                Shape::Documents => line_of_document(&self.pending, from),
            };
            if let Some(end) = end {
                break end;
            }
            if self.ended {
                break self.pending.len();
            }
            // The last byte stays: with the next ones it may tell where a document starts.
            let passed = self.pending.len().saturating_sub(1);
            self.pending.drain(..passed);
            self.offset += passed as u64;
            from = 0;
            self.fill(CHUNK);
        };
        self.pending.drain(..end);
        self.offset += end as u64;
        let bytes = self.offset - position as u64;
        let limit = self.limit;
        Block {
            bytes: vec![],
            records: vec![],
            next: self.offset as i64,
            letter: Some(Letter {
                position,
                reason: "too_large",
                detail: format!("{bytes} bytes, the limit is {limit}"),
                payload,
                bytes,
            }),
        }
    }

    /// The end of a file that cannot be read to its end.
    fn unreadable(&mut self, error: &io::Error) -> Block {
        let rest = std::mem::take(&mut self.pending);
        let position = self.offset as i64;
        self.offset += rest.len() as u64;
        Block {
            bytes: vec![],
            records: vec![],
            next: self.offset as i64,
            letter: Some(Letter {
                position,
                reason: "unreadable",
                detail: format!(
                    "the file cannot be read beyond byte {}: {error}",
                    self.offset
                ),
                payload: rest[..rest.len().min(DEAD_LETTER_PAYLOAD)].to_vec(),
                bytes: rest.len() as u64,
            }),
        }
    }
}

/// Whether a line begins a document that the next lines go on with. A line that was merely cut off ends
/// anywhere; printers break lines behind `{`, `[` and `,`.
fn goes_on(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let whole = Scanner::new(line, 0, usize::MAX).skip_any_depth();
    matches!(line.last(), Some(b'{' | b'[' | b','))
        && whole.is_err_and(|error| error.fault() == Fault::Truncated)
}

/// The next line at or after `from` that begins like a document, in its first column: where reading goes on
/// after something that is none.
fn line_of_document(text: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(1);
    let lines = memchr::memchr_iter(b'\n', text.get(from..)?);
    let mut starts = lines.map(|at| from + at + 1);
    starts.find(|start| matches!(text.get(*start), Some(b'{' | b'[')))
}
