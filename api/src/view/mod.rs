//! What the API shows: the engine's values with times as RFC 3339 text (UTC, six decimals).
//!
//! These types are the contract; the engine's own may change without it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weir_engine::alert::{Alert, AlertState, Entity, Evidence};
use weir_engine::incident::{Comment, IncidentStatus, Verdict};
use weir_engine::rule::{Confidence, Level};
use weir_engine::store::{IncidentChange, StoredIncident};

mod rules;

pub use rules::{RuleDetail, RuleHealthView, RuleSummary, RuleSuppress, RuleWindow};

/// Entities of an incident in a list.
const LISTED_ENTITIES: usize = 20;

/// µs since the epoch as RFC 3339. Beyond the calendar's ends (year ±9999) it is the end.
pub fn rfc3339(time: i64) -> String {
    let end = if time < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    };
    let time = jiff::Timestamp::from_microsecond(time).unwrap_or(end);
    format!("{time:.6}")
}

/// The engine's enums as the document has them.
pub(crate) mod schema {
    use serde::Serialize;
    use utoipa::ToSchema;

    macro_rules! texts {
        ($($name:ident as $shown:ident in $case:literal: $($variant:ident)*;)*) => {
            $(
                #[derive(Serialize, ToSchema)]
                #[schema(as = $shown)]
                #[serde(rename_all = $case)]
                #[allow(dead_code)]
                pub enum $name { $($variant),* }
                impl $name {
                    #[cfg(test)]
                    pub const ALL: &[Self] = &[$(Self::$variant),*];
                }
            )*
        };
    }

    texts! {
        LevelText as Level in "lowercase": Informational Low Medium High Critical;
        ConfidenceText as Confidence in "lowercase": Low Medium High;
        AlertStateText as AlertState in "lowercase": Provisional Final Retracted;
        RuleStatusText as RuleStatus in "lowercase": Experimental Test Stable Deprecated;
        IncidentStatusText as IncidentStatus in "snake_case": New InProgress OnHold Resolved Closed;
        VerdictText as Verdict in "snake_case":
            FalsePositive TruePositive Benign Test InsufficientData Duplicate;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EntityView {
    /// `user`, `access_key`, `session`, `ip`, `pod`, `container`, `host`, …
    pub kind: String,
    pub value: String,
}

impl From<&Entity> for EntityView {
    fn from(entity: &Entity) -> Self {
        Self {
            kind: entity.kind.clone(),
            value: entity.value.clone(),
        }
    }
}

/// An incident as lists and the stream show it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct IncidentSummary {
    pub incident_id: String,
    pub title: String,
    #[schema(value_type = schema::LevelText)]
    pub level: Level,
    /// 0 to 100.
    pub risk_score: u32,
    #[schema(value_type = schema::IncidentStatusText)]
    pub status: IncidentStatus,
    pub assignee: Option<String>,
    #[schema(value_type = Option<schema::VerdictText>)]
    pub verdict: Option<Verdict>,
    /// Event time of the first alert's first match.
    #[schema(format = DateTime)]
    pub first_time: String,
    #[schema(format = DateTime)]
    pub last_time: String,
    /// Alerts can still join.
    pub open: bool,
    /// In the order in which they were first seen.
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    pub rule_ids: Vec<String>,
    /// Those shared by most alerts first; at most 20 in lists, all of them in `GET /incidents/{id}`.
    pub entities: Vec<EntityView>,
    pub entity_count: usize,
    pub alert_count: usize,
    pub comment_count: u64,
    /// Rises with every change; the value of the ETag.
    pub revision: i64,
    #[schema(format = DateTime)]
    pub created: String,
    #[schema(format = DateTime)]
    pub updated: String,
    /// The incident that this one joined.
    pub merged_into: Option<String>,
    /// All of its alerts were retracted.
    pub withdrawn: bool,
}

impl From<&StoredIncident> for IncidentSummary {
    fn from(stored: &StoredIncident) -> Self {
        let (incident, triage) = (&stored.incident, &stored.triage);
        let listed = incident.entities.iter().take(LISTED_ENTITIES);
        Self {
            incident_id: incident.incident_id.clone(),
            title: incident.title.clone(),
            level: incident.level,
            risk_score: incident.risk_score,
            status: triage.status,
            assignee: triage.assignee.clone(),
            verdict: triage.verdict,
            first_time: rfc3339(incident.first_time),
            last_time: rfc3339(incident.last_time),
            open: incident.open,
            tactics: incident.tactics.clone(),
            techniques: incident.techniques.clone(),
            rule_ids: incident.rule_ids.clone(),
            entities: listed.map(EntityView::from).collect(),
            entity_count: incident.entities.len(),
            alert_count: incident.alert_ids.len(),
            comment_count: stored.comment_count,
            revision: stored.revision,
            created: rfc3339(stored.created),
            updated: rfc3339(stored.updated),
            merged_into: stored.merged_into.clone(),
            withdrawn: stored.withdrawn,
        }
    }
}

/// One incident with what an analyst needs first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct IncidentDetail {
    #[serde(flatten)]
    pub incident: IncidentSummary,
    /// Ids of all alerts, in order of time.
    pub alert_ids: Vec<String>,
    /// The first 200 alerts, in order of time.
    pub alerts: Vec<AlertView>,
    /// The first 200 entries; more at `/timeline`.
    pub timeline: Vec<TimelineEntry>,
    /// Evidence of those alerts, at most 1,000 events; the events themselves at `/events`.
    pub evidence: Vec<EventRef>,
    /// True number of events behind the alerts; a few are kept per alert.
    pub evidence_count: u64,
    /// `alerts`, `timeline` or `evidence` is cut.
    pub truncated: bool,
}

/// Where an event is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct EventRef {
    #[schema(format = DateTime)]
    pub time: String,
    pub event_uid: String,
}

impl From<&Evidence> for EventRef {
    fn from(evidence: &Evidence) -> Self {
        Self {
            time: rfc3339(evidence.time),
            event_uid: evidence.event_uid.clone(),
        }
    }
}

/// `[start, end)`, event time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WindowView {
    #[schema(format = DateTime)]
    pub start: String,
    #[schema(format = DateTime)]
    pub end: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AlertView {
    pub alert_id: String,
    pub rule_id: String,
    pub rule_version: String,
    pub rule_title: String,
    #[schema(value_type = schema::LevelText)]
    pub level: Level,
    #[schema(value_type = schema::ConfidenceText)]
    pub confidence: Confidence,
    /// 0 to 100.
    pub risk_score: u32,
    #[schema(value_type = schema::AlertStateText)]
    pub state: AlertState,
    /// Column → value, in the rule's order.
    pub key: Map<String, Value>,
    /// First matching window; none for a per-event rule.
    pub window: Option<WindowView>,
    #[schema(format = DateTime)]
    pub first_time: String,
    #[schema(format = DateTime)]
    pub last_time: String,
    pub entities: Vec<EntityView>,
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    /// The query's output row at the first match.
    pub row: Map<String, Value>,
    /// Matches (events, or windows).
    pub matches: u64,
    /// The earliest events, at most 50.
    pub evidence: Vec<EventRef>,
    /// Their true number.
    pub evidence_count: u64,
    pub revision: u32,
    /// The engine's watermark when this revision was decided.
    #[schema(format = DateTime)]
    pub watermark: Option<String>,
}

impl From<&Alert> for AlertView {
    fn from(alert: &Alert) -> Self {
        let key = alert.key.iter();
        Self {
            alert_id: alert.alert_id.clone(),
            rule_id: alert.rule_id.clone(),
            rule_version: alert.rule_version.clone(),
            rule_title: alert.rule_title.clone(),
            level: alert.level,
            confidence: alert.confidence,
            risk_score: alert.risk_score,
            state: alert.state,
            key: key
                .map(|(column, value)| (column.clone(), Value::from(value.clone())))
                .collect(),
            window: alert.window.map(|(start, end)| WindowView {
                start: rfc3339(start),
                end: rfc3339(end),
            }),
            first_time: rfc3339(alert.first_time),
            last_time: rfc3339(alert.last_time),
            entities: alert.entities.iter().map(EntityView::from).collect(),
            tactics: alert.tactics.clone(),
            techniques: alert.techniques.clone(),
            row: alert.row.clone(),
            matches: alert.matches,
            evidence: alert.evidence.iter().map(EventRef::from).collect(),
            evidence_count: alert.evidence_count,
            revision: alert.revision,
            watermark: alert.watermark.map(rfc3339),
        }
    }
}

/// Alerts stand at their event time, changes at the wall clock's.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TimelineEntry {
    Alert {
        #[schema(format = DateTime)]
        time: String,
        #[schema(format = DateTime)]
        until: String,
        alert_id: String,
        rule_id: String,
        title: String,
        #[schema(value_type = schema::LevelText)]
        level: Level,
        #[schema(value_type = schema::AlertStateText)]
        state: AlertState,
        tactics: Vec<String>,
        techniques: Vec<String>,
        entities: Vec<EntityView>,
        matches: u64,
    },
    Change(ChangeView),
}

/// One line of an incident's history.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChangeView {
    /// Total order over all incidents; the id of the stream's events.
    pub seq: i64,
    pub incident_id: String,
    /// `created`, `updated`, `merged`, `withdrawn`, `triaged` or `commented`.
    pub kind: String,
    /// Wall clock.
    #[schema(format = DateTime)]
    pub time: String,
    /// Name of a token, or `weir`.
    pub author: String,
    /// What changed; `{"status": {"from": "new", "to": "closed"}}` for people's changes.
    pub detail: Value,
}

impl From<IncidentChange> for ChangeView {
    fn from(change: IncidentChange) -> Self {
        Self {
            seq: change.seq,
            incident_id: change.incident_id,
            kind: change.kind,
            time: rfc3339(change.time),
            author: change.author,
            detail: change.detail,
        }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CommentView {
    pub comment_id: i64,
    /// Where it was written: the incident itself, or one that joined it.
    pub incident_id: String,
    pub author: String,
    #[schema(format = DateTime)]
    pub time: String,
    pub text: String,
}

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        Self {
            comment_id: comment.comment_id,
            incident_id: comment.incident_id,
            author: comment.author,
            time: rfc3339(comment.time),
            text: comment.text,
        }
    }
}

/// A page, and where the next one starts; none after the last.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use weir_engine::rule::Status;

    use super::*;

    #[test]
    fn times_are_text_of_one_length_and_never_fail() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(
            rfc3339(1_795_255_200_123_456),
            "2026-11-21T10:00:00.123456Z"
        );
        assert!(rfc3339(i64::MAX).starts_with("9999-12-"));
        assert!(rfc3339(i64::MIN).starts_with("-009999-01-"));
    }

    #[test]
    fn the_documents_enums_are_the_engines() {
        fn texts<T: Serialize>(all: &[T]) -> String {
            serde_json::to_string(all).unwrap_or_default()
        }
        assert_eq!(texts(schema::LevelText::ALL), texts(&Level::ALL));
        assert_eq!(
            texts(schema::IncidentStatusText::ALL),
            texts(&IncidentStatus::ALL)
        );
        assert_eq!(texts(schema::VerdictText::ALL), texts(&Verdict::ALL));
        assert_eq!(
            texts(schema::AlertStateText::ALL),
            texts(&[
                AlertState::Provisional,
                AlertState::Final,
                AlertState::Retracted
            ])
        );
        assert_eq!(
            texts(schema::ConfidenceText::ALL),
            texts(&[Confidence::Low, Confidence::Medium, Confidence::High])
        );
        assert_eq!(
            texts(schema::RuleStatusText::ALL),
            texts(&[
                Status::Experimental,
                Status::Test,
                Status::Stable,
                Status::Deprecated
            ])
        );
    }
}
