//! Where the next event, element or line seems to begin in broken JSON.

use std::ops::Range;

use super::Work;
use super::place::{Keys, first_key};
use super::salvage::Salvage;
use crate::detect::{Looks, sniff};
use crate::envelope::members::{ARRAY, holds};
use crate::format::Format;
use crate::json::Scanner;

impl Work<'_, '_> {
    /// Whether the container goes on behind an object: then the object did not close the container's brackets.
    pub(super) fn container_goes_on(&self, salvage: &Salvage, s: &mut Scanner) -> bool {
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
    pub(super) fn swallowed(
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
    pub(super) fn is_event(&mut self, salvage: &mut Salvage, bytes: &[u8], at: usize) -> bool {
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
    pub(super) fn next_line(
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
    pub(super) fn enter(&self, bytes: &[u8], at: usize, sound: bool) -> Option<usize> {
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
    pub(super) fn next_start(
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
}
