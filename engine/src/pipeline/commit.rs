//! The end of a commit interval: what was read becomes durable, then it is told.

use std::sync::Arc;
use std::time::Instant;

use super::{EARLY_REST, Pipeline, WATERMARK, wall_clock};
use crate::Result;
use crate::source::Source;
use crate::store::{Commit, PartitionState, StateWrite};

impl Pipeline {
    /// Steps 7 to 10.
    pub(super) async fn commit(&mut self, sources: &[Arc<dyn Source>]) -> Result<()> {
        let started = Instant::now();
        if !self.letters.is_empty() {
            self.parts.dead_letters.write(&self.letters).await?;
            self.letters.clear();
        }
        if let Some(archive) = &mut self.parts.archive {
            archive.flush().await?;
        }
        let watermark = self.watermark.filter(|w| *w != i64::MAX);
        let answering = Instant::now();
        let early = self.settings.provisional && answering >= self.early_from;
        let alerts = self.parts.detector.changes(early, watermark).await;
        if early {
            self.early_from = Instant::now() + answering.elapsed() * EARLY_REST;
        }
        let horizon = self
            .watermark
            .map(|w| w.saturating_sub(self.parts.detector.reach()));
        let detector = &self.parts.detector;
        let cases = self
            .cases
            .update(&alerts, horizon, |alert| detector.is_live(alert));
        let (mut state, mut dropped_owners) = self.dedup.take_state();
        let (told, over) = self.scans.take_state()?;
        state.extend(told);
        dropped_owners.extend(over);
        state.extend(self.parts.detector.take_state()?);
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
        self.parts.store.commit(&commit).await?;
        if let Some(archive) = &mut self.parts.archive {
            let positions: Vec<_> = commit
                .partitions
                .iter()
                .map(|p| (p.partition.clone(), p.next))
                .chain(self.scans.streams())
                .collect();
            archive.committed(&positions).await?;
            if let (Some(retention), Some(watermark)) = (self.settings.retention, watermark) {
                archive.expire(watermark.saturating_sub(retention)).await?;
            }
        }
        for source in sources {
            let own = commit
                .partitions
                .iter()
                .filter(|p| &*p.partition.source == source.name());
            let own: Vec<_> = own.map(|p| (p.partition.clone(), p.next)).collect();
            if !own.is_empty() {
                source.committed(&own);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        self.parts.health.update(|health| {
            health.commits += 1;
            health.commit_seconds_last = seconds;
            health.commit_seconds_total += seconds;
            health.last_commit = Some(wall_clock());
            health.alerts += commit
                .alerts
                .iter()
                .filter(|alert| alert.revision == 1)
                .count() as u64;
            health.incidents += cases.opened;
            health.incidents = health
                .incidents
                .saturating_sub((commit.merged.len() + commit.withdrawn.len()) as u64);
        });
        self.rows_since_commit = 0;
        // Windows that were not answered early this time are at the next.
        self.changed = self.settings.provisional && !early;
        self.last_commit = Instant::now();
        self.tell_health(sources);
        Ok(())
    }
}
