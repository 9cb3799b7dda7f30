//! An incident: alerts that belong together, as an analyst sees them.
//!
//! What the engine computes ([`Incident`]) and what people decide ([`Triage`]) are kept apart, so that a
//! recomputation never loses an analyst's change.

use serde::{Deserialize, Serialize};

use crate::alert::Entity;
use crate::rule::Level;

/// Computed by correlation; a function of the alerts. Times are µs since the epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// `inc_` and the id of the earliest alert: stable while alerts are added later in time.
    pub incident_id: String,
    pub title: String,
    pub level: Level,
    /// 0 to 100.
    pub risk_score: u32,
    pub first_time: i64,
    pub last_time: i64,
    /// Entities of all alerts, those shared by most alerts first.
    pub entities: Vec<Entity>,
    /// In the order in which they were first seen.
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    /// In order of time.
    pub alert_ids: Vec<String>,
    pub rule_ids: Vec<String>,
    /// False once the watermark has passed and nothing can join any more.
    pub open: bool,
}

/// OCSF `status_id`: 1 new, 2 in progress, 3 on hold, 4 resolved, 5 closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    #[default]
    New,
    InProgress,
    OnHold,
    Resolved,
    Closed,
}

/// OCSF `verdict_id`, the ones people use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    FalsePositive,
    TruePositive,
    Benign,
    Test,
    InsufficientData,
    Duplicate,
}

/// What people decided about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Triage {
    pub status: IncidentStatus,
    pub assignee: Option<String>,
    pub verdict: Option<Verdict>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    pub comment_id: i64,
    pub incident_id: String,
    /// Token name of who wrote it.
    pub author: String,
    /// µs since the epoch.
    pub time: i64,
    pub text: String,
}
