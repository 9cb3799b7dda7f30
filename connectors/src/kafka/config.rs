//! What an operator says about a Kafka source, and which client settings we do not let them say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use regex::Regex;
use weir_engine::{Error, Result};

use super::PREFETCH_BYTES;
use crate::decode::DecoderConfig;

/// Where a partition begins for which neither our store nor the group knows a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At its oldest message.
    #[default]
    Earliest,
    /// At its end when it is first assigned. Messages that arrive before the first commit after that are
    /// skipped if the process dies in between, and so is what a newly added partition holds already.
    Latest,
    /// At its first message of this time or later, in milliseconds since the epoch; at its end when there is none.
    /// The time is the one that Kafka keeps with each message.
    Time(i64),
}

/// A consumer of Kafka topics.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Name of the source.
    pub name: String,
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Names, and patterns (regular expressions that begin with `^`).
    pub topics: Vec<String>,
    /// Consumer group. Instances that share the work of a topic have the same.
    pub group: String,
    pub decoder: DecoderConfig,
    /// Settings of librdkafka, passed through: `security.protocol`, `sasl.*`, `ssl.*`, …
    pub properties: BTreeMap<String, String>,
    pub start: Start,
    pub dead_letter_topic: Option<String>,
    /// Most messages in one batch.
    pub batch_rows: usize,
    /// Longest time that a message waits for others to make a batch with.
    pub batch_wait: Duration,
}

impl KafkaConfig {
    pub fn new(
        name: impl Into<String>,
        brokers: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<String>>,
        group: impl Into<String>,
        decoder: DecoderConfig,
    ) -> Self {
        Self {
            name: name.into(),
            brokers: brokers.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            group: group.into(),
            decoder,
            properties: BTreeMap::new(),
            start: Start::default(),
            dead_letter_topic: None,
            batch_rows: 8192,
            batch_wait: Duration::from_millis(100),
        }
    }

    /// Checks everything that can be checked without a broker.
    pub fn check(&self) -> Result<()> {
        if self.brokers.trim().is_empty() {
            return Err(self.error("brokers is empty: give host:port of at least one broker"));
        }
        if self.group.is_empty() {
            return Err(self.error("group is empty: give the consumer group to join"));
        }
        if self.topics.is_empty() {
            return Err(self.error("topics is empty: name at least one topic"));
        }
        for (at, topic) in self.topics.iter().enumerate() {
            check_topic(topic).map_err(|why| self.error(why))?;
            if self.topics[..at].contains(topic) {
                return Err(self.error(format!("topic {topic} is named twice")));
            }
        }
        if let Some(topic) = &self.dead_letter_topic {
            if is_pattern(topic) {
                return Err(self.error(format!("dead_letter_topic {topic} must be a name")));
            }
            check_topic(topic).map_err(|why| self.error(why))?;
            if self.names().any(|name| name == topic) {
                return Err(self.error(format!(
                    "dead_letter_topic {topic} is also read: dead letters would be read again for ever"
                )));
            }
        }
        if self.batch_rows == 0 {
            return Err(self.error("batch_rows is 0: use 1 or more"));
        }
        for (key, value) in &self.properties {
            refusal(key, value).map_or(Ok(()), |why| {
                Err(self.error(format!("property {key} is not allowed: {why}")))
            })?;
        }
        // The client library checks names and values of the rest.
        self.consumer(&self.topics[0])
            .create_native_config()
            .map_err(|error| self.client_error(error))?;
        Ok(())
    }

    /// Topics that are named.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let topics = self.topics.iter().map(String::as_str);
        topics.filter(|topic| !is_pattern(topic))
    }

    /// All patterns, for people; `None` without one.
    pub(super) fn patterns(&self) -> Option<String> {
        let patterns: Vec<&str> = self
            .topics
            .iter()
            .map(String::as_str)
            .filter(|topic| is_pattern(topic))
            .collect();
        (!patterns.is_empty()).then(|| patterns.join(", "))
    }

    /// Whether a topic that is not named is read all the same. Kafka's own topics and the one for dead letters
    /// are not.
    pub(super) fn matches_pattern(&self, topic: &str) -> bool {
        let fits = |pattern: &String| {
            is_pattern(pattern) && Regex::new(pattern).is_ok_and(|regex| regex.is_match(topic))
        };
        !topic.starts_with("__")
            && self.dead_letter_topic.as_deref() != Some(topic)
            && self.names().all(|name| name != topic)
            && self.topics.iter().any(fits)
    }

    /// Whether the topic is read at all.
    pub(super) fn covers(&self, topic: &str) -> bool {
        self.names().any(|name| name == topic) || self.matches_pattern(topic)
    }

    /// Settings of the reader of one topic.
    pub(super) fn consumer(&self, topic: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "weir")
            .set("check.crcs", "true")
            // A killed instance keeps its partitions this long. Heartbeats have their own thread, so a busy
            // engine does not miss them.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "3000")
            // A fetch is decompressed whole: small requests keep a well compressed topic from filling memory.
            // Larger single messages are still delivered, one at a time.
            .set("fetch.message.max.bytes", "1048576")
            .set("fetch.max.bytes", "8388608")
            // A full queue is looked at again after this, not after the second that is the default.
            .set("fetch.queue.backoff.ms", "20")
            .set(
                "queued.max.messages.kbytes",
                (PREFETCH_BYTES / 1024 / self.topics.len().max(1))
                    .max(1024)
                    .to_string(),
            );
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        // A static member is one reader: two of them cannot have one name.
        if (self.topics.len() > 1 || self.patterns().is_some())
            && let Some(instance) = self.properties.get("group.instance.id")
        {
            client.set("group.instance.id", format!("{instance}-{topic}"));
        }
        client
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // Also when the start is `latest`: a position that fell out of the topic's retention must not
            // skip what is still there. A first start at the end is resolved by the reader itself.
            .set("auto.offset.reset", "earliest")
            .set("statistics.interval.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Info);
        client
    }

    /// Settings of the producer of dead letters: the way to the brokers is the same.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("client.id", "weir");
        let shared = [
            "security.",
            "sasl.",
            "ssl.",
            "https.",
            "socket.",
            "broker.",
            "client.",
            "metadata.",
            "reconnect.",
            "connections.",
            "enable.ssl.",
            "enable.sasl.",
        ];
        for (key, value) in &self.properties {
            if shared.iter().any(|prefix| key.starts_with(prefix)) {
                client.set(key, value);
            }
        }
        client
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set_log_level(RDKafkaLogLevel::Info);
        client
    }

    pub(super) fn error(&self, reason: impl fmt::Display) -> Error {
        Error::Source {
            source_name: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    /// A refusal of the client library, without the value: it can be a password.
    pub(super) fn client_error(&self, error: KafkaError) -> Error {
        match error {
            KafkaError::ClientConfig(_, description, key, _) => {
                self.error(format!("property {key}: {}", {
                    // "No such configuration property: …" names the key again; an invalid value is quoted.
                    if description.starts_with("No such") {
                        "librdkafka knows no such setting"
                    } else {
                        "librdkafka refuses the value"
                    }
                }))
            }
            other => self.error(other),
        }
    }
}

/// Why a client setting would break what we promise, if it would.
fn refusal(key: &str, value: &str) -> Option<String> {
    let why = match key {
        "enable.auto.commit"
        | "enable.auto.offset.store"
        | "auto.commit.interval.ms"
        | "auto.commit.enable"
        | "offset.store.method"
        | "offset.store.path" => "positions are committed only after the store has them",
        "group.id" => "set `group` of the source instead",
        "bootstrap.servers" | "metadata.broker.list" => "set `brokers` of the source instead",
        "auto.offset.reset" | "topic.auto.offset.reset" => "set `start` of the source instead",
        "partition.assignment.strategy" | "group.protocol" | "group.remote.assignor" => {
            "partitions are handed over cooperatively, one by one"
        }
        "enable.partition.eof" => "idle partitions are told from slow ones by it",
        "statistics.interval.ms" => "the lag is read from the statistics",
        "queued.max.messages.kbytes" => "it bounds the memory",
        "max.poll.interval.ms" => {
            // A revocation may wait for the engine's commit, up to REVOKE_WAIT.
            return match value.trim().parse::<u64>() {
                Ok(ms) if ms >= 60_000 => None,
                _ => Some(format!(
                    "{value} is below 60000, and handing a partition over may take 30 s"
                )),
            };
        }
        _ => return None,
    };
    Some(why.to_string())
}

fn is_pattern(topic: &str) -> bool {
    topic.starts_with('^')
}

/// Kafka's own rule for topic names, or a pattern.
fn check_topic(topic: &str) -> Result<(), String> {
    if is_pattern(topic) {
        let compiled = Regex::new(topic);
        return compiled
            .map(drop)
            .map_err(|error| format!("the pattern `{topic}` cannot be used: {error}"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." {
        return Err(format!("`{topic}` is not a topic name"));
    }
    if !topic.chars().all(legal) {
        return Err(format!(
            "`{topic}` is not a topic name: use letters, digits, `.`, `_` and `-`, or a pattern that begins with `^`"
        ));
    }
    Ok(())
}

/// Without the values of properties: some are secrets.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("name", &self.name)
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("start", &self.start)
            .field("dead_letter_topic", &self.dead_letter_topic)
            .field("batch_rows", &self.batch_rows)
            .field("batch_wait", &self.batch_wait)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> KafkaConfig {
        KafkaConfig::new(
            "trail",
            "127.0.0.1:9092",
            ["cloudtrail"],
            "weir",
            DecoderConfig::new("trail"),
        )
    }

    fn refused(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = config();
        change(&mut config);
        config.check().expect_err("must be refused").to_string()
    }

    #[test]
    fn an_ordinary_config_is_accepted() {
        let mut config = config();
        for (key, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "weir"),
            ("sasl.password", "s3cret"),
            ("session.timeout.ms", "45000"),
            ("max.poll.interval.ms", "300000"),
        ] {
            config.properties.insert(key.into(), value.into());
        }
        config.check().expect("accepted");
        let client = config.consumer("cloudtrail");
        assert_eq!(client.get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(
            config.producer().get("sasl.mechanism"),
            Some("SCRAM-SHA-512")
        );
        assert_eq!(config.producer().get("session.timeout.ms"), None);
    }

    #[test]
    fn settings_that_would_break_a_promise_are_refused_by_name() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("group.id", "other"),
            ("partition.assignment.strategy", "range"),
            ("group.protocol", "consumer"),
            ("bootstrap.servers", "elsewhere:9092"),
            ("auto.offset.reset", "latest"),
            ("enable.partition.eof", "false"),
            ("max.poll.interval.ms", "10000"),
            ("queued.max.messages.kbytes", "9999999"),
        ] {
            let message = refused(|c| {
                c.properties.insert(key.into(), value.into());
            });
            assert!(
                message.contains(&format!("property {key} is not allowed")),
                "{message}"
            );
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_and_its_value_not_shown() {
        let message = refused(|c| {
            c.properties.insert("sasl.pasword".into(), "s3cret".into());
        });
        assert!(message.contains("sasl.pasword"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
        let message = refused(|c| {
            c.properties
                .insert("security.protocol".into(), "s3cret".into());
        });
        assert!(message.contains("security.protocol"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let mut config = config();
        config
            .properties
            .insert("sasl.password".into(), "s3cret".into());
        let shown = format!("{config:?}");
        assert!(
            shown.contains("sasl.password") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        assert!(refused(|c| c.brokers = " ".into()).contains("brokers"));
        assert!(refused(|c| c.group.clear()).contains("group"));
        assert!(refused(|c| c.topics.clear()).contains("topics"));
        assert!(refused(|c| c.topics.push("cloudtrail".into())).contains("named twice"));
        assert!(refused(|c| c.topics.push("^trail(".into())).contains("`^trail(`"));
        assert!(refused(|c| c.topics.push("trail.*".into())).contains("begins with `^`"));
        assert!(refused(|c| c.dead_letter_topic = Some("^dead".into())).contains("a name"));
        assert!(refused(|c| c.topics.push("a/b".into())).contains("a/b"));
        assert!(
            refused(|c| c.dead_letter_topic = Some("cloudtrail".into())).contains("read again")
        );
        assert!(refused(|c| c.batch_rows = 0).contains("batch_rows"));
    }

    #[test]
    fn a_pattern_covers_what_it_matches_and_never_the_dead_letters() {
        let mut config = config();
        config.topics.push("^logs-[a-z]+$".into());
        config.dead_letter_topic = Some("logs-dead".into());
        config.check().expect("accepted");
        for (topic, pattern, covered) in [
            ("logs-a", true, true),
            ("logs-1", false, false),
            ("my-logs-a", false, false),
            ("logs-dead", false, false),
            ("cloudtrail", false, true),
        ] {
            assert_eq!(config.matches_pattern(topic), pattern, "{topic}");
            assert_eq!(config.covers(topic), covered, "{topic}");
        }
        config.topics = vec!["^".into()];
        assert!(config.covers("anything") && !config.covers("__consumer_offsets"));
    }

    #[test]
    fn members_of_several_topics_get_static_names_of_their_own() {
        let mut config = config();
        config.topics.push("k8s".into());
        config
            .properties
            .insert("group.instance.id".into(), "node-1".into());
        assert_eq!(
            config.consumer("k8s").get("group.instance.id"),
            Some("node-1-k8s")
        );
    }
}
