//! Sources in the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use weir_connectors::decode::{DecoderConfig, FormatChoice, are_flow_fields};
use weir_connectors::mapping::custom::CustomMapping;
use weir_engine::time::MINUTE;
use weir_engine::watermark::Lateness;

use super::mapping::mapping;
use super::{micros, optional_duration, optional_text};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    #[default]
    Earliest,
    Latest,
}

#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    Kafka(KafkaSource),
    File(FileSource),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Kafka properties hold passwords.
        f.write_str(match self {
            Self::Kafka(_) => "Kafka",
            Self::File(_) => "File",
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
    #[serde(default)]
    pub max_record_bytes: Option<usize>,
}

fn group() -> String {
    "weir".into()
}

impl Source {
    pub fn lateness(&self) -> Lateness {
        let (format, lateness, idle, skew) = match self {
            Self::Kafka(s) => (s.format, s.lateness, s.idle_after, s.max_skew),
            Self::File(s) => (s.format, s.lateness, s.idle_after, s.max_skew),
        };
        let default = Lateness::default();
        Lateness {
            lateness: lateness.map_or_else(|| usual_lateness(format), micros),
            idle_after: idle.map_or(default.idle_after, micros),
            max_skew: skew.map_or(default.max_skew, micros),
            ..default
        }
    }

    /// What is wrong with how the keys go together.
    pub fn check(&self) -> Result<(), &'static str> {
        let (format, mapping, fields) = match self {
            Self::Kafka(s) => (s.format, &s.mapping, &s.flow_fields),
            Self::File(s) => (s.format, &s.mapping, &s.flow_fields),
        };
        match (format, mapping) {
            (FormatChoice::Custom, None) => return Err("format = \"mapped\" needs a mapping"),
            (FormatChoice::Custom, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err("a mapping needs format = \"mapped\""),
        }
        match fields {
            Some(fields) if !are_flow_fields(fields) => {
                Err("flow_fields must name at least start, end and interface-id")
            }
            _ => Ok(()),
        }
    }

    pub fn decoder(&self, name: &str) -> DecoderConfig {
        let (format, mapping, fields, cluster, max) = match self {
            Self::Kafka(s) => (
                s.format,
                &s.mapping,
                &s.flow_fields,
                &s.cluster,
                s.max_record_bytes,
            ),
            Self::File(s) => (
                s.format,
                &s.mapping,
                &s.flow_fields,
                &s.cluster,
                s.max_record_bytes,
            ),
        };
        let mut config = decoder(name, format);
        config.mapping.clone_from(mapping);
        config.columns = fields.as_deref().map(Into::into);
        config.cluster = cluster.as_deref().map(Into::into);
        if let Some(max) = max {
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
        | FormatChoice::Named("tetragon" | "envoy" | "gatekeeper") => MINUTE,
        _ => 20 * MINUTE,
    }
}
