//! `weir backtest`: rules over stored events, or over files, as they would have run live.

mod print;
mod select;
mod span;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use weir_connectors::FormatChoice;
use weir_engine::Tables;
use weir_engine::archive::Archive;
use weir_engine::backtest::{self, Backtest, Diff, Reading, Report, Span};
use weir_engine::batch::Counts;
use weir_engine::correlate::correlate;
use weir_engine::time::rfc3339;

use crate::commands::replay::replay;
use crate::config::{self, Config};
use crate::node::{self, Purpose};
use crate::report::Output;
use select::Selected;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rules by id, title, file or folder; without any, all configured rules and trained models.
    #[arg(value_name = "RULE", conflicts_with = "diff")]
    rules: Vec<String>,
    /// Two files of a rule: shows which alerts the change adds and removes. Exits with 1 if any.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    diff: Option<Vec<PathBuf>>,
    /// Alerts that start at this time or later: RFC 3339, a date (UTC), or 7d: that long before the end.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Alerts that start before this time: RFC 3339, a date (UTC), or 1d: that long before the newest event.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Data folder with stored events, which is only read; without it the configured store.
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    data: Option<PathBuf>,
    /// Log files or folders instead of stored events; decoded and enriched as by `weir replay`.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Format of all --files.
    #[arg(long, default_value = "auto", value_parser = config::format_named, requires = "files")]
    format: FormatChoice,
    /// Name of the source of --files, as rules see it in metadata_log_name.
    #[arg(long, default_value = "replay", requires = "files")]
    name: String,
    /// Name stamped on Kubernetes events of --files.
    #[arg(long, requires = "files")]
    cluster: Option<String>,
    /// List the alerts in the table, too. JSON always has them.
    #[arg(long)]
    alerts: bool,
    /// Alerts kept per rule; those beyond are counted and in no incident.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keep: usize,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub async fn run(config: Config, args: Args) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = work(&config, &args) => done,
        // A replay of files listens to Ctrl-C and goes on; nothing else would end what follows it.
        Ok(()) = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

async fn work(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let sets = match args.diff.as_deref() {
        Some([old, new]) => vec![select::file(old)?, select::file(new)?],
        _ => vec![select::select(config, &args.rules)?],
    };
    let folder = tempfile::tempdir()?;
    let input = Input::open(config, args, folder.path()).await?;
    let mut done = Done::new(sets, input, &node::tables(config)?, args).await?;
    let mut out = std::io::stdout().lock();
    if args.diff.is_some() {
        let (Some(new), Some(old)) = (done.reports.pop(), done.reports.pop()) else {
            bail!("a comparison needs two rules");
        };
        for rule in old.rules.iter().chain(&new.rules) {
            if let Some(error) = &rule.last_error {
                bail!("{}: {} errors, the last: {error}", rule.path, rule.errors);
            }
            ensure!(
                rule.left_out == 0,
                "{}: {} alerts; narrow --from and --to, or raise --keep, to compare them all",
                rule.path,
                rule.alerts
            );
        }
        let rules: Vec<_> = old.rules.into_iter().chain(new.rules).collect();
        let diff = Diff::new(old.alerts, new.alerts);
        match args.output {
            Output::Json => print::diff_json(&mut out, &done.reading, &rules, &diff)?,
            Output::Table => print::diff(&mut out, &done.reading, &rules, &diff)?,
        }
        return Ok(if diff.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let Some(report) = done.reports.pop() else {
        bail!("nothing was run");
    };
    let grouped = correlate(&report.alerts, &config.correlation());
    match args.output {
        Output::Json => print::json(&mut out, &done.reading, &report, &grouped)?,
        Output::Table => print::table(&mut out, &done.reading, &report, &grouped, args.alerts)?,
    }
    Ok(code(&report))
}

/// Failure when a rule erred on events: its alerts are not all there.
fn code(report: &Report) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for rule in report.rules.iter().filter(|rule| rule.errors > 0) {
        let last = rule.last_error.as_deref().unwrap_or("");
        eprintln!(
            "rule {}: {} errors, the last: {last}",
            rule.title, rule.errors
        );
        code = ExitCode::FAILURE;
    }
    code
}

/// The stored events of a backtest.
struct Input {
    archive: Archive,
    /// For messages: the data folder, or the files.
    place: String,
    /// Earliest and latest event, µs.
    first: i64,
    last: i64,
    files: Option<Files>,
}

/// What decoding made of files.
struct Files {
    counts: Counts,
    reasons: BTreeMap<String, u64>,
    skipped: Vec<(String, String)>,
    seconds: f64,
}

impl Input {
    async fn open(config: &Config, args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let (data, place, files) = if args.files.is_empty() {
            let data = args.data.as_ref().unwrap_or(&config.store.path);
            ensure!(
                data.is_dir(),
                "{}: no such data folder; --data names another, --files reads logs",
                data.display()
            );
            (data.clone(), data.display().to_string(), None)
        } else {
            let files = store_files(config, args, folder).await?;
            (folder.join("data"), "--files".into(), Some(files))
        };
        let archive = Archive::open(data.join("events"))?;
        let Some((first, last)) = archive.span().await? else {
            match files {
                Some(files) => bail!(
                    "no event could be read from --files: {} records, {} dead letters {:?}, {} duplicates, {} unchanged, {} filtered",
                    files.counts.read,
                    files.counts.dead_lettered,
                    files.reasons,
                    files.counts.duplicates,
                    files.counts.unchanged,
                    files.counts.filtered
                ),
                None => bail!(
                    "{place}: no stored events; `weir run` and `weir replay --data DIR` store them, --files reads logs"
                ),
            }
        };
        Ok(Self {
            archive,
            place,
            first,
            last,
            files,
        })
    }
}

/// Sends files through the pipeline, without rules, into an archive that is thrown away with `folder`.
async fn store_files(config: &Config, args: &Args, folder: &Path) -> anyhow::Result<Files> {
    for path in &args.files {
        ensure!(
            path.exists(),
            "--files: {} does not exist; rules stand before --files",
            path.display()
        );
    }
    let source = config::FileSource {
        paths: args.files.clone(),
        format: args.format,
        follow: false,
        cluster: args.cluster.clone(),
        lateness: None,
        idle_after: None,
        max_skew: None,
        scan_gap: None,
        max_record_bytes: None,
        mapping: None,
        flow_fields: None,
    };
    let mut config = config.clone();
    config.source = BTreeMap::from([(args.name.clone(), config::Source::File(source))]);
    config.rules.embedded = false;
    config.rules.paths.clear();
    config.rules.disabled.clear();
    config.models.path = folder.join("no-models");
    config.archive.enabled = true;
    // Files may be older than what a service would keep.
    config.archive.retention = Duration::ZERO;
    let done = replay(&config, &folder.join("data"), Purpose::Replay).await?;
    let counts = done.counts();
    for (path, reason) in &done.skipped {
        eprintln!("skipped {path}: {reason}");
    }
    ensure!(counts.conserved(), "events are unaccounted for: {counts:?}");
    Ok(Files {
        counts,
        reasons: done.reasons(),
        skipped: done.skipped,
        seconds: done.seconds,
    })
}

/// A backtest that has come to its end.
struct Done {
    reports: Vec<Report>,
    reading: Summary,
}

/// What was read, for both forms of output.
struct Summary {
    reading: Reading,
    /// Asked for, as far as there are events, µs.
    span: Span,
    seconds: f64,
    notes: Vec<String>,
    files: Option<Files>,
}

impl Summary {
    /// Length of the span in days.
    fn days(&self) -> f64 {
        let micros = self.span.to.saturating_sub(self.span.from);
        micros as f64 / 86_400e6
    }

    fn rate(&self) -> f64 {
        self.reading.events as f64 / self.seconds.max(1e-6)
    }
}

impl Done {
    async fn new(
        sets: Vec<Selected>,
        input: Input,
        tables: &Tables,
        args: &Args,
    ) -> anyhow::Result<Self> {
        let (first, last) = (input.first, input.last);
        let span = span::resolve(args.from.as_deref(), args.to.as_deref(), last)?;
        let nothing = || {
            let asked = match (span.from, span.to) {
                (from, i64::MAX) => format!("from {} on", rfc3339(from)),
                (i64::MIN, to) => format!("before {}", rfc3339(to)),
                (from, to) => format!("from {} to {}", rfc3339(from), rfc3339(to)),
            };
            let (first, last) = (rfc3339(first), rfc3339(last));
            anyhow::anyhow!(
                "no events {asked}; {} holds events from {first} to {last}",
                input.place
            )
        };
        if span.to <= first || span.from > last {
            return Err(nothing());
        }
        let mut notes = vec![];
        let mut running = vec![];
        for set in sets {
            notes.extend(set.warnings);
            for terms in set
                .rules
                .iter()
                .filter(|rule| rule.kind.new_terms().is_some())
            {
                let needed = span.from.max(first).saturating_sub(terms.reach().before);
                if needed < first {
                    notes.push(format!(
                        "{}: its history reaches back to {}, events only to {}: it learns longer and finds more new than live",
                        terms.title,
                        rfc3339(needed),
                        rfc3339(first)
                    ));
                }
            }
            running.push(Backtest::new(set.rules, set.models, tables, span, args.keep).await?);
        }
        let started = Instant::now();
        let bar = bar();
        let reading = backtest::run(&input.archive, &mut running, |reading| {
            bar.set_length(reading.hours as u64);
            bar.set_position(reading.hours_done as u64);
            let rate = reading.events as f64 / started.elapsed().as_secs_f64().max(1e-6);
            bar.set_message(format!("{} events, {rate:.0}/s", reading.events));
        })
        .await;
        bar.finish_and_clear();
        let reading = reading?;
        if reading.in_span == 0 {
            return Err(nothing());
        }
        Ok(Self {
            reports: running.into_iter().map(Backtest::finish).collect(),
            reading: Summary {
                span: Span {
                    from: span.from.max(first),
                    to: span.to.min(last.saturating_add(1)),
                },
                reading: Reading {
                    from: reading.from.max(first),
                    to: reading.to.min(last.saturating_add(1)),
                    ..reading
                },
                seconds: started.elapsed().as_secs_f64(),
                notes,
                files: input.files,
            },
        })
    }
}

fn bar() -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} hours {msg} {eta} left") {
        bar.set_style(style);
    }
    bar
}
