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

/// An incident but for its alerts and entities, of which there may be very many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentHead {
    pub incident_id: String,
    pub title: String,
    pub level: Level,
    pub risk_score: u32,
    pub first_time: i64,
    pub last_time: i64,
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    pub rule_ids: Vec<String>,
    pub open: bool,
}

impl IncidentHead {
    pub fn with(self, entities: Vec<Entity>, alert_ids: Vec<String>) -> Incident {
        Incident {
            incident_id: self.incident_id,
            title: self.title,
            level: self.level,
            risk_score: self.risk_score,
            first_time: self.first_time,
            last_time: self.last_time,
            entities,
            tactics: self.tactics,
            techniques: self.techniques,
            alert_ids,
            rule_ids: self.rule_ids,
            open: self.open,
        }
    }
}

impl Incident {
    pub fn head(&self) -> IncidentHead {
        IncidentHead {
            incident_id: self.incident_id.clone(),
            title: self.title.clone(),
            level: self.level,
            risk_score: self.risk_score,
            first_time: self.first_time,
            last_time: self.last_time,
            tactics: self.tactics.clone(),
            techniques: self.techniques.clone(),
            rule_ids: self.rule_ids.clone(),
            open: self.open,
        }
    }
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

impl IncidentStatus {
    pub const ALL: [Self; 5] = [
        Self::New,
        Self::InProgress,
        Self::OnHold,
        Self::Resolved,
        Self::Closed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::InProgress => "in_progress",
            Self::OnHold => "on_hold",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
    /// Whether people have decided; nobody works on it any more.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Resolved | Self::Closed)
    }
    /// The lifecycle: nothing becomes new again, and what is done must be taken up again (in progress)
    /// before anything else; resolved may be closed.
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (from, to) if from == to => true,
            (_, Self::New) => false,
            (Self::Resolved, to) => matches!(to, Self::InProgress | Self::Closed),
            (Self::Closed, to) => to == Self::InProgress,
            _ => true,
        }
    }
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

impl Verdict {
    pub const ALL: [Self; 6] = [
        Self::FalsePositive,
        Self::TruePositive,
        Self::Benign,
        Self::Test,
        Self::InsufficientData,
        Self::Duplicate,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::FalsePositive => "false_positive",
            Self::TruePositive => "true_positive",
            Self::Benign => "benign",
            Self::Test => "test",
            Self::InsufficientData => "insufficient_data",
            Self::Duplicate => "duplicate",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_json_form() {
        for status in IncidentStatus::ALL {
            assert_eq!(serde_json::json!(status), status.as_str());
            assert_eq!(IncidentStatus::parse(status.as_str()), Some(status));
        }
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::json!(verdict), verdict.as_str());
            assert_eq!(Verdict::parse(verdict.as_str()), Some(verdict));
        }
    }

    #[test]
    fn lifecycle() {
        use IncidentStatus::{Closed, InProgress, New, OnHold, Resolved};
        assert!(New.may_become(Closed) && Closed.may_become(InProgress));
        assert!(Resolved.may_become(Closed) && OnHold.may_become(OnHold));
        assert!(!InProgress.may_become(New));
        assert!(!Closed.may_become(Resolved) && !Resolved.may_become(OnHold));
    }
}
