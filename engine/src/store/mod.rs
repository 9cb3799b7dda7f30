//! The store: one transaction per batch, and what the API reads.
//!
//! Invariant: everything that a batch caused is in one [`Commit`], and a commit is all or nothing. Positions
//! are told to Kafka only after it. After a failed commit the engine stops; it never runs ahead of its disk.

mod bulk;
mod file;
mod people;
mod read;
pub mod sqlite;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::alert::{Alert, Entity};
use crate::batch::{Counts, Partition};
use crate::incident::{Comment, Incident, IncidentHead, IncidentStatus, Triage, Verdict};
use crate::rule::Level;

pub use sqlite::SqliteStore;

/// What a partition has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub partition: Partition,
    /// Where reading goes on.
    pub next: i64,
    /// Highest event time seen (µs), future ones left out.
    pub max_time: Option<i64>,
    pub counts: Counts,
}

/// One piece of an engine part's state. The store keeps bytes and a checksum, and knows no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// Whose state: `rule/<id>/<version>`, `dedup`, `watermark`, …
    pub owner: String,
    /// Which piece: the pane's start, a bucket, 0.
    pub key: i64,
    /// None deletes the piece.
    pub value: Option<Vec<u8>>,
}

/// Everything that one batch caused.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub partitions: Vec<PartitionState>,
    pub state: Vec<StateWrite>,
    /// Owners whose whole state is dropped first (a rule that changed its version or is gone).
    pub dropped_owners: Vec<String>,
    /// New and changed alerts, with their new revision.
    pub alerts: Vec<Alert>,
    /// New and changed incidents, each once.
    pub incidents: Vec<IncidentWrite>,
    /// Incidents that joined another: (gone, survivor). Their comments and triage stay readable.
    pub merged: Vec<(String, String)>,
    /// Incidents all of whose alerts were retracted.
    pub withdrawn: Vec<String>,
}

/// What is to be stored of an incident: what changed since it was stored last.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentWrite {
    pub head: IncidentHead,
    pub alert_count: usize,
    /// The engine does not know it as stored: what follows is all there is.
    pub is_new: bool,
    /// What people see of it is other than before. If not, only places and counts are.
    pub is_changed: bool,
    /// Alerts in it that were not.
    pub joined: Vec<Place>,
    /// Alerts that were in it.
    pub left: Vec<Place>,
    /// In how many of its alerts an entity is now, if that changed.
    pub entities: Vec<(Entity, u32)>,
    pub labels: Labels,
}

/// Where an alert stands in an incident: its first time, and its id.
pub type Place = (i64, String);

/// Changes of what incidents can be found by, beside their entities.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    pub added: Vec<(Label, String)>,
    pub removed: Vec<(Label, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    Tactic,
    Rule,
}

impl Label {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tactic => "tactic",
            Self::Rule => "rule",
        }
    }
}

impl Labels {
    /// What is to be done after `before` for `after`.
    pub(crate) fn between(before: Option<&IncidentHead>, after: &IncidentHead) -> Self {
        let of = |head: &IncidentHead| -> BTreeSet<(Label, String)> {
            let tactics = head.tactics.iter().map(|one| (Label::Tactic, one.clone()));
            let rules = head.rule_ids.iter().map(|one| (Label::Rule, one.clone()));
            tactics.chain(rules).collect()
        };
        let (before, after) = (before.map(of).unwrap_or_default(), of(after));
        Self {
            added: after.difference(&before).cloned().collect(),
            removed: before.difference(&after).cloned().collect(),
        }
    }
}

impl IncidentWrite {
    /// Whether it changes rows of its alerts or entities.
    pub(crate) fn has_rows(&self) -> bool {
        !(self.joined.is_empty() && self.left.is_empty() && self.entities.is_empty())
    }

    /// The whole of an incident whose alerts and entities keep the order that they have here.
    pub fn whole(incident: &Incident) -> Self {
        let head = incident.head();
        let places = (incident.first_time..).zip(incident.alert_ids.iter().cloned());
        let counts = (1..=incident.entities.len() as u32).rev();
        Self {
            alert_count: incident.alert_ids.len(),
            is_new: true,
            is_changed: true,
            joined: places.collect(),
            left: vec![],
            entities: incident.entities.iter().cloned().zip(counts).collect(),
            labels: Labels::between(None, &head),
            head,
        }
    }
}

/// What the engine needs to go on after a restart.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    pub partitions: Vec<PartitionState>,
    /// Checked against their checksums.
    pub state: Vec<(String, i64, Vec<u8>)>,
    /// Open incidents and all their alerts.
    pub incidents: Vec<Incident>,
    pub alerts: Vec<Alert>,
    /// Alerts and incidents stored so far.
    pub alert_count: u64,
    pub incident_count: u64,
}

/// An incident as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredIncident {
    #[serde(flatten)]
    pub incident: Incident,
    #[serde(flatten)]
    pub triage: Triage,
    /// Rises with every change, by engine or people; the value of the ETag.
    pub revision: i64,
    /// Wall clock, µs.
    pub created: i64,
    pub updated: i64,
    /// Survivor that this incident joined.
    pub merged_into: Option<String>,
    /// All of its alerts were retracted; lists leave it out.
    #[serde(default)]
    pub withdrawn: bool,
    /// With the comments of incidents that joined this one.
    pub comment_count: u64,
}

#[derive(Debug, Clone, Default)]
pub struct IncidentQuery {
    pub status: Option<IncidentStatus>,
    /// This level or above.
    pub min_level: Option<Level>,
    /// Value of an entity (exact), or `kind:value`. A value may contain colons itself (an ARN), so both
    /// readings count.
    pub entity: Option<String>,
    pub tactic: Option<String>,
    pub rule_id: Option<String>,
    pub assignee: Option<String>,
    /// Incidents that overlap `[from, to)`, µs.
    pub from: Option<i64>,
    pub to: Option<i64>,
    /// Return those updated before this (`updated`, `incident_id`), newest first.
    pub cursor: Option<(i64, String)>,
    pub limit: u32,
}

#[derive(Debug, Clone, Default)]
pub struct AlertQuery {
    pub rule_id: Option<String>,
    pub min_level: Option<Level>,
    pub entity: Option<String>,
    pub state: Option<String>,
    pub from: Option<i64>,
    pub to: Option<i64>,
    /// Return those before this (`first_time`, `alert_id`), newest first.
    pub cursor: Option<(i64, String)>,
    pub limit: u32,
}

/// A change that a person makes. `None` leaves a field as it is; `Some(None)` clears it.
#[derive(Debug, Clone, Default)]
pub struct TriageChange {
    pub status: Option<IncidentStatus>,
    pub assignee: Option<Option<String>>,
    pub verdict: Option<Option<Verdict>>,
    /// Refuse unless the incident still has this revision.
    pub expected_revision: Option<i64>,
    /// Token name of who changes it.
    pub author: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ChangeOutcome {
    Changed(Box<StoredIncident>),
    NotFound,
    /// Somebody was faster; the present revision.
    Conflict(i64),
    /// Joined another incident; the survivor.
    Merged(String),
}

/// One line of an incident's history, by engine or people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentChange {
    /// Total order over all incidents; the SSE event id.
    pub seq: i64,
    pub incident_id: String,
    /// `created`, `updated`, `merged`, `withdrawn`, `triaged`, `commented`.
    pub kind: String,
    /// Wall clock, µs.
    pub time: i64,
    /// Token name, or `weir`.
    pub author: String,
    /// The fields that changed, for people's changes.
    pub detail: serde_json::Value,
}

#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Reads everything back after a start. A damaged piece of state is an error that names it.
    async fn resume(&self) -> Result<Resume>;
    /// All or nothing.
    async fn commit(&self, commit: &Commit) -> Result<()>;
    /// Told after each commit and each change by people; receivers then read [`changes`](Self::changes).
    fn subscribe(&self) -> tokio::sync::watch::Receiver<i64>;

    async fn incidents(&self, query: &IncidentQuery) -> Result<Vec<StoredIncident>>;
    async fn incident(&self, id: &str) -> Result<Option<StoredIncident>>;
    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>>;
    async fn alerts_by_id(&self, ids: &[String]) -> Result<Vec<Alert>>;
    async fn triage(&self, id: &str, change: &TriageChange) -> Result<ChangeOutcome>;
    /// Oldest first, with those of incidents that joined this one (each names its own incident).
    async fn comments(&self, id: &str) -> Result<Vec<Comment>>;
    /// None when there is no such incident. A comment on a merged incident goes to the survivor.
    async fn add_comment(&self, id: &str, author: &str, text: &str) -> Result<Option<Comment>>;
    /// History of one incident (`id`), or of all, after `seq`, oldest first.
    async fn changes(
        &self,
        id: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<IncidentChange>>;
}

pub type SharedStore = Arc<dyn Store>;
