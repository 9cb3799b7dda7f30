//! Live and backtest over the same events give the same alerts.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use clap::Parser;
use weir_engine::{Alert, Incident};

use super::*;
use crate::commands::demo::enrichment;
use crate::commands::replay::Replayed;
use crate::demo;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Args {
    let words = std::iter::once("backtest").chain(words.iter().copied());
    Cli::try_parse_from(words).unwrap().args
}

/// The demo's Tuesday, in which passwords are sprayed, replayed into `dir/data`. The store stays open.
async fn live(dir: &Path) -> (Config, Replayed) {
    let logs = dir.join("logs");
    demo::write_weekday(&logs, 7, 1).unwrap();
    let mut config = Config::load(None).unwrap();
    enrichment(&mut config, dir).unwrap();
    config.models.path = dir.join("no-models");
    let file = config::FileSource {
        paths: vec![logs],
        format: weir_connectors::FormatChoice::Auto,
        follow: false,
        cluster: Some("demo".into()),
        lateness: Some(Duration::from_micros(demo::MAX_LATENESS_US as u64)),
        idle_after: None,
        max_skew: None,
        scan_gap: None,
        max_record_bytes: None,
        mapping: None,
        flow_fields: None,
    };
    config.source = BTreeMap::from([("demo".to_owned(), config::Source::File(file))]);
    let done = replay(&config, &dir.join("data"), Purpose::Replay).await;
    (config, done.unwrap())
}

async fn backtest(config: &Config, args: &Args) -> anyhow::Result<Done> {
    let folder = tempfile::tempdir()?;
    let sets = match args.diff.as_deref() {
        Some([old, new]) => vec![select::file(old)?, select::file(new)?],
        _ => vec![select::select(config, &args.rules)?],
    };
    let input = Input::open(config, args, folder.path()).await?;
    Done::new(sets, input, &weir_engine::Tables::default(), args).await
}

/// Without what depends on when something was decided.
fn bare(alerts: &[Alert]) -> Vec<String> {
    let bare = alerts.iter().cloned().map(|alert| Alert {
        revision: 0,
        watermark: None,
        ..alert
    });
    bare.map(|alert| serde_json::to_string(&alert).unwrap())
        .collect()
}

fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            found.extend(files(&entry.path()));
        }
        found.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn live_and_backtest_give_the_same_alerts() {
    let dir = tempfile::tempdir().unwrap();
    let (config, live) = live(dir.path()).await;
    assert!(live.alerts.len() > 10, "{} alerts", live.alerts.len());
    let windowed = |alert: &&Alert| alert.window.is_some();
    assert!(live.alerts.iter().filter(windowed).count() > 1);

    let data = dir.path().join("data").display().to_string();
    let before = files(&dir.path().join("data/events"));
    let mut stored = backtest(&config, &args(&["--data", &data])).await.unwrap();
    assert_eq!(files(&dir.path().join("data/events")), before);
    let report = stored.reports.pop().unwrap();
    assert_eq!(bare(&report.alerts), bare(&live.alerts));
    let counted: u64 = report.rules.iter().map(|rule| rule.alerts).sum();
    assert_eq!(counted, live.alerts.len() as u64);
    assert_eq!(stored.reading.reading.events, live.counts().processed);

    let grouped = correlate(&report.alerts, &config.correlation());
    let parts = |i: &Incident| (i.incident_id.clone(), i.alert_ids.clone());
    let ours: Vec<_> = grouped.incidents.values().map(parts).collect();
    let mut theirs: Vec<_> = live.incidents.iter().map(|i| parts(&i.incident)).collect();
    theirs.sort();
    assert_eq!(ours, theirs);

    // The logs themselves, read anew; one source of them, for the sake of time.
    let logs = dir.path().join("logs/cloudtrail").display().to_string();
    let words = ["--cluster", "demo", "--name", "demo", "--files", &logs];
    let mut again = backtest(&config, &args(&words)).await.unwrap();
    let report = again.reports.pop().unwrap();
    let trail = |alert: &&Alert| {
        let rule = live.rules.iter().find(|rule| rule.id == alert.rule_id);
        rule.is_some_and(|rule| rule.path.contains("cloudtrail"))
    };
    let expected: Vec<Alert> = live.alerts.iter().filter(trail).cloned().collect();
    assert!(!expected.is_empty());
    let found: Vec<Alert> = report.alerts.iter().filter(trail).cloned().collect();
    assert_eq!(bare(&found), bare(&expected));

    // A span reports the alerts that start in it, whole.
    let words = [
        "--data",
        &data,
        "--from",
        "2026-11-10T09:00",
        "--to",
        "2026-11-10T15:30",
    ];
    let mut part = backtest(&config, &args(&words)).await.unwrap();
    let report = part.reports.pop().unwrap();
    let span = part.reading.span;
    let inside = |alert: &&Alert| {
        (span.from..span.to).contains(&weir_engine::backtest::episode_start(alert))
    };
    let expected: Vec<Alert> = live.alerts.iter().filter(inside).cloned().collect();
    assert!(!expected.is_empty() && expected.len() < live.alerts.len());
    assert_eq!(bare(&report.alerts), bare(&expected));
    assert!(part.reading.reading.in_span < live.counts().processed);

    let words = ["--data", &data, "--from", "2026-11-20"];
    let error = backtest(&config, &args(&words)).await.err().unwrap();
    let error = error.to_string();
    assert!(error.contains("holds events from 2026-11-"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_finds_alerts_again_by_key_and_start() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("calls.ndjson");
    let mut lines = String::new();
    for (user, count) in [("ann", 12), ("bob", 6), ("eve", 12)] {
        for n in 0..count {
            lines += &format!(
                r#"{{"eventVersion":"1.10","eventTime":"2026-11-09T09:00:{n:02}Z","eventSource":"iam.amazonaws.com","eventName":"{}","eventID":"{user}-{n}","awsRegion":"us-east-1","recipientAccountId":"111122223333","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/{user}","accountId":"111122223333","userName":"{user}"}},"errorCode":"AccessDenied"}}"#,
                if user == "eve" {
                    "ListRoles"
                } else {
                    "ListUsers"
                }
            );
            lines.push('\n');
        }
    }
    std::fs::write(&logs, lines).unwrap();
    let rule = |name: &str, operations: &str, least: u32, extra: &str| {
        let text = format!(
            "title: Calls refused to one identity{extra}\nid: 0f8f9a0e-6b0e-4c0a-9a43-0a4e0c1d2f33\nlevel: low\n\
             query: |\n  SELECT actor_user_uid, count(*) AS calls FROM cloud_audit\n  WHERE api_operation IN ({operations}) \
             AND actor_user_uid IS NOT NULL\n  GROUP BY actor_user_uid HAVING count(*) >= {least}\n\
             window: {{ size: 10m, slide: 10m }}\nentities: {{ user: actor_user_uid }}\n"
        );
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let old = rule("old.yml", "'ListUsers', 'ListRoles'", 10, "");
    let new = rule("new.yml", "'ListUsers'", 5, "");
    let same = rule(
        "same.yml",
        "'ListRoles', 'ListUsers'",
        9,
        ", in other words",
    );
    let config = Config::load(None).unwrap();
    let logs = logs.display().to_string();
    let compare = async |old: &str, new: &str| {
        let args = args(&["--diff", old, new, "--files", &logs]);
        let mut done = backtest(&config, &args).await.unwrap();
        let (new, old) = (done.reports.pop().unwrap(), done.reports.pop().unwrap());
        Diff::new(old.alerts, new.alerts)
    };
    let users = |alerts: &[Alert]| -> Vec<String> {
        let name = |alert: &Alert| alert.key[0].1.rsplit('/').next().unwrap().to_owned();
        alerts.iter().map(name).collect()
    };
    let diff = compare(&old, &new).await;
    assert_eq!(users(&diff.added), ["bob"]);
    assert_eq!(users(&diff.removed), ["eve"]);
    assert_eq!((diff.changed.len(), diff.same), (0, 1));
    let diff = compare(&old, &same).await;
    assert!(diff.is_empty() && diff.same == 2, "{diff:?}");

    let run_with = |words: &[&str]| run(config.clone(), args(words));
    let code = run_with(&["--diff", &old, &new, "--files", &logs]).await;
    assert_eq!(code.unwrap(), ExitCode::FAILURE);
    let code = run_with(&["--diff", &old, &same, "--output", "json", "--files", &logs]).await;
    assert_eq!(code.unwrap(), ExitCode::SUCCESS);
    let error = run_with(&[&old, &new, "--files", &logs]).await.unwrap_err();
    assert!(error.to_string().contains("--diff"), "{error}");
    let error = run_with(&["--files", "/nowhere.log"]).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere.log"), "{error}");
}
