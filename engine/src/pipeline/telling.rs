//! What the loop tells health.

use std::sync::Arc;

use super::{Pipeline, wall_clock};
use crate::batch::{Counts, DeadLetter, Partition};
use crate::source::Source;
use crate::time::SECOND;
use crate::watermark::Watermark;

impl Pipeline {
    pub(super) fn note_counts(
        &self,
        partition: &Partition,
        letters: &[DeadLetter],
        counts: &Counts,
        future: u64,
    ) {
        self.parts.health.update(|health| {
            let source = health
                .sources
                .entry(partition.source.to_string())
                .or_default();
            source.counts.add(counts);
            source.future += future;
            for letter in letters {
                *source
                    .dead_letter_reasons
                    .entry(letter.reason.into())
                    .or_default() += 1;
            }
        });
    }

    pub(super) fn note_release(
        &self,
        partition: &Partition,
        processed: u64,
        unchanged: u64,
        late: u64,
    ) {
        self.parts.health.update(|health| {
            let source = health.sources.entry(partition.source.to_string());
            let counts = &mut source.or_default().counts;
            counts.release(processed, unchanged);
            counts.late += late;
        });
    }

    pub(super) fn tell_health(&mut self, sources: &[Arc<dyn Source>]) {
        let now = wall_clock();
        let lag: Vec<(Partition, i64)> = sources.iter().flat_map(|source| source.lag()).collect();
        let intakes = sources.iter().filter_map(|source| {
            let intake = source.intake()?;
            Some((source.name().to_owned(), intake))
        });
        let intakes: Vec<_> = intakes.collect();
        let problems = sources
            .iter()
            .map(|source| (source.name(), source.problem()));
        let problems: Vec<_> = problems.collect();
        let rules: Vec<_> = self
            .parts
            .detector
            .health()
            .map(|(id, h)| (id.to_owned(), h.clone()))
            .collect();
        let watermark = self.watermark.and_then(Watermark::time);
        let watermarks = self.watermarks.describe(now);
        let trips = self.cases.trips();
        let enrichment = self.parts.enrich.health();
        self.parts.health.update(|health| {
            health.watermark = watermark;
            for (partition, time, idle) in watermarks {
                let source = health
                    .sources
                    .entry(partition.source.to_string())
                    .or_default();
                source.idle.insert(partition.name.to_string(), idle);
                if let Some(time) = time {
                    source.watermarks.insert(partition.name.to_string(), time);
                }
            }
            for (partition, lag) in lag {
                let source = health
                    .sources
                    .entry(partition.source.to_string())
                    .or_default();
                source.lag.insert(partition.name.to_string(), lag);
            }
            for (source, problem) in problems {
                if problem.is_some() || health.sources.contains_key(source) {
                    health.sources.entry(source.into()).or_default().problem = problem;
                }
            }
            for (source, intake) in intakes {
                health.sources.entry(source).or_default().intake = Some(intake);
            }
            health.state_bytes = rules.iter().map(|(_, rule)| rule.state_bytes).sum();
            health.rules = rules.into_iter().collect();
            let short = watermark.map_or((0, 0), |w| self.dedup.short_of(w));
            health.dedup_short_seconds = short.0 / SECOND;
            health.dedup_unchecked = short.1;
            health.scans_short = self.scans.short();
            health.enrichment = enrichment;
            health.guard_trips = trips
                .iter()
                .map(|(guard, n)| ((*guard).to_owned(), *n))
                .collect();
        });
    }
}
