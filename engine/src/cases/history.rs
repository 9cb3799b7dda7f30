//! Random histories: after each commit, and after restarts, the store holds what a twin says that describes all alerts anew and
//! writes whole incidents.

use std::collections::{BTreeMap, BTreeSet};

use super::Cases;
use crate::alert::{Alert, AlertState};
use crate::correlate::oracle::{Random, alert};
use crate::correlate::{Graph, GroupId, Settings, describe};
use crate::incident::Incident;
use crate::store::{AlertQuery, Commit, IncidentQuery, SqliteStore, Store};
use crate::time::MINUTE;

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    incident: Incident,
    revision: i64,
    merged_into: Option<String>,
    withdrawn: bool,
}

struct Twin {
    settings: Settings,
    graph: Graph,
    alerts: BTreeMap<String, Alert>,
    open: BTreeMap<String, Incident>,
    stored: BTreeMap<String, Stored>,
}

fn is_live(alert: &Alert) -> bool {
    alert.alert_id.ends_with('7')
}

impl Twin {
    fn update(&mut self, changed: &[Alert], horizon: i64) {
        for alert in changed {
            match alert.state {
                AlertState::Retracted => self.graph.remove(&alert.alert_id),
                _ => self.graph.put(alert.clone()),
            }
            self.alerts.insert(alert.alert_id.clone(), alert.clone());
        }
        self.graph.settle();
        let groups: BTreeSet<GroupId> = self
            .alerts
            .keys()
            .filter_map(|id| self.graph.group_of(id))
            .collect();
        let mut now: BTreeMap<String, (GroupId, Incident)> = BTreeMap::new();
        for group in groups {
            let members: Vec<&Alert> = self.graph.members(group).collect();
            let incident = describe(&members);
            now.insert(incident.incident_id.clone(), (group, incident));
        }
        let before = std::mem::take(&mut self.open);
        let (mut merged, mut withdrawn) = (vec![], vec![]);
        for (id, old) in before.iter().filter(|(id, _)| !now.contains_key(*id)) {
            let holds = |alert: &String| {
                let group = self.graph.group_of(alert)?;
                now.iter().find(|(_, (one, _))| *one == group)
            };
            match old.alert_ids.iter().find_map(holds) {
                Some((survivor, _)) => merged.push((id.clone(), survivor.clone())),
                None => withdrawn.push(id.clone()),
            }
        }
        let mut by_last: Vec<(i64, String)> = now
            .iter()
            .map(|(id, (_, incident))| (incident.last_time, id.clone()))
            .collect();
        by_last.sort();
        let mut ended: BTreeSet<String> = by_last
            .iter()
            .filter(|(last, id)| {
                last + self.settings.gap < horizon && !self.graph.members(now[id].0).any(is_live)
            })
            .map(|(_, id)| id.clone())
            .collect();
        let excess = (now.len() - ended.len()).saturating_sub(self.settings.max_open);
        let rest: Vec<String> = by_last
            .into_iter()
            .map(|(_, id)| id)
            .filter(|id| !ended.contains(id))
            .take(excess)
            .collect();
        ended.extend(rest);
        for (id, (group, mut incident)) in now {
            if ended.contains(&id) {
                self.graph.close(group, |_| true);
                incident.open = false;
                self.write(incident);
            } else {
                self.write(incident.clone());
                self.open.insert(id, incident);
            }
        }
        for (gone, survivor) in merged {
            self.merge(&gone, &survivor);
        }
        for id in withdrawn {
            let stored = self.stored.get_mut(&id).unwrap();
            (stored.withdrawn, stored.incident.open) = (true, true);
            stored.revision += 1;
        }
    }

    fn write(&mut self, incident: Incident) {
        let id = incident.incident_id.clone();
        let mut next = Stored {
            incident,
            revision: 1,
            merged_into: None,
            withdrawn: false,
        };
        if let Some(before) = self.stored.get(&id) {
            next.revision = before.revision;
            if next == *before {
                return;
            }
            next.revision += 1;
        }
        self.stored.insert(id, next);
    }

    fn merge(&mut self, gone: &str, survivor: &str) {
        let further = self.stored[survivor].merged_into.clone();
        let survivor = further.unwrap_or_else(|| survivor.to_owned());
        for (id, stored) in &mut self.stored {
            if id == gone || stored.merged_into.as_deref() == Some(gone) {
                stored.merged_into = Some(survivor.clone());
                stored.revision += 1;
            }
        }
    }
}

/// Alerts that are new, changed or taken back, none of which is placed before the horizon.
fn changes(
    random: &mut Random,
    alerts: &BTreeMap<String, Alert>,
    entities: u64,
    horizon: i64,
) -> Vec<Alert> {
    let mut changed: BTreeMap<String, Alert> = BTreeMap::new();
    for _ in 0..random.below(6) {
        let number = random.below(60);
        let mut new = alert(random, number, entities);
        let long = new.last_time - new.first_time;
        new.first_time = horizon + random.below(150) as i64 * MINUTE;
        new.last_time = new.first_time + long;
        if let Some(old) = alerts.get(&new.alert_id) {
            let kinds = if old.first_time < horizon { 2 } else { 5 };
            match random.below(kinds) {
                0 => {
                    new = old.clone();
                    new.state = AlertState::Retracted;
                }
                1 => {
                    (new.first_time, new.entities) = (old.first_time, old.entities.clone());
                    new.last_time = new.first_time + long;
                }
                2 => {
                    let entities = new.entities;
                    new = old.clone();
                    new.entities = entities;
                    new.state = AlertState::Final;
                }
                3 => {
                    new = old.clone();
                    new.first_time = horizon.max(new.first_time - random.below(3) as i64 * MINUTE);
                    new.state = AlertState::Final;
                }
                _ => {}
            }
            new.revision = old.revision + 1;
        }
        changed.insert(new.alert_id.clone(), new);
    }
    changed.into_values().collect()
}

async fn restarted(store: &SqliteStore, settings: &Settings) -> Cases {
    let resume = store.resume().await.unwrap();
    let mut cases = Cases::new(settings.clone());
    cases.restore(resume.incidents, resume.alerts);
    for (owner, key, value) in resume.state {
        cases.restore_past(&owner, key, &value).unwrap();
    }
    cases
}

/// What the store says of each incident, in full and by what it is found by.
async fn compare(store: &SqliteStore, twin: &Twin, seed: u64) {
    for (id, expected) in &twin.stored {
        let found = store.incident(id).await.unwrap().unwrap();
        let found = Stored {
            incident: found.incident,
            revision: found.revision,
            merged_into: found.merged_into,
            withdrawn: found.withdrawn,
        };
        assert_eq!(&found, expected, "seed {seed}");
    }
    let query = || IncidentQuery {
        limit: 1_000,
        ..IncidentQuery::default()
    };
    let ids = |change: &dyn Fn(&Incident) -> bool| -> BTreeSet<String> {
        let seen = twin.stored.values();
        let seen = seen.filter(|one| one.merged_into.is_none() && !one.withdrawn);
        let seen = seen.filter(|one| change(&one.incident));
        seen.map(|one| one.incident.incident_id.clone()).collect()
    };
    for number in 0..4 {
        let value = format!("v{number}");
        let mut by_entity = query();
        by_entity.entity = Some(value.clone());
        let mut by_tactic = query();
        by_tactic.tactic = Some(format!("t{number}"));
        let mut by_rule = query();
        by_rule.rule_id = Some(format!("r{number}"));
        let queries = [
            (
                by_entity,
                ids(&|one| one.entities.iter().any(|e| e.value == value)),
            ),
            (
                by_tactic,
                ids(&|one| one.tactics.contains(&format!("t{number}"))),
            ),
            (
                by_rule,
                ids(&|one| one.rule_ids.contains(&format!("r{number}"))),
            ),
        ];
        for (query, expected) in queries {
            let found = store.incidents(&query).await.unwrap().into_iter();
            let found: BTreeSet<String> = found.map(|one| one.incident.incident_id).collect();
            assert_eq!(found, expected, "seed {seed}");
        }
        let by_entity = AlertQuery {
            entity: Some(format!("user:{value}")),
            limit: 1_000,
            ..AlertQuery::default()
        };
        let found = store.alerts(&by_entity).await.unwrap().into_iter();
        let found: BTreeSet<String> = found.map(|one| one.alert_id).collect();
        let has = |alert: &&Alert| {
            let mut entities = alert.entities.iter();
            entities.any(|one| one.kind == "user" && one.value == value)
        };
        let expected = twin.alerts.values().filter(has);
        let expected: BTreeSet<String> = expected.map(|one| one.alert_id.clone()).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn what_is_stored_is_what_all_alerts_say_at_once() {
    let settings = Settings {
        ceiling: 3,
        max_open: 12,
        ..Settings::default()
    };
    let (mut merges, mut withdrawals, mut rows_only) = (0, 0, 0);
    for seed in 1..25 {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path()).await.unwrap();
        let mut random = Random(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed));
        let mut cases = Cases::new(settings.clone());
        let mut twin = Twin {
            settings: settings.clone(),
            graph: Graph::new(settings.clone()),
            alerts: BTreeMap::new(),
            open: BTreeMap::new(),
            stored: BTreeMap::new(),
        };
        let entities = 3 + random.below(12);
        let mut horizon = 0;
        for _ in 0..25 {
            let changed = changes(&mut random, &twin.alerts, entities, horizon);
            horizon += random.below(40) as i64 * MINUTE;
            let changes = cases.update(&changed, Some(horizon), is_live);
            merges += changes.merged.len();
            withdrawals += changes.withdrawn.len();
            rows_only += changes
                .incidents
                .iter()
                .filter(|one| !one.is_changed)
                .count();
            let commit = Commit {
                state: cases.take_state(),
                alerts: changed.clone(),
                incidents: changes.incidents,
                merged: changes.merged,
                withdrawn: changes.withdrawn,
                ..Commit::default()
            };
            store.commit(&commit).await.unwrap();
            twin.update(&changed, horizon);
            compare(&store, &twin, seed).await;
            if random.below(4) == 0 {
                cases = restarted(&store, &settings).await;
            }
        }
    }
    assert!(
        merges > 10 && withdrawals > 10 && rows_only > 2,
        "{merges} merges, {withdrawals} withdrawals, {rows_only} times only rows"
    );
}
