//! Backtests on a schedule: `weir backtest` over the newest stored events, again and again, each in a process
//! of its own that can neither take the engine's memory nor end it. Reports are files below the data folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;
use weir_engine::health::Health;
use weir_engine::time::rfc3339;

use crate::config::{Backtest, Config};

/// Folder of the reports below the data folder.
const FOLDER: &str = "backtests";
/// Reports kept of each.
const KEPT: usize = 30;
/// How often is looked what is due, and how long a failed one rests.
const LOOK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(300);

/// Runs the configured backtests one after the other as they fall due, until it is dropped. `file` is the
/// configuration's.
pub async fn run(config: Config, file: Option<PathBuf>, data: PathBuf, health: Arc<Health>) {
    let mut tried: BTreeMap<&String, Instant> = BTreeMap::new();
    while !config.backtest.is_empty() {
        for (name, backtest) in &config.backtest {
            let folder = data.join(FOLDER).join(name);
            let again = |last: &Instant| last.elapsed() < AGAIN.min(backtest.every);
            if is_due(&folder, backtest.every) && !tried.get(name).is_some_and(again) {
                tried.insert(name, Instant::now());
                attempt(name, backtest, file.as_deref(), &data, &folder, &health).await;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn attempt(
    name: &str,
    backtest: &Backtest,
    file: Option<&Path>,
    data: &Path,
    folder: &Path,
    health: &Health,
) {
    let prefix = format!("backtest {name}: ");
    let warning = match once(backtest, file, data, folder).await {
        Ok((report, alerts)) => {
            tracing::info!(name, alerts, report = %report.display(), "backtest done");
            None
        }
        Err(error) => {
            tracing::warn!(name, "backtest failed: {error:#}");
            Some(format!("{prefix}{error:#}"))
        }
    };
    health.update(|health| {
        health.warnings.retain(|known| !known.starts_with(&prefix));
        health.warnings.extend(warning);
    });
}

/// Whether its newest report, of this or an earlier run of the program, is older than `every`.
fn is_due(folder: &Path, every: Duration) -> bool {
    let newest = reports(folder).pop();
    let written = newest.and_then(|path| path.metadata().ok()?.modified().ok());
    let age = written.and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_none_or(|age| age >= every)
}

/// Reports of a backtest, the oldest first.
fn reports(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    paths.sort();
    paths
}

/// Gives the report's path and how many alerts it has.
async fn once(
    backtest: &Backtest,
    file: Option<&Path>,
    data: &Path,
    folder: &Path,
) -> anyhow::Result<(PathBuf, u64)> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    command
        .arg("backtest")
        .args(&backtest.rules)
        .arg("--data")
        .arg(data)
        .arg("--from")
        .arg(&backtest.over)
        .args(["--output", "json"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let done = command.output().await.context("cannot start")?;
    // With errors of rules the report is still there, and says so.
    let report: Value = serde_json::from_slice(&done.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&done.stderr);
        let last = complaint.lines().rev().find(|line| !line.is_empty());
        anyhow::anyhow!("{}", last.unwrap_or("it said nothing"))
    })?;
    let alerts = report["rules"].as_array().into_iter().flatten();
    let alerts = alerts.filter_map(|rule| rule["alerts"].as_u64()).sum();
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let now = rfc3339(weir_engine::pipeline::wall_clock()).replace(':', "");
    let path = folder.join(format!("{now}.json"));
    // A report is there whole or not at all.
    let partial = path.with_extension("partial");
    std::fs::write(&partial, &done.stdout)
        .and_then(|()| std::fs::rename(&partial, &path))
        .with_context(|| path.display().to_string())?;
    let all = reports(folder);
    for old in &all[..all.len().saturating_sub(KEPT)] {
        let _ = std::fs::remove_file(old);
    }
    ensure!(
        done.status.success(),
        "rules failed on events; {} says which",
        path.display()
    );
    Ok((path, alerts))
}
