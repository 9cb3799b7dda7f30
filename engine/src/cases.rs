//! The open incidents: keeps the alerts that can still be joined, and says what changed.
//!
//! The grouping itself is that of [`Graph`](crate::correlate); this module describes the groups that changed, compares and
//! lets go of what is over.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Map;
use xxhash_rust::xxh3::xxh3_64;

use crate::alert::{Alert, AlertState};
use crate::correlate::{Graph, GroupId, Past, Settings, can_be_common, describe};
use crate::incident::Incident;
use crate::store::StateWrite;
use crate::time::MINUTE;

/// Owner of the state.
const PAST: &str = "past";

/// Event time after which a past alert is looked at again that still lies near an open one.
const AGAIN: i64 = 30 * MINUTE;

#[derive(Debug)]
pub struct Cases {
    settings: Settings,
    /// Alerts of open incidents, and of closed ones that open ones still lie near to.
    graph: Graph,
    incidents: BTreeMap<String, Incident>,
    /// Last time and id of each incident.
    by_last: BTreeSet<(i64, String)>,
    /// When a past alert is to be looked at, and its node.
    past: BTreeSet<(i64, u32)>,
    /// Incidents were restored, and not yet compared with their alerts.
    is_restored: bool,
    writes: Vec<StateWrite>,
    trips: BTreeMap<&'static str, u64>,
}

/// What a batch of alerts changed.
#[derive(Debug, Default)]
pub struct CaseChanges {
    pub incidents: Vec<Incident>,
    /// (gone, survivor)
    pub merged: Vec<(String, String)>,
    pub withdrawn: Vec<String>,
    /// New ones among `incidents`.
    pub opened: u64,
}

/// The alert without its row and its evidence, which an incident does not tell of.
fn gist(alert: &Alert) -> Alert {
    Alert {
        alert_id: alert.alert_id.clone(),
        rule_id: alert.rule_id.clone(),
        rule_version: alert.rule_version.clone(),
        rule_title: alert.rule_title.clone(),
        key: alert.key.clone(),
        entities: alert.entities.clone(),
        tactics: alert.tactics.clone(),
        techniques: alert.techniques.clone(),
        row: Map::new(),
        evidence: vec![],
        ..*alert
    }
}

impl Cases {
    pub fn new(settings: Settings) -> Self {
        Self {
            graph: Graph::new(settings.clone()),
            settings,
            incidents: BTreeMap::new(),
            by_last: BTreeSet::new(),
            past: BTreeSet::new(),
            is_restored: false,
            writes: vec![],
            trips: BTreeMap::new(),
        }
    }

    pub fn restore(&mut self, incidents: Vec<Incident>, alerts: Vec<Alert>) {
        for incident in incidents {
            self.keep(incident);
        }
        let standing = alerts
            .iter()
            .filter(|alert| alert.state != AlertState::Retracted);
        for alert in standing {
            self.graph.put(gist(alert));
        }
        self.is_restored = true;
    }

    /// Times that a guard refused a link, by guard, over all open alerts.
    pub fn trips(&self) -> &BTreeMap<&'static str, u64> {
        &self.trips
    }

    /// Takes new and changed alerts in and closes incidents that nothing can join any more: those whose last
    /// alert lies more than the gap before `horizon` and none of whose alerts is live.
    pub fn update(
        &mut self,
        changed: &[Alert],
        horizon: Option<i64>,
        is_live: impl Fn(&Alert) -> bool,
    ) -> CaseChanges {
        for alert in changed {
            match alert.state {
                AlertState::Retracted => self.graph.remove(&alert.alert_id),
                _ => self.graph.put(gist(alert)),
            }
        }
        let mut changes = CaseChanges::default();
        if !changed.is_empty() || self.is_restored {
            self.regroup(&mut changes);
        }
        self.close(horizon, is_live, &mut changes);
        self.forget(horizon);
        changes
    }

    /// Pieces of state that changed since the last call.
    pub fn take_state(&mut self) -> Vec<StateWrite> {
        std::mem::take(&mut self.writes)
    }

    /// Puts back a piece if it is one of ours.
    pub fn restore_past(&mut self, owner: &str, key: i64, value: &[u8]) -> Result<(), String> {
        if owner == PAST {
            let past: Past = serde_json::from_slice(value).map_err(|e| e.to_string())?;
            let node = self.graph.put_past(&past, key);
            self.past.insert((self.due(past.first_time), node));
        }
        Ok(())
    }

    /// When nothing that comes can lie near a past alert any more.
    fn due(&self, first_time: i64) -> i64 {
        first_time.saturating_add(self.settings.gap)
    }

    /// Lets go of what lies further than the gap from all that is open or can come.
    fn forget(&mut self, horizon: Option<i64>) {
        let Some(horizon) = horizon else { return };
        while let Some((due, node)) = self.past.first().copied().filter(|(due, _)| *due < horizon) {
            self.past.remove(&(due, node));
            if self.graph.is_near_open(node) {
                self.past.insert((horizon.saturating_add(AGAIN), node));
                continue;
            }
            self.writes.push(StateWrite {
                owner: PAST.into(),
                key: self.graph.key_of_past(node),
                value: None,
            });
            self.graph.forget(node);
        }
    }

    fn keep(&mut self, incident: Incident) {
        let id = incident.incident_id.clone();
        self.by_last.insert((incident.last_time, id.clone()));
        self.incidents.insert(id, incident);
    }

    fn drop_incident(&mut self, id: &str) -> Option<Incident> {
        let incident = self.incidents.remove(id)?;
        self.by_last.remove(&(incident.last_time, id.to_owned()));
        Some(incident)
    }

    /// Describes the groups that changed.
    fn regroup(&mut self, changes: &mut CaseChanges) {
        let touched = self.graph.settle();
        let mut before = touched.incidents;
        if std::mem::take(&mut self.is_restored) {
            before.extend(self.incidents.keys().cloned());
        }
        let over = self.trips.get("open_incidents").copied();
        self.trips = self.graph.trips();
        self.trips.extend(over.map(|n| ("open_incidents", n)));
        let mut described = BTreeMap::new();
        for group in touched.groups {
            before.extend(self.graph.incident_of(group).map(str::to_owned));
            let incident = describe(&self.graph.members(group));
            self.graph.name(group, &incident.incident_id);
            described.insert(incident.incident_id.clone(), incident);
        }
        for id in before.iter().filter(|id| !described.contains_key(*id)) {
            let Some(old) = self.drop_incident(id) else {
                continue;
            };
            let holds = |alert: &String| self.graph.incident_of(self.graph.group_of(alert)?);
            match old.alert_ids.iter().find_map(holds) {
                Some(survivor) => changes.merged.push((old.incident_id, survivor.to_owned())),
                None => changes.withdrawn.push(old.incident_id),
            }
        }
        for (id, incident) in described {
            let before = self.incidents.get(&id);
            if before == Some(&incident) {
                continue;
            }
            changes.opened += u64::from(before.is_none());
            changes.incidents.push(incident.clone());
            self.drop_incident(&id);
            self.keep(incident);
        }
    }

    fn close(
        &mut self,
        horizon: Option<i64>,
        is_live: impl Fn(&Alert) -> bool,
        changes: &mut CaseChanges,
    ) {
        let is_past = |last: i64| {
            let last = last.saturating_add(self.settings.gap);
            horizon.is_some_and(|horizon| last < horizon)
        };
        let has_live = |id: &String| {
            let incident = self.incidents.get(id).into_iter();
            let mut alerts = incident.flat_map(|incident| incident.alert_ids.iter().rev());
            alerts.any(|alert| self.graph.alert(alert).is_some_and(&is_live))
        };
        let old = self.by_last.iter().take_while(|(last, _)| is_past(*last));
        let mut ended: BTreeSet<String> = old
            .filter(|(_, id)| !has_live(id))
            .map(|(_, id)| id.clone())
            .collect();
        let excess = (self.incidents.len() - ended.len()).saturating_sub(self.settings.max_open);
        if excess > 0 {
            let open = self.by_last.iter().filter(|(_, id)| !ended.contains(id));
            let oldest: Vec<_> = open.take(excess).map(|(_, id)| id.clone()).collect();
            ended.extend(oldest);
            *self.trips.entry("open_incidents").or_default() += excess as u64;
        }
        if ended.is_empty() {
            return;
        }
        changes
            .incidents
            .retain(|incident| !ended.contains(&incident.incident_id));
        for id in ended {
            let Some(mut incident) = self.drop_incident(&id) else {
                continue;
            };
            let first = incident.alert_ids.first();
            if let Some(group) = first.and_then(|alert| self.graph.group_of(alert)) {
                self.close_group(group);
            }
            incident.open = false;
            changes.incidents.push(incident);
        }
    }

    /// Keeps what counts of the alerts of an incident that is closed.
    fn close_group(&mut self, group: GroupId) {
        let key = |alert: &Alert| {
            let counts = alert.entities.iter().any(can_be_common);
            counts.then(|| xxh3_64(alert.alert_id.as_bytes()) as i64)
        };
        for (alert, node) in self.graph.close(group, key) {
            let Some(node) = node else { continue };
            let past = Past {
                first_time: alert.first_time,
                entities: alert.entities,
            };
            self.writes.push(StateWrite {
                owner: PAST.into(),
                key: self.graph.key_of_past(node),
                value: serde_json::to_vec(&past).ok(),
            });
            self.past.insert((self.due(past.first_time), node));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::{HOUR, MINUTE};

    fn alert(number: usize, minutes: i64) -> Alert {
        let entity = |kind: &str, value: String| json!({ "kind": kind, "value": value });
        serde_json::from_value(json!({
            "alert_id": format!("a{number:02}"), "rule_id": "r", "rule_version": "1", "rule_title": "R",
            "level": "low", "confidence": "low", "risk_score": 1, "key": [], "window": null,
            "first_time": minutes * MINUTE, "last_time": minutes * MINUTE,
            "entities": [entity("ip", "198.51.100.1".into()), entity("user", format!("u{number}"))],
            "tactics": [], "techniques": [], "row": {}, "matches": 1, "evidence": [],
            "evidence_count": 1, "state": "final", "revision": 1, "watermark": null
        }))
        .unwrap()
    }

    /// Behind one address: eight identities at once, a ninth two hours later, a tenth another one and a half.
    /// Around the ninth there are nine, so it links to nobody, also once the first eight are over.
    #[test]
    fn how_common_an_entity_was_does_not_depend_on_when_incidents_close() {
        let mut alerts: Vec<Alert> = (1..=8).map(|n| alert(n, 0)).collect();
        alerts.push(alert(9, 119));
        alerts.push(alert(10, 200));
        let all = crate::correlate::correlate(&alerts, &Settings::default());
        let apart = |incidents: &BTreeMap<String, Incident>| {
            let with = |id: &str| {
                incidents
                    .values()
                    .find(|i| i.alert_ids.iter().any(|a| a == id))
            };
            with("a09").unwrap().alert_ids.len() == 1
        };
        assert!(apart(&all.incidents));
        for restarts in [false, true] {
            let mut cases = Cases::new(Settings::default());
            cases.update(&alerts[..8], Some(0), |_| false);
            cases.update(&alerts[8..9], Some(119 * MINUTE), |_| false);
            let closed = cases.update(&[], Some(3 * HOUR), |_| false);
            assert!(closed.incidents.iter().all(|i| !i.open) && !closed.incidents.is_empty());
            if restarts {
                let state = cases.take_state();
                let incidents: Vec<_> = cases.incidents.into_values().collect();
                let open = incidents.iter().flat_map(|one| &one.alert_ids);
                let open: Vec<_> = open
                    .filter_map(|id| cases.graph.alert(id).cloned())
                    .collect();
                cases = Cases::new(Settings::default());
                cases.restore(incidents, open);
                for write in state {
                    cases
                        .restore_past(&write.owner, write.key, &write.value.unwrap())
                        .unwrap();
                }
            }
            cases.update(&alerts[9..], Some(3 * HOUR), |_| false);
            assert!(apart(&cases.incidents), "after a restart: {restarts}");
            cases.update(&[], Some(20 * HOUR), |_| false);
            assert!(cases.past.is_empty() && cases.incidents.is_empty());
            assert!(cases.take_state().iter().any(|write| write.value.is_none()));
        }
    }
}
