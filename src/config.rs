//! Configuration: one annotated default, a file over it, the environment over both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use serde::{Deserialize, Deserializer};
use weir_connectors::enrich::ListConfig;
use weir_engine::archive::Compression;
use weir_engine::correlate;
use weir_engine::watermark::Lateness;

mod mapping;
mod source;

pub use source::{FileSource, HttpSource, KafkaSource, Source, Start, decoder, format_named};

/// The annotated default, as `weir config default` prints it.
pub const DEFAULT: &str = include_str!("../config/default.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub store: Store,
    pub archive: Archive,
    pub engine: Engine,
    pub rules: Rules,
    pub models: Models,
    pub enrichment: Enrichment,
    pub privacy: Privacy,
    /// Reference tables: name → CSV file.
    #[serde(default)]
    pub tables: BTreeMap<String, PathBuf>,
    pub correlation: Correlation,
    pub api: Api,
    pub sql: Sql,
    /// Scheduled backtests, by name.
    #[serde(default)]
    pub backtest: BTreeMap<String, Backtest>,
    #[serde(default)]
    pub source: BTreeMap<String, Source>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub path: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    pub enabled: bool,
    pub compression: Compression,
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    #[serde(deserialize_with = "duration")]
    pub commit_interval: Duration,
    pub commit_rows: usize,
    #[serde(deserialize_with = "duration")]
    pub dedup_horizon: Duration,
    pub dedup_mb: usize,
    pub scans_mb: usize,
    pub provisional: bool,
    #[serde(deserialize_with = "duration")]
    pub amend_within: Duration,
    pub state_per_rule_mb: usize,
    pub state_mb: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub embedded: bool,
    pub paths: Vec<PathBuf>,
    pub disabled: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    pub path: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrichment {
    #[serde(deserialize_with = "optional_path")]
    pub geo_city: Option<PathBuf>,
    #[serde(deserialize_with = "optional_path")]
    pub geo_asn: Option<PathBuf>,
    pub indicators: Vec<ListConfig>,
    #[serde(deserialize_with = "optional_path")]
    pub assets: Option<PathBuf>,
    pub inventory: Option<Inventory>,
    pub automation: Vec<String>,
}

/// A compacted topic of assets.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    pub brokers: String,
    pub topic: String,
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Kafka properties hold passwords.
        f.debug_struct("Inventory")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    pub mask_secrets: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    #[serde(deserialize_with = "duration")]
    pub gap: Duration,
    pub ceiling: usize,
    pub stop_values: Vec<String>,
    pub max_open: usize,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    pub token: String,
    #[serde(default)]
    pub tokens: Vec<Token>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The plain token must not reach a log.
        f.debug_struct("Api")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub name: String,
    pub sha256: String,
    pub role: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    pub rows: usize,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    pub memory_mb: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backtest {
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// How far back from the newest stored event, as `weir backtest --from` takes it.
    pub over: String,
    /// As `weir backtest` takes them; none: all configured.
    #[serde(default)]
    pub rules: Vec<String>,
}

impl Config {
    /// The default, with `file` and the environment over it.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Toml::string(DEFAULT));
        if let Some(path) = file {
            if !path.is_file() {
                bail!(
                    "{}: no such file; `weir config default` prints one to start from",
                    path.display()
                );
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        // WEIR_LOG is the log filter, WEIR_TEST_… and WEIR_SHARED_DATA steer tests.
        let settings = Env::prefixed("WEIR_")
            .ignore(&["log", "shared_data"])
            .filter(|key| !key.starts_with("test_"));
        let config: Self = figment
            .merge(settings.split("__"))
            .extract()
            .map_err(explain)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        for (name, source) in &self.source {
            if let Err(wrong) = source.check() {
                bail!("source.{name}: {wrong}");
            }
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || !name.chars().all(good) {
                bail!("source.{name}: a source's name may hold only a-z, 0-9 and _");
            }
        }
        for token in &self.api.tokens {
            if token.sha256.len() != 64 || !token.sha256.chars().all(|c| c.is_ascii_hexdigit()) {
                bail!(
                    "api.tokens: the sha256 of token `{}` is not 64 hex digits; `weir token` prints one",
                    token.name
                );
            }
        }
        for (name, backtest) in &self.backtest {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(good) {
                bail!("backtest.{name}: a name may hold only letters, digits, _ and -");
            }
            if backtest.every < Duration::from_secs(60) {
                bail!("backtest.{name}.every must be at least 1m");
            }
            if let Err(error) = humantime::parse_duration(&backtest.over) {
                bail!("backtest.{name}.over: {error}; write a length of time such as 7d");
            }
            if !self.archive.enabled {
                bail!("backtest.{name} needs stored events: set archive.enabled = true");
            }
        }
        if self.engine.commit_interval.is_zero() {
            bail!("engine.commit_interval must be longer than 0s");
        }
        Ok(())
    }

    pub fn correlation(&self) -> correlate::Settings {
        let mut settings = correlate::Settings {
            gap: micros(self.correlation.gap),
            ceiling: self.correlation.ceiling,
            max_open: self.correlation.max_open,
            ..correlate::Settings::default()
        };
        settings
            .stop_values
            .extend(self.correlation.stop_values.iter().cloned());
        settings
    }

    /// Time settings of every source, by name.
    pub fn lateness(&self) -> Vec<(Arc<str>, Lateness)> {
        self.source
            .iter()
            .map(|(name, source)| (name.as_str().into(), source.lateness()))
            .collect()
    }
}

/// Figment's message with the key's path and where it was set.
fn explain(error: figment::Error) -> anyhow::Error {
    let lines = error.into_iter().map(|one| {
        let key = one.path.join(".");
        let place = match &one.metadata {
            Some(meta) if meta.name.contains("environment") => {
                format!("environment WEIR_{}", one.path.join("__").to_uppercase())
            }
            Some(meta) => meta
                .source
                .as_ref()
                .map_or_else(|| meta.name.to_string(), ToString::to_string),
            None => "configuration".into(),
        };
        let wrong = match &one.kind {
            Kind::UnknownField(found, known) | Kind::UnknownVariant(found, known) => {
                format!("`{found}` is unknown; there are {}", known.join(", "))
            }
            kind => kind.to_string(),
        };
        format!("{place}: {key}: {wrong}")
    });
    let lines: Vec<String> = lines.collect();
    anyhow::anyhow!(
        "{}\n(`weir config default` shows every key)",
        lines.join("\n")
    )
}

pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn parse_duration<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    humantime::parse_duration(text).map_err(|error| {
        E::custom(format!(
            "`{text}` is not a duration such as 90s, 20m or 6h: {error}"
        ))
    })
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?)
}

fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .as_deref()
        .map(parse_duration)
        .transpose()
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(optional_text(deserializer)?.map(PathBuf::from))
}
