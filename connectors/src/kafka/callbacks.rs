//! What Kafka's client calls back: rebalances, errors, statistics, log lines. All of it runs inside
//! `poll` on the reader's thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::shared::{Rebalance, Shared, Trouble};

/// Microseconds that a new client has for its first connection before we call the brokers unreachable.
const CONNECT_GRACE: i64 = 5_000_000;

pub(super) struct Callbacks {
    pub shared: Arc<Shared>,
}

impl ClientContext for Callbacks {
    /// The client repeats itself while a broker is away; [`ClientContext::error`] says it once.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "OFFSET" {
            tracing::warn!(source = %self.shared.source, "position out of what the topic still holds: {message}");
        } else {
            tracing::debug!(source = %self.shared.source, "librdkafka {facility}: {message}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let shared = &self.shared;
        let (topic, brokers) = (&shared.topic, &shared.brokers);
        match code {
            Code::PartitionEOF => return,
            Code::BrokerTransportFailure | Code::Resolve => shared.set_last_error(reason),
            Code::AllBrokersDown => shared.trouble(
                Trouble::Unreachable,
                format!(
                    "cannot reach Kafka at {brokers}: {}; trying on",
                    shared.last_error()
                ),
            ),
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => shared
                .trouble(
                    Trouble::NoTopic,
                    format!(
                        "topic {topic} does not exist at {brokers}; create it, or correct `topics` of source {}; waiting for it",
                        shared.source
                    ),
                ),
            Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => shared.trouble(
                Trouble::Refused,
                format!("Kafka at {brokers} refuses us topic {topic}: {reason}; trying on"),
            ),
            Code::InconsistentGroupProtocol => shared.trouble(
                Trouble::Refused,
                format!(
                    "the group of source {} has members that do not use `cooperative-sticky`; give Weir a group of its own",
                    shared.source
                ),
            ),
            Code::PollExceeded => tracing::warn!(
                source = %shared.source,
                %topic,
                "left the group because polling stopped for too long: {reason}; joining again"
            ),
            _ => tracing::debug!(source = %shared.source, "librdkafka: {error}: {reason}"),
        }
        shared.set_last_error(reason);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|b| b.state == "UP") {
            self.shared.well_again(&[Trouble::Unreachable]);
        } else if statistics.age > CONNECT_GRACE {
            self.error(KafkaError::Global(Code::AllBrokersDown), "no connection");
        }
        let Some(topic) = statistics.topics.get(&*self.shared.topic) else {
            return;
        };
        let mut ends = self.shared.ends();
        for (number, partition) in &topic.partitions {
            // Only up to the last stable offset are messages delivered to us.
            let end = if partition.ls_offset >= 0 {
                partition.ls_offset
            } else {
                partition.hi_offset
            };
            if partition.desired && end >= 0 {
                ends.insert(*number, end);
            }
        }
    }
}

impl ConsumerContext for Callbacks {
    /// Notes what the group decided; the reader carries it out after `poll` returned, since it has to hand on
    /// what it gathered first. The client delivers nothing in between.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = list.elements().iter().map(|e| e.partition()).collect();
        let assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.shared.closing.load(Ordering::Acquire) {
            let done = if assigned {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            if let Err(error) = done {
                tracing::debug!(source = %self.shared.source, "rebalance while leaving: {error}");
            }
            return;
        }
        self.shared.push_rebalance(if assigned {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke {
                partitions,
                lost: consumer.assignment_lost(),
            }
        });
    }

    /// The group's position is a hint, so a commit that fails is tried again and not an error.
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let elements = offsets.elements();
        let failed: Vec<i32> = match &result {
            Ok(()) => elements
                .iter()
                .filter(|e| e.error().is_err())
                .map(|e| e.partition())
                .collect(),
            Err(KafkaError::ConsumerCommit(Code::NoOffset)) => vec![],
            Err(_) => elements.iter().map(|e| e.partition()).collect(),
        };
        if !failed.is_empty() {
            tracing::debug!(
                source = %self.shared.source,
                topic = %self.shared.topic,
                "committing to the group failed for partitions {failed:?}: {result:?}"
            );
            self.shared.tell_again(failed);
        }
    }
}
