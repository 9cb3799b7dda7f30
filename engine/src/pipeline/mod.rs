//! The one loop. Everything that happens to an event happens here, in this order:
//!
//! ```text
//!  1 receive    batches with their positions, from all sources, over one bounded channel
//!  2 dedup      rows whose event_uid was seen before are counted and dropped; what scans tell waits (see 6)
//!  3 enrich     GeoIP, threat intelligence, assets fill their columns
//!  4 archive    rows go to Parquet (durable before step 10)
//!  5 detect     every rule sees the rows that can match it, on all cores; windows aggregate
//!  6 time       partitions' watermarks move, the engine's is their minimum; what scans told and is news by now
//!               takes steps 3 to 5
//!  7 answer     windows and matches behind the watermark become final; open ones answer provisionally
//!  8 alerts     rules over alerts see what has become final, and answer
//!  9 correlate  alerts join incidents
//! 10 commit     positions, state, alerts and incidents in one transaction, written while the next rows take steps 1 to 6
//! 11 tell       sources learn the committed positions, readers of the store learn that there is news
//! ```
//!
//! Steps 1 to 6 run for every batch; 7 to 11 at the end of a commit interval. Invariants: nothing is told to
//! a source before the store has it; after a failed commit the loop ends, and is never more than one commit ahead of
//! its disk;
//! every event read is processed, a duplicate, unchanged, a dead letter, filtered, or waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use tokio::sync::{mpsc, oneshot};

use crate::archive::ArchiveWriter;
use crate::batch::{Counts, DeadLetter, EventBatch, Partition};
use crate::cases::Cases;
use crate::correlate;
use crate::dedup::Dedup;
use crate::detect::Detector;
use crate::enrich::Enrich;
use crate::health::Health;
use crate::scans::{Admitted, Scans};
use crate::schema::{self, col};
use crate::source::{DeadLetters, Source, SourceMessage, SourceReceiver};
use crate::store::SharedStore;
use crate::watermark::{Lateness, Watermark, Watermarks};
use crate::{Error, Result};

mod commit;
mod release;
mod resume;
mod telling;

use self::commit::Writing;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Time settings by source name.
    pub lateness: Vec<(Arc<str>, Lateness)>,
    pub correlation: correlate::Settings,
    /// µs of event time; see [`Dedup`]. It is made longer where rules reach further back, or an old duplicate
    /// would be counted again.
    pub dedup_horizon: i64,
    /// Memory for it.
    pub dedup_bytes: usize,
    /// Memory for what scans told, see [`Scans`].
    pub scan_bytes: usize,
    pub commit_interval: Duration,
    /// Commit early after this many rows.
    pub commit_rows: usize,
    /// Answer provisionally from open windows.
    pub provisional: bool,
    /// Archived events older than this behind the watermark are deleted, µs. None keeps all.
    pub retention: Option<i64>,
}

/// Everything the loop works with.
pub struct Parts {
    pub store: SharedStore,
    pub detector: Detector,
    pub enrich: Arc<dyn Enrich>,
    /// Where events are kept; none when nothing is to be kept.
    pub archive: Option<ArchiveWriter>,
    pub dead_letters: Arc<dyn DeadLetters>,
    pub health: Arc<Health>,
}

/// What can be exchanged while the loop runs.
pub enum Reload {
    /// Rules and models, planned. Those whose version is the same go on with their state.
    Detector(Box<Detector>),
    Enrich(Arc<dyn Enrich>),
}

/// What one partition has come to.
#[derive(Debug, Default, Clone)]
struct Reached {
    next: i64,
    counts: Counts,
    changed: bool,
}

pub struct Pipeline {
    settings: Settings,
    parts: Parts,
    dedup: Dedup,
    scans: Scans,
    watermarks: Watermarks,
    watermark: Option<Watermark>,
    cases: Cases,
    reached: BTreeMap<Partition, Reached>,
    letters: Vec<DeadLetter>,
    gone_owners: Vec<String>,
    rows_since_commit: usize,
    changed: bool,
    last_commit: Instant,
    /// Open windows are not answered before.
    early_from: Instant,
    reloads: Option<mpsc::Receiver<Reload>>,
    writing: Writing,
}

/// Messages taken from the channel at once, and rows at which taking ends: many small batches are evaluated
/// as one.
const MAX_MESSAGES: usize = 64;
const MAX_ROWS: usize = 16_384;
/// Answering open windows may take a quarter of the time: after it, the loop does without for this many times as
/// long as it took.
const EARLY_REST: u32 = 3;
/// Owner of the watermark in the store.
const WATERMARK: &str = "watermark";

impl Pipeline {
    /// Takes new rules and reference data from here while it runs.
    pub fn with_reloads(mut self, reloads: mpsc::Receiver<Reload>) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// Runs until all sources are finished, `stop` fires, or something fails. What was read is committed
    /// before it returns, except after a failed commit.
    pub async fn run(
        mut self,
        sources: &[Arc<dyn Source>],
        mut receiver: SourceReceiver,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<()> {
        self.parts.health.update(|health| health.ready = true);
        self.watermarks.keep(|partition| {
            let of = |source: &&Arc<dyn Source>| source.name() == &*partition.source;
            sources
                .iter()
                .find(of)
                .is_some_and(|source| source.covers(partition))
        });
        for source in sources {
            self.watermarks.await_source(source.name());
        }
        let mut outcome = self.turn(sources, &mut receiver, &mut stop).await;
        let settled = self.settle(sources).await;
        outcome = outcome.and(settled);
        if let Some(archive) = self.parts.archive.take() {
            let closed = archive.close().await;
            outcome = outcome.and(closed);
        }
        self.parts.health.update(|health| {
            health.ready = false;
            health.reason = match &outcome {
                Ok(()) => "stopped".into(),
                Err(error) => error.to_string(),
            };
        });
        outcome
    }

    async fn turn(
        &mut self,
        sources: &[Arc<dyn Source>],
        receiver: &mut SourceReceiver,
        stop: &mut oneshot::Receiver<()>,
    ) -> Result<()> {
        let mut tick = tokio::time::interval(
            self.settings
                .commit_interval
                .min(Duration::from_millis(200)),
        );
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut messages = Vec::new();
        let mut reloads = self.reloads.take();
        loop {
            let mut reload = None;
            let mut written = None;
            let ended = tokio::select! {
                biased;
                _ = &mut *stop => true,
                outcome = self.writing.end() => {
                    written = Some(outcome);
                    false
                }
                next = next_reload(&mut reloads) => {
                    reload = Some(next);
                    false
                }
                received = receive(receiver, &mut messages) => !received,
                _ = tick.tick() => false,
            };
            if let Some(outcome) = written {
                outcome?;
                self.tell(sources).await?;
            }
            if let Some(reload) = reload {
                self.reload(reload, sources).await?;
            }
            let mut revoked = vec![];
            let mut failed = None;
            let mut batches = vec![];
            for message in messages.drain(..) {
                // What is no batch speaks about those before it.
                let enough = rows_of(&batches) >= MAX_ROWS;
                if enough || !matches!(message, SourceMessage::Batch(_)) {
                    self.take(std::mem::take(&mut batches)).await?;
                }
                let now = wall_clock();
                match message {
                    SourceMessage::Batch(batch) => batches.push(*batch),
                    SourceMessage::Assigned { partitions } => {
                        for (partition, floor) in partitions {
                            self.watermarks.assigned(partition, floor);
                        }
                    }
                    SourceMessage::Ready { source, shared } => {
                        self.watermarks.ready(&source, shared, now)
                    }
                    SourceMessage::CaughtUp { partition } => {
                        self.watermarks.caught_up(&partition, now)
                    }
                    SourceMessage::Finished { partition } => self.watermarks.finished(&partition),
                    SourceMessage::Revoked { partitions, done } => {
                        partitions
                            .iter()
                            .for_each(|p| self.watermarks.revoked(p, now));
                        revoked.push(done);
                    }
                    SourceMessage::Failed { source, reason } => {
                        failed = Some(Error::Source {
                            source_name: source,
                            reason,
                        });
                    }
                }
            }
            self.take(batches).await?;
            self.move_time().await?;
            let finished = self.watermarks.all_finished();
            let due = self.rows_since_commit >= self.settings.commit_rows
                || self.last_commit.elapsed() >= self.settings.commit_interval;
            let last = ended || finished || failed.is_some() || !revoked.is_empty();
            if (due && self.changed) || last {
                self.commit(sources).await?;
                if last {
                    self.settle(sources).await?;
                }
            } else if due {
                self.tell_health(sources);
            }
            for done in revoked {
                let _ = done.send(());
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if ended || finished {
                return Ok(());
            }
        }
    }

    /// Steps 2 to 5 and the bookkeeping of positions.
    async fn take(&mut self, batches: Vec<EventBatch>) -> Result<()> {
        let now = wall_clock();
        let mut fresh = vec![];
        for batch in batches {
            let EventBatch {
                partition,
                next,
                delivered,
                events,
                mut counts,
                dead_letters,
                ..
            } = batch;
            let times = events
                .column(col::TIME)
                .as_primitive::<TimestampMicrosecondType>();
            let times: Vec<i64> = times.values().to_vec();
            let future = self.watermarks.observe(&partition, &times, delivered, now);
            let (rows, duplicates) = self.dedup.filter(events)?;
            let Admitted {
                rows,
                unchanged,
                waiting,
            } = self.scans.admit(&partition, rows)?;
            counts.duplicates = duplicates;
            counts.unchanged = unchanged;
            counts.waiting = waiting;
            counts.processed = rows.num_rows() as u64;
            counts.late = self.late(&rows);
            self.note_counts(&partition, &dead_letters, &counts, future);
            let reached = self.reached.entry(partition.clone()).or_default();
            let from = std::mem::replace(&mut reached.next, next);
            reached.counts.add(&counts);
            reached.changed = true;
            self.letters.extend(dead_letters);
            self.rows_since_commit += rows.num_rows() + waiting as usize;
            self.changed = true;
            if rows.num_rows() > 0 {
                let rows = self.parts.enrich.enrich(rows)?;
                if let Some(archive) = &mut self.parts.archive {
                    archive.push(&partition, from, next, &rows).await?;
                }
                fresh.push(rows);
            }
        }
        match fresh.as_slice() {
            [] => {}
            [one] => self.parts.detector.push(one).await,
            many => {
                let all = concat_batches(&schema::events(), many)?;
                self.parts.detector.push(&all).await;
            }
        }
        Ok(())
    }

    /// Steps 6 and 7: time moves, what it passes becomes final.
    async fn move_time(&mut self) -> Result<()> {
        let (before, now) = (self.watermark, wall_clock());
        let watermark = self.watermarks.advance(now);
        self.release(now).await?;
        self.watermark = watermark;
        if let Some(watermark) = self.watermark
            && self.watermark != before
        {
            match watermark {
                Watermark::At(time) => {
                    self.parts.detector.advance(time).await;
                    self.dedup.advance(time);
                }
                Watermark::Ended => {
                    let limit = now.saturating_add(self.watermarks.max_skew());
                    self.parts.detector.finish(limit).await;
                }
            }
            self.changed = true;
        }
        Ok(())
    }
}

/// Waits for a message, and takes those behind it that are there, but no more rows than are evaluated at once: what
/// waits in the channel holds its source back. False if the channel is closed. Nothing is lost if it is dropped.
async fn receive(receiver: &mut SourceReceiver, messages: &mut Vec<SourceMessage>) -> bool {
    let Some(first) = receiver.recv().await else {
        return false;
    };
    let mut rows = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        if let SourceMessage::Batch(batch) = &message {
            rows += batch.events.num_rows();
        }
        messages.push(message);
        let is_enough = rows >= MAX_ROWS || messages.len() >= MAX_MESSAGES;
        next = (!is_enough).then(|| receiver.try_recv().ok()).flatten();
    }
    true
}

fn rows_of(batches: &[EventBatch]) -> usize {
    batches.iter().map(|batch| batch.events.num_rows()).sum()
}

async fn next_reload(reloads: &mut Option<mpsc::Receiver<Reload>>) -> Reload {
    match reloads {
        Some(receiver) => match receiver.recv().await {
            Some(reload) => reload,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// µs since the epoch by the machine's clock.
pub fn wall_clock() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
