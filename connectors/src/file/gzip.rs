//! Reads gzip of many members; a damaged one costs itself, not those behind it.
//!
//! Damage is an error that holds a [`Damage`]; where that goes on, the next read gives what the next readable member
//! holds. Zeros behind a member are padding.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

pub(super) const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// How a member begins: magic, and the only method there is.
const MEMBER: [u8; 3] = [0x1F, 0x8B, 8];

/// Compressed bytes that are kept to look for a member again: a decoder may read on for a while in what is none.
const KEPT: usize = 1 << 20;

/// Bytes of a member that must be readable for it to be taken for one.
const TRIAL: u64 = 256 << 10;

/// Shortest member.
const SHORTEST: u64 = 18;

const CHUNK: usize = 64 << 10;

/// A part of the file that is no gzip.
#[derive(Debug)]
pub(super) struct Damage {
    /// Place in the compressed file.
    at: u64,
    /// Compressed bytes passed over.
    pub skipped: u64,
    pub goes_on: bool,
    reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, skipped, .. } = self;
        write!(f, "{}, near compressed byte {at}", self.reason)?;
        match self.goes_on {
            true => write!(
                f,
                "; reading goes on {skipped} bytes later, at the next member"
            ),
            false => write!(f, "; {skipped} compressed bytes are lost"),
        }
    }
}

impl std::error::Error for Damage {}

/// The damage that an error tells of.
pub(super) fn damage(error: &io::Error) -> Option<&Damage> {
    error.get_ref()?.downcast_ref()
}

/// Compressed bytes, of which the last ones can be read again.
struct Raw<R> {
    input: R,
    bytes: Vec<u8>,
    /// The next one.
    pos: usize,
    /// Place of the first byte kept.
    base: u64,
    ended: bool,
}

impl<R: Read> Raw<R> {
    fn place(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Goes to a place among what is kept, or to the nearest one.
    fn go_to(&mut self, place: u64) {
        let pos = place.saturating_sub(self.base) as usize;
        self.pos = pos.min(self.bytes.len());
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        if self.pos > 2 * KEPT {
            let gone = self.pos - KEPT;
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
    fn ahead(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.bytes.len() - self.pos < count && self.more()? {}
        Ok(&self.bytes[self.pos..])
    }
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Raw<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.ahead(1)
    }

    fn consume(&mut self, count: usize) {
        self.pos = (self.pos + count).min(self.bytes.len());
    }
}

enum State<R> {
    /// Between members.
    Between(Raw<R>),
    /// In the member that began at this place.
    Member(Box<GzDecoder<Raw<R>>>, u64),
    Ended,
}

pub(super) struct Gzip<R> {
    state: State<R>,
    /// What a member gave. In pieces of one size, so that a damaged one gives the same however it is read.
    piece: Vec<u8>,
    given: usize,
}

impl<R: Read> Gzip<R> {
    pub fn new(input: R) -> Self {
        let raw = Raw {
            input,
            bytes: vec![],
            pos: 0,
            base: 0,
            ended: false,
        };
        Self {
            state: State::Member(Box::new(GzDecoder::new(raw)), 0),
            piece: vec![],
            given: 0,
        }
    }

    /// Fills the piece. False at the end.
    fn next_piece(&mut self) -> io::Result<bool> {
        const PIECE: usize = 8 << 10;
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(false),
                State::Between(raw) => {
                    if !self.next_member(raw)? {
                        return Ok(false);
                    }
                }
                State::Member(mut member, start) => {
                    self.piece.resize(PIECE, 0);
                    self.given = 0;
                    match member.read(&mut self.piece) {
                        Ok(0) => {
                            self.piece.clear();
                            self.state = State::Between(member.into_inner());
                        }
                        Ok(read) => {
                            self.piece.truncate(read);
                            self.state = State::Member(member, start);
                            return Ok(true);
                        }
                        Err(error) => {
                            self.piece.clear();
                            let mut raw = member.into_inner();
                            let at = raw.place();
                            // The next member may begin in what was taken for a part of this one.
                            raw.go_to(start + 1);
                            return Err(self.resume(raw, at, start, error.to_string()));
                        }
                    }
                }
            }
        }
    }

    /// Begins the member that follows another one. False if none does.
    fn next_member(&mut self, mut raw: Raw<R>) -> io::Result<bool> {
        let start = raw.place();
        loop {
            let ahead = raw.ahead(MEMBER.len())?;
            let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
            if ahead.is_empty() {
                return Ok(false);
            }
            if zeros == 0 {
                break;
            }
            raw.consume(zeros);
        }
        if raw.ahead(MEMBER.len())?.starts_with(&MEMBER) {
            let start = raw.place();
            self.state = State::Member(Box::new(GzDecoder::new(raw)), start);
            return Ok(true);
        }
        let at = raw.place();
        let error = self.resume(raw, at, start, "no gzip behind a member".into());
        // A few bytes at the end of a file are no member that was lost.
        let is_nothing = damage(&error).is_some_and(|one| !one.goes_on && one.skipped < SHORTEST);
        match is_nothing {
            true => Ok(false),
            false => Err(error),
        }
    }

    /// Looks for the next member that can be read, and makes an error of what lies between.
    fn resume(&mut self, mut raw: Raw<R>, at: u64, start: u64, reason: String) -> io::Error {
        let goes_on = loop {
            match find_member(&mut raw) {
                Ok(false) => break false,
                Err(error) => return error,
                Ok(true) => {}
            }
            let place = raw.place();
            let mut member = GzDecoder::new(&mut raw);
            let tried = io::copy(&mut (&mut member).take(TRIAL), &mut io::sink());
            drop(member);
            raw.go_to(place);
            if tried.is_ok_and(|read| read > 0) {
                break true;
            }
            raw.consume(1);
        };
        let skipped = raw.place() - start.min(raw.place());
        if goes_on {
            let start = raw.place();
            self.state = State::Member(Box::new(GzDecoder::new(raw)), start);
        }
        let damage = Damage {
            at,
            skipped,
            goes_on,
            reason,
        };
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }
}

/// Goes to the next place that looks like a member's beginning. False at the end.
fn find_member<R: Read>(raw: &mut Raw<R>) -> io::Result<bool> {
    loop {
        let ahead = raw.ahead(4)?;
        match memchr::memmem::find(ahead, &MEMBER) {
            Some(at) => {
                raw.consume(at);
                // Three of the flags must not be set.
                let ahead = raw.ahead(4)?;
                if ahead.get(3).is_some_and(|flags| flags & 0xE0 == 0) {
                    return Ok(true);
                }
                raw.consume(1);
            }
            None => {
                // The last two bytes may begin one.
                let length = ahead.len();
                if raw.ended {
                    raw.consume(length);
                    return Ok(false);
                }
                raw.consume(length.saturating_sub(2));
                raw.more()?;
            }
        }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.piece.len() && !self.next_piece()? {
            return Ok(0);
        }
        let rest = &self.piece[self.given..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    fn member(content: &str) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        gzip.write_all(content.as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    /// What is read, and the compressed bytes that each damage skipped.
    fn read(bytes: &[u8]) -> (String, Vec<(bool, u64)>) {
        let (mut text, mut damages) = (vec![], vec![]);
        let mut gzip = Gzip::new(bytes);
        while let Err(error) = gzip.read_to_end(&mut text) {
            let one = damage(&error).unwrap();
            damages.push((one.goes_on, one.skipped));
        }
        (String::from_utf8_lossy(&text).into_owned(), damages)
    }

    fn content(seed: u64, lines: u64) -> String {
        let line = |index: u64| {
            format!(
                "{} {}\n",
                seed,
                (index + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            )
        };
        (0..lines).map(line).collect()
    }

    #[test]
    fn members_padding_and_what_is_none_at_the_end() {
        let (a, b) = (content(1, 1000), content(2, 1000));
        let both = [member(&a), member(&b)].concat();
        for end in [
            &[][..],
            &[0; 4096],
            b"garbage",
            &[0x1F, 0x8B],
            &[0, 0, b'x'],
        ] {
            let (text, damages) = read(&[&both[..], end].concat());
            assert_eq!(text, format!("{a}{b}"));
            assert_eq!(damages, [], "{end:?}");
        }
        let padded = [member(&a), vec![0; 512], member(&b)].concat();
        assert_eq!(read(&padded), (format!("{a}{b}"), vec![]));
        let lost = [&both[..], &[b'x'; 100]].concat();
        assert_eq!(read(&lost), (format!("{a}{b}"), vec![(false, 100)]));
        assert_eq!(read(&member("")), (String::new(), vec![]));
    }

    #[test]
    fn a_damaged_member_costs_itself() {
        let (a, b, c) = (content(1, 5000), content(2, 5000), content(3, 5000));
        let (first, third) = (member(&a), member(&c));
        let middle = member(&b);
        for (what, broken) in [
            ("cut", middle[..middle.len() / 2].to_vec()),
            ("cut in its header", middle[..7].to_vec()),
            ("without a magic", [&[0, 0, 7], &middle[3..]].concat()),
            ("garbage", vec![b'x'; 3000]),
            ("overwritten", {
                let mut broken = middle.clone();
                let half = broken.len() / 2;
                broken[half..half + 64].fill(0xFF);
                broken
            }),
            ("one bit", {
                let mut broken = middle.clone();
                let at = broken.len() - 5;
                broken[at] ^= 1;
                broken
            }),
        ] {
            let all = [&first[..], &broken, &third].concat();
            let (text, damages) = read(&all);
            assert!(text.starts_with(&a) && text.ends_with(&c), "{what}");
            assert_eq!(damages.len(), 1, "{what}");
            assert!(
                damages[0].0 && damages[0].1 <= broken.len() as u64,
                "{what}: {damages:?}"
            );
            // And as the last one.
            let (text, damages) = read(&all[..all.len() - third.len()]);
            assert!(text.starts_with(&a), "{what}");
            assert!(
                damages.len() <= 1 && damages.iter().all(|one| !one.0),
                "{what}"
            );
            assert!(!damages.is_empty() || what == "cut in its header", "{what}");
        }
    }
}
