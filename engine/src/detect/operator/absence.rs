//! Absence rules: a row is a match if what should follow it does not come in time.

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use serde_json::Value;

use super::keyed::{ByKey, Standing};
use super::matching::{self, Remember};
use super::{EventPlan, Operator, Scope};
use crate::Result;
use crate::detect::memory::Memory;
use crate::detect::row;
use crate::detect::terms::{Change, Pairs, Run, Runs};
use crate::rule::{Absence, Pair};
use crate::store::StateWrite;
use crate::watermark::Watermark;

/// Part of the state that holds what is remembered.
const MEMORY: &str = "memory";
/// Stand-in for the memory of one remembered key.
const KEY_BYTES: usize = 384;

#[derive(Debug)]
pub struct AbsenceOperator {
    plan: EventPlan,
    memory: Waiting,
    /// Clock at which what is remembered is looked through next for what is over.
    forget_at: i64,
}

/// What waits for something to follow.
#[derive(Debug)]
struct Waiting {
    /// µs in which it has to come.
    within: i64,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// Every row is a sign of life; a match is the last one before a silence.
    Signs(Memory<Runs>),
    /// A match is a call without its answer.
    Calls(Memory<Pairs>, Pair),
}

impl AbsenceOperator {
    pub fn new(plan: EventPlan, absence: Absence) -> Self {
        let seen = match absence.pair {
            Some(pair) => Seen::Calls(Memory::default(), pair),
            None => Seen::Signs(Memory::default()),
        };
        Self {
            plan,
            memory: Waiting {
                within: absence.within,
                seen,
            },
            forget_at: i64::MIN,
        }
    }
}

impl Remember for Waiting {
    fn remember(
        &mut self,
        keys: &RecordBatch,
        ats: &[(i64, &str)],
        scope: &mut Scope<'_>,
    ) -> Vec<usize> {
        let rows = ByKey::new(scope.rule, keys, ats);
        let mut standing = Standing::default();
        let within = self.within;
        match &mut self.seen {
            Seen::Signs(seen) => note_signs(seen, within, &rows, &mut standing, scope),
            Seen::Calls(seen, pair) => {
                let columns = [&pair.of, &pair.after].map(|name| keys.column_by_name(name));
                note_calls(seen, within, columns, &rows, &mut standing, scope);
            }
        }
        standing.rows()
    }
}

fn note_signs(
    seen: &mut Memory<Runs>,
    within: i64,
    rows: &ByKey<'_>,
    standing: &mut Standing,
    scope: &mut Scope<'_>,
) {
    let mut key = String::new();
    for run in rows.runs(within) {
        let (first, last) = (run[0], run[run.len() - 1]);
        rows.key(first.2, &mut key);
        if seen
            .get(&key)
            .is_some_and(|runs| runs.holds(first.1, last.1))
        {
            continue;
        }
        let owned = |(time, uid): (i64, &str)| (time, uid.to_owned());
        let run = Run {
            first: owned(first.1),
            last: owned(last.1),
            first_home: rows.home(first.2),
            last_home: rows.home(last.2),
        };
        let change = seen.change(&key).note_last(run, within);
        standing.apply(change, last.2, rows, scope);
    }
}

/// `columns`: whether a row is an answer, and whether it is a call. One can be both.
fn note_calls(
    seen: &mut Memory<Pairs>,
    within: i64,
    columns: [Option<&ArrayRef>; 2],
    rows: &ByKey<'_>,
    standing: &mut Standing,
    scope: &mut Scope<'_>,
) {
    let mut key = String::new();
    for &(_, (time, uid), row) in rows.rows() {
        let [answer, call] = columns.map(|column| is_true(column, row));
        rows.key(row, &mut key);
        let mut change = Change::default();
        if answer {
            change = seen.change(&key).answer(time, within);
        }
        if call {
            let at = (time, uid.to_owned());
            let call = seen.change(&key).call(at, &rows.home(row), within);
            change.matches = call.matches;
        }
        standing.apply(change, row, rows, scope);
    }
}

fn is_true(column: Option<&ArrayRef>, row: usize) -> bool {
    column.is_some_and(|column| row::value(column, row) == Value::Bool(true))
}

#[async_trait]
impl Operator for AbsenceOperator {
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
        _watermark: Watermark,
        _newest: i64,
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        if scope.clock < self.forget_at {
            return Ok(());
        }
        let within = self.memory.within;
        self.forget_at = scope.clock.saturating_add(within / 8);
        let from = scope.horizon();
        match &mut self.memory.seen {
            Seen::Signs(seen) => seen.retain(|runs| runs.forget(from, within)),
            Seen::Calls(seen, _) => seen.retain(|pairs| pairs.forget(from, within)),
        }
        Ok(())
    }

    fn checkpoint(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        let owner = format!("{owner}/{MEMORY}");
        match &mut self.memory.seen {
            Seen::Signs(seen) => seen.take_state(&owner, writes),
            Seen::Calls(seen, _) => seen.take_state(&owner, writes),
        }
    }

    fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        match (&mut self.memory.seen, part) {
            (Seen::Signs(seen), MEMORY) => seen.restore(key, value),
            (Seen::Calls(seen, _), MEMORY) => seen.restore(key, value),
            (_, other) => Err(format!("unknown part `{other}`")),
        }
    }

    fn bytes(&self) -> usize {
        let keys = match &self.memory.seen {
            Seen::Signs(seen) => seen.len(),
            Seen::Calls(seen, _) => seen.len(),
        };
        keys * KEY_BYTES
    }

    fn clear(&mut self) {
        match &mut self.memory.seen {
            Seen::Signs(seen) => seen.clear(),
            Seen::Calls(seen, _) => seen.clear(),
        }
    }
}
