//! Sliding windows over disordered events: events per second and memory of the whole road (file, decode,
//! dedup, one rule, SQLite), and how many windows matched, to be compared with `benches/windows_duckdb.py`,
//! which answers the same two questions in batch over the same file.
//!
//! `cargo run --release -p weir-benches --bin windows -- --out events.ndjson`
//!
//! One million events of 10,000 identities at 250 a second of event time, each up to 60 s behind the newest;
//! one in ten comes from 50 busy identities, so that thresholds are reached.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use weir_benches::generator::{Spec, write_events};
use weir_benches::{failures, peak_mib, regions, road};
use weir_engine::Rule;
use weir_engine::detect::Detector;
use weir_engine::time::MINUTE;
use weir_engine::watermark::Lateness;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Where the events go; made if it does not exist.
    #[arg(long)]
    out: PathBuf,
    /// Only this rule, for its memory: failures or regions.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.out.exists() {
        write(&arguments)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    for rule in [failures(), regions()] {
        let title = rule.title.clone();
        if arguments.only.as_ref().is_some_and(|only| *only != title) {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let (took, matches, state) =
            runtime.block_on(whole(&arguments.out, folder.path(), rule))?;
        println!(
            "{title:10} {:9.0} events/s, {matches} windows matched, {} MiB of state at the end, peak {} MiB",
            arguments.events as f64 / took.as_secs_f64(),
            state >> 20,
            peak_mib()
        );
    }
    Ok(())
}

/// Nine parts of all identities and one of few, as if from two accounts, in order of arrival.
fn write(arguments: &Arguments) -> Result<()> {
    let busy = arguments.events / 10;
    let spec = |events, identities, seed, rate| {
        let mut text = vec![];
        let spec = Spec {
            events,
            identities,
            seed,
            rate,
            disorder_seconds: 60.0,
            ..Spec::default()
        };
        write_events(&mut text, &spec).map(|_| text)
    };
    let many = spec(arguments.events - busy, 10_000, 7, 225.0)?;
    let few = spec(busy, 50, 8, 25.0)?;
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&arguments.out)?);
    let mut few = few.split_inclusive(|byte| *byte == b'\n');
    for (index, line) in many.split_inclusive(|byte| *byte == b'\n').enumerate() {
        place(&mut out, line, index)?;
        if index % 9 == 8
            && let Some(line) = few.next()
        {
            place(&mut out, line, index)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Writes an event, one in twenty moved to another region.
fn place(out: &mut impl Write, line: &[u8], index: usize) -> Result<()> {
    const REGIONS: [&str; 5] = [
        "eu-west-1",
        "eu-central-1",
        "ap-south-1",
        "sa-east-1",
        "us-west-2",
    ];
    let hash = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    if hash.is_multiple_of(20) {
        let text = std::str::from_utf8(line)?;
        let region = format!("\"awsRegion\":\"{}\"", REGIONS[hash / 20 % REGIONS.len()]);
        out.write_all(
            text.replacen("\"awsRegion\":\"us-east-1\"", &region, 1)
                .as_bytes(),
        )?;
    } else {
        out.write_all(line)?;
    }
    Ok(())
}

async fn whole(path: &Path, data: &Path, rule: Rule) -> Result<(Duration, u64, u64)> {
    let lateness = Lateness {
        lateness: MINUTE,
        ..Lateness::default()
    };
    let (detector, refused) = Detector::new(vec![rule], vec![]).await?;
    ensure!(refused.is_empty(), "{refused:?}");
    let parts = road::parts(data, detector, None).await?;
    let (took, health) = road::run(path, road::settings(lateness), parts).await?;
    let Some(of_rule) = health.rules.values().next() else {
        anyhow::bail!("the rule has no health");
    };
    ensure!(of_rule.errors == 0 && of_rule.rows_late == 0, "{of_rule:?}");
    Ok((took, of_rule.matches, of_rule.state_bytes))
}
