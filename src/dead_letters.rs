//! Dead letters to their source's topic, or to the file; without the secrets in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::path::Path;

use async_trait::async_trait;
use serde::Deserialize;
use weir_connectors::dead_letter::FileDeadLetters;
use weir_connectors::kafka::KafkaDeadLetters;
use weir_engine::batch::{DeadLetter, Partition};
use weir_engine::source::DeadLetters;

use crate::config::{self, Config};
use crate::sources;

pub struct Routed {
    file: FileDeadLetters,
    topics: Vec<(String, KafkaDeadLetters)>,
    mask_secrets: bool,
}

impl Routed {
    pub fn open(config: &Config, data: &Path) -> anyhow::Result<Self> {
        let file = FileDeadLetters::open(&data.join("dead-letters.ndjson"))?;
        let mut topics = vec![];
        for (name, source) in &config.source {
            if let config::Source::Kafka(kafka) = source
                && let Some(sink) =
                    KafkaDeadLetters::new(&sources::kafka_config(name, source, kafka))?
            {
                topics.push((name.clone(), sink));
            }
        }
        Ok(Self {
            file,
            topics,
            mask_secrets: config.privacy.mask_secrets,
        })
    }
}

#[async_trait]
impl DeadLetters for Routed {
    async fn write(&self, letters: &[DeadLetter]) -> weir_engine::Result<()> {
        let mut rest = letters.to_vec();
        if self.mask_secrets {
            rest.iter_mut().for_each(DeadLetter::mask);
        }
        for (name, sink) in &self.topics {
            let (own, others) = rest
                .into_iter()
                .partition::<Vec<_>, _>(|l| *l.partition.source == **name);
            if !own.is_empty() {
                sink.write(&own).await?;
            }
            rest = others;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            self.file.write(&rest).await
        }
    }
}

/// Where the first letter of each reason behind `from` bytes of the file stands and what was wrong, by reason.
pub fn examples(path: &Path, from: u64) -> anyhow::Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Letter {
        partition: Partition,
        position: i64,
        reason: String,
        detail: String,
    }
    let mut examples = BTreeMap::new();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(examples),
        Err(error) => return Err(error.into()),
    };
    file.seek(SeekFrom::Start(from))?;
    for line in BufReader::new(file).lines() {
        let line = line?;
        if !line.is_empty() {
            let letter: Letter = serde_json::from_str(&line)?;
            examples.entry(letter.reason).or_insert_with(|| {
                let place = letter.partition.name;
                format!("{place} at {}: {}", letter.position, letter.detail)
            });
        }
    }
    Ok(examples)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn letters_do_not_hold_secrets_unless_that_is_turned_off() {
        for mask_secrets in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut config = Config::load(None).unwrap();
            config.privacy.mask_secrets = mask_secrets;
            let letters = Routed::open(&config, folder.path()).unwrap();
            let letter = DeadLetter {
                partition: Partition::new("s", "p"),
                position: 7,
                reason: "invalid_json",
                detail: "near password=planted-detail".into(),
                payload: b"{\"user\":\"ana\",\"secretAccessKey\":\"planted-secret\",\"cut".to_vec(),
                payload_bytes: 60,
                attributes: None,
            };
            letters.write(&[letter]).await.unwrap();
            let text = std::fs::read_to_string(folder.path().join("dead-letters.ndjson")).unwrap();
            assert_eq!(text.contains("planted"), !mask_secrets, "{text}");
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (read["position"].as_i64(), read["payload_bytes"].as_i64()),
                (Some(7), Some(60))
            );
            assert!(
                read["payload"]
                    .as_str()
                    .unwrap()
                    .contains("\"user\":\"ana\"")
            );
        }
    }
}
