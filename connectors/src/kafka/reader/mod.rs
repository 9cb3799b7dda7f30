//! The reader of one topic: one thread, one member of the group.
//!
//! Its loop: poll, carry out what the group decided, hand on what is gathered, tell Kafka what the store has.
//!
//! Invariants:
//! - Everything for the engine leaves through `outbox`, in order: a partition is assigned before its batches,
//!   and its end is told after them.
//! - A partition begins where the engine's messages of it end, else at the store's position. The group's
//!   position is used only for partitions that neither knows.
//! - The source is told to be ready after the first assignment of each of its topics, or when the wait for
//!   one is over; until then the engine holds its watermark.
//! - Nothing is committed to Kafka but what [`Shared::store`] was told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_engine::batch::Attributes;
use weir_engine::source::{SourceMessage, SourceSender};

use crate::decode::{Decoder, DecoderConfig};
use crate::kafka::GATHERED_BYTES;
use crate::kafka::callbacks::Callbacks;
use crate::kafka::config::{KafkaConfig, Start};
use crate::kafka::gather::{self, Block, Gathered};
use crate::kafka::shared::{Gate, Shared, Trouble};

mod delivery;
mod membership;

/// A full channel is waited for this long before partitions are paused: a pause throws prefetched messages
/// away, so it must not happen for every busy moment of the engine.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// Kafka is told our positions this often.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How soon a stop, a commit or room in the channel is noticed.
const TICK: Duration = Duration::from_millis(100);
const NAP: Duration = Duration::from_millis(2);
/// A topic that is missing, or assigned to nobody here, holds the engine's time back for this long.
pub(super) const ASSIGNMENT_WAIT: Duration = Duration::from_secs(30);

pub(super) struct Reader {
    shared: Arc<Shared>,
    consumer: BaseConsumer<Callbacks>,
    decoder: Decoder,
    sender: SourceSender,
    start: Start,
    batch_rows: usize,
    batch_wait: Duration,
    assigned: HashMap<i32, Gathered>,
    outbox: VecDeque<SourceMessage>,
    /// Position after what the engine was sent. It takes its messages in order and commits them all, or the
    /// process ends.
    sent: HashMap<i32, i64>,
    /// Until this reader's topic has its first assignment, or is no longer waited for; none for a topic that came
    /// later.
    gate: Option<Arc<Gate>>,
    began: Instant,
    paused: bool,
    last_commit: Instant,
    /// Bytes in all of `assigned`.
    gathered_bytes: usize,
}

/// What one poll brought.
enum Polled {
    Nothing,
    /// A message, and the block that had no room for it.
    Message(i32, Option<Block>),
    End(i32),
}

/// Key and headers of a message, if it has any: a dead letter keeps them.
fn attributes(message: &BorrowedMessage<'_>) -> Option<Box<Attributes>> {
    let (key, headers) = (message.key(), message.headers());
    if key.is_none() && headers.is_none_or(|headers| headers.count() == 0) {
        return None;
    }
    let headers = headers.into_iter().flat_map(Headers::iter);
    let headers = headers.map(|header| weir_engine::batch::Header {
        name: header.key.to_owned(),
        value: header.value.map(<[u8]>::to_vec),
    });
    Some(Box::new(Attributes {
        key: key.map(<[u8]>::to_vec),
        headers: headers.collect(),
    }))
}

/// Why the reader ended.
enum End {
    /// Asked to, or the engine is gone.
    Stopped,
    Failed(String),
}

impl Reader {
    pub fn new(
        config: &KafkaConfig,
        shared: Arc<Shared>,
        sender: SourceSender,
        gate: Option<Arc<Gate>>,
    ) -> weir_engine::Result<Self> {
        let callbacks = Callbacks {
            shared: shared.clone(),
        };
        let consumer: BaseConsumer<Callbacks> = config
            .consumer(&shared.topic)
            .create_with_context(callbacks)
            .map_err(|error| config.client_error(error))?;
        consumer
            .subscribe(&[&shared.topic])
            .map_err(|error| config.client_error(error))?;
        Ok(Self {
            shared,
            consumer,
            decoder: Decoder::new(DecoderConfig {
                headers_last: false,
                ..config.decoder.clone()
            }),
            sender,
            start: config.start,
            batch_rows: config.batch_rows,
            batch_wait: config.batch_wait,
            assigned: HashMap::new(),
            outbox: VecDeque::new(),
            sent: HashMap::new(),
            gate,
            began: Instant::now(),
            paused: false,
            last_commit: Instant::now(),
            gathered_bytes: 0,
        })
    }

    /// Reads until stopped, then leaves the group.
    pub fn run(mut self) {
        let ended =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.read_until_end()));
        let reason = match ended {
            Ok(End::Stopped) => None,
            Ok(End::Failed(reason)) => Some(reason),
            Err(_) => Some(format!(
                "the reader of topic {} panicked",
                self.shared.topic
            )),
        };
        if let Some(reason) = reason {
            self.outbox.clear();
            self.outbox.push_back(SourceMessage::Failed {
                source: self.shared.source.to_string(),
                reason,
            });
            while !self.deliver() && !self.done() {
                thread::sleep(NAP);
            }
        }
        self.commit(true);
        // Dropping the consumer leaves the group; what it polls meanwhile is nobody's.
        self.shared.closing.store(true, Ordering::Release);
    }

    fn read_until_end(&mut self) -> End {
        while !self.done() {
            let step = self.read().and_then(|()| self.rebalance());
            if let Err(reason) = step.and_then(|()| self.decode_due()) {
                return End::Failed(reason);
            }
            if self.began.elapsed() >= ASSIGNMENT_WAIT {
                self.pass_gate();
            }
            self.hand_on();
            self.commit(false);
        }
        End::Stopped
    }

    fn done(&self) -> bool {
        self.shared.stopping() || self.sender.is_closed()
    }

    /// Polls until something is ready to be handed on, or for one tick.
    fn read(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let due = self
            .assigned
            .values()
            .filter_map(|g| g.due(self.batch_wait));
        let until = due.min().unwrap_or(now + TICK).min(now + TICK);
        let mut wait = until.saturating_duration_since(now);
        let mut heard = false;
        loop {
            match self.poll(wait, now)? {
                Polled::Nothing => break,
                Polled::Message(number, block) => {
                    heard = true;
                    if let Some(block) = block {
                        self.decode_block(number, block)?;
                    }
                    if self
                        .assigned
                        .get(&number)
                        .is_some_and(|g| g.full(self.batch_rows))
                    {
                        self.decode(number)?;
                    }
                    if self.gathered_bytes > GATHERED_BYTES {
                        self.decode_all()?;
                    }
                }
                Polled::End(number) => {
                    heard = true;
                    self.at_end(number);
                }
            }
            if !self.outbox.is_empty() || Instant::now() >= until {
                break;
            }
            wait = Duration::ZERO;
        }
        if heard {
            self.shared
                .well_again(&[Trouble::Unreachable, Trouble::NoTopic, Trouble::Refused]);
        }
        Ok(())
    }

    fn poll(&mut self, wait: Duration, now: Instant) -> Result<Polled, String> {
        match self.consumer.poll(wait) {
            None => Ok(Polled::Nothing),
            Some(Ok(message)) => {
                let number = message.partition();
                let Some(gathered) = self.assigned.get_mut(&number) else {
                    return Ok(Polled::Nothing);
                };
                let full = gathered.full_for(message.payload_len(), self.batch_rows);
                let block = if full { gathered.take() } else { None };
                let attributes = attributes(&message);
                self.gathered_bytes += message.payload_len();
                self.gathered_bytes += attributes.as_deref().map_or(0, gather::size);
                let delivered = message.timestamp().to_millis();
                let delivered = delivered.map(|millis| millis.saturating_mul(1_000));
                gathered.push(
                    message.payload(),
                    attributes,
                    message.offset(),
                    delivered,
                    now,
                );
                Ok(Polled::Message(number, block))
            }
            Some(Err(KafkaError::PartitionEOF(number))) => Ok(Polled::End(number)),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => Err(format!(
                "topic {}: {code}: {}",
                self.shared.topic,
                self.shared.last_error()
            )),
            // Others pass; the callbacks have told them.
            Some(Err(_)) => Ok(Polled::Nothing),
        }
    }

    fn at_end(&mut self, number: i32) {
        if let Some(gathered) = self.assigned.get_mut(&number) {
            gathered.at_end = true;
            if let Some(next) = gathered.next {
                self.shared.ends().insert(number, next);
            }
            // Otherwise the end is told after the block, at the latest when its wait is over: a slow trickle
            // of messages makes one batch per wait, not one per message.
            if gathered.is_empty() {
                self.tell_end(number);
            }
        }
    }

    fn tell_end(&mut self, number: i32) {
        if let Some(gathered) = self.assigned.get_mut(&number)
            && gathered.at_end
            && !gathered.end_told
        {
            gathered.end_told = true;
            self.outbox.push_back(SourceMessage::CaughtUp {
                partition: self.shared.partition(number),
            });
        }
    }

    fn assigned_list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for number in self.assigned.keys() {
            list.add_partition(&self.shared.topic, *number);
        }
        list
    }

    fn pause(&self, list: &TopicPartitionList) {
        if let Err(error) = self.consumer.pause(list) {
            tracing::warn!(source = %self.shared.source, "pausing: {error}");
        }
    }

    fn resume(&self, list: &TopicPartitionList) {
        if let Err(error) = self.consumer.resume(list) {
            tracing::warn!(source = %self.shared.source, "resuming: {error}");
        }
    }

    /// Tells Kafka what the store has.
    fn commit(&mut self, now: bool) {
        if !now && self.last_commit.elapsed() < COMMIT_EVERY {
            return;
        }
        self.last_commit = Instant::now();
        let assigned: Vec<i32> = self.assigned.keys().copied().collect();
        self.commit_of(&assigned);
    }

    fn commit_of(&self, numbers: &[i32]) {
        let mut list = TopicPartitionList::new();
        {
            let mut stored = self.shared.stored();
            for number in numbers {
                if stored.untold.remove(number)
                    && let Some(position) = stored.positions.get(number)
                    && let Err(error) = list.add_partition_offset(
                        &self.shared.topic,
                        *number,
                        Offset::Offset(*position),
                    )
                {
                    tracing::debug!(source = %self.shared.source, "{error}");
                }
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(source = %self.shared.source, "committing to the group: {error}");
            self.shared.tell_again(numbers.iter().copied());
        }
    }
}
