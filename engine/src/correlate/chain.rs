//! The alerts that share one entity, in order of time, and which of them it links.
//!
//! Each alert is linked to the one before it that reaches furthest in time. A change is worked in where it lies: what
//! stands earlier or further than the gap stays as it is.

use std::collections::HashMap;

use super::graph::Nodes;

/// One alert of the chain.
#[derive(Debug, Clone, Copy)]
struct Entry {
    node: u32,
    first_time: i64,
    last_time: i64,
    /// Its incident is closed: it links nothing, but counts for how common the entity is.
    is_past: bool,
    /// Around it the entity is shared by too many different identities.
    is_common: bool,
    /// The alert before it that reaches furthest in time.
    before: Option<u32>,
    link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    None,
    Linked,
    /// It would be one, but for the ceiling.
    Refused,
}

/// A change of the weight between two alerts.
pub(super) type Delta = (u32, u32, i32);

/// What is to be worked into a chain.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub added: Vec<u32>,
    /// Alerts that left, became past or longer.
    pub changed: Vec<u32>,
    /// First and last time of what changed.
    pub times: Option<(i64, i64)>,
}

impl Pending {
    pub fn note(&mut self, time: i64) {
        let (from, to) = self.times.unwrap_or((time, time));
        self.times = Some((from.min(time), to.max(time)));
    }
}

/// How a chain links.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub gap: i64,
    /// Nothing for an entity that cannot be common.
    pub ceiling: Option<usize>,
    pub weight: i32,
}

#[derive(Debug, Default)]
pub(super) struct Chain {
    entries: Vec<Entry>,
    /// Links that the ceiling refused.
    pub refused: u64,
    /// Alerts that are not past.
    pub open: usize,
    /// In how many alerts an identity is, for an entity that can be common.
    identities: HashMap<u32, usize>,
}

/// How many alerts are put into their places one by one.
const FEW: usize = 8;

impl Chain {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether an open alert lies no further than the gap from a time.
    pub fn is_near(&self, time: i64, gap: i64, nodes: &Nodes) -> bool {
        let from = self
            .entries
            .partition_point(|entry| entry.first_time < time.saturating_sub(gap));
        let near = self.entries[from..].iter();
        near.take_while(|entry| entry.first_time <= time.saturating_add(gap))
            .any(|entry| !nodes.get(entry.node).is_past())
    }

    /// Works in what changed; appends how weights change. Without terms the entity links nothing.
    pub fn update(
        &mut self,
        pending: &Pending,
        nodes: &Nodes,
        terms: Option<Terms>,
        deltas: &mut Vec<Delta>,
    ) {
        let known = self.entries.len();
        if !pending.changed.is_empty() {
            self.refresh(&pending.changed, nodes, terms, deltas);
        }
        let only_more = self.entries.len() == known;
        self.insert(&pending.added, nodes, terms);
        if let (Some(times), Some(terms)) = (pending.times, terms) {
            self.relink(times, only_more, nodes, terms, deltas);
        }
    }

    /// Takes over what changed of alerts, and drops those that are no more.
    fn refresh(
        &mut self,
        changed: &[u32],
        nodes: &Nodes,
        terms: Option<Terms>,
        deltas: &mut Vec<Delta>,
    ) {
        let mut places: Vec<usize> = match changed.len() * FEW < self.entries.len() {
            true => {
                let places = changed.iter().filter_map(|node| self.find(*node, nodes));
                places.collect()
            }
            false => (0..self.entries.len()).collect(),
        };
        places.sort_unstable();
        places.dedup();
        let refused = &mut self.refused;
        places.retain(|place| {
            let entry = &mut self.entries[*place];
            let node = nodes.get(entry.node);
            let was_open = !entry.is_past;
            (entry.is_past, entry.last_time) = (node.is_past(), node.last_time);
            self.open -= usize::from(was_open && (node.is_dead || entry.is_past));
            if node.is_dead {
                entry.set(None, Link::None, refused, terms, deltas);
                for identity in node.identities() {
                    if let Some(alerts) = self.identities.get_mut(&identity) {
                        *alerts -= 1;
                        if *alerts == 0 {
                            self.identities.remove(&identity);
                        }
                    }
                }
            }
            node.is_dead
        });
        if !places.is_empty() {
            let mut gone = places.into_iter().peekable();
            let mut place = 0..;
            self.entries.retain(|_| {
                let place = place.next();
                gone.next_if(|gone| Some(*gone) == place).is_none()
            });
        }
    }

    /// The place of an alert's entry.
    fn find(&self, node: u32, nodes: &Nodes) -> Option<usize> {
        let order = nodes.order(node);
        let from = self
            .entries
            .partition_point(|entry| nodes.order(entry.node) < order);
        let same = self.entries[from..].iter();
        let mut same = same.take_while(|entry| nodes.order(entry.node) == order);
        Some(from + same.position(|entry| entry.node == node)?)
    }

    fn insert(&mut self, added: &[u32], nodes: &Nodes, terms: Option<Terms>) {
        let added = added.iter().filter(|node| !nodes.get(**node).is_dead);
        let mut new: Vec<Entry> = added
            .map(|node| {
                let one = nodes.get(*node);
                Entry {
                    node: *node,
                    first_time: one.first_time,
                    last_time: one.last_time,
                    is_past: one.is_past(),
                    is_common: false,
                    before: None,
                    link: Link::None,
                }
            })
            .collect();
        self.open += new.iter().filter(|entry| !entry.is_past).count();
        if terms.is_some_and(|terms| terms.ceiling.is_some()) {
            for identity in new
                .iter()
                .flat_map(|entry| nodes.get(entry.node).identities())
            {
                *self.identities.entry(identity).or_default() += 1;
            }
        }
        let order = |entry: &Entry| nodes.order(entry.node);
        new.sort_by(|a, b| order(a).cmp(&order(b)));
        let are_last = match (self.entries.last(), new.first()) {
            (Some(last), Some(first)) => order(last) <= order(first),
            _ => true,
        };
        if !are_last && new.len() <= FEW {
            for entry in new {
                let place = self
                    .entries
                    .partition_point(|one| order(one) <= order(&entry));
                self.entries.insert(place, entry);
            }
            return;
        }
        self.entries.extend(new);
        if !are_last {
            self.entries.sort_by(|a, b| order(a).cmp(&order(b)));
        }
    }

    fn relink(
        &mut self,
        (mut from, mut to): (i64, i64),
        only_more: bool,
        nodes: &Nodes,
        terms: Terms,
        deltas: &mut Vec<Delta>,
    ) {
        if let Some(other) = self.judge(from, to, only_more, nodes, terms) {
            (from, to) = (from.min(other.0), to.max(other.1));
        }
        let start = self
            .entries
            .partition_point(|entry| entry.first_time < from);
        let mut newest = self.newest_before(start, nodes);
        let refused = &mut self.refused;
        for entry in &mut self.entries[start..] {
            if entry.is_past {
                entry.set(None, Link::None, refused, Some(terms), deltas);
                continue;
            }
            let before = newest.map(|newest| newest.node);
            let is_outside = |time: i64| time < from || time > to;
            if entry.first_time > to
                && entry.before == before
                && newest.is_none_or(|newest| is_outside(newest.first_time))
            {
                break;
            }
            let is_close =
                |newest: &Entry| entry.first_time.saturating_sub(newest.last_time) <= terms.gap;
            let link = match newest.filter(is_close) {
                None => Link::None,
                Some(newest) if newest.is_common || entry.is_common => Link::Refused,
                Some(_) => Link::Linked,
            };
            entry.set(before, link, refused, Some(terms), deltas);
            if newest.is_none_or(|newest| entry.last_time >= newest.last_time) {
                newest = Some(*entry);
            }
        }
    }

    /// The open alert among those before `start` that reaches furthest in time.
    fn newest_before(&self, start: usize, nodes: &Nodes) -> Option<Entry> {
        let last = self.entries[..start].iter().rfind(|entry| !entry.is_past)?;
        let before = last.before.and_then(|node| {
            let order = nodes.order(node);
            let place = self
                .entries
                .partition_point(|entry| nodes.order(entry.node) < order);
            self.entries.get(place)
        });
        match before {
            Some(before) if before.last_time > last.last_time => Some(*before),
            _ => Some(*last),
        }
    }

    /// Says of the alerts within the gap around the times which changed, around which of them the entity is too common.
    /// Returns the first and last time of those of which it is other than before.
    fn judge(
        &mut self,
        from: i64,
        to: i64,
        only_more: bool,
        nodes: &Nodes,
        terms: Terms,
    ) -> Option<(i64, i64)> {
        let (gap, ceiling) = (terms.gap, terms.ceiling?);
        let (from, to) = (from.saturating_sub(gap), to.saturating_add(gap));
        let is_rare = self.identities.len() <= ceiling;
        if is_rare && only_more {
            return None;
        }
        let mut start = self
            .entries
            .partition_point(|entry| entry.first_time < from);
        if only_more {
            // What was common stays so.
            start += self.entries[start..]
                .iter()
                .position(|entry| !entry.is_common)?;
        }
        let first = self.entries.get(start)?;
        let reach = first.first_time.saturating_sub(gap);
        // What lies within the gap of an alert is a stretch that moves along.
        let mut from = self
            .entries
            .partition_point(|entry| entry.first_time < reach);
        let mut end = from;
        let mut around: HashMap<u32, usize> = HashMap::new();
        let mut changed: Option<(i64, i64)> = None;
        for place in start..self.entries.len() {
            let time = self.entries[place].first_time;
            if time > to {
                break;
            }
            while let Some(entry) = self.entries.get(end)
                && entry.first_time.saturating_sub(time) <= gap
            {
                for identity in nodes.get(entry.node).identities() {
                    *around.entry(identity).or_default() += 1;
                }
                end += 1;
            }
            while time.saturating_sub(self.entries[from].first_time) > gap {
                for identity in nodes.get(self.entries[from].node).identities() {
                    if let Some(count) = around.get_mut(&identity) {
                        *count -= 1;
                        if *count == 0 {
                            around.remove(&identity);
                        }
                    }
                }
                from += 1;
            }
            // Few alerts make nothing common, however many identities one of them names.
            let is_common = end - from > ceiling && around.len() > ceiling;
            if is_common != self.entries[place].is_common {
                self.entries[place].is_common = is_common;
                changed = Some((changed.map_or(time, |(first, _)| first), time));
            }
        }
        changed
    }
}

impl Entry {
    fn set(
        &mut self,
        before: Option<u32>,
        link: Link,
        refused: &mut u64,
        terms: Option<Terms>,
        deltas: &mut Vec<Delta>,
    ) {
        let weight = terms.map_or(0, |terms| terms.weight);
        if (self.before, self.link) == (before, link) {
            return;
        }
        if let (Link::Linked, Some(other)) = (self.link, self.before) {
            deltas.push((other, self.node, -weight));
        }
        if let (Link::Linked, Some(other)) = (link, before) {
            deltas.push((other, self.node, weight));
        }
        *refused -= u64::from(self.link == Link::Refused);
        *refused += u64::from(link == Link::Refused);
        (self.before, self.link) = (before, link);
    }
}
