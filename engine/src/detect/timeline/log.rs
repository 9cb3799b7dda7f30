//! Matches in the store: a log of what came and what ended, written anew when most of what it holds has ended.
//!
//! A piece of the log is lines. A match that came is two: `+` and JSON of its key, its id and itself, then the JSON of its
//! row. One that ended is `-` and JSON of its key's text, start and id. Pieces are read in the order of their numbers.

use serde::Serialize;

use super::{Key, Place};
use crate::detect::episode::Match;
use crate::{Error, Result};

/// Longest piece, about, in bytes.
const PIECE: usize = 1 << 20;

/// The log is written anew when more than this, and more than there are matches, of its entries tell of matches that ended,
/// or when none is left.
const FEW: usize = 1024;

/// Part of a rule's state that the log is.
pub(super) const PART: &str = "match-log";

#[derive(Debug, Default)]
pub(super) struct Log {
    /// Pieces that the store has: `[first, next)`.
    first: i64,
    next: i64,
    /// Entries in them.
    entries: usize,
    /// Matches that came by them and did not end.
    live: usize,
    /// Matches that ended and that they do not tell of yet.
    ended: Vec<(String, Place)>,
}

impl Log {
    /// Notes the end of a match.
    pub fn end(&mut self, home: &str, place: Place, is_written: bool) {
        if is_written {
            self.live -= 1;
            self.ended.push((home.to_owned(), place));
        }
    }

    /// Whether what is written next should be the whole log.
    pub fn is_stale(&self) -> bool {
        let dead = self.entries + self.ended.len() - self.live;
        self.entries > 0 && (self.live == 0 || dead > self.live.max(FEW))
    }

    /// The log without entries. Its pieces go to `gone`.
    pub fn emptied(self, gone: &mut Vec<(&'static str, i64)>) -> Self {
        gone.extend((self.first..self.next).map(|number| (PART, number)));
        Self {
            first: self.next,
            next: self.next,
            ..Self::default()
        }
    }

    pub fn write(&mut self) -> Result<Pieces<'_>> {
        let mut pieces = Pieces {
            log: self,
            done: vec![],
            text: vec![],
        };
        for (home, (start, id)) in std::mem::take(&mut pieces.log.ended) {
            pieces.line(b'-', &(home, start, id))?;
        }
        Ok(pieces)
    }

    /// Notes a piece that the store has.
    pub fn restore(&mut self, number: i64) {
        if self.entries == 0 {
            self.first = number;
        }
        self.next = number + 1;
    }

    /// Notes what a piece told.
    pub fn restore_entry(&mut self, came: usize, ended: usize) {
        self.entries += 1;
        self.live = self.live + came - ended;
    }
}

/// What is being written.
pub(super) struct Pieces<'l> {
    log: &'l mut Log,
    done: Vec<(i64, Vec<u8>)>,
    text: Vec<u8>,
}

impl Pieces<'_> {
    pub fn came(&mut self, key: &Key, id: &str, found: &Match) -> Result<()> {
        self.log.live += 1;
        self.line(b'+', &(key, id, found))?;
        self.text.extend_from_slice(found.row.as_bytes());
        self.text.push(b'\n');
        if self.text.len() > PIECE {
            self.end_piece();
        }
        Ok(())
    }

    /// The pieces, by their numbers.
    pub fn done(mut self) -> Vec<(i64, Vec<u8>)> {
        if !self.text.is_empty() {
            self.end_piece();
        }
        self.done
    }

    fn line(&mut self, kind: u8, entry: &impl Serialize) -> Result<()> {
        self.log.entries += 1;
        self.text.push(kind);
        let written = serde_json::to_writer(&mut self.text, entry);
        self.text.push(b'\n');
        written.map_err(|error| Error::Other(error.to_string()))
    }

    fn end_piece(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.done.push((self.log.next, text));
        self.log.next += 1;
    }
}
