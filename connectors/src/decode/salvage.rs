//! Reads what is left of broken JSON: every whole event in it, and what lies between them as dead letters.
//!
//! Where a broken element ends is decided by two things: by its own brackets, if they close, and by the next object that is
//! recognised as an event or an envelope. Objects inside an event are hardly ever that, so the earlier of the two counts.

use std::ops::Range;

use super::{Work, json_fault};
use crate::detect::{Looks, sniff};
use crate::envelope::LEVELS;
use crate::envelope::members::{ARRAY, holds};
use crate::format::{Fault, Format, Reject};
use crate::json::{self, Scanner};

/// How often each byte may be looked at, and bytes besides: a text can be made so that every piece of it seems to reach to its end.
const PASSES: usize = 16;
const BYTES: usize = 1 << 20;

/// A text on its way through.
struct Salvage {
    /// Bytes that may still be looked at.
    budget: usize,
    /// The first key of the last element: its siblings mostly begin with the same.
    sibling: Range<usize>,
    /// Arrays and envelopes that were entered.
    entered: usize,
    /// Events and dead letters so far.
    pieces: usize,
    alone: Option<(Range<usize>, bool, Box<Fault>)>,
}

impl Work<'_, '_> {
    /// Reads from the scanner's position, where `error` says that the value is broken, to the end of the text. Returns the fault
    /// if there is nothing else in it.
    pub(super) fn salvage(
        &mut self,
        s: &mut Scanner,
        level: usize,
        error: json::Error,
    ) -> Option<Box<Fault>> {
        let bytes = s.bytes();
        let mut salvage = Salvage {
            budget: PASSES * (bytes.len() - s.position()) + BYTES,
            sibling: 0..0,
            entered: 0,
            pieces: 0,
            alone: None,
        };
        let start = s.position();
        while self.pass_blank(s) {
            let at = s.position();
            let level = (level + salvage.entered).min(LEVELS);
            match s.peek() {
                b',' | b']' | b'}' => s.advance(1),
                _ if salvage.budget == 0 => {
                    let fault = json_fault(error, start);
                    self.lose(&mut salvage, s, at..bytes.len(), true, fault);
                    s.advance(bytes.len() - at);
                }
                b'{' | b'[' => self.salvage_value(&mut salvage, s, level),
                // What stands behind the events of an envelope.
                b'"' if salvage.entered > 0 && pass_member(s) => {}
                _ => {
                    let at_line = at == 0 || bytes[..at].ends_with(b"\n");
                    let end = at + memchr::memchr(b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
                    if at_line && matches!(self.line(s, at..end), Ok(true)) {
                        salvage.pieces += 1;
                        s.advance(end - at);
                        continue;
                    }
                    let next = self.next_start(&mut salvage, s, at + 1, bytes.len());
                    let end = next.unwrap_or(bytes.len());
                    let fault = json_fault(error, start);
                    self.lose(&mut salvage, s, at..end, false, fault);
                    s.advance(end - at);
                }
            }
        }
        let Salvage { pieces, alone, .. } = salvage;
        let (range, is_many, fault) = alone?;
        if pieces == 1 && !is_many {
            return Some(fault);
        }
        self.lose_now(s, range, is_many, fault);
        None
    }

    /// Reads the object or array at the scanner, or passes what is broken of it.
    fn salvage_value(&mut self, salvage: &mut Salvage, s: &mut Scanner, level: usize) {
        let (bytes, at) = (s.bytes(), s.position());
        let mut inner = Scanner::new(bytes, at, self.config.max_depth);
        let checked = inner.skip();
        let end = match checked {
            Ok(()) => inner.position(),
            Err(error) => error.at().max(at),
        };
        salvage.budget = salvage.budget.saturating_sub(end - at);
        let first_key = first_key(bytes, at);
        let error = match checked {
            // Closing brackets may have been lost, and those of others found in their place.
            Ok(()) => match self.swallowed(salvage, s, at..end) {
                None => {
                    let mut value = Scanner::new(bytes, at, self.config.max_depth);
                    let unusable = match self.value(&mut value, level) {
                        Ok(unusable) => unusable,
                        Err(Reject::Event(fault)) => Some(fault),
                        Err(Reject::Json(error)) => Some(json_fault(error, at)),
                    };
                    salvage.pieces += 1;
                    salvage.sibling = first_key;
                    if let Some(fault) = unusable {
                        salvage.pieces -= 1;
                        self.lose(salvage, s, at..end, false, fault);
                    }
                    return s.advance(end - at);
                }
                Some(next) => {
                    let fault = crate::format::fault(
                        "invalid_json",
                        "another event begins before this one ends",
                    );
                    self.lose(salvage, s, at..next, false, fault);
                    return s.advance(next - at);
                }
            },
            Err(error) => error,
        };
        if let Some(inside) = self.enter(bytes, at) {
            salvage.entered += 1;
            return s.advance(inside - at);
        }
        let own = own_end(bytes, at, &mut salvage.budget);
        salvage.sibling = first_key;
        let next = self.next_start(salvage, s, at + 1, own.unwrap_or(bytes.len()));
        let end = next.or(own).unwrap_or(bytes.len());
        let is_many = next.is_none() && own.is_none() && salvage.entered > 0;
        self.lose(salvage, s, at..end, is_many, json_fault(error, at));
        s.advance(end - at);
    }

    /// Where another event of the same kind begins inside a sound one.
    fn swallowed(&self, salvage: &mut Salvage, s: &Scanner, range: Range<usize>) -> Option<usize> {
        let bytes = s.bytes();
        let own = sniff(Scanner::new(bytes, range.start, usize::MAX), self.allowed);
        let Ok(Looks::Event(own)) = own else {
            return None;
        };
        let key = &bytes[first_key(bytes, range.start)];
        let mut from = range.start + 1;
        while let Some(at) = self.next_start(salvage, s, from, range.end) {
            let inner = sniff(Scanner::new(bytes, at, usize::MAX), self.allowed);
            if matches!(inner, Ok(Looks::Event(format)) if format == own)
                && bytes[first_key(bytes, at)] == *key
            {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }

    /// Where the elements of a broken array or envelope begin.
    fn enter(&self, bytes: &[u8], at: usize) -> Option<usize> {
        if bytes[at] == b'[' {
            return Some(at + 1);
        }
        let mut inside = None;
        let mut s = Scanner::new(bytes, at, usize::MAX);
        // Ends at the broken member.
        let _ = s.object(|s, key| {
            if holds(key) & ARRAY != 0 && s.peek() == b'[' {
                let mark = s.mark();
                if s.skip().is_err() {
                    s.reset(mark);
                    inside.get_or_insert(s.position() + 1);
                    s.skip()?;
                }
                return Ok(());
            }
            s.skip()
        });
        // An event can have such a member of its own.
        let is_event = || {
            let looks = sniff(Scanner::new(bytes, at, usize::MAX), self.allowed);
            matches!(looks, Ok(Looks::Event(_)))
        };
        inside.filter(|_| !is_event())
    }

    /// The next place from `from` to `end` where an event or envelope seems to begin.
    fn next_start(
        &self,
        salvage: &mut Salvage,
        s: &Scanner,
        from: usize,
        end: usize,
    ) -> Option<usize> {
        let bytes = s.bytes();
        let sibling = &bytes[salvage.sibling.clone()];
        for at in memchr::memchr_iter(b'{', bytes.get(from..end)?).map(|at| from + at) {
            if salvage.budget == 0 {
                return None;
            }
            salvage.budget = salvage.budget.saturating_sub(1);
            let before = bytes[..at].trim_ascii_end().last();
            let begins_line = bytes[..at].ends_with(b"\n");
            let key = first_key(bytes, at);
            if key.is_empty() {
                continue;
            }
            // What was cut ends anywhere; a sibling is known by its key.
            let is_sibling = !sibling.is_empty() && bytes[key] == *sibling;
            let follows = matches!(before, None | Some(b',' | b'[' | b'{' | b'}' | b']'));
            if !is_sibling && !begins_line && !follows {
                continue;
            }
            let mut looked = Scanner::new(bytes, at, usize::MAX);
            let looks = sniff(looked.clone(), self.allowed);
            let starts = match looks {
                Ok(Looks::Event(_) | Looks::Envelope) => true,
                Ok(Looks::Nothing) => is_sibling && self.allowed.is_only(Format::Custom),
                Err(_) => is_sibling,
            };
            if starts {
                return Some(at);
            }
            // As much as was looked at.
            let seen = match looked.skip() {
                Ok(()) => looked.position(),
                Err(error) => error.at().max(at),
            };
            salvage.budget = salvage.budget.saturating_sub(seen - at);
        }
        None
    }

    /// Notes a dead letter, of which the first waits: a text of which nothing else can be read is judged as a whole.
    fn lose(
        &mut self,
        salvage: &mut Salvage,
        s: &Scanner,
        range: Range<usize>,
        is_many: bool,
        fault: Box<Fault>,
    ) {
        let trimmed = s.bytes()[range.clone()].trim_ascii_end();
        let trimmed = trimmed.strip_suffix(b",").unwrap_or(trimmed);
        let range = range.start..range.start + trimmed.len();
        if let Some((range, is_many, fault)) = salvage.alone.take() {
            self.lose_now(s, range, is_many, fault);
        }
        salvage.pieces += 1;
        match salvage.pieces {
            1 => salvage.alone = Some((range, is_many, fault)),
            _ => self.lose_now(s, range, is_many, fault),
        }
    }

    fn lose_now(&mut self, s: &Scanner, range: Range<usize>, is_many: bool, fault: Box<Fault>) {
        let payload = &s.bytes()[range];
        match is_many {
            true => self.lost(payload, payload.len() as u64, fault),
            false => self.dead_letter(payload, fault),
        }
    }
}

/// Passes `"key": value`, if that is what stands at the scanner.
fn pass_member(s: &mut Scanner) -> bool {
    let mut member = s.clone();
    if !matches!(member.text(), Ok(Some(_))) || member.peek() != b':' {
        return false;
    }
    member.advance(1);
    let is_member = member.skip().is_ok();
    if is_member {
        s.advance(member.position() - s.position());
    }
    is_member
}

/// Place of the first key of the object at `at`, with its quotes; empty if there is none.
fn first_key(bytes: &[u8], at: usize) -> Range<usize> {
    let mut s = Scanner::new(bytes, at + 1, usize::MAX);
    if bytes.get(at) != Some(&b'{') || s.peek() != b'"' {
        return 0..0;
    }
    let start = s.position();
    // A key is short: what seems longer is a quote that was never closed.
    let end = memchr::memchr(b'"', &bytes[start + 1..bytes.len().min(start + 128)]);
    end.map_or(0..0, |end| start..start + end + 2)
}

/// Where the brackets of the value at `at` close, if what follows can follow a value.
fn own_end(bytes: &[u8], at: usize, budget: &mut usize) -> Option<usize> {
    let (mut depth, mut in_string, mut place) = (0usize, false, at);
    while let Some(byte) = bytes.get(place).filter(|_| *budget > 0) {
        *budget -= 1;
        match byte {
            b'\\' if in_string => place += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    let mut behind = Scanner::new(bytes, place + 1, usize::MAX);
                    let mut next = behind.peek();
                    if next == b',' {
                        // A member belongs to the value: a bracket too many closed it before.
                        behind.advance(1);
                        next = behind.peek();
                    }
                    let follows = matches!(next, b']' | b'}' | b'{' | b'[' | 0);
                    return follows.then_some(place + 1);
                }
            }
            _ => {}
        }
        place += 1;
    }
    None
}
