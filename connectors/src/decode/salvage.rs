//! Reads what is left of broken JSON: every whole event in it, and what lies between them as dead letters.
//!
//! Where a broken element ends is decided by two things: by its own brackets, if they close, and by the next object that is
//! recognised as an event or an envelope. Objects inside an event are hardly ever that, so the earlier of the two counts.

use std::ops::Range;

use super::place::{Keys, first_key, own_end, pass_member};
use super::stream::closed_early;
use super::{Work, json_fault};
use crate::detect::{Looks, sniff};
use crate::envelope::LEVELS;
use crate::envelope::members::{ARRAY, holds};
use crate::format::{Fault, Format, Reject, fault};
use crate::json::{self, Scanner};

/// How often each byte may be looked at, and bytes besides: a text can be made so that every piece of it seems to reach to its end.
pub(super) const PASSES: usize = 16;
pub(super) const BYTES: usize = 1 << 20;

/// A text on its way through.
struct Salvage {
    /// Bytes that may still be looked at.
    budget: usize,
    /// The first budget is spent: only what begins like the element before is still found behind a broken one.
    is_cheap: bool,
    /// The first keys of the last element: its siblings mostly begin with the same.
    sibling: Keys,
    /// Arrays and envelopes that were entered.
    entered: usize,
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
    fn spend(&mut self, bytes: usize) {
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

    /// Whether the container goes on behind an object: then the object did not close the container's brackets.
    fn container_goes_on(&self, salvage: &Salvage, s: &mut Scanner) -> bool {
        match s.peek() {
            b',' => {
                s.advance(1);
                s.peek() == b'{' && matches!(sniff(s.clone(), self.allowed), Ok(Looks::Event(_)))
            }
            b']' => salvage.entered == 1,
            _ => false,
        }
    }

    /// Where another event begins inside a sound object.
    fn swallowed(
        &mut self,
        salvage: &mut Salvage,
        s: &Scanner,
        range: Range<usize>,
    ) -> Option<usize> {
        let bytes = s.bytes();
        let mut from = range.start + 1;
        while let Some(at) = self.next_start(salvage, s, from, range.end) {
            // The value of a member, and an element of an array that holds such, is the object's own.
            let is_element = bytes[..at].trim_ascii_end().ends_with(b",");
            if is_element && self.is_event(salvage, bytes, at) {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }

    /// Whether an event stands at this place.
    fn is_event(&mut self, salvage: &mut Salvage, bytes: &[u8], at: usize) -> bool {
        let mut s = Scanner::new(bytes, at, self.config.max_depth);
        let Ok(Looks::Event(format)) = sniff(s.clone(), self.allowed) else {
            return false;
        };
        let before = self.before();
        let is_event = matches!(self.event(&mut s, format, format.refused()), Ok(true));
        self.withdraw(&before);
        salvage.spend(s.position() - at);
        is_event
    }

    /// The next place from `from` to `end` where a line of a log begins.
    fn next_line(
        &mut self,
        salvage: &mut Salvage,
        s: &Scanner,
        from: usize,
        end: usize,
    ) -> Option<usize> {
        let bytes = s.bytes();
        salvage.spend(end.saturating_sub(from));
        let mut ends = memchr::memchr_iter(b'\n', bytes.get(from..end)?);
        ends.find_map(|at| {
            let at = from + at + 1;
            (at < end && self.begins_line(bytes, at)).then_some(at)
        })
    }

    /// Where the elements of an array or envelope begin, of a `sound` one or of one whose elements are broken.
    fn enter(&self, bytes: &[u8], at: usize, sound: bool) -> Option<usize> {
        if bytes[at] == b'[' {
            return Some(at + 1);
        }
        let (mut inside, mut first) = (None, None);
        let mut s = Scanner::new(bytes, at, usize::MAX);
        // Ends at the broken member.
        let _ = s.object(|s, key| {
            if holds(key) & ARRAY != 0 && s.peek() == b'[' {
                let start = s.position() + 1;
                first.get_or_insert(start);
                if sound {
                    inside.get_or_insert(start);
                }
                return s.skip().inspect_err(|_| {
                    inside.get_or_insert(start);
                });
            }
            s.skip()
        });
        // An array that was closed early is sound, and the object is not.
        let inside = inside.or(first);
        // An event can have such a member of its own.
        let is_event = || {
            let looks = sniff(Scanner::new(bytes, at, usize::MAX), self.allowed);
            matches!(looks, Ok(Looks::Event(_)))
        };
        inside.filter(|_| !is_event())
    }

    /// The next place from `from` to `end` where an event or envelope seems to begin.
    fn next_start(
        &mut self,
        salvage: &mut Salvage,
        s: &Scanner,
        from: usize,
        end: usize,
    ) -> Option<usize> {
        let bytes = s.bytes();
        for at in memchr::memchr_iter(b'{', bytes.get(from..end)?).map(|at| from + at) {
            if salvage.budget == 0 {
                return None;
            }
            salvage.spend(1);
            let before = bytes[..at].trim_ascii_end().last();
            let begins_line = bytes[..at].ends_with(b"\n");
            let key = first_key(bytes, at);
            if key.is_empty() {
                continue;
            }
            // What was cut ends anywhere; a sibling is known by its first key.
            let is_sibling = salvage.sibling.has_first(bytes, key);
            let follows = matches!(before, None | Some(b',' | b'[' | b'{' | b'}' | b']'));
            // The value of a member is part of what is broken, unless it begins like the others.
            let is_value = before == Some(&b':');
            if (is_value || salvage.is_cheap) && !is_sibling {
                continue;
            }
            let mut looked = Scanner::new(bytes, at, usize::MAX);
            let looks = sniff(looked.clone(), self.allowed);
            let starts = match looks {
                Ok(Looks::Event(_)) if is_value => self.is_event(salvage, bytes, at),
                Ok(Looks::Event(_)) => is_sibling || self.is_event(salvage, bytes, at),
                Ok(Looks::Envelope) => is_sibling || begins_line || follows,
                Ok(Looks::Nothing) => is_sibling && self.allowed.is_only(Format::CUSTOM),
                Err(_) => is_sibling && salvage.sibling.is_alike(bytes, &Keys::of(bytes, at)),
            };
            if starts {
                return Some(at);
            }
            // As much as was looked at.
            let seen = match looked.skip() {
                Ok(()) => looked.position(),
                Err(error) => error.at().max(at),
            };
            salvage.spend(seen - at);
        }
        None
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
            let adjoins = between.iter().all(|byte| b" \t\r\n,]}".contains(byte));
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
