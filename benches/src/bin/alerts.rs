//! What alerts cost: new ones are put into incidents and stored, commit by commit, until there are very many.
//!
//! `cargo run --release -p weir-benches --bin alerts -- --alerts 1000000`
//!
//! Alerts come in the order of time, each of one of many identities and from one of many addresses (seeded); their ids are
//! hashes. Incidents that nothing can join any more are closed, as the loop does it, and as there a commit is written while the
//! next alerts are put into incidents. Prints, for every tenth part, alerts per second (making them, correlation and store),
//! for how much of the time correlation and the store were at work, and the process's peak memory so far; in the end what it
//! takes to add, change and take back single alerts of one incident of `--large` alerts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use weir_benches::generator::Rng;
use weir_benches::peak_mib;
use weir_engine::alert::{Alert, AlertState, Entity, Evidence, alert_id};
use weir_engine::cases::Cases;
use weir_engine::correlate::Settings;
use weir_engine::rule::{Confidence, Level};
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::store::{Commit, Store};
use weir_engine::time::{HOUR, SECOND};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    alerts: u64,
    /// Alerts of one commit.
    #[arg(long, default_value_t = 5_000)]
    commit: u64,
    /// Alerts in one second of event time.
    #[arg(long, default_value_t = 20)]
    rate: u64,
    #[arg(long, default_value_t = 20_000)]
    identities: u64,
    /// Alerts of the large incident.
    #[arg(long, default_value_t = 50_000)]
    large: u64,
}

/// 2026-11-09T00:00:00Z.
const BEGIN: i64 = 1_794_182_400 * SECOND;

fn alert(number: u64, time: i64, user: &str, address: &str) -> Alert {
    let entity = |kind: &str, value: &str| Entity {
        kind: kind.into(),
        value: value.into(),
    };
    let rule = number % 50;
    let rule_id = format!("rule_{rule}");
    let key = vec![("actor_user_uid".to_owned(), user.to_owned())];
    let row = [
        ("actor_user_uid", user.into()),
        ("src_endpoint_ip", address.into()),
        ("calls", 12.into()),
    ];
    Alert {
        alert_id: alert_id(&rule_id, "1", &key, time),
        rule_id,
        rule_version: "1".into(),
        rule_title: format!("Something that rule {rule} finds"),
        level: Level::Medium,
        confidence: Confidence::Medium,
        risk_score: 40,
        key,
        window: None,
        first_time: time,
        last_time: time,
        entities: vec![entity("ip", address), entity("user", user)],
        tactics: vec!["discovery".into()],
        techniques: vec!["T1087".into()],
        row: row
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        matches: 1,
        evidence: vec![Evidence {
            time,
            event_uid: format!("event-{number:012}"),
        }],
        evidence_count: 1,
        state: AlertState::Final,
        revision: 1,
        watermark: None,
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("{arguments:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(sustained(&arguments))?;
    runtime.block_on(large(&arguments))
}

/// Puts alerts into incidents; returns what is to be stored.
fn update(cases: &mut Cases, alerts: Vec<Alert>, horizon: i64) -> Commit {
    let changes = cases.update(&alerts, Some(horizon), |_| false);
    Commit {
        state: cases.take_state(),
        alerts,
        incidents: changes.incidents,
        merged: changes.merged,
        withdrawn: changes.withdrawn,
        ..Commit::default()
    }
}

/// Writes beside what else goes on; returns for how long.
fn write(store: &Arc<SqliteStore>, commit: Commit) -> tokio::task::JoinHandle<Result<Duration>> {
    let store = store.clone();
    tokio::spawn(async move {
        let started = Instant::now();
        store.commit(&commit).await?;
        Ok(started.elapsed())
    })
}

async fn sustained(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(folder.path()).await?);
    let mut cases = Cases::new(Settings::default());
    let mut rng = Rng::new(7);
    let part = (arguments.alerts / 10).max(1);
    let (mut number, mut correlation, mut storing) = (0, Duration::ZERO, Duration::ZERO);
    let mut started = Instant::now();
    let mut writing = write(&store, Commit::default());
    while number < arguments.alerts {
        let mut alerts = vec![];
        let before = number / part;
        for _ in 0..arguments.commit {
            let time = BEGIN + (number * SECOND as u64 / arguments.rate) as i64;
            let user = rng.below(arguments.identities);
            let address = match rng.below(10) {
                // Of an office, which is common.
                0 => "198.51.100.1".to_owned(),
                own => format!("10.{}.{}.{own}", user >> 8, user & 255),
            };
            alerts.push(alert(number, time, &format!("user-{user}"), &address));
            number += 1;
        }
        let horizon = BEGIN + (number * SECOND as u64 / arguments.rate) as i64 - HOUR;
        let correlating = Instant::now();
        let commit = update(&mut cases, alerts, horizon);
        correlation += correlating.elapsed();
        storing += writing.await??;
        writing = write(&store, commit);
        if number / part > before {
            let all = started.elapsed().as_secs_f64();
            println!(
                "{number:9} alerts {:8.0} alerts/s  correlation {:4.1} %  store {:4.1} %  peak {} MiB",
                part as f64 / all,
                correlation.as_secs_f64() * 100.0 / all,
                storing.as_secs_f64() * 100.0 / all,
                peak_mib()
            );
            (correlation, storing) = (Duration::ZERO, Duration::ZERO);
            started = Instant::now();
        }
    }
    writing.await??;
    Ok(())
}

/// Times of correlation and of all of a few commits, each of which one alert is the cause of.
async fn one_by_one(
    what: &str,
    store: &Arc<SqliteStore>,
    cases: &mut Cases,
    alerts: Vec<Alert>,
) -> Result<()> {
    let (mut correlation, mut all) = (vec![], vec![]);
    for alert in alerts {
        let started = Instant::now();
        let commit = update(cases, vec![alert], BEGIN);
        correlation.push(started.elapsed());
        write(store, commit).await??;
        all.push(started.elapsed());
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    println!(
        "  {what}: {:.2} ms, of which correlation {:.2} ms",
        median(all),
        median(correlation)
    );
    Ok(())
}

async fn large(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(folder.path()).await?);
    let mut cases = Cases::new(Settings::default());
    let alerts = |from: u64, to: u64| -> Vec<Alert> {
        let alerts = (from..to).map(|number| {
            let time = BEGIN + number as i64 * SECOND;
            alert(number, time, "user-1", &format!("10.0.0.{}", number % 250))
        });
        alerts.collect()
    };
    let mut size = 0;
    for next in [arguments.large / 10, arguments.large] {
        let commit = update(&mut cases, alerts(size, next), BEGIN);
        write(&store, commit).await??;
        size = next + 20;
        println!("an incident of {next} alerts");
        let more = alerts(next, size);
        one_by_one("one more alert", &store, &mut cases, more).await?;
        let again = |state: AlertState| {
            let some = (1..=20).map(|part| size * part / 25);
            let some = some.flat_map(|number| alerts(number, number + 1));
            let again = some.map(|alert| Alert {
                last_time: alert.last_time + SECOND / 2,
                revision: alert.revision + 1,
                state,
                ..alert
            });
            again.collect::<Vec<_>>()
        };
        let changed = again(AlertState::Final);
        one_by_one("one alert is longer", &store, &mut cases, changed).await?;
        let gone = again(AlertState::Retracted);
        one_by_one("one alert is taken back", &store, &mut cases, gone).await?;
    }
    Ok(())
}
