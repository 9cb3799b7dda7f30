//! Alerts as rows, so that rules can be written over rules: the view `alerts`.
//!
//! A row stands from when the alert is final until it is retracted, and says what its first match says: the rule,
//! the key, the entities. Only late events change it, or take it back. Rules over alerts do not see each other's
//! alerts, so no rule can feed itself.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::Result;
use crate::alert::Alert;
use crate::builder::EventBuilder;
use crate::detect::episode::{LATEST, risk};
use crate::detect::row;
use crate::rule::{Level, Rule};
use crate::schema::{COLUMNS, col};

/// Family of the rows, which only rules over alerts get.
pub const FAMILY: &str = "alerts";

/// Columns of the view, and the event columns that carry them.
const VIEW: &[(&str, usize)] = &[
    ("time", col::TIME),
    ("alert_id", col::EVENT_UID),
    ("rule_id", col::API_OPERATION),
    ("rule_title", col::FINDING_TITLE),
    ("level", col::STATUS_CODE),
    ("risk_score", col::SEVERITY_ID),
    ("tactics", col::FINDING_TAGS),
    ("group_key", col::FINDING_DESC),
];

/// Entity kinds that are columns of the view: the first entity of the kind.
const ENTITIES: &[(&str, usize)] = &[
    ("user", col::ACTOR_UID),
    ("role", col::ACTOR_NAME),
    ("access_key", col::ACTOR_CREDENTIAL),
    ("session", col::ACTOR_SESSION_UID),
    ("ip", col::SRC_IP),
    ("account", col::CLOUD_ACCOUNT),
    ("resource", col::RESOURCE_UID),
    ("bucket", col::RESOURCE_NAME),
    ("namespace", col::K8S_NAMESPACE),
    ("pod", col::K8S_POD),
    ("container", col::CONTAINER_UID),
    ("image", col::CONTAINER_IMAGE),
    ("host", col::HOSTNAME),
];

/// The SQL that makes the view `alerts` over `events`. `output` is the first match's row as JSON.
pub fn view() -> String {
    let columns = VIEW.iter().chain(ENTITIES);
    let columns: Vec<String> = columns
        .map(|(name, column)| format!("{} AS \"{name}\"", COLUMNS[*column].name))
        .collect();
    format!(
        "CREATE VIEW alerts AS SELECT {}, raw AS output FROM events WHERE family = '{FAMILY}'",
        columns.join(", ")
    )
}

/// An alert as rules over alerts see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRow {
    /// When it became certain, µs.
    pub time: i64,
    rule_id: String,
    rule_title: String,
    level: Level,
    risk_score: u32,
    /// JSON, as are the next two.
    tactics: String,
    group_key: String,
    output: String,
    /// As [`ENTITIES`] has them.
    entities: Vec<Option<String>>,
}

impl AlertRow {
    pub fn new(alert: &Alert, rule: &Rule) -> Self {
        let (level, risk_score, tactics) = match rule.kind.finding() {
            Some(finding) => {
                let level = finding.level_of(&alert.row).unwrap_or(rule.level);
                let (tactics, _) = finding.attack_of(&alert.row);
                (
                    level,
                    risk(level, rule.confidence, &alert.row),
                    [rule.tactics(), tactics].concat(),
                )
            }
            None => (rule.level, alert.risk_score, alert.tactics.clone()),
        };
        let key = alert.key.iter();
        let key: Map<_, _> = key
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let mut first = alert.row.clone();
        first.remove(LATEST);
        let entities = ENTITIES.iter();
        Self {
            time: time_of(alert, rule),
            rule_id: rule.id.clone(),
            rule_title: rule.title.clone(),
            level,
            risk_score,
            tactics: json!(tactics).to_string(),
            group_key: json!(key).to_string(),
            output: json!(first).to_string(),
            entities: entities
                .map(|(kind, _)| first_of(kind, alert, rule))
                .collect(),
        }
    }

    /// Memory, about.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.rule_id,
            &self.rule_title,
            &self.tactics,
            &self.group_key,
            &self.output,
        ];
        let entities = self.entities.iter().flatten();
        size_of::<Self>()
            + self.entities.capacity() * size_of::<Option<String>>()
            + texts
                .into_iter()
                .chain(entities)
                .map(String::len)
                .sum::<usize>()
    }
}

/// Alerts with their ids as events.
pub fn rows<'a>(alerts: impl Iterator<Item = (&'a String, &'a AlertRow)>) -> Result<RecordBatch> {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for (alert_id, row) in alerts {
        builder.begin();
        builder.int(col::TIME, row.time);
        builder.text(col::EVENT_UID, alert_id);
        builder.text(col::FAMILY, FAMILY);
        builder.text(col::PRODUCT, "Weir");
        builder.text(col::LOG_NAME, FAMILY);
        builder.text(col::API_OPERATION, &row.rule_id);
        builder.text(col::FINDING_TITLE, &row.rule_title);
        builder.text(col::STATUS_CODE, row.level.as_str());
        builder.int(col::SEVERITY_ID, row.risk_score.into());
        builder.text(col::FINDING_TAGS, &row.tactics);
        builder.text(col::FINDING_DESC, &row.group_key);
        for ((_, column), value) in ENTITIES.iter().zip(&row.entities) {
            if let Some(value) = value {
                builder.text(*column, value);
            }
        }
        builder.text(col::RAW, &row.output);
        builder.keep();
    }
    Ok(builder.finish()?)
}

/// The first entity of a kind, in the order in which the rule names its columns.
fn first_of(kind: &str, alert: &Alert, rule: &Rule) -> Option<String> {
    let columns = rule.entities.iter().filter(|(of, _)| of == kind);
    let mut named = columns.flat_map(|column| {
        let entities = row::entities(
            |name| alert.row.get(name).cloned(),
            std::slice::from_ref(column),
        );
        entities.into_iter().map(|entity| entity.value)
    });
    named.next()
}

/// When the alert became certain: its event, the end of its window, the end of the wait for what did not come.
fn time_of(alert: &Alert, rule: &Rule) -> i64 {
    let within = rule.kind.absence().map_or(0, |absence| absence.within);
    match alert.window {
        Some((_, end)) => end,
        None => alert.first_time.saturating_add(within),
    }
}
