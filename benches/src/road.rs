//! The whole road as the binary runs it: a file, decoded on a thread of its own, and the loop to the store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use datafusion::arrow::array::RecordBatch;
use tokio::sync::{mpsc, oneshot};
use weir_connectors::DecoderConfig;
use weir_connectors::dead_letter::FileDeadLetters;
use weir_connectors::file::{FileConfig, FileSource};
use weir_engine::archive::ArchiveWriter;
use weir_engine::detect::Detector;
use weir_engine::enrich::Enrich;
use weir_engine::health::Snapshot;
use weir_engine::pipeline::{Parts, Pipeline, Settings};
use weir_engine::source::Source;
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::time::HOUR;
use weir_engine::watermark::Lateness;

/// Name of the only source.
pub const SOURCE: &str = "bench";

/// Messages that wait for the engine, as in the binary.
pub const CHANNEL: usize = 3;

/// Fills no columns.
pub struct Nothing;

impl Enrich for Nothing {
    fn enrich(&self, events: RecordBatch) -> weir_engine::Result<RecordBatch> {
        Ok(events)
    }
}

/// The binary's defaults, without answers from open windows.
pub fn settings(lateness: Lateness) -> Settings {
    Settings {
        lateness: vec![(SOURCE.into(), lateness)],
        correlation: Default::default(),
        dedup_horizon: HOUR,
        dedup_bytes: 1 << 30,
        scan_bytes: 512 << 20,
        commit_interval: Duration::from_secs(1),
        commit_rows: 200_000,
        provisional: false,
        retention: None,
    }
}

pub async fn parts(
    data: &Path,
    detector: Detector,
    archive: Option<ArchiveWriter>,
) -> Result<Parts> {
    Ok(Parts {
        store: Arc::new(SqliteStore::open(data).await?),
        detector,
        enrich: Arc::new(Nothing),
        archive,
        dead_letters: Arc::new(FileDeadLetters::open(&data.join("dead-letters.ndjson"))?),
        health: Default::default(),
    })
}

/// Runs events of a file to the end. Gives the time without set-up, and the counts at the end.
pub async fn run(path: &Path, settings: Settings, parts: Parts) -> Result<(Duration, Snapshot)> {
    let health = parts.health.clone();
    let (pipeline, positions) = Pipeline::resume(settings, parts).await?;
    let (sender, receiver) = mpsc::channel(CHANNEL);
    let (_stop, stopped) = oneshot::channel();
    let config = FileConfig {
        name: SOURCE.into(),
        paths: vec![path.to_owned()],
        decoder: DecoderConfig::new(SOURCE),
        follow: false,
    };
    let started = Instant::now();
    let source: Arc<dyn Source> = FileSource::start(config, &positions, sender)?;
    pipeline.run(&[source], receiver, stopped).await?;
    let took = started.elapsed();
    let snapshot = health.snapshot();
    let counts = snapshot.sources[SOURCE].counts;
    ensure!(
        counts.conserved() && counts.dead_lettered == 0,
        "{counts:?}"
    );
    Ok((took, snapshot))
}
