//! What each finding of a source said last.
//!
//! Time is cut into slots, eight to a gap. An entry remembers the slot in which its finding was last told, so that
//! one that is told every minute is written once per slot, and whole slots are dropped when they are over.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::time::{SECOND, floor};

const SLOTS_PER_GAP: i64 = 8;
/// Stored size: hash of the finding and of its state.
const ENTRY: usize = 24;

#[derive(Debug, Clone, Copy)]
struct Last {
    /// Start of the slot.
    slot: i64,
    state: u64,
}

#[derive(Debug, Default)]
pub(super) struct Said {
    gap: i64,
    last: HashMap<u128, Last>,
    /// By slot: entries not written yet.
    fresh: BTreeMap<i64, Vec<u8>>,
    /// By slot: number of its next piece.
    pieces: BTreeMap<i64, i64>,
}

pub(super) struct Verdict {
    pub news: bool,
    /// False if there was no room to remember it.
    pub kept: bool,
}

impl Said {
    pub fn new(gap: i64) -> Self {
        Self {
            gap,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.last.len()
    }

    fn slot(&self, time: i64) -> i64 {
        floor(time, (self.gap / SLOTS_PER_GAP).max(SECOND))
    }

    /// Notes what a finding says. Called in order of event time.
    pub fn say(&mut self, finding: u128, state: u64, time: i64, room: &mut usize) -> Verdict {
        let slot = self.slot(time);
        let before = self.last.get(&finding).copied();
        let same = before.is_some_and(|last| last.state == state);
        let news = !same || before.is_some_and(|last| slot - last.slot > self.gap);
        if before.is_none() {
            if *room == 0 {
                return Verdict { news, kept: false };
            }
            *room -= 1;
        }
        if !same || before.is_some_and(|last| last.slot != slot) {
            self.last.insert(finding, Last { slot, state });
            let fresh = self.fresh.entry(slot).or_default();
            fresh.extend(finding.to_le_bytes());
            fresh.extend(state.to_le_bytes());
        }
        Verdict { news, kept: true }
    }

    /// Whether a row that came too late to be put in order says otherwise than the finding does now.
    pub fn differs(&self, finding: u128, state: u64) -> bool {
        self.last
            .get(&finding)
            .is_none_or(|last| last.state != state)
    }

    /// Forgets what was said more than a gap before `time`. Returns the slots that are stored and over.
    pub fn forget_before(&mut self, time: i64) -> Vec<i64> {
        let limit = self.slot(time).saturating_sub(self.gap);
        let over =
            |slots: &BTreeMap<i64, i64>| slots.first_key_value().is_some_and(|(s, _)| *s < limit);
        let mut gone = vec![];
        let any = over(&self.pieces)
            || self
                .fresh
                .first_key_value()
                .is_some_and(|(s, _)| *s < limit);
        if any {
            self.last.retain(|_, last| last.slot >= limit);
            self.fresh.retain(|slot, _| *slot >= limit);
            while over(&self.pieces) {
                gone.extend(self.pieces.pop_first().map(|(slot, _)| slot));
            }
        }
        gone
    }

    /// Slot, number and content of the pieces added since the last call.
    pub fn take_fresh(&mut self) -> Vec<(i64, i64, Vec<u8>)> {
        let fresh = std::mem::take(&mut self.fresh);
        let pieces = fresh.into_iter().map(|(slot, entries)| {
            let next = self.pieces.entry(slot).or_default();
            *next += 1;
            (slot, *next - 1, entries)
        });
        pieces.collect()
    }

    /// Puts back a piece; those of a slot in ascending order.
    pub fn restore(&mut self, slot: i64, number: i64, entries: &[u8]) -> Result<(), String> {
        let (entries, rest) = entries.as_chunks::<ENTRY>();
        if !rest.is_empty() {
            return Err("not a whole number of findings".to_owned());
        }
        for entry in entries {
            let (mut finding, mut state) = ([0; 16], [0; 8]);
            finding.copy_from_slice(&entry[..16]);
            state.copy_from_slice(&entry[16..]);
            let state = u64::from_le_bytes(state);
            let last = self.last.entry(u128::from_le_bytes(finding));
            let last = last.or_insert(Last { slot, state });
            if slot >= last.slot {
                *last = Last { slot, state };
            }
        }
        let next = self.pieces.entry(slot).or_default();
        *next = (*next).max(number + 1);
        Ok(())
    }
}
