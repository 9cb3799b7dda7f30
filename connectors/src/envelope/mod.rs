//! What forwarders and services put around events. A value comes here only if its own keys make it no event.
//!
//! [`members`] is the table of what is known: arrays of events, events as objects, as text, in base64, compressed. [`head`] knows
//! what stands before a line, [`unpack`] encodings and compression. Envelopes may nest. Invariants: what lies inside is
//! judged by its own content, never by the envelope's names; an unusable event costs its neighbours nothing.

pub(crate) mod exports;
mod head;
pub(crate) mod members;
mod pieces;
mod presto;
mod runtime;
mod seen;
mod unpack;

use std::borrow::Cow;

use base64::Engine;

pub(crate) use self::head::has_head;
use self::members::{ARRAY, BASE64, OBJECT, ONLY_ENVELOPES, TEXT, holds};
pub(crate) use self::pieces::{Origin, Pieces};
use self::runtime::Around;
use self::seen::Seen;
use self::unpack::whole;
pub(crate) use self::unpack::{Text, inflate};
use crate::decode::{Marks, Work};
use crate::format::{Fault, Reject, fault};
use crate::json::{self, Scanner};

/// Envelopes within envelopes that are followed.
pub(crate) const LEVELS: usize = 8;

impl Work<'_, '_> {
    /// Reads a value that is no event: see [`Work::value`].
    pub(crate) fn peel(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        match s.peek() {
            b'{' => self.peel_object(s, level),
            b'[' if level < LEVELS => {
                s.peek();
                let start = s.position();
                if let Some((others, fault)) = self.peel_array(s, level)? {
                    self.dead_events(&s.bytes()[start..s.position()], others, fault);
                }
                Ok(None)
            }
            b'"' if level < LEVELS => {
                let (text, marks) = self.unescaped(s)?;
                Ok(self.read_text(&text, marks, level + 1))
            }
            _ => {
                s.skip()?;
                Ok(Some(fault("unknown_format", "not a JSON object")))
            }
        }
    }

    /// Reads the elements of an array. Gives how many of them cannot be events, and the fault that says so.
    fn peel_array(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<(u64, Box<Fault>)>, Reject> {
        let mut others = 0;
        s.array(|s| {
            if matches!(s.peek(), b'{' | b'[' | b'"') {
                return self.element(s, level + 1);
            }
            others += 1;
            Ok::<_, Reject>(s.skip()?)
        })?;
        Ok((others > 0).then(|| {
            let detail = format!("{others} elements of an array are no JSON objects");
            (others, fault("unknown_format", detail))
        }))
    }

    /// One of many events: a dead letter of its own if it is unusable.
    pub(crate) fn element(&mut self, s: &mut Scanner, level: usize) -> Result<(), Reject> {
        s.peek();
        let (mark, start) = (s.mark(), s.position());
        let unusable = match self.value(s, level) {
            Ok(None) => return Ok(()),
            Ok(Some(fault)) => fault,
            Err(Reject::Event(fault)) => {
                s.reset(mark);
                s.skip()?;
                fault
            }
            Err(reject) => return Err(reject),
        };
        self.dead_letter(&s.bytes()[start..s.position()], unusable);
        Ok(())
    }

    fn peel_object(&mut self, s: &mut Scanner, level: usize) -> Result<Option<Box<Fault>>, Reject> {
        let (start, delivered, read) = (s.position(), self.delivered(), self.counts.read);
        let deeper = level < LEVELS;
        let (mut is_envelope, mut found, mut is_held) = (false, false, false);
        let (mut unusable, mut aside, mut columns) = (None, None, 0);
        let mut around = Around::new(start, self.origin);
        s.object(|s, key| {
            if let Some(at) = exports::REQUIRED
                .iter()
                .position(|one| one.eq_ignore_ascii_case(key))
            {
                columns |= 1 << at;
            }
            let what = match deeper {
                true => holds(key),
                false => 0,
            };
            let is_rows = deeper && key == b"QueryResultRows";
            if what == 0 && !is_rows {
                return match around.pass(s, key)? {
                    true => Ok(()),
                    false => Ok(s.skip()?),
                };
            }
            let before = self.before();
            let inside = match s.peek() {
                b'[' if is_rows => {
                    is_envelope = true;
                    return self.query_rows(s, level);
                }
                b'[' if what & ARRAY != 0 => {
                    let only_envelopes = what & ONLY_ENVELOPES != 0;
                    match self.array_inside(s, level, around.passed(), only_envelopes)? {
                        None => is_envelope = true,
                        fault => unusable = unusable.take().or(fault),
                    }
                    return Ok(());
                }
                // Forwarders keep the line beside what they made of it.
                _ if found => return Ok(s.skip()?),
                b'{' if what & OBJECT != 0 => self.object_inside(s, level)?,
                b'{' if key == b"properties" => match self.kubernetes_log(s, level)? {
                    Some(inside) => inside,
                    None => return Ok(()),
                },
                b'"' if what & (TEXT | BASE64) != 0 => match key {
                    b"log" => self.docker_log(s, level, &mut around)?,
                    _ if what & BASE64 != 0 => {
                        self.base64(s, level, &mut around, what & TEXT != 0)?
                    }
                    _ => self.text_of(s, level, &mut around)?,
                },
                _ => return Ok(s.skip()?),
            };
            found = self.delivered() > before.delivered();
            is_held |= inside.is_none() && self.pieces.amount() > before.held;
            if !found && self.counts.read > before.counts.read {
                // No event, unless another member is none either.
                let letters = self.set_aside(&before);
                aside = aside.take().or(Some(letters));
            } else if let Some(fault) = inside {
                unusable.get_or_insert(fault);
            } else {
                is_envelope = true;
            }
            Ok::<_, Reject>(())
        })?;
        if self.delivered() > delivered || is_held {
            return Ok(None);
        }
        if let Some(letters) = aside {
            self.restore(letters);
        }
        if self.counts.read > read {
            return Ok(None);
        }
        if is_envelope {
            return Ok(unusable);
        }
        let range = start..s.position();
        if deeper && columns == 0b111 {
            let is_marked = self.is_marked(&range);
            if let Some(event) = exports::of_row(&s.bytes()[range.clone()], is_marked) {
                return Ok(self.read_text(&event.text, event.marks, level + 1));
            }
        }
        let seen = Seen::of(s.bytes(), range.start);
        Ok(Some(seen.unknown(self.config, unusable)))
    }

    /// Events in an array under a member of an object. A fault if nothing in it can be an event, and the member's name
    /// does not say that there should be some.
    fn array_inside(
        &mut self,
        s: &mut Scanner,
        level: usize,
        origin: Origin,
        only_envelopes: bool,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let (array, read) = (s.position(), self.counts.read);
        let outside = std::mem::replace(&mut self.origin, origin);
        let others = self.peel_array(s, level);
        self.origin = outside;
        Ok(match others? {
            Some((_, fault)) if !only_envelopes && self.counts.read == read => Some(fault),
            Some((others, fault)) => {
                self.dead_events(&s.bytes()[array..s.position()], others, fault);
                None
            }
            None => None,
        })
    }

    /// Rows of a CloudTrail Lake query.
    fn query_rows(&mut self, s: &mut Scanner, level: usize) -> Result<(), Reject> {
        s.array(|s| {
            let range = s.range()?;
            let row = &s.bytes()[range.clone()];
            let unusable = match exports::of_cells(row, self.is_marked(&range)) {
                Some(event) => self.read_text(&event.text, event.marks, level + 1),
                None => {
                    let detail = "a row of a query without eventName, eventSource and eventTime";
                    Some(fault("unknown_format", detail))
                }
            };
            if let Some(fault) = unusable {
                self.dead_letter(row, fault);
            }
            Ok(())
        })
    }

    /// An event under a member. One that cannot be used costs the member, not the object around it.
    fn object_inside(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let mark = s.mark();
        match self.value(s, level + 1) {
            Err(Reject::Event(fault)) => {
                s.reset(mark);
                s.skip()?;
                Ok(Some(fault))
            }
            other => other,
        }
    }

    /// The control plane of AKS writes audit events and lines of its own under `properties.log`; nothing if there is no such
    /// member.
    fn kubernetes_log(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Option<Box<Fault>>>, Reject> {
        let mut inside = None;
        s.object(|s, key| {
            if key != b"log" || s.peek() != b'"' || inside.is_some() {
                return s.skip();
            }
            let mark = s.mark();
            let text = s.text()?;
            if text.is_some_and(|text| !is_json(&s.value(text))) {
                self.counts.read += 1;
                self.counts.filtered += 1;
                inside = Some(None);
                return Ok(());
            }
            s.reset(mark);
            let (text, marks) = self.unescaped(s)?;
            inside = Some(self.read_text(&text, marks, level + 1));
            Ok(())
        })?;
        Ok(inside)
    }

    /// The text of a string, escapes resolved, and what is marked in it.
    fn unescaped<'s>(&self, s: &mut Scanner<'s>) -> json::Result<(Cow<'s, [u8]>, Marks)> {
        let faults = s.repairs();
        let Some(text) = s.text()? else {
            return Ok((Cow::Borrowed(b""), vec![]));
        };
        let value = s.value(text);
        let outside = self.marks_in(text.range());
        // Of more than one character all is in doubt.
        let marks = match outside.iter().any(|mark| mark.len() > 3) {
            true => whole(&value),
            false if s.repairs() != faults || !outside.is_empty() => {
                let found = memchr::memmem::find_iter(&value, "\u{fffd}");
                found.map(|at| at..at + 3).collect()
            }
            false => vec![],
        };
        Ok((value, marks))
    }

    /// Reads valid UTF-8 that is not the block's own.
    fn read_text(&mut self, text: &[u8], marks: Marks, level: usize) -> Option<Box<Fault>> {
        if level > LEVELS {
            let detail = format!("more than {LEVELS} envelopes lie around the text inside");
            return Some(fault("unknown_format", detail));
        }
        self.inside(marks, |work| {
            let mut inner = Scanner::new(text, 0, work.config.max_depth);
            let unusable = work.stream(&mut inner, level);
            unusable.map(|mut fault| {
                fault.detail.push_str(" of the text inside");
                fault
            })
        })
    }

    /// Events in base64; else, if there may be `text`, as that.
    fn base64(
        &mut self,
        s: &mut Scanner,
        level: usize,
        around: &mut Around,
        or_text: bool,
    ) -> json::Result<Option<Box<Fault>>> {
        let mark = s.mark();
        let (text, marks) = self.unescaped(s)?;
        let engine = &base64::engine::general_purpose::STANDARD;
        Ok(match engine.decode(text.trim_ascii()) {
            Ok(bytes) => self.read_bytes(&bytes, !marks.is_empty(), level + 1),
            Err(_) if or_text => {
                s.reset(mark);
                self.text_of(s, level, around)?
            }
            Err(_) => Some(fault("unknown_format", "no base64")),
        })
    }
}

/// Whether JSON begins here, behind what may stand before it.
fn is_json(text: &[u8]) -> bool {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0B | 0x1E);
    let mut rest = text;
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(byte)).count();
        rest = &rest[blanks..];
        match rest.strip_prefix(b"\xEF\xBB\xBF") {
            Some(behind) => rest = behind,
            None => return rest.first() == Some(&b'{'),
        }
    }
}

/// Whether a container runtime wrote the line.
pub(crate) fn has_container_head(line: &[u8]) -> bool {
    head::container(line).is_some()
}

/// Length of what a syslog daemon wrote before a line.
pub(crate) fn behind_syslog(line: &[u8]) -> Option<usize> {
    head::syslog(line)
}
