//! Dead letters of the record at hand.

use weir_engine::batch::{DEAD_LETTER_PAYLOAD, DeadLetter};

use super::{Before, LETTERS_PER_RECORD, Work};
use crate::format::Fault;

/// How long events of a source are.
#[derive(Debug, Default)]
pub(super) struct Typical {
    events: u64,
    bytes: u64,
    longest: u64,
}

/// Length of an event, while nothing is known of the source.
const UNKNOWN_LENGTH: u64 = 1024;

impl Typical {
    #[inline]
    pub fn add(&mut self, length: usize) {
        self.events += 1;
        self.bytes += length as u64;
        self.longest = self.longest.max(length as u64);
    }

    /// How many events so many bytes may be: one if a single one was that long.
    pub fn estimate(&self, bytes: u64) -> u64 {
        let mean = match self.events {
            0 => UNKNOWN_LENGTH,
            events => (self.bytes / events).max(1),
        };
        match bytes <= self.longest.max(2 * mean) {
            true => 1,
            false => bytes.div_ceil(mean),
        }
    }
}

/// What a letter says of events that are told by their length alone; nothing if it is one.
pub(crate) fn estimated(events: u64, bytes: u64) -> String {
    match events > 1 {
        true => format!("; about {events} events (an estimate by length) in {bytes} bytes"),
        false => String::new(),
    }
}

/// Letters that may turn out to be needless.
pub(crate) struct Aside {
    letters: Vec<DeadLetter>,
    events: u64,
    omitted: u64,
}

impl Work<'_, '_> {
    /// At the end of the block, which may be the partition's last.
    pub(super) fn end(&mut self, is_last: bool) {
        if self.pieces.is_empty() {
            return;
        }
        self.letters_left = LETTERS_PER_RECORD;
        self.pieces.give_up_old(is_last);
        self.write_given_up();
        self.sum_up_letters(&[]);
    }

    /// Rows, and events that were left out on purpose.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.read - self.counts.dead_lettered
    }

    /// Takes the letters aside that were written since.
    pub(crate) fn set_aside(&mut self, before: &Before) -> Aside {
        let events = self.counts.dead_lettered - before.counts.dead_lettered;
        self.counts.read -= events;
        self.counts.dead_lettered -= events;
        let omitted = self.letters_omitted - before.letters_omitted;
        self.letters_omitted = before.letters_omitted;
        self.letters_left = before.letters_left;
        Aside {
            letters: self.letters.split_off(before.letters),
            events,
            omitted,
        }
    }

    /// Writes letters that were set aside.
    pub(crate) fn restore(&mut self, aside: Aside) {
        self.counts.read += aside.events;
        self.counts.dead_lettered += aside.events;
        self.letters_omitted += aside.omitted;
        self.letters_left = self.letters_left.saturating_sub(aside.letters.len());
        self.letters.extend(aside.letters);
    }

    /// Counts an event that cannot be used, and keeps its first bytes.
    pub fn dead_letter(&mut self, payload: &[u8], fault: Box<Fault>) {
        self.dead_events(payload, 1, fault);
    }

    /// Counts events that cannot be told apart any more: how many they were is estimated by their `bytes`.
    pub fn lost(&mut self, payload: &[u8], bytes: u64, mut fault: Box<Fault>) {
        let events = self.typical.estimate(bytes);
        fault.detail.push_str(&estimated(events, bytes));
        self.dead_events(payload, events, fault);
    }

    /// Counts so many events that cannot be used, with one letter.
    #[allow(clippy::boxed_local)] // boxed where it is made, so that results stay small
    pub fn dead_events(&mut self, payload: &[u8], events: u64, fault: Box<Fault>) {
        self.counts.read += events;
        self.counts.dead_lettered += events;
        if self.letters_left == 0 {
            self.letters_omitted += events;
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
    pub(super) fn sum_up_letters(&mut self, record: &[u8]) {
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
