//! Alerts of closed incidents that still count for how common an entity is, and their state: a piece for those that were closed
//! between two commits, kept as long as any of them is.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::Entity;
use crate::correlate::{Graph, Past};
use crate::store::StateWrite;
use crate::time::MINUTE;

/// Owner of the state.
const PAST: &str = "past";

/// Event time after which a past alert is looked at again that still lies near an open one.
const AGAIN: i64 = 30 * MINUTE;

#[derive(Debug)]
pub(super) struct Pasts {
    gap: i64,
    /// When an alert is to be looked at, its node and its piece.
    due: BTreeSet<(i64, u32, i64)>,
    /// Piece → how many of its alerts are kept.
    pieces: BTreeMap<i64, usize>,
    /// The next piece, and the alerts in it.
    next: i64,
    fresh: Vec<Past>,
    /// Pieces of which nothing is left.
    over: Vec<i64>,
}

impl Pasts {
    pub fn new(gap: i64) -> Self {
        Self {
            gap,
            due: BTreeSet::new(),
            pieces: BTreeMap::new(),
            next: 0,
            fresh: vec![],
            over: vec![],
        }
    }

    pub fn add(&mut self, node: u32, first_time: i64, entities: Vec<Entity>) {
        if self.fresh.is_empty() {
            while self.pieces.contains_key(&self.next) {
                self.next = self.next.wrapping_add(1);
            }
        }
        self.note(node, first_time, self.next);
        self.fresh.push(Past {
            first_time,
            entities,
        });
    }

    /// Nothing that comes can lie near a past alert any more once the gap after it is over.
    fn note(&mut self, node: u32, first_time: i64, piece: i64) {
        let due = first_time.saturating_add(self.gap);
        self.due.insert((due, node, piece));
        *self.pieces.entry(piece).or_default() += 1;
    }

    /// Lets go of what lies further than the gap from all that is open or can come.
    pub fn forget(&mut self, horizon: i64, graph: &mut Graph) {
        while let Some(first) = self.due.first().copied().filter(|first| first.0 < horizon) {
            let (_, node, piece) = first;
            self.due.remove(&first);
            if graph.is_near_open(node) {
                let again = horizon.saturating_add(AGAIN);
                self.due.insert((again, node, piece));
                continue;
            }
            graph.forget(node);
            let left = self.pieces.get_mut(&piece);
            let left = left.map_or(0, |left| {
                *left -= 1;
                *left
            });
            if left == 0 {
                self.pieces.remove(&piece);
                match piece == self.next && !self.fresh.is_empty() {
                    true => self.fresh.clear(),
                    false => self.over.push(piece),
                }
            }
        }
    }

    /// Pieces that changed since the last call.
    pub fn take_state(&mut self) -> Vec<StateWrite> {
        let write = |key, value| StateWrite {
            owner: PAST.into(),
            key,
            value,
        };
        let over = std::mem::take(&mut self.over).into_iter();
        let mut writes: Vec<_> = over.map(|key| write(key, None)).collect();
        if !self.fresh.is_empty() {
            writes.push(write(self.next, serde_json::to_vec(&self.fresh).ok()));
            self.fresh.clear();
            self.next = self.next.wrapping_add(1);
        }
        writes
    }

    /// Puts back a piece if it is one of ours; older versions wrote one for each alert.
    pub fn restore(
        &mut self,
        owner: &str,
        key: i64,
        value: &[u8],
        graph: &mut Graph,
    ) -> Result<(), String> {
        if owner != PAST {
            return Ok(());
        }
        let pasts: Vec<Past> = match value.first() {
            Some(b'[') => serde_json::from_slice(value),
            _ => serde_json::from_slice(value).map(|past| vec![past]),
        }
        .map_err(|error| error.to_string())?;
        for past in pasts {
            let node = graph.put_past(&past);
            self.note(node, past.first_time, key);
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.pieces.is_empty()
    }
}
