//! Blocks of whole records out of one file.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::buffer::Buffer;
use flate2::read::MultiGzDecoder;
use weir_engine::batch::{DeadLetter, Partition};

use super::Shared;
use crate::decode::Record;

pub const BLOCK_BYTES: usize = 8 << 20;
pub const BLOCK_RECORDS: usize = 8192;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Whole records in one piece of memory.
#[derive(Debug)]
pub struct Block {
    pub bytes: Buffer,
    pub records: Vec<Record>,
    /// Position after it.
    pub next: i64,
}

impl Block {
    pub fn empty(next: i64) -> Self {
        Self {
            bytes: Buffer::from(&[] as &[u8]),
            records: vec![],
            next,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Unknown,
    /// One record per line.
    Lines,
    /// JSON documents over several lines.
    Documents,
}

/// Reads a file front to back.
pub struct Reader {
    input: Box<dyn Read + Send>,
    gzip: bool,
    shape: Shape,
    /// Read and not given out; begins at `position`.
    carry: Vec<u8>,
    position: i64,
    ended: bool,
    /// An error that came after bytes: told once those are given out.
    failed: Option<io::Error>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("position", &self.position)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

/// Counts on-disk bytes.
struct Counting {
    file: File,
    shared: Option<Arc<Shared>>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(shared) = &self.shared {
            shared.done.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl Reader {
    /// Opens at a position of the uncompressed text. Gzip is told by content, not by name.
    pub fn open(path: &Path, position: i64, shared: Option<Arc<Shared>>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = [0; 2];
        let gzip = file.read(&mut magic)? == 2 && magic == GZIP;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = Self {
            input: Box::new(io::empty()),
            gzip,
            shape: Shape::Unknown,
            carry: vec![],
            position,
            ended: false,
            failed: None,
        };
        if gzip {
            let mut input =
                MultiGzDecoder::new(BufReader::with_capacity(1 << 18, Counting { file, shared }));
            if position > 0 {
                // The shape shows only at the beginning.
                io::copy(
                    &mut Read::by_ref(&mut input).take(position as u64),
                    &mut io::sink(),
                )?;
                reader.shape = Self::open(path, 0, None)?.look(false)?;
            }
            reader.input = Box::new(input);
        } else {
            if position > 0 {
                reader.shape = Self::open(path, 0, None)?.look(false)?;
                file.seek(SeekFrom::Start(position as u64))?;
                if let Some(shared) = &shared {
                    shared.done.fetch_add(position as u64, Ordering::Relaxed);
                }
            }
            reader.input = Box::new(Counting { file, shared });
        }
        Ok(reader)
    }

    pub fn is_gzip(&self) -> bool {
        self.gzip
    }

    /// The next block of whole records; none at the end. With `follow` an unfinished last line stays.
    pub fn next_block(
        &mut self,
        max_bytes: usize,
        max_records: usize,
        follow: bool,
        max_record: usize,
    ) -> io::Result<Option<Block>> {
        if self.shape == Shape::Unknown {
            self.shape = self.look(follow)?;
        }
        match self.shape {
            Shape::Documents => self.documents(max_record, max_records),
            Shape::Lines | Shape::Unknown => self.lines(max_bytes, max_records, follow, max_record),
        }
    }

    /// Reads until `carry` holds this many bytes or the input ends.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        while !self.ended && self.carry.len() < bytes {
            let want = (bytes - self.carry.len()).min(1 << 20) as u64;
            match Read::by_ref(&mut self.input)
                .take(want)
                .read_to_end(&mut self.carry)
            {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) => {
                    self.ended = true;
                    self.failed = Some(error);
                }
            }
        }
        if self.carry.is_empty() {
            self.failed.take().map_or(Ok(()), Err)
        } else {
            Ok(())
        }
    }

    /// A file whose first line opens a JSON value and does not go on with it is pretty-printed.
    fn look(&mut self, follow: bool) -> io::Result<Shape> {
        self.fill(1 << 16)?;
        let text = self
            .carry
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(&self.carry);
        let Some(start) = text.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return Ok(if follow { Shape::Unknown } else { Shape::Lines });
        };
        let line = text[start..]
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default()
            .trim_ascii_end();
        let more = text[start..].len() > line.len() + 1;
        let opens = line.starts_with(b"{") || line.starts_with(b"[");
        let goes_on = matches!(line.last(), Some(b'{' | b'[' | b','));
        Ok(if more && opens && goes_on {
            Shape::Documents
        } else {
            Shape::Lines
        })
    }

    fn take(&mut self, length: usize, records: Vec<Record>) -> Block {
        let rest = self.carry.split_off(length);
        let bytes = std::mem::replace(&mut self.carry, rest);
        self.position += length as i64;
        Block {
            bytes: Buffer::from_vec(bytes),
            records,
            next: self.position,
        }
    }

    fn lines(
        &mut self,
        max_bytes: usize,
        max_records: usize,
        follow: bool,
        max_record: usize,
    ) -> io::Result<Option<Block>> {
        let mut want = max_bytes;
        loop {
            self.fill(want)?;
            if self.carry.is_empty() {
                return Ok(None);
            }
            let (mut records, mut start) = (vec![], 0);
            for end in memchr::memchr_iter(b'\n', &self.carry) {
                push(&mut records, &self.carry, start..end, self.position);
                start = end + 1;
                if records.len() >= max_records || start >= max_bytes {
                    break;
                }
            }
            if start > 0 {
                return Ok(Some(self.take(start, records)));
            }
            // One line longer than all that was read.
            if self.ended {
                if follow && self.failed.is_none() {
                    return Ok(None);
                }
                let length = self.carry.len();
                push(&mut records, &self.carry, 0..length, self.position);
                return Ok(Some(self.take(length, records)));
            }
            if self.carry.len() > max_record {
                return self.too_long(max_record).map(Some);
            }
            want = self.carry.len() * 2;
        }
    }

    /// Gives out the beginning of a line that no record may be as long as, and passes over the rest. The
    /// decoder makes a dead letter of it for its length.
    fn too_long(&mut self, max_record: usize) -> io::Result<Block> {
        let records = vec![Record {
            range: 0..max_record + 1,
            position: self.position,
        }];
        let mut block = self.take(max_record + 1, records);
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.carry) {
                self.carry.drain(..=end);
                self.position += end as i64 + 1;
                break;
            }
            self.position += self.carry.len() as i64;
            self.carry.clear();
            self.fill(1 << 20)?;
            if self.carry.is_empty() {
                break;
            }
        }
        block.next = self.position;
        Ok(block)
    }

    fn documents(&mut self, max_record: usize, max_records: usize) -> io::Result<Option<Block>> {
        let mut want = BLOCK_BYTES;
        loop {
            self.fill(want)?;
            if self.carry.is_empty() {
                return Ok(None);
            }
            let (mut records, mut start) = (vec![], 0);
            while let Some(length) = document(&self.carry[start..]) {
                push(
                    &mut records,
                    &self.carry,
                    start..start + length,
                    self.position,
                );
                start += length;
                if records.len() >= max_records {
                    break;
                }
            }
            if start > 0 {
                return Ok(Some(self.take(start, records)));
            }
            if self.ended || self.carry.len() > max_record {
                // Never closed: the rest is one record, and the decoder says what is wrong with it.
                self.fill(max_record + 1)?;
                let length = self.carry.len();
                push(&mut records, &self.carry, 0..length, self.position);
                return Ok(Some(self.take(length, records)));
            }
            want = self.carry.len() * 2;
        }
    }
}

/// Adds what is between two line ends, unless it is blank.
fn push(records: &mut Vec<Record>, bytes: &[u8], range: std::ops::Range<usize>, position: i64) {
    let line = &bytes[range.clone()];
    let start = range.start + (line.len() - line.trim_ascii_start().len());
    let end = range.start + line.trim_ascii_end().len();
    if start < end {
        records.push(Record {
            range: start..end,
            position: position + start as i64,
        });
    }
}

/// Length of the first JSON document with the blanks before it; none while it is not closed. Does not check
/// more than brackets and strings: the decoder does.
fn document(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => {
                at += 1;
                loop {
                    let step = memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
                    at += step;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The letter for what could not be read at all.
pub fn unreadable(partition: &Partition, position: i64, error: &io::Error) -> DeadLetter {
    DeadLetter {
        partition: partition.clone(),
        position,
        reason: "unreadable",
        detail: format!("the file cannot be read beyond byte {position} of its text: {error}"),
        payload: vec![],
        payload_bytes: 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    fn records(content: &[u8], max_record: usize) -> Vec<(i64, Vec<u8>)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut all = vec![];
        // Reopened after every block, as after a crash.
        let mut position = 0;
        loop {
            let mut reader = Reader::open(file.path(), position, None).unwrap();
            let Some(block) = reader.next_block(16, 2, false, max_record).unwrap() else {
                break;
            };
            assert!(block.next > position);
            position = block.next;
            all.extend(
                block
                    .records
                    .iter()
                    .map(|r| (r.position, block.bytes[r.range.clone()].to_vec())),
            );
        }
        assert_eq!(position as usize, content.len());
        all
    }

    fn texts(content: &[u8]) -> Vec<String> {
        records(content, 1000)
            .into_iter()
            .map(|(_, r)| String::from_utf8_lossy(&r).into_owned())
            .collect()
    }

    #[test]
    fn lines_with_and_without_an_end() {
        assert_eq!(
            texts(b"{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}"),
            ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]
        );
        assert_eq!(
            records(b"\n{}\n x\n", 1000),
            [(1, b"{}".to_vec()), (5, b"x".to_vec())]
        );
        assert!(texts(b"").is_empty() && texts(b"\n\n").is_empty());
    }

    #[test]
    fn a_truncated_first_line_does_not_swallow_the_file() {
        assert_eq!(
            texts(b"{\"a\": [1, {\"b\n{\"c\":3}\n"),
            ["{\"a\": [1, {\"b", "{\"c\":3}"]
        );
    }

    #[test]
    fn pretty_printed_documents() {
        let content = b"{\n  \"a\": \"}\\\"\",\n  \"b\": [\n1]\n}\n\n{\n \"c\": 2\n}\n{\"d\":";
        assert_eq!(
            texts(content),
            [
                "{\n  \"a\": \"}\\\"\",\n  \"b\": [\n1]\n}",
                "{\n \"c\": 2\n}",
                "{\"d\":"
            ]
        );
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut content = vec![b'x'; 100_000];
        content.extend(b"\n{\"a\":1}\n");
        let all = records(&content, 50);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0, all[0].1.len()), (0, 51));
        assert_eq!(all[1], (100_001, b"{\"a\":1}".to_vec()));
    }
}
