//! What the loop begins with: everything that the store kept. And new rules, which take their state from it too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::commit::Writing;
use super::{Parts, Pipeline, Reached, Reload, Settings, WATERMARK, wall_clock};
use crate::cases::Cases;
use crate::dedup::Dedup;
use crate::scans::Scans;
use crate::source::{Positions, Source};
use crate::watermark::Watermark;
use crate::watermark::Watermarks;
use crate::{Error, Result};

impl Pipeline {
    /// Reads the store back. Returns the loop and the positions that sources start from.
    pub async fn resume(settings: Settings, mut parts: Parts) -> Result<(Self, Positions)> {
        let resume = parts.store.resume().await?;
        let mut watermarks = Watermarks::new(settings.lateness.iter().cloned());
        let mut dedup = Dedup::new(settings.dedup_horizon, settings.dedup_bytes);
        dedup.reach(parts.detector.counts_back());
        let gaps = settings.lateness.iter();
        let gaps = gaps.map(|(source, times)| (source.clone(), times.scan_gap));
        let mut scans = Scans::new(gaps, settings.scan_bytes);
        let mut cases = Cases::new(settings.correlation.clone());
        cases.restore(resume.incidents, resume.alerts);
        let mut watermark = None;
        for (owner, key, value) in &resume.state {
            let mut part = || {
                scans.restore(owner, *key, value)?;
                dedup.restore(owner, *key, value)?;
                cases.restore_past(owner, *key, value)?;
                if owner == WATERMARK {
                    let bytes = value.as_slice().try_into();
                    let bytes = bytes.map_err(|_| "not 8 bytes")?;
                    watermark = Some(i64::from_le_bytes(bytes));
                }
                Ok(())
            };
            part().map_err(|reason: String| Error::State {
                owner: owner.clone(),
                reason,
            })?;
            parts.enrich.restore(owner, *key, value);
        }
        let gone_owners = parts.detector.restore(&resume.state, watermark)?;
        watermarks.restore_current(watermark);
        if let Some(time) = watermark {
            dedup.advance(time);
        }

        let mut positions = Positions::new();
        let mut reached = BTreeMap::new();
        let mut waiting = vec![];
        for state in resume.partitions {
            positions.insert(state.partition.clone(), state.next);
            if state.counts.waiting > 0 {
                waiting.push((state.partition.source.to_string(), state.counts.waiting));
            }
            let known = Reached {
                next: state.next,
                counts: state.counts,
                changed: false,
            };
            reached.insert(state.partition.clone(), known);
            watermarks.restore(state.partition, state.max_time);
        }
        if let Some(archive) = &mut parts.archive {
            let stored = positions.iter().map(|(p, next)| (p.clone(), *next));
            let stored: Vec<_> = stored.chain(scans.streams()).collect();
            archive.reconcile(&stored)?;
        }
        parts.health.update(|health| {
            health.started = wall_clock();
            health.alerts = resume.alert_count;
            health.incidents = resume.incident_count;
            // Health counts from the start on; what waits since before is read again in its eyes.
            for (source, waiting) in waiting {
                let counts = &mut health.sources.entry(source).or_default().counts;
                counts.read += waiting;
                counts.waiting += waiting;
            }
        });
        let pipeline = Self {
            settings,
            parts,
            dedup,
            scans,
            watermarks,
            watermark: watermark.map(Watermark::At),
            cases,
            reached,
            letters: vec![],
            gone_owners,
            rows_since_commit: 0,
            changed: true,
            last_commit: Instant::now(),
            early_from: Instant::now(),
            reloads: None,
            writing: Writing::default(),
        };
        Ok((pipeline, positions))
    }

    /// Exchanges rules or reference data between two batches. Rules take their state over through the store,
    /// as after a restart.
    pub(super) async fn reload(
        &mut self,
        reload: Reload,
        sources: &[Arc<dyn Source>],
    ) -> Result<()> {
        let mut detector = match reload {
            Reload::Enrich(enrich) => {
                self.parts.enrich = enrich;
                return Ok(());
            }
            Reload::Detector(detector) => detector,
        };
        self.commit(sources).await?;
        self.settle(sources).await?;
        let state = self.parts.store.resume().await?.state;
        let watermark = self.watermark.and_then(Watermark::time);
        let gone = detector.restore(&state, watermark)?;
        let version = |owner: &String| owner.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let anew: BTreeSet<String> = gone.iter().map(version).collect();
        for owner in &anew {
            tracing::info!(state = owner, "rule gone or changed: its state is dropped");
        }
        self.gone_owners.extend(gone);
        self.parts.detector = *detector;
        self.dedup.reach(self.parts.detector.counts_back());
        self.parts.health.update(|health| {
            health.rules.clear();
            health.reloads += 1;
        });
        self.changed = true;
        self.tell_health(sources);
        Ok(())
    }
}
