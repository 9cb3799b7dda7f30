//! State of one window rule: partial aggregates and evidence per pane, and the answer when a window closes.
//!
//! Invariants: a pane holds the rows of `[start, start + pane)` and nothing else; a window is answered exactly
//! once as final, in order of its end; panes that no later window can need are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::TaskContext;
use hashbrown::HashMap;

use crate::alert::Evidence;
use crate::plan::{self, WindowPlan};
use crate::rule::Window;
use crate::time::{first_window_end, floor, last_window_start, pane_size};
use crate::{Error, Result};

/// Batches of states in a pane before they are merged into one.
const MERGE_AT: usize = 16;
/// Evidence kept per key and pane: the earliest ones, so that what is kept does not depend on arrival.
pub const PANE_EVIDENCE: usize = 16;

/// What one key did in one pane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyEvidence {
    pub count: u64,
    pub first: i64,
    pub last: i64,
    /// Earliest [`PANE_EVIDENCE`] events, ascending.
    pub events: Vec<Evidence>,
}

impl KeyEvidence {
    pub fn add(&mut self, time: i64, event_uid: &str) {
        self.first = if self.count == 0 {
            time
        } else {
            self.first.min(time)
        };
        self.last = if self.count == 0 {
            time
        } else {
            self.last.max(time)
        };
        self.count += 1;
        let full = self.events.len() == PANE_EVIDENCE;
        let behind = |e: &Evidence| (e.time, e.event_uid.as_str()) < (time, event_uid);
        if full && self.events.last().is_some_and(behind) {
            return;
        }
        let place = self.events.partition_point(behind);
        self.events.insert(
            place,
            Evidence {
                time,
                event_uid: event_uid.to_owned(),
            },
        );
        self.events.truncate(PANE_EVIDENCE);
    }
}

#[derive(Debug, Default)]
struct Pane {
    states: Vec<RecordBatch>,
    evidence: HashMap<String, KeyEvidence>,
    bytes: usize,
}

/// Rows of every key in a window that moves forward: most windows hold no key with as many rows as HAVING
/// asks for, and need no answer computed.
#[derive(Debug, Default)]
struct RowsPerKey {
    from: i64,
    to: i64,
    rows: HashMap<String, u64>,
    /// Keys that have as many rows as are needed.
    enough: usize,
}

impl RowsPerKey {
    fn slide(&mut self, panes: &BTreeMap<i64, Pane>, start: i64, end: i64, needed: u64) {
        if start >= self.to || self.rows.is_empty() {
            *self = Self {
                from: start,
                to: start,
                ..Self::default()
            };
        }
        for (_, pane) in panes.range(self.from..start) {
            for (key, evidence) in &pane.evidence {
                if let Some(rows) = self.rows.get_mut(key) {
                    let before = *rows;
                    *rows = before.saturating_sub(evidence.count);
                    self.enough -= usize::from(before >= needed && *rows < needed);
                    if *rows == 0 {
                        self.rows.remove(key);
                    }
                }
            }
        }
        for (_, pane) in panes.range(self.to..end) {
            for (key, evidence) in &pane.evidence {
                let rows = self.rows.entry_ref(key).or_default();
                let before = *rows;
                *rows += evidence.count;
                self.enough += usize::from(before < needed && *rows >= needed);
            }
        }
        (self.from, self.to) = (start, end);
    }
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
    panes: BTreeMap<i64, Pane>,
    /// Every window that ends at or before this was answered as final.
    closed_to: i64,
    /// The same as the store has it.
    saved_to: i64,
    dirty: BTreeSet<i64>,
    removed: BTreeSet<i64>,
    /// Panes that changed since the last preview.
    unseen: BTreeSet<i64>,
}

impl WindowState {
    pub fn new(plan: WindowPlan, window: Window) -> Self {
        Self {
            window,
            pane: pane_size(window),
            plan,
            panes: BTreeMap::new(),
            closed_to: i64::MIN,
            saved_to: i64::MIN,
            dirty: BTreeSet::new(),
            removed: BTreeSet::new(),
            unseen: BTreeSet::new(),
        }
    }

    pub fn plan(&self) -> &WindowPlan {
        &self.plan
    }

    pub fn state_bytes(&self) -> usize {
        self.panes.values().map(|pane| pane.bytes).sum()
    }

    pub fn pane_of(&self, time: i64) -> i64 {
        floor(time, self.pane)
    }

    /// Whether a window over this time was already answered as final.
    pub fn is_late(&self, time: i64) -> bool {
        first_window_end(time, self.window) <= self.closed_to
    }

    /// Whether no window that is still open holds this time.
    pub fn is_gone(&self, time: i64) -> bool {
        last_window_start(time, self.window).saturating_add(self.window.size) <= self.closed_to
    }

    /// Aggregates rows of one pane. `rows` is in the schema of the plan's leaf. Changes nothing.
    pub async fn partial(
        &self,
        rows: RecordBatch,
        ctx: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        Ok(plan::run(&self.plan.partial, vec![rows], ctx).await?)
    }

    /// Adds what [`partial`](Self::partial) gave to its pane. Cannot fail, so that rows are added once or not
    /// at all; a merge that fails leaves the states as they were.
    pub async fn insert(&mut self, pane: i64, states: Vec<RecordBatch>, ctx: &Arc<TaskContext>) {
        let size = |states: &[RecordBatch]| {
            states
                .iter()
                .map(RecordBatch::get_array_memory_size)
                .sum::<usize>()
        };
        let entry = self.panes.entry(pane).or_default();
        entry.bytes += size(&states);
        entry.states.extend(states);
        if entry.states.len() > MERGE_AT
            && let Ok(merged) = plan::run(&self.plan.merge, entry.states.clone(), ctx).await
        {
            entry.bytes = (entry.bytes + size(&merged)).saturating_sub(size(&entry.states));
            entry.states = merged;
        }
        self.dirty.insert(pane);
        self.removed.remove(&pane);
        self.unseen.insert(pane);
    }

    pub fn add_evidence(&mut self, pane: i64, key: &str, time: i64, event_uid: &str) {
        let entry = self.panes.entry(pane).or_default();
        match entry.evidence.get_mut(key) {
            Some(evidence) => evidence.add(time, event_uid),
            None => {
                entry.bytes += 128 + key.len();
                entry
                    .evidence
                    .entry(key.to_owned())
                    .or_default()
                    .add(time, event_uid);
            }
        }
    }

    /// Evidence of a key in `[from, to)`, by pane.
    pub fn evidence(&self, key: &str, from: i64, to: i64) -> Vec<(i64, KeyEvidence)> {
        let panes = self.panes.range(from..to.max(from));
        panes
            .filter_map(|(start, pane)| Some((*start, pane.evidence.get(key)?.clone())))
            .collect()
    }

    /// Final answers of all windows that the watermark has passed, in order.
    pub async fn close(&mut self, watermark: i64, ctx: &Arc<TaskContext>) -> Result<Vec<Answer>> {
        let mut answers = vec![];
        let mut rows = RowsPerKey::default();
        while let Some(end) = self.next_end(self.closed_to) {
            if end > watermark {
                break;
            }
            let hopeful = self.plan.min_rows <= 1 || {
                rows.slide(&self.panes, end - self.window.size, end, self.plan.min_rows);
                rows.enough > 0
            };
            if hopeful && let Some(answer) = self.answer(end, ctx).await? {
                answers.push(answer);
            }
            self.closed_to = end;
            if answers.len() >= 64 {
                break; // the caller takes these first, so that panes they need are still here
            }
        }
        Ok(answers)
    }

    /// Whether [`close`](Self::close) has more to answer.
    pub fn can_close(&self, watermark: i64) -> bool {
        self.next_end(self.closed_to)
            .is_some_and(|end| end <= watermark)
    }

    /// Drops panes that lie wholly before every open window.
    pub fn drop_closed_panes(&mut self) {
        let needed_from = self
            .closed_to
            .saturating_add(self.window.slide)
            .saturating_sub(self.window.size);
        while let Some((&start, _)) = self.panes.first_key_value() {
            if start >= needed_from {
                break;
            }
            self.panes.remove(&start);
            self.dirty.remove(&start);
            self.unseen.remove(&start);
            self.removed.insert(start);
        }
    }

    /// Answers of the open windows that hold a pane which changed since the last preview, by their end.
    pub async fn preview(&mut self, ctx: &Arc<TaskContext>) -> Result<Vec<(i64, Option<Answer>)>> {
        let mut answers = vec![];
        let mut after = self.closed_to;
        let mut rows = RowsPerKey::default();
        while let Some(end) = self.next_end(after) {
            let start = end - self.window.size;
            if self.unseen.range(start..end).next().is_some() {
                let hopeful = self.plan.min_rows <= 1 || {
                    rows.slide(&self.panes, start, end, self.plan.min_rows);
                    rows.enough > 0
                };
                let answer = match hopeful {
                    true => self.answer(end, ctx).await?,
                    false => None,
                };
                answers.push((end, answer));
            }
            after = end;
        }
        self.unseen.clear();
        Ok(answers)
    }

    /// Every window that ends at or before this was answered as final.
    pub fn closed_to(&self) -> i64 {
        self.closed_to
    }

    /// End of the first window after `after` that holds a pane.
    fn next_end(&self, after: i64) -> Option<i64> {
        let window = self.window;
        let candidate = if after == i64::MIN {
            first_window_end(*self.panes.first_key_value()?.0, window)
        } else {
            after + window.slide
        };
        // The window [candidate − size, candidate) may be empty: jump to the first pane in reach.
        let (&pane, _) = self
            .panes
            .range(candidate.saturating_sub(window.size)..)
            .next()?;
        Some(candidate.max(first_window_end(pane, window)))
    }

    async fn answer(&self, end: i64, ctx: &Arc<TaskContext>) -> Result<Option<Answer>> {
        let start = end - self.window.size;
        let states: Vec<_> = self
            .panes
            .range(start..end)
            .flat_map(|(_, pane)| pane.states.iter().cloned())
            .collect();
        if states.is_empty() {
            return Ok(None);
        }
        let rows = plan::run(&self.plan.finish, states, ctx).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = datafusion::arrow::compute::concat_batches(&self.plan.finish.schema(), &rows)?;
        Ok(Some(Answer { start, end, rows }))
    }

    /// Pieces that changed since the last call: pane start → bytes, or none when the pane is gone. The
    /// piece `i64::MIN` holds what is not a pane's.
    pub fn take_changes(&mut self) -> Result<Vec<(i64, Option<Vec<u8>>)>> {
        let mut changes = vec![];
        for start in std::mem::take(&mut self.dirty) {
            if let Some(pane) = self.panes.get(&start) {
                changes.push((start, Some(encode(pane)?)));
            }
        }
        changes.extend(
            std::mem::take(&mut self.removed)
                .into_iter()
                .map(|start| (start, None)),
        );
        // Windows close without any pane's change, too; unsaved, they would be answered again after a restart.
        if self.closed_to != self.saved_to {
            self.saved_to = self.closed_to;
            changes.push((i64::MIN, Some(self.closed_to.to_le_bytes().to_vec())));
        }
        Ok(changes)
    }

    /// Puts back what [`take_changes`](Self::take_changes) gave.
    pub fn restore(&mut self, key: i64, bytes: &[u8]) -> Result<(), String> {
        if key == i64::MIN {
            self.closed_to =
                i64::from_le_bytes(bytes.try_into().map_err(|_| "closed_to is not 8 bytes")?);
            self.saved_to = self.closed_to;
            return Ok(());
        }
        let pane = decode(bytes)?;
        self.panes.insert(key, pane);
        self.unseen.insert(key);
        Ok(())
    }
}

/// Text of a key's values in a row: parts are separated by U+001F, null is U+0000.
pub fn key_texts(columns: &[ArrayRef]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("\u{0}");
    let formatters = columns
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = columns.first().map_or(0, |c| c.len());
    let mut texts = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut text = String::new();
        for (index, formatter) in formatters.iter().enumerate() {
            if index > 0 {
                text.push('\u{1f}');
            }
            formatter
                .value(row)
                .write(&mut text)
                .map_err(|e| Error::Other(format!("key cannot be shown: {e}")))?;
        }
        texts.push(text);
    }
    Ok(texts)
}

// A pane's bytes: u32 length of the evidence (JSON), the evidence, then an Arrow IPC stream of states.
fn encode(pane: &Pane) -> Result<Vec<u8>> {
    let mut keys: Vec<_> = pane.evidence.iter().collect();
    keys.sort_by(|a, b| a.0.cmp(b.0));
    let plain: Vec<_> = keys
        .into_iter()
        .map(|(key, e)| {
            let events: Vec<_> = e.events.iter().map(|e| (e.time, &e.event_uid)).collect();
            (key, e.count, e.first, e.last, events)
        })
        .collect();
    let evidence =
        serde_json::to_vec(&plain).map_err(|e| Error::Other(format!("evidence: {e}")))?;
    let mut bytes = (evidence.len() as u32).to_le_bytes().to_vec();
    bytes.extend(evidence);
    if let Some(first) = pane.states.first() {
        let mut writer = StreamWriter::try_new(bytes, &first.schema())?;
        for batch in &pane.states {
            writer.write(batch)?;
        }
        bytes = writer.into_inner()?;
    }
    Ok(bytes)
}

type PlainEvidence = (String, u64, i64, i64, Vec<(i64, String)>);

fn decode(bytes: &[u8]) -> Result<Pane, String> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("pane is cut short")?;
    let (evidence, states) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or("pane is cut short")?;
    let plain: Vec<PlainEvidence> = serde_json::from_slice(evidence).map_err(|e| e.to_string())?;
    let mut pane = Pane {
        bytes: bytes.len(),
        ..Pane::default()
    };
    for (key, count, first, last, events) in plain {
        let events = events
            .into_iter()
            .map(|(time, event_uid)| Evidence { time, event_uid })
            .collect();
        pane.evidence.insert(
            key,
            KeyEvidence {
                count,
                first,
                last,
                events,
            },
        );
    }
    if !states.is_empty() {
        let reader = StreamReader::try_new(states, None).map_err(|e| e.to_string())?;
        pane.states = reader
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| e.to_string())?;
    }
    Ok(pane)
}
