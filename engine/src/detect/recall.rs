//! What a rule remembers beside its matches, by key.

use crate::Result;
use crate::detect::history::History;
use crate::detect::memory::Memory;
use crate::detect::terms::{At, Change, Pairs, Run, Runs};
use crate::rule::Rule;
use crate::store::StateWrite;

/// Stand-in for the memory of one remembered key.
const KEY_BYTES: usize = 384;

#[derive(Debug)]
pub enum Recall {
    Nothing,
    /// First-seen.
    Terms(Terms),
    /// Absence: signs of life.
    Signs(Memory<Runs>),
    /// Absence: calls that want an answer.
    Pairs(Memory<Pairs>),
}

/// What a first-seen rule remembers.
#[derive(Debug, Default)]
pub struct Terms {
    history: History,
    /// Pieces of an earlier version in the store, which were taken over.
    earlier: Vec<i64>,
}

impl Recall {
    pub fn new(rule: &Rule) -> Self {
        match (&rule.new_terms, &rule.absence) {
            (Some(_), _) => Self::Terms(Terms::default()),
            (None, Some(absence)) if absence.pair.is_some() => Self::Pairs(Memory::default()),
            (None, Some(_)) => Self::Signs(Memory::default()),
            (None, None) => Self::Nothing,
        }
    }

    /// Takes in occurrences of a key that follow each other by no more than the gap, by the first and the last of them: what
    /// that changes among the matches. `home` gives the key of the alert of one of these two. The new match, if there is one, is
    /// [`the first or the last`](Self::matches_first); one that nobody will be told of need not be `kept` by name.
    pub fn note(
        &mut self,
        rule: &Rule,
        what: &str,
        ends: [(i64, &str); 2],
        home: impl Fn(usize) -> String,
        kept: bool,
    ) -> Change {
        let gap = gap(rule);
        let [first, last] = ends;
        match self {
            Self::Terms(terms) => terms
                .history
                .note(what, first, last.0, || home(0), gap, kept),
            Self::Signs(memory) => {
                let known = memory.get(what);
                if known.is_some_and(|runs| runs.holds(first, last)) {
                    return Change::default();
                }
                let owned = |(time, uid): (i64, &str)| (time, uid.to_owned());
                let run = Run {
                    first: owned(first),
                    last: owned(last),
                    first_home: home(0),
                    last_home: home(1),
                };
                memory.change(what).note_last(run, gap)
            }
            Self::Nothing | Self::Pairs(_) => Change::default(),
        }
    }

    /// Whether a match is the first occurrence of a run, or the last.
    pub fn matches_first(&self) -> bool {
        !matches!(self, Self::Signs(_))
    }

    /// Takes in an answer, a call, or an event that is both.
    pub fn note_pair(
        &mut self,
        rule: &Rule,
        what: &str,
        home: &str,
        at: &At,
        is: [bool; 2],
    ) -> Change {
        let mut change = Change::default();
        let Self::Pairs(memory) = self else {
            return change;
        };
        let [answer, call] = is;
        if answer {
            change = memory.change(what).answer(at.0, gap(rule));
        }
        if call {
            let call = memory.change(what).call(at.clone(), home, gap(rule));
            change.matches = call.matches;
        }
        change
    }

    /// Until when a match waits to be certain, from its event on, µs.
    pub fn wait(&self, rule: &Rule) -> i64 {
        match self {
            Self::Nothing | Self::Terms(_) => 1,
            Self::Signs(_) | Self::Pairs(_) => gap(rule).saturating_add(1),
        }
    }

    /// Rows come from `from` on: earlier matches stay as they are.
    pub fn settle(&mut self, from: i64) {
        if let Self::Terms(terms) = self {
            terms.history.settle(from);
        }
    }

    /// Drops what rows at or after `from` cannot reach.
    pub fn forget(&mut self, rule: &Rule, from: i64) {
        let gap = gap(rule);
        match self {
            Self::Nothing => {}
            Self::Terms(terms) => terms.history.forget(from, gap),
            Self::Signs(memory) => memory.retain(|runs| runs.forget(from, gap)),
            Self::Pairs(memory) => memory.retain(|pairs| pairs.forget(from, gap)),
        }
    }

    /// Lets go of everything, also in the store.
    pub fn clear(&mut self) {
        match self {
            Self::Nothing => {}
            Self::Terms(terms) => terms.history.clear(),
            Self::Signs(memory) => memory.clear(),
            Self::Pairs(memory) => memory.clear(),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Terms(terms) => terms.history.bytes(),
            Self::Signs(memory) => memory.len() * KEY_BYTES,
            Self::Pairs(memory) => memory.len() * KEY_BYTES,
        }
    }

    /// Pieces that changed since the last call.
    pub fn take_state(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        let memory = format!("{owner}/memory");
        match self {
            Self::Nothing => Ok(()),
            Self::Terms(terms) => {
                terms
                    .history
                    .take_state(&format!("{owner}/{HISTORY}"), writes);
                writes.extend(terms.earlier.drain(..).map(|key| StateWrite {
                    owner: memory.clone(),
                    key,
                    value: None,
                }));
                Ok(())
            }
            Self::Signs(signs) => signs.take_state(&memory, writes),
            Self::Pairs(pairs) => pairs.take_state(&memory, writes),
        }
    }

    /// Puts back one piece of [`take_state`](Self::take_state); `part` is what follows the owner.
    pub fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        match (self, part) {
            (Self::Terms(terms), HISTORY) => terms.history.restore(key, value),
            (Self::Terms(terms), _) => {
                type Entries = Vec<(String, Option<Runs>)>;
                let entries: Entries = serde_json::from_slice(value).map_err(|e| e.to_string())?;
                for (what, runs) in entries {
                    let runs = runs.unwrap_or_default();
                    terms.history.put_back(&what, runs.all());
                }
                terms.earlier.push(key);
                Ok(())
            }
            (Self::Signs(memory), "memory") => memory.restore(key, value),
            (Self::Pairs(memory), "memory") => memory.restore(key, value),
            _ => Err(format!("the rule remembers nothing as `{part}`")),
        }
    }
}

/// Part of the state that holds the memory of a first-seen rule.
pub const HISTORY: &str = "history";

/// How far apart two rows of a key may lie and still concern each other, µs.
pub fn gap(rule: &Rule) -> i64 {
    match (&rule.new_terms, &rule.absence) {
        (Some(terms), _) => terms.history,
        (None, Some(absence)) => absence.within,
        (None, None) => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(time: i64) -> Run {
        let at = (time, format!("u{time}"));
        Run {
            first: at.clone(),
            last: at,
            first_home: "home".into(),
            last_home: "home".into(),
        }
    }

    /// What first-seen rules stored before there was a history: a log of runs by text, in which later entries count.
    #[test]
    fn what_an_earlier_version_remembered_is_taken_over() {
        let mut earlier: Memory<Runs> = Memory::default();
        let mut writes = vec![];
        for (key, time) in [("a", 10), ("b", 20), ("c", 30), ("a", 12)] {
            earlier.change(key).note_last(run(time), 5);
            earlier.take_state("rule/memory", &mut writes).unwrap();
        }
        earlier.retain(|runs| runs.forget(30, 5));
        earlier.change("c");
        earlier.take_state("rule/memory", &mut writes).unwrap();
        let mut store: BTreeMap<(String, i64), Vec<u8>> = BTreeMap::new();
        let mut keep = |writes: Vec<StateWrite>| {
            for StateWrite { owner, key, value } in writes {
                match value {
                    Some(value) => drop(store.insert((owner, key), value)),
                    None => assert!(store.remove(&(owner, key)).is_some()),
                }
            }
            store.clone()
        };
        let mut recall = Recall::Terms(Terms::default());
        for ((_, key), value) in keep(writes) {
            recall.restore("memory", key, &value).unwrap();
        }
        let mut writes = vec![];
        recall.take_state("rule", &mut writes).unwrap();
        let stored = keep(writes);
        assert!(
            stored.keys().all(|(owner, _)| owner == "rule/history"),
            "{stored:?}"
        );
        let mut again = Terms::default();
        for ((_, key), value) in stored {
            again.history.restore(key, &value).unwrap();
        }
        let mut matches = |key: &str, time: i64| {
            let noted = again
                .history
                .note(key, (time, "u"), time, String::new, 5, true);
            noted.matches
        };
        assert!(!matches("c", 33), "it was seen");
        assert!(matches("b", 33) && matches("a", 33), "they were forgotten");
    }
}
