//! Two sets of alerts over the same events, compared.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::episode_start;
use crate::alert::Alert;

/// What a change of rules does to their alerts.
#[derive(Debug, Default, Serialize)]
pub struct Diff {
    pub added: Vec<Alert>,
    pub removed: Vec<Alert>,
    pub changed: Vec<Changed>,
    /// Alerts that stay as they are.
    pub same: u64,
}

/// An alert that stays with another content.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// What differs: `level`, `evidence_count`, `row.calls`.
    pub fields: Vec<String>,
    pub old: Alert,
    pub new: Alert,
}

/// Of an alert, what names its rule and its revision; the rest is its content.
const NO_CONTENT: [&str; 7] = [
    "alert_id",
    "rule_id",
    "rule_version",
    "rule_title",
    "state",
    "revision",
    "watermark",
];

impl Diff {
    /// Finds alerts again by key and episode start: ids differ, because they hold the rule's version.
    pub fn new(old: Vec<Alert>, new: Vec<Alert>) -> Self {
        let place = |alert: Alert| ((episode_start(&alert), alert.key.clone()), alert);
        let mut before: BTreeMap<_, Alert> = old.into_iter().map(place).collect();
        let mut diff = Self::default();
        for (place, new) in new.into_iter().map(place) {
            let Some(old) = before.remove(&place) else {
                diff.added.push(new);
                continue;
            };
            let fields = differing(&old, &new);
            if fields.is_empty() {
                diff.same += 1;
            } else {
                diff.changed.push(Changed { fields, old, new });
            }
        }
        diff.removed = before.into_values().collect();
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

fn differing(old: &Alert, new: &Alert) -> Vec<String> {
    let object = |alert: &Alert| match serde_json::to_value(alert) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (object(old), object(new));
    let mut fields = vec![];
    for (name, value) in &new {
        if NO_CONTENT.contains(&name.as_str()) || old.get(name) == Some(value) {
            continue;
        }
        match (old.get(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let both: std::collections::BTreeSet<&String> =
                    old.keys().chain(new.keys()).collect();
                let differ = both
                    .into_iter()
                    .filter(|key| old.get(*key) != new.get(*key));
                fields.extend(differ.map(|key| format!("{name}.{key}")));
            }
            _ => fields.push(name.clone()),
        }
    }
    fields
}
