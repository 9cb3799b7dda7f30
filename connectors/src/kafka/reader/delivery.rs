//! The way of what was gathered: decoded, put in the outbox, handed to the engine.

use std::thread;
use std::time::Instant;

use tokio::sync::mpsc::error::TrySendError;
use weir_engine::source::SourceMessage;

use super::{NAP, PAUSE_AFTER, Reader};
use crate::kafka::gather::{Block, Gathered};
use crate::kafka::shared::split;

impl Reader {
    /// Decodes what is gathered of one partition.
    pub(super) fn decode(&mut self, number: i32) -> Result<(), String> {
        if let Some(block) = self.assigned.get_mut(&number).and_then(Gathered::take) {
            self.decode_block(number, block)?;
        }
        self.tell_end(number);
        Ok(())
    }

    pub(super) fn decode_block(&mut self, number: i32, block: Block) -> Result<(), String> {
        self.gathered_bytes -= block.size();
        let mut batch = self
            .decoder
            .decode(
                &self.shared.partition(number),
                block.bytes,
                &block.records,
                block.next,
            )
            .map_err(|error| format!("topic {}: {error}", self.shared.topic))?;
        batch.delivered = block.delivered;
        for letter in &mut batch.dead_letters {
            let own = block
                .attributes
                .binary_search_by_key(&letter.position, |(position, _)| *position);
            letter.attributes = own.ok().map(|index| block.attributes[index].1.clone());
        }
        self.outbox.push_back(SourceMessage::Batch(Box::new(batch)));
        Ok(())
    }

    pub(super) fn decode_all(&mut self) -> Result<(), String> {
        let all: Vec<i32> = self.assigned.keys().copied().collect();
        all.into_iter().try_for_each(|number| self.decode(number))
    }

    /// Decodes what waited long enough.
    pub(super) fn decode_due(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let wait = self.batch_wait;
        let due = self
            .assigned
            .iter()
            .filter(|(_, g)| g.due(wait).is_some_and(|due| due <= now));
        let due: Vec<i32> = due.map(|(number, _)| *number).collect();
        due.into_iter().try_for_each(|number| self.decode(number))
    }

    /// Sends what is in the outbox; when the channel stays full, pauses until it is empty.
    pub(super) fn hand_on(&mut self) {
        let deadline = Instant::now() + PAUSE_AFTER;
        while !self.deliver() {
            if self.paused || self.done() {
                return;
            }
            if Instant::now() > deadline {
                tracing::debug!(
                    source = %self.shared.source, topic = %self.shared.topic,
                    "the engine is behind: paused"
                );
                self.paused = true;
                self.pause(&self.assigned_list());
                return;
            }
            thread::sleep(NAP);
        }
        if self.paused {
            self.paused = false;
            self.resume(&self.assigned_list());
        }
    }

    /// Sends as much as the channel takes. True when nothing is left.
    pub(super) fn deliver(&mut self) -> bool {
        while let Some(message) = self.outbox.pop_front() {
            let position = match &message {
                SourceMessage::Batch(batch) => {
                    split(&batch.partition.name).map(|(_, n)| (n, batch.next))
                }
                _ => None,
            };
            let assignment = matches!(message, SourceMessage::Assigned { .. });
            match self.sender.try_send(message) {
                Ok(()) => {
                    self.sent.extend(position);
                    if assignment {
                        self.pass_gate();
                    }
                }
                Err(TrySendError::Full(message) | TrySendError::Closed(message)) => {
                    self.outbox.push_front(message);
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn pass_gate(&mut self) {
        if self.gate.take().is_some_and(|gate| gate.pass()) {
            self.outbox.push_back(SourceMessage::Ready {
                source: self.shared.source.clone(),
                shared: true,
            });
        }
    }
}
