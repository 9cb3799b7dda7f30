//! From delivered bytes to one Arrow batch: every record of a block becomes rows, counts or dead letters.
//!
//! The layers, each of which calls only those after it: a record's bytes become text ([`text`](crate::envelope)), the text
//! is cut into values and lines ([`stream`]), what a forwarder put around events is peeled ([`envelope`](crate::envelope)), a
//! value is recognised ([`detect`](crate::detect)) and read by its format, and its row is finished here.
//!
//! Invariants: text columns point into the block (no copy) wherever the text stands there unescaped;
//! `counts.read` = rows + dead letters + filtered; a bad event never costs its neighbours.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::buffer::Buffer;
use weir_engine::batch::{Counts, DeadLetter, EventBatch, Partition};
use weir_engine::builder::EventBuilder;
use weir_engine::{Error, Result};

use crate::detect::{Formats, Looks, sniff};
use crate::envelope::{Origin, Pieces, Text};
use crate::format::{Fault, Format, Labels, Reject, fault, vpc_flow};
use crate::json::{self, Scanner};
use crate::mapping::{Column, Found, Rivals};

mod before;
mod config;
mod guess;
mod letters;
mod marks;
mod place;
mod row;
mod salvage;
mod search;
mod stream;

pub(crate) use self::before::Before;
use self::before::without;
use self::config::configured_columns;
pub use self::config::{DecoderConfig, FormatChoice, are_flow_fields};
use self::guess::{FirstKey, Guesses};
use self::letters::Typical;
pub(crate) use self::letters::estimated;
pub(crate) use self::marks::Marks;

/// Letters that one record may write: an envelope of 64 MiB can hold 20 million unusable events.
const LETTERS_PER_RECORD: usize = 1000;

/// Bytes of broken texts that one record may have read a second time, besides a multiple of its own: it may be compressed.
const SALVAGED_PER_RECORD: usize = 64 << 20;

/// Where one delivered record (a line, a message) lies in its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub range: Range<usize>,
    /// Kafka offset, or byte offset in the (uncompressed) file.
    pub position: i64,
}

/// Decoder of one source. What it keeps from block to block: which formats objects had (for speed), the headers of flow
/// logs, and the pieces of lines that a container runtime cut.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    allowed: Formats,
    guesses: Guesses,
    /// Columns of flow logs that the configuration names.
    configured: Option<Arc<[Column]>>,
    /// Columns of flow logs that a header line named, by partition.
    headers: HashMap<Arc<str>, Arc<[Column]>>,
    /// Lines that are not whole yet, by partition.
    pieces: HashMap<Arc<str>, Pieces>,
    /// Position from which on the records of the next block are in doubt.
    doubtful: Option<i64>,
    typical: Typical,
    scratch: Vec<u8>,
    found: Found,
}

impl Decoder {
    pub fn new(config: DecoderConfig) -> Self {
        let formats = config.format.formats();
        Self {
            allowed: Formats::of(formats.iter().copied()),
            guesses: Guesses::default(),
            configured: config.columns.as_deref().and_then(configured_columns),
            headers: HashMap::new(),
            pieces: HashMap::new(),
            doubtful: None,
            typical: Typical::default(),
            config,
            scratch: vec![],
            found: vec![],
        }
    }

    /// Learns the columns of a flow log from its first line, if that names them: for a reading that goes on in the
    /// middle of a file.
    pub fn learn_header(&mut self, partition: &Partition, line: &[u8]) {
        let flow = Format::of(&vpc_flow::FLOW);
        if self.allowed.has(flow)
            && let Some(tree) = flow.tree(None)
            && let Some(columns) = vpc_flow::header(line, tree)
        {
            self.headers.insert(partition.name.clone(), columns.into());
        }
    }

    /// How many events so many bytes may be, by those that were read.
    pub(crate) fn estimate(&self, bytes: u64) -> u64 {
        self.typical.estimate(bytes)
    }

    /// Tells that records of the next block, from this position on, come of compressed data whose checksum is wrong: their rows are
    /// marked.
    pub fn doubt(&mut self, from: i64) {
        self.doubtful = Some(from);
    }

    /// Reads one format and no other: to be compared with its slow twin.
    #[cfg(any(test, feature = "slow"))]
    pub(crate) fn only(format: Format) -> Self {
        Self {
            allowed: Formats::of([format]),
            ..Self::new(DecoderConfig::new("log"))
        }
    }

    /// Decodes all records of one block of one partition. `next` is the position after the block.
    ///
    /// # Errors
    /// Only for a bug or a block of 4 GiB and more, never for what is in a record.
    pub fn decode(
        &mut self,
        partition: &Partition,
        block: Buffer,
        records: &[Record],
        next: i64,
    ) -> Result<EventBatch> {
        self.run(partition, block, records, next, false)
    }

    /// Tells that nothing follows in a partition. Gives the dead letters of lines whose end never came, if there are any.
    ///
    /// # Errors
    /// Only for a bug.
    pub fn finish(&mut self, partition: &Partition, next: i64) -> Result<Option<EventBatch>> {
        if !self.pieces.contains_key(&partition.name) {
            return Ok(None);
        }
        let nothing = Buffer::from_vec(Vec::<u8>::new());
        self.run(partition, nothing, &[], next, true).map(Some)
    }

    fn run(
        &mut self,
        partition: &Partition,
        block: Buffer,
        records: &[Record],
        next: i64,
        is_last: bool,
    ) -> Result<EventBatch> {
        if block.len() > u32::MAX as usize {
            let size = block.len();
            return Err(Error::Other(format!(
                "a block of {size} bytes cannot be decoded: the limit is 4 GiB"
            )));
        }
        let mut builder = EventBuilder::with_capacity(block.clone(), records.len());
        let labels = Labels::new(&mut builder, &self.config);
        let learned = self.headers.remove(&partition.name);
        let mut pieces = self.pieces.remove(&partition.name).unwrap_or_default();
        let mut work = Work {
            config: &self.config,
            allowed: self.allowed,
            guesses: &mut self.guesses,
            header: self.configured.clone().or(learned),
            is_configured: self.configured.is_some(),
            pieces: &mut pieces,
            origin: Origin::default(),
            doubtful: self.doubtful.take(),
            typical: &mut self.typical,
            scratch: &mut self.scratch,
            found: &mut self.found,
            builder,
            labels,
            partition,
            position: 0,
            text: "",
            text_start: 0,
            in_block: true,
            marks: vec![],
            counts: Counts::default(),
            letters: vec![],
            letters_left: 0,
            letters_omitted: 0,
            salvage_left: 0,
            unpacked: (0, 0),
            withdrawn: vec![],
        };
        for record in records {
            work.record(&block, record);
        }
        work.end(is_last);
        let Work {
            builder,
            mut counts,
            letters,
            withdrawn,
            header,
            ..
        } = work;
        if let Some(columns) = header.filter(|_| self.config.headers_last) {
            self.headers.insert(partition.name.clone(), columns);
        }
        if !pieces.is_empty() {
            self.pieces.insert(partition.name.clone(), pieces);
        }
        let events = without(builder.finish()?, &withdrawn)?;
        counts.processed = events.num_rows() as u64;
        Ok(EventBatch {
            partition: partition.clone(),
            next,
            delivered: None,
            counts,
            dead_letters: letters,
            events,
        })
    }
}

/// One block on its way through the decoder.
pub(crate) struct Work<'a, 'b> {
    pub config: &'a DecoderConfig,
    /// Formats that the source may deliver.
    pub allowed: Formats,
    guesses: &'a mut Guesses,
    /// Columns of the flow log at hand; those that the configuration names hold whatever a header says.
    pub header: Option<Arc<[Column]>>,
    is_configured: bool,
    pub pieces: &'a mut Pieces,
    /// Who wrote the text at hand, as far as what is around it says.
    pub(crate) origin: Origin,
    doubtful: Option<i64>,
    typical: &'a mut Typical,
    pub scratch: &'a mut Vec<u8>,
    /// Values that a mapping found in the event at hand.
    pub found: &'a mut Found,
    pub builder: EventBuilder<'b>,
    /// The record at hand, and where it starts in the block.
    text: &'b str,
    text_start: usize,
    pub labels: Labels,
    pub partition: &'a Partition,
    /// Of the record at hand.
    pub position: i64,
    /// Whether the scanner at hand reads the block itself, so that text can be pointed at: not so in a string that had to
    /// be unescaped, in what was compressed, and in what was no UTF-8.
    pub(crate) in_block: bool,
    /// In the bytes of the scanner at hand.
    marks: Marks,
    pub counts: Counts,
    pub letters: Vec<DeadLetter>,
    /// How many more letters the record at hand may write, and how many events got none.
    letters_left: usize,
    letters_omitted: u64,
    /// How many bytes of broken texts in the record at hand may still be read a second time.
    salvage_left: usize,
    /// Bytes that were decompressed of the record at hand: those that count, and all, also what was read again.
    unpacked: (u64, u64),
    /// Rows of values that turned out to be broken, and were read once more piece by piece.
    withdrawn: Vec<Range<usize>>,
}

impl<'b> Work<'_, 'b> {
    fn record(&mut self, block: &'b [u8], record: &Record) {
        self.position = record.position;
        self.letters_left = LETTERS_PER_RECORD;
        self.salvage_left = salvage::PASSES * record.range.len() + SALVAGED_PER_RECORD;
        self.unpacked = (0, 0);
        if self.pieces.pass_record(record.position) {
            self.pieces.give_up_old(true);
        }
        self.counts.bytes += record.range.len() as u64;
        let Range { start, end } = record.range;
        let Some(bytes) = block.get(start..end) else {
            let detail = format!("bytes {start} to {end} lie outside the block");
            return self.dead_letter(&[], fault("too_large", detail));
        };
        let behind = record.position + bytes.len() as i64;
        let in_doubt = self.doubtful.is_some_and(|from| from < behind);
        let unusable = match Text::of(bytes) {
            Text::Utf8(text) => {
                if in_doubt {
                    self.marks.push(start..end);
                }
                (self.text, self.text_start, self.in_block) = (text, start, true);
                let mut s = Scanner::new(&block[..end], start, self.config.max_depth);
                let unusable = self.stream(&mut s, 0);
                self.marks.clear();
                unusable
            }
            Text::Other(text) => {
                let first = text.marks.first().map(|mark| mark.start);
                let unusable = self.inside(text.marks, |work| {
                    let mut s = Scanner::new(text.text.as_bytes(), 0, work.config.max_depth);
                    work.stream(&mut s, 0)
                });
                match (unusable, first) {
                    (Some(fault), Some(at)) => Some(fault.of_encoding(at)),
                    (unusable, _) => unusable,
                }
            }
            Text::Compressed => self.compressed(bytes, 0),
        };
        if let Some(fault) = unusable {
            self.dead_letter(bytes, fault);
        }
        self.write_given_up();
        self.sum_up_letters(bytes);
    }

    /// Reads bytes that are not the block's own, which are marked so.
    pub(crate) fn inside<R>(&mut self, marks: Marks, read: impl FnOnce(&mut Self) -> R) -> R {
        let outside = std::mem::replace(&mut self.in_block, false);
        let marks = std::mem::replace(&mut self.marks, marks);
        let result = read(self);
        (self.in_block, self.marks) = (outside, marks);
        result
    }

    /// Reads one value: an event, or an envelope of events. Returns the reason if it is neither; the
    /// scanner is then behind it.
    ///
    /// # Errors
    /// If the value is no JSON, or an event that cannot be used; the scanner may then stand anywhere.
    pub(crate) fn value(
        &mut self,
        s: &mut Scanner,
        level: usize,
    ) -> Result<Option<Box<Fault>>, Reject> {
        if s.peek() != b'{' {
            return self.peel(s, level);
        }
        // The configuration's own mapping has no keys to be sniffed by.
        if self.allowed.has(Format::CUSTOM)
            && self.event(s, Format::CUSTOM, Format::CUSTOM.rivals())?
        {
            return Ok(None);
        }
        let key = FirstKey::of(s);
        if let Some(format) = self.guesses.get(key) {
            match self.event(s, format, format.rivals())? {
                true => return Ok(None),
                false => self.guesses.doubt(key),
            }
        }
        let mut allowed = self.allowed;
        while let Looks::Event(format) = sniff(s.clone(), allowed)? {
            if self.event(s, format, format.refused())? {
                self.guesses.learn(key, format);
                return Ok(None);
            }
            allowed = allowed.without(format);
        }
        self.peel(s, level)
    }

    /// Reads one object as an event of the format. False if it is none, or has a key of `rivals`: the scanner is then back
    /// at its start, as after an error.
    fn event(&mut self, s: &mut Scanner, format: Format, rivals: Rivals) -> Result<bool, Reject> {
        s.peek();
        if let Some(tree) = format.report() {
            return self.explode(s, format, tree, rivals);
        }
        let (mark, start, faults) = (s.mark(), s.position(), s.repairs());
        s.forget_depth();
        let custom = self.config.custom();
        let (mut row, found) = self.begin(rivals);
        let decoded = format.decode(s, &mut row, custom, found);
        let is_event = self.finish(s, format, start..s.position(), faults, decoded);
        if !matches!(is_event, Ok(true)) {
            s.reset(mark);
        }
        is_event
    }
}

/// A dead letter's text for what is no JSON; `start` is where the record starts in the scanner's bytes.
pub(crate) fn json_fault(error: json::Error, start: usize) -> Box<Fault> {
    let at = error.at().saturating_sub(start);
    let detail = format!("{} at byte {at}", error.fault());
    fault("invalid_json", detail)
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_broken;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_envelopes;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_hostile;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_pieces;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests_wrapped;
