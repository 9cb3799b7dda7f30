//! What was told about a key, and the fold of its matches into episodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::alert::{Alert, AlertState};
use crate::detect::episode::{Episode, Match};
use crate::detect::timeline::{Key, Place};
use crate::rule::Rule;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    pub alert: Alert,
    /// Hash of the alert without state, revision and watermark.
    content: u64,
}

/// What is stored of a key beside its matches.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// The episode that matches no longer kept led to.
    pub base: Option<Episode>,
    /// Matches up to here are in `base`.
    pub cut: Option<Place>,
    /// By alert id.
    pub told: BTreeMap<String, Told>,
}

/// Provisional alerts in the stored head of a key.
pub fn provisional(value: &[u8]) -> Result<Vec<Alert>, String> {
    let (_, head): (String, Head) = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    let told = head.told.into_values().map(|told| told.alert);
    Ok(told
        .filter(|alert| alert.state == AlertState::Provisional)
        .collect())
}

impl Head {
    /// Memory, about.
    pub fn bytes(&self) -> usize {
        let told = self.told.values().map(|told| told.alert.bytes());
        let base = self.base.as_ref().map_or(0, |base| base.alert.bytes());
        128 + base + told.sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.cut.is_none() && self.told.is_empty()
    }

    /// The alert as it is to be told; none if it was told just so.
    pub fn tell(&mut self, mut alert: Alert, watermark: Option<i64>) -> Option<Alert> {
        let state = std::mem::replace(&mut alert.state, AlertState::Final);
        (alert.revision, alert.watermark) = (0, None);
        let content = xxh3_64(&serde_json::to_vec(&alert).unwrap_or_default());
        alert.state = state;
        let before = self.told.get(&alert.alert_id);
        if let Some(before) = before {
            // What is final stays final while an open window adds to it.
            if before.alert.state == AlertState::Final {
                alert.state = AlertState::Final;
            }
            if before.alert.state == alert.state && before.content == content {
                return None;
            }
        }
        alert.revision = before.map_or(0, |b| b.alert.revision) + 1;
        alert.watermark = watermark;
        let told = Told {
            alert: alert.clone(),
            content,
        };
        self.told.insert(alert.alert_id.clone(), told);
        Some(alert)
    }
}

pub struct Fold<'a> {
    pub rule: &'a Rule,
    pub version: &'a str,
    /// Of all matches.
    pub key: &'a Key,
    /// Matches that start in one of these `[from, to)`, in order of time, are passed over.
    pub silent: &'a [(i64, i64)],
}

impl Fold<'_> {
    pub fn all<'m>(
        &self,
        base: Option<Episode>,
        matches: impl Iterator<Item = &'m Match>,
    ) -> Vec<Episode> {
        let mut ended = vec![];
        let mut current = base;
        for found in matches.filter(|found| self.counts(found)) {
            current = Some(self.one(current.take(), found, &mut ended));
        }
        ended.extend(current);
        ended
    }

    pub fn counts(&self, found: &Match) -> bool {
        let begun = self
            .silent
            .partition_point(|(from, _)| *from <= found.start);
        let last = begun.checked_sub(1).map(|at| self.silent[at]);
        last.is_none_or(|(_, to)| found.start >= to)
    }

    /// The episode that a match belongs to; what it ends goes to `ended`.
    pub fn one(
        &self,
        current: Option<Episode>,
        found: &Match,
        ended: &mut Vec<Episode>,
    ) -> Episode {
        match current {
            Some(mut episode) if episode.takes(found.start, self.rule) => {
                episode.fold(found, self.rule);
                episode
            }
            other => {
                ended.extend(other);
                Episode::new(self.rule, self.version, self.key, found)
            }
        }
    }
}
