//! Lines as container runtimes write them, long ones in pieces.

use super::head;
use super::pieces::{Origin, Stream, Writer};
use crate::decode::{Marks, Work};
use crate::format::{Fault, Format, fault};
use crate::json::{self, Scanner};

/// Members that name who wrote what stands beside them: Docker, Fluent Bit, Fluentd, Vector, Beats, CloudWatch, OpenTelemetry.
const NAMES: &[&[u8]] = &[
    b"container_id",
    b"container_name",
    b"container",
    b"docker",
    b"kubernetes",
    b"k8s",
    b"pod",
    b"pod_name",
    b"tag",
    b"_tag",
    b"fluentd_tag",
    b"logGroup",
    b"logStream",
    b"resource",
    b"file",
    b"filename",
    b"path",
    b"host",
    b"hostname",
    b"source",
];

/// An object around texts, and who wrote them.
pub(super) struct Around {
    /// Where it begins.
    start: usize,
    /// As the members say that were passed.
    passed: Origin,
    /// As all of its members say, once that was asked for.
    all: Option<Origin>,
}

impl Around {
    pub fn new(start: usize, outside: Origin) -> Self {
        Self {
            start,
            passed: outside,
            all: None,
        }
    }

    /// Passes the member if it is one that names the writer.
    pub fn pass(&mut self, s: &mut Scanner, key: &[u8]) -> json::Result<bool> {
        let names = key == b"stream" || NAMES.contains(&key);
        if names {
            add(&mut self.passed, s, key)?;
        }
        Ok(names)
    }

    pub fn passed(&self) -> Origin {
        self.passed
    }

    fn all(&mut self, outside: Origin, bytes: &[u8]) -> Origin {
        *self.all.get_or_insert_with(|| {
            let mut origin = outside;
            let mut s = Scanner::new(bytes, self.start, usize::MAX);
            // It ends where the object is broken.
            let _ = s.object(|s, key| match key == b"stream" || NAMES.contains(&key) {
                true => add(&mut origin, s, key),
                false => s.skip(),
            });
            origin
        })
    }
}

fn add(origin: &mut Origin, s: &mut Scanner, key: &[u8]) -> json::Result<()> {
    let value = &s.bytes()[s.range()?];
    let seed = xxhash_rust::xxh3::xxh3_64(key);
    origin.hash ^= xxhash_rust::xxh3::xxh3_64_with_seed(value, seed);
    // Each container has both streams.
    origin.is_known |= key != b"stream";
    Ok(())
}

/// Whether a JSON object begins here and its end is missing.
fn is_torn(text: &[u8]) -> bool {
    let mut s = Scanner::new(text, 0, usize::MAX);
    s.peek() == b'{' && s.skip().is_err_and(json::Error::is_truncated)
}

impl Work<'_, '_> {
    /// Reads the text of a member of an object, who wrote it in mind.
    pub(super) fn text_of(
        &mut self,
        s: &mut Scanner,
        level: usize,
        around: &mut Around,
    ) -> json::Result<Option<Box<Fault>>> {
        let (text, marks) = self.unescaped(s)?;
        Ok(self.read_beside(s, around, &text, marks, level))
    }

    fn read_beside(
        &mut self,
        s: &Scanner,
        around: &mut Around,
        text: &[u8],
        marks: Marks,
        level: usize,
    ) -> Option<Box<Fault>> {
        // Only the pieces of lines ask for it.
        let asks = match text.first() {
            Some(b'0'..=b'9') => {
                !self.pieces.is_empty() || memchr::memmem::find(text, b" P").is_some()
            }
            Some(b'{') => memchr::memmem::find(text, b"\"log\"").is_some(),
            _ => false,
        };
        let outside = self.origin;
        if asks {
            self.origin = around.all(outside, s.bytes());
        }
        let unusable = self.read_text(text, marks, level + 1);
        self.origin = outside;
        unusable
    }

    /// A line that Docker wrote: a long one comes in pieces, of which only the last has a line end.
    pub(super) fn docker_log(
        &mut self,
        s: &mut Scanner,
        level: usize,
        around: &mut Around,
    ) -> json::Result<Option<Box<Fault>>> {
        let (text, marks) = self.unescaped(s)?;
        let has_end = text.ends_with(b"\n");
        let begins = !has_end && is_torn(&text);
        if !begins && self.pieces.is_empty() {
            return Ok(self.read_beside(s, around, &text, marks, level));
        }
        let origin = around.all(self.origin, s.bytes());
        let writer = (origin, Stream::Docker);
        let limit = self.config.max_envelope_bytes;
        match self.goes_on(&writer, &text) {
            true if has_end || self.pieces.ends_with(&writer, &text) => {
                Ok(self.read_joined(writer, &text, marks, level))
            }
            is_held if is_held || begins => {
                self.pieces.add(writer, &text, marks, limit);
                Ok(None)
            }
            _ => Ok(self.read_beside(s, around, &text, marks, level)),
        }
    }

    /// Whether the text is more of a line that is held: not so if it is a whole one.
    fn goes_on(&mut self, writer: &Writer, text: &[u8]) -> bool {
        if !self.pieces.holds(writer) {
            return false;
        }
        let is_whole = self.is_whole(text);
        // Of one container nothing comes between the pieces of a line. Others write where nobody tells them apart.
        if is_whole && writer.0.is_known {
            self.pieces.give_up(writer);
        }
        !is_whole
    }

    /// Whether the text begins with a JSON object that ends with its line, or with a line of a known format.
    fn is_whole(&mut self, text: &[u8]) -> bool {
        let line = text.trim_ascii_start();
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        let line = line[..end].trim_ascii_end();
        let mut s = Scanner::new(line, 0, usize::MAX);
        if s.peek() == b'{' {
            return s.skip().and_then(|()| s.finish()).is_ok();
        }
        let formats = Format::with_lines().iter();
        let mut formats = formats.filter(|(format, ..)| self.allowed.has(*format));
        !line.is_empty()
            && formats.any(|(_, tree, lines)| {
                (lines.header)(line, tree).is_some()
                    || (lines.split)(&s, self.header.as_deref(), tree, self.found)
            })
    }

    /// Reads a line whose last piece has come.
    fn read_joined(
        &mut self,
        writer: Writer,
        text: &[u8],
        marks: Marks,
        level: usize,
    ) -> Option<Box<Fault>> {
        let joined = self.pieces.join(writer, text, marks)?;
        let outside = std::mem::replace(&mut self.origin, writer.0);
        let unusable = self.read_text(&joined.held.text, joined.held.marks.clone(), level + 1);
        self.origin = outside;
        self.pieces.put_back(joined);
        unusable
    }

    /// Passes what a container runtime wrote before a line. Otherwise it was a piece of a line: the scanner is then behind it, and
    /// what became of it is the error.
    pub(crate) fn pass_head(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<(), Option<Box<Fault>>> {
        let at = s.position();
        let rest = &s.bytes()[at..];
        let Some(head) = head::container(rest) else {
            return Ok(());
        };
        if let Some(piece) = head.piece {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let stream = match &rest[piece.stream] {
                b"stderr" => Stream::Stderr,
                _ => Stream::Stdout,
            };
            let writer = (self.origin, stream);
            let text = rest.get(head.length..end).unwrap_or_default();
            let limit = self.config.max_envelope_bytes;
            if piece.goes_on {
                let marks = self.marks_in(at + head.length..at + end);
                self.pieces.add(writer, text, marks, limit);
                s.advance(end);
                return Err(None);
            }
            if !self.pieces.is_empty() && self.goes_on(&writer, text) {
                let marks = self.marks_in(at + head.length..at + end);
                s.advance(end);
                return Err(self.read_joined(writer, text, marks, level));
            }
        }
        s.advance(head.length);
        Ok(())
    }

    /// Makes dead letters of the lines that were given up.
    pub(crate) fn write_given_up(&mut self) {
        let position = self.position;
        for held in self.pieces.take_gone() {
            self.position = held.position;
            let detail = "a line that a container runtime cut, whose end never came";
            self.dead_letter(&held.text, fault("invalid_json", detail));
        }
        self.position = position;
    }
}
