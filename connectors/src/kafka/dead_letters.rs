//! Dead letters into a Kafka topic.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;
use weir_engine::batch::DeadLetter;
use weir_engine::source::DeadLetters;
use weir_engine::{Error, Result};

use super::config::KafkaConfig;

/// Writes each dead letter as one message: the payload's first 4 KiB (a [`DeadLetter`] does not keep more; the
/// whole record is in the source topic at the position named), with the original's key and headers, and behind
/// them `weir.source`, `weir.partition` (`topic/3`), `weir.position`, `weir.reason`, `weir.detail` and
/// `weir.payload_bytes` (the length before the cut), all text. A letter whose original had no key
/// has the partition as key.
///
/// A write returns after the brokers acknowledged all of its letters (idempotent producer, all replicas). A
/// broker that is away is waited for up to five minutes; then it is an error, and nothing of the batch may be
/// committed.
pub struct KafkaDeadLetters {
    source: String,
    topic: String,
    producer: ThreadedProducer<Deliveries>,
}

struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("librdkafka {facility}: {message}");
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("dead letters: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Option<KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, done: Self::DeliveryOpaque) {
        let error = result.as_ref().err().map(|(error, _)| error.clone());
        // A receiver that is gone is a write that was given up.
        let _ = done.send(error);
    }
}

impl KafkaDeadLetters {
    /// None when the source has no `dead_letter_topic`.
    pub fn new(config: &KafkaConfig) -> Result<Option<Self>> {
        config.check()?;
        let Some(topic) = config.dead_letter_topic.clone() else {
            return Ok(None);
        };
        let producer = config
            .producer()
            .create_with_context(Deliveries)
            .map_err(|error| config.client_error(error))?;
        Ok(Some(Self {
            source: config.name.clone(),
            topic,
            producer,
        }))
    }

    /// Hands one letter to the client; the receiver hears what became of it.
    async fn send(&self, letter: &DeadLetter) -> Result<oneshot::Receiver<Option<KafkaError>>> {
        let (position, length) = (
            letter.position.to_string(),
            letter.payload_bytes.to_string(),
        );
        let headers = [
            ("weir.source", &*letter.partition.source),
            ("weir.partition", &*letter.partition.name),
            ("weir.position", &position),
            ("weir.reason", letter.reason),
            ("weir.detail", &letter.detail),
            ("weir.payload_bytes", &length),
        ];
        let attributes = letter.attributes.as_deref();
        let originals = attributes.map_or(&[][..], |attributes| &attributes.headers);
        let originals = originals
            .iter()
            .map(|header| (&*header.name, header.value.as_deref()));
        let ours = headers
            .into_iter()
            .map(|(key, value)| (key, Some(value.as_bytes())));
        let headers = originals.chain(ours);
        let headers = headers.fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value })
        });
        let key = attributes.and_then(|attributes| attributes.key.as_deref());
        let (done, outcome) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(done))
            .key(key.unwrap_or(letter.partition.name.as_bytes()))
            .payload(&letter.payload)
            .headers(headers);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(outcome),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err((error, _)) => return Err(self.error(letter, &error)),
            }
        }
    }

    fn error(&self, letter: &DeadLetter, error: &KafkaError) -> Error {
        Error::Source {
            source_name: self.source.clone(),
            reason: format!(
                "cannot write the dead letter of {} at {} to topic {}: {error}; check that the topic exists and may be written",
                letter.partition, letter.position, self.topic
            ),
        }
    }
}

#[async_trait]
impl DeadLetters for KafkaDeadLetters {
    async fn write(&self, letters: &[DeadLetter]) -> Result<()> {
        let mut outcomes = Vec::with_capacity(letters.len());
        for letter in letters {
            outcomes.push((letter, self.send(letter).await?));
        }
        for (letter, outcome) in outcomes {
            match outcome.await {
                Ok(None) => {}
                Ok(Some(error)) => return Err(self.error(letter, &error)),
                Err(_) => return Err(self.error(letter, &KafkaError::Canceled)),
            }
        }
        Ok(())
    }
}

impl Drop for KafkaDeadLetters {
    fn drop(&mut self) {
        // Every write was awaited: only letters of a write that was given up can be left.
        let _ = self.producer.flush(Duration::from_secs(1));
    }
}
