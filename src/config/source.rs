//! Sources in the configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use weir_connectors::decode::{DecoderConfig, FormatChoice, are_flow_fields};
use weir_connectors::mapping::custom::CustomMapping;
use weir_engine::time::MINUTE;
use weir_engine::watermark::Lateness;

use super::mapping::mapping;
use super::{micros, optional_duration, optional_text, parse_duration};

/// Reads the name of a format.
fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FormatChoice, D::Error> {
    format_named(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

pub fn format_named(name: &str) -> Result<FormatChoice, String> {
    FormatChoice::named(name).ok_or_else(|| {
        let known = FormatChoice::names().join(", ");
        format!("format `{name}` is unknown; there are {known}")
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    #[default]
    Earliest,
    Latest,
    At(jiff::Timestamp),
    /// This long before now.
    Back(Duration),
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Some(back) = text.strip_prefix('-') {
            return parse_duration(back).map(Self::Back);
        }
        text.parse().map(Self::At).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is not earliest, latest, a time such as 2026-01-01T00:00:00Z, or a duration back such as -24h"
            ))
        })
    }
}

#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    Kafka(KafkaSource),
    File(FileSource),
    Http(HttpSource),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Kafka properties hold passwords, and tokens are as good.
        f.write_str(match self {
            Self::Kafka(_) => "Kafka",
            Self::File(_) => "File",
            Self::Http(_) => "Http",
        })
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSource {
    pub brokers: String,
    pub topics: Vec<String>,
    #[serde(default = "group")]
    pub group: String,
    #[serde(default, deserialize_with = "format")]
    pub format: FormatChoice,
    #[serde(default, deserialize_with = "mapping")]
    pub mapping: Option<CustomMapping>,
    #[serde(default, deserialize_with = "optional_text")]
    pub flow_fields: Option<String>,
    #[serde(default)]
    pub start: Start,
    #[serde(default, deserialize_with = "optional_text")]
    pub dead_letter_topic: Option<String>,
    #[serde(default, deserialize_with = "optional_text")]
    pub cluster: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub lateness: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub idle_after: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_skew: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub scan_gap: Option<Duration>,
    #[serde(default)]
    pub max_record_bytes: Option<usize>,
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    pub paths: Vec<PathBuf>,
    #[serde(default, deserialize_with = "format")]
    pub format: FormatChoice,
    #[serde(default, deserialize_with = "mapping")]
    pub mapping: Option<CustomMapping>,
    #[serde(default, deserialize_with = "optional_text")]
    pub flow_fields: Option<String>,
    #[serde(default)]
    pub follow: bool,
    #[serde(default, deserialize_with = "optional_text")]
    pub cluster: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub lateness: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub idle_after: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_skew: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub scan_gap: Option<Duration>,
    #[serde(default)]
    pub max_record_bytes: Option<usize>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// In plain text; meant for the environment.
    #[serde(default)]
    pub token: String,
    #[serde(default)]
    pub token_sha256: Vec<String>,
    #[serde(default = "max_body_mb")]
    pub max_body_mb: usize,
    #[serde(default = "spool_mb")]
    pub spool_mb: u64,
    #[serde(default, deserialize_with = "format")]
    pub format: FormatChoice,
    #[serde(default, deserialize_with = "mapping")]
    pub mapping: Option<CustomMapping>,
    #[serde(default, deserialize_with = "optional_text")]
    pub flow_fields: Option<String>,
    #[serde(default, deserialize_with = "optional_text")]
    pub cluster: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub lateness: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub idle_after: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_skew: Option<Duration>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub scan_gap: Option<Duration>,
    #[serde(default)]
    pub max_record_bytes: Option<usize>,
}

fn listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))
}

fn max_body_mb() -> usize {
    16
}

fn spool_mb() -> u64 {
    1024
}

fn group() -> String {
    "weir".into()
}

/// What all kinds of sources have.
struct Common<'a> {
    format: FormatChoice,
    mapping: &'a Option<CustomMapping>,
    flow_fields: &'a Option<String>,
    cluster: &'a Option<String>,
    lateness: Option<Duration>,
    idle_after: Option<Duration>,
    max_skew: Option<Duration>,
    scan_gap: Option<Duration>,
    max_record_bytes: Option<usize>,
}

macro_rules! common {
    ($source:ident) => {
        Common {
            format: $source.format,
            mapping: &$source.mapping,
            flow_fields: &$source.flow_fields,
            cluster: &$source.cluster,
            lateness: $source.lateness,
            idle_after: $source.idle_after,
            max_skew: $source.max_skew,
            scan_gap: $source.scan_gap,
            max_record_bytes: $source.max_record_bytes,
        }
    };
}

impl Source {
    fn common(&self) -> Common<'_> {
        match self {
            Self::Kafka(s) => common!(s),
            Self::File(s) => common!(s),
            Self::Http(s) => common!(s),
        }
    }

    pub fn mapping(&self) -> Option<&CustomMapping> {
        self.common().mapping.as_ref()
    }

    pub fn lateness(&self) -> Lateness {
        let common = self.common();
        let usual = || usual_lateness(common.format);
        let default = Lateness::default();
        Lateness {
            lateness: common.lateness.map_or_else(usual, micros),
            idle_after: common.idle_after.map_or(default.idle_after, micros),
            max_skew: common.max_skew.map_or(default.max_skew, micros),
            scan_gap: common.scan_gap.map_or(default.scan_gap, micros),
            ..default
        }
    }

    /// What is wrong with how the keys go together.
    pub fn check(&self) -> Result<(), &'static str> {
        let common = self.common();
        match (common.format, common.mapping) {
            (FormatChoice::Custom, None) => return Err("format = \"mapped\" needs a mapping"),
            (FormatChoice::Custom, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err("a mapping needs format = \"mapped\""),
        }
        match common.flow_fields {
            Some(fields) if !are_flow_fields(fields) => Err(
                "flow_fields must name the columns of a flow log, at least start or end and an address such as srcaddr",
            ),
            _ => Ok(()),
        }
    }

    pub fn decoder(&self, name: &str) -> DecoderConfig {
        let common = self.common();
        let mut config = decoder(name, common.format);
        config.mapping.clone_from(common.mapping);
        config.columns = common.flow_fields.as_deref().map(Into::into);
        config.cluster = common.cluster.as_deref().map(Into::into);
        if let Some(max) = common.max_record_bytes {
            config.max_record_bytes = max;
        }
        config
    }
}

pub fn decoder(name: &str, format: FormatChoice) -> DecoderConfig {
    DecoderConfig {
        format,
        ..DecoderConfig::new(name)
    }
}

/// Clouds deliver their logs within about 15 minutes, agents theirs within seconds.
pub fn usual_lateness(format: FormatChoice) -> i64 {
    match format {
        FormatChoice::K8sAudit
        | FormatChoice::Falco
        | FormatChoice::Named("tetragon" | "envoy" | "ztunnel" | "gatekeeper") => MINUTE,
        _ => 20 * MINUTE,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn start(text: &str) -> Result<Start, String> {
        let value = serde_json::Value::from(text);
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_start_is_a_word_a_time_or_a_while_back() {
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("latest"), Ok(Start::Latest));
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(start("-24h"), Ok(Start::Back(day)));
        let time = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(start("2026-01-01T01:00:00+01:00"), Ok(Start::At(time)));
        for (wrong, says) in [
            ("2026-01-01", "2026-01-01T00:00:00Z"),
            ("24h", "-24h"),
            ("-soon", "duration"),
            ("", "earliest"),
        ] {
            let message = start(wrong).unwrap_err();
            assert!(message.contains(says), "{wrong}: {message}");
        }
    }

    #[test]
    fn a_source_does_not_show_its_secrets() {
        let source: Source = serde_json::from_value(serde_json::json!({
            "type": "http", "token": "s3cret"
        }))
        .unwrap();
        assert!(!format!("{source:?}").contains("s3cret"));
    }
}
