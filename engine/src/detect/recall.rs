//! What a rule remembers beside its matches, by key.

use crate::Result;
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

    /// Whether occurrences of a key change nothing, by their first and last.
    pub fn holds(&self, what: &str, first: (i64, &str), last: (i64, &str)) -> bool {
        match self {
            Self::Terms(memory) | Self::Signs(memory) => {
                memory.get(what).is_some_and(|runs| runs.holds(first, last))
            }
            Self::Nothing | Self::Pairs(_) => false,
        }
    }

    /// Takes in occurrences of a key that change nothing but how far it reaches; false if they may change more.
    pub fn reach(
        &mut self,
        rule: &Rule,
        what: &str,
        first: (i64, &str),
        last: (i64, &str),
    ) -> bool {
        match self {
            Self::Terms(memory)
                if memory
                    .get(what)
                    .is_some_and(|runs| runs.go_on(first, gap(rule))) =>
            {
                memory.change(what).reach(last);
                true
            }
            _ => false,
        }
    }

    /// Takes in occurrences of a key that follow each other by no more than the gap: what that changes among the
    /// matches. The new match, if there is one, is [`the run's first or last`](Self::matches_first).
    pub fn note(&mut self, rule: &Rule, what: &str, run: Run) -> Change {
        let gap = gap(rule);
        match self {
            Self::Terms(memory) => memory.change(what).note_first(run, gap),
            Self::Signs(memory) => memory.change(what).note_last(run, gap),
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
