//! Rows into windows, answers of windows into matches.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;

use xxhash_rust::xxh3::xxh3_128;

use super::{RunningRule, times_of};
use crate::Result;
use crate::detect::episode::Match;
use crate::detect::narrow::Narrow;
use crate::detect::row;
use crate::detect::timeline::{Key, Place, home_of};
use crate::dispatch::Rows;
use crate::functions::true_rows;
use crate::plan::{self, Plan, WindowPlan};
use crate::schema::col;
use crate::time::floor;
use crate::window::{Answer, KeyTexts, key_texts};

/// Bytes of a row's text by which its match is named; a longer one is named by its hash.
const MAX_ID: usize = 4096;

/// What a window rule reads of each row that it takes: its key, and which of the plan's conditions it satisfies.
#[derive(Debug)]
pub(super) struct Keys {
    narrow: Narrow,
    keys: usize,
}

impl Keys {
    pub fn new(plan: &WindowPlan) -> Result<Self> {
        let keys = plan.keys.iter().map(|(expr, _)| expr);
        let exprs: Vec<_> = keys.chain(&plan.conditions).cloned().collect();
        Ok(Self {
            narrow: Narrow::new(&exprs)?,
            keys: plan.keys.len(),
        })
    }

    /// Text of the key of each row (none if the rule has no keys), and the rows of each condition.
    fn of(
        &self,
        events: &RecordBatch,
        rows: &UInt32Array,
    ) -> Result<(KeyTexts, Vec<BooleanBuffer>)> {
        if self.keys == 0 {
            return Ok((KeyTexts::default(), vec![]));
        }
        let narrow = row::gather(events, &self.narrow.columns, Some(rows))?;
        let value =
            |e: &Arc<dyn PhysicalExpr>| Ok(e.evaluate(&narrow)?.into_array(narrow.num_rows())?);
        let (keys, conditions) = self.narrow.exprs.split_at(self.keys);
        let texts = key_texts(&keys.iter().map(value).collect::<Result<Vec<_>>>()?)?;
        let that = |condition| match value(condition) {
            Ok(rows) => true_rows(&rows),
            // The query says what is wrong. A row too many costs an answer that is empty.
            Err(_) => BooleanBuffer::new_set(narrow.num_rows()),
        };
        Ok((texts, conditions.iter().map(that).collect()))
    }
}

impl RunningRule {
    /// `matched` has the rows of each input.
    pub(super) async fn add_to_window(
        &mut self,
        events: &RecordBatch,
        matched: &[UInt32Array],
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let (Some(window), Some(keys)) = (&mut self.window, &self.keys) else {
            return Ok(());
        };
        let times = times_of(events);
        let uids = events.column(col::EVENT_UID).as_string_view();
        let pane = |row: &u32| window.pane_of(times.value(*row as usize));
        let mut all = matched
            .iter()
            .flat_map(|rows| rows.values())
            .copied()
            .collect::<Vec<_>>();
        if matched.len() > 1 {
            all.sort_unstable();
            all.dedup();
        }
        let (mut late, mut too_late) = (0, 0);
        let mut kept = Vec::with_capacity(all.len());
        for rows in all.chunk_by(|a, b| pane(a) == pane(b)) {
            let (at, count) = (pane(&rows[0]), rows.len() as u64);
            let (partly, wholly) = window.is_gone(at);
            late += if window.is_late(at) { count } else { 0 };
            too_late += if partly { count } else { 0 };
            if !wholly {
                kept.extend_from_slice(rows);
            }
        }
        let some_gone = kept.len() < all.len();
        let all = UInt32Array::from(kept);
        if all.is_empty() {
            self.rows_late += late;
            self.rows_too_late += too_late;
            return Ok(());
        }
        let (texts, that) = keys.of(events, &all)?;
        let mut ready = vec![];
        for (input, rows) in matched.iter().enumerate() {
            let is_kept = |row: &u32| !some_gone || !window.is_gone(pane(row)).1;
            let rows: UInt32Array = rows.values().iter().copied().filter(is_kept).collect();
            if rows.is_empty() {
                continue;
            }
            let panes = Int64Array::from_iter_values(rows.values().iter().map(pane));
            let columns = &window.plan().inputs[input].rows.columns;
            let rows = row::gather(events, columns, Some(&rows))?;
            let reduced = window.reduce(input, rows, panes, ctx).await?;
            ready.extend(reduced.into_iter().map(|(pane, rows)| (pane, input, rows)));
        }
        self.rows_late += late;
        self.rows_too_late += too_late;
        // From here on nothing fails: the rows are counted once.
        for (pane, input, rows) in ready {
            window.insert(pane, input, rows, ctx).await;
        }
        let size = window.pane_size();
        let mut index = 0;
        for rows in all.values().chunk_by(|a, b| {
            let [a, b] = [a, b].map(|row| floor(times.value(*row as usize), size));
            a == b
        }) {
            let pane = floor(times.value(rows[0] as usize), size);
            window.add_keys(pane, |keys| {
                for row in rows {
                    let row = *row as usize;
                    let that = std::array::from_fn(|i| that.get(i).is_some_and(|t| t.value(index)));
                    if let Some(key) = texts.get(index) {
                        keys.add(key, times.value(row), uids.value(row), that);
                    }
                    index += 1;
                }
            });
        }
        Ok(())
    }

    /// The pane that holds a time: `[from, to)`.
    pub fn pane_range(&self, time: i64) -> Option<(i64, i64)> {
        let window = self.window.as_ref()?;
        let from = window.pane_of(time);
        Some((from, from.saturating_add(window.pane_size())))
    }

    /// Exchanges what the pane from `start` on holds for what these rows make of it.
    pub async fn make_anew(
        &mut self,
        start: i64,
        rows: &RecordBatch,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        if let Some(window) = &mut self.window {
            window.empty(start);
        }
        // They came before, and were counted then.
        let counted = (self.rows_late, self.rows_too_late);
        let pushed = self.push(rows, &Rows::All, ctx).await;
        (self.rows_late, self.rows_too_late) = counted;
        pushed
    }

    /// Takes back matches that were single rows, by time and id.
    pub fn take_back(&mut self, gone: &[Place]) {
        if self.window.is_none() && plan::remembered_columns(&self.rule).is_empty() {
            self.timelines.remove_all(gone);
        }
    }

    /// Answers stale windows that end at or before `to`.
    pub(super) async fn answer(&mut self, to: i64, ctx: &Arc<TaskContext>) -> Result<()> {
        let mut failed = None;
        loop {
            let answers = match &mut self.window {
                Some(window) if window.is_stale(to) => window.answer(to, ctx).await,
                _ => return failed.map_or(Ok(()), Err),
            };
            let answers = answers.unwrap_or_else(|error| {
                failed = Some(error);
                vec![]
            });
            for (end, answer) in answers {
                match answer.map_or(Ok(vec![]), |answer| self.matches_of(&answer)) {
                    Ok(found) => self.set_window(end, found),
                    Err(error) => failed = Some(error),
                }
            }
        }
    }

    /// Makes these the matches of the window.
    fn set_window(&mut self, end: i64, found: Vec<(Key, String, Match)>) {
        let before = self.window_matches.remove(&end).unwrap_or_default();
        let known: HashSet<&Place> = before.iter().map(|(_, place)| place).collect();
        let mut now = HashSet::new();
        for (key, id, one) in found {
            let home = home_of(&key);
            let place = (one.start, id);
            if !known.contains(&place) {
                self.matches += 1;
            }
            self.last_match = self.last_match.max(one.evidence.iter().map(|e| e.3).max());
            if self.timelines.insert(&home, key, place.1.clone(), one) {
                now.insert((home, place));
            }
        }
        for old in &before {
            if !now.contains(old) {
                self.timelines.remove(&old.0, &old.1);
            }
        }
        if !now.is_empty() {
            self.window_matches.insert(end, now.into_iter().collect());
        }
    }

    /// Rows of a window's answer as matches, each with an id that depends on its content alone.
    fn matches_of(&self, answer: &Answer) -> Result<Vec<(Key, String, Match)>> {
        let (Plan::Window(plan), Some(window)) = (&self.plan, &self.window) else {
            return Ok(vec![]);
        };
        let rows: Vec<(usize, Option<crate::score::Anomaly>)> = match &self.scorer {
            Some(scorer) => {
                let anomalies = scorer.score(&answer.rows)?;
                anomalies.into_iter().map(|a| (a.row, Some(a))).collect()
            }
            None => (0..answer.rows.num_rows()).map(|row| (row, None)).collect(),
        };
        let columns = plan.keys.iter();
        let columns = columns.map(|(_, name)| answer.rows.column_by_name(name).cloned());
        let columns = columns.collect::<Option<Vec<_>>>().unwrap_or_default();
        let texts = key_texts(&columns)?;
        let mut found = vec![];
        let mut same: BTreeMap<String, u32> = BTreeMap::new();
        for (index, anomaly) in rows {
            let mut row = row::json(&answer.rows, index);
            let value = |name: &String| row.get(name).map(row::text).unwrap_or_default();
            let named = |names: &mut dyn Iterator<Item = &String>| -> Key {
                names.map(|name| (name.clone(), value(name))).collect()
            };
            let key = match &self.rule.suppress {
                Some(suppress) => named(&mut suppress.by.iter()),
                None => named(&mut plan.keys.iter().map(|(_, name)| name)),
            };
            let text = texts.get(index).unwrap_or_default();
            let mut id = serde_json::to_string(&row).unwrap_or_default();
            if id.len() > MAX_ID {
                id = format!("{:032x}", xxh3_128(id.as_bytes()));
            }
            let count = same.entry(id.clone()).or_default();
            if *count > 0 {
                id = format!("{id}\u{1e}{count}");
            }
            *count += 1;
            let evidence = window.evidence(text, answer.start, answer.end);
            let entities = row::entities(|name| row.get(name).cloned(), &self.rule.entities);
            row::shorten(&mut row);
            let (level, reasons) = match anomaly {
                Some(anomaly) => {
                    row.insert("anomaly_score".into(), anomaly.score.into());
                    row.insert("anomaly_text".into(), anomaly.text.into());
                    (Some(anomaly.level), anomaly.reasons)
                }
                None => (None, vec![]),
            };
            let one = Match {
                start: answer.start,
                due: answer.end,
                window: Some((answer.start, answer.end)),
                row: serde_json::to_string(&row).unwrap_or_default().into(),
                entities: entities.into(),
                group: text.to_owned(),
                evidence: evidence
                    .into_iter()
                    .map(|(pane, e)| (pane, e.count, e.first, e.last, e.events))
                    .collect(),
                level,
                reasons,
            };
            found.push((key, id, one));
        }
        Ok(found)
    }
}
