//! From the configuration to running sources.

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::mpsc;
use weir_connectors::file::{FileConfig, FileSource};
use weir_connectors::http::HttpSource;
use weir_connectors::kafka::{KafkaConfig, KafkaSource, Start};
use weir_engine::source::{Positions, Source, SourceReceiver, SourceSender};

use crate::config::{self, Config};
use crate::push::{self, Pushed};

/// Messages between sources and the engine. One holds at most one block of input, 8 MiB, and as much again in columns; the engine
/// takes two or three at a time.
const CHANNEL: usize = 3;

/// What can be checked of sources without opening anything for writing.
pub fn check(config: &Config) -> anyhow::Result<()> {
    for (name, source) in &config.source {
        match source {
            config::Source::Kafka(kafka) => kafka_config(name, source, kafka).check()?,
            config::Source::File(file) => {
                if let Some(path) = file.paths.iter().find(|path| !path.exists()) {
                    bail!("source.{name}.paths: {} does not exist", path.display());
                }
            }
            config::Source::Http(_) => {}
        }
    }
    push::check(config)
}

/// Starts every configured source.
pub fn start(config: &Config, positions: &Positions, pushed: &Pushed) -> anyhow::Result<Running> {
    let (sender, receiver) = mpsc::channel(CHANNEL);
    let mut sources: Vec<Arc<dyn Source>> = vec![];
    for (name, source) in &config.source {
        sources.push(match source {
            config::Source::Kafka(kafka) => Arc::new(KafkaSource::start(
                &kafka_config(name, source, kafka),
                positions,
                sender.clone(),
            )?),
            config::Source::File(file) => {
                start_file(name, source, file, positions, sender.clone())?.0
            }
            config::Source::Http(_) => Arc::new(HttpSource::start(
                pushed.inbox(name)?,
                positions,
                sender.clone(),
            )?),
        });
    }
    Ok(Running { sources, receiver })
}

pub struct Running {
    pub sources: Vec<Arc<dyn Source>>,
    pub receiver: SourceReceiver,
}

/// A file source, also as what it is, for its progress.
pub fn start_file(
    name: &str,
    source: &config::Source,
    file: &config::FileSource,
    positions: &Positions,
    sender: SourceSender,
) -> anyhow::Result<(Arc<dyn Source>, Arc<FileSource>)> {
    let settings = FileConfig {
        name: name.into(),
        paths: file.paths.clone(),
        decoder: source.decoder(name),
        follow: file.follow,
    };
    let running = FileSource::start(settings, positions, sender)?;
    Ok((running.clone(), running))
}

/// A channel for one source.
pub fn channel() -> (SourceSender, SourceReceiver) {
    mpsc::channel(CHANNEL)
}

pub fn kafka_config(
    name: &str,
    source: &config::Source,
    kafka: &config::KafkaSource,
) -> KafkaConfig {
    let mut settings = KafkaConfig::new(
        name,
        &kafka.brokers,
        &kafka.topics,
        &kafka.group,
        source.decoder(name),
    );
    settings.properties.clone_from(&kafka.properties);
    settings
        .dead_letter_topic
        .clone_from(&kafka.dead_letter_topic);
    settings.start = match kafka.start {
        config::Start::Earliest => Start::Earliest,
        config::Start::Latest => Start::Latest,
        config::Start::At(time) => Start::Time(time.as_millisecond()),
        config::Start::Back(back) => {
            let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
            Start::Time(
                jiff::Timestamp::now()
                    .as_millisecond()
                    .saturating_sub(back)
                    .max(0),
            )
        }
    };
    settings
}
