//! Throughput of the road's parts beside the floor, in one run over the same generated events.
//!
//! `cargo run --release -p weir-benches --bin road -- --events 300000`, or with a file of ndjson, which is then read as it is
//!
//! - floor: `sonic_rs` parses every event to a DOM, one core.
//! - decode: our decoder, blocks of 8192 records, one core.
//! - rules: decode and all embedded rules, watermark moving, one core.
//! - road: file → decode → dedup → rules → correlation → SQLite and Parquet, as the binary runs it (reading and
//!   decoding on one thread, the loop on another).
//! - road without archive: the same without Parquet.
//!
//! Prints events per second, the ratio to the floor, and the process's peak memory so far.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::max;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use weir_benches::generator::{Spec, write_events};
use weir_benches::{block, peak_mib, road};
use weir_connectors::{Decoder, DecoderConfig, Record};
use weir_engine::archive::{ArchiveConfig, ArchiveWriter};
use weir_engine::batch::Partition;
use weir_engine::detect::Detector;
use weir_engine::schema::col;
use weir_engine::time::MINUTE;
use weir_engine::watermark::Lateness;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 300_000)]
    events: u64,
    #[arg(long, default_value_t = 10_000)]
    identities: u32,
    /// Events per second of event time.
    #[arg(long, default_value_t = 250.0)]
    rate: f64,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Only the whole road, for its memory over many events.
    #[arg(long)]
    only_road: bool,
    /// Without the archive.
    #[arg(long)]
    no_archive: bool,
    /// Events to read instead of generated ones.
    file: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let path = match &arguments.file {
        Some(path) => path.clone(),
        None => generate(&arguments, folder.path())?,
    };
    let bytes = path.metadata()?.len();
    let events = count_lines(&path)?;
    println!(
        "{events} events, {} bytes each, {arguments:?}",
        bytes / events.max(1)
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut floor = None;
    let mut report = |name: &str, took: Duration| {
        let rate = events as f64 / took.as_secs_f64();
        let floor = *floor.get_or_insert(rate);
        println!(
            "{name:22} {:9.0} events/s   ratio {:5.3}   peak {} MiB",
            rate,
            rate / floor,
            peak_mib()
        );
    };
    if !arguments.only_road {
        let text = std::fs::read(&path)?;
        let lines: Vec<&[u8]> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        let started = Instant::now();
        for line in &lines {
            let value: sonic_rs::Value = sonic_rs::from_slice(line)?;
            std::hint::black_box(value);
        }
        report("floor (sonic-rs DOM)", started.elapsed());
        let blocks: Vec<_> = lines.chunks(8192).map(block).collect();
        report("decode", decode(&blocks)?);
        report("decode and rules", runtime.block_on(rules(&blocks))?);
    }
    for archive in [false, true] {
        if archive && arguments.no_archive {
            continue;
        }
        let data = folder
            .path()
            .join(if archive { "kept" } else { "not-kept" });
        let name = if archive {
            "road"
        } else {
            "road without archive"
        };
        report(name, runtime.block_on(whole(&path, &data, archive))?);
    }
    Ok(())
}

fn generate(arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("events.ndjson");
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&path)?);
    let spec = Spec {
        events: arguments.events,
        identities: arguments.identities,
        rate: arguments.rate,
        seed: arguments.seed,
        attacks: 0.001,
        ..Spec::default()
    };
    write_events(&mut file, &spec)?;
    Ok(path)
}

fn count_lines(path: &Path) -> Result<u64> {
    let mut lines = 0;
    let mut file = BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = bytes.len();
        file.consume(length);
    }
}

fn decode(blocks: &[(Buffer, Vec<Record>)]) -> Result<Duration> {
    let partition = Partition::new("bench", "file");
    let mut decoder = Decoder::new(DecoderConfig::new("bench"));
    let started = Instant::now();
    for (bytes, records) in blocks {
        std::hint::black_box(decoder.decode(&partition, bytes.clone(), records, 0)?);
    }
    Ok(started.elapsed())
}

async fn detector() -> Result<Detector> {
    let rules = weir_detections::embedded()?
        .into_iter()
        .map(|loaded| loaded.rule)
        .collect();
    let (detector, refused) = Detector::new(rules, vec![]).await?;
    anyhow::ensure!(refused.is_empty(), "{refused:?}");
    Ok(detector)
}

async fn rules(blocks: &[(Buffer, Vec<Record>)]) -> Result<Duration> {
    let partition = Partition::new("bench", "file");
    let mut decoder = Decoder::new(DecoderConfig::new("bench"));
    let mut detector = detector().await?;
    let started = Instant::now();
    for (bytes, records) in blocks {
        let batch = decoder.decode(&partition, bytes.clone(), records, 0)?;
        detector.push(&batch.events).await;
        let newest = max(batch
            .events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>());
        detector
            .advance(newest.unwrap_or(i64::MIN).saturating_sub(20 * MINUTE))
            .await;
        std::hint::black_box(detector.changes(false, None).await);
    }
    let took = started.elapsed();
    costly(&mut detector);
    Ok(took)
}

/// The rules that took the most time.
fn costly(detector: &mut Detector) {
    let mut rules: Vec<_> = detector
        .health()
        .map(|(_, health)| health.clone())
        .collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.cost_ns));
    let all: u64 = rules.iter().map(|rule| rule.cost_ns).sum();
    for rule in rules.iter().take(12) {
        println!(
            "  {:4.1} % {:9} rows {:8} matches  {}",
            rule.cost_ns as f64 * 100.0 / all.max(1) as f64,
            rule.rows_evaluated,
            rule.matches,
            rule.title
        );
    }
}

async fn whole(path: &Path, data: &Path, archive: bool) -> Result<Duration> {
    std::fs::create_dir_all(data)?;
    let archive = match archive {
        true => Some(ArchiveWriter::open(
            data.join("events"),
            ArchiveConfig::default(),
        )?),
        false => None,
    };
    let parts = road::parts(data, detector().await?, archive).await?;
    let settings = road::settings(Lateness::default());
    let (took, health) = road::run(path, settings, parts).await?;
    println!(
        "  {} alerts, {} incidents, {} commits in {:.1} s",
        health.alerts, health.incidents, health.commits, health.commit_seconds_total
    );
    Ok(took)
}
