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
use weir_engine::batch::{Counts, EventBatch, Partition};
use weir_engine::builder::EventBuilder;
use weir_engine::{Error, Result};

use crate::detect::Formats;
use crate::envelope::{Origin, Pieces};
use crate::format::{Fault, Format, Labels, fault, vpc_flow};
use crate::json;
use crate::mapping::{Column, Found};

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
mod work;

pub(crate) use self::before::Before;
use self::before::without;
use self::config::configured_columns;
pub use self::config::{DecoderConfig, FormatChoice, are_flow_fields};
use self::guess::Guesses;
use self::letters::Typical;
pub(crate) use self::letters::estimated;
pub(crate) use self::marks::Marks;
pub(crate) use self::work::Work;

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
