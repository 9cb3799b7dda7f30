//! The keys of a pane: how many rows each has, and the earliest of them as evidence.
//!
//! What every answer of a window reads (hashes and tallies) lies together, apart from what only matches need.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, UInt32Array, UInt64Array,
};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, Int64Type, UInt32Type, UInt64Type};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::tallies::hash;
use super::uid::Uid;
use crate::Result;
use crate::alert::Evidence;
use crate::plan::{CONDITIONS, Tally};

/// Evidence kept per key and pane: the earliest ones, so that what is kept does not depend on arrival.
pub const PANE_EVIDENCE: usize = 16;
/// Memory of a key beside its text and its events.
const KEY_BYTES: usize = 192;
/// In the place of how many events a written key has: those that an earlier piece has.
const AS_BEFORE: u32 = u32::MAX;

/// An event of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    time: i64,
    uid: Uid,
}

impl Seen {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.uid.bytes()
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            time: self.time,
            event_uid: self.uid.text(),
        }
    }
}

/// What one key did in one pane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyEvidence {
    pub count: u64,
    pub first: i64,
    pub last: i64,
    /// Earliest [`PANE_EVIDENCE`] events, ascending.
    events: Vec<Seen>,
    /// Not written as it is, and so with its events.
    fresh: bool,
    fresh_events: bool,
}

impl KeyEvidence {
    /// Gives how many bytes came and went.
    fn add(&mut self, time: i64, event_uid: &str) -> (usize, usize) {
        let new = self.count == 0;
        self.first = if new { time } else { self.first.min(time) };
        self.last = if new { time } else { self.last.max(time) };
        self.count += 1;
        self.fresh = true;
        let full = self.events.len() == PANE_EVIDENCE;
        if full && self.events.last().is_some_and(|last| last.time < time) {
            return (0, 0);
        }
        let uid = Uid::new(event_uid);
        let new = Seen { time, uid };
        let place = self.events.partition_point(|seen| *seen < new);
        if place == PANE_EVIDENCE {
            return (0, 0);
        }
        self.fresh_events = true;
        let bytes = new.bytes();
        let gone = match full {
            true => self.events.pop(),
            false => None,
        };
        self.events.insert(place, new);
        (bytes, gone.map_or(0, |gone| gone.bytes()))
    }

    /// Its events, ascending.
    pub fn events(&self) -> Vec<Evidence> {
        self.events.iter().map(Seen::evidence).collect()
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(Seen::bytes).sum()
    }
}

/// By slot, in the order in which they came.
#[derive(Debug, Default)]
pub struct PaneKeys {
    slots: HashTable<u32>,
    hashes: Vec<u64>,
    tallies: Vec<Tally>,
    names: Vec<Box<str>>,
    evidence: Vec<KeyEvidence>,
    /// Memory, about.
    pub bytes: usize,
}

impl PaneKeys {
    /// The slot of a key, which is made if there is none.
    fn slot(&mut self, key: &str) -> usize {
        let (hashes, names) = (&self.hashes, &self.names);
        let hash = hash(key);
        let same = |slot: &u32| &*names[*slot as usize] == key;
        match self.slots.entry(hash, same, |slot| hashes[*slot as usize]) {
            Entry::Occupied(known) => *known.get() as usize,
            Entry::Vacant(free) => {
                let slot = hashes.len();
                free.insert(slot as u32);
                self.hashes.push(hash);
                self.names.push(key.into());
                self.tallies.push(Tally::default());
                self.evidence.push(KeyEvidence {
                    // Most keys have one event: no room is taken for more.
                    events: Vec::with_capacity(1),
                    ..KeyEvidence::default()
                });
                self.bytes += KEY_BYTES + key.len();
                slot
            }
        }
    }

    /// `that`: which of the plan's conditions the event satisfies.
    pub fn add(&mut self, key: &str, time: i64, event_uid: &str, that: [bool; CONDITIONS]) {
        let slot = self.slot(key);
        let tally = &mut self.tallies[slot];
        tally.rows += 1;
        for (count, holds) in tally.that.iter_mut().zip(that) {
            *count = count.saturating_add(u32::from(holds));
        }
        let evidence = &mut self.evidence[slot];
        let (come, gone) = evidence.add(time, event_uid);
        self.bytes = self.bytes + come - gone;
    }

    pub fn evidence(&self, key: &str) -> Option<&KeyEvidence> {
        let same = |slot: &u32| &*self.names[*slot as usize] == key;
        let slot = self.slots.find(hash(key), same)?;
        self.evidence.get(*slot as usize)
    }

    /// The hash of each key with its tally.
    pub fn tallies(&self) -> impl Iterator<Item = (u64, &Tally)> {
        self.hashes.iter().copied().zip(&self.tallies)
    }

    /// Slots of keys that the store does not have as they are, or of all, by name.
    pub fn to_write(&self, all: bool) -> Vec<u32> {
        let slots = 0..self.names.len() as u32;
        let mut slots: Vec<u32> = slots
            .filter(|slot| all || self.evidence[*slot as usize].fresh)
            .collect();
        slots.sort_unstable_by_key(|slot| &self.names[*slot as usize]);
        slots
    }

    pub fn are_written(&mut self) {
        for evidence in &mut self.evidence {
            evidence.fresh = false;
            evidence.fresh_events = false;
        }
    }

    /// Keys in these slots, and their events, one key after the other. Without `all_events`, those are left out that were
    /// written before: a busy key counts on, but its earliest events stay.
    pub fn batches(&self, slots: &[u32], all_events: bool) -> Result<[RecordBatch; 2]> {
        let all = || slots.iter().map(|slot| &self.evidence[*slot as usize]);
        let names = slots.iter().map(|slot| &*self.names[*slot as usize]);
        let names = StringArray::from_iter_values(names);
        let counts = UInt64Array::from_iter_values(all().map(|e| e.count));
        let firsts = Int64Array::from_iter_values(all().map(|e| e.first));
        let lasts = Int64Array::from_iter_values(all().map(|e| e.last));
        let told = |e: &&KeyEvidence| all_events || e.fresh_events;
        let sizes = all().map(|e| match told(&e) {
            true => e.events.len() as u32,
            false => AS_BEFORE,
        });
        let sizes = UInt32Array::from_iter_values(sizes);
        let mut columns = vec![
            ("key".to_owned(), Arc::new(names) as ArrayRef),
            ("count".to_owned(), Arc::new(counts)),
            ("first".to_owned(), Arc::new(firsts)),
            ("last".to_owned(), Arc::new(lasts)),
            ("events".to_owned(), Arc::new(sizes)),
        ];
        for condition in 0..CONDITIONS {
            let that = slots
                .iter()
                .map(|slot| self.tallies[*slot as usize].that[condition]);
            let that = UInt32Array::from_iter_values(that);
            columns.push((format!("that_{condition}"), Arc::new(that)));
        }
        let events = || all().filter(told).flat_map(|e| &e.events);
        let times = Int64Array::from_iter_values(events().map(|seen| seen.time));
        let mut uids = BinaryBuilder::with_capacity(times.len(), 17 * times.len());
        let mut uid = vec![];
        for seen in events() {
            uid.clear();
            seen.uid.write(&mut uid);
            uids.append_value(&uid);
        }
        let events = [
            ("time", Arc::new(times) as ArrayRef),
            ("event_uid", Arc::new(uids.finish())),
        ];
        Ok([
            RecordBatch::try_from_iter(columns)?,
            RecordBatch::try_from_iter(events)?,
        ])
    }

    /// Puts back keys and their events; they replace what is here of them.
    pub fn restore(&mut self, keys: &[RecordBatch], events: &[RecordBatch]) -> Result<(), String> {
        let ([keys], [events]) = (keys, events) else {
            return Err("evidence is not one batch of keys and one of events".into());
        };
        let names = texts(keys, 0)?;
        let counts = numbers::<UInt64Type>(keys, 1)?;
        let firsts = numbers::<Int64Type>(keys, 2)?;
        let lasts = numbers::<Int64Type>(keys, 3)?;
        let sizes = numbers::<UInt32Type>(keys, 4)?;
        let that = (5..keys.num_columns()).map(|index| numbers::<UInt32Type>(keys, index));
        let that = that.collect::<Result<Vec<_>, _>>()?;
        let times = numbers::<Int64Type>(events, 0)?;
        let uids = Uids::of(events)?;
        let mut next = 0;
        for row in 0..keys.num_rows() {
            let slot = self.slot(names.value(row));
            self.bytes -= self.evidence[slot].bytes();
            let events = match sizes.value(row) {
                AS_BEFORE => std::mem::take(&mut self.evidence[slot].events),
                size => {
                    let from = next;
                    next += size as usize;
                    if next > times.len() {
                        return Err("evidence has fewer events than it says".into());
                    }
                    let event = |index: usize| {
                        Ok(Seen {
                            time: times.value(index),
                            uid: uids.get(index)?,
                        })
                    };
                    (from..next).map(event).collect::<Result<_, String>>()?
                }
            };
            let evidence = KeyEvidence {
                count: counts.value(row),
                first: firsts.value(row),
                last: lasts.value(row),
                events,
                fresh: false,
                fresh_events: false,
            };
            self.tallies[slot] = Tally {
                rows: evidence.count,
                // A store of before they were counted: there may have been any number.
                that: std::array::from_fn(|i| that.get(i).map_or(u32::MAX, |t| t.value(row))),
            };
            self.bytes += evidence.bytes();
            self.evidence[slot] = evidence;
        }
        Ok(())
    }
}

fn numbers<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    index: usize,
) -> Result<&PrimitiveArray<T>, String> {
    let column = batch.columns().get(index);
    column
        .and_then(|column| column.as_primitive_opt())
        .ok_or_else(|| other(index))
}

fn texts(batch: &RecordBatch, index: usize) -> Result<&StringArray, String> {
    let column = batch.columns().get(index);
    column
        .and_then(|column| column.as_string_opt())
        .ok_or_else(|| other(index))
}

/// Ids of events as they are stored: texts in format 1, bytes since format 2.
enum Uids<'a> {
    Texts(&'a StringArray),
    Bytes(&'a BinaryArray),
}

impl<'a> Uids<'a> {
    fn of(events: &'a RecordBatch) -> Result<Self, String> {
        let column = events.columns().get(1);
        let bytes = column.and_then(|column| column.as_binary_opt());
        Ok(match bytes {
            Some(bytes) => Self::Bytes(bytes),
            None => Self::Texts(texts(events, 1)?),
        })
    }

    fn get(&self, index: usize) -> Result<Uid, String> {
        match self {
            Self::Texts(texts) => Ok(Uid::new(texts.value(index))),
            Self::Bytes(bytes) => Uid::read(bytes.value(index))
                .ok_or_else(|| "evidence has an id that is none".to_owned()),
        }
    }
}

fn other(index: usize) -> String {
    format!("evidence has something else in column {index}, or no such column")
}
