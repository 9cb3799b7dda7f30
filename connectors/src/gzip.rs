//! Reads gzip of many members; a damaged one costs itself, not those behind it.
//!
//! Damage is an error that holds a [`Damage`]; where that goes on, the next read gives what the next readable member
//! holds. Zeros behind a member are padding. Invariants: where a member was cut, what follows is no part of it: text that
//! was made of bytes behind the beginning of another member is given only if the checksum proves it right; the work is
//! linear in the length, whatever the bytes are.

use std::fmt;
use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use self::raw::{Raw, candidate};

mod raw;

pub(crate) const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Most text (and compressed bytes) that wait for the checksum.
const HELD: usize = 4 << 20;

/// Shortest member.
const SHORTEST: u64 = 18;

/// Text per compressed byte, while nothing is known of the file.
const USUAL_RATIO: u64 = 8;

/// Text by which the ratio is told.
const SAMPLE: u64 = 64 << 10;

/// A part of the input that is no gzip.
#[derive(Debug)]
pub(crate) struct Damage {
    /// Place in the compressed bytes.
    at: u64,
    /// Compressed bytes passed over.
    pub skipped: u64,
    /// An estimate of the text that was lost with them.
    pub lost: u64,
    /// Text that was given just before, of the damaged member: no checksum proves it right.
    pub unverified: u64,
    pub goes_on: bool,
    pub reason: String,
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
pub(crate) fn damage(error: &io::Error) -> Option<&Damage> {
    error.get_ref()?.downcast_ref()
}

/// The member that is being read.
struct Member {
    inflate: Decompress,
    crc: Crc,
    start: u64,
    /// Text that was given.
    given: u64,
    /// No other member begins before this place, or where the next one may begin.
    searched: u64,
    next: Option<u64>,
    /// Where another one begins: this one was cut there, unless its checksum is right.
    doubt: Option<u64>,
    /// The text made of what stands behind that place.
    held: Vec<u8>,
    /// So much was read behind such a place that it is taken for a part of this one.
    is_sure: bool,
}

enum State {
    /// Between members.
    Between,
    Member(Box<Member>),
    Ended,
}

/// What a step in a member came to.
enum Step {
    /// More text, perhaps none.
    More,
    /// The checksum is right.
    End,
    Damaged(String),
}

pub(crate) struct Gzip<R> {
    raw: Raw<R>,
    state: State,
    /// Text that a member gave. In pieces of one size, so that a damaged one gives the same however it is read.
    piece: Vec<u8>,
    given: usize,
    /// Told when the piece was given.
    failure: Option<io::Error>,
    /// What finding members cost.
    spent: u64,
    /// Compressed bytes that became text, and that text.
    read: (u64, u64),
}

impl<R: Read> Gzip<R> {
    pub fn new(input: R) -> Self {
        Self {
            raw: Raw::new(input),
            state: State::Between,
            piece: vec![],
            given: 0,
            failure: None,
            spent: 0,
            read: (0, 0),
        }
    }

    /// Fills the piece. False at the end.
    fn next_piece(&mut self) -> io::Result<bool> {
        self.piece.clear();
        self.given = 0;
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        while self.piece.is_empty() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(false),
                State::Between => {
                    if !self.next_member()? {
                        return Ok(false);
                    }
                }
                State::Member(mut member) => {
                    let step = self.step(&mut member)?;
                    if member.doubt.is_some() && !matches!(step, Step::End) {
                        member.held.append(&mut self.piece);
                    } else if !member.held.is_empty() {
                        // What had to wait.
                        self.piece.splice(0..0, member.held.drain(..));
                    }
                    self.read.1 += self.piece.len() as u64;
                    member.given += self.piece.len() as u64;
                    match step {
                        Step::More => self.state = State::Member(member),
                        Step::End => self.state = State::Between,
                        Step::Damaged(reason) => {
                            let error = self.leave(&member, reason);
                            if self.piece.is_empty() {
                                return Err(error);
                            }
                            self.failure = Some(error);
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads some text of the member into the piece.
    fn step(&mut self, member: &mut Member) -> io::Result<Step> {
        const PIECE: usize = 8 << 10;
        let raw = &mut self.raw;
        loop {
            let place = raw.place();
            if let Some(doubt) = member.doubt
                && (member.held.len() > HELD || place - doubt > HELD as u64)
            {
                (member.doubt, member.is_sure, raw.floor) = (None, true, None);
            }
            if member.next.is_none() {
                let (start, ended) = ((member.searched - place) as usize, raw.ended);
                // The last three bytes may begin a member.
                let ahead = raw.ahead(start + 4)?;
                let found = candidate(ahead.get(start..).unwrap_or_default());
                member.next = found.map(|at| place + (start + at) as u64);
                let behind = match ended || raw.ended {
                    true => raw.length(),
                    false => raw.length() - 3,
                };
                member.searched = member.next.unwrap_or(place + behind as u64);
            }
            let length = (member.searched - place) as usize;
            let input = &raw.ahead(length)?[..length];
            self.piece.resize(PIECE, 0);
            let inflate = &mut member.inflate;
            let before = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(input, &mut self.piece, FlushDecompress::None);
            let used = inflate.total_in() - before.0;
            let made = (inflate.total_out() - before.1) as usize;
            raw.consume(used as usize);
            self.read.0 += used;
            self.piece.truncate(made);
            member.crc.update(&self.piece);
            match status {
                Ok(Status::StreamEnd) => {
                    raw.floor = None;
                    if !raw.has_checksum(&member.crc)? {
                        return Ok(Step::Damaged("the checksum is wrong".into()));
                    }
                    raw.consume(8);
                    return Ok(Step::End);
                }
                Err(error) => return Ok(Step::Damaged(error.to_string())),
                Ok(_) if made > 0 => return Ok(Step::More),
                Ok(_) if used > 0 => {}
                // All text came of what stands before this place.
                Ok(_) => match member.next.take() {
                    Some(next) => {
                        member.searched = next + 1;
                        let may_doubt = member.doubt.is_none() && !member.is_sure;
                        if may_doubt && raw.is_member(&mut self.spent)? {
                            (member.doubt, raw.floor) = (Some(next), Some(next));
                        }
                    }
                    None if length == 0 => {
                        return Ok(Step::Damaged("the data end early".into()));
                    }
                    None => return Ok(Step::Damaged("the data are corrupt".into())),
                },
            }
        }
    }

    /// Begins the member that follows another one. False if none does.
    fn next_member(&mut self) -> io::Result<bool> {
        let raw = &mut self.raw;
        let place = raw.place();
        loop {
            let ahead = raw.ahead(MAGIC.len())?;
            let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
            if ahead.is_empty() {
                return Ok(false);
            }
            if zeros == 0 {
                break;
            }
            raw.consume(zeros);
        }
        let start = raw.place();
        let is_first = start == 0;
        if !is_first && !raw.ahead(MAGIC.len())?.starts_with(&MAGIC) {
            let error = self.resume(start, place, 0, "no gzip behind a member".into());
            // A few bytes at the end are no member that was lost.
            let is_nothing =
                damage(&error).is_some_and(|one| !one.goes_on && one.skipped < SHORTEST);
            return match is_nothing {
                true => Ok(false),
                false => Err(error),
            };
        }
        let Some(length) = raw.header()? else {
            raw.consume(1);
            let reason = "a header of gzip is broken".into();
            return Err(self.resume(start, start, 0, reason));
        };
        // A header was cut if another one begins in it.
        let ahead = raw.ahead(length + 3)?;
        let end = ahead.len().min(length + 3);
        if let Some(at) = candidate(&ahead[1..end]) {
            raw.consume(1 + at);
            if raw.is_member(&mut self.spent)? {
                let reason = "a header of gzip is cut".into();
                return Err(self.damage(start, start, 0, true, reason));
            }
            raw.go_to(start);
        }
        raw.consume(length);
        self.read.0 += length as u64;
        self.state = State::Member(Box::new(Member {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            start,
            given: 0,
            searched: raw.place(),
            next: None,
            doubt: None,
            held: vec![],
            is_sure: false,
        }));
        Ok(true)
    }

    /// Leaves a damaged member for the next one, and makes an error of it.
    fn leave(&mut self, member: &Member, reason: String) -> io::Error {
        let at = self.raw.place();
        self.raw.floor = None;
        if let Some(next) = member.doubt {
            self.raw.go_to(next);
            return self.damage(at, member.start, member.given, true, reason);
        }
        self.resume(at, member.start, member.given, reason)
    }

    /// Goes to the next member that can be read, and makes an error of what lies between: it was noticed `at` a place, begins at
    /// `start`, and gave some text.
    fn resume(&mut self, at: u64, start: u64, unverified: u64, reason: String) -> io::Error {
        let raw = &mut self.raw;
        let goes_on = loop {
            let is_member = match raw.find_member() {
                Ok(false) => break false,
                Ok(true) => raw.is_member(&mut self.spent),
                Err(error) => Err(error),
            };
            match is_member {
                Ok(true) => break true,
                Ok(false) => raw.consume(1),
                Err(error) => return error,
            }
        };
        self.damage(at, start, unverified, goes_on, reason)
    }

    /// The damage before the place at hand, where reading goes on or nothing follows.
    fn damage(
        &mut self,
        at: u64,
        start: u64,
        unverified: u64,
        goes_on: bool,
        reason: String,
    ) -> io::Error {
        if goes_on {
            self.state = State::Between;
        }
        let skipped = self.raw.place().saturating_sub(start);
        let ratio = match self.read {
            (read, text) if text > SAMPLE => text.div_ceil(read.max(1)),
            _ => USUAL_RATIO,
        };
        let damage = Damage {
            at,
            skipped,
            lost: (skipped * ratio).saturating_sub(unverified),
            unverified,
            goes_on,
            reason,
        };
        io::Error::new(io::ErrorKind::InvalidData, damage)
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
mod tests;
