//! Which alerts belong together, kept up to date as alerts come, change and go.
//!
//! Alerts are nodes; each entity that they share adds weight between two of them ([`Chain`](super::chain::Chain)); a group is
//! a connected component of those with weight enough. A change costs what it touches: its chains near its time, and the
//! groups of the alerts whose links change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) use self::groups::Moves;
use self::nodes::Node;
pub(super) use self::nodes::Nodes;
use super::chain::{Chain, Pending};
use super::tally::{Place, Tally};
use super::{Past, Settings, identity_kind, weight};
use crate::alert::{Alert, Entity};

mod groups;
mod nodes;
mod settle;

pub(crate) type GroupId = u32;

/// An entity that alerts have, and those alerts.
#[derive(Debug)]
struct Shared {
    entity: Arc<Entity>,
    chain: Chain,
    /// Nodes that have it.
    nodes: usize,
    /// A value that links nothing.
    is_stopped: bool,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<Place, u32>,
    tally: Tally,
    incident: Option<Arc<str>>,
}

/// What the last changes touched.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Groups that are new or other than before.
    pub groups: BTreeSet<GroupId>,
    /// Incidents of these groups, and of those that are no more.
    pub incidents: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Graph {
    settings: Settings,
    nodes: Nodes,
    free: Vec<u32>,
    by_alert: HashMap<Arc<str>, u32>,
    entities: HashMap<Arc<Entity>, u32>,
    shared: Vec<Option<Shared>>,
    free_shared: Vec<u32>,
    pending: HashMap<u32, Pending>,
    weights: HashMap<(u32, u32), i32>,
    groups: HashMap<GroupId, Group>,
    next_group: GroupId,
    touched: Touched,
    /// Nodes that are no more, until their chains have let go of them.
    dead: Vec<u32>,
    /// Nodes whose group is another one since what moved was last taken.
    moved: Vec<u32>,
    /// Alerts that are no more, and the incident that they were told to be in.
    lost: Vec<(Arc<str>, Alert)>,
    /// Alerts that came since.
    fresh: Vec<u32>,
    /// Links that the ceiling refuses.
    refused: u64,
    /// Stopped values that several open alerts share.
    stopped: u64,
}

impl Graph {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            nodes: Nodes::default(),
            free: vec![],
            by_alert: HashMap::new(),
            entities: HashMap::new(),
            shared: vec![],
            free_shared: vec![],
            pending: HashMap::new(),
            weights: HashMap::new(),
            groups: HashMap::new(),
            next_group: 0,
            touched: Touched::default(),
            dead: vec![],
            moved: vec![],
            lost: vec![],
            fresh: vec![],
            refused: 0,
            stopped: 0,
        }
    }

    /// Times that a guard refuses a link, by guard.
    pub fn trips(&self) -> BTreeMap<&'static str, u64> {
        [("ceiling", self.refused), ("stop_value", self.stopped)]
            .into_iter()
            .filter(|(_, times)| *times > 0)
            .collect()
    }

    /// Takes in an alert that is new or changed.
    pub fn put(&mut self, alert: Alert) {
        if let Some(node) = self.by_alert.get(alert.alert_id.as_str()).copied() {
            let known = self.nodes.get_mut(node);
            let is_same_place = known.alert.as_ref().is_some_and(|known| {
                known.first_time == alert.first_time && known.entities == alert.entities
            });
            if is_same_place {
                let is_longer = known.last_time != alert.last_time;
                known.last_time = alert.last_time;
                let before = known.alert.replace(alert);
                let (time, group) = (known.first_time, known.group);
                self.retell(node, before);
                if is_longer {
                    for entity in self.nodes.get(node).entities.clone() {
                        self.changed(entity, node, time);
                    }
                }
                if let Some(group) = group {
                    self.touch(group);
                }
                return;
            }
            self.kill(node);
        }
        let id: Arc<str> = alert.alert_id.as_str().into();
        let (first_time, last_time) = (alert.first_time, alert.last_time);
        let entities = alert.entities.clone();
        let times = (first_time, last_time);
        let node = self.add(id.clone(), times, &entities, Some(alert));
        self.by_alert.insert(id, node);
        self.fresh.push(node);
    }

    /// Takes in what is left of an alert of a closed incident.
    pub fn put_past(&mut self, past: &Past) -> u32 {
        let times = (past.first_time, past.first_time);
        self.add("".into(), times, &past.entities, None)
    }

    /// Lets go of an alert.
    pub fn remove(&mut self, alert: &str) {
        if let Some(node) = self.by_alert.get(alert).copied() {
            self.kill(node);
        }
    }

    /// Turns those alerts of a group into past ones that `counts` says so of, and lets go of the others. Returns them all.
    pub fn close(
        &mut self,
        group: GroupId,
        counts: impl Fn(&Alert) -> bool,
    ) -> Vec<(Alert, Option<u32>)> {
        let Some(group) = self.groups.remove(&group) else {
            return vec![];
        };
        let mut closed = vec![];
        for node in group.members.into_values() {
            let one = self.nodes.get_mut(node);
            (one.group, one.told) = (None, None);
            let Some(alert) = one.alert.take() else {
                continue;
            };
            if counts(&alert) {
                let (time, entities) = (one.first_time, one.entities.clone());
                self.by_alert.remove(&*alert.alert_id);
                for entity in entities {
                    self.changed(entity, node, time);
                }
                closed.push((alert, Some(node)));
            } else {
                self.kill(node);
                closed.push((alert, None));
            }
        }
        closed
    }

    /// Whether an open alert shares an entity with a past one within the gap.
    pub fn is_near_open(&self, past: u32) -> bool {
        let node = self.nodes.get(past);
        let shared = node.entities[node.identities..].iter();
        let mut shared = shared.filter_map(|entity| self.shared[*entity as usize].as_ref());
        shared.any(|one| {
            one.chain
                .is_near(node.first_time, self.settings.gap, &self.nodes)
        })
    }

    /// Lets go of a past alert.
    pub fn forget(&mut self, past: u32) {
        self.kill(past);
    }

    fn add(
        &mut self,
        id: Arc<str>,
        (first_time, last_time): (i64, i64),
        entities: &[Entity],
        alert: Option<Alert>,
    ) -> u32 {
        let (mut known, others): (Vec<&Entity>, Vec<&Entity>) = entities
            .iter()
            .filter(|entity| weight(&entity.kind) > 0)
            .partition(|entity| identity_kind(&entity.kind));
        let identities = known.len();
        known.extend(others);
        let entities: Vec<u32> = known
            .into_iter()
            .map(|entity| self.intern(entity))
            .collect();
        let made = Node {
            id,
            first_time,
            last_time,
            entities: entities.clone(),
            identities,
            alert,
            is_dead: false,
            neighbours: vec![],
            group: None,
            told: None,
        };
        let node = match self.free.pop() {
            Some(node) => {
                *self.nodes.get_mut(node) = made;
                node
            }
            None => {
                self.nodes.0.push(made);
                self.nodes.0.len() as u32 - 1
            }
        };
        for entity in entities {
            let pending = self.pending.entry(entity).or_default();
            pending.added.push(node);
            pending.note(first_time);
        }
        node
    }

    fn intern(&mut self, entity: &Entity) -> u32 {
        if let Some(number) = self.entities.get(entity) {
            if let Some(shared) = &mut self.shared[*number as usize] {
                shared.nodes += 1;
            }
            return *number;
        }
        let entity = Arc::new(entity.clone());
        let shared = Some(Shared {
            entity: entity.clone(),
            chain: Chain::default(),
            nodes: 1,
            is_stopped: self.settings.stop_values.contains(&entity.value),
        });
        let number = match self.free_shared.pop() {
            Some(number) => {
                self.shared[number as usize] = shared;
                number
            }
            None => {
                self.shared.push(shared);
                self.shared.len() as u32 - 1
            }
        };
        self.entities.insert(entity, number);
        number
    }

    /// Notes that an alert that has the entity is other than before.
    fn changed(&mut self, entity: u32, node: u32, time: i64) {
        let pending = self.pending.entry(entity).or_default();
        pending.changed.push(node);
        pending.note(time);
    }

    fn kill(&mut self, node: u32) {
        let one = self.nodes.get_mut(node);
        one.is_dead = true;
        let (id, time, group) = (one.id.clone(), one.first_time, one.group.take());
        let told = one.told.take();
        if self.by_alert.get(&id) == Some(&node) {
            self.by_alert.remove(&id);
        }
        for entity in self.nodes.get(node).entities.clone() {
            self.changed(entity, node, time);
        }
        let alert = self.nodes.get_mut(node).alert.take();
        if let Some(group) = group {
            self.touch(group);
            if let Some(of) = self.groups.get_mut(&group) {
                if let Some(alert) = &alert {
                    of.tally.remove(&id, alert);
                }
                of.members.remove(&(time, id));
                if of.members.is_empty() {
                    self.groups.remove(&group);
                }
            }
        }
        self.lost.extend(told.zip(alert));
        self.dead.push(node);
    }

    fn touch(&mut self, group: GroupId) {
        self.touched.groups.insert(group);
        let incident = self.groups.get(&group).and_then(|one| one.incident.clone());
        self.touched.incidents.extend(incident);
    }
}
