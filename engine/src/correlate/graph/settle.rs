//! Works changes into the chains, the links and the groups.

use std::collections::{HashMap, HashSet};

use super::{Graph, GroupId, Shared, Touched};
use crate::correlate::chain::{Delta, Pending, Terms};
use crate::correlate::{identity_kind, weight};

/// Weight between two alerts from which on they belong together.
const JOINS: i32 = 8;

/// Alerts looked at to find out whether two are still connected without the link between them.
const DETOUR: usize = 64;

/// Two alerts.
type Pair = (u32, u32);

impl Graph {
    /// Works in all changes since the last call; returns what they touched.
    pub fn settle(&mut self) -> Touched {
        let mut deltas = vec![];
        for (entity, pending) in std::mem::take(&mut self.pending) {
            self.update_chain(entity, &pending, &mut deltas);
        }
        let gaps = self.gaps();
        for node in std::mem::take(&mut self.fresh) {
            if !self.nodes.get(node).is_dead && !self.nodes.get(node).is_past() {
                self.start_group(node);
            }
        }
        let (joined, mut parted) = self.apply(deltas);
        parted.extend(gaps);
        let mut broken: HashSet<GroupId> = HashSet::new();
        for (one, other) in parted {
            let (a, b) = (self.nodes.get(one).group, self.nodes.get(other).group);
            if let (Some(a), Some(b)) = (a, b)
                && a == b
                && !self.has_detour(one, other)
            {
                broken.insert(a);
            }
        }
        self.break_up(broken);
        for (one, other) in joined {
            self.join(one, other);
        }
        self.release();
        let mut touched = std::mem::take(&mut self.touched);
        touched
            .groups
            .retain(|group| self.groups.contains_key(group));
        touched
    }

    /// Alerts that were connected by others that are no more: what was around these is still in one piece if all of the pairs
    /// are connected.
    fn gaps(&self) -> Vec<Pair> {
        let mut seen: HashSet<u32> = HashSet::new();
        let mut gaps = vec![];
        for node in &self.dead {
            let mut around: Option<u32> = None;
            let mut next = vec![*node];
            while let Some(node) = next.pop() {
                if !seen.insert(node) {
                    continue;
                }
                for neighbour in &self.nodes.get(node).neighbours {
                    if self.nodes.get(*neighbour).is_dead {
                        next.push(*neighbour);
                    } else if let Some(first) = around {
                        gaps.push((first, *neighbour));
                    } else {
                        around = Some(*neighbour);
                    }
                }
            }
        }
        gaps
    }

    fn update_chain(&mut self, entity: u32, pending: &Pending, deltas: &mut Vec<Delta>) {
        let Some(shared) = &mut self.shared[entity as usize] else {
            return;
        };
        let kind = &shared.entity.kind;
        let terms = Terms {
            gap: self.settings.gap,
            ceiling: (!identity_kind(kind)).then_some(self.settings.ceiling),
            weight: weight(kind),
        };
        let terms = (!shared.is_stopped).then_some(terms);
        let count = |shared: &Shared| {
            let is_stopping = shared.is_stopped && shared.chain.open > 1;
            (shared.chain.refused, u64::from(is_stopping))
        };
        let before = count(shared);
        shared.chain.update(pending, &self.nodes, terms, deltas);
        let after = count(shared);
        self.refused = self.refused + after.0 - before.0;
        self.stopped = self.stopped + after.1 - before.1;
    }

    /// Changes the weights. Returns which pairs belong together now, and which no longer do.
    fn apply(&mut self, deltas: Vec<Delta>) -> (Vec<Pair>, Vec<Pair>) {
        let mut before: HashMap<Pair, i32> = HashMap::new();
        for (one, other, by) in deltas {
            let pair = (one.min(other), one.max(other));
            let weight = self.weights.entry(pair).or_default();
            before.entry(pair).or_insert(*weight);
            *weight += by;
        }
        let (mut joined, mut parted) = (vec![], vec![]);
        for (pair, was) in before {
            let is = self.weights.get(&pair).copied().unwrap_or_default();
            if is == 0 {
                self.weights.remove(&pair);
            }
            match (was >= JOINS, is >= JOINS) {
                (false, true) => {
                    self.nodes.get_mut(pair.0).neighbours.push(pair.1);
                    self.nodes.get_mut(pair.1).neighbours.push(pair.0);
                    joined.push(pair);
                }
                (true, false) => {
                    let drop = |neighbours: &mut Vec<u32>, other: u32| {
                        neighbours.retain(|one| *one != other);
                    };
                    drop(&mut self.nodes.get_mut(pair.0).neighbours, pair.1);
                    drop(&mut self.nodes.get_mut(pair.1).neighbours, pair.0);
                    parted.push(pair);
                }
                _ => {}
            }
        }
        (joined, parted)
    }

    /// Whether two alerts are connected by a short way, as they are where one came between them.
    fn has_detour(&self, one: u32, other: u32) -> bool {
        let mut seen = HashSet::from([one]);
        let mut next = vec![one];
        while let Some(node) = next.pop() {
            for neighbour in &self.nodes.get(node).neighbours {
                if *neighbour == other {
                    return true;
                }
                if seen.len() < DETOUR && seen.insert(*neighbour) {
                    next.push(*neighbour);
                }
            }
        }
        false
    }

    /// Makes room of what is no more.
    fn release(&mut self) {
        for node in std::mem::take(&mut self.dead) {
            let entities = std::mem::take(&mut self.nodes.get_mut(node).entities);
            self.free.push(node);
            for entity in entities {
                let Some(shared) = &mut self.shared[entity as usize] else {
                    continue;
                };
                shared.nodes -= 1;
                if shared.nodes == 0 && shared.chain.is_empty() {
                    self.entities.remove(&shared.entity);
                    self.shared[entity as usize] = None;
                    self.free_shared.push(entity);
                }
            }
        }
    }
}
