//! Partitions that come and go: what the group decides, and where a partition begins.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use weir_engine::batch::Partition;
use weir_engine::source::SourceMessage;

use super::{NAP, Reader};
use crate::kafka::config::Start;
use crate::kafka::gather::Gathered;
use crate::kafka::shared::{Rebalance, Trouble};

/// Longest wait for the engine to commit what it has of partitions that go to another member.
const REVOKE_WAIT: Duration = Duration::from_secs(30);
/// Patience with the broker when a partition's start must be asked for.
const ASK: Duration = Duration::from_secs(10);

impl Reader {
    /// Carries out what the group decided.
    pub(super) fn rebalance(&mut self) -> Result<(), String> {
        while let Some(rebalance) = self.shared.next_rebalance() {
            match rebalance {
                Rebalance::Assign(numbers) => self.assign(&numbers)?,
                Rebalance::Revoke { partitions, lost } => self.revoke(&partitions, lost)?,
            }
        }
        Ok(())
    }

    fn assign(&mut self, numbers: &[i32]) -> Result<(), String> {
        // Also an empty assignment says that the group has us and the topic is there.
        self.shared
            .well_again(&[Trouble::Unreachable, Trouble::NoTopic, Trouble::Refused]);
        let mut list = TopicPartitionList::new();
        let begins = self.begins(numbers);
        for (number, begin) in numbers.iter().zip(&begins) {
            list.add_partition_offset(&self.shared.topic, *number, *begin)
                .map_err(|error| format!("topic {}: {error}", self.shared.topic))?;
        }
        self.consumer
            .incremental_assign(&list)
            .map_err(|error| format!("topic {}: {error}", self.shared.topic))?;
        if self.paused {
            self.pause(&list);
        }
        if numbers.is_empty() {
            self.pass_gate();
            return Ok(());
        }
        tracing::info!(
            source = %self.shared.source, topic = %self.shared.topic,
            "reading partitions {numbers:?} from {begins:?}"
        );
        for (number, begin) in numbers.iter().zip(&begins) {
            let mut gathered = Gathered::default();
            if let Offset::Offset(position) = begin {
                gathered.next = Some(*position);
            }
            self.assigned.insert(*number, gathered);
        }
        let partitions = numbers.iter().map(|n| (self.shared.partition(*n), None));
        self.outbox.push_back(SourceMessage::Assigned {
            partitions: partitions.collect(),
        });
        Ok(())
    }

    /// Where each partition begins: our position, else the group's, else the configured start.
    fn begins(&self, numbers: &[i32]) -> Vec<Offset> {
        let mut known = self.shared.stored().positions.clone();
        known.extend(&self.sent);
        let mut begins: Vec<Offset> = numbers
            .iter()
            // `Stored` is the group's position, or the oldest message where the group has none.
            .map(|n| known.get(n).map_or(Offset::Stored, |p| Offset::Offset(*p)))
            .collect();
        if self.start != Start::Earliest {
            for (number, begin) in numbers.iter().zip(&mut begins) {
                if *begin == Offset::Stored {
                    *begin = self.first(*number).unwrap_or_else(|error| {
                        tracing::warn!(
                            source = %self.shared.source, topic = %self.shared.topic,
                            "cannot ask where partition {number} begins: {error}; reading it from its oldest message"
                        );
                        Offset::Stored
                    });
                }
            }
        }
        begins
    }

    /// The group's position, else the configured start; as a number, so that a restart before the first message
    /// does not move it.
    fn first(&self, number: i32) -> rdkafka::error::KafkaResult<Offset> {
        let topic = &self.shared.topic;
        let known = |list: TopicPartitionList| {
            let elements = list.elements();
            let offset = elements.first().map(|element| element.offset());
            offset.filter(|offset| matches!(offset, Offset::Offset(_)))
        };
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, number);
        if let Some(of_group) = known(self.consumer.committed_offsets(list, ASK)?) {
            return Ok(of_group);
        }
        if let Start::Time(millis) = self.start {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, number, Offset::Offset(millis))?;
            // None is as new: then it begins at the end.
            if let Some(at_time) = known(self.consumer.offsets_for_times(list, ASK)?) {
                return Ok(at_time);
            }
        }
        let (_, end) = self.consumer.fetch_watermarks(topic, number, ASK)?;
        Ok(Offset::Offset(end))
    }

    /// Hands partitions over: the engine gets what was fetched of them and commits it, then they go.
    fn revoke(&mut self, numbers: &[i32], lost: bool) -> Result<(), String> {
        for number in numbers {
            self.decode(*number)?;
            self.assigned.remove(number);
            self.shared.ends().remove(number);
        }
        if !numbers.is_empty() {
            tracing::info!(
                source = %self.shared.source, topic = %self.shared.topic,
                "partitions {numbers:?} {}", if lost { "were lost: the session timed out" } else { "go to another member" }
            );
            self.await_engine(numbers);
        }
        if !lost {
            self.commit_of(numbers);
        }
        let mut list = TopicPartitionList::new();
        for number in numbers {
            list.add_partition(&self.shared.topic, *number);
        }
        if self.paused {
            // A pause would outlive the assignment and silence the partition when it comes back.
            self.resume(&list);
        }
        self.consumer
            .incremental_unassign(&list)
            .map_err(|error| format!("topic {}: {error}", self.shared.topic))
    }

    /// Waits until the engine has committed everything of these partitions, for [`REVOKE_WAIT`] at most.
    fn await_engine(&mut self, numbers: &[i32]) {
        let partitions: Vec<Partition> =
            numbers.iter().map(|n| self.shared.partition(*n)).collect();
        let (done, mut answer) = oneshot::channel();
        self.outbox.push_back(SourceMessage::Revoked {
            partitions: partitions.clone(),
            done,
        });
        let deadline = Instant::now() + REVOKE_WAIT;
        let mut delivered = false;
        while Instant::now() < deadline && !self.done() {
            delivered = delivered || self.deliver();
            // An error is an engine that is gone or answers by dropping; both mean that it is through.
            if delivered && !matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                return;
            }
            thread::sleep(NAP);
        }
        if self.done() {
            return;
        }
        tracing::warn!(
            source = %self.shared.source, topic = %self.shared.topic,
            "the engine did not commit partitions {numbers:?} in {REVOKE_WAIT:?}; handing them over as they are"
        );
        // What did not reach the engine will be read again by the next owner.
        self.outbox.retain(|message| match message {
            SourceMessage::Batch(batch) => !partitions.contains(&batch.partition),
            SourceMessage::CaughtUp { partition } => !partitions.contains(partition),
            _ => true,
        });
    }
}
