//! The open incidents: keeps the alerts that can still be joined, and says what changed.
//!
//! The grouping itself is the pure function [`correlate`](crate::correlate::correlate); this module only
//! remembers, compares and lets go of what is over.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use crate::alert::{Alert, AlertState, Entity};
use crate::correlate::{Past, Settings, can_be_common, correlate_after};
use crate::incident::Incident;
use crate::store::StateWrite;

/// Owner of the state.
const PAST: &str = "past";

#[derive(Debug, Default)]
pub struct Cases {
    settings: Settings,
    /// Alerts of open incidents, by id.
    alerts: BTreeMap<String, Alert>,
    incidents: BTreeMap<String, Incident>,
    /// Alerts of closed incidents that open ones still lie near to, by a hash of their id.
    past: BTreeMap<i64, Past>,
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

impl Cases {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    pub fn restore(&mut self, incidents: Vec<Incident>, alerts: Vec<Alert>) {
        self.incidents = incidents
            .into_iter()
            .map(|i| (i.incident_id.clone(), i))
            .collect();
        let standing = alerts
            .into_iter()
            .filter(|a| a.state != AlertState::Retracted);
        self.alerts = standing.map(|a| (a.alert_id.clone(), a)).collect();
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
                AlertState::Retracted => drop(self.alerts.remove(&alert.alert_id)),
                _ => drop(self.alerts.insert(alert.alert_id.clone(), alert.clone())),
            }
        }
        let mut changes = CaseChanges::default();
        if !changed.is_empty() {
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
            let past = serde_json::from_slice(value).map_err(|e| e.to_string())?;
            self.past.insert(key, past);
        }
        Ok(())
    }

    /// Keeps what counts of an alert whose incident is closed.
    fn remember(&mut self, alert: &Alert) {
        if !alert.entities.iter().any(can_be_common) {
            return;
        }
        let past = Past {
            first_time: alert.first_time,
            entities: alert.entities.clone(),
        };
        let key = xxh3_64(alert.alert_id.as_bytes()) as i64;
        self.writes.push(StateWrite {
            owner: PAST.into(),
            key,
            value: serde_json::to_vec(&past).ok(),
        });
        self.past.insert(key, past);
    }

    /// Lets go of what lies further than the gap from all that is open or can come.
    fn forget(&mut self, horizon: Option<i64>) {
        let Some(horizon) = horizon.filter(|_| !self.past.is_empty()) else {
            return;
        };
        let mut earliest: HashMap<&Entity, i64> = HashMap::new();
        for alert in self.alerts.values() {
            for entity in alert.entities.iter().filter(|e| can_be_common(e)) {
                let time = earliest.entry(entity).or_insert(i64::MAX);
                *time = alert.first_time.min(*time);
            }
        }
        let gap = self.settings.gap;
        let writes = &mut self.writes;
        self.past.retain(|key, past| {
            let near = |time: i64| past.first_time.saturating_add(gap) >= time;
            let mut open = past.entities.iter().filter_map(|e| earliest.get(e));
            let kept = near(horizon) || open.any(|time| near(*time));
            if !kept {
                writes.push(StateWrite {
                    owner: PAST.into(),
                    key: *key,
                    value: None,
                });
            }
            kept
        });
    }

    fn regroup(&mut self, changes: &mut CaseChanges) {
        let past: Vec<&Past> = self.past.values().collect();
        let grouped = correlate_after(self.alerts.values(), &past, &self.settings);
        let over = self.trips.get("open_incidents").copied();
        self.trips = grouped.trips;
        self.trips.extend(over.map(|n| ("open_incidents", n)));
        let mut holders: HashMap<&str, &str> = HashMap::new();
        for (id, incident) in &grouped.incidents {
            holders.extend(
                incident
                    .alert_ids
                    .iter()
                    .map(|alert| (alert.as_str(), id.as_str())),
            );
        }
        for (id, old) in &self.incidents {
            if grouped.incidents.contains_key(id) {
                continue;
            }
            let mut holders = old.alert_ids.iter().filter_map(|a| holders.get(a.as_str()));
            match holders.next() {
                Some(survivor) => changes.merged.push((id.clone(), (*survivor).to_owned())),
                None => changes.withdrawn.push(id.clone()),
            }
        }
        for (id, incident) in &grouped.incidents {
            match self.incidents.get(id) {
                Some(old) if old == incident => {}
                before => {
                    changes.opened += u64::from(before.is_none());
                    changes.incidents.push(incident.clone());
                }
            }
        }
        self.incidents = grouped.incidents;
    }

    fn close(
        &mut self,
        horizon: Option<i64>,
        is_live: impl Fn(&Alert) -> bool,
        changes: &mut CaseChanges,
    ) {
        let over = |incident: &Incident| {
            let past =
                horizon.is_some_and(|h| incident.last_time.saturating_add(self.settings.gap) < h);
            past && !incident
                .alert_ids
                .iter()
                .filter_map(|id| self.alerts.get(id))
                .any(&is_live)
        };
        let mut ended: Vec<String> = self
            .incidents
            .values()
            .filter(|i| over(i))
            .map(|i| i.incident_id.clone())
            .collect();
        let excess = (self.incidents.len() - ended.len()).saturating_sub(self.settings.max_open);
        if excess > 0 {
            let mut open: Vec<_> = self
                .incidents
                .values()
                .filter(|i| !ended.contains(&i.incident_id))
                .collect();
            open.sort_by_key(|i| i.last_time);
            ended.extend(
                open[..excess]
                    .iter()
                    .map(|i| i.incident_id.clone())
                    .collect::<Vec<_>>(),
            );
            *self.trips.entry("open_incidents").or_default() += excess as u64;
        }
        for id in ended {
            let Some(mut incident) = self.incidents.remove(&id) else {
                continue;
            };
            for id in &incident.alert_ids {
                if let Some(alert) = self.alerts.remove(id) {
                    self.remember(&alert);
                }
            }
            incident.open = false;
            changes.incidents.retain(|i| i.incident_id != id);
            changes.incidents.push(incident);
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
                let (incidents, open) = (cases.incidents, cases.alerts);
                cases = Cases::new(Settings::default());
                cases.restore(
                    incidents.into_values().collect(),
                    open.into_values().collect(),
                );
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
