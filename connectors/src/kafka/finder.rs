//! Topics by pattern: looks now and then which topics there are, and gives each new one its reader.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use tokio::sync::mpsc::error::TrySendError;
use weir_engine::Result;
use weir_engine::source::{SourceMessage, SourceSender};

use super::callbacks::Callbacks;
use super::config::KafkaConfig;
use super::reader::ASSIGNMENT_WAIT;
use super::shared::{Gate, Shared, Trouble};
use super::source::Readers;

/// How often topics are looked for.
const LOOK: Duration = Duration::from_secs(5);
const ASK: Duration = Duration::from_secs(5);
/// How soon a stop is noticed.
const TICK: Duration = Duration::from_millis(100);
/// Looks in which a topic must be missing to be gone.
const GONE: u32 = 3;

pub(super) struct Finder {
    pub config: KafkaConfig,
    /// For what the client complains about.
    pub shared: Arc<Shared>,
    pub consumer: BaseConsumer<Callbacks>,
    pub readers: Arc<Readers>,
    pub sender: SourceSender,
    pub gate: Option<Arc<Gate>>,
}

impl Finder {
    pub fn run(mut self) {
        let began = Instant::now();
        // In how many looks a topic that was read was missing.
        let mut missing: HashMap<String, u32> = HashMap::new();
        while !self.done() {
            match self.look(&mut missing) {
                Ok(true) => self.pass_gate(),
                Ok(false) => {}
                Err(reason) => return self.fail(reason),
            }
            if began.elapsed() >= ASSIGNMENT_WAIT {
                self.pass_gate();
            }
            let next = Instant::now() + LOOK;
            while Instant::now() < next && !self.done() {
                // Serves the client's callbacks; it is subscribed to nothing.
                let _ = self.consumer.poll(TICK);
            }
        }
    }

    fn done(&self) -> bool {
        self.shared.stopping() || self.sender.is_closed()
    }

    /// False if the brokers did not say which topics there are.
    fn look(&mut self, missing: &mut HashMap<String, u32>) -> std::result::Result<bool, String> {
        let there = match self.topics() {
            Ok(there) => there,
            Err(error) => {
                tracing::debug!(source = %self.shared.source, "asking for topics: {error}");
                return Ok(false);
            }
        };
        self.shared
            .well_again(&[Trouble::Unreachable, Trouble::Refused]);
        let read = self.readers.by_pattern();
        for topic in there.difference(&read) {
            tracing::info!(source = %self.shared.source, %topic, "the topic matches a pattern: reading it");
            let started = self.start(topic);
            started.map_err(|error| error.to_string())?;
        }
        missing.retain(|topic, _| read.contains(topic) && !there.contains(topic));
        for topic in read.difference(&there) {
            let looks = missing.entry(topic.clone()).or_default();
            *looks += 1;
            if *looks == GONE {
                tracing::info!(source = %self.shared.source, %topic, "the topic is gone: no longer waiting for it");
                self.readers.end(topic);
            }
        }
        match there.is_empty() {
            true => self.shared.trouble(
                Trouble::NoTopic,
                format!(
                    "no topic at {} matches {}; waiting for one",
                    self.config.brokers, self.shared.topic
                ),
            ),
            false => self.shared.well_again(&[Trouble::NoTopic]),
        }
        Ok(true)
    }

    fn topics(&self) -> KafkaResult<BTreeSet<String>> {
        let metadata = self.consumer.fetch_metadata(None, ASK)?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        let matching = names.filter(|name| self.config.matches_pattern(name));
        Ok(matching.map(str::to_owned).collect())
    }

    fn start(&self, topic: &str) -> Result<()> {
        if let Some(gate) = &self.gate {
            gate.one_more();
        }
        self.readers
            .start(&self.config, topic, &self.sender, self.gate.clone(), true)
    }

    fn pass_gate(&mut self) {
        if self.gate.take().is_some_and(|gate| gate.pass()) {
            let source = self.shared.source.clone();
            self.send(SourceMessage::Ready {
                source,
                shared: true,
            });
        }
    }

    fn fail(&self, reason: String) {
        let source = self.shared.source.to_string();
        self.send(SourceMessage::Failed { source, reason });
    }

    /// Not by blocking: a stop must be noticed while the channel is full.
    fn send(&self, mut message: SourceMessage) {
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if self.done() {
                return;
            }
            message = back;
            thread::sleep(TICK);
        }
    }
}
