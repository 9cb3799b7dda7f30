//! Tallies of every key in a window that moves forward: most windows hold no key that has what HAVING needs,
//! and of the others only the keys that have it are answered.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

use super::pane::Pane;
use crate::plan::{Need, Tally};

/// Keys by the hash of their text. Where two meet, both are answered though one alone had been enough.
#[derive(Debug, Default)]
pub struct Tallies {
    from: i64,
    to: i64,
    keys: HashMap<u64, Tally>,
    /// Keys that have what is needed.
    pub enough: HashSet<u64>,
}

pub fn hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

impl Tallies {
    pub fn slide(&mut self, panes: &BTreeMap<i64, Pane>, start: i64, end: i64, need: &Need) {
        if start >= self.to || start < self.from {
            *self = Self {
                from: start,
                to: start,
                ..Self::default()
            };
        }
        let tallies = |from: i64, to: i64| {
            let panes = panes.range(from..to.max(from));
            panes.flat_map(|(_, pane)| pane.keys.tallies())
        };
        for (key, gone) in tallies(self.from, start) {
            let Some(tally) = self.keys.get_mut(&key) else {
                continue;
            };
            tally.rows = tally.rows.saturating_sub(gone.rows);
            for (that, gone) in tally.that.iter_mut().zip(gone.that) {
                *that = that.saturating_sub(gone);
            }
            if tally.rows == 0 {
                self.keys.remove(&key);
                self.enough.remove(&key);
            } else if !need.holds(tally) {
                self.enough.remove(&key);
            }
        }
        for (key, more) in tallies(self.to, end) {
            let tally = self.keys.entry(key).or_default();
            tally.rows = tally.rows.saturating_add(more.rows);
            for (that, more) in tally.that.iter_mut().zip(more.that) {
                *that = that.saturating_add(more);
            }
            if need.holds(tally) {
                self.enough.insert(key);
            }
        }
        (self.from, self.to) = (start, end);
    }
}
