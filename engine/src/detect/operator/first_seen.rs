//! First-seen rules: a row is a match if its terms did not occur in the history before it.

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, UInt32Array};

use super::keyed::{ByKey, Standing};
use super::matching::{self, Remember};
use super::{EventPlan, Operator, Scope};
use crate::detect::history::History;
use crate::detect::terms::{Runs, Stretched, Stretches};
use crate::rule::NewTerms;
use crate::store::StateWrite;
use crate::watermark::Watermark;
use crate::{Error, Result};

/// Part of the state that holds the history.
const HISTORY: &str = "history";
/// The same, as an earlier version wrote it.
const EARLIER: &str = "memory";
const SEEN: &str = "seen";

#[derive(Debug)]
pub struct FirstSeenOperator {
    plan: EventPlan,
    memory: Seen,
}

/// What a first-seen rule remembers.
#[derive(Debug)]
struct Seen {
    terms: NewTerms,
    history: History,
    /// Pieces of an earlier version in the store, which were taken over.
    earlier: Vec<i64>,
    /// When the rule saw rows.
    stretches: Stretches,
    stretches_written: bool,
    /// Clock at which the history is looked through next for what is over.
    forget_at: i64,
}

impl FirstSeenOperator {
    pub fn new(plan: EventPlan, terms: NewTerms) -> Self {
        Self {
            plan,
            memory: Seen::new(terms),
        }
    }
}

impl Seen {
    fn new(terms: NewTerms) -> Self {
        Self {
            terms,
            history: History::default(),
            earlier: vec![],
            stretches: Stretches::default(),
            stretches_written: true,
            forget_at: i64::MIN,
        }
    }

    fn note_stretches(&mut self, ats: &[(i64, &str)], scope: &mut Scope<'_>) {
        for (time, _) in ats {
            match self.stretches.note(*time, self.terms.history) {
                Stretched::Nothing => {}
                Stretched::Longer => self.stretches_written = false,
                Stretched::Moved => {
                    self.stretches_written = false;
                    scope.timelines.refold();
                }
            }
        }
    }

    fn checkpoint(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        self.history
            .take_state(&format!("{owner}/{HISTORY}"), writes);
        writes.extend(self.earlier.drain(..).map(|key| StateWrite {
            owner: format!("{owner}/{EARLIER}"),
            key,
            value: None,
        }));
        if !self.stretches_written {
            self.stretches_written = true;
            let json = serde_json::to_vec(&self.stretches);
            let json = json.map_err(|e| Error::Other(e.to_string()))?;
            writes.push(StateWrite {
                owner: format!("{owner}/{SEEN}"),
                key: 0,
                value: Some(json).filter(|_| self.stretches != Stretches::default()),
            });
        }
        Ok(())
    }

    fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        match part {
            HISTORY => self.history.restore(key, value)?,
            EARLIER => {
                type Entries = Vec<(String, Option<Runs>)>;
                let entries: Entries = serde_json::from_slice(value).map_err(|e| e.to_string())?;
                for (what, runs) in entries {
                    let runs = runs.unwrap_or_default();
                    self.history.put_back(&what, runs.all());
                }
                self.earlier.push(key);
            }
            SEEN => {
                self.stretches = serde_json::from_slice(value).map_err(|e| e.to_string())?;
            }
            other => return Err(format!("unknown part `{other}`")),
        }
        Ok(())
    }
}

impl Remember for Seen {
    fn remember(
        &mut self,
        keys: &RecordBatch,
        ats: &[(i64, &str)],
        scope: &mut Scope<'_>,
    ) -> Vec<usize> {
        self.note_stretches(ats, scope);
        let rows = ByKey::new(scope.rule, keys, ats);
        let gap = self.terms.history;
        // What nobody will be told of, if no row comes later than rows amend, is not kept. Of rules over alerts it is, as
        // an alert can become certain, or be taken back, long after its time.
        let (from, over_alerts) = (scope.horizon(), scope.over_alerts);
        let (stretches, warmup) = (&self.stretches, self.terms.warmup);
        let is_silent =
            |time| !over_alerts && stretches.is_silent_for_good(time, from, gap, warmup);
        let mut standing = Standing::default();
        let mut key = String::new();
        for run in rows.runs(gap) {
            let (first, last) = (run[0], run[run.len() - 1]);
            rows.key(first.2, &mut key);
            let home = || rows.home(first.2);
            let kept = !is_silent(first.1.0);
            let change = self.history.note(&key, first.1, last.1.0, home, gap, kept);
            standing.apply(change, first.2, &rows, scope);
        }
        let (silent, told): (Vec<usize>, Vec<usize>) = standing
            .rows()
            .into_iter()
            .partition(|index| is_silent(ats[*index].0));
        let health = &mut scope.health;
        health.matches += silent.len() as u64;
        health.last_match = health
            .last_match
            .max(silent.iter().map(|i| ats[*i].0).max());
        told
    }
}

#[async_trait]
impl Operator for FirstSeenOperator {
    async fn take(
        &mut self,
        events: &RecordBatch,
        rows: &[UInt32Array],
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        matching::take(&self.plan, events, rows, Some(&mut self.memory), scope).await
    }

    async fn advance(
        &mut self,
        watermark: Watermark,
        _newest: i64,
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        let memory = &mut self.memory;
        if watermark == Watermark::Ended {
            return Ok(());
        }
        // An alert becomes certain, or is taken back, at any time after its own.
        if !scope.over_alerts {
            memory.history.settle(scope.horizon());
        }
        if scope.clock >= memory.forget_at {
            let gap = memory.terms.history;
            memory.forget_at = scope.clock.saturating_add(gap / 8);
            memory.history.forget(scope.horizon(), gap);
        }
        Ok(())
    }

    fn checkpoint(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        self.memory.checkpoint(owner, writes)
    }

    fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        self.memory.restore(part, key, value)
    }

    fn bytes(&self) -> usize {
        self.memory.history.bytes()
    }

    fn clear(&mut self) {
        self.memory.history.clear();
        self.memory.stretches = Stretches::default();
        self.memory.stretches_written = false;
    }

    fn warmups(&self) -> Vec<(i64, i64)> {
        self.memory.stretches.warmups(self.memory.terms.warmup)
    }

    fn learning_to(&self, clock: i64) -> Option<i64> {
        let Seen {
            stretches, terms, ..
        } = &self.memory;
        stretches.learning_to(clock, terms.warmup)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::detect::memory::Memory;
    use crate::detect::terms::Run;

    const TERMS: NewTerms = NewTerms {
        fields: vec![],
        history: 5,
        warmup: 0,
    };

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
        let mut seen = Seen::new(TERMS);
        for ((_, key), value) in keep(writes) {
            seen.restore("memory", key, &value).unwrap();
        }
        let mut writes = vec![];
        seen.checkpoint("rule", &mut writes).unwrap();
        let stored = keep(writes);
        assert!(
            stored.keys().all(|(owner, _)| owner == "rule/history"),
            "{stored:?}"
        );
        let mut again = Seen::new(TERMS);
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
