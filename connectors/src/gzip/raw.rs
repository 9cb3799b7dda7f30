//! Compressed bytes, and where members begin among them.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// How a member begins: magic, and the only method there is.
const MEMBER: [u8; 3] = [0x1F, 0x8B, 8];

/// Compressed bytes that are kept to be read again.
const KEPT: usize = 1 << 20;

/// Text of a member that must be readable for it to be taken for one, if its checksum does not come before; and how much is
/// enough where the input ends.
const TRIAL: u64 = 256 << 10;
const SHORT_TRIAL: u64 = 1 << 10;

/// What trials may cost: bytes per byte passed, and bytes besides. Each is at least as dear as its memory.
const TRIALS: u64 = 16;
const FIRST_TRIALS: u64 = 4 << 20;
const ONE_TRIAL: u64 = 4 << 10;

/// Longest name and comment in a header.
const NAME: usize = 4 << 10;

const CHUNK: usize = 64 << 10;

/// Compressed bytes, of which the last ones can be read again.
pub(super) struct Raw<R> {
    input: R,
    bytes: Vec<u8>,
    /// The next one.
    pos: usize,
    /// Place of the first byte kept.
    base: u64,
    /// All from here on is kept.
    pub floor: Option<u64>,
    pub ended: bool,
}

impl<R: Read> Raw<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            bytes: vec![],
            pos: 0,
            base: 0,
            floor: None,
            ended: false,
        }
    }

    /// How much was read from here on.
    pub fn length(&self) -> usize {
        self.bytes.len() - self.pos
    }

    pub fn place(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Goes to a place among what is kept, or to the nearest one.
    pub fn go_to(&mut self, place: u64) {
        let pos = place.saturating_sub(self.base) as usize;
        self.pos = pos.min(self.bytes.len());
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        if self.pos > 2 * KEPT {
            let floor = self
                .floor
                .map_or(usize::MAX, |floor| (floor - self.base) as usize);
            let gone = floor.min(self.pos - KEPT);
            self.bytes.drain(..gone);
            self.pos -= gone;
            self.base += gone as u64;
        }
        let mut chunk = (&mut self.input).take(CHUNK as u64);
        let read = chunk.read_to_end(&mut self.bytes)?;
        self.ended = read == 0;
        Ok(read > 0)
    }

    /// At least so many bytes from here, or all that there are.
    pub fn ahead(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.bytes.len() - self.pos < count && self.more()? {}
        Ok(&self.bytes[self.pos..])
    }

    pub fn consume(&mut self, count: usize) {
        self.pos = (self.pos + count).min(self.bytes.len());
    }

    /// Length of the member's header that begins here, if one does and it is whole.
    pub fn header(&mut self) -> io::Result<Option<usize>> {
        const CRC: u8 = 2;
        const EXTRA: u8 = 4;
        const TEXTS: [u8; 2] = [8, 16];
        let start = self.ahead(10)?;
        if start.len() < 10 || !begins_member(start) {
            return Ok(None);
        }
        let (flags, mut length) = (start[3], 10);
        if flags & EXTRA != 0 {
            match self.ahead(length + 2)?.get(length..length + 2) {
                Some(&[low, high]) => length += 2 + usize::from(u16::from_le_bytes([low, high])),
                _ => return Ok(None),
            }
        }
        for _ in TEXTS.iter().filter(|text| flags & *text != 0) {
            let rest = self.ahead(length + NAME)?.get(length..).unwrap_or_default();
            match memchr::memchr(0, &rest[..rest.len().min(NAME)]) {
                Some(end) => length += end + 1,
                None => return Ok(None),
            }
        }
        if flags & CRC != 0 {
            length += 2;
        }
        let is_whole = self.ahead(length)?.len() >= length;
        Ok(is_whole.then_some(length))
    }

    /// Whether length and checksum stand here that the member's text has.
    pub fn has_checksum(&mut self, crc: &Crc) -> io::Result<bool> {
        let sums = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
        Ok(self.ahead(sums.len())?.starts_with(&sums))
    }

    /// Goes to the next place that looks like a member's beginning. False at the end.
    pub fn find_member(&mut self) -> io::Result<bool> {
        loop {
            let ahead = self.ahead(4)?;
            let found = candidate(ahead);
            let length = ahead.len();
            match found {
                Some(at) => {
                    self.consume(at);
                    return Ok(true);
                }
                None if self.ended => {
                    self.consume(length);
                    return Ok(false);
                }
                None => {
                    // The last three bytes may begin one.
                    self.consume(length - 3);
                    self.more()?;
                }
            }
        }
    }

    /// Whether a member stands here that can be read. Stays here; adds to what was `spent`.
    pub fn is_member(&mut self, spent: &mut u64) -> io::Result<bool> {
        let start = self.place();
        if *spent > TRIALS * start + FIRST_TRIALS {
            return Ok(false);
        }
        *spent += ONE_TRIAL;
        let is_member = match self.header()? {
            Some(length) => {
                self.consume(length);
                self.can_be_read(start, spent)
            }
            None => Ok(false),
        };
        self.go_to(start);
        is_member
    }

    fn can_be_read(&mut self, start: u64, spent: &mut u64) -> io::Result<bool> {
        let (mut inflate, mut crc) = (Decompress::new(false), Crc::new());
        let mut text = vec![0; 8 << 10];
        loop {
            let ahead = self.ahead(1)?;
            if ahead.is_empty() {
                return Ok(inflate.total_out() >= SHORT_TRIAL);
            }
            let before = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(ahead, &mut text, FlushDecompress::None);
            let used = (inflate.total_in() - before.0) as usize;
            let made = (inflate.total_out() - before.1) as usize;
            *spent += (used + made) as u64;
            self.consume(used);
            crc.update(&text[..made]);
            match status {
                Ok(Status::StreamEnd) => return self.has_checksum(&crc),
                Ok(_) if used + made > 0 => {}
                _ => return Ok(false),
            }
            if inflate.total_out() >= TRIAL || self.place() - start > KEPT as u64 / 2 {
                return Ok(true);
            }
        }
    }
}

/// Whether a member may begin here: three of the flags must not be set.
fn begins_member(bytes: &[u8]) -> bool {
    bytes.starts_with(&MEMBER) && bytes.get(3).is_some_and(|flags| flags & 0xE0 == 0)
}

/// The first place where a member may begin.
pub(super) fn candidate(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(bytes, &MEMBER).find(|at| begins_member(&bytes[*at..]))
}
