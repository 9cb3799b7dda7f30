//! `weir replay`: files in, incidents out, then exit.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;
use weir_connectors::FormatChoice;
use weir_connectors::file::FileSource;
use weir_connectors::mapping::custom::CustomMapping;
use weir_engine::Alert;
use weir_engine::batch::Counts;
use weir_engine::health::{Health, Snapshot};
use weir_engine::store::{AlertQuery, IncidentQuery, SharedStore, StoredIncident};

use crate::config::{self, Config};
use crate::dead_letters;
use crate::node::{Node, Purpose};
use crate::report::{self, Output};
use crate::sources;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Log files, pipes or folders (ndjson, CloudTrail {"Records": […]}, EventList; each also .gz); `-` is the
    /// standard input.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// Keep store and events in this folder; without it they are thrown away.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Format of all files.
    #[arg(long, default_value = "auto", value_parser = config::format_named)]
    pub format: FormatChoice,
    /// Mapping to read the files by: the name of a source of the configuration that has one.
    #[arg(long, value_name = "SOURCE")]
    pub mapping: Option<String>,
    /// Columns of flow logs that have no header line, such as "srcaddr dstaddr start end action".
    #[arg(long, value_name = "NAMES")]
    pub flow_fields: Option<String>,
    /// How much older than the newest event of its file an event may be.
    #[arg(long, default_value = "20m", value_parser = humantime::parse_duration)]
    pub lateness: Duration,
    /// Name of the source, as rules see it in metadata_log_name.
    #[arg(long, default_value = "replay")]
    pub name: String,
    /// Name stamped on Kubernetes events.
    #[arg(long)]
    pub cluster: Option<String>,
}

pub async fn run(mut config: Config, args: Args) -> anyhow::Result<ExitCode> {
    let mapping = match &args.mapping {
        Some(name) => Some(named_mapping(&config, name)?),
        None => None,
    };
    let format = match (args.format, &mapping) {
        (FormatChoice::Auto, Some(_)) => FormatChoice::Custom,
        (format, _) => format,
    };
    let file = config::FileSource {
        paths: args.paths,
        format,
        follow: false,
        cluster: args.cluster,
        lateness: Some(args.lateness),
        idle_after: None,
        max_skew: None,
        scan_gap: None,
        max_record_bytes: None,
        mapping,
        flow_fields: args.flow_fields,
    };
    let source = config::Source::File(file);
    if let Err(reason) = source.check() {
        anyhow::bail!("{reason} (--format, --mapping SOURCE, --flow-fields NAMES)");
    }
    let temporary = tempfile::tempdir()?;
    let purpose = if args.data.is_some() {
        Purpose::Replay
    } else {
        Purpose::Throwaway
    };
    let data = args.data.unwrap_or_else(|| temporary.path().to_owned());
    config.source = BTreeMap::from([(args.name.clone(), source)]);
    let letters = data.join("dead-letters.ndjson");
    let read_from = letters.metadata().map_or(0, |file| file.len());
    let done = replay(&config, &data, purpose).await?;
    for (path, reason) in &done.skipped {
        eprintln!("skipped {path}: {reason}");
    }
    let summary = report::counts(&done.counts(), &done.reasons(), done.seconds);
    let mut stdout = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            let skipped: Vec<_> = done
                .skipped
                .iter()
                .map(|(path, reason)| serde_json::json!({"path": path, "reason": reason}))
                .collect();
            let all = serde_json::json!({
                "incidents": done.incidents, "alerts": done.alerts, "counts": done.counts(),
                "dead_letters": done.reasons(), "skipped": skipped, "seconds": done.seconds,
            });
            serde_json::to_writer_pretty(&mut stdout, &all)?;
            writeln!(stdout)?;
            eprintln!("{summary}");
        }
        Output::Table => {
            let incidents = done.incidents.iter().map(|stored| &stored.incident);
            report::incidents(&mut stdout, incidents, &done.alerts)?;
            writeln!(
                stdout,
                "\n{} incidents, {} alerts\n{summary}",
                done.incidents.len(),
                done.alerts.len()
            )?;
        }
    }
    drop(stdout);
    let examples = dead_letters::examples(&letters, read_from).unwrap_or_else(|error| {
        eprintln!("{}: {error:#}", letters.display());
        BTreeMap::new()
    });
    if !examples.is_empty() {
        eprintln!("dead letters, the first of each reason:");
        for (reason, example) in examples {
            eprintln!("  {reason}: {}", report::clean(&example));
        }
        match purpose {
            Purpose::Throwaway => {
                eprintln!("--data DIR keeps them all, in DIR/dead-letters.ndjson")
            }
            _ => eprintln!("all of them: {}", letters.display()),
        }
    }
    done.finish()
}

/// The mapping of the configured source of this name.
fn named_mapping(config: &Config, name: &str) -> anyhow::Result<CustomMapping> {
    if let Some(mapping) = config.source.get(name).and_then(config::Source::mapping) {
        return Ok(mapping.clone());
    }
    let sources = config.source.iter();
    let named = sources.filter(|(_, source)| source.mapping().is_some());
    let names: Vec<_> = named.map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [] => anyhow::bail!(
            "--mapping {name}: no source of the configuration has a mapping; give the file with `weir --config FILE \
             replay`, and write one under [source.{name}.mapping] (docs/schema.md)"
        ),
        names => anyhow::bail!(
            "--mapping {name}: no source of this name has a mapping; there are {}",
            names.join(", ")
        ),
    }
}

/// What shells say of a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// A replay that has come to its end.
pub struct Replayed {
    pub store: SharedStore,
    pub health: Arc<Health>,
    pub rules: Vec<weir_engine::Rule>,
    pub incidents: Vec<StoredIncident>,
    pub alerts: Vec<Alert>,
    pub skipped: Vec<(String, String)>,
    pub seconds: f64,
    /// It was ended by Ctrl-C before everything was read.
    pub interrupted: bool,
    snapshot: Snapshot,
}

impl Replayed {
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.snapshot
            .sources
            .values()
            .for_each(|source| all.add(&source.counts));
        all
    }
    pub fn reasons(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (reason, n) in self
            .snapshot
            .sources
            .values()
            .flat_map(|s| &s.dead_letter_reasons)
        {
            *all.entry(reason.clone()).or_default() += n;
        }
        all
    }
    /// Success unless it was interrupted, events are unaccounted for, or a rule failed.
    fn finish(&self) -> anyhow::Result<ExitCode> {
        let counts = self.counts();
        anyhow::ensure!(counts.conserved(), "events are unaccounted for: {counts:?}");
        let mut code = ExitCode::SUCCESS;
        if counts.read > 0 && counts.dead_lettered == counts.read {
            eprintln!(
                "nothing could be decoded; without --format the content tells, JSON of your own needs \
                 --mapping SOURCE with a mapping of the configuration (docs/schema.md), and flow logs \
                 without a header line need --flow-fields"
            );
            code = ExitCode::FAILURE;
        }
        for rule in self.snapshot.rules.values().filter(|rule| rule.errors > 0) {
            eprintln!(
                "rule {}: {} errors, the last: {}",
                rule.title,
                rule.errors,
                rule.last_error.as_deref().unwrap_or("")
            );
            code = ExitCode::FAILURE;
        }
        if self.interrupted {
            eprintln!(
                "interrupted: this is what came of {} events; with --data, the same command goes on from there",
                counts.read
            );
            code = ExitCode::from(INTERRUPTED);
        }
        Ok(code)
    }
}

/// Replays the one file source of the configuration into a data folder.
pub async fn replay(
    config: &Config,
    data: &std::path::Path,
    purpose: Purpose,
) -> anyhow::Result<Replayed> {
    let started = Instant::now();
    let node = Node::open(config, data, purpose).await?;
    let (sender, receiver) = sources::channel();
    let Some((name, source @ config::Source::File(file))) = config.source.first_key_value() else {
        anyhow::bail!("a replay needs one file source");
    };
    let (running, progress) = sources::start_file(name, source, file, &node.positions, sender)?;
    let (stop, stopped) = oneshot::channel();
    let bar = tokio::spawn(show_progress(
        progress.clone(),
        node.health.clone(),
        started,
    ));
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let _ = stop.send(());
        } else {
            std::future::pending::<()>().await;
        }
    });
    let outcome = node
        .pipeline
        .run(std::slice::from_ref(&running), receiver, stopped)
        .await;
    // It ends only by the signal.
    let interrupted = interrupt.is_finished();
    interrupt.abort();
    bar.abort();
    let _ = bar.await;
    running.stop().await;
    outcome?;
    let snapshot = node.health.snapshot();
    Ok(Replayed {
        incidents: all_incidents(&node.store).await?,
        alerts: all_alerts(&node.store).await?,
        skipped: progress.skipped(),
        seconds: started.elapsed().as_secs_f64(),
        interrupted,
        store: node.store,
        health: node.health,
        rules: node.rules,
        snapshot,
    })
}

/// A bar with rate and time left on a terminal, a line now and then elsewhere.
async fn show_progress(source: Arc<FileSource>, health: Arc<Health>, started: Instant) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal {
        ProgressBar::new(source.progress().1)
    } else {
        ProgressBar::hidden()
    };
    let _clear = Clear(bar.clone());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg} {eta} left")
    {
        bar.set_style(style);
    }
    let mut ticks = 0u32;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (bytes, total) = source.progress();
        let events: u64 = health
            .snapshot()
            .sources
            .values()
            .map(|s| s.counts.read)
            .sum();
        let rate = events as f64 / started.elapsed().as_secs_f64();
        bar.set_position(bytes);
        bar.set_message(format!("{events} events, {rate:.0}/s"));
        ticks += 1;
        if !terminal && ticks.is_multiple_of(50) {
            tracing::info!(bytes, total, events, rate = rate as u64, "replaying");
        }
    }
}

/// Takes the bar away however the task ends.
struct Clear(ProgressBar);
impl Drop for Clear {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Every incident, in order of time.
pub async fn all_incidents(store: &SharedStore) -> anyhow::Result<Vec<StoredIncident>> {
    let mut query = IncidentQuery {
        limit: 1000,
        ..IncidentQuery::default()
    };
    let mut all = vec![];
    loop {
        let page = store.incidents(&query).await?;
        let full = page.len() == 1000;
        query.cursor = page
            .last()
            .map(|i| (i.updated, i.incident.incident_id.clone()));
        all.extend(page);
        if !full {
            break;
        }
    }
    all.sort_by(|a, b| {
        (a.incident.first_time, &a.incident.incident_id)
            .cmp(&(b.incident.first_time, &b.incident.incident_id))
    });
    Ok(all)
}

/// Every standing alert, in order of time.
pub async fn all_alerts(store: &SharedStore) -> anyhow::Result<Vec<Alert>> {
    let mut query = AlertQuery {
        limit: 1000,
        ..AlertQuery::default()
    };
    let mut all = vec![];
    loop {
        let page = store.alerts(&query).await?;
        let full = page.len() == 1000;
        query.cursor = page.last().map(|a| (a.first_time, a.alert_id.clone()));
        all.extend(page);
        if !full {
            break;
        }
    }
    all.retain(|alert| alert.state != weir_engine::AlertState::Retracted);
    all.sort_by(|a, b| (a.first_time, &a.alert_id).cmp(&(b.first_time, &b.alert_id)));
    Ok(all)
}
