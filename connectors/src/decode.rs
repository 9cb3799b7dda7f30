//! From delivered bytes to one Arrow batch: every record of a block becomes rows, counts or dead letters.
//!
//! The road of a record: size, UTF-8, then the format that fitted last tries it in one pass. Only if that
//! says "not mine", [`envelope`](crate::envelope) looks closer: events inside, another format, or neither.
//!
//! Invariants: text columns point into the block (no copy) wherever the text stands there unescaped;
//! `counts.read` = rows + dead letters + filtered; a bad record never costs its neighbours.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use weir_engine::batch::{Counts, DEAD_LETTER_PAYLOAD, DeadLetter, EventBatch, Partition};
use weir_engine::builder::EventBuilder;
use weir_engine::schema::col;
use weir_engine::{Error, Result};

use crate::format::{Decoded, Fault, Format, Labels, Reject, Row, fault};
use crate::json::{self, Scanner};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Letters that one record may write: an envelope of 64 MiB can hold 20 million unusable events.
const LETTERS_PER_RECORD: usize = 1000;

/// Which log format a source delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FormatChoice {
    /// Decided by the content of each record.
    #[default]
    Auto,
    CloudTrail,
    K8sAudit,
    Falco,
}

impl FormatChoice {
    pub(crate) fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::CloudTrail => Some(Format::CloudTrail),
            Self::K8sAudit => Some(Format::K8sAudit),
            Self::Falco => Some(Format::Falco),
        }
    }
}

/// What a decoder has to know about its source.
#[derive(Debug, Clone)]
pub struct DecoderConfig {
    pub format: FormatChoice,
    /// Name of the configured source; becomes `metadata_log_name`.
    pub log_name: Arc<str>,
    /// Kubernetes cluster of the source: audit events do not name it.
    pub cluster: Option<Arc<str>>,
    /// Longest single event.
    pub max_record_bytes: usize,
    /// Longest record that holds many events.
    pub max_envelope_bytes: usize,
    /// Deepest nesting of a record, envelope included.
    pub max_depth: usize,
}

impl DecoderConfig {
    /// Detects the format; an event may have 1 MiB, an envelope 64 MiB, both 64 levels.
    pub fn new(log_name: impl Into<Arc<str>>) -> Self {
        Self {
            format: FormatChoice::Auto,
            log_name: log_name.into(),
            cluster: None,
            max_record_bytes: 1 << 20,
            max_envelope_bytes: 64 << 20,
            max_depth: 64,
        }
    }
}

/// Where one delivered record (a line, a message) lies in its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub range: Range<usize>,
    /// Kafka offset, or byte offset in the (uncompressed) file.
    pub position: i64,
}

/// Decoder of one source. Keeps what it learned (the format that fitted last) from block to block.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    last: Format,
    scratch: Vec<u8>,
}

impl Decoder {
    pub fn new(config: DecoderConfig) -> Self {
        let last = config.format.format().unwrap_or(Format::CloudTrail);
        Self {
            config,
            last,
            scratch: vec![],
        }
    }

    /// Decodes all records of one block of one partition. `next` is the position after the block.
    /// Fails only for a bug or a block of 4 GiB and more, never for what is in a record.
    pub fn decode(
        &mut self,
        partition: &Partition,
        block: Buffer,
        records: &[Record],
        next: i64,
    ) -> Result<EventBatch> {
        if block.len() > u32::MAX as usize {
            let size = block.len();
            return Err(Error::Other(format!(
                "a block of {size} bytes cannot be decoded: the limit is 4 GiB"
            )));
        }
        let mut builder = EventBuilder::with_capacity(block.clone(), records.len());
        let labels = Labels::new(&mut builder, &self.config);
        let mut work = Work {
            config: &self.config,
            last: &mut self.last,
            scratch: &mut self.scratch,
            builder,
            labels,
            partition,
            position: 0,
            text: "",
            text_start: 0,
            in_block: true,
            counts: Counts::default(),
            letters: vec![],
            letters_left: 0,
            letters_omitted: 0,
        };
        for record in records {
            work.record(&block, record);
        }
        work.counts.processed = work.builder.len() as u64;
        Ok(EventBatch {
            partition: partition.clone(),
            next,
            counts: work.counts,
            dead_letters: work.letters,
            events: work.builder.finish()?,
        })
    }
}

/// One block on its way through the decoder.
pub(crate) struct Work<'a, 'b> {
    pub config: &'a DecoderConfig,
    pub last: &'a mut Format,
    pub scratch: &'a mut Vec<u8>,
    pub builder: EventBuilder<'b>,
    /// The record at hand, and where it starts in the block.
    text: &'b str,
    text_start: usize,
    pub labels: Labels,
    pub partition: &'a Partition,
    /// Of the record at hand.
    pub position: i64,
    /// False while an event is read out of a string that had to be unescaped.
    pub in_block: bool,
    pub counts: Counts,
    pub letters: Vec<DeadLetter>,
    /// How many more letters the record at hand may write, and how many it could not.
    letters_left: usize,
    letters_omitted: u64,
}

impl<'b> Work<'_, 'b> {
    fn record(&mut self, block: &'b [u8], record: &Record) {
        self.position = record.position;
        self.letters_left = LETTERS_PER_RECORD;
        self.counts.bytes += record.range.len() as u64;
        let Range { start, end } = record.range;
        let Some(bytes) = block.get(start..end) else {
            let detail = format!("bytes {start} to {end} lie outside the block");
            return self.dead_letter(&[], fault("too_large", detail));
        };
        self.text = match self.admit(bytes) {
            Ok(text) => text,
            Err(fault) => return self.dead_letter(bytes, fault),
        };
        self.text_start = start;
        let mark = bytes.starts_with(BYTE_ORDER_MARK);
        let first = start + if mark { BYTE_ORDER_MARK.len() } else { 0 };
        let mut s = Scanner::new(&block[..end], first, self.config.max_depth);
        let read = self.counts.read;
        let outcome = match self.value(&mut s, 0, true) {
            Ok(None) => s.finish().map_err(Reject::Json),
            Ok(Some(unknown)) => match s.finish() {
                Ok(()) => Err(Reject::Event(self.too_large(bytes).unwrap_or(unknown))),
                Err(error) => Err(Reject::Json(error)),
            },
            Err(reject) => Err(reject),
        };
        if let Err(reject) = outcome {
            let mut fault = match reject {
                Reject::Event(fault) => fault,
                Reject::Json(error) => json_fault(error, start),
            };
            let peeled = self.counts.read - read;
            if peeled > 0 {
                let note = format!("; {peeled} events of the record were read before that");
                fault.detail.push_str(&note);
            }
            self.dead_letter(bytes, fault);
        }
        self.sum_up_letters(bytes);
    }

    /// What can be said before the record is read as JSON.
    fn admit<'r>(&self, bytes: &'r [u8]) -> Result<&'r str, Box<Fault>> {
        let limit = self.config.max_envelope_bytes;
        if bytes.len() > limit {
            let detail = format!("{} bytes, the limit is {limit}", bytes.len());
            return Err(fault("too_large", detail));
        }
        // Just before the scan, which then finds the bytes in the cache.
        let Ok(text) = simdutf8::basic::from_utf8(bytes) else {
            let at = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
            return Err(fault("invalid_utf8", format!("not UTF-8 at byte {at}")));
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(fault("empty", "nothing but whitespace"));
        }
        Ok(text)
    }

    fn too_large(&self, event: &[u8]) -> Option<Box<Fault>> {
        let (len, limit) = (event.len(), self.config.max_record_bytes);
        (len > limit).then(|| {
            let detail = format!("an event of {len} bytes, the limit is {limit}");
            fault("too_large", detail)
        })
    }

    /// Reads one value: an event, or an envelope of events. Gives the reason if it is neither; the
    /// scanner is then behind it. `whole` says that nothing may follow the value.
    pub fn value(
        &mut self,
        s: &mut Scanner,
        level: usize,
        whole: bool,
    ) -> Result<Option<Box<Fault>>, Reject> {
        let too_large = level == 0 && s.bytes().len() - s.position() > self.config.max_record_bytes;
        if s.peek() == b'{' && !too_large && self.event(s, *self.last, whole)? {
            return Ok(None);
        }
        self.peel(s, level, whole)
    }

    /// Reads one object as an event of the format. False if it is none: the scanner is then back at its
    /// start, as after an error.
    pub fn event(&mut self, s: &mut Scanner, format: Format, whole: bool) -> Result<bool, Reject> {
        s.peek();
        let (mark, start) = (s.mark(), s.position());
        match self.in_block {
            true => self.builder.begin_in(self.text, self.text_start),
            false => self.builder.begin(),
        }
        let mut row = Row {
            builder: &mut self.builder,
            labels: &self.labels,
            in_block: self.in_block,
            scratch: self.scratch,
        };
        let decoded = format.decode(s, &mut row);
        let range = start..s.position();
        let decoded = decoded.and_then(|decoded| {
            if decoded != Decoded::NotThis {
                if whole {
                    s.finish()?;
                }
                if let Some(fault) = self.too_large(&s.bytes()[range.clone()]) {
                    return Err(Reject::Event(fault));
                }
            }
            Ok(decoded)
        });
        match decoded {
            Ok(Decoded::Row) => {
                self.end_row(s, format, range);
                self.builder.keep();
                self.counts.read += 1;
                return Ok(true);
            }
            Ok(Decoded::Filtered) => {
                self.builder.discard();
                self.counts.read += 1;
                self.counts.filtered += 1;
                return Ok(true);
            }
            _ => self.builder.discard(),
        }
        s.reset(mark);
        decoded.map(|_| false)
    }

    /// The columns that no format sets.
    fn end_row(&mut self, s: &Scanner, format: Format, raw: Range<usize>) {
        let builder = &mut self.builder;
        let [family, product] = self.labels.formats[format as usize];
        builder.interned(col::FAMILY, family);
        builder.interned(col::PRODUCT, product);
        builder.interned(col::LOG_NAME, self.labels.log_name);
        if let Some(cluster) = self.labels.cluster
            && format != Format::CloudTrail
        {
            builder.interned(col::K8S_CLUSTER, cluster);
        }
        if !builder.is_set(col::EVENT_UID) {
            let hash = xxhash_rust::xxh3::xxh3_128(&s.bytes()[raw.clone()]);
            builder.text(col::EVENT_UID, &format!("{hash:032x}"));
        }
        let mut row = Row {
            builder,
            labels: &self.labels,
            in_block: self.in_block,
            scratch: self.scratch,
        };
        row.slice(s, col::RAW, raw);
    }

    /// Counts an event that cannot be used, and keeps its first bytes.
    #[allow(clippy::boxed_local)] // boxed where it is made, so that results stay small
    pub fn dead_letter(&mut self, payload: &[u8], fault: Box<Fault>) {
        self.counts.read += 1;
        self.counts.dead_lettered += 1;
        if self.letters_left == 0 {
            self.letters_omitted += 1;
            return;
        }
        self.letters_left -= 1;
        self.push_letter(payload, *fault);
    }

    fn push_letter(&mut self, payload: &[u8], fault: Fault) {
        self.letters.push(DeadLetter {
            partition: self.partition.clone(),
            position: self.position,
            reason: fault.reason,
            detail: fault.detail,
            payload: payload[..payload.len().min(DEAD_LETTER_PAYLOAD)].to_vec(),
            payload_bytes: payload.len() as u64,
            attributes: None,
        });
    }

    /// One letter for those of the record's events that got none of their own.
    fn sum_up_letters(&mut self, record: &[u8]) {
        let omitted = std::mem::take(&mut self.letters_omitted);
        if omitted > 0 {
            let detail = format!(
                "{omitted} more events of this record cannot be used; counted, but not kept one by one"
            );
            let reason = "unknown_format";
            self.push_letter(record, Fault { reason, detail });
        }
    }
}

/// A dead letter's text for what is no JSON; `start` is where the record starts in the scanner's bytes.
pub(crate) fn json_fault(error: json::Error, start: usize) -> Box<Fault> {
    let reason = match error.fault() {
        json::Fault::TooDeep => "too_deep",
        _ => "invalid_json",
    };
    let at = error.at().saturating_sub(start);
    fault(reason, format!("{} at byte {at}", error.fault()))
}

#[cfg(test)]
pub(crate) mod tests;
