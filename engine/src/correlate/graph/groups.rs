//! The groups: who is in them, what they are as incidents, and who moved from one to another.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{Graph, Group, GroupId};
use crate::alert::{Alert, Entity};
use crate::correlate::tally::{Place, Tally};
use crate::incident::{Incident, IncidentHead};

/// Alerts that joined an incident and left it, and the entities that came and went with them.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    pub joined: BTreeSet<Place>,
    pub left: BTreeSet<Place>,
    /// In how many more of its alerts an entity is.
    pub entities: BTreeMap<Entity, i64>,
}

impl Moves {
    fn join(&mut self, place: Place, alert: &Alert) {
        if !self.left.remove(&place) {
            self.joined.insert(place);
        }
        self.count(alert, 1);
    }

    fn leave(&mut self, place: Place, alert: &Alert) {
        if !self.joined.remove(&place) {
            self.left.insert(place);
        }
        self.count(alert, -1);
    }

    fn count(&mut self, alert: &Alert, by: i64) {
        for entity in &alert.entities {
            match self.entities.get_mut(entity) {
                Some(count) => *count += by,
                None => drop(self.entities.insert(entity.clone(), by)),
            }
        }
    }
}

impl Graph {
    pub fn group_of(&self, alert: &str) -> Option<GroupId> {
        self.nodes.get(*self.by_alert.get(alert)?).group
    }

    /// The alerts of a group, in order of time.
    pub fn members(&self, group: GroupId) -> impl DoubleEndedIterator<Item = &Alert> {
        let members = self.groups.get(&group).into_iter();
        let members = members.flat_map(|group| group.members.values());
        members.filter_map(|node| self.nodes.get(*node).alert.as_ref())
    }

    /// The places of a group's alerts.
    pub fn places(&self, group: GroupId) -> impl Iterator<Item = &Place> {
        let group = self.groups.get(&group).into_iter();
        group.flat_map(|group| group.members.keys())
    }

    pub fn size(&self, group: GroupId) -> usize {
        self.groups.get(&group).map_or(0, |one| one.members.len())
    }

    /// A group as an incident.
    pub fn head(&self, group: GroupId) -> Option<IncidentHead> {
        let group = self.groups.get(&group)?;
        let (first, _) = group.members.first_key_value()?;
        let title_of = |place: &Place| {
            let alert = self.nodes.get(*group.members.get(place)?).alert.as_ref();
            alert.map(|alert| alert.rule_title.as_str())
        };
        Some(group.tally.head(first, title_of))
    }

    /// The same with its alerts and entities.
    pub fn incident(&self, group: GroupId) -> Option<Incident> {
        let entities = self.entities(group).into_iter();
        let alert_ids = self.places(group).map(|(_, id)| id.to_string());
        let head = self.head(group)?;
        Some(head.with(
            entities.map(|(entity, _)| entity).collect(),
            alert_ids.collect(),
        ))
    }

    /// The entities of a group's alerts and in how many they are, those in most first.
    pub fn entities(&self, group: GroupId) -> Vec<(Entity, u32)> {
        let tally = self.groups.get(&group).map(|group| &group.tally);
        tally.map(Tally::entities).unwrap_or_default()
    }

    /// In how many of a group's alerts an entity is.
    pub fn count_of(&self, group: GroupId, entity: &Entity) -> u32 {
        let group = self.groups.get(&group);
        group.map_or(0, |group| group.tally.count_of(entity))
    }

    pub fn incident_of(&self, group: GroupId) -> Option<&Arc<str>> {
        self.groups.get(&group)?.incident.as_ref()
    }

    /// Gives a group the id of its incident. Returns it.
    pub fn name(&mut self, group: GroupId, incident: &str) -> Option<Arc<str>> {
        let group = self.groups.get_mut(&group)?;
        if group.incident.as_deref() != Some(incident) {
            if group.incident.is_some() {
                self.moved.extend(group.members.values());
            }
            group.incident = Some(incident.into());
        }
        group.incident.clone()
    }

    /// Says in which incident an alert was stored.
    pub fn was_told(&mut self, alert: &str, incident: &Arc<str>) {
        if let Some(node) = self.by_alert.get(alert).copied() {
            self.nodes.get_mut(node).told = Some(incident.clone());
        }
    }

    /// What moved between incidents since the last call, by incident. All groups must have names.
    pub fn take_moves(&mut self) -> BTreeMap<Arc<str>, Moves> {
        let mut moves: BTreeMap<Arc<str>, Moves> = BTreeMap::new();
        for (incident, alert) in std::mem::take(&mut self.lost) {
            let place = (alert.first_time, alert.alert_id.as_str().into());
            moves.entry(incident).or_default().leave(place, &alert);
        }
        for node in std::mem::take(&mut self.moved) {
            let one = self.nodes.get_mut(node);
            let group = one.group.and_then(|group| self.groups.get(&group));
            let incident = group.and_then(|group| group.incident.clone());
            let Some(alert) = &one.alert else { continue };
            if one.told == incident {
                continue;
            }
            let place = (one.first_time, one.id.clone());
            if let Some(before) = one.told.take() {
                moves.entry(before).or_default().leave(place.clone(), alert);
            }
            if let Some(now) = &incident {
                moves.entry(now.clone()).or_default().join(place, alert);
            }
            one.told = incident;
        }
        moves
    }

    /// Takes over that an alert is other than before, but for its place and entities.
    pub(super) fn retell(&mut self, node: u32, before: Option<Alert>) {
        let one = self.nodes.get(node);
        let group = one.group.and_then(|group| self.groups.get_mut(&group));
        if let (Some(group), Some(before), Some(after)) = (group, before, &one.alert) {
            group.tally.remove(&one.id, &before);
            group.tally.add(&one.id, after);
        }
    }

    pub(super) fn start_group(&mut self, node: u32) {
        let number = self.next_group;
        self.next_group += 1;
        let one = self.nodes.get_mut(node);
        one.group = Some(number);
        let mut group = Group::default();
        if let Some(alert) = &one.alert {
            group.tally.add(&one.id, alert);
        }
        group.members.insert((one.first_time, one.id.clone()), node);
        self.groups.insert(number, group);
        self.touched.groups.insert(number);
        self.moved.push(node);
    }

    /// Puts two groups together, the smaller into the larger.
    pub(super) fn join(&mut self, one: u32, other: u32) {
        let groups = (self.nodes.get(one).group, self.nodes.get(other).group);
        let (Some(a), Some(b)) = groups else { return };
        if a == b {
            return;
        }
        let (into, from) = match self.size(a) >= self.size(b) {
            true => (a, b),
            false => (b, a),
        };
        self.touch(into);
        self.touch(from);
        let Some(moved) = self.groups.remove(&from) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&into) else {
            return;
        };
        for node in moved.members.values() {
            let one = self.nodes.get_mut(*node);
            one.group = Some(into);
            if let Some(alert) = &one.alert {
                group.tally.add(&one.id, alert);
            }
            self.moved.push(*node);
        }
        group.members.extend(moved.members);
    }

    /// Makes the groups of some groups' alerts anew: none is put together before all are taken apart, as their alerts may be
    /// linked across.
    pub(super) fn break_up(&mut self, groups: HashSet<GroupId>) {
        let mut members: Vec<u32> = vec![];
        for group in groups {
            self.touch(group);
            let broken = self.groups.remove(&group).into_iter();
            members.extend(broken.flat_map(|broken| broken.members.into_values()));
        }
        for node in &members {
            self.start_group(*node);
        }
        for node in members {
            for neighbour in self.nodes.get(node).neighbours.clone() {
                self.join(node, neighbour);
            }
        }
    }
}
