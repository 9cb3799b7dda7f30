//! What a rule remembers beside its matches, by key.

use serde_json::Value;

use crate::Result;
use crate::detect::memory::Memory;
use crate::detect::row::Row;
use crate::detect::terms::{At, Change, Pairs, Runs};
use crate::rule::Rule;
use crate::store::StateWrite;

/// Stand-in for the memory of one remembered key.
const KEY_BYTES: usize = 384;

#[derive(Debug)]
pub enum Recall {
    Nothing,
    /// First-seen.
    Terms(Memory<Runs>),
    /// Absence: signs of life.
    Signs(Memory<Runs>),
    /// Absence: calls that want an answer.
    Pairs(Memory<Pairs>),
}

impl Recall {
    pub fn new(rule: &Rule) -> Self {
        match (&rule.new_terms, &rule.absence) {
            (Some(_), _) => Self::Terms(Memory::default()),
            (None, Some(absence)) if absence.pair.is_some() => Self::Pairs(Memory::default()),
            (None, Some(_)) => Self::Signs(Memory::default()),
            (None, None) => Self::Nothing,
        }
    }

    /// Takes a row in: what it changes among the matches, and when its own match is certain. `what` is the key
    /// remembered, `home` the key of the alert.
    pub fn note(
        &mut self,
        rule: &Rule,
        what: &str,
        home: &str,
        at: &At,
        row: Row,
    ) -> (Change, i64) {
        let gap = gap(rule);
        let now = at.0.saturating_add(1);
        let later = now.saturating_add(gap);
        match self {
            Self::Nothing => {
                let change = Change {
                    matches: true,
                    gone: vec![],
                };
                (change, now)
            }
            Self::Terms(memory) => {
                let runs = memory.change(what);
                (runs.note_first(at.clone(), home, gap), now)
            }
            Self::Signs(memory) => {
                let runs = memory.change(what);
                (runs.note_last(at.clone(), home, gap), later)
            }
            Self::Pairs(memory) => {
                let mut change = Change::default();
                let pair = rule.absence.as_ref().and_then(|a| a.pair.as_ref());
                if let Some(pair) = pair {
                    let is = |column: &str| row.get(column) == Some(Value::Bool(true));
                    if is(&pair.of) {
                        change = memory.change(what).answer(at.0, gap);
                    }
                    if is(&pair.after) {
                        let call = memory.change(what).call(at.clone(), home, gap);
                        change.matches = call.matches;
                    }
                }
                (change, later)
            }
        }
    }

    /// Drops what rows at or after `from` cannot reach.
    pub fn forget(&mut self, rule: &Rule, from: i64) {
        let gap = gap(rule);
        match self {
            Self::Nothing => {}
            Self::Terms(memory) | Self::Signs(memory) => {
                memory.retain(|runs| runs.forget(from, gap));
            }
            Self::Pairs(memory) => memory.retain(|pairs| pairs.forget(from, gap)),
        }
    }

    /// Lets go of everything, also in the store.
    pub fn clear(&mut self) {
        match self {
            Self::Nothing => {}
            Self::Terms(memory) | Self::Signs(memory) => memory.clear(),
            Self::Pairs(memory) => memory.clear(),
        }
    }

    pub fn bytes(&self) -> usize {
        let keys = match self {
            Self::Nothing => 0,
            Self::Terms(memory) | Self::Signs(memory) => memory.len(),
            Self::Pairs(memory) => memory.len(),
        };
        keys * KEY_BYTES
    }

    /// Pieces that changed since the last call.
    pub fn take_state(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Terms(memory) | Self::Signs(memory) => memory.take_state(owner, writes),
            Self::Pairs(memory) => memory.take_state(owner, writes),
        }
    }

    /// Puts back one piece of [`take_state`](Self::take_state).
    pub fn restore(&mut self, key: i64, value: &[u8]) -> Result<(), String> {
        match self {
            Self::Nothing => Err("the rule remembers nothing".into()),
            Self::Terms(memory) | Self::Signs(memory) => memory.restore(key, value),
            Self::Pairs(memory) => memory.restore(key, value),
        }
    }
}

/// How far apart two rows of a key may lie and still concern each other, µs.
pub fn gap(rule: &Rule) -> i64 {
    match (&rule.new_terms, &rule.absence) {
        (Some(terms), _) => terms.history,
        (None, Some(absence)) => absence.within,
        (None, None) => 0,
    }
}
