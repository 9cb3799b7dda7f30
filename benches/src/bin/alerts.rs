//! What alerts cost: new ones are put into incidents and stored, commit by commit, until there are very many.
//!
//! `cargo run --release -p weir-benches --bin alerts -- --alerts 1000000`
//!
//! Alerts come in the order of time, each of one of many identities and from one of many addresses (seeded). Incidents that
//! nothing can join any more are closed, as the loop does it. Prints, for every tenth part, alerts per second (correlation
//! and store), how much of that was correlation, and the process's peak memory so far; in the end what it takes to add single
//! alerts to one incident of `--large` alerts.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use weir_benches::generator::Rng;
use weir_benches::peak_mib;
use weir_engine::alert::Alert;
use weir_engine::cases::Cases;
use weir_engine::correlate::Settings;
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

fn alert(number: u64, time: i64, user: &str, address: &str) -> Result<Alert> {
    let entity = |kind: &str, value: &str| serde_json::json!({ "kind": kind, "value": value });
    let evidence = serde_json::json!({ "time": time, "event_uid": format!("event-{number:012}") });
    Ok(serde_json::from_value(serde_json::json!({
        "alert_id": format!("{number:032x}"),
        "rule_id": format!("rule_{}", number % 50),
        "rule_version": "1",
        "rule_title": format!("Something that rule {} finds", number % 50),
        "level": "medium",
        "confidence": "medium",
        "risk_score": 40,
        "key": [["actor_user_uid", user]],
        "window": null,
        "first_time": time,
        "last_time": time,
        "entities": [entity("ip", address), entity("user", user)],
        "tactics": ["discovery"],
        "techniques": ["T1087"],
        "row": { "actor_user_uid": user, "src_endpoint_ip": address, "calls": 12 },
        "matches": 1,
        "evidence": [evidence],
        "evidence_count": 1,
        "state": "final",
        "revision": 1,
        "watermark": null
    }))?)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("{arguments:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(sustained(&arguments))?;
    runtime.block_on(large(&arguments))
}

async fn commit(
    store: &SqliteStore,
    cases: &mut Cases,
    alerts: Vec<Alert>,
    horizon: i64,
) -> Result<Duration> {
    let started = Instant::now();
    let changes = cases.update(&alerts, Some(horizon), |_| false);
    let state = cases.take_state();
    let took = started.elapsed();
    let commit = Commit {
        state,
        alerts,
        incidents: changes.incidents,
        merged: changes.merged,
        withdrawn: changes.withdrawn,
        ..Commit::default()
    };
    store.commit(&commit).await?;
    Ok(took)
}

async fn sustained(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path()).await?;
    let mut cases = Cases::new(Settings::default());
    let mut rng = Rng::new(7);
    let part = (arguments.alerts / 10).max(1);
    let (mut number, mut correlation, mut all) = (0, Duration::ZERO, Duration::ZERO);
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
            alerts.push(alert(number, time, &format!("user-{user}"), &address)?);
            number += 1;
        }
        let horizon = BEGIN + (number * SECOND as u64 / arguments.rate) as i64 - HOUR;
        let started = Instant::now();
        correlation += commit(&store, &mut cases, alerts, horizon).await?;
        all += started.elapsed();
        if number / part > before {
            println!(
                "{number:9} alerts {:8.0} alerts/s  correlation {:4.1} %  peak {} MiB",
                part as f64 / all.as_secs_f64(),
                correlation.as_secs_f64() * 100.0 / all.as_secs_f64(),
                peak_mib()
            );
            (correlation, all) = (Duration::ZERO, Duration::ZERO);
        }
    }
    Ok(())
}

async fn large(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path()).await?;
    let mut cases = Cases::new(Settings::default());
    let alerts = |from: u64, to: u64| {
        let alerts = (from..to).map(|number| {
            let time = BEGIN + number as i64 * SECOND;
            alert(number, time, "user-1", &format!("10.0.0.{}", number % 250))
        });
        alerts.collect::<Result<Vec<_>>>()
    };
    let mut size = arguments.large / 10;
    commit(&store, &mut cases, alerts(0, size)?, BEGIN).await?;
    loop {
        let (mut correlation, started) = (Duration::ZERO, Instant::now());
        for number in size..size + 10 {
            correlation += commit(&store, &mut cases, alerts(number, number + 1)?, BEGIN).await?;
        }
        println!(
            "one more alert in an incident of {size}: {:.2} ms, of which correlation {:.2} ms",
            started.elapsed().as_secs_f64() * 100.0,
            correlation.as_secs_f64() * 100.0
        );
        size += 10;
        if size >= arguments.large {
            return Ok(());
        }
        let next = arguments.large.max(size + 1);
        commit(&store, &mut cases, alerts(size, next)?, BEGIN).await?;
        size = next;
    }
}
