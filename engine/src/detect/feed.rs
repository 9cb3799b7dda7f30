//! Alerts as rows, so that rules can be written over rules: the view `alerts`.
//!
//! A row is told once, when the alert's first match is certain, and holds only what cannot change any more:
//! the rule, the key and the entities of that match. Rules over alerts do not see each other's alerts, so no
//! rule can feed itself.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::buffer::Buffer;
use serde_json::json;

use crate::Result;
use crate::alert::Alert;
use crate::builder::EventBuilder;
use crate::detect::episode::{LATEST, risk};
use crate::detect::row;
use crate::rule::Rule;
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

/// Rows of alerts, each with its rule.
pub fn rows(alerts: &[(&Alert, &Rule)]) -> Result<RecordBatch> {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    for (alert, rule) in alerts {
        builder.begin();
        builder.int(col::TIME, time_of(alert, rule));
        builder.text(col::EVENT_UID, &alert.alert_id);
        builder.text(col::FAMILY, FAMILY);
        builder.text(col::PRODUCT, "Weir");
        builder.text(col::LOG_NAME, FAMILY);
        builder.text(col::API_OPERATION, &rule.id);
        builder.text(col::FINDING_TITLE, &rule.title);
        let (level, risk, tactics) = match &rule.finding {
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
        builder.text(col::STATUS_CODE, level.as_str());
        builder.int(col::SEVERITY_ID, risk.into());
        builder.text(col::FINDING_TAGS, &json!(tactics).to_string());
        let key: serde_json::Map<_, _> = alert
            .key
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        builder.text(col::FINDING_DESC, &json!(key).to_string());
        for (kind, column) in ENTITIES {
            if let Some(value) = first_of(kind, alert, rule) {
                builder.text(*column, &value);
            }
        }
        let mut first = alert.row.clone();
        first.remove(LATEST);
        builder.text(col::RAW, &json!(first).to_string());
        builder.keep();
    }
    Ok(builder.finish()?)
}

/// The first entity of a kind, in the order in which the rule names its columns.
fn first_of(kind: &str, alert: &Alert, rule: &Rule) -> Option<String> {
    let columns = rule.entities.iter().filter(|(of, _)| of == kind);
    let mut named = columns.flat_map(|column| {
        let entities = row::entities(&alert.row, std::slice::from_ref(column));
        entities.into_iter().map(|entity| entity.value)
    });
    named.next()
}

/// When the alert became certain: its event, the end of its window, the end of the wait for what did not come.
fn time_of(alert: &Alert, rule: &Rule) -> i64 {
    let within = rule.absence.as_ref().map_or(0, |absence| absence.within);
    match alert.window {
        Some((_, end)) => end,
        None => alert.first_time.saturating_add(within),
    }
}
