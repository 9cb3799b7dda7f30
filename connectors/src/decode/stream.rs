//! Cuts a text into JSON values and lines of logs.

use std::ops::Range;

use super::{Work, json_fault};
use crate::envelope::{behind_syslog, has_head};
use crate::format::{Fault, Format, Reject, Stop, fault};
use crate::json::{self, Scanner};
use crate::mapping::Compiled;

/// What CloudWatch Logs sends to see whether a destination is there.
const CONTROL_MESSAGE: &[u8] = b"CWL CONTROL MESSAGE";

/// Whether something else than JSON follows on the same line.
fn rubbish_follows(s: &Scanner) -> bool {
    let rest = &s.bytes()[s.position()..];
    let next = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    !matches!(next, None | Some(b'{' | b'[' | b'\n' | b'\r' | 0 | 0x1E))
}

/// Whether the line begins an array of JSON values, not the time of an access line.
fn begins_array(line: &[u8]) -> bool {
    let mut s = Scanner::new(line, 1, usize::MAX);
    line.first() == Some(&b'[') && matches!(s.peek(), b'{' | b'[' | b'"' | b']')
}

/// Whether a member follows the value that was just read and began at `start`: then a bracket too many closed it. What
/// stands on a later line is no member of a value that was written on one line.
pub(super) fn closed_early(s: &mut Scanner, start: usize) -> Option<json::Error> {
    let end = s.position();
    let next = s.peek();
    let mut behind = s.clone();
    let is_early = match next {
        b',' => {
            behind.advance(1);
            behind.peek() == b'"'
        }
        b'"' => is_key(&mut behind),
        b':' => true,
        _ => false,
    };
    let has_line_end = |range: Range<usize>| memchr::memchr(b'\n', &s.bytes()[range]).is_some();
    let is_early = is_early && (!has_line_end(end..s.position()) || has_line_end(start..end));
    if is_early { s.finish().err() } else { None }
}

/// Whether the string at the scanner is the key of a member.
fn is_key(s: &mut Scanner) -> bool {
    matches!(s.text(), Ok(Some(_))) && s.peek() == b':'
}

impl Work<'_, '_> {
    /// Reads the scanner's text to its end: JSON values one behind the other (with or without line ends between them) and lines
    /// of logs, in any mix. Each that is unusable gets a dead letter; if it is the only one, its fault is returned instead.
    pub(crate) fn stream(&mut self, s: &mut Scanner, level: usize) -> Option<Box<Fault>> {
        // The header of a flow log holds for the text that it stands in.
        let holds_on = level == 0 && self.config.headers_last;
        let outside = (!holds_on).then(|| self.header.clone());
        let unusable = self.pieces_of(s, level);
        if let Some(header) = outside {
            self.header = header;
        }
        unusable
    }

    fn pieces_of(&mut self, s: &mut Scanner, level: usize) -> Option<Box<Fault>> {
        let mut alone: Option<(Range<usize>, Box<Fault>)> = None;
        let mut is_first = true;
        while self.pass_blank(s) {
            let start = s.position();
            let is_json = matches!(s.peek(), b'{' | b'[');
            let unusable = self.piece(s, level);
            let range = start..s.position();
            // Brackets too many are no event, and the one that they belong to was counted.
            while is_json && matches!(s.peek(), b'}' | b']') {
                s.advance(1);
            }
            if let Some((range, fault)) = alone.take() {
                self.dead_letter(&s.bytes()[range], fault);
            }
            match unusable {
                Some(fault) if is_first => alone = Some((range, fault)),
                Some(fault) => self.dead_letter(&s.bytes()[range], fault),
                None => {}
            }
            is_first = false;
        }
        if is_first {
            return Some(fault("empty", "nothing but whitespace"));
        }
        alone.map(|(_, fault)| fault)
    }

    /// Passes what may stand between texts: blanks, byte order marks, the separators of RFC 7464, and the zeros that a file
    /// system leaves of a write that was cut. False at the end.
    pub(super) fn pass_blank(&self, s: &mut Scanner) -> bool {
        loop {
            match s.peek() {
                0 | 0xEF => {}
                _ => return true,
            }
            match s.bytes().get(s.position()..) {
                Some([0 | 0x0B | 0x0C | 0x1E, ..]) => s.advance(1),
                Some([0xEF, 0xBB, 0xBF, ..]) => s.advance(3),
                _ => return s.position() < s.bytes().len(),
            }
        }
    }

    /// Reads one value or line.
    fn piece(&mut self, s: &mut Scanner, level: usize) -> Option<Box<Fault>> {
        match s.peek() {
            b'{' => return self.json(s, level),
            b'0'..=b'9' => {
                if let Err(outcome) = self.pass_head(s, level) {
                    return outcome;
                }
            }
            _ => {}
        }
        match s.peek() {
            b'{' | b'"' => self.json(s, level),
            _ => self.line_or_json(s, level, true),
        }
    }

    /// Reads a line of a log, or JSON that begins like one.
    fn line_or_json(&mut self, s: &mut Scanner, level: usize, heads: bool) -> Option<Box<Fault>> {
        let start = s.position();
        let rest = &s.bytes()[start..];
        let end = start + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = s.bytes()[start..end].trim_ascii_end();
        let range = start..start + line.len();
        // Lines of logs can begin with a time as a head does, but not with a month's name or a priority.
        let is_line_first = line.first().is_some_and(u8::is_ascii_digit);
        let head_of = |line| if heads { behind_syslog(line) } else { None };
        let mut head = if is_line_first { None } else { head_of(line) };
        let outcome = match head {
            Some(_) => Ok(false),
            None => self.line(s, range),
        };
        if is_line_first && !matches!(outcome, Ok(true)) {
            head = head_of(line);
        }
        match outcome {
            Ok(true) => {
                s.advance(end - start);
                return None;
            }
            // The words of a head count as fields of a line.
            Err(fault) if head.is_none() => {
                s.advance(end - start);
                return Some(fault);
            }
            Ok(false) | Err(_) => {}
        }
        if let Some(length) = head {
            s.advance(length);
            return match self.pass_blank(s) && s.position() < end {
                true if s.peek() == b'{' => self.json(s, level),
                true => {
                    if let Err(outcome) = self.pass_head(s, level) {
                        return outcome;
                    }
                    match s.peek() {
                        b'{' => self.json(s, level),
                        _ => self.line_or_json(s, level, false),
                    }
                }
                false => Some(fault("empty", "nothing behind the head of syslog")),
            };
        }
        if matches!(s.peek(), b'[' | b'"') {
            return self.json(s, level);
        }
        let mut line = Scanner::new(&s.bytes()[..end], start, self.config.max_depth);
        let mut scalar = line.clone();
        let unusable = match scalar.skip().and_then(|()| scalar.finish()) {
            // JSON may stand behind what is no line.
            Err(error) => self.salvage(&mut line, level, error),
            Ok(()) => Some(fault("unknown_format", "not a JSON object")),
        };
        s.advance(end - start);
        unusable
    }

    /// Reads one JSON value; what is broken is read piece by piece.
    fn json(&mut self, s: &mut Scanner, level: usize) -> Option<Box<Fault>> {
        let (before, mark, start) = (self.before(), s.mark(), s.position());
        let error = match self.value(s, level) {
            Ok(unusable) => match closed_early(s, start) {
                // Elements of an array that was closed before them: what was read stays.
                None if unusable.is_none() && s.peek() == b',' => {
                    return match s.finish() {
                        Err(error) => self.salvage_rest(s, level, error),
                        Ok(()) => None,
                    };
                }
                None if s.peek() == b',' => match s.finish() {
                    Err(error) => error,
                    Ok(()) => return unusable,
                },
                // What follows on the line belongs to what is no event.
                None if unusable.is_some() && rubbish_follows(s) => match s.finish() {
                    Err(error) => error,
                    Ok(()) => return unusable,
                },
                None => return unusable,
                Some(error) => error,
            },
            Err(Reject::Event(fault)) => {
                s.reset(mark);
                match s.skip().map(|()| closed_early(s, start)) {
                    Ok(None) => return Some(fault),
                    Ok(Some(error)) | Err(error) => error,
                }
            }
            Err(Reject::Json(error)) => error,
        };
        s.reset(mark);
        self.withdraw(&before);
        self.salvage(s, level, error)
    }

    /// Whether something begins at `at`, where a line begins, that is no part of JSON: a line of a text format, or what a
    /// container runtime or a syslog daemon writes before a line.
    pub(super) fn begins_line(&mut self, bytes: &[u8], at: usize) -> bool {
        let length = memchr::memchr(b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
        let line = bytes[at..at + length].trim_ascii_end();
        let begins = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'<' | b'[');
        if !line.first().is_some_and(begins) || begins_array(line) {
            return false;
        }
        let s = Scanner::new(&bytes[..at + line.len()], at, usize::MAX);
        has_head(line)
            || Format::with_lines().iter().any(|(format, tree, lines)| {
                self.allowed.has(*format)
                    && ((lines.header)(line, tree).is_some()
                        || (lines.split)(&s, self.header.as_deref(), tree, self.found))
            })
    }

    /// Reads the range as a line of a text format. False if it is none.
    pub(super) fn line(&mut self, s: &Scanner, range: Range<usize>) -> Result<bool, Box<Fault>> {
        let line = &s.bytes()[range.clone()];
        if line.trim_ascii().is_empty() || begins_array(line) {
            return Ok(false);
        }
        if line.starts_with(CONTROL_MESSAGE) {
            self.counts.read += 1;
            self.counts.filtered += 1;
            return Ok(true);
        }
        let s = &Scanner::new(&s.bytes()[..range.end], range.start, self.config.max_depth);
        let lines = Format::with_lines().iter();
        let lines = lines.filter(|(format, ..)| self.allowed.has(*format));
        for (format, tree, lines) in lines.clone() {
            if let Some(columns) = (lines.header)(line, tree) {
                if !self.is_configured {
                    self.header = Some(columns.into());
                }
                self.counts.read += 1;
                self.counts.filtered += 1;
                return Ok(true);
            }
            if (lines.split)(s, self.header.as_deref(), tree, self.found) {
                return self.fill_line(s, *format, tree, range);
            }
        }
        // A line of which it is clear what it was to be.
        let refusal = lines
            .rev()
            .find_map(|(.., lines)| (lines.refusal)(line, self.header.as_deref()));
        match refusal {
            Some(fault) => Err(fault),
            None => Ok(false),
        }
    }

    /// Makes a row of the values found in a line.
    fn fill_line(
        &mut self,
        s: &Scanner,
        format: Format,
        tree: &Compiled,
        range: Range<usize>,
    ) -> Result<bool, Box<Fault>> {
        let (mut row, found) = self.begin(format.refused());
        let decoded = tree.fill(s, &mut row, found).map_err(Stop::reject);
        match self.finish(s, format, range.clone(), s.repairs(), decoded) {
            Ok(is_event) => Ok(is_event),
            Err(Reject::Event(fault)) => Err(fault),
            Err(Reject::Json(error)) => Err(json_fault(error, range.start)),
        }
    }
}
