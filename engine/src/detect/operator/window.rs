//! Window rules: rows into panes, answers of windows into matches, with or without a model that scores them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::physical_expr::PhysicalExpr;

use xxhash_rust::xxh3::xxh3_128;

use super::{Operator, Preview, Scope, times_of};
use crate::Result;
use crate::detect::episode::Match;
use crate::detect::narrow::Narrow;
use crate::detect::row;
use crate::detect::timeline::{Key, Place, home_of};
use crate::functions::true_rows;
use crate::keys::{self, Null};
use crate::plan::WindowPlan;
use crate::rule::Window;
use crate::schema::col;
use crate::score::{Anomaly, Score};
use crate::store::StateWrite;
use crate::time::floor;
use crate::watermark::Watermark;
use crate::window::{Answer, WindowState};

/// Bytes of a row's text by which its match is named; a longer one is named by its hash.
const MAX_ID: usize = 4096;

/// What a window rule reads of each row that it takes: its key, and which of the plan's conditions it satisfies.
#[derive(Debug)]
struct Keys {
    narrow: Narrow,
    keys: usize,
}

impl Keys {
    fn new(plan: &WindowPlan) -> Result<Self> {
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
    ) -> Result<(keys::Keys, Vec<BooleanBuffer>)> {
        if self.keys == 0 {
            return Ok((keys::Keys::default(), vec![]));
        }
        let narrow = row::gather(events, &self.narrow.columns, Some(rows))?;
        let value =
            |e: &Arc<dyn PhysicalExpr>| Ok(e.evaluate(&narrow)?.into_array(narrow.num_rows())?);
        let (keys, conditions) = self.narrow.exprs.split_at(self.keys);
        let keys = keys.iter().map(value).collect::<Result<Vec<_>>>()?;
        let texts = keys::Keys::of(&keys, Null::Marked);
        let that = |condition| match value(condition) {
            Ok(rows) => true_rows(&rows),
            // The query says what is wrong. A row too many costs an answer that is empty.
            Err(_) => BooleanBuffer::new_set(narrow.num_rows()),
        };
        Ok((texts, conditions.iter().map(that).collect()))
    }
}

/// Parts of the state: panes by their start, and up to when windows are final.
const PANES: &str = "panes/";
const CLOSED: &str = "closed";

#[derive(Debug)]
pub struct WindowOperator {
    pub state: WindowState,
    scorer: Option<Arc<dyn Score>>,
    keys: Keys,
    /// Standing matches of each answered window, by its end.
    matches: BTreeMap<i64, Vec<(String, Place)>>,
    /// Open windows must be answered once, whatever the mode: an earlier run told provisional alerts.
    owed: bool,
}

impl WindowOperator {
    pub fn new(
        plan: WindowPlan,
        window: Window,
        scorer: Option<Arc<dyn Score>>,
        amend: i64,
    ) -> Result<Self> {
        Ok(Self {
            keys: Keys::new(&plan)?,
            state: WindowState::new(plan, window, amend),
            scorer,
            matches: BTreeMap::new(),
            owed: false,
        })
    }

    /// Answers stale windows that end at or before `to`.
    async fn answer_to(&mut self, to: i64, scope: &mut Scope<'_>) -> Result<()> {
        let mut failed = None;
        while self.state.is_stale(to) {
            let answers = self.state.answer(to, scope.ctx).await;
            let answers = answers.unwrap_or_else(|error| {
                failed = Some(error);
                vec![]
            });
            for (end, answer) in answers {
                match answer.map_or(Ok(vec![]), |answer| self.matches_of(&answer, scope)) {
                    Ok(found) => self.set_window(end, found, scope),
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes these the matches of the window.
    fn set_window(&mut self, end: i64, found: Vec<(Key, String, Match)>, scope: &mut Scope<'_>) {
        let before = self.matches.remove(&end).unwrap_or_default();
        let known: HashSet<&Place> = before.iter().map(|(_, place)| place).collect();
        let mut now = HashSet::new();
        for (key, id, one) in found {
            let home = home_of(&key);
            let place = (one.start, id);
            if !known.contains(&place) {
                scope.health.matches += 1;
            }
            scope.health.last_match = scope
                .health
                .last_match
                .max(one.evidence.iter().map(|e| e.3).max());
            if scope.timelines.insert(&home, key, place.1.clone(), one) {
                now.insert((home, place));
            }
        }
        for old in &before {
            if !now.contains(old) {
                scope.timelines.remove(&old.0, &old.1);
            }
        }
        if !now.is_empty() {
            self.matches.insert(end, now.into_iter().collect());
        }
    }

    /// Rows of a window's answer as matches, each with an id that depends on its content alone.
    fn matches_of(&self, answer: &Answer, scope: &Scope<'_>) -> Result<Vec<(Key, String, Match)>> {
        let (window, rule) = (&self.state, scope.rule);
        let plan = window.plan();
        let rows: Vec<(usize, Option<Anomaly>)> = match &self.scorer {
            Some(scorer) => {
                let anomalies = scorer.score(&answer.rows)?;
                anomalies.into_iter().map(|a| (a.row, Some(a))).collect()
            }
            None => (0..answer.rows.num_rows()).map(|row| (row, None)).collect(),
        };
        let columns = plan.keys.iter();
        let columns = columns.map(|(_, name)| answer.rows.column_by_name(name).cloned());
        let columns = columns.collect::<Option<Vec<_>>>().unwrap_or_default();
        let texts = keys::Keys::of(&columns, Null::Marked);
        let mut found = vec![];
        let mut same: BTreeMap<String, u32> = BTreeMap::new();
        for (index, anomaly) in rows {
            let mut row = row::json(&answer.rows, index);
            let value = |name: &String| row.get(name).map(keys::text).unwrap_or_default();
            let named = |names: &mut dyn Iterator<Item = &String>| -> Key {
                names.map(|name| (name.clone(), value(name))).collect()
            };
            let key = match &rule.suppress {
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
            let entities = row::entities(|name| row.get(name).cloned(), &rule.entities);
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
                    .map(|(pane, e)| (pane, e.count, e.first, e.last, e.events()))
                    .collect(),
                level,
                reasons,
            };
            found.push((key, id, one));
        }
        Ok(found)
    }
}

#[async_trait]
impl Operator for WindowOperator {
    async fn take(
        &mut self,
        events: &RecordBatch,
        matched: &[UInt32Array],
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        let window = &mut self.state;
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
            scope.health.rows_late += late;
            scope.health.rows_too_late += too_late;
            return Ok(());
        }
        let (texts, that) = self.keys.of(events, &all)?;
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
            let reduced = window.reduce(input, rows, panes)?;
            ready.extend(reduced.into_iter().map(|(pane, rows)| (pane, input, rows)));
        }
        scope.health.rows_late += late;
        scope.health.rows_too_late += too_late;
        // From here on nothing fails: the rows are counted once.
        for (pane, input, rows) in ready {
            window.insert(pane, input, rows);
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

    async fn advance(
        &mut self,
        watermark: Watermark,
        newest: i64,
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        self.answer_to(scope.clock, scope).await?;
        self.state.close(watermark, newest);
        let horizon = self.state.horizon();
        self.matches = self.matches.split_off(&horizon.saturating_add(1));
        Ok(())
    }

    async fn answer(&mut self, preview: Preview, scope: &mut Scope<'_>) -> Result<()> {
        let open = preview.wanted || std::mem::take(&mut self.owed);
        let early = match open {
            true => self.state.newest_end(preview.newest),
            false => i64::MIN,
        };
        self.answer_to(scope.clock.max(early), scope).await
    }

    fn take_back(&mut self, gone: &[Place], _scope: &mut Scope<'_>) -> Vec<(i64, i64)> {
        let panes: BTreeSet<i64> = gone
            .iter()
            .map(|(time, _)| self.state.pane_of(*time))
            .collect();
        let size = self.state.pane_size();
        let spans = panes.into_iter().map(|from| {
            self.state.empty(from);
            (from, from.saturating_add(size))
        });
        spans.collect()
    }

    fn checkpoint(&mut self, owner: &str, writes: &mut Vec<StateWrite>) -> Result<()> {
        for piece in self.state.take_pieces()? {
            writes.push(StateWrite {
                owner: format!("{owner}/{PANES}{}", piece.pane),
                key: piece.number,
                value: piece.value,
            });
        }
        if let Some(closed_to) = self.state.take_closed() {
            writes.push(StateWrite {
                owner: format!("{owner}/{CLOSED}"),
                key: 0,
                value: Some(closed_to.to_le_bytes().to_vec()),
            });
        }
        Ok(())
    }

    fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        if let Some(pane) = part.strip_prefix(PANES) {
            let pane = pane.parse();
            let pane = pane.map_err(|_| format!("`{part}` names no time"))?;
            return self.state.restore(pane, key, value);
        }
        if part != CLOSED {
            return Err(format!("unknown part `{part}`"));
        }
        let bytes = value.try_into().map_err(|_| "not 8 bytes")?;
        self.state.restore_closed(i64::from_le_bytes(bytes));
        Ok(())
    }

    fn restored(&mut self, scope: &mut Scope<'_>) {
        for (end, home, place) in scope.timelines.windows() {
            let matches = self.matches.entry(end).or_default();
            matches.push((home.to_owned(), place.clone()));
        }
        self.state.restored(scope.clock);
        self.owed = scope.timelines.owes();
    }

    fn bytes(&self) -> usize {
        self.state.state_bytes()
    }

    fn clear(&mut self) {
        self.state.clear();
        self.matches.clear();
    }

    fn amend_no_more(&mut self) {
        self.state.amend_no_more();
    }

    fn closed_to(&self) -> Option<i64> {
        Some(self.state.closed_to())
    }
}
