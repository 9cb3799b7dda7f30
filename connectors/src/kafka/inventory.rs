//! The asset table as a compacted topic: the key is the entity, the value its entry in JSON, a message without
//! value deletes it.
//!
//! Every partition is read from its beginning at every start; no group is joined and nothing is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;
use weir_engine::Result;

use super::config::KafkaConfig;
use crate::decode::DecoderConfig;
use crate::enrich::Inventory;

/// How often partitions are looked for, until there are some and later.
const LOOK: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Wrong entries that are logged.
const TOLD: u64 = 10;

#[derive(Clone)]
pub struct InventoryConfig {
    pub brokers: String,
    pub topic: String,
    /// Settings of librdkafka, passed through.
    pub properties: BTreeMap<String, String>,
}

impl InventoryConfig {
    fn kafka(&self) -> KafkaConfig {
        let decoder = DecoderConfig::new("inventory");
        let topics = [self.topic.clone()];
        let mut kafka = KafkaConfig::new("inventory", &self.brokers, topics, "weir", decoder);
        kafka.properties.clone_from(&self.properties);
        kafka
    }

    /// Checks everything that can be checked without a broker.
    pub fn check(&self) -> Result<()> {
        self.kafka().check()
    }
}

/// Keeps an inventory like its topic until it is dropped.
pub struct InventoryReader {
    stopping: Arc<AtomicBool>,
    caught_up: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl InventoryReader {
    pub fn start(config: &InventoryConfig, inventory: Arc<Inventory>) -> Result<Self> {
        let kafka = config.kafka();
        kafka.check()?;
        let client = kafka.consumer(&config.topic);
        let consumer: BaseConsumer = client.create().map_err(|error| kafka.client_error(error))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (told, caught_up) = watch::channel(false);
        let mut reader = Reader {
            consumer,
            topic: config.topic.clone(),
            brokers: config.brokers.clone(),
            inventory,
            partitions: BTreeSet::new(),
            ended: BTreeSet::new(),
            look: Instant::now(),
            in_trouble: false,
            refused: 0,
            told,
        };
        let stop = stopping.clone();
        let thread = std::thread::Builder::new()
            .name("inventory".into())
            .spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    reader.turn();
                }
            })
            .map_err(|error| kafka.error(error))?;
        Ok(Self {
            stopping,
            caught_up,
            thread: Some(thread),
        })
    }

    /// Waits until the topic was read to its end once; false if that takes longer.
    pub async fn caught_up(&self, within: Duration) -> bool {
        let mut caught_up = self.caught_up.clone();
        let waited = tokio::time::timeout(within, caught_up.wait_for(|done| *done)).await;
        matches!(waited, Ok(Ok(_)))
    }
}

impl Drop for InventoryReader {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Reader {
    consumer: BaseConsumer,
    topic: String,
    brokers: String,
    inventory: Arc<Inventory>,
    partitions: BTreeSet<i32>,
    /// Those that were read to their end.
    ended: BTreeSet<i32>,
    look: Instant,
    in_trouble: bool,
    refused: u64,
    told: watch::Sender<bool>,
}

impl Reader {
    fn turn(&mut self) {
        if Instant::now() >= self.look {
            self.find_partitions();
        }
        match self.consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => match put(&self.inventory, &message) {
                Ok(()) => {}
                Err(reason) => {
                    self.inventory.refuse();
                    self.refused += 1;
                    if self.refused <= TOLD {
                        tracing::warn!(
                            "inventory: {}/{} at {}: {reason}; the message is ignored",
                            self.topic,
                            message.partition(),
                            message.offset()
                        );
                    }
                }
            },
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.ended.insert(partition);
                if self.ended.is_superset(&self.partitions) && !*self.told.borrow() {
                    tracing::info!(entries = self.inventory.len(), "inventory read to its end");
                    self.told.send_replace(true);
                }
            }
            Some(Err(error)) => self.trouble(&error.to_string()),
        }
    }

    /// Reads partitions that are not read yet from their beginning.
    fn find_partitions(&mut self) {
        self.look = Instant::now()
            + if self.partitions.is_empty() {
                LOOK
            } else {
                LOOK_AGAIN
            };
        let metadata = match self
            .consumer
            .fetch_metadata(Some(&self.topic), Duration::from_secs(5))
        {
            Ok(metadata) => metadata,
            Err(error) => return self.trouble(&error.to_string()),
        };
        let of_topic = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        let found: BTreeSet<i32> = of_topic.map(|partition| partition.id()).collect();
        if found.is_empty() {
            return self.trouble("the topic does not exist; create it, or correct its name");
        }
        self.in_trouble = false;
        let mut new = TopicPartitionList::new();
        for partition in found.difference(&self.partitions) {
            let added = new.add_partition_offset(&self.topic, *partition, Offset::Beginning);
            if let Err(error) = added {
                return self.trouble(&error.to_string());
            }
        }
        if new.count() == 0 {
            return;
        }
        match self.consumer.incremental_assign(&new) {
            Ok(()) => {
                self.partitions = found;
                self.look = Instant::now() + LOOK_AGAIN;
            }
            Err(error) => self.trouble(&error.to_string()),
        }
    }

    /// Says once that it does not go on.
    fn trouble(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.in_trouble, true) {
            tracing::warn!(
                "inventory: topic {} at {} cannot be read: {reason}; trying on",
                self.topic,
                self.brokers
            );
        }
    }
}

fn put(inventory: &Inventory, message: &BorrowedMessage) -> std::result::Result<(), String> {
    let key = message.key().unwrap_or_default();
    let entity = std::str::from_utf8(key).map_err(|_| "the key is not UTF-8")?;
    inventory.put(entity, message.payload())
}
