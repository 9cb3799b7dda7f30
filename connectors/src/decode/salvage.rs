//! Reads what is left of broken JSON: every whole event in it, and what lies between them as dead letters.
//!
//! Where a broken element ends is decided by two things: by its own brackets, if they close, and by the next object that is
//! recognised as an event or an envelope. Objects inside an event are hardly ever that, so the earlier of the two counts.

use std::ops::Range;

use super::place::{Keys, own_end, pass_member};
use super::stream::closed_early;
use super::{Work, json_fault};
use crate::detect::{Looks, sniff};
use crate::envelope::LEVELS;
use crate::format::{Fault, Reject, fault};
use crate::json::{self, Scanner};

/// How often each byte may be looked at, and bytes besides: a text can be made so that every piece of it seems to reach to its end.
pub(super) const PASSES: usize = 16;
pub(super) const BYTES: usize = 1 << 20;

/// A text on its way through.
pub(super) struct Salvage {
    /// Bytes that may still be looked at.
    pub(super) budget: usize,
    /// The first budget is spent: only what begins like the element before is still found behind a broken one.
    pub(super) is_cheap: bool,
    /// The first keys of the last element: its siblings mostly begin with the same.
    pub(super) sibling: Keys,
    /// Arrays and envelopes that were entered.
    pub(super) entered: usize,
    /// Whether there was an event, or a dead letter that was written.
    is_alone: bool,
    /// What was lost last: what follows may belong to it.
    loss: Option<Loss>,
    has_loss: bool,
}

/// A part of the text that is no event.
struct Loss {
    range: Range<usize>,
    /// Whether events that cannot be told apart lie in it.
    is_many: bool,
    /// Whether its own brackets closed.
    is_closed: bool,
    fault: Box<Fault>,
}

impl Salvage {
    pub(super) fn spend(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_sub(bytes);
    }
}

impl Work<'_, '_> {
    /// Reads from the scanner's position, where `error` says that the value is broken, to the end of the text or to a line
    /// of a log. Returns the fault if there is nothing else in it.
    pub(super) fn salvage(
        &mut self,
        s: &mut Scanner,
        level: usize,
        error: json::Error,
    ) -> Option<Box<Fault>> {
        self.salvage_from(s, level, error, true)
    }

    /// The same of what stands behind a value that was read.
    pub(super) fn salvage_rest(
        &mut self,
        s: &mut Scanner,
        level: usize,
        error: json::Error,
    ) -> Option<Box<Fault>> {
        self.salvage_from(s, level, error, false)
    }

    fn salvage_from(
        &mut self,
        s: &mut Scanner,
        level: usize,
        error: json::Error,
        is_alone: bool,
    ) -> Option<Box<Fault>> {
        let bytes = s.bytes();
        let length = bytes.len() - s.position();
        // Texts inside of texts may each be broken, and each is then read twice.
        if length > self.salvage_left {
            let payload = &bytes[s.position()..];
            self.lost(payload, length as u64, json_fault(error, s.position()));
            s.advance(length);
            return None;
        }
        self.salvage_left -= length;
        let mut salvage = Salvage {
            budget: PASSES * length + BYTES,
            is_cheap: false,
            sibling: Keys::default(),
            // What was read can have been an array or envelope that was closed early.
            entered: usize::from(!is_alone),
            is_alone,
            loss: None,
            has_loss: false,
        };
        let start = s.position();
        while self.pass_blank(s) {
            let at = s.position();
            // Lines of a log are read as in any text.
            let at_line = at > start && bytes[..at].ends_with(b"\n");
            if at_line && self.begins_line(bytes, at) {
                break;
            }
            let level = (level + salvage.entered).min(LEVELS);
            match s.peek() {
                b',' | b']' | b'}' => s.advance(1),
                _ if salvage.budget == 0 && !salvage.is_cheap => {
                    salvage.is_cheap = true;
                    salvage.budget = PASSES * length + BYTES;
                }
                _ if salvage.budget == 0 => {
                    let fault = json_fault(error, start);
                    self.lose(&mut salvage, s, at..bytes.len(), true, fault);
                    s.advance(bytes.len() - at);
                }
                b'{' | b'[' => self.salvage_value(&mut salvage, s, level),
                // What stands behind the events of an envelope.
                b'"' if salvage.entered > 0 && pass_member(s) => {}
                _ => {
                    let next = self.next_start(&mut salvage, s, at + 1, bytes.len());
                    let end = next.unwrap_or(bytes.len());
                    let end = self.next_line(&mut salvage, s, at + 1, end).unwrap_or(end);
                    let fault = json_fault(error, start);
                    self.lose(&mut salvage, s, at..end, false, fault);
                    s.advance(end - at);
                }
            }
        }
        if salvage.is_alone && salvage.loss.as_ref().is_some_and(|loss| !loss.is_many) {
            return salvage.loss.map(|loss| loss.fault);
        }
        self.write_loss(&mut salvage, s);
        // What breaks off between two events has lost its end: nobody knows what stood there.
        let is_torn = error.is_truncated() && !salvage.has_loss;
        (salvage.is_alone || is_torn).then(|| json_fault(error, start))
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
        salvage.spend(end - at);
        let looks = sniff(Scanner::new(bytes, at, usize::MAX), self.allowed);
        let error = match checked.and_then(|()| closed_early(&mut inner, at).map_or(Ok(()), Err)) {
            // Closing brackets may have been lost, and those of others found in their place.
            Ok(()) if bytes[at] == b'[' || matches!(looks, Ok(Looks::Envelope)) => {
                if let Some(inside) = self.enter(bytes, at, true) {
                    salvage.entered += 1;
                    return s.advance(inside - at);
                }
                return self.salvage_whole(salvage, s, at..end, level);
            }
            Ok(()) if salvage.entered == 0 || self.container_goes_on(salvage, &mut inner) => {
                return self.salvage_whole(salvage, s, at..end, level);
            }
            Ok(()) => match self.swallowed(salvage, s, at..end) {
                None => return self.salvage_whole(salvage, s, at..end, level),
                Some(next) => {
                    let detail = "another event begins before this one ends";
                    let fault = fault("invalid_json", detail);
                    self.lose(salvage, s, at..next, false, fault);
                    return s.advance(next - at);
                }
            },
            Err(error) => error,
        };
        if let Some(inside) = self.enter(bytes, at, false) {
            salvage.entered += 1;
            return s.advance(inside - at);
        }
        let own = own_end(bytes, at, &mut salvage.budget);
        let keys = Keys::of(bytes, at);
        let sibling = std::mem::replace(&mut salvage.sibling, keys.clone());
        let next = self.next_start(salvage, s, at + 1, own.unwrap_or(bytes.len()));
        salvage.sibling = sibling;
        let end = next.or(own).unwrap_or(bytes.len());
        let next = self.next_line(salvage, s, at + 1, end).or(next);
        let end = next.unwrap_or(end);
        let is_many = next.is_none() && own.is_none() && salvage.entered > 0;
        let is_own = self.lose(salvage, s, at..end, is_many, json_fault(error, at));
        if let Some(loss) = &mut salvage.loss {
            loss.is_closed = next.is_none() && own.is_some();
        }
        if is_own && !keys.first.is_empty() {
            salvage.sibling = keys;
        }
        s.advance(end - at);
    }

    /// Reads a value that is sound.
    fn salvage_whole(
        &mut self,
        salvage: &mut Salvage,
        s: &mut Scanner,
        range: Range<usize>,
        level: usize,
    ) {
        let keys = Keys::of(s.bytes(), range.start);
        let mut value = Scanner::new(s.bytes(), range.start, self.config.max_depth);
        let unusable = match self.value(&mut value, level) {
            Ok(unusable) => unusable,
            Err(Reject::Event(fault)) => Some(fault),
            Err(Reject::Json(error)) => Some(json_fault(error, range.start)),
        };
        s.advance(range.len());
        let is_own = match unusable {
            None => {
                self.write_loss(salvage, s);
                salvage.is_alone = false;
                true
            }
            Some(fault) => self.lose(salvage, s, range, false, fault),
        };
        if is_own {
            salvage.sibling = keys;
        }
    }

    /// Notes what is no event. If it begins like none, it belongs to what was lost just before it: then false.
    fn lose(
        &mut self,
        salvage: &mut Salvage,
        s: &Scanner,
        range: Range<usize>,
        is_many: bool,
        fault: Box<Fault>,
    ) -> bool {
        let bytes = s.bytes();
        let trimmed = bytes[range.clone()].trim_ascii_end();
        let trimmed = trimmed.strip_suffix(b",").unwrap_or(trimmed);
        let range = range.start..range.start + trimmed.len();
        if let Some(loss) = &mut salvage.loss {
            let between = &bytes[loss.range.end..range.start];
            let adjoins = between.iter().all(|byte| b" \t\r\n,[]}".contains(byte));
            let keys = Keys::of(bytes, range.start);
            let is_sibling = salvage.sibling.is_alike(bytes, &keys);
            let is_member = bytes[..range.start].trim_ascii_end().ends_with(b":");
            // Behind brackets that closed, what begins like an object or an event is one of its own. Keys alone can look like those
            // of an event.
            let begins = || match keys.first.is_empty() {
                true => bytes[range.start] == b'{',
                false => {
                    let looks = sniff(Scanner::new(bytes, range.start, usize::MAX), self.allowed);
                    fault.reason != "unknown_format"
                        && matches!(looks, Ok(Looks::Event(_) | Looks::Envelope))
                }
            };
            let is_own = is_sibling || !is_member && loss.is_closed && begins();
            if (adjoins || is_member) && !is_own {
                loss.range.end = range.end;
                loss.is_many |= is_many;
                return false;
            }
        }
        self.write_loss(salvage, s);
        salvage.has_loss = true;
        salvage.loss = Some(Loss {
            range,
            is_many,
            is_closed: false,
            fault,
        });
        true
    }

    /// Writes the dead letter of what was lost last.
    fn write_loss(&mut self, salvage: &mut Salvage, s: &Scanner) {
        let Some(loss) = salvage.loss.take() else {
            return;
        };
        salvage.is_alone = false;
        let payload = &s.bytes()[loss.range];
        match loss.is_many {
            true => self.lost(payload, payload.len() as u64, loss.fault),
            false => self.dead_letter(payload, loss.fault),
        }
    }
}
