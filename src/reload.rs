//! Watches the files that rules, models and reference data come from, and exchanges what changed while the
//! engine runs. What cannot be loaded changes nothing: the running rules go on, and health says why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use weir_connectors::enrich::Enricher;
use weir_engine::Rule;
use weir_engine::health::Health;
use weir_engine::pipeline::Reload;

use crate::config::Config;
use crate::node::{self, ENRICHMENT};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A file that is being written is left alone until it has rested this long.
const REST: Duration = Duration::from_millis(300);
const NOT_LOADED: &str = "not reloaded: ";

/// By path: when it was changed last, and its length.
type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Runs until the engine is gone.
pub async fn watch(
    config: Config,
    health: Arc<Health>,
    rules: Arc<watch::Sender<Arc<Vec<Rule>>>>,
    mut enricher: Arc<Enricher>,
    reloads: mpsc::Sender<Reload>,
) {
    let mut of_rules = config.rules.paths.clone();
    of_rules.push(config.models.path.clone());
    of_rules.extend(config.tables.values().cloned());
    let e = &config.enrichment;
    let files = e.geo_city.iter().chain(&e.geo_asn);
    let of_data: Vec<PathBuf> = files
        .chain(e.indicators.iter().map(|list| &list.path))
        .chain(&e.assets)
        .cloned()
        .collect();
    let (mut rules_seen, mut data_seen) = (look(&of_rules), look(&of_data));
    loop {
        tokio::time::sleep(LOOK).await;
        if changed(&of_rules, &mut rules_seen).await {
            match node::plan(&config).await {
                Ok(planned) => {
                    let warnings = planned.warnings.iter();
                    say(&health, warnings.map(|w| format!("{NOT_LOADED}{w}")).next());
                    tracing::info!(
                        rules = planned.rules.len(),
                        "rules changed on disk: exchanged"
                    );
                    let detector = Box::new(planned.detector);
                    if reloads.send(Reload::Detector(detector)).await.is_err() {
                        return;
                    }
                    rules.send_replace(Arc::new(planned.rules));
                }
                Err(error) => say(&health, Some(format!("{NOT_LOADED}{error:#}"))),
            }
        }
        if changed(&of_data, &mut data_seen).await {
            // Lists can be long: read aside, while events go on.
            let (files, before) = (node::enrich_config(&config), enricher.clone());
            let reading = tokio::task::spawn_blocking(move || before.reopen(&files));
            let Ok((read, missing)) = reading.await else {
                continue;
            };
            enricher = Arc::new(read);
            tracing::info!("reference data changed on disk: exchanged");
            let warnings = node::enrich_warnings(missing);
            replace(&health, ENRICHMENT, warnings);
            let exchanged = Reload::Enrich(enricher.clone());
            if reloads.send(exchanged).await.is_err() {
                return;
            }
        }
    }
}

/// Whether something changed and rests now; then it counts as seen.
async fn changed(roots: &[PathBuf], seen: &mut Seen) -> bool {
    let now = look(roots);
    if now == *seen {
        return false;
    }
    tokio::time::sleep(REST).await;
    if look(roots) != now {
        return false;
    }
    *seen = now;
    true
}

/// Puts a warning in the place of the one before.
fn say(health: &Health, warning: Option<String>) {
    if let Some(warning) = &warning {
        tracing::error!("{warning}");
    }
    replace(health, NOT_LOADED, warning);
}

/// Puts warnings in the place of those that begin alike.
fn replace(health: &Health, kind: &str, warnings: impl IntoIterator<Item = String>) {
    health.update(|health| {
        health.warnings.retain(|w| !w.starts_with(kind));
        health.warnings.extend(warnings);
    });
}

/// All files at or below the paths.
fn look(roots: &[PathBuf]) -> Seen {
    let mut seen = Seen::new();
    for root in roots {
        visit(root, &mut seen);
    }
    seen
}

fn visit(path: &Path, seen: &mut Seen) {
    // Links are followed: mounted folders are made of them.
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        for entry in entries {
            visit(&entry.path(), seen);
        }
    } else {
        seen.insert(path.to_owned(), (metadata.modified().ok(), metadata.len()));
    }
}
