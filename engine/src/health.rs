//! What the engine tells operators: one snapshot, written by the pipeline, read by API and progress bar.

use std::collections::BTreeMap;
use std::sync::RwLock;

use serde::Serialize;

use crate::batch::Counts;

#[derive(Debug, Clone, Default, Serialize)]
pub struct RuleHealth {
    pub title: String,
    pub level: String,
    pub version: String,
    pub path: String,
    /// `event`, `window`, `new_terms` or `absence`.
    pub kind: &'static str,
    /// Event time (µs) of the newest match.
    pub last_match: Option<i64>,
    pub matches: u64,
    pub alerts: u64,
    pub errors: u64,
    pub last_error: Option<String>,
    /// Rows that came after their window had closed; they amended its answer.
    pub rows_late: u64,
    /// Part of them that came too late even for that.
    pub rows_too_late: u64,
    /// Why the rule takes no rows any more.
    pub suspended: Option<String>,
    /// A first-seen rule only learns up to this event time, µs.
    pub learning_to: Option<i64>,
    /// Rows that the rule was evaluated on, after dispatch.
    pub rows_evaluated: u64,
    /// Time spent, in nanoseconds.
    pub cost_ns: u64,
    pub state_bytes: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceHealth {
    pub counts: Counts,
    /// Dead letters by reason.
    pub dead_letter_reasons: BTreeMap<String, u64>,
    /// Messages not read yet, by partition.
    pub lag: BTreeMap<String, i64>,
    /// Highest event time seen minus lateness, µs, by partition.
    pub watermarks: BTreeMap<String, i64>,
    pub idle: BTreeMap<String, bool>,
    /// Events further in the future than `max_skew`.
    pub future: u64,
    /// What keeps the source from reading now; it goes on trying.
    pub problem: Option<String>,
    /// Of a source that is pushed to.
    pub intake: Option<Intake>,
}

/// What was pushed to a source since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Intake {
    /// Requests by the status they were answered with.
    pub requests: BTreeMap<u16, u64>,
    /// Bytes of the bodies taken, as they came over the wire.
    pub bytes: u64,
    /// Size of the spool on the disk.
    pub spool_bytes: u64,
}

/// Reference data in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EnrichHealth {
    pub indicators: u64,
    /// Values that are never a match.
    pub exclusions: u64,
    pub assets: u64,
    pub pods: u64,
    /// Entries of lists that were read and not used, by reason.
    pub unused: BTreeMap<String, u64>,
    /// Parts whose files could not be read last; what was known before is used.
    pub broken: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    pub started: i64,
    /// Loaded, store open, sources running, last commit succeeded.
    pub ready: bool,
    /// Why not ready, for people.
    pub reason: String,
    /// Engine's watermark, µs.
    pub watermark: Option<i64>,
    pub sources: BTreeMap<String, SourceHealth>,
    /// By rule id.
    pub rules: BTreeMap<String, RuleHealth>,
    pub alerts: u64,
    pub incidents: u64,
    pub commits: u64,
    /// From taking a commit out of the loop to telling of it; the loop goes on meanwhile.
    pub commit_seconds_total: f64,
    pub commit_seconds_last: f64,
    /// Wall-clock µs of the last commit.
    pub last_commit: Option<i64>,
    /// Trips of correlation guards, by guard.
    pub guard_trips: BTreeMap<String, u64>,
    pub warnings: Vec<String>,
    /// By how much less event time than configured, or than rules need, duplicates are known, seconds.
    pub dedup_short_seconds: i64,
    /// Events let through unchecked for duplicates for want of memory.
    pub dedup_unchecked: u64,
    /// Rows of scans that did not wait, or whose findings are not remembered, for want of memory.
    pub scans_short: u64,
    /// Times that rules were exchanged while running.
    pub reloads: u64,
    pub state_bytes: u64,
    pub enrichment: EnrichHealth,
}

/// Shared, cheap to read.
#[derive(Debug, Default)]
pub struct Health {
    inner: RwLock<Snapshot>,
}

impl Health {
    pub fn snapshot(&self) -> Snapshot {
        self.inner
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(
            &mut self
                .inner
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }
}
