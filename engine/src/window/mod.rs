//! State of one window rule: what its panes keep, evidence per key and pane, and the answers of windows.
//!
//! Invariants: a pane holds what came of the rows of `[start, start + pane)` and nothing else; a window whose
//! panes changed since it was last answered is stale, and no other is; a pane stays until the last window
//! that holds it lies further behind the watermark than late rows are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::execution::TaskContext;
use hashbrown::HashSet;

use self::evidence::{KeyEvidence, PaneKeys};
use self::keys::with_keys;
use self::pane::Pane;
use self::tallies::Tallies;
use crate::Result;
use crate::plan::{self, WindowPlan};
use crate::rule::Window;
use crate::time::{first_window_end, floor, last_window_start, pane_size};
use crate::watermark::Watermark;

mod evidence;
mod keys;
mod pane;
mod piece;
mod stored;
mod tallies;
mod uid;

pub use self::evidence::PANE_EVIDENCE;
pub(crate) use self::pane::compact;

/// Batches of states in a pane before they are merged into one.
const MERGE_AT: usize = 16;
/// Some of what a pane holds, as it is stored.
#[derive(Debug)]
pub struct Piece {
    pub pane: i64,
    pub number: i64,
    pub value: Option<Vec<u8>>,
}

/// The rows of one window that satisfy the rule.
#[derive(Debug)]
pub struct Answer {
    pub start: i64,
    pub end: i64,
    pub rows: RecordBatch,
}

#[derive(Debug)]
pub struct WindowState {
    pub window: Window,
    pane: i64,
    plan: WindowPlan,
    /// How far behind the watermark a window may end and still be answered anew, µs.
    amend: i64,
    panes: BTreeMap<i64, Pane>,
    bytes: usize,
    /// Every window that ends at or before this is final.
    closed_to: i64,
    closed_written: i64,
    /// Ends of windows whose panes changed since they were answered.
    stale: BTreeSet<i64>,
    dirty: BTreeSet<i64>,
    /// (pane, piece): what the store has and should not.
    removed: Vec<(i64, i64)>,
}

/// Windows answered by one call of [`WindowState::answer`], so that their answers do not pile up.
const ANSWERS: usize = 64;

impl WindowState {
    pub fn new(plan: WindowPlan, window: Window, amend: i64) -> Self {
        Self {
            window,
            pane: pane_size(window),
            plan,
            amend,
            panes: BTreeMap::new(),
            bytes: 0,
            closed_to: i64::MIN,
            closed_written: i64::MIN,
            stale: BTreeSet::new(),
            dirty: BTreeSet::new(),
            removed: vec![],
        }
    }

    pub fn plan(&self) -> &WindowPlan {
        &self.plan
    }

    pub fn state_bytes(&self) -> usize {
        self.bytes
    }

    pub fn panes(&self) -> usize {
        self.panes.len()
    }

    pub fn pane_of(&self, time: i64) -> i64 {
        floor(time, self.pane)
    }

    pub fn pane_size(&self) -> i64 {
        self.pane
    }

    /// Whether a window over this time is final already.
    pub fn is_late(&self, time: i64) -> bool {
        first_window_end(time, self.window) <= self.closed_to
    }

    /// Every window that ends at or before this is final.
    pub fn closed_to(&self) -> i64 {
        self.closed_to
    }

    /// Windows that end at or before this are never answered again.
    pub fn horizon(&self) -> i64 {
        self.closed_to.saturating_sub(self.amend)
    }

    /// Whether a window over this time will never be answered again, and whether all of them will not.
    pub fn is_gone(&self, time: i64) -> (bool, bool) {
        let horizon = self.horizon();
        let first = first_window_end(time, self.window) <= horizon;
        (first, self.last_end(time) <= horizon)
    }

    /// End of the last window that holds this time.
    fn last_end(&self, time: i64) -> i64 {
        last_window_start(time, self.window).saturating_add(self.window.size)
    }

    /// What panes keep of rows of one input. `rows` is in the schema of the input's leaf, `panes` has the pane of each.
    /// Changes nothing.
    pub fn reduce(
        &self,
        input: usize,
        rows: RecordBatch,
        panes: Int64Array,
    ) -> Result<Vec<(i64, RecordBatch)>> {
        let input = &self.plan.inputs[input];
        let Some(reduce) = &input.reduce else {
            return split(&rows, &panes);
        };
        let (panes, states) = reduce.run(input.rows.evaluate(rows)?, panes)?;
        split(&states, &panes)
    }

    /// Adds what [`reduce`](Self::reduce) gave to its pane. Cannot fail, so that rows are added once or not at
    /// all; a merge that fails leaves the pane as it was.
    pub fn insert(&mut self, pane: i64, input: usize, rows: RecordBatch) {
        let reduce = &self.plan.inputs[input].reduce;
        let kept = vec![with_keys(&self.plan, rows)];
        let entry = self.panes.entry(pane).or_default();
        let before = entry.bytes;
        entry.keep(input, self.plan.inputs.len(), kept);
        if entry.kept[input].len() > MERGE_AT {
            let from = entry.tail(input, MERGE_AT);
            let tail = entry.kept[input][from..].iter();
            let tail: Vec<RecordBatch> = tail.map(|kept| kept.rows.clone()).collect();
            let merged = match (reduce, tail.as_slice()) {
                (Some(reduce), tail) => reduce.merged.run(tail).ok(),
                (None, [first, ..]) => concat_batches(&first.schema(), &tail).ok(),
                (None, []) => None,
            };
            if let Some(merged) = merged.and_then(|merged| compact(merged).ok()) {
                entry.replace(input, from, vec![with_keys(&self.plan, merged)]);
            }
        }
        self.bytes = self.bytes + entry.bytes - before;
        self.dirty.insert(pane);
        self.mark_stale(pane, self.horizon());
    }

    /// Marks the windows that hold a pane and end after `after`.
    fn mark_stale(&mut self, pane: i64, after: i64) {
        let last = self.last_end(pane);
        let mut end = first_window_end(pane, self.window);
        while end <= last {
            if end > after {
                self.stale.insert(end);
            }
            end += self.window.slide;
        }
    }

    /// Lets keys be added to a pane.
    pub fn add_keys(&mut self, pane: i64, add: impl FnOnce(&mut PaneKeys)) {
        let entry = self.panes.entry(pane).or_default();
        let before = entry.keys.bytes;
        add(&mut entry.keys);
        entry.bytes = entry.bytes + entry.keys.bytes - before;
        self.bytes = self.bytes + entry.keys.bytes - before;
    }

    /// Evidence of a key in `[from, to)`, by pane.
    pub fn evidence(&self, key: &str, from: i64, to: i64) -> Vec<(i64, &KeyEvidence)> {
        let panes = self.panes.range(from..to.max(from));
        panes
            .filter_map(|(start, pane)| Some((*start, pane.keys.evidence(key)?)))
            .collect()
    }

    /// Answers stale windows that end at or before `to`, in order of their ends, some at a time: call it until
    /// it gives none. A window that fails is left out by the next call. A window without a row that satisfies the rule gives its end alone.
    pub async fn answer(
        &mut self,
        to: i64,
        ctx: &Arc<TaskContext>,
    ) -> Result<Vec<(i64, Option<Answer>)>> {
        let mut answers = vec![];
        let mut tallies = Tallies::default();
        let sparing = !self.plan.need.is_nothing();
        while let Some(end) = self.stale.first().copied().filter(|end| *end <= to) {
            self.stale.remove(&end);
            let start = end - self.window.size;
            if sparing {
                tallies.slide(&self.panes, start, end, &self.plan.need);
            }
            let answer = match tallies.enough.is_empty() && sparing {
                true => Ok(None),
                false => {
                    let keys = sparing.then_some(&tallies.enough);
                    self.finish(start, end, keys, ctx).await
                }
            };
            match answer {
                Ok(answer) => answers.push((end, answer)),
                // What was answered before it is not lost; the next call fails, and the one after goes on.
                Err(_) if !answers.is_empty() => {
                    self.stale.insert(end);
                    break;
                }
                Err(error) => return Err(error),
            }
            if answers.len() >= ANSWERS {
                break;
            }
        }
        Ok(answers)
    }

    /// The answer of a window; of some keys alone if they are given.
    async fn finish(
        &self,
        start: i64,
        end: i64,
        keys: Option<&HashSet<u64>>,
        ctx: &Arc<TaskContext>,
    ) -> Result<Option<Answer>> {
        let mut leaves = vec![vec![]; self.plan.inputs.len()];
        for (_, pane) in self.panes.range(start..end) {
            for (leaf, kept) in leaves.iter_mut().zip(&pane.kept) {
                for kept in kept {
                    leaf.extend(kept.of(keys)?);
                }
            }
        }
        if leaves.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let rows = plan::run(&self.plan.finish, leaves, ctx).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(&self.plan.finish.schema(), &rows)?;
        Ok(Some(Answer { start, end, rows }))
    }

    /// Every window that ends at or before the watermark is final now. What no window can need any more goes.
    pub fn close(&mut self, watermark: Watermark, newest: i64) {
        let to = match watermark {
            // Time has ended with the newest event; more may come in another run.
            Watermark::Ended if newest == i64::MIN => self.closed_to,
            Watermark::Ended => self.last_end(self.pane_of(newest)),
            Watermark::At(to) => to,
        };
        self.closed_to = self.closed_to.max(to);
        let horizon = self.horizon();
        self.stale = self.stale.split_off(&horizon.saturating_add(1));
        while let Some((&start, pane)) = self.panes.first_key_value() {
            if self.last_end(start) > horizon {
                break;
            }
            self.bytes -= pane.bytes;
            self.removed
                .extend(pane.all_pieces().map(|piece| (start, piece)));
            self.panes.remove(&start);
            self.dirty.remove(&start);
        }
    }

    /// Lets go of a pane. Windows that hold it are answered anew.
    pub fn empty(&mut self, pane: i64) {
        if let Some(gone) = self.panes.remove(&pane) {
            self.bytes -= gone.bytes;
            self.removed
                .extend(gone.all_pieces().map(|piece| (pane, piece)));
            self.dirty.remove(&pane);
            self.mark_stale(pane, self.horizon());
        }
    }

    /// Lets go of everything, also in the store.
    pub fn clear(&mut self) {
        for (start, pane) in std::mem::take(&mut self.panes) {
            self.removed
                .extend(pane.all_pieces().map(|piece| (start, piece)));
        }
        self.dirty.clear();
        self.stale.clear();
        self.bytes = 0;
    }

    /// Takes late rows no longer, to save memory.
    pub fn amend_no_more(&mut self) {
        self.amend = 0;
        self.close(Watermark::At(self.closed_to), i64::MIN);
    }

    /// End of the first window that holds the newest event. Those that end later hold less of what there is: until
    /// there is more, they have nothing to tell that this one does not.
    pub fn newest_end(&self, newest: i64) -> i64 {
        let own = self.panes.last_key_value();
        own.map_or(i64::MIN, |(pane, _)| {
            first_window_end(newest.max(*pane), self.window)
        })
    }

    /// Whether windows wait to be answered that end at or before `to`.
    pub fn is_stale(&self, to: i64) -> bool {
        self.stale.first().is_some_and(|end| *end <= to)
    }
}

/// The rows of each pane, in memory of their own.
fn split(rows: &RecordBatch, panes: &Int64Array) -> Result<Vec<(i64, RecordBatch)>> {
    let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, pane) in (0..).zip(panes.values()) {
        by_pane.entry(*pane).or_default().push(row);
    }
    let one = |(pane, at): (i64, Vec<u32>)| {
        let rows = match at.len() == rows.num_rows() {
            true => rows.clone(),
            false => take_record_batch(rows, &UInt32Array::from(at))?,
        };
        Ok((pane, compact(rows)?))
    };
    by_pane.into_iter().map(one).collect()
}
