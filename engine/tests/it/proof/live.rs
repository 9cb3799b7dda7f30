//! The engine as it is run: the detector alone, and the whole pipeline over a store that can die.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use tokio::sync::{mpsc, oneshot, watch};
use weir_engine::alert::{Alert, AlertState};
use weir_engine::batch::{Counts, DeadLetter, EventBatch, Partition};
use weir_engine::detect::Detector;
use weir_engine::enrich::Enrich;
use weir_engine::health::Health;
use weir_engine::incident::Comment;
use weir_engine::pipeline::{Parts, Pipeline, Settings};
use weir_engine::source::{DeadLetters, Source, SourceMessage};
use weir_engine::store::sqlite::SqliteStore;
use weir_engine::store::{
    AlertQuery, ChangeOutcome, Commit, IncidentChange, IncidentQuery, Resume, SharedStore, Store,
    StoredIncident, TriageChange,
};
use weir_engine::watermark::Lateness;
use weir_engine::{Error, Result, Rule};

use super::stream::{Event, batch};
use crate::events::Random;

/// Every revision of every alert, checked as it comes: none is skipped, none comes twice.
#[derive(Debug, Default, Clone)]
pub struct Ledger(BTreeMap<String, Alert>);

impl Ledger {
    pub fn take(&mut self, alerts: &[Alert]) {
        for alert in alerts {
            let before = self.0.insert(alert.alert_id.clone(), alert.clone());
            let revision = before.as_ref().map_or(0, |b| b.revision);
            assert_eq!(
                alert.revision,
                revision + 1,
                "{}: revision {} follows {revision}: {before:#?} then {alert:#?}",
                alert.rule_title,
                alert.revision
            );
        }
    }

    /// What stands when all is over: nothing may be left that is not final.
    pub fn standing(&self) -> Vec<Alert> {
        let standing = self.0.values().filter(|a| a.state != AlertState::Retracted);
        standing
            .inspect(|a| assert_eq!(a.state, AlertState::Final, "{a:#?}"))
            .cloned()
            .collect()
    }
}

async fn detector(rules: &[Rule]) -> Detector {
    let (detector, refused) = Detector::new(rules.to_vec(), vec![]).await.unwrap();
    assert!(refused.is_empty(), "{refused:#?}");
    detector
}

/// What a store would hold.
#[derive(Debug, Default, Clone)]
struct Saved {
    next: usize,
    newest: Option<i64>,
    watermark: Option<i64>,
    ledger: Ledger,
    state: BTreeMap<(String, i64), Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Rows per batch; with 0 each batch has another size.
    pub size: usize,
    pub lateness: i64,
    pub preview: bool,
    pub kills: usize,
    /// Time moves several times between commits.
    pub lazy: bool,
}

/// The detector alone. With kills, only some batches are committed, and what was not is read again.
pub async fn detected(
    rules: &[Rule],
    events: &[Event],
    way: Way,
    random: &mut Random,
) -> Vec<Alert> {
    let (alerts, late) = late(rules, events, way, random).await;
    assert_eq!(late, 0, "no row was late");
    alerts
}

/// The same for events of which some may be late; also the rows that were, over all rules.
pub async fn late(
    rules: &[Rule],
    events: &[Event],
    way: Way,
    random: &mut Random,
) -> (Vec<Alert>, u64) {
    let mut detector = detector(rules).await;
    let (mut now, mut kills) = (Saved::default(), way.kills);
    let mut saved = now.clone();
    loop {
        let size = if way.size == 0 {
            1 + random.below(60) as usize
        } else {
            way.size
        };
        let chunk = &events[now.next..events.len().min(now.next + size)];
        let over = chunk.is_empty();
        detector.push(&batch(chunk)).await;
        now.next += chunk.len();
        now.newest = now.newest.max(chunk.iter().map(|e| e.at).max());
        if over {
            detector.finish(i64::MAX).await;
        } else {
            let watermark = now.newest.unwrap() - way.lateness;
            detector.advance(watermark).await;
            now.watermark = Some(watermark);
        }
        let commits = match way.lazy {
            true => random.below(5) == 0,
            false => way.kills == 0 || random.below(3) > 0,
        };
        if over || commits {
            now.ledger.take(&detector.changes(way.preview, None).await);
            for write in detector.take_state().await.unwrap() {
                match write.value {
                    Some(value) => drop(now.state.insert((write.owner, write.key), value)),
                    None => drop(now.state.remove(&(write.owner, write.key))),
                }
            }
            saved = now.clone();
        }
        if kills > 0 && random.below(4) == 0 {
            kills -= 1;
            now = saved.clone();
            detector = self::detector(rules).await;
            let pieces: Vec<_> = now
                .state
                .iter()
                .map(|((o, k), v)| (o.clone(), *k, v.clone()))
                .collect();
            assert!(detector.restore(&pieces, now.watermark).unwrap().is_empty());
            let again = detector.changes(way.preview, None).await;
            assert!(again.is_empty(), "told anew by a restart: {again:#?}");
        } else if over {
            break;
        }
    }
    let mut late = 0;
    for (id, health) in detector.health() {
        assert_eq!(health.errors, 0, "{id}: {health:?}");
        late += health.rows_late;
    }
    (now.ledger.standing(), late)
}

struct Nothing;

impl Enrich for Nothing {
    fn enrich(&self, events: RecordBatch) -> Result<RecordBatch> {
        Ok(events)
    }
}

#[async_trait]
impl DeadLetters for Nothing {
    async fn write(&self, _: &[DeadLetter]) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Source for Nothing {
    fn name(&self) -> &str {
        "test"
    }
    fn committed(&self, _: &[(Partition, i64)]) {}
    async fn stop(&self) {}
}

/// When the machine goes down: at the commit with this number from the start, before or after the disk has it.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    pub commit: u64,
    pub written: bool,
}

/// A real store that notes each revision, and dies.
#[derive(Debug)]
struct Mortal {
    inner: SqliteStore,
    ledger: Arc<Mutex<Ledger>>,
    death: Option<Death>,
    commits: Mutex<u64>,
}

#[async_trait]
impl Store for Mortal {
    async fn resume(&self) -> Result<Resume> {
        self.inner.resume().await
    }
    async fn commit(&self, commit: &Commit) -> Result<()> {
        let number = {
            let mut commits = self.commits.lock().unwrap();
            *commits += 1;
            *commits
        };
        let dies = self.death.filter(|death| death.commit == number);
        if dies.is_none_or(|death| death.written) {
            self.inner.commit(commit).await?;
            self.ledger.lock().unwrap().take(&commit.alerts);
        }
        match dies {
            Some(_) => Err(Error::Other("the machine went down".into())),
            None => Ok(()),
        }
    }
    fn subscribe(&self) -> watch::Receiver<i64> {
        self.inner.subscribe()
    }
    async fn incidents(&self, query: &IncidentQuery) -> Result<Vec<StoredIncident>> {
        self.inner.incidents(query).await
    }
    async fn incident(&self, id: &str) -> Result<Option<StoredIncident>> {
        self.inner.incident(id).await
    }
    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>> {
        self.inner.alerts(query).await
    }
    async fn alerts_by_id(&self, ids: &[String]) -> Result<Vec<Alert>> {
        self.inner.alerts_by_id(ids).await
    }
    async fn triage(&self, id: &str, change: &TriageChange) -> Result<ChangeOutcome> {
        self.inner.triage(id, change).await
    }
    async fn comments(&self, id: &str) -> Result<Vec<Comment>> {
        self.inner.comments(id).await
    }
    async fn add_comment(&self, id: &str, author: &str, text: &str) -> Result<Option<Comment>> {
        self.inner.add_comment(id, author, text).await
    }
    async fn changes(
        &self,
        id: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<IncidentChange>> {
        self.inner.changes(id, after, limit).await
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Rows per message.
    pub size: usize,
    pub lateness: i64,
    pub commit_rows: usize,
    pub preview: bool,
    pub deaths: usize,
}

/// The whole pipeline over a store in a folder of its own, started again after each death.
pub async fn piped(
    rules: &[Rule],
    parts: &[Vec<Event>],
    flow: Flow,
    random: &mut Random,
) -> Vec<Alert> {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut deaths = flow.deaths;
    while !life(rules, parts, flow, random, dir.path(), &ledger, deaths > 0).await {
        deaths -= 1;
    }
    let query = AlertQuery {
        limit: 1_000_000,
        ..AlertQuery::default()
    };
    let store = SqliteStore::open(dir.path()).await.unwrap();
    let mut stored = store.alerts(&query).await.unwrap();
    stored.sort_by(|a, b| a.alert_id.cmp(&b.alert_id));
    let ledger = ledger.lock().unwrap();
    let noted: Vec<_> = ledger.0.values().cloned().collect();
    assert_eq!(
        stored, noted,
        "the store holds the last revision of each alert"
    );
    ledger.standing()
}

/// Feeds what the store has not seen. False if the machine went down on the way.
async fn life(
    rules: &[Rule],
    parts: &[Vec<Event>],
    flow: Flow,
    random: &mut Random,
    dir: &Path,
    ledger: &Arc<Mutex<Ledger>>,
    mortal: bool,
) -> bool {
    let store: SharedStore = Arc::new(Mortal {
        inner: SqliteStore::open(dir).await.unwrap(),
        ledger: ledger.clone(),
        death: mortal.then(|| Death {
            commit: 1 + random.below(4),
            written: random.below(2) == 0,
        }),
        commits: Mutex::new(0),
    });
    let lateness = Lateness {
        // A clock that is little ahead moves time by as much.
        lateness: flow.lateness + 6 * super::stream::MINUTE,
        idle_after: 0,
        ..Lateness::default()
    };
    let settings = Settings {
        lateness: vec![("test".into(), lateness)],
        correlation: Default::default(),
        dedup_horizon: 24 * 60 * super::stream::MINUTE,
        dedup_bytes: 1 << 30,
        scan_bytes: 1 << 20,
        commit_interval: Duration::from_secs(3600),
        commit_rows: flow.commit_rows,
        provisional: flow.preview,
        retention: None,
    };
    let health = Arc::new(Health::default());
    let pieces = Parts {
        store,
        detector: detector(rules).await,
        enrich: Arc::new(Nothing),
        archive: None,
        dead_letters: Arc::new(Nothing),
        health: health.clone(),
    };
    let (pipeline, positions) = Pipeline::resume(settings, pieces).await.unwrap();
    let (sender, receiver) = mpsc::channel(4);
    let (_stop, stopped) = oneshot::channel();
    let task =
        tokio::spawn(async move { pipeline.run(&[Arc::new(Nothing)], receiver, stopped).await });
    let names: Vec<_> = (0..parts.len())
        .map(|n| Partition::new("test", format!("topic/{n}")))
        .collect();
    let next: Vec<usize> = names
        .iter()
        .map(|p| positions.get(p).map_or(0, |n| *n as usize))
        .collect();
    // Sending fails once the machine is down.
    for message in messages(&names, parts, next, flow.size, random) {
        if sender.send(message).await.is_err() {
            break;
        }
    }
    drop(sender);
    match task.await.unwrap() {
        Ok(()) => {}
        Err(error) if mortal => {
            assert!(
                error.to_string().contains("the machine went down"),
                "{error}"
            );
            return false;
        }
        Err(error) => panic!("{error}"),
    }
    let counts = health.snapshot().sources["test"].counts;
    assert!(counts.conserved() && counts.late == 0, "{counts:?}");
    for (id, health) in &health.snapshot().rules {
        assert_eq!(
            (health.errors, health.rows_late),
            (0, 0),
            "{id}: {health:?}"
        );
    }
    true
}

/// What the source says: partitions are read unevenly, those that have nothing more are caught up.
fn messages(
    names: &[Partition],
    parts: &[Vec<Event>],
    mut next: Vec<usize>,
    size: usize,
    random: &mut Random,
) -> Vec<SourceMessage> {
    // Files say when they begin, topics do not.
    let floor = |at: usize| parts[at][next[at]..].iter().map(|event| event.time).min();
    let files = random.below(3) > 0;
    let partitions = names.iter().enumerate();
    let partitions = partitions
        .map(|(at, p)| (p.clone(), files.then(|| floor(at)).flatten()))
        .collect();
    let mut messages = vec![
        SourceMessage::Assigned { partitions },
        SourceMessage::Ready {
            source: "test".into(),
            shared: false,
        },
    ];
    let caught_up = |at: usize| SourceMessage::CaughtUp {
        partition: names[at].clone(),
    };
    let open = |next: &[usize], at: usize| next[at] < parts[at].len();
    messages.extend(
        (0..names.len())
            .filter(|at| !open(&next, *at))
            .map(caught_up),
    );
    while let Some(behind) = (0..names.len())
        .filter(|at| open(&next, *at))
        .min_by_key(|at| parts[*at][next[*at]].at)
    {
        let any = random.below(names.len() as u64) as usize;
        let at = if random.below(3) == 0 && open(&next, any) {
            any
        } else {
            behind
        };
        let to = parts[at].len().min(next[at] + size);
        let events = batch(&parts[at][next[at]..to]);
        let counts = Counts {
            read: events.num_rows() as u64,
            ..Counts::default()
        };
        next[at] = to;
        messages.push(SourceMessage::Batch(Box::new(EventBatch {
            partition: names[at].clone(),
            next: to as i64,
            delivered: None,
            events,
            counts,
            dead_letters: vec![],
        })));
        if !open(&next, at) && random.below(2) == 0 {
            messages.push(caught_up(at));
        }
    }
    let finished = names.iter().map(|partition| SourceMessage::Finished {
        partition: partition.clone(),
    });
    messages.extend(finished);
    messages
}
