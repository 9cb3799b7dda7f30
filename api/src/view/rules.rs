//! Rules and how they do.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weir_engine::health::RuleHealth;
use weir_engine::rule::{Confidence, Level, Rule, Status};

use super::{rfc3339, schema};

/// How a rule has done since the start.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleHealthView {
    /// `event` or `window`.
    pub kind: String,
    /// Event time of the newest match.
    #[schema(format = DateTime)]
    pub last_match: Option<String>,
    pub matches: u64,
    pub alerts: u64,
    pub errors: u64,
    pub last_error: Option<String>,
    /// Rows that came after their window had closed.
    pub rows_late: u64,
    /// Rows that the rule was evaluated on.
    pub rows_evaluated: u64,
    pub cost_seconds: f64,
    pub state_bytes: u64,
}

impl From<&RuleHealth> for RuleHealthView {
    fn from(health: &RuleHealth) -> Self {
        Self {
            kind: health.kind.to_owned(),
            last_match: health.last_match.map(rfc3339),
            matches: health.matches,
            alerts: health.alerts,
            errors: health.errors,
            last_error: health.last_error.clone(),
            rows_late: health.rows_late,
            rows_evaluated: health.rows_evaluated,
            cost_seconds: health.cost_ns as f64 / 1e9,
            state_bytes: health.state_bytes,
        }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleSummary {
    pub id: String,
    pub version: String,
    pub title: String,
    #[schema(value_type = schema::RuleStatusText)]
    pub status: Status,
    #[schema(value_type = schema::LevelText)]
    pub level: Level,
    #[schema(value_type = schema::ConfidenceText)]
    pub confidence: Confidence,
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    /// File that it was read from.
    pub path: String,
    /// None before the engine has reported.
    pub health: Option<RuleHealthView>,
}

impl RuleSummary {
    pub fn new(rule: &Rule, health: Option<&RuleHealth>) -> Self {
        Self {
            id: rule.id.clone(),
            version: rule.version(),
            title: rule.title.clone(),
            status: rule.status,
            level: rule.level,
            confidence: rule.confidence,
            tactics: rule.tactics(),
            techniques: rule.techniques(),
            path: rule.path.clone(),
            health: health.map(RuleHealthView::from),
        }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleDetail {
    #[serde(flatten)]
    pub rule: RuleSummary,
    pub description: String,
    pub references: Vec<String>,
    pub author: String,
    pub date: String,
    pub tags: Vec<String>,
    pub query: String,
    /// None for a per-event rule.
    pub window: Option<RuleWindow>,
    pub suppress: Option<RuleSuppress>,
    /// Entity kind → output column.
    pub entities: Map<String, Value>,
    /// Framework → control ids.
    pub compliance: BTreeMap<String, Vec<String>>,
    pub falsepositives: Vec<String>,
    pub runbook: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleWindow {
    pub size_seconds: f64,
    pub slide_seconds: f64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RuleSuppress {
    pub by: Vec<String>,
    pub for_seconds: f64,
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

impl RuleDetail {
    pub fn new(rule: &Rule, health: Option<&RuleHealth>) -> Self {
        let entities = rule.entities.iter();
        Self {
            rule: RuleSummary::new(rule, health),
            description: rule.description.clone(),
            references: rule.references.clone(),
            author: rule.author.clone(),
            date: rule.date.clone(),
            tags: rule.tags.clone(),
            query: rule.query.clone(),
            window: rule.kind.window().map(|window| RuleWindow {
                size_seconds: seconds(window.size),
                slide_seconds: seconds(window.slide),
            }),
            suppress: rule.suppress.as_ref().map(|suppress| RuleSuppress {
                by: suppress.by.clone(),
                for_seconds: seconds(suppress.length),
            }),
            entities: entities
                .map(|(kind, column)| (kind.clone(), Value::from(column.clone())))
                .collect(),
            compliance: rule.compliance.clone(),
            falsepositives: rule.falsepositives.clone(),
            runbook: rule.runbook.clone(),
        }
    }
}
