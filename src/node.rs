//! Wiring: from the configuration to a pipeline that is ready to run. Shared by `run`, `replay` and `demo`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use weir_connectors::enrich::{EnrichConfig, Enricher, read_table};
use weir_connectors::kafka::InventoryConfig;
use weir_detections::LoadedRule;
use weir_engine::archive::{ArchiveConfig, ArchiveWriter};
use weir_engine::detect::{Detector, Limits, ModelRule};
use weir_engine::health::Health;
use weir_engine::pipeline::{Parts, Pipeline, Settings};
use weir_engine::source::Positions;
use weir_engine::store::SharedStore;
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::{Rule, Tables};

use crate::config::{self, Config};
use crate::dead_letters::Routed;
use crate::sources;

/// Beginning of warnings about reference data.
pub const ENRICHMENT: &str = "enrichment: ";

/// A node whose store is open and whose rules are planned; nothing is read yet.
pub struct Node {
    pub pipeline: Pipeline,
    pub positions: Positions,
    pub store: SharedStore,
    pub health: Arc<Health>,
    pub rules: Vec<Rule>,
    pub data: PathBuf,
    pub enricher: Arc<Enricher>,
}

/// What differs between a service and a one-off replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Keeps its data; a rule that cannot be planned stops the start.
    Service,
    /// The data folder is thrown away afterwards: no archive, no early answers.
    Throwaway,
    /// As a service, but with a closed input: no early answers.
    Replay,
}

/// Rules that are configured to run, by title.
pub fn load_rules(config: &Config) -> anyhow::Result<Vec<LoadedRule>> {
    let mut rules = if config.rules.embedded {
        weir_detections::embedded()?
    } else {
        vec![]
    };
    for path in &config.rules.paths {
        rules.extend(weir_detections::load_dir(path)?);
    }
    let mut by_id = HashMap::new();
    for LoadedRule { rule, .. } in &rules {
        if let Some(path) = by_id.insert(rule.id.as_str(), &rule.path) {
            bail!(
                "rule id {} is used twice: {path} and {}",
                rule.id,
                rule.path
            );
        }
    }
    for id in &config.rules.disabled {
        if !by_id.contains_key(id.as_str()) {
            bail!("rules.disabled names `{id}`, which no rule has; `weir rule list` shows the ids");
        }
    }
    rules.retain(|loaded| !config.rules.disabled.contains(&loaded.rule.id));
    rules.sort_by(|a, b| a.rule.title.cmp(&b.rule.title));
    Ok(rules)
}

/// Trained models of the configured folder. One that cannot be used is a warning: the rules still run.
pub fn load_models(folder: &Path) -> (Vec<ModelRule>, Vec<String>) {
    let (mut models, mut warnings) = (vec![], vec![]);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return (models, warnings);
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    for path in paths {
        match weir_models::Model::load(&path) {
            Ok(model) => {
                let model = Arc::new(model);
                models.push(ModelRule {
                    rule: model.rule(),
                    functions: model.functions(),
                    scorer: model,
                });
            }
            Err(error) => warnings.push(format!("model not used: {error}")),
        }
    }
    (models, warnings)
}

/// What `weir config check` can check without opening anything for writing.
pub fn check(config: &Config) -> anyhow::Result<()> {
    tokens(config)?;
    if let Some(inventory) = inventory_config(config) {
        inventory.check()?;
    }
    load_rules(config)?;
    self::tables(config)?;
    sources::check(config)
}

impl Node {
    pub async fn open(config: &Config, data: &Path, purpose: Purpose) -> anyhow::Result<Self> {
        let store: SharedStore = Arc::new(SqliteStore::open(data).await?);
        Self::over(config, data, purpose, store, Arc::new(Health::default())).await
    }

    /// The same over a store that is open already: a second start in one process.
    pub async fn over(
        config: &Config,
        data: &Path,
        purpose: Purpose,
        store: SharedStore,
        health: Arc<Health>,
    ) -> anyhow::Result<Self> {
        let Planned {
            detector,
            rules: all,
            mut warnings,
        } = plan(config).await?;
        let (enricher, missing) = enricher(config);
        warnings.extend(missing);
        let archive = if config.archive.enabled && purpose != Purpose::Throwaway {
            let settings = ArchiveConfig {
                compression: config.archive.compression,
                ..ArchiveConfig::default()
            };
            Some(ArchiveWriter::open(data.join("events"), settings)?)
        } else {
            None
        };
        let settings = Settings {
            lateness: config.lateness(),
            correlation: config.correlation(),
            dedup_horizon: config::micros(config.engine.dedup_horizon),
            dedup_bytes: config.engine.dedup_mb << 20,
            scan_bytes: config.engine.scans_mb << 20,
            commit_interval: config.engine.commit_interval,
            commit_rows: config.engine.commit_rows,
            provisional: config.engine.provisional && purpose == Purpose::Service,
            retention: Some(config::micros(config.archive.retention))
                .filter(|retention| *retention > 0),
        };
        health.update(|h| {
            h.reason = "starting".into();
            // What follows is counted anew.
            h.sources.clear();
            h.warnings.clone_from(&warnings);
        });
        let dead_letters = Arc::new(Routed::open(config, data)?);
        let parts = Parts {
            store: store.clone(),
            detector,
            enrich: enricher.clone(),
            archive,
            dead_letters,
            health: health.clone(),
        };
        let (pipeline, positions) = Pipeline::resume(settings, parts).await?;
        Ok(Self {
            pipeline,
            positions,
            store,
            health,
            rules: all,
            data: data.to_owned(),
            enricher,
        })
    }
}

/// Rules and models of the configuration, ready to run.
pub struct Planned {
    pub detector: Detector,
    /// Rules and models as rules.
    pub rules: Vec<Rule>,
    pub warnings: Vec<String>,
}

/// Loads and plans all rules; one that cannot run is an error.
pub async fn plan(config: &Config) -> anyhow::Result<Planned> {
    let loaded = load_rules(config)?.into_iter();
    let rules: Vec<Rule> = loaded.map(|loaded| loaded.rule).collect();
    let (models, warnings) = load_models(&config.models.path);
    let of_models = models.iter().map(|m| m.rule.clone());
    let all = rules.iter().cloned().chain(of_models).collect();
    let made = Detector::open(rules, models, limits(config), &tables(config)?).await;
    let (detector, refused) = made?;
    if let Some(error) = refused.into_iter().next() {
        return Err(error).context("a rule cannot run; mend it or name its id in rules.disabled");
    }
    Ok(Planned {
        detector,
        rules: all,
        warnings,
    })
}

/// Reference tables of the configuration. One that cannot be read is an error: rules rely on it.
pub fn tables(config: &Config) -> anyhow::Result<Tables> {
    read_tables(&config.tables)
}

/// Reads reference tables, by name.
pub fn read_tables(paths: &BTreeMap<String, PathBuf>) -> anyhow::Result<Tables> {
    let mut tables = Tables::default();
    for (name, path) in paths {
        let read = read_table(path).map_err(|reason| anyhow::anyhow!("tables.{name}: {reason}"));
        let (columns, rows) = read?;
        let inserted = tables.insert(name, &columns, &rows);
        inserted.with_context(|| path.display().to_string())?;
    }
    Ok(tables)
}

/// Reference data of the configuration, and what of it is missing.
pub fn enricher(config: &Config) -> (Arc<Enricher>, Vec<String>) {
    let (enricher, missing) = Enricher::open(&enrich_config(config));
    (Arc::new(enricher), enrich_warnings(missing))
}

/// What enrichment reads, by the configuration.
pub fn enrich_config(config: &Config) -> EnrichConfig {
    let enrichment = &config.enrichment;
    EnrichConfig {
        geo_city: enrichment.geo_city.clone(),
        geo_asn: enrichment.geo_asn.clone(),
        indicators: enrichment.indicators.clone(),
        assets: enrichment.assets.clone(),
        automation: enrichment.automation.clone(),
    }
}

/// Warnings as health shows them.
pub fn enrich_warnings(warnings: Vec<String>) -> Vec<String> {
    let told = warnings.into_iter();
    told.map(|warning| format!("{ENRICHMENT}{warning}"))
        .collect()
}

/// What rules may keep, by the configuration.
pub fn limits(config: &Config) -> Limits {
    Limits {
        amend: config::micros(config.engine.amend_within),
        rule_bytes: config.engine.state_per_rule_mb << 20,
        all_bytes: config.engine.state_mb << 20,
    }
}

/// The inventory's topic, if there is one.
pub fn inventory_config(config: &Config) -> Option<InventoryConfig> {
    let inventory = config.enrichment.inventory.as_ref()?;
    Some(InventoryConfig {
        brokers: inventory.brokers.clone(),
        topic: inventory.topic.clone(),
        properties: inventory.properties.clone(),
    })
}

/// API tokens of the configuration.
pub fn tokens(config: &Config) -> anyhow::Result<Vec<weir_api::Token>> {
    let mut tokens = vec![];
    for token in &config.api.tokens {
        tokens.push(weir_api::Token {
            name: token.name.clone(),
            sha256_hex: token.sha256.to_lowercase(),
            role: role(&token.role)?,
        });
    }
    if !config.api.token.is_empty() {
        let sha256_hex = weir_api::auth::sha256_hex(&config.api.token);
        tokens.push(weir_api::Token {
            name: "admin".into(),
            sha256_hex,
            role: role("admin")?,
        });
    }
    Ok(tokens)
}

pub fn role(name: &str) -> anyhow::Result<weir_api::Role> {
    serde_json::from_value(name.into()).map_err(|_| {
        anyhow::anyhow!("`{name}` is not a role: viewer, analyst, engineer, admin or hook")
    })
}
