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
    /// Whether alerts left, became past or longer.
    pub has_changed: bool,
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
}

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
        if pending.has_changed {
            self.refresh(nodes, terms, deltas);
        }
        let added = pending.added.iter();
        let added = added.filter(|node| !nodes.get(**node).is_dead);
        let new = added.map(|node| {
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
        });
        let known = self.entries.len();
        self.entries.extend(new);
        let from = known.saturating_sub(1);
        if !self.entries[from..].is_sorted_by_key(|entry| nodes.order(entry.node)) {
            self.entries
                .sort_by(|a, b| nodes.order(a.node).cmp(&nodes.order(b.node)));
        }
        self.open = self.entries.iter().filter(|entry| !entry.is_past).count();
        if let (Some((from, to)), Some(terms)) = (pending.times, terms) {
            self.relink(from, to, nodes, terms, deltas);
        }
    }

    /// Drops alerts that are no more, and takes over what changed of the others.
    fn refresh(&mut self, nodes: &Nodes, terms: Option<Terms>, deltas: &mut Vec<Delta>) {
        let refused = &mut self.refused;
        self.entries.retain_mut(|entry| {
            let node = nodes.get(entry.node);
            (entry.is_past, entry.last_time) = (node.is_past(), node.last_time);
            if node.is_dead {
                entry.set(None, Link::None, refused, terms, deltas);
            }
            !node.is_dead
        });
    }

    fn relink(&mut self, from: i64, to: i64, nodes: &Nodes, terms: Terms, deltas: &mut Vec<Delta>) {
        let (from, to) = match terms.ceiling {
            Some(_) => (from.saturating_sub(terms.gap), to.saturating_add(terms.gap)),
            None => (from, to),
        };
        let start = self
            .entries
            .partition_point(|entry| entry.first_time < from);
        if let Some(ceiling) = terms.ceiling {
            self.judge(start, to, nodes, terms.gap, ceiling);
        }
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

    /// Says of the alerts from `start` on, up to the time `to`, around which of them the entity is too common.
    fn judge(&mut self, start: usize, to: i64, nodes: &Nodes, gap: i64, ceiling: usize) {
        let Some(first) = self.entries.get(start) else {
            return;
        };
        let reach = first.first_time.saturating_sub(gap);
        // What lies within the gap of an alert is a stretch that moves along.
        let mut from = self
            .entries
            .partition_point(|entry| entry.first_time < reach);
        let mut end = from;
        let mut around: HashMap<u32, usize> = HashMap::new();
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
            self.entries[place].is_common = end - from > ceiling && around.len() > ceiling;
        }
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
