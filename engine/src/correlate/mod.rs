//! From alerts to incidents. The same alerts give the same incidents, in whatever order they came.
//!
//! Alerts are linked when they share entities within a time gap; an incident is a connected component. An
//! entity that many unrelated alerts share (a NAT address, a CI role) links nothing, and every such refusal is
//! counted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(crate) use self::graph::{Graph, GroupId, Moves};
pub(crate) use self::tally::Place;
use crate::alert::{Alert, Entity};
use crate::incident::Incident;
use crate::time::HOUR;

mod chain;
#[cfg(test)]
mod describe;
mod graph;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod oracle;
mod tally;

#[cfg(test)]
pub(crate) use self::describe::describe;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Alerts that share an entity join when no more than this lies between them, µs.
    pub gap: i64,
    /// Entities that never link, by value.
    pub stop_values: BTreeSet<String>,
    /// An entity in alerts of more than this many different identities within the gap links nothing.
    pub ceiling: usize,
    /// Incidents that stay open at a time; beyond it the oldest are closed to new alerts.
    pub max_open: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let stop = [
            "",
            "-",
            "unknown",
            "root",
            "system:anonymous",
            "system:unauthenticated",
            "127.0.0.1",
            "::1",
        ];
        let stop_values = stop.iter().map(|s| (*s).to_owned()).collect();
        Self {
            gap: 2 * HOUR,
            stop_values,
            ceiling: 8,
            max_open: 10_000,
        }
    }
}

/// How strongly one shared entity of this kind speaks for one incident, in tenths: 8 of them link.
fn weight(kind: &str) -> i32 {
    match kind {
        "user" | "access_key" | "session" | "pod" | "container" | "service_account" => 10,
        "ip" | "role" | "host" | "resource" | "bucket" | "secret" | "instance" => 10,
        "image" | "namespace" => 4,
        // An account or a region holds everything.
        _ => 0,
    }
}

#[derive(Debug, Default, PartialEq)]
pub struct Correlation {
    /// By id.
    pub incidents: BTreeMap<String, Incident>,
    /// Guard → times it refused a link.
    pub trips: BTreeMap<&'static str, u64>,
}

/// What is left of an alert whose incident is closed: nothing can join it any more, but with whom it shared an
/// entity still counts for how common that entity is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub first_time: i64,
    pub entities: Vec<Entity>,
}

/// Groups alerts into incidents. Retracted alerts must have been left out.
pub fn correlate<'a>(
    alerts: impl IntoIterator<Item = &'a Alert>,
    settings: &Settings,
) -> Correlation {
    let mut graph = Graph::new(settings.clone());
    for alert in alerts {
        graph.put(alert.clone());
    }
    let groups = graph.settle().groups.into_iter();
    let incidents = groups.filter_map(|group| graph.incident(group));
    Correlation {
        incidents: incidents
            .map(|incident| (incident.incident_id.clone(), incident))
            .collect(),
        trips: graph.trips(),
    }
}

/// Whether an alert's entity of this kind can be shared by so many that it links nothing.
pub fn can_be_common(entity: &Entity) -> bool {
    weight(&entity.kind) > 0 && !identity_kind(&entity.kind)
}

fn identity_kind(kind: &str) -> bool {
    matches!(kind, "user" | "service_account" | "pod")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::alert::AlertState;
    use crate::rule::{Confidence, Level};
    use crate::time::MINUTE;

    fn alert(id: &str, rule: &str, minute: i64, entities: &[(&str, &str)]) -> Alert {
        let entity = |(kind, value): &(&str, &str)| Entity {
            kind: (*kind).into(),
            value: (*value).into(),
        };
        let mut entities: Vec<Entity> = entities.iter().map(entity).collect();
        entities.sort();
        Alert {
            alert_id: id.into(),
            rule_id: rule.into(),
            rule_version: "1".into(),
            rule_title: format!("title of {rule}"),
            level: Level::Medium,
            confidence: Confidence::High,
            risk_score: 20,
            key: vec![],
            window: None,
            first_time: minute * MINUTE,
            last_time: minute * MINUTE,
            entities,
            tactics: vec![if rule == "a" {
                "discovery".into()
            } else {
                "persistence".into()
            }],
            techniques: vec![],
            row: serde_json::Map::new(),
            matches: 1,
            evidence: vec![],
            evidence_count: 1,
            state: AlertState::Final,
            revision: 1,
            watermark: None,
        }
    }

    fn groups(alerts: &[Alert]) -> Vec<Vec<String>> {
        let mut forward: Vec<_> = correlate(alerts, &Settings::default())
            .incidents
            .into_values()
            .map(|i| i.alert_ids)
            .collect();
        let backward = correlate(alerts.iter().rev(), &Settings::default());
        let mut backward: Vec<_> = backward
            .incidents
            .into_values()
            .map(|i| i.alert_ids)
            .collect();
        forward.sort();
        backward.sort();
        assert_eq!(forward, backward, "order must not matter");
        forward
    }

    #[test]
    fn a_chain_of_shared_entities_is_one_incident() {
        let alerts = [
            alert("1", "a", 0, &[("user", "bob"), ("ip", "203.0.113.7")]),
            alert(
                "2",
                "b",
                30,
                &[("ip", "203.0.113.7"), ("access_key", "AKIA1")],
            ),
            alert("3", "b", 60, &[("access_key", "AKIA1")]),
            alert("4", "a", 60, &[("user", "eve")]),
        ];
        assert_eq!(groups(&alerts), [vec!["1", "2", "3"], vec!["4"]]);
        let all = correlate(&alerts, &Settings::default());
        let incident = &all.incidents["inc_1"];
        assert_eq!(incident.tactics, ["discovery", "persistence"]);
        assert!(incident.risk_score > all.incidents["inc_4"].risk_score);
        assert_eq!(incident.entities[0].kind, "access_key");
    }

    #[test]
    fn time_apart_means_apart() {
        let alerts = [
            alert("1", "a", 0, &[("user", "bob")]),
            alert("2", "b", 121, &[("user", "bob")]),
        ];
        assert_eq!(groups(&alerts).len(), 2);
    }

    #[test]
    fn an_address_of_many_identities_joins_nothing() {
        let mut alerts = vec![];
        for i in 0..12 {
            let user = format!("user{i}");
            alerts.push(alert(
                &format!("{i:02}"),
                "a",
                i,
                &[("user", &user), ("ip", "198.51.100.1")],
            ));
        }
        assert_eq!(groups(&alerts).len(), 12);
        assert!(correlate(&alerts, &Settings::default()).trips["ceiling"] > 0);
    }

    #[test]
    fn stop_values_and_weak_kinds_join_nothing() {
        let alerts = [
            alert(
                "1",
                "a",
                0,
                &[("user", "root"), ("account", "1"), ("image", "nginx")],
            ),
            alert(
                "2",
                "b",
                1,
                &[("user", "root"), ("account", "1"), ("image", "nginx")],
            ),
        ];
        assert_eq!(groups(&alerts).len(), 2);
        let more = [
            alert("1", "a", 0, &[("namespace", "prod"), ("image", "nginx")]),
            alert("2", "b", 1, &[("namespace", "prod"), ("image", "nginx")]),
        ];
        assert_eq!(groups(&more).len(), 1, "two weak ones together are enough");
    }
}
