//! Dead letters of the record at hand.

use weir_engine::batch::{DEAD_LETTER_PAYLOAD, DeadLetter};

use super::Work;
use crate::format::Fault;

impl Work<'_, '_> {
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
