//! The whole loop over a real store and archive: partitions, duplicates, crashes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};
use weir_engine::archive::{Archive, ArchiveConfig, ArchiveWriter};
use weir_engine::batch::{Counts, DeadLetter, EventBatch, Partition};
use weir_engine::detect::Detector;
use weir_engine::enrich::Enrich;
use weir_engine::health::Health;
use weir_engine::pipeline::{Parts, Pipeline, Settings};
use weir_engine::source::{DeadLetters, Positions, Source, SourceMessage};
use weir_engine::store::sqlite::{FILE_NAME, SqliteStore};
use weir_engine::store::{AlertQuery, IncidentQuery, SharedStore};
use weir_engine::time::{MINUTE, SECOND};
use weir_engine::watermark::Lateness;
use weir_engine::{Result, Rule};

use crate::events::{Event, Random, batch, rule};

struct Nothing;
impl Enrich for Nothing {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch> {
        Ok(events)
    }
}

#[derive(Default)]
struct Letters(Mutex<Vec<DeadLetter>>);
#[async_trait]
impl DeadLetters for Letters {
    async fn write(&self, letters: &[DeadLetter]) -> Result<()> {
        self.0.lock().unwrap().extend(letters.iter().cloned());
        Ok(())
    }
}

/// Remembers what it was told to be committed.
#[derive(Default)]
struct Told(Mutex<Positions>);
#[async_trait]
impl Source for Told {
    fn name(&self) -> &str {
        "test"
    }
    fn committed(&self, positions: &[(Partition, i64)]) {
        self.0.lock().unwrap().extend(positions.iter().cloned());
    }
    async fn stop(&self) {}
}

fn rules() -> Vec<Rule> {
    let mut each = rule(
        "each",
        "SELECT * FROM cloud_audit WHERE api_operation = 'StopLogging' AND status = 'failure'",
        None,
        Some((&["actor_user_uid"], 3 * MINUTE)),
    );
    each.entities = vec![("user".into(), "actor_user_uid".into())];
    let mut burst = rule(
        "burst",
        "SELECT actor_user_uid, count(*) AS n FROM cloud_audit WHERE status = 'failure' GROUP BY actor_user_uid HAVING count(*) >= 4",
        Some((2 * MINUTE, MINUTE)),
        None,
    );
    burst.entities = vec![("user".into(), "actor_user_uid".into())];
    let mut finding = rule(
        "finding",
        "SELECT * FROM posture WHERE finding_info_status = 'open'",
        None,
        Some((&["finding_info_uid"], 3 * MINUTE)),
    );
    finding.entities = vec![("resource".into(), "finding_info_uid".into())];
    let changes = rule(
        "changes",
        "SELECT finding_info_status, count(*) AS n FROM posture GROUP BY finding_info_status HAVING count(*) >= 9",
        Some((2 * MINUTE, MINUTE)),
        None,
    );
    vec![each, burst, finding, changes]
}

/// Three partitions of events, with duplicates across and disorder within each.
fn partitions(seed: u64) -> Vec<(Partition, Vec<Event>)> {
    let mut random = Random(seed);
    let mut all: Vec<Vec<Event>> = vec![vec![]; 3];
    for i in 0..1800i64 {
        let event = Event {
            time: i * SECOND + random.below(9) as i64,
            uid: format!("event-with-a-long-id-{i:06}"),
            actor: format!("arn:aws:iam::111122223333:user/user{}", random.below(25)),
            operation: ["GetObject", "StopLogging"][random.below(2) as usize].into(),
            ip: "203.0.113.9".into(),
            failed: random.below(3) == 0,
        };
        let home = random.below(3) as usize;
        all[home].push(event.clone());
        if random.below(10) == 0 {
            all[(home + random.below(3) as usize) % 3].push(event);
        }
    }
    let names = (0..3).map(|n| Partition::new("test", format!("topic/{n}")));
    for events in &mut all {
        for part in events.chunks_mut(12) {
            random.shuffle(part);
        }
    }
    names.zip(all).collect()
}

pub struct Run {
    pub health: Arc<Health>,
    told: Arc<Told>,
    letters: Arc<Letters>,
    pub store: SharedStore,
}

pub fn settings(lateness: i64) -> Settings {
    let lateness = Lateness {
        lateness,
        ..Lateness::default()
    };
    Settings {
        lateness: vec![("test".into(), lateness)],
        correlation: Default::default(),
        dedup_horizon: 30 * MINUTE,
        dedup_bytes: 1 << 30,
        scan_bytes: 64 << 20,
        commit_interval: Duration::from_millis(5),
        commit_rows: 200,
        provisional: false,
        retention: None,
    }
}

/// Feeds batches of random size from random partitions from the stored positions on; after `crash_after`
/// messages everything is dropped as a killed process would.
pub async fn run(
    dir: &Path,
    input: &[(Partition, Vec<Event>)],
    random: &mut Random,
    crash_after: Option<u64>,
) -> Option<Run> {
    let store: SharedStore = Arc::new(SqliteStore::open(dir).await.unwrap());
    let (detector, refused) = Detector::new(rules(), vec![]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    let health = Arc::new(Health::default());
    let letters = Arc::new(Letters::default());
    let archive = ArchiveWriter::open(
        dir.join("events"),
        ArchiveConfig {
            sync: false,
            ..ArchiveConfig::default()
        },
    )
    .unwrap();
    let settings = Settings {
        provisional: random.below(2) == 0,
        ..settings(2 * MINUTE)
    };
    let parts = Parts {
        store: store.clone(),
        detector,
        enrich: Arc::new(Nothing),
        archive: Some(archive),
        dead_letters: letters.clone(),
        health: health.clone(),
    };
    let (pipeline, positions) = Pipeline::resume(settings, parts).await.unwrap();
    let (sender, receiver) = mpsc::channel(4);
    let (_stop, stopped) = oneshot::channel();
    let told = Arc::new(Told::default());
    let sources: Vec<Arc<dyn Source>> = vec![told.clone()];
    let ready: Vec<Arc<str>> = sources.iter().map(|s| s.name().into()).collect();
    let task = tokio::spawn(async move { pipeline.run(&sources, receiver, stopped).await });
    let mut next: Vec<usize> = input
        .iter()
        .map(|(p, _)| positions.get(p).map_or(0, |n| *n as usize))
        .collect();
    let assigned = input.iter().map(|(p, _)| (p.clone(), None)).collect();
    sender
        .send(SourceMessage::Assigned {
            partitions: assigned,
        })
        .await
        .unwrap();
    for source in ready {
        let message = SourceMessage::Ready {
            source,
            shared: false,
        };
        sender.send(message).await.unwrap();
    }
    let mut sent = 0;
    while (0..3).any(|i| next[i] < input[i].1.len()) {
        if crash_after == Some(sent) {
            task.abort();
            let _ = task.await;
            // A commit that was being written is dropped by its own task.
            while Arc::strong_count(&store) > 1 {
                tokio::task::yield_now().await;
            }
            return None;
        }
        // The partition that is furthest behind in time, or sometimes another.
        let behind = (0..3)
            .filter(|i| next[*i] < input[*i].1.len())
            .min_by_key(|i| input[*i].1[next[*i]].time)
            .unwrap();
        let any = random.below(3) as usize;
        let at = if random.below(5) == 0 && next[any] < input[any].1.len() {
            any
        } else {
            behind
        };
        let (partition, events) = &input[at];
        let size = (1 + random.below(40) as usize).min(events.len() - next[at]);
        let rows = batch(&events[next[at]..next[at] + size]);
        let letter = DeadLetter {
            partition: partition.clone(),
            position: next[at] as i64,
            reason: "invalid_json",
            detail: String::new(),
            payload: vec![],
            payload_bytes: 0,
            attributes: None,
        };
        next[at] += size;
        let counts = Counts {
            read: size as u64 + 2,
            dead_lettered: 1,
            filtered: 1,
            ..Counts::default()
        };
        let message = EventBatch {
            partition: partition.clone(),
            next: next[at] as i64,
            delivered: None,
            events: rows,
            counts,
            dead_letters: vec![letter],
        };
        sender
            .send(SourceMessage::Batch(Box::new(message)))
            .await
            .unwrap();
        sent += 1;
        if random.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    for (partition, _) in input {
        sender
            .send(SourceMessage::Finished {
                partition: partition.clone(),
            })
            .await
            .unwrap();
    }
    task.await.unwrap().unwrap();
    Some(Run {
        health,
        told,
        letters,
        store,
    })
}

/// Alerts, incidents and archived events, without what may depend on arrival.
pub async fn outcome(
    run: &Run,
    dir: &Path,
) -> (
    BTreeMap<String, String>,
    BTreeMap<String, String>,
    Vec<String>,
) {
    let query = AlertQuery {
        limit: 1000,
        ..AlertQuery::default()
    };
    let alerts = run.store.alerts(&query).await.unwrap();
    assert!(alerts.len() < 1000);
    let alerts = alerts
        .into_iter()
        .filter(|a| a.state != weir_engine::AlertState::Retracted)
        .map(|mut alert| {
            assert_eq!(alert.state, weir_engine::AlertState::Final);
            (alert.revision, alert.watermark) = (0, None);
            (
                alert.alert_id.clone(),
                serde_json::to_string(&alert).unwrap(),
            )
        });
    let query = IncidentQuery {
        limit: 1000,
        ..IncidentQuery::default()
    };
    let incidents = run.store.incidents(&query).await.unwrap();
    let incidents = incidents.into_iter().map(|i| {
        (
            i.incident.incident_id.clone(),
            serde_json::to_string(&i.incident).unwrap(),
        )
    });
    let archived = Archive::open(dir.join("events"))
        .unwrap()
        .read(i64::MIN, i64::MAX)
        .await
        .unwrap();
    let uids = archived.iter().flat_map(|b| {
        let column = b.column_by_name("event_uid").unwrap();
        let column = datafusion::arrow::array::AsArray::as_string_view(column);
        column
            .iter()
            .map(|uid| uid.unwrap().to_owned())
            .collect::<Vec<_>>()
    });
    let mut uids: Vec<String> = uids.collect();
    uids.sort();
    (alerts.collect(), incidents.collect(), uids)
}

/// Runs to the end through six crashes, each at the latest `most` turns after its start.
pub async fn run_with_crashes(
    dir: &Path,
    input: &[(Partition, Vec<Event>)],
    seed: u64,
    most: u64,
) -> (Run, u32) {
    let mut random = Random(seed);
    let mut crashes = 0;
    loop {
        let crash_after = (crashes < 6).then(|| 3 + random.below(most));
        match run(dir, input, &mut random, crash_after).await {
            Some(done) => return (done, crashes),
            None => crashes += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_lose_nothing_and_repeat_nothing() {
    let seed = 42;
    println!("seed {seed}");
    let input = partitions(seed);
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path(), &input, &mut Random(1), None).await.unwrap();
    let expected = outcome(&whole, dir.path()).await;
    assert!(
        expected.0.len() > 30 && expected.1.len() > 5,
        "{} alerts, {} incidents",
        expected.0.len(),
        expected.1.len()
    );
    let mut unique = expected.2.clone();
    unique.dedup();
    assert_eq!(unique.len(), 1800);
    assert_eq!(expected.2.len(), 1800, "the archive holds every event once");
    let counts = whole.health.snapshot().sources["test"].counts;
    assert!(
        counts.conserved() && counts.duplicates > 100 && counts.processed == 1800,
        "{counts:?}"
    );
    assert_eq!(counts.late, 0);
    assert_eq!(
        whole.letters.0.lock().unwrap().len() as u64,
        counts.dead_lettered
    );
    for (partition, events) in &input {
        assert_eq!(whole.told.0.lock().unwrap()[partition], events.len() as i64);
    }
    drop(whole);

    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let (done, crashes) = run_with_crashes(dir.path(), &input, seed + 100, 40).await;
        let got = outcome(&done, dir.path()).await;
        assert_eq!(
            got.0, expected.0,
            "alerts after {crashes} crashes, seed {seed}"
        );
        assert_eq!(
            got.1, expected.1,
            "incidents after {crashes} crashes, seed {seed}"
        );
        assert_eq!(
            got.2, expected.2,
            "archive after {crashes} crashes, seed {seed}"
        );
    }
}

/// A finished run closes its last windows ahead of its watermark; what it found there stays when the log grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_goes_on_after_its_end_gives_the_same_whatever_dies() {
    let full = partitions(43);
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path(), &full, &mut Random(1), None).await.unwrap();
    let expected = outcome(&whole, dir.path()).await;
    drop(whole);
    for seed in 0..12 {
        let mut part = full.clone();
        for (_, events) in &mut part {
            events.truncate(events.len() - 100);
        }
        let dir = tempfile::tempdir().unwrap();
        let ended = run(dir.path(), &part, &mut Random(seed), None).await;
        drop(ended);
        let (done, crashes) = run_with_crashes(dir.path(), &full, seed + 200, 12).await;
        let got = outcome(&done, dir.path()).await;
        // Episodes of rules over single events are over when time ends.
        let of_windows = |alerts: &BTreeMap<String, String>| {
            let found = alerts
                .values()
                .filter(|alert| alert.contains("\"window\":["));
            found.cloned().collect::<Vec<_>>()
        };
        let seed = format!("{crashes} crashes, seed {seed}");
        assert_eq!(of_windows(&got.0), of_windows(&expected.0), "{seed}");
        assert_eq!(got.2, expected.2, "{seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_taken_while_a_commit_is_written_and_nothing_is_told_before() {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SqliteStore::open(dir.path()).await.unwrap());
    let (detector, _) = Detector::new(rules(), vec![]).await.unwrap();
    let health = Arc::new(Health::default());
    let parts = Parts {
        store,
        detector,
        enrich: Arc::new(Nothing),
        archive: None,
        dead_letters: Arc::new(Letters::default()),
        health: health.clone(),
    };
    let settings = Settings {
        commit_interval: Duration::from_secs(3600),
        commit_rows: 10,
        ..settings(2 * MINUTE)
    };
    let (pipeline, _) = Pipeline::resume(settings, parts).await.unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel();
    let told = Arc::new(Told::default());
    let sources: Vec<Arc<dyn Source>> = vec![told.clone()];
    let task = tokio::spawn(async move { pipeline.run(&sources, receiver, stopped).await });

    // Somebody else writes to the database: the engine's commit waits for that.
    let options = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME));
    let mut other = options.connect().await.unwrap();
    let mut sql = async |text| sqlx::raw_sql(text).execute(&mut other).await.unwrap();
    sql("BEGIN IMMEDIATE").await;

    let (partition, events) = partitions(7).swap_remove(0);
    let send = async |from: usize, to: usize| {
        let message = EventBatch {
            partition: partition.clone(),
            next: to as i64,
            delivered: None,
            events: batch(&events[from..to]),
            counts: Counts {
                read: (to - from) as u64,
                ..Counts::default()
            },
            dead_letters: vec![],
        };
        let message = SourceMessage::Batch(Box::new(message));
        sender.send(message).await.unwrap();
    };
    // These are enough rows for a commit, which begins before anything else is taken.
    send(0, 15).await;
    while health
        .snapshot()
        .sources
        .values()
        .all(|source| source.counts.read < 15)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The channel holds one message: that these are sent says that the loop goes on. They are few, as the commit fails if it
    // waits too long.
    for row in 15..20 {
        send(row, row + 1).await;
    }
    assert_eq!(health.snapshot().commits, 0);
    assert!(told.0.lock().unwrap().is_empty(), "told too early");
    sql("ROLLBACK").await;
    // The commit that has been taken is told, not what came since.
    while health.snapshot().commits == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(told.0.lock().unwrap()[&partition], 15);
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    // What is still in the channel when it is told to stop is left there.
    assert!(told.0.lock().unwrap()[&partition] >= 19);
    assert_eq!(health.snapshot().commits, 2);
}
