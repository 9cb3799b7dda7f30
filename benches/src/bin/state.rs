//! State of a window rule with very many keys: memory per key, bytes stored, time to commit and to restore.
//!
//! `cargo run --release -p weir-benches --bin state -- --keys 1000000`
//!
//! Each key fails once inside one window of ten minutes, so all of them are kept and none is told. Says whether
//! the rule stayed inside its budget (the default one unless `--limit-mb` gives another).

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use weir_benches::{failures, rss_mib};
use weir_engine::Tables;
use weir_engine::builder::EventBuilder;
use weir_engine::detect::{Detector, Limits};
use weir_engine::schema::col;
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::store::{Commit, Store};
use weir_engine::time::{MINUTE, SECOND};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Limit on the rule's state, MiB.
    #[arg(long)]
    limit_mb: Option<usize>,
}

/// 2026-11-09T00:00:00Z.
const BEGIN: i64 = 1_794_182_400 * SECOND;
const ROWS: usize = 8192;

fn events(from: usize, to: usize, keys: usize) -> Result<RecordBatch> {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for key in from..to {
        builder.begin();
        // Ten minutes in the order of time.
        let within = (10 * MINUTE - 1) as f64 * key as f64 / keys as f64;
        builder.int(col::TIME, BEGIN + within as i64);
        builder.text(
            col::EVENT_UID,
            &format!("{key:08x}-0000-4000-8000-000000000000"),
        );
        builder.text(col::FAMILY, "cloud_audit");
        builder.text(col::PRODUCT, "CloudTrail");
        builder.text(col::LOG_NAME, "bench");
        builder.text(col::STATUS, "failure");
        let actor = format!("arn:aws:iam::111122223333:user/person-{key:08}");
        builder.text(col::ACTOR_UID, &actor);
        builder.text(col::RAW, "{}");
        builder.keep();
    }
    Ok(builder.finish()?)
}

async fn detector(limit_mb: Option<usize>) -> Result<Detector> {
    let mut limits = Limits::default();
    if let Some(mb) = limit_mb {
        limits.rule_bytes = mb << 20;
        limits.all_bytes = mb << 20;
    }
    let made = Detector::open(vec![failures()], vec![], limits, &Tables::default()).await?;
    ensure!(made.1.is_empty(), "{:?}", made.1);
    Ok(made.0)
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let keys = arguments.keys;
    let mut running = detector(arguments.limit_mb).await?;
    let before = rss_mib();
    let started = Instant::now();
    for from in (0..keys).step_by(ROWS) {
        running
            .push(&events(from, keys.min(from + ROWS), keys)?)
            .await;
        running.advance(BEGIN - MINUTE).await;
    }
    let pushed = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let told = running.changes(true, None).await.len();
    let answered = started.elapsed().as_secs_f64();
    let health = running.health().next().map(|(_, health)| health.clone());
    let Some(health) = health else {
        anyhow::bail!("the rule has no health");
    };
    ensure!(
        told == 0 && health.errors == u64::from(health.suspended.is_some()),
        "{health:?}"
    );
    println!(
        "{keys} keys in one window: {}; pushed in {pushed:.1} s, all windows answered provisionally in {answered:.2} s",
        health.suspended.as_deref().unwrap_or("inside the budget"),
    );
    println!(
        "memory {} MiB more, {:.0} bytes per key; accounted {} MiB, {:.0} bytes per key",
        rss_mib() - before,
        ((rss_mib() - before) << 20) as f64 / keys as f64,
        health.state_bytes >> 20,
        health.state_bytes as f64 / keys as f64
    );
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path()).await?;
    let started = Instant::now();
    let state = running.take_state().await?;
    let bytes: usize = state
        .iter()
        .filter_map(|w| Some(w.value.as_ref()?.len()))
        .sum();
    let pieces = state.len();
    let commit = Commit {
        state,
        ..Commit::default()
    };
    store.commit(&commit).await?;
    println!(
        "stored {} MiB in {pieces} pieces, {:.0} bytes per key, in {:.1} s",
        bytes >> 20,
        bytes as f64 / keys as f64,
        started.elapsed().as_secs_f64()
    );
    drop((running, commit));
    let mut again = detector(arguments.limit_mb).await?;
    let started = Instant::now();
    let resume = store.resume().await?;
    let read = started.elapsed().as_secs_f64();
    again.restore(&resume.state, Some(BEGIN - MINUTE))?;
    let restored = started.elapsed().as_secs_f64();
    let accounted = again.health().next().map(|(_, health)| health.state_bytes);
    println!(
        "restored in {restored:.1} s ({read:.1} s of it reading), accounted {} MiB; {:.0} MiB/s",
        accounted.unwrap_or(0) >> 20,
        bytes as f64 / restored / f64::from(1 << 20)
    );
    Ok(())
}
