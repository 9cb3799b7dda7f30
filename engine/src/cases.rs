//! The open incidents: keeps the alerts that can still be joined, and says what changed.
//!
//! The grouping itself is that of [`Graph`](crate::correlate); this module compares the groups that changed with what was
//! told of them, and lets go of what is over. What a change costs does not grow with the size of the incidents it touches,
//! unless their ids change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Map;

use crate::alert::{Alert, AlertState, Entity};
use crate::correlate::{Graph, GroupId, Moves, Place, Settings, can_be_common};
use crate::incident::{Incident, IncidentHead};
use crate::store::{IncidentWrite, Labels, StateWrite};

use self::past::Pasts;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod history;
mod past;

#[derive(Debug)]
pub struct Cases {
    settings: Settings,
    /// Alerts of open incidents, and of closed ones that open ones still lie near to.
    graph: Graph,
    incidents: BTreeMap<Arc<str>, Open>,
    /// Last time and id of each incident.
    by_last: BTreeSet<(i64, Arc<str>)>,
    past: Pasts,
    /// Entities of incidents that were restored, and not yet compared with their alerts.
    restored: BTreeMap<Arc<str>, Vec<Entity>>,
    trips: BTreeMap<&'static str, u64>,
}

/// An incident as it was told last.
#[derive(Debug)]
struct Open {
    head: IncidentHead,
    /// None if it was restored, and not yet compared.
    group: Option<GroupId>,
}

/// What a batch of alerts changed.
#[derive(Debug, Default)]
pub struct CaseChanges {
    pub incidents: Vec<IncidentWrite>,
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
            past: Pasts::new(settings.gap),
            settings,
            incidents: BTreeMap::new(),
            by_last: BTreeSet::new(),
            restored: BTreeMap::new(),
            trips: BTreeMap::new(),
        }
    }

    pub fn restore(&mut self, incidents: Vec<Incident>, alerts: Vec<Alert>) {
        let standing = alerts
            .iter()
            .filter(|alert| alert.state != AlertState::Retracted);
        for alert in standing {
            self.graph.put(gist(alert));
        }
        for incident in incidents {
            let id: Arc<str> = incident.incident_id.as_str().into();
            for alert in &incident.alert_ids {
                self.graph.was_told(alert, &id);
            }
            let head = incident.head();
            self.restored.insert(id.clone(), incident.entities);
            self.keep(id, Open { head, group: None });
        }
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
        if !changed.is_empty() || !self.restored.is_empty() {
            self.regroup(&mut changes);
        }
        self.close(horizon, is_live, &mut changes);
        if let Some(horizon) = horizon {
            self.past.forget(horizon, &mut self.graph);
        }
        changes
    }

    /// Pieces of state that changed since the last call.
    pub fn take_state(&mut self) -> Vec<StateWrite> {
        self.past.take_state()
    }

    /// Puts back a piece if it is one of ours.
    pub fn restore_past(&mut self, owner: &str, key: i64, value: &[u8]) -> Result<(), String> {
        self.past.restore(owner, key, value, &mut self.graph)
    }

    fn keep(&mut self, id: Arc<str>, open: Open) {
        self.by_last.insert((open.head.last_time, id.clone()));
        self.incidents.insert(id, open);
    }

    fn drop_incident(&mut self, id: &Arc<str>) -> Option<Open> {
        let open = self.incidents.remove(id)?;
        self.by_last.remove(&(open.head.last_time, id.clone()));
        Some(open)
    }

    /// Compares the groups that changed with what was told.
    fn regroup(&mut self, changes: &mut CaseChanges) {
        let touched = self.graph.settle();
        let restored = std::mem::take(&mut self.restored);
        let mut before = touched.incidents;
        before.extend(restored.keys().cloned());
        let over = self.trips.get("open_incidents").copied();
        self.trips = self.graph.trips();
        self.trips.extend(over.map(|n| ("open_incidents", n)));
        let mut described = BTreeMap::new();
        for group in touched.groups {
            before.extend(self.graph.incident_of(group).cloned());
            if let Some(head) = self.graph.head(group) {
                let id = self.graph.name(group, &head.incident_id);
                described.extend(id.map(|id| (id, (group, head))));
            }
        }
        let mut moves = self.graph.take_moves();
        for id in before.iter().filter(|id| !described.contains_key(*id)) {
            if self.drop_incident(id).is_none() {
                continue;
            }
            let left = moves.get(id).map(|moves| &moves.left);
            let holds = |(_, alert): &Place| self.graph.incident_of(self.graph.group_of(alert)?);
            match left.into_iter().flatten().find_map(holds) {
                Some(survivor) => changes.merged.push((id.to_string(), survivor.to_string())),
                None => changes.withdrawn.push(id.to_string()),
            }
        }
        for (id, (group, head)) in described {
            let moves = moves.remove(&id).unwrap_or_default();
            let write = self.compare(&id, group, head, moves, restored.get(&id));
            if write.is_changed || write.has_rows() {
                changes.opened += u64::from(write.is_new);
                self.drop_incident(&id);
                let (head, group) = (write.head.clone(), Some(group));
                self.keep(id, Open { head, group });
                changes.incidents.push(write);
            } else if let Some(open) = self.incidents.get_mut(&id) {
                open.group = Some(group);
            }
        }
    }

    /// What is to be stored of a group.
    fn compare(
        &self,
        id: &Arc<str>,
        group: GroupId,
        head: IncidentHead,
        mut moves: Moves,
        restored: Option<&Vec<Entity>>,
    ) -> IncidentWrite {
        let before = self.incidents.get(id).map(|open| &open.head);
        moves.entities.retain(|_, by| *by != 0);
        let is_same = before == Some(&head) && !self.has_other_lists(group, &moves);
        let count = |entity: Entity| {
            let count = self.graph.count_of(group, &entity);
            (entity, count)
        };
        let mut entities: Vec<_> = moves.entities.into_keys().map(count).collect();
        let mut is_changed = !is_same;
        if let Some(restored) = restored {
            let now = self.graph.entities(group);
            if !now.iter().map(|(entity, _)| entity).eq(restored) {
                let gone = restored.iter().cloned().map(count);
                entities = gone.filter(|(_, alerts)| *alerts == 0).chain(now).collect();
                is_changed = true;
            }
        }
        let owned = |places: BTreeSet<Place>| {
            let places = places.into_iter();
            places.map(|(time, id)| (time, id.to_string())).collect()
        };
        IncidentWrite {
            alert_count: self.graph.size(group),
            is_new: before.is_none(),
            is_changed,
            joined: owned(moves.joined),
            left: owned(moves.left),
            entities,
            labels: Labels::between(before, &head),
            head,
        }
    }

    /// Whether a group's alerts or entities, or their order, are other than before.
    fn has_other_lists(&self, group: GroupId, moves: &Moves) -> bool {
        let ids = |places: &BTreeSet<Place>| -> BTreeSet<Arc<str>> {
            places.iter().map(|(_, id)| id.clone()).collect()
        };
        if ids(&moves.joined) != ids(&moves.left) {
            return true;
        }
        // What follows is rare: alerts whose time or entities changed.
        if !moves.joined.is_empty() {
            let now: BTreeSet<Place> = self.graph.places(group).cloned().collect();
            let before: BTreeSet<Place> = now.difference(&moves.joined).cloned().collect();
            let before = before.iter().chain(&moves.left).collect::<BTreeSet<_>>();
            if !now
                .iter()
                .map(|(_, id)| id)
                .eq(before.into_iter().map(|(_, id)| id))
            {
                return true;
            }
        }
        if moves.entities.is_empty() {
            return false;
        }
        let now = self.graph.entities(group);
        let mut before: BTreeMap<&Entity, i64> = now
            .iter()
            .map(|(entity, alerts)| (entity, i64::from(*alerts)))
            .collect();
        for (entity, by) in &moves.entities {
            *before.entry(entity).or_default() -= by;
        }
        let mut before: Vec<_> = before
            .into_iter()
            .filter(|(_, alerts)| *alerts > 0)
            .collect();
        before.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let now = now.iter().map(|(entity, _)| entity);
        !now.eq(before.into_iter().map(|(entity, _)| entity))
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
        let has_live = |id: &Arc<str>| {
            let group = self.incidents.get(id).and_then(|open| open.group);
            let mut alerts = group
                .into_iter()
                .flat_map(|group| self.graph.members(group).rev());
            alerts.any(&is_live)
        };
        let old = self.by_last.iter().take_while(|(last, _)| is_past(*last));
        let mut ended: BTreeSet<Arc<str>> = old
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
        let told = changes.incidents.iter().enumerate();
        let told: HashMap<String, usize> = told
            .map(|(index, write)| (write.head.incident_id.clone(), index))
            .collect();
        for id in ended {
            let Some(mut open) = self.drop_incident(&id) else {
                continue;
            };
            open.head.open = false;
            let alert_count = open.group.map_or(0, |group| self.graph.size(group));
            if let Some(group) = open.group {
                self.close_group(group);
            }
            match told.get(&*id) {
                Some(index) => {
                    let write = &mut changes.incidents[*index];
                    (write.head, write.is_changed) = (open.head, true);
                }
                None => changes.incidents.push(IncidentWrite {
                    head: open.head,
                    alert_count,
                    is_new: false,
                    is_changed: true,
                    joined: vec![],
                    left: vec![],
                    entities: vec![],
                    labels: Labels::default(),
                }),
            }
        }
    }

    /// Keeps what counts of the alerts of an incident that is closed.
    fn close_group(&mut self, group: GroupId) {
        let counts = |alert: &Alert| alert.entities.iter().any(can_be_common);
        for (alert, node) in self.graph.close(group, counts) {
            if let Some(node) = node {
                self.past.add(node, alert.first_time, alert.entities);
            }
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
        let with = all.incidents.values();
        let mut with = with.filter(|one| one.alert_ids.iter().any(|id| id == "a09"));
        assert_eq!(with.next().unwrap().alert_ids.len(), 1);
        let is_apart = |cases: &Cases| {
            let group = cases.graph.group_of("a09").unwrap();
            cases.graph.size(group) == 1
        };
        for restarts in [false, true] {
            let mut cases = Cases::new(Settings::default());
            cases.update(&alerts[..8], Some(0), |_| false);
            cases.update(&alerts[8..9], Some(119 * MINUTE), |_| false);
            let closed = cases.update(&[], Some(3 * HOUR), |_| false);
            assert!(closed.incidents.iter().all(|i| !i.head.open) && !closed.incidents.is_empty());
            let state = cases.take_state();
            if restarts {
                let groups = cases.incidents.values().filter_map(|open| open.group);
                let groups: Vec<_> = groups.collect();
                let incidents = groups.iter().filter_map(|one| cases.graph.incident(*one));
                let open = groups.iter().flat_map(|one| cases.graph.members(*one));
                let (incidents, open) = (incidents.collect(), open.cloned().collect());
                cases = Cases::new(Settings::default());
                cases.restore(incidents, open);
                for write in state {
                    cases
                        .restore_past(&write.owner, write.key, &write.value.unwrap())
                        .unwrap();
                }
            }
            cases.update(&alerts[9..], Some(3 * HOUR), |_| false);
            assert!(is_apart(&cases), "after a restart: {restarts}");
            cases.update(&[], Some(20 * HOUR), |_| false);
            assert!(cases.past.is_empty() && cases.incidents.is_empty());
            assert!(cases.take_state().iter().any(|write| write.value.is_none()));
        }
    }
}
