//! Events inside other JSON. A value comes here only if its own keys make it no event.
//!
//! Known envelopes:
//! - an array of events, also under `Records`, `records`, `items`, `Events`, `events`, `logEvents`,
//!   `findings`, `Findings`, `Messages`, `receivedMessages` or `value` (CloudTrail objects, Event Hubs,
//!   EventList, LookupEvents, CloudWatch Logs, Security Hub, queues, Microsoft Graph);
//! - an event under `detail` (EventBridge), `jsonPayload` (Cloud Logging), `data` (Event Grid, CloudEvents),
//!   `message` (Pub/Sub) or `awslogs` (subscriptions of CloudWatch Logs);
//! - an event as text under `properties.log` (AKS), `CloudTrailEvent` (LookupEvents), `message` (CloudWatch
//!   Logs), `Message` (SNS), `body` or `Body` (SQS), in base64 under `data` (Pub/Sub), compressed or not.
//!
//! They may nest. Invariants: what lies inside is judged by its own content, never by the envelope's names;
//! an unusable event costs its neighbours nothing as long as the JSON around them holds.

use std::fmt::Write;
use std::io::Read;

use base64::Engine;

use crate::decode::{FormatChoice, Work, json_fault};
use crate::format::{Fault, Reject, fault};
use crate::json::{self, Scanner, unescape};

/// Envelopes within envelopes that are followed.
pub(crate) const LEVELS: usize = 4;

/// How compressed data begins.
pub(crate) const GZIP: &[u8] = &[0x1F, 0x8B];

/// Keys that a dead letter names.
const NAMED_KEYS: usize = 12;

impl Work<'_, '_> {
    /// Reads a value that is no event of the last format: see [`Work::value`].
    pub(crate) fn peel(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        match s.peek() {
            b'{' => self.peel_object(s, level),
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

    fn peel_object(&mut self, s: &mut Scanner, level: usize) -> Result<Option<Box<Fault>>, Reject> {
        let mut seen = Seen::default();
        let (mut is_envelope, mut unusable) = (false, None);
        let deeper = level < LEVELS;
        s.object(|s, key| {
            seen.add(s, key)?;
            let inside = match (key, s.peek()) {
                (
                    b"Records" | b"records" | b"items" | b"Events" | b"events" | b"logEvents"
                    | b"findings" | b"Findings" | b"Messages" | b"receivedMessages" | b"value",
                    b'[',
                ) if deeper => {
                    is_envelope = true;
                    unusable = self.peel_array(s, level)?;
                    return Ok(());
                }
                (b"detail" | b"jsonPayload" | b"data" | b"message" | b"awslogs", b'{')
                    if deeper =>
                {
                    self.value(s, level + 1, false)?
                }
                (b"data", b'"') if deeper => self.base64_event(s, level)?,
                (b"properties", b'{') if deeper => {
                    let mut found = false;
                    let mut inside = None;
                    s.object(|s, key| {
                        if key != b"log" || s.peek() != b'"' {
                            return Ok(s.skip()?);
                        }
                        found = true;
                        inside = self.kubernetes_log(s, level)?;
                        Ok::<_, Reject>(())
                    })?;
                    if !found {
                        return Ok(());
                    }
                    inside
                }
                (b"CloudTrailEvent" | b"message" | b"Message" | b"body" | b"Body", b'"')
                    if deeper =>
                {
                    self.text_event(s, level)?
                }
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
        Ok(Some(self.unknown(&seen, unusable)))
    }

    /// The control plane of AKS writes audit events and lines of its own under one key.
    fn kubernetes_log(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let mark = s.mark();
        let text = s.text()?;
        if text.is_some_and(|text| s.slice(text).trim_ascii_start().first() != Some(&b'{')) {
            self.counts.read += 1;
            self.counts.filtered += 1;
            return Ok(None);
        }
        s.reset(mark);
        self.text_event(s, level)
    }

    /// Events in base64, compressed or not.
    fn base64_event(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let Some(text) = s.text()? else {
            return Ok(None);
        };
        let text = unescape(s.slice(text));
        match base64::engine::general_purpose::STANDARD.decode(&*text) {
            Ok(bytes) => self.payload(&bytes, level),
            Err(_) => Ok(Some(fault("unknown_format", "`data` is no base64"))),
        }
    }

    /// JSON values one after the other, perhaps compressed.
    pub(crate) fn payload(
        &mut self,
        bytes: &[u8],
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let mut inflated = vec![];
        let limit = self.config.max_envelope_bytes as u64;
        let bytes = match bytes.starts_with(GZIP) {
            true => {
                let reader = flate2::read::MultiGzDecoder::new(bytes);
                match reader.take(limit + 1).read_to_end(&mut inflated) {
                    Ok(_) if inflated.len() as u64 > limit => {
                        let detail = format!("more than {limit} bytes when decompressed");
                        return Ok(Some(fault("too_large", detail)));
                    }
                    Ok(_) => inflated.as_slice(),
                    Err(error) => {
                        let detail = format!("cannot be decompressed: {error}");
                        return Ok(Some(fault("invalid_gzip", detail)));
                    }
                }
            }
            false => bytes,
        };
        if simdutf8::basic::from_utf8(bytes).is_err() {
            return Ok(Some(fault("invalid_utf8", "what lies inside is not UTF-8")));
        }
        let outside = std::mem::replace(&mut self.in_block, false);
        let mut inner = Scanner::new(bytes, 0, self.config.max_depth);
        let mut outcome = self.value(&mut inner, level + 1, false);
        while outcome.is_ok() && matches!(inner.peek(), b'{' | b'[') {
            outcome = self.element(&mut inner, level + 1).map(|()| None);
        }
        let outcome = outcome.and_then(|unusable| {
            inner.finish()?;
            Ok(unusable)
        });
        self.in_block = outside;
        outcome.map_err(of_inside)
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
        outcome.map_err(of_inside)
    }

    fn unknown(&self, seen: &Seen, inside: Option<Box<Fault>>) -> Box<Fault> {
        let (reason, mut detail) = match self.config.format.formats().as_slice() {
            [only, ..] if self.config.format != FormatChoice::Auto => (
                "missing_field",
                format!(
                    "no {}, which has {}",
                    only.name(),
                    only.required(self.config.custom())
                ),
            ),
            _ => ("unknown_format", "no known event".to_owned()),
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

/// An error in text inside costs that text, not the record around it.
fn of_inside(reject: Reject) -> Reject {
    match reject {
        Reject::Json(error) => {
            let mut fault = json_fault(error, 0);
            fault.detail.push_str(" of the JSON text inside");
            Reject::Event(fault)
        }
        reject => reject,
    }
}

/// Top-level keys of an object, as far as they tell what it is.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    unnamed: usize,
    /// Members in which an object says what it is.
    labels: Vec<(String, String)>,
}

impl Seen {
    fn add(&mut self, s: &mut Scanner, key: &[u8]) -> json::Result<()> {
        match key {
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
}

/// A key or value as a message shows it.
fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
    text.escape_debug().to_string()
}
