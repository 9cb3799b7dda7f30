//! What rules cost by their number: the start, and the road over the same events.
//!
//! `cargo run --release -p weir-benches --bin rules`, or with a file of ndjson instead of generated events
//!
//! The rules are those of the packs and generated variants of them (`variants`). The start is what the binary does with rules
//! before it reads the first event: files are read and planned. The road is that of the bench `road`, without archive. Numbers
//! of rules take turns; the medians of several runs are printed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use weir_benches::generator::{Format, Spec, write_events};
use weir_benches::{peak_mib, road, rss_mib, variants};
use weir_engine::detect::Detector;
use weir_engine::health::Snapshot;
use weir_engine::watermark::Lateness;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of rules [default: those of the packs, 1000, 3000].
    #[arg(long, value_delimiter = ',')]
    rules: Vec<usize>,
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Events to generate.
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    /// Without the road.
    #[arg(long)]
    only_start: bool,
    /// Leaves so many rules in a folder, and ends.
    #[arg(long, num_args = 2, value_names = ["RULES", "FOLDER"])]
    write: Option<Vec<String>>,
    /// Events to read instead of generated ones.
    file: Option<PathBuf>,
}

/// What one number of rules took, by run.
#[derive(Default)]
struct Took {
    read: Vec<Duration>,
    planned: Vec<Duration>,
    road: Vec<Duration>,
    /// What they did on the road.
    health: Snapshot,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../detections/packs");
    if let Some([rules, folder]) = arguments.write.as_deref() {
        return variants::write(&packs, Path::new(folder), rules.parse()?);
    }
    if arguments.rules.is_empty() {
        arguments.rules = vec![weir_detections::embedded()?.len(), 1_000, 3_000];
    }
    println!("{arguments:?}");
    let folder = tempfile::tempdir()?;
    let events = match (&arguments.file, arguments.only_start) {
        (_, true) => None,
        (Some(path), false) => Some(path.clone()),
        (None, false) => Some(generate(arguments.events, folder.path())?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let place = |rules: usize| folder.path().join(format!("{rules}-rules"));
    for rules in &arguments.rules {
        variants::write(&packs, &place(*rules), *rules)?;
    }
    let mut all: Vec<Took> = arguments.rules.iter().map(|_| Took::default()).collect();
    for run in 0..arguments.runs {
        for (rules, took) in arguments.rules.iter().zip(&mut all) {
            let before = rss_mib();
            let detector = runtime.block_on(start(&place(*rules), took))?;
            println!(
                "run {run}: {rules} rules: {} MiB more, peak so far {} MiB",
                rss_mib().saturating_sub(before),
                peak_mib()
            );
            if let Some(events) = &events {
                let data = folder.path().join("data");
                std::fs::create_dir_all(&data)?;
                let (road, health) = runtime.block_on(async {
                    let parts = road::parts(&data, detector, None).await?;
                    road::run(events, road::settings(Lateness::default()), parts).await
                })?;
                std::fs::remove_dir_all(&data)?;
                took.road.push(road);
                took.health = health;
            }
        }
    }
    report(&arguments.rules, &mut all);
    Ok(())
}

fn generate(events: u64, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("events.ndjson");
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&path)?);
    let spec = Spec {
        events,
        identities: 10_000,
        rate: 250.0,
        seed: 7,
        attacks: 0.001,
        format: Format::Mixed,
        ..Spec::default()
    };
    write_events(&mut file, &spec)?;
    Ok(path)
}

/// From rule files to a detector that takes events.
async fn start(folder: &Path, took: &mut Took) -> Result<Detector> {
    let started = Instant::now();
    let loaded = weir_detections::load_dir(folder)?.into_iter();
    let rules = loaded.map(|loaded| loaded.rule).collect();
    took.read.push(started.elapsed());
    let started = Instant::now();
    let (detector, refused) = Detector::new(rules, vec![]).await?;
    took.planned.push(started.elapsed());
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(detector)
}

fn report(numbers: &[usize], all: &mut [Took]) {
    println!(
        "rules    read, s   planned, s   ms per rule    road, s   times the first   alerts   rows evaluated"
    );
    let mut first = None;
    for (rules, took) in numbers.iter().zip(all) {
        let (read, planned) = (median(&mut took.read), median(&mut took.planned));
        let road = median(&mut took.road);
        let of_rules = took.health.rules.values();
        let evaluated: u64 = of_rules.map(|rule| rule.rows_evaluated).sum();
        println!(
            "{rules:5} {read:10.3} {planned:12.3} {:13.3} {road:10.2} {:17.2} {:8} {evaluated:16}",
            (read + planned) * 1000.0 / *rules as f64,
            road / *first.get_or_insert(road),
            took.health.alerts,
        );
    }
}

/// Seconds; 0 for what was not measured.
fn median(took: &mut [Duration]) -> f64 {
    took.sort_unstable();
    took.get(took.len() / 2).map_or(0.0, Duration::as_secs_f64)
}
