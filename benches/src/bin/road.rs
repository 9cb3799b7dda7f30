//! Throughput of the road's parts beside the floor, in one run over the same generated events.
//!
//! `cargo run --release -p weir-benches --bin road -- --events 300000`
//!
//! - floor: `sonic_rs` parses every event to a DOM, one core.
//! - decode: our decoder, blocks of 8192 records, one core.
//! - rules: decode and all embedded rules, watermark moving, one core.
//! - road: file → decode → dedup → rules → correlation → SQLite and Parquet, as the binary runs it (reading and
//!   decoding on one thread, the loop on another).
//! - road without archive: the same without Parquet.
//!
//! Prints events per second, the ratio to the floor, and the process's peak memory so far.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::max;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use tokio::sync::{mpsc, oneshot};
use weir_benches::generator::{Spec, write_events};
use weir_connectors::dead_letter::FileDeadLetters;
use weir_connectors::decode::{Decoder, DecoderConfig, Record};
use weir_connectors::file::{FileConfig, FileSource};
use weir_engine::archive::{ArchiveConfig, ArchiveWriter};
use weir_engine::batch::Partition;
use weir_engine::detect::Detector;
use weir_engine::enrich::Enrich;
use weir_engine::health::Health;
use weir_engine::pipeline::{Parts, Pipeline, Settings};
use weir_engine::schema::col;
use weir_engine::source::Source;
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::time::{HOUR, MINUTE};
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
}

struct Nothing;
impl Enrich for Nothing {
    fn enrich(&self, events: RecordBatch) -> weir_engine::Result<RecordBatch> {
        Ok(events)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("events.ndjson");
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
    drop(file);
    let bytes = path.metadata()?.len();
    println!(
        "{} events, {} bytes each, {arguments:?}",
        arguments.events,
        bytes / arguments.events.max(1)
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut floor = None;
    let mut report = |name: &str, took: Duration| {
        let rate = arguments.events as f64 / took.as_secs_f64();
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
        let data = folder
            .path()
            .join(if archive { "kept" } else { "not-kept" });
        let name = if archive {
            "road"
        } else {
            "road without archive"
        };
        report(name, runtime.block_on(road(&path, &data, archive))?);
    }
    Ok(())
}

fn block(lines: &[&[u8]]) -> (Buffer, Vec<Record>) {
    let (mut bytes, mut records) = (vec![], vec![]);
    for line in lines {
        let start = bytes.len();
        bytes.extend_from_slice(line);
        records.push(Record {
            range: start..bytes.len(),
            position: start as i64,
        });
    }
    (Buffer::from_vec(bytes), records)
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
    Ok(started.elapsed())
}

async fn road(path: &Path, data: &Path, archive: bool) -> Result<Duration> {
    std::fs::create_dir_all(data)?;
    let archive = match archive {
        true => Some(ArchiveWriter::open(
            data.join("events"),
            ArchiveConfig::default(),
        )?),
        false => None,
    };
    let settings = Settings {
        lateness: vec![("bench".into(), Lateness::default())],
        correlation: Default::default(),
        dedup_horizon: HOUR,
        commit_interval: Duration::from_secs(1),
        commit_rows: 200_000,
        provisional: false,
        retention: None,
    };
    let parts = Parts {
        store: Arc::new(SqliteStore::open(data).await?),
        detector: detector().await?,
        enrich: Arc::new(Nothing),
        archive,
        dead_letters: Arc::new(FileDeadLetters::open(&data.join("dead-letters.ndjson"))?),
        health: Arc::new(Health::default()),
    };
    let health = parts.health.clone();
    let (pipeline, positions) = Pipeline::resume(settings, parts).await?;
    let (sender, receiver) = mpsc::channel(8);
    let (_stop, stopped) = oneshot::channel();
    let config = FileConfig {
        name: "bench".into(),
        paths: vec![path.to_owned()],
        decoder: DecoderConfig::new("bench"),
        follow: false,
    };
    let started = Instant::now();
    let source: Arc<dyn Source> = FileSource::start(config, &positions, sender)?;
    pipeline.run(&[source], receiver, stopped).await?;
    let took = started.elapsed();
    let counts = health.snapshot().sources["bench"].counts;
    anyhow::ensure!(
        counts.conserved() && counts.dead_lettered == 0,
        "{counts:?}"
    );
    Ok(took)
}

/// Peak resident memory of this process.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
