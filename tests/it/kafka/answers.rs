//! What must be equal, whatever happened on the way.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Map, Value, json};

use super::instance::{SOURCE, weir};
use super::trace::Trace;

/// Alerts and incidents by id, without what depends on when events arrived: state, revision, watermark, open,
/// created, updated.
#[derive(Debug, Default, PartialEq)]
pub struct Answers {
    alerts: BTreeMap<String, Value>,
    incidents: BTreeMap<String, Value>,
}

impl Answers {
    pub fn alert(&mut self, alert: &Value) {
        if alert["state"] == "retracted" {
            return;
        }
        let fields = [
            "alert_id",
            "rule_id",
            "rule_version",
            "rule_title",
            "level",
            "confidence",
            "risk_score",
            "key",
            "window",
            "first_time",
            "last_time",
            "entities",
            "tactics",
            "techniques",
            "row",
            "matches",
            "evidence",
            "evidence_count",
        ];
        let id = alert["alert_id"].as_str().unwrap().to_string();
        let twice = self.alerts.insert(id, comparable(alert, &fields));
        assert!(twice.is_none(), "an alert is listed twice");
    }

    pub fn incident(&mut self, incident: &Value) {
        let fields = [
            "incident_id",
            "title",
            "level",
            "risk_score",
            "first_time",
            "last_time",
            "entities",
            "tactics",
            "techniques",
            "alert_ids",
            "rule_ids",
        ];
        let id = incident["incident_id"].as_str().unwrap().to_string();
        let twice = self.incidents.insert(id, comparable(incident, &fields));
        assert!(twice.is_none(), "an incident is listed twice");
    }

    /// What a replay of the files says.
    pub fn replayed(traces: &[&Trace], lateness: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = weir(folder.path())
            .env(
                "WEIR_RULES__DISABLED",
                format!("{:?}", super::disabled(lateness)),
            )
            .arg("replay")
            .args(traces.iter().map(|t| &t.file))
            .args([
                "--output",
                "json",
                "--format",
                "cloudtrail",
                "--name",
                SOURCE,
                "--lateness",
                lateness,
            ])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "replay ended with {}",
            output.status
        );
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut answers = Self::default();
        all["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|alert| answers.alert(alert));
        all["incidents"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|incident| answers.incident(incident));
        assert!(
            !answers.alerts.is_empty() && !answers.incidents.is_empty(),
            "nothing to compare"
        );
        println!(
            "replay: {} alerts, {} incidents",
            answers.alerts.len(),
            answers.incidents.len()
        );
        answers
    }

    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        for (kind, a, b) in [
            ("alert", &self.alerts, &other.alerts),
            ("incident", &self.incidents, &other.incidents),
        ] {
            text += &format!("{} {kind}s expected, {} found\n", a.len(), b.len());
            for (id, value) in a {
                match b.get(id) {
                    None => text += &format!("missing {kind} {value}\n"),
                    Some(found) if found != value => {
                        text += &format!("{kind} {id}\n  expected {value}\n  found    {found}\n")
                    }
                    Some(_) => {}
                }
            }
            for (_, value) in b.iter().filter(|(id, _)| !a.contains_key(*id)) {
                text += &format!("unexpected {kind} {value}\n");
            }
        }
        text.chars().take(6000).collect()
    }
}

/// The fields named, with the two forms that the command line and the API have made one: times as µs, a key as
/// an object, a window as two times.
pub fn comparable(value: &Value, fields: &[&str]) -> Value {
    let mut out = Map::new();
    for field in fields {
        let value = match (*field, &value[*field]) {
            ("key", Value::Array(pairs)) => pairs
                .iter()
                .map(|pair| (pair[0].as_str().unwrap().to_string(), pair[1].clone()))
                .collect(),
            ("window", Value::Object(window)) => {
                json!([micros(&window["start"]), micros(&window["end"])])
            }
            ("first_time" | "last_time", time) => micros(time),
            ("evidence", Value::Array(events)) => events
                .iter()
                .map(|e| json!([micros(&e["time"]), e["event_uid"]]))
                .collect(),
            (_, other) => other.clone(),
        };
        assert!(!value.is_null() || *field == "window", "{field} is missing");
        out.insert((*field).to_string(), value);
    }
    Value::Object(out)
}

pub fn micros(time: &Value) -> Value {
    match time {
        Value::String(text) => json!(text.parse::<jiff::Timestamp>().unwrap().as_microsecond()),
        number => number.clone(),
    }
}
