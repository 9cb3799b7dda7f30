//! The handle that the engine holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use weir_engine::Result;
use weir_engine::batch::Partition;
use weir_engine::source::{Positions, Source, SourceSender};

use super::callbacks::Callbacks;
use super::config::KafkaConfig;
use super::finder::Finder;
use super::reader::Reader;
use super::shared::{Gate, Shared, split};

/// Longest wait for the readers to leave the group. The broker may be away.
const LEAVE: Duration = Duration::from_secs(15);

/// A running Kafka source.
#[derive(Debug)]
pub struct KafkaSource {
    name: Arc<str>,
    config: KafkaConfig,
    readers: Arc<Readers>,
    /// Of the thread that looks for topics, if there is a pattern.
    finder: Option<Arc<Shared>>,
}

/// One reader per topic.
#[derive(Debug)]
pub(super) struct Readers {
    positions: Positions,
    topics: Mutex<BTreeMap<String, Topic>>,
    /// One per thread: closed when it has ended.
    running: Mutex<Vec<watch::Receiver<()>>>,
}

#[derive(Debug)]
struct Topic {
    shared: Arc<Shared>,
    by_pattern: bool,
}

impl Readers {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Topics that are read because they match a pattern.
    pub fn by_pattern(&self) -> BTreeSet<String> {
        let topics = self.topics();
        let found = topics.iter().filter(|(_, topic)| topic.by_pattern);
        found.map(|(name, _)| name.clone()).collect()
    }

    pub fn start(
        &self,
        config: &KafkaConfig,
        topic: &str,
        sender: &SourceSender,
        gate: Option<Arc<Gate>>,
        by_pattern: bool,
    ) -> Result<()> {
        let name: Arc<str> = config.name.as_str().into();
        let own = |partition: &Partition| match split(&partition.name) {
            Some((of, number)) if of == topic && partition.source == name => Some(number),
            _ => None,
        };
        let positions = self.positions.iter();
        let positions = positions.filter_map(|(p, position)| Some((own(p)?, *position)));
        let shared = Shared::new(name.clone(), topic, &config.brokers, positions.collect());
        let reader = Reader::new(config, shared.clone(), sender.clone(), gate)?;
        self.topics()
            .insert(topic.to_owned(), Topic { shared, by_pattern });
        self.spawn(config, move || reader.run())
    }

    fn spawn(&self, config: &KafkaConfig, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let (end, ended) = watch::channel(());
        thread::Builder::new()
            .name(format!("kafka-{}", config.name))
            .spawn(move || {
                run();
                drop(end);
            })
            .map_err(|error| config.error(format!("starting a reader: {error}")))?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push(ended);
        Ok(())
    }

    /// Ends the reader of a topic that is gone.
    pub fn end(&self, topic: &str) {
        if let Some(topic) = self.topics().remove(topic) {
            topic.shared.stopping.store(true, Ordering::Release);
        }
    }
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
        let readers = Arc::new(Readers {
            positions: positions.clone(),
            topics: Mutex::default(),
            running: Mutex::default(),
        });
        let patterns = config.patterns();
        let gate = Arc::new(Gate::new(
            config.names().count() + usize::from(patterns.is_some()),
        ));
        for topic in config.names() {
            readers.start(config, topic, &sender, Some(gate.clone()), false)?;
        }
        let mut finder = None;
        if let Some(patterns) = patterns {
            let shared = Shared::new(name.clone(), &patterns, &config.brokers, HashMap::new());
            let callbacks = Callbacks {
                shared: shared.clone(),
            };
            let consumer = config
                .consumer("finder")
                .create_with_context(callbacks)
                .map_err(|error| config.client_error(error))?;
            let look = Finder {
                config: config.clone(),
                shared: shared.clone(),
                consumer,
                readers: readers.clone(),
                sender,
                gate: Some(gate),
            };
            readers.spawn(config, move || look.run())?;
            finder = Some(shared);
        }
        Ok(Self {
            name,
            config: config.clone(),
            readers,
            finder,
        })
    }

    fn tell_to_stop(&self) {
        // First the finder, which could start another reader.
        if let Some(finder) = &self.finder {
            finder.stopping.store(true, Ordering::Release);
        }
        for topic in self.readers.topics().values() {
            topic.shared.stopping.store(true, Ordering::Release);
        }
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn covers(&self, partition: &Partition) -> bool {
        split(&partition.name).is_some_and(|(topic, _)| self.config.covers(topic))
    }

    /// Returns at once; the readers tell Kafka a moment later.
    fn committed(&self, positions: &[(Partition, i64)]) {
        for (partition, position) in positions {
            if partition.source == self.name
                && let Some((topic, number)) = split(&partition.name)
                && let Some(topic) = self.readers.topics().get(topic)
            {
                topic.shared.store(number, *position);
            }
        }
    }

    /// From the client's statistics, which are at most two seconds old.
    fn lag(&self) -> Vec<(Partition, i64)> {
        let topics = self.readers.topics();
        topics
            .values()
            .flat_map(|topic| topic.shared.lag())
            .collect()
    }

    fn problem(&self) -> Option<String> {
        let topics = self.readers.topics();
        let of_topics = topics.values().filter_map(|topic| topic.shared.problem());
        let of_finder = self.finder.iter().filter_map(|finder| finder.problem());
        let mut problems: Vec<String> = of_topics.chain(of_finder).collect();
        problems.sort();
        problems.dedup();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    async fn stop(&self) {
        self.tell_to_stop();
        let all_ended = async {
            loop {
                let running = std::mem::take(
                    &mut *self
                        .readers
                        .running
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner),
                );
                if running.is_empty() {
                    return;
                }
                for mut ended in running {
                    // An error is the closed channel: the thread has ended.
                    while ended.changed().await.is_ok() {}
                }
                // The finder may have started one more.
                self.tell_to_stop();
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
        self.tell_to_stop();
    }
}
