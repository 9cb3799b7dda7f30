//! The end of a commit interval: what was read becomes durable, then it is told.
//!
//! What is to be stored is taken from the loop at once; it is written by a task of its own, while the loop goes on with
//! the next rows. One commit is written at a time, and nothing is told of it before it is.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::{EARLY_REST, Pipeline, WATERMARK, wall_clock};
use crate::batch::Partition;
use crate::source::Source;
use crate::store::{Commit, PartitionState, StateWrite};
use crate::watermark::Watermark;
use crate::{Error, Result};

/// The commit that is being written, and what is told once it is.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// At most one. Stopped if the loop is dropped.
    task: JoinSet<Result<()>>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    started: Instant,
    positions: Vec<(Partition, i64)>,
    /// The same in the archive.
    streams: Vec<(Arc<str>, i64)>,
    /// Archived events before this are deleted.
    expire: Option<i64>,
    new_alerts: u64,
    new_incidents: u64,
    lost_incidents: u64,
}

impl Writing {
    /// Waits until the commit is written or has failed, and then is not told of; forever if there is none.
    pub async fn end(&mut self) -> Result<()> {
        let written = match self.task.join_next().await {
            Some(Ok(written)) => written,
            Some(Err(error)) => Err(Error::Other(format!("the commit was not written: {error}"))),
            None => std::future::pending().await,
        };
        if written.is_err() {
            self.told = None;
        }
        written
    }
}

impl Pipeline {
    /// Waits for the commit that is being written, and tells of it.
    pub(super) async fn settle(&mut self, sources: &[Arc<dyn Source>]) -> Result<()> {
        if !self.writing.task.is_empty() {
            self.writing.end().await?;
        }
        self.tell(sources).await
    }

    /// Step 11.
    pub(super) async fn tell(&mut self, sources: &[Arc<dyn Source>]) -> Result<()> {
        let Some(told) = self.writing.told.take() else {
            return Ok(());
        };
        if let Some(archive) = &mut self.parts.archive {
            archive.committed(told.streams).await?;
            if let Some(before) = told.expire {
                archive.expire(before).await?;
            }
        }
        for source in sources {
            let own = told.positions.iter();
            let own = own.filter(|(partition, _)| &*partition.source == source.name());
            let own: Vec<_> = own.cloned().collect();
            if !own.is_empty() {
                source.committed(&own);
            }
        }
        let seconds = told.started.elapsed().as_secs_f64();
        self.parts.health.update(|health| {
            health.commits += 1;
            health.commit_seconds_last = seconds;
            health.commit_seconds_total += seconds;
            health.last_commit = Some(wall_clock());
            health.alerts += told.new_alerts;
            health.incidents += told.new_incidents;
            health.incidents = health.incidents.saturating_sub(told.lost_incidents);
        });
        self.tell_health(sources);
        Ok(())
    }

    /// Steps 7 to 10, but for the writing.
    pub(super) async fn commit(&mut self, sources: &[Arc<dyn Source>]) -> Result<()> {
        self.settle(sources).await?;
        let started = Instant::now();
        if !self.letters.is_empty() {
            self.parts.dead_letters.write(&self.letters).await?;
            self.letters.clear();
        }
        let flushed = match &mut self.parts.archive {
            Some(archive) => Some(archive.begin_flush().await?),
            None => None,
        };
        let watermark = self.watermark.and_then(Watermark::time);
        let answering = Instant::now();
        let early = self.settings.provisional && answering >= self.early_from;
        let detector = &mut self.parts.detector;
        let alerts = detector.answer(early, watermark).await;
        let alerts = detector.answer_over(alerts, early, watermark).await;
        if early {
            self.early_from = Instant::now() + answering.elapsed() * EARLY_REST;
        }
        let horizon = self.watermark.map(|w| {
            w.before()
                .saturating_sub(self.parts.detector.alerts_change())
        });
        let detector = &self.parts.detector;
        let cases = self
            .cases
            .update(&alerts, horizon, |alert| detector.is_live(alert));
        let (mut state, mut dropped_owners) = self.dedup.take_state();
        let (told, over) = self.scans.take_state()?;
        state.extend(told);
        dropped_owners.extend(over);
        state.extend(self.parts.detector.take_state().await?);
        state.extend(self.cases.take_state());
        state.extend(self.parts.enrich.take_state());
        if let Some(watermark) = watermark {
            let value = Some(watermark.to_le_bytes().to_vec());
            state.push(StateWrite {
                owner: WATERMARK.into(),
                key: 0,
                value,
            });
        }
        dropped_owners.append(&mut self.gone_owners);
        let mut partitions = vec![];
        for (partition, reached) in self
            .reached
            .iter_mut()
            .filter(|(_, reached)| reached.changed)
        {
            reached.changed = false;
            partitions.push(PartitionState {
                partition: partition.clone(),
                next: reached.next,
                max_time: self.watermarks.max_time(partition),
                counts: reached.counts,
            });
        }
        let commit = Commit {
            partitions,
            state,
            dropped_owners,
            alerts,
            incidents: cases.incidents,
            merged: cases.merged,
            withdrawn: cases.withdrawn,
        };
        let positions = commit.partitions.iter();
        let positions: Vec<_> = positions.map(|p| (p.partition.clone(), p.next)).collect();
        let streams = match &self.parts.archive {
            Some(archive) => {
                let own = self.scans.streams();
                archive.in_streams(positions.iter().cloned().chain(own))
            }
            None => vec![],
        };
        let retention = self.settings.retention.zip(watermark);
        let new = commit.alerts.iter().filter(|alert| alert.revision == 1);
        self.writing.told = Some(Told {
            started,
            positions,
            streams,
            expire: retention.map(|(retention, watermark)| watermark.saturating_sub(retention)),
            new_alerts: new.count() as u64,
            new_incidents: cases.opened,
            lost_incidents: (commit.merged.len() + commit.withdrawn.len()) as u64,
        });
        let store = self.parts.store.clone();
        self.writing.task.spawn(async move {
            if let Some(flushed) = flushed {
                flushed.await?;
            }
            store.commit(&commit).await
        });
        self.rows_since_commit = 0;
        // Windows that were not answered early this time are at the next.
        self.changed = self.settings.provisional && !early;
        self.last_commit = Instant::now();
        Ok(())
    }
}
