//! From delivered bytes to one Arrow batch: every record of a block becomes rows, counts or dead letters.
//!
//! The road of a record: size, UTF-8, then the format that fitted the last two tries it in one pass. Only if
//! that says "not mine", its keys are looked at ([`detect`](crate::detect)), and if they tell no format,
//! [`envelope`](crate::envelope) looks for events inside.
//!
//! Invariants: text columns point into the block (no copy) wherever the text stands there unescaped;
//! `counts.read` = rows + dead letters + filtered; a bad record never costs its neighbours.

use std::ops::Range;

use datafusion::arrow::buffer::Buffer;
use weir_engine::batch::{Counts, DeadLetter, EventBatch, Partition};
use weir_engine::builder::EventBuilder;
use weir_engine::schema::col;
use weir_engine::{Error, Result};

use crate::detect::{Formats, sniff};
use crate::envelope::{GZIP, LEVELS};
use crate::format::{Decoded, Fault, Format, Labels, Reject, Row, fault, vpc_flow};
use crate::json::{self, Scanner};
use crate::mapping::Value;
use crate::text::behind_syslog;

mod config;
mod letters;

use self::config::configured_columns;
pub use self::config::{DecoderConfig, FormatChoice, are_flow_fields};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Letters that one record may write: an envelope of 64 MiB can hold 20 million unusable events.
const LETTERS_PER_RECORD: usize = 1000;

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
    allowed: Formats,
    last: Format,
    trust: Trust,
    /// Where a flow log's columns belong, once a header told it.
    header: Option<Vec<Option<u16>>>,
    scratch: Vec<u8>,
    found: Vec<Option<Value>>,
}

/// By level of envelopes: whether the last two events there were of one format, so that the next one is
/// read as that at once.
type Trust = [bool; LEVELS + 2];

impl Decoder {
    pub fn new(config: DecoderConfig) -> Self {
        let formats = config.format.formats();
        Self {
            allowed: Formats::of(formats.iter().copied()),
            last: formats.first().copied().unwrap_or(Format::CloudTrail),
            trust: [true; LEVELS + 2],
            header: config.columns.as_deref().and_then(configured_columns),
            config,
            scratch: vec![],
            found: vec![],
        }
    }

    /// Learns the columns of a flow log from its first line, if that names them: for a reading that goes on in the
    /// middle of a file.
    pub fn learn_header(&mut self, line: &[u8]) {
        let flow = Format::of(&vpc_flow::FLOW);
        if self.allowed.has(flow)
            && let Some(tree) = flow.tree(None)
            && let Some(columns) = vpc_flow::header(line, tree)
        {
            self.header = Some(columns);
        }
    }

    /// Reads one format and no other: to be compared with its slow twin.
    #[cfg(any(test, feature = "slow"))]
    pub(crate) fn only(format: Format) -> Self {
        Self {
            allowed: Formats::of([format]),
            last: format,
            ..Self::new(DecoderConfig::new("log"))
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
            allowed: self.allowed,
            last: &mut self.last,
            trust: &mut self.trust,
            header: &mut self.header,
            scratch: &mut self.scratch,
            found: &mut self.found,
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
            delivered: None,
            counts: work.counts,
            dead_letters: work.letters,
            events: work.builder.finish()?,
        })
    }
}

/// One block on its way through the decoder.
pub(crate) struct Work<'a, 'b> {
    pub config: &'a DecoderConfig,
    /// Formats that the source may deliver.
    pub allowed: Formats,
    last: &'a mut Format,
    trust: &'a mut Trust,
    pub header: &'a mut Option<Vec<Option<u16>>>,
    pub scratch: &'a mut Vec<u8>,
    /// Values that a mapping found in the event at hand.
    pub found: &'a mut Vec<Option<Value>>,
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
        if bytes.starts_with(GZIP) {
            return self.compressed(bytes);
        }
        self.text = match self.admit(bytes) {
            Ok(text) => text,
            Err(fault) => return self.dead_letter(bytes, fault),
        };
        self.text_start = start;
        let mark = bytes.starts_with(BYTE_ORDER_MARK);
        let first = start + if mark { BYTE_ORDER_MARK.len() } else { 0 };
        let first = first + behind_syslog(&block[first..end]).unwrap_or(0);
        let mut s = Scanner::new(&block[..end], first, self.config.max_depth);
        let read = self.counts.read;
        // An array begins like an access line.
        if s.peek() != b'{' {
            match self.line(&s, s.position()..end) {
                Ok(true) => return,
                Ok(false) => {}
                Err(Reject::Event(fault)) => return self.dead_letter(bytes, fault),
                Err(Reject::Json(error)) => {
                    return self.dead_letter(bytes, json_fault(error, start));
                }
            }
        }
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

    /// A record that is compressed as a whole.
    fn compressed(&mut self, bytes: &[u8]) {
        match self.payload(bytes, 0) {
            Ok(None) => {}
            Ok(Some(fault)) | Err(Reject::Event(fault)) => self.dead_letter(bytes, fault),
            Err(Reject::Json(error)) => self.dead_letter(bytes, json_fault(error, 0)),
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
        if s.peek() != b'{' {
            return self.peel(s, level);
        }
        let too_large = level == 0 && s.bytes().len() - s.position() > self.config.max_record_bytes;
        // The configuration's own mapping has no keys to be sniffed by.
        let trusted = self.trust[level] || *self.last == Format::Custom;
        if trusted && !too_large {
            match self.event(s, *self.last, whole) {
                Ok(true) => return Ok(None),
                Ok(false) => self.trust[level] = false,
                // A torn envelope still has whole events: whether they are read must not depend on what came before.
                Err(Reject::Json(_)) => {}
                Err(reject) => return Err(reject),
            }
        }
        let mut allowed = self.allowed;
        while let Some(format) = sniff(s.clone(), allowed)? {
            if self.event(s, format, whole)? {
                self.trust[level] = format == *self.last;
                *self.last = format;
                return Ok(None);
            }
            allowed = allowed.without(format);
        }
        self.peel(s, level)
    }

    /// Reads one object as an event of the format. False if it is none: the scanner is then back at its
    /// start, as after an error.
    pub fn event(&mut self, s: &mut Scanner, format: Format, whole: bool) -> Result<bool, Reject> {
        s.peek();
        if let Some(tree) = format.report() {
            return self.explode(s, format, tree, whole);
        }
        let (mark, start) = (s.mark(), s.position());
        self.begin();
        let mut row = Row {
            builder: &mut self.builder,
            labels: &self.labels,
            in_block: self.in_block,
            scratch: self.scratch,
        };
        let decoded = format.decode(s, &mut row, self.config.custom(), self.found);
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

    pub(crate) fn begin(&mut self) {
        match self.in_block {
            true => self.builder.begin_in(self.text, self.text_start),
            false => self.builder.begin(),
        }
    }

    /// The columns that no format sets.
    pub(crate) fn end_row(&mut self, s: &Scanner, format: Format, raw: Range<usize>) {
        let builder = &mut self.builder;
        let [family, product] = self.labels.formats[format.index()];
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
