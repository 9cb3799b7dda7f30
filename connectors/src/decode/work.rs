//! One block on its way through the decoder, and what is read in it: a record, a value, an event.

use std::ops::Range;
use std::sync::Arc;

use weir_engine::batch::{Counts, DeadLetter, Partition};
use weir_engine::builder::EventBuilder;

use super::guess::{FirstKey, Guesses};
use super::letters::Typical;
use super::{DecoderConfig, LETTERS_PER_RECORD, Marks, Record, SALVAGED_PER_RECORD, salvage};
use crate::detect::{Formats, Looks, sniff};
use crate::envelope::{Origin, Pieces, Text};
use crate::format::{Fault, Format, Labels, Reject, fault};
use crate::json::Scanner;
use crate::mapping::{Column, Found, Rivals};

/// One block on its way through the decoder.
pub(crate) struct Work<'a, 'b> {
    pub config: &'a DecoderConfig,
    /// Formats that the source may deliver.
    pub allowed: Formats,
    pub(super) guesses: &'a mut Guesses,
    /// Columns of the flow log at hand; those that the configuration names hold whatever a header says.
    pub header: Option<Arc<[Column]>>,
    pub(super) is_configured: bool,
    pub pieces: &'a mut Pieces,
    /// Who wrote the text at hand, as far as what is around it says.
    pub origin: Origin,
    pub(super) doubtful: Option<i64>,
    pub(super) typical: &'a mut Typical,
    pub scratch: &'a mut Vec<u8>,
    /// Values that a mapping found in the event at hand.
    pub found: &'a mut Found,
    pub builder: EventBuilder<'b>,
    /// The record at hand, and where it starts in the block.
    pub(super) text: &'b str,
    pub(super) text_start: usize,
    pub labels: Labels,
    pub partition: &'a Partition,
    /// Of the record at hand.
    pub position: i64,
    /// Whether the scanner at hand reads the block itself, so that text can be pointed at: not so in a string that had to
    /// be unescaped, in what was compressed, and in what was no UTF-8.
    pub in_block: bool,
    /// In the bytes of the scanner at hand.
    pub(super) marks: Marks,
    pub counts: Counts,
    pub letters: Vec<DeadLetter>,
    /// How many more letters the record at hand may write, and how many events got none.
    pub(super) letters_left: usize,
    pub(super) letters_omitted: u64,
    /// How many bytes of broken texts in the record at hand may still be read a second time.
    pub(super) salvage_left: usize,
    /// Bytes that were decompressed of the record at hand: those that count, and all, also what was read again.
    pub(super) unpacked: (u64, u64),
    /// Rows of values that turned out to be broken, and were read once more piece by piece.
    pub(super) withdrawn: Vec<Range<usize>>,
}

impl<'b> Work<'_, 'b> {
    pub(super) fn record(&mut self, block: &'b [u8], record: &Record) {
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
    pub(super) fn event(
        &mut self,
        s: &mut Scanner,
        format: Format,
        rivals: Rivals,
    ) -> Result<bool, Reject> {
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
