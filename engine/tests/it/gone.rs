//! A partition that no source covers any more, as after a topic was taken out of the configuration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use tokio::sync::{mpsc, oneshot};
use weir_engine::Result;
use weir_engine::batch::{Counts, DeadLetter, EventBatch, Partition};
use weir_engine::detect::Detector;
use weir_engine::enrich::Enrich;
use weir_engine::health::Health;
use weir_engine::pipeline::{Parts, Pipeline};
use weir_engine::source::{DeadLetters, Source, SourceMessage};
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::store::{Commit, PartitionState, SharedStore};
use weir_engine::time::{HOUR, MINUTE};

use crate::events::{Event, batch};
use crate::pipeline::settings;

struct Nothing;
impl Enrich for Nothing {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch> {
        Ok(events)
    }
}
#[async_trait]
impl DeadLetters for Nothing {
    async fn write(&self, _letters: &[DeadLetter]) -> Result<()> {
        Ok(())
    }
}

/// Reads one topic.
struct Topic(&'static str);
#[async_trait]
impl Source for Topic {
    fn name(&self) -> &str {
        "test"
    }
    fn covers(&self, partition: &Partition) -> bool {
        partition.name.starts_with(self.0)
    }
    fn committed(&self, _positions: &[(Partition, i64)]) {}
    async fn stop(&self) {}
}

/// The engine's time after an event of the next hour came in `kept/0`, with `covered` configured.
async fn time_with(covered: &'static str) -> i64 {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SqliteStore::open(dir.path()).await.unwrap());
    let state = |name: &str| PartitionState {
        partition: Partition::new("test", name),
        next: 1,
        max_time: Some(HOUR),
        counts: Counts::default(),
    };
    let earlier = Commit {
        partitions: vec![state("kept/0"), state("gone/0")],
        ..Commit::default()
    };
    store.commit(&earlier).await.unwrap();
    let (detector, _) = Detector::new(vec![], vec![]).await.unwrap();
    let health = Arc::new(Health::default());
    let parts = Parts {
        store,
        detector,
        enrich: Arc::new(Nothing),
        archive: None,
        dead_letters: Arc::new(Nothing),
        health: health.clone(),
    };
    let (pipeline, _) = Pipeline::resume(settings(MINUTE), parts).await.unwrap();
    let (sender, receiver) = mpsc::channel(4);
    let (stop, stopped) = oneshot::channel();
    let sources: Vec<Arc<dyn Source>> = vec![Arc::new(Topic(covered))];
    let task = tokio::spawn(async move { pipeline.run(&sources, receiver, stopped).await });
    let kept = Partition::new("test", "kept/0");
    let event = Event {
        time: HOUR + 4 * MINUTE,
        uid: "an-event-of-the-next-minutes".into(),
        actor: "ana".into(),
        operation: "GetObject".into(),
        ip: "203.0.113.9".into(),
        failed: false,
    };
    let events = EventBatch {
        partition: kept.clone(),
        next: 2,
        delivered: None,
        events: batch(&[event]),
        counts: Counts {
            read: 1,
            ..Counts::default()
        },
        dead_letters: vec![],
    };
    let messages = [
        SourceMessage::Assigned {
            partitions: vec![(kept, None)],
        },
        // As of a consumer group: what is not assigned may come back.
        SourceMessage::Ready {
            source: "test".into(),
            shared: true,
        },
        SourceMessage::Batch(Box::new(events)),
    ];
    for message in messages {
        sender.send(message).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while health
        .snapshot()
        .sources
        .get("test")
        .is_none_or(|s| s.counts.read == 0)
    {
        assert!(Instant::now() < deadline, "the event was not read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    health.snapshot().watermark.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_no_longer_configured_holds_no_time_back() {
    assert_eq!(time_with("kept/").await, HOUR + 3 * MINUTE);
    // Configured, and perhaps with another member of the group: it is waited for.
    assert_eq!(time_with("").await, HOUR - MINUTE);
}
