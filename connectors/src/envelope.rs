//! Events inside other JSON, and the choice of a format by content. The slow road: a record comes here only
//! if the format that fitted last said "not mine".
//!
//! Known envelopes: an array of events; an array under `Records`, `records`, `items`, `Events` or
//! `logEvents` (CloudTrail objects, Event Hubs, EventList, LookupEvents, CloudWatch Logs); an event under
//! `detail` (EventBridge) or `jsonPayload` (Cloud Logging); an event as a string under `properties.log`
//! (AKS), `CloudTrailEvent` (LookupEvents) or `message` (CloudWatch Logs). They may nest.
//!
//! Invariants: what lies inside is judged by its own content, never by the envelope's names; an unusable
//! event costs its neighbours nothing as long as the JSON around them holds.

use std::fmt::Write;

use crate::decode::{Work, json_fault};
use crate::format::{Fault, Format, Reject, fault};
use crate::json::{self, Scanner, unescape};

/// Envelopes within envelopes that are followed.
const LEVELS: usize = 4;

/// Keys that a dead letter names.
const NAMED_KEYS: usize = 12;

impl Work<'_, '_> {
    /// Reads a value that is no event of the last format: see [`Work::value`].
    pub(crate) fn peel(
        &mut self,
        s: &mut Scanner,
        level: usize,
        whole: bool,
    ) -> Result<Option<Box<Fault>>, Reject> {
        match s.peek() {
            b'{' => self.peel_object(s, level, whole),
            b'[' if level < LEVELS => self.peel_array(s, level),
            _ => {
                s.skip()?;
                Ok(Some(fault("unknown_format", "not a JSON object")))
            }
        }
    }

    fn peel_array(&mut self, s: &mut Scanner, level: usize) -> Result<Option<Box<Fault>>, Reject> {
        let mut others = 0;
        s.array(|s| {
            if matches!(s.peek(), b'{' | b'[') {
                return self.element(s, level + 1);
            }
            others += 1;
            Ok::<_, Reject>(s.skip()?)
        })?;
        Ok((others > 0).then(|| {
            let detail = format!("{others} elements of an array are no JSON objects");
            fault("unknown_format", detail)
        }))
    }

    /// One of many events: a dead letter of its own if it is unusable.
    fn element(&mut self, s: &mut Scanner, level: usize) -> Result<(), Reject> {
        s.peek();
        let (mark, start) = (s.mark(), s.position());
        let unusable = match self.value(s, level, false) {
            Ok(None) => return Ok(()),
            Ok(Some(fault)) => fault,
            Err(Reject::Event(fault)) => {
                s.reset(mark);
                s.skip_any_depth()?;
                fault
            }
            Err(Reject::Json(error)) if error.fault() == json::Fault::TooDeep => {
                s.reset(mark);
                s.skip_any_depth()?;
                json_fault(error, start)
            }
            Err(reject) => return Err(reject),
        };
        self.dead_letter(&s.bytes()[start..s.position()], unusable);
        Ok(())
    }

    fn peel_object(
        &mut self,
        s: &mut Scanner,
        level: usize,
        whole: bool,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let (before, mut seen) = (s.mark(), Seen::default());
        let (mut is_envelope, mut unusable) = (false, None);
        let deeper = level < LEVELS;
        s.object(|s, key| {
            seen.add(s, key)?;
            let inside = match (key, s.peek()) {
                (b"Records" | b"records" | b"items" | b"Events" | b"logEvents", b'[') if deeper => {
                    is_envelope = true;
                    unusable = self.peel_array(s, level)?;
                    return Ok(());
                }
                (b"detail" | b"jsonPayload", b'{') if deeper => self.value(s, level + 1, false)?,
                (b"properties", b'{') if deeper => {
                    let mut found = false;
                    let mut inside = None;
                    s.object(|s, key| {
                        if key != b"log" || s.peek() != b'"' {
                            return Ok(s.skip()?);
                        }
                        found = true;
                        inside = self.text_event(s, level)?;
                        Ok::<_, Reject>(())
                    })?;
                    if !found {
                        return Ok(());
                    }
                    inside
                }
                (b"CloudTrailEvent" | b"message", b'"') if deeper => self.text_event(s, level)?,
                _ => return Ok(s.skip()?),
            };
            match inside {
                None => is_envelope = true,
                Some(fault) => unusable = Some(fault),
            }
            Ok::<_, Reject>(())
        })?;
        if is_envelope {
            return Ok(unusable);
        }
        let after = s.mark();
        for format in Format::ALL {
            let allowed = self
                .config
                .format
                .format()
                .is_none_or(|only| only == format);
            if allowed && seen.suggests(format) {
                s.reset(before);
                if self.event(s, format, whole)? {
                    *self.last = format;
                    return Ok(None);
                }
            }
        }
        s.reset(after);
        Ok(Some(self.unknown(&seen, unusable)))
    }

    /// An event that stands in a string as JSON text.
    fn text_event(&mut self, s: &mut Scanner, level: usize) -> Result<Option<Box<Fault>>, Reject> {
        let Some(text) = s.text()? else {
            return Ok(None);
        };
        let text = unescape(s.slice(text));
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Ok(Some(fault(
                "unknown_format",
                "the text inside is no JSON object",
            )));
        }
        let outside = std::mem::replace(&mut self.in_block, false);
        let mut inner = Scanner::new(&text, 0, self.config.max_depth);
        let outcome = self.value(&mut inner, level + 1, true);
        let outcome = outcome.and_then(|unusable| {
            inner.finish()?;
            Ok(unusable)
        });
        self.in_block = outside;
        outcome.map_err(|reject| match reject {
            Reject::Json(error) => {
                let mut fault = json_fault(error, 0);
                fault.detail.push_str(" of the JSON text inside");
                Reject::Event(fault)
            }
            reject => reject,
        })
    }

    fn unknown(&self, seen: &Seen, inside: Option<Box<Fault>>) -> Box<Fault> {
        let (reason, mut detail) = match self.config.format.format() {
            Some(format) => (
                "missing_field",
                format!("no {}, which has {}", format.name(), format.required()),
            ),
            None => ("unknown_format", "no known event".to_owned()),
        };
        // Writing into a string cannot fail.
        for (key, value) in &seen.labels {
            let _ = write!(detail, "; {key} is `{value}`");
        }
        match seen.names.as_slice() {
            [] => detail.push_str("; it has no keys"),
            names => drop(write!(detail, "; its keys are {}", names.join(", "))),
        }
        if seen.unnamed > 0 {
            let _ = write!(detail, " and {} more", seen.unnamed);
        }
        if let Some(inside) = inside {
            let _ = write!(detail, "; inside: {}", inside.detail);
        }
        fault(reason, detail)
    }
}

/// Top-level keys of an object, as far as they tell what it is.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    unnamed: usize,
    /// Members in which an object says what it is.
    labels: Vec<(String, String)>,
    cloudtrail: usize,
    audit_id: bool,
    falco: usize,
}

impl Seen {
    fn add(&mut self, s: &mut Scanner, key: &[u8]) -> json::Result<()> {
        match key {
            b"eventName" | b"eventSource" | b"eventTime" => self.cloudtrail += 1,
            b"auditID" => self.audit_id = true,
            b"rule" | b"Rule" | b"priority" | b"Priority" => self.falco += 1,
            b"kind" | b"detail-type" => {
                let mark = s.mark();
                if let Some(text) = s.text()? {
                    self.labels.push((shown(key), shown(s.slice(text))));
                }
                s.reset(mark);
            }
            _ => {}
        }
        if self.names.len() < NAMED_KEYS {
            self.names.push(shown(key));
        } else {
            self.unnamed += 1;
        }
        Ok(())
    }

    /// Whether it is worth while to read the object in this format.
    fn suggests(&self, format: Format) -> bool {
        match format {
            Format::CloudTrail => self.cloudtrail >= 2,
            Format::K8sAudit => self.audit_id,
            Format::Falco => self.falco >= 2,
        }
    }
}

/// A key or value as a message shows it.
fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
    text.escape_debug().to_string()
}
