//! The grouping written down at once, over all alerts, to compare the [`Graph`] with.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, Past, Settings, describe, identity_kind, weight};
use crate::alert::{Alert, Entity};
use crate::time::MINUTE;

type Grouped = (BTreeSet<Vec<String>>, BTreeMap<&'static str, u64>);

/// The ids of alerts that belong together, and how often a guard refused a link.
fn grouped(alerts: &[Alert], past: &[Past], settings: &Settings) -> Grouped {
    let mut alerts: Vec<&Alert> = alerts.iter().collect();
    alerts.sort_by_key(|alert| (alert.first_time, alert.alert_id.clone()));
    let mut chains: BTreeMap<&Entity, Vec<usize>> = BTreeMap::new();
    for (index, alert) in alerts.iter().enumerate() {
        for entity in &alert.entities {
            chains.entry(entity).or_default().push(index);
        }
    }
    let (mut weights, mut trips) = (BTreeMap::new(), BTreeMap::new());
    for (entity, chain) in &chains {
        if chain.len() < 2 || weight(&entity.kind) == 0 {
            continue;
        }
        if settings.stop_values.contains(&entity.value) {
            *trips.entry("stop_value").or_default() += 1;
            continue;
        }
        let mut newest = chain[0];
        for &next in &chain[1..] {
            let (one, other) = (alerts[newest], alerts[next]);
            if other.first_time - one.last_time <= settings.gap {
                let is_common = |alert| is_common(entity, alert, &alerts, past, settings);
                if is_common(one) || is_common(other) {
                    *trips.entry("ceiling").or_default() += 1;
                } else {
                    *weights.entry((newest, next)).or_insert(0) += weight(&entity.kind);
                }
            }
            if other.last_time >= one.last_time {
                newest = next;
            }
        }
    }
    let mut group: Vec<usize> = (0..alerts.len()).collect();
    for ((one, other), weight) in weights {
        if weight >= 8 {
            let (from, to) = (group[other], group[one]);
            group
                .iter_mut()
                .filter(|g| **g == from)
                .for_each(|g| *g = to);
        }
    }
    let mut members: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (index, alert) in alerts.iter().enumerate() {
        let of = members.entry(group[index]).or_default();
        of.push(alert.alert_id.clone());
    }
    (members.into_values().collect(), trips)
}

/// Whether around the alert more than so many alerts of more than so many identities share the entity.
fn is_common(
    entity: &Entity,
    alert: &Alert,
    alerts: &[&Alert],
    past: &[Past],
    settings: &Settings,
) -> bool {
    let open = alerts.iter().map(|one| (one.first_time, &one.entities));
    let all = open.chain(past.iter().map(|past| (past.first_time, &past.entities)));
    let around: Vec<_> = all
        .filter(|(time, entities)| {
            (time - alert.first_time).abs() <= settings.gap && entities.contains(entity)
        })
        .collect();
    let identities: BTreeSet<&Entity> = around
        .iter()
        .flat_map(|(_, entities)| entities.iter())
        .filter(|one| identity_kind(&one.kind))
        .collect();
    !identity_kind(&entity.kind)
        && around.len() > settings.ceiling
        && identities.len() > settings.ceiling
}

/// Numbers that come again with the same seed.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

pub(crate) fn alert(random: &mut Random, number: u64, entities: u64) -> Alert {
    let first = random.below(600) as i64 * MINUTE;
    let long = [0, 0, 5, 60, 300][random.below(5) as usize] * MINUTE;
    let mut shared: Vec<Entity> = (0..=random.below(3))
        .map(|_| {
            let kinds = [
                "user",
                "user",
                "ip",
                "ip",
                "image",
                "namespace",
                "pod",
                "account",
            ];
            let value = match random.below(20) {
                0 => "root".to_owned(),
                _ => format!("v{}", random.below(entities)),
            };
            Entity {
                kind: kinds[random.below(8) as usize].into(),
                value,
            }
        })
        .collect();
    shared.sort();
    shared.dedup();
    let mut tactics = |end| -> Vec<String> {
        (0..random.below(end))
            .map(|_| format!("t{}", random.below(6)))
            .collect()
    };
    let tactics = tactics(3);
    let level = ["low", "medium", "high"][random.below(3) as usize];
    let mut alert: Alert = serde_json::from_value(serde_json::json!({
        "alert_id": format!("a{number:03}"), "rule_id": format!("r{}", random.below(4)), "rule_version": "1",
        "rule_title": format!("R{}", random.below(9)),
        "level": level,
        "confidence": "low", "risk_score": 10 * random.below(3), "key": [], "window": null,
        "first_time": first, "last_time": first + long, "entities": [],
        "tactics": tactics, "techniques": [format!("T{}", random.below(5))], "row": {}, "matches": 1, "evidence": [],
        "evidence_count": 1, "state": "final", "revision": 1, "watermark": null
    }))
    .unwrap();
    alert.entities = shared;
    alert
}

/// Alerts come in any order, change, are taken back, and their incidents close: the groups are always those of
/// the alerts that there are.
#[test]
fn groups_are_those_of_the_alerts_whatever_happened_before() {
    let settings = Settings {
        ceiling: 3,
        ..Settings::default()
    };
    for seed in 1..400 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed));
        let mut graph = Graph::new(settings.clone());
        let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
        let mut past: Vec<(Past, Option<u32>)> = vec![];
        let entities = 2 + random.below(12);
        let mut closed = BTreeSet::new();
        for _ in 0..30 {
            for _ in 0..=random.below(6) {
                let number = random.below(120);
                let new = alert(&mut random, number, entities);
                if closed.contains(&new.alert_id) {
                    continue;
                }
                match (random.below(8), alerts.get(&new.alert_id).cloned()) {
                    (0, Some(old)) => {
                        graph.remove(&old.alert_id);
                        alerts.remove(&old.alert_id);
                    }
                    (1..4, Some(mut old)) => {
                        old.last_time = old.first_time.max(new.last_time);
                        (old.level, old.tactics) = (new.level, new.tactics);
                        graph.put(old.clone());
                        alerts.insert(old.alert_id.clone(), old);
                    }
                    _ => {
                        graph.put(new.clone());
                        alerts.insert(new.alert_id.clone(), new);
                    }
                }
            }
            let touched = graph.settle();
            let open: Vec<Alert> = alerts.values().cloned().collect();
            let pasts: Vec<Past> = past.iter().map(|(past, _)| past.clone()).collect();
            let (expected, trips) = grouped(&open, &pasts, &settings);
            let mut groups: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            for group in open.iter().filter_map(|one| graph.group_of(&one.alert_id)) {
                let members: Vec<&Alert> = graph.members(group).collect();
                let ids = members.iter().map(|one| one.alert_id.clone());
                groups.insert(group, ids.collect());
                let kept = graph.incident(group).unwrap();
                assert_eq!(kept, describe(&members), "seed {seed}");
            }
            let found: BTreeSet<_> = groups.values().cloned().collect();
            assert_eq!(found, expected, "seed {seed}");
            assert_eq!(graph.trips(), trips, "seed {seed}");
            assert!(
                touched
                    .groups
                    .iter()
                    .all(|group| groups.contains_key(group))
            );
            if random.below(3) == 0
                && let Some(group) = groups
                    .keys()
                    .nth(random.below(groups.len().max(1) as u64) as usize)
            {
                for (alert, node) in graph.close(*group, |_| true) {
                    alerts.remove(&alert.alert_id);
                    closed.insert(alert.alert_id);
                    let left = Past {
                        first_time: alert.first_time,
                        entities: alert.entities,
                    };
                    past.push((left, node));
                }
            }
            // A past alert near no open one can be let go of.
            if random.below(3) == 0 {
                graph.settle();
                past.retain(|(_, node)| {
                    let kept =
                        node.is_some_and(|node| graph.is_near_open(node) || random.below(2) == 0);
                    if let Some(node) = node.filter(|_| !kept) {
                        graph.forget(node);
                    }
                    kept
                });
            }
        }
    }
}
