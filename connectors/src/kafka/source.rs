//! The handle that the engine holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use weir_engine::Result;
use weir_engine::batch::Partition;
use weir_engine::source::{Positions, Source, SourceSender};

use super::config::KafkaConfig;
use super::reader::Reader;
use super::shared::{Gate, Shared, split};

/// Longest wait for the readers to leave the group. The broker may be away.
const LEAVE: Duration = Duration::from_secs(15);

/// A running Kafka source.
#[derive(Debug)]
pub struct KafkaSource {
    name: Arc<str>,
    /// By topic.
    topics: HashMap<String, Arc<Shared>>,
    /// One per reader: closed when its thread has ended.
    running: Vec<watch::Receiver<()>>,
}

impl KafkaSource {
    /// Joins the group and starts reading. Partitions begin at `positions`, which come from the store. Does
    /// not wait for a broker: while none answers, [`Source::problem`] says so.
    pub fn start(
        config: &KafkaConfig,
        positions: &Positions,
        sender: SourceSender,
    ) -> Result<Self> {
        config.check()?;
        let name: Arc<str> = config.name.as_str().into();
        let mut topics = HashMap::new();
        let mut readers = vec![];
        let gate = Arc::new(Gate::new(config.topics.len()));
        for topic in &config.topics {
            let of_topic = positions
                .iter()
                .filter(|(partition, _)| partition.source == name)
                .filter_map(|(partition, position)| match split(&partition.name) {
                    Some((t, number)) if t == topic => Some((number, *position)),
                    _ => None,
                });
            let shared = Shared::new(name.clone(), topic, &config.brokers, of_topic.collect());
            readers.push(Reader::new(
                config,
                shared.clone(),
                sender.clone(),
                gate.clone(),
            )?);
            topics.insert(topic.clone(), shared);
        }
        let mut running = vec![];
        for reader in readers {
            let (end, ended) = watch::channel(());
            thread::Builder::new()
                .name(format!("kafka-{name}"))
                .spawn(move || {
                    reader.run();
                    drop(end);
                })
                .map_err(|error| config.error(format!("starting a reader: {error}")))?;
            running.push(ended);
        }
        Ok(Self {
            name,
            topics,
            running,
        })
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn name(&self) -> &str {
        &self.name
    }

    /// Returns at once; the readers tell Kafka a moment later.
    fn committed(&self, positions: &[(Partition, i64)]) {
        for (partition, position) in positions {
            if partition.source == self.name
                && let Some((topic, number)) = split(&partition.name)
                && let Some(shared) = self.topics.get(topic)
            {
                shared.store(number, *position);
            }
        }
    }

    /// From the client's statistics, which are at most two seconds old.
    fn lag(&self) -> Vec<(Partition, i64)> {
        self.topics
            .values()
            .flat_map(|shared| shared.lag())
            .collect()
    }

    fn problem(&self) -> Option<String> {
        let mut problems: Vec<String> = self.topics.values().filter_map(|s| s.problem()).collect();
        problems.sort();
        problems.dedup();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    async fn stop(&self) {
        for shared in self.topics.values() {
            shared.stopping.store(true, Ordering::Release);
        }
        let all_ended = async {
            for ended in &self.running {
                // An error is the closed channel: the thread has ended.
                while ended.clone().changed().await.is_ok() {}
            }
        };
        if tokio::time::timeout(LEAVE, all_ended).await.is_err() {
            tracing::warn!(
                source = %self.name,
                "did not leave the group within {LEAVE:?}; the broker will notice by the session timeout"
            );
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        for shared in self.topics.values() {
            shared.stopping.store(true, Ordering::Release);
        }
    }
}
