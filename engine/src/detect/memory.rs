//! A map that is stored as a log: each commit appends what changed, and now and then the whole is written anew.

use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::StateWrite;
use crate::{Error, Result};

/// Entries of one piece of the log.
const PIECE: usize = 1_000;

/// The pieces of a log in the store: `[first, next)`, and how many entries they hold.
#[derive(Debug, Default, PartialEq)]
pub struct Pieces {
    logged: usize,
    first: i64,
    next: i64,
}

impl Pieces {
    /// Whether the log is to be written anew, as most of it is replaced: `changed` entries are to be added, `held` there are.
    pub fn is_stale(&self, changed: usize, held: usize) -> bool {
        self.logged + changed > 4 * held + 4 * PIECE
    }

    /// Takes all pieces out of the store; what is added next begins the log anew.
    pub fn restart(&mut self, owner: &str, writes: &mut Vec<StateWrite>) {
        writes.extend((self.first..self.next).map(|piece| StateWrite {
            owner: owner.to_owned(),
            key: piece,
            value: None,
        }));
        self.first = self.next;
        self.logged = 0;
    }

    pub fn add(
        &mut self,
        owner: &str,
        value: Vec<u8>,
        entries: usize,
        writes: &mut Vec<StateWrite>,
    ) {
        writes.push(StateWrite {
            owner: owner.to_owned(),
            key: self.next,
            value: Some(value),
        });
        self.next += 1;
        self.logged += entries;
    }

    /// Notes a piece that the store has. They must come in ascending order.
    pub fn restored(&mut self, number: i64, entries: usize) -> Result<(), String> {
        if number < self.next {
            return Err("pieces out of order".into());
        }
        if self.next == 0 {
            self.first = number;
        }
        self.next = number + 1;
        self.logged += entries;
        Ok(())
    }
}

#[derive(Debug)]
pub struct Memory<T> {
    entries: HashMap<String, T>,
    changed: HashSet<String>,
    pieces: Pieces,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            changed: HashSet::new(),
            pieces: Pieces::default(),
        }
    }
}

impl<T: Default + Serialize + DeserializeOwned> Memory<T> {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key)
    }

    /// The entry of a key, which will be written.
    pub fn change(&mut self, key: &str) -> &mut T {
        if !self.changed.contains(key) {
            self.changed.insert(key.to_owned());
        }
        self.entries.entry_ref(key).or_default()
    }

    /// Lets go of everything, also in the store.
    pub fn clear(&mut self) {
        let keys = self.entries.drain().map(|(key, _)| key);
        self.changed.extend(keys);
    }

    /// Forgets what is over.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let gone = self.entries.extract_if(|_, entry| !keep(entry));
        self.changed.extend(gone.map(|(key, _)| key));
    }

    pub fn take_state(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let mut keys: Vec<String> = std::mem::take(&mut self.changed).into_iter().collect();
        keys.sort_unstable();
        if self.pieces.is_stale(keys.len(), self.entries.len()) {
            self.pieces.restart(owner, writes);
            keys = self.entries.keys().cloned().collect();
        }
        for keys in keys.chunks(PIECE) {
            let entries: Vec<_> = keys
                .iter()
                .map(|key| (key, self.entries.get(key)))
                .collect();
            let value = serde_json::to_vec(&entries).map_err(|e| Error::Other(e.to_string()))?;
            self.pieces.add(owner, value, keys.len(), writes);
        }
        Ok(())
    }

    /// Puts back one piece. They must come in ascending order.
    pub fn restore(&mut self, key: i64, value: &[u8]) -> Result<(), String> {
        let entries: Vec<(String, Option<T>)> =
            serde_json::from_slice(value).map_err(|e| e.to_string())?;
        self.pieces.restored(key, entries.len())?;
        for (key, entry) in entries {
            match entry {
                Some(entry) => drop(self.entries.insert(key, entry)),
                None => drop(self.entries.remove(&key)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_log_gives_the_map_back_and_stays_short() {
        let mut memory: Memory<u64> = Memory::default();
        let mut store: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
        for round in 0..3_000_u64 {
            for key in 0..10 {
                *memory.change(&format!("key {key}")) = round * 10 + key;
            }
            memory.change(&format!("old {round}"));
            memory.retain(|value| *value > 0 || round < 5);
            let mut writes = vec![];
            memory.take_state("owner", &mut writes).unwrap();
            for write in writes {
                match write.value {
                    Some(value) => drop(store.insert(write.key, value)),
                    None => assert!(store.remove(&write.key).is_some()),
                }
            }
        }
        let mut again: Memory<u64> = Memory::default();
        for (key, value) in &store {
            again.restore(*key, value).unwrap();
        }
        assert_eq!(again.entries, memory.entries);
        assert!(again.pieces.logged < 10_000, "{:?}", again.pieces);
        assert_eq!(again.pieces, memory.pieces);
    }
}
