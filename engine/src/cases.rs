//! The open incidents: keeps the alerts that can still be joined, and says what changed.
//!
//! The grouping itself is the pure function [`correlate`](crate::correlate::correlate); this module only
//! remembers, compares and lets go of what is over.

use std::collections::{BTreeMap, HashMap};

use crate::alert::{Alert, AlertState};
use crate::correlate::{Settings, correlate};
use crate::incident::Incident;

#[derive(Debug, Default)]
pub struct Cases {
    settings: Settings,
    /// Alerts of open incidents, by id.
    alerts: BTreeMap<String, Alert>,
    incidents: BTreeMap<String, Incident>,
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
        changes
    }

    fn regroup(&mut self, changes: &mut CaseChanges) {
        let grouped = correlate(self.alerts.values(), &self.settings);
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
            for alert in &incident.alert_ids {
                self.alerts.remove(alert);
            }
            incident.open = false;
            changes.incidents.retain(|i| i.incident_id != id);
            changes.incidents.push(incident);
        }
    }
}
