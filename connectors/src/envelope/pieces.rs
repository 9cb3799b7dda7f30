//! Lines that a container runtime cut into pieces, as far as they came.
//!
//! Kept from block to block per partition, not over a restart. A line is held as long as more of it may come: one that is given up
//! is a dead letter, so that each piece is counted. Invariants: joining is linear in the length of the line; what was added since a
//! [`mark`](Pieces::mark) can be taken back.

use std::collections::HashMap;
use std::ops::Range;

/// Records of the partition between two pieces of a line, beyond which no more of it is waited for.
const PATIENCE: u64 = 10_000;

/// Lines that are held at once in one partition.
const LINES: usize = 10_000;

/// Who wrote a line: the container, as far as the objects around the line tell it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// A hash of what they say.
    pub hash: u64,
    /// Whether they name a container, pod, file or host, so that no other wrote under the same hash.
    pub is_known: bool,
}

/// What one line after the other comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stream {
    Stdout,
    Stderr,
    /// The member `log` of Docker's objects.
    Docker,
}

pub(super) type Writer = (Origin, Stream);

/// Where a JSON text stands behind what came of it.
#[derive(Debug, Default, Clone, Copy)]
struct Outline {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Outline {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// A line as far as it came.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub text: Vec<u8>,
    /// Where U+FFFD in it stands for what could not be read.
    pub marks: Vec<Range<usize>>,
    /// Of the record with its first piece.
    pub position: i64,
    outline: Outline,
    /// [`Pieces::records`] at its last piece.
    seen: u64,
}

impl Held {
    fn add(&mut self, text: &[u8], marks: Vec<Range<usize>>) {
        let length = self.text.len();
        let marks = marks.into_iter();
        let marks = marks.map(|mark| mark.start + length..mark.end + length);
        self.marks.extend(marks);
        self.text.extend_from_slice(text);
    }
}

/// How to take a step back.
#[derive(Debug)]
enum Undo {
    Added {
        writer: Writer,
        length: usize,
        marks: usize,
        outline: Outline,
    },
    /// Nothing while the line is being read.
    Taken(Writer, Option<Held>),
}

/// The lines of one partition.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    lines: HashMap<Writer, Held>,
    /// Length of all that is held.
    bytes: usize,
    /// Records that came while something was held.
    records: u64,
    /// Position of the last one.
    last: i64,
    /// Lines that were given up, and are no dead letters yet.
    gone: Vec<Held>,
    undo: Vec<Undo>,
}

impl Pieces {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.gone.is_empty()
    }

    /// Tells of the next record. True if it stands before the last one: the partition is read anew.
    pub fn pass_record(&mut self, position: i64) -> bool {
        self.undo.clear();
        self.records += 1;
        let last = std::mem::replace(&mut self.last, position);
        position < last
    }

    /// Grows with each piece, and falls when a line is whole or given up.
    pub fn amount(&self) -> usize {
        self.lines.len() + self.bytes
    }

    /// A place to go back to.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back what was added and taken since the mark.
    pub fn withdraw(&mut self, mark: usize) {
        // All steps are forgotten when lines are given up.
        let mark = mark.min(self.undo.len());
        for undo in self.undo.drain(mark..).rev() {
            match undo {
                Undo::Added {
                    writer, length: 0, ..
                } => {
                    let gone = self.lines.remove(&writer);
                    self.bytes -= gone.map_or(0, |held| held.text.len());
                }
                Undo::Added {
                    writer,
                    length,
                    marks,
                    outline,
                } => {
                    if let Some(held) = self.lines.get_mut(&writer) {
                        self.bytes -= held.text.len() - length;
                        held.text.truncate(length);
                        held.marks.truncate(marks);
                        held.outline = outline;
                    }
                }
                Undo::Taken(writer, held) => {
                    let held = held.unwrap_or_default();
                    self.bytes += held.text.len();
                    self.lines.insert(writer, held);
                }
            }
        }
    }

    pub(super) fn holds(&self, writer: &Writer) -> bool {
        self.lines.contains_key(writer)
    }

    /// Whether the JSON that is held would end with this text.
    pub(super) fn ends_with(&self, writer: &Writer, text: &[u8]) -> bool {
        self.lines.get(writer).is_none_or(|held| {
            let mut outline = held.outline;
            outline.feed(text);
            outline.depth == 0 && !outline.in_text
        })
    }

    /// Adds a piece of a line. All lines are given up if together they are longer than `limit`.
    pub(super) fn add(
        &mut self,
        writer: Writer,
        text: &[u8],
        marks: Vec<Range<usize>>,
        limit: usize,
    ) {
        if self.bytes + text.len() > limit || self.lines.len() >= LINES {
            self.undo.clear();
            self.bytes = 0;
            self.gone.extend(self.lines.drain().map(|(_, held)| held));
        }
        let (records, last) = (self.records, self.last);
        let held = self.lines.entry(writer).or_insert_with(|| Held {
            position: last,
            ..Held::default()
        });
        self.undo.push(Undo::Added {
            writer,
            length: held.text.len(),
            marks: held.marks.len(),
            outline: held.outline,
        });
        held.seen = records;
        held.outline.feed(text);
        held.add(text, marks);
        self.bytes += text.len();
    }

    /// Waits for no more of the line.
    pub(super) fn give_up(&mut self, writer: &Writer) {
        if let Some(held) = self.lines.remove(writer) {
            self.bytes -= held.text.len();
            self.gone.push(held);
        }
    }

    /// The line with its last piece, which is then held no more. [`put_back`](Self::put_back) has to follow.
    pub(super) fn join(
        &mut self,
        writer: Writer,
        text: &[u8],
        marks: Vec<Range<usize>>,
    ) -> Option<Joined> {
        let mut held = self.lines.remove(&writer)?;
        let before = (held.text.len(), held.marks.len());
        self.bytes -= before.0;
        self.undo.push(Undo::Taken(writer, None));
        held.add(text, marks);
        let at = self.undo.len() - 1;
        Some(Joined { held, before, at })
    }

    /// Keeps a line that was read, for [`withdraw`](Self::withdraw).
    pub(super) fn put_back(&mut self, joined: Joined) {
        let Joined {
            mut held,
            before,
            at,
        } = joined;
        held.text.truncate(before.0);
        held.marks.truncate(before.1);
        if let Some(Undo::Taken(_, place @ None)) = self.undo.get_mut(at) {
            *place = Some(held);
        }
    }

    /// The lines that were given up.
    pub(super) fn take_gone(&mut self) -> Vec<Held> {
        let mut gone = std::mem::take(&mut self.gone);
        gone.sort_by_key(|held| held.position);
        gone
    }

    /// Gives up the lines of which nothing came for long, or every line.
    pub fn give_up_old(&mut self, or_any: bool) {
        self.undo.clear();
        let records = self.records;
        let old = self
            .lines
            .extract_if(|_, held| or_any || records - held.seen > PATIENCE);
        for (_, held) in old {
            self.bytes -= held.text.len();
            self.gone.push(held);
        }
    }
}

/// A line that was put together.
pub(super) struct Joined {
    pub held: Held,
    /// Lengths of text and marks before its last piece.
    before: (usize, usize),
    /// Place of its step.
    at: usize,
}
