//! One loaded rule with its state: rows in, matches, alerts out.
//!
//! Whatever the kind, a rule turns rows into matches (at once, when a window is answered, or by what it
//! remembers), and its [`Timelines`] turn matches into alerts. Neither depends on the order of rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use serde_json::{Map, Value};

use crate::alert::{Alert, Evidence};
use crate::detect::Limits;
use crate::detect::episode::Match;
use crate::detect::memory::Memory;
use crate::detect::row;
use crate::detect::terms::{At, Change, Pairs, Runs};
use crate::detect::timeline::{Now, Place, Timelines};
use crate::dispatch::Rows;
use crate::plan::{self, Plan};
use crate::rule::Rule;
use crate::schema::{self, col};
use crate::score::Score;
use crate::store::StateWrite;
use crate::window::{Answer, WindowState, key_texts};
use crate::{Error, Result};

/// An expression over a few event columns.
#[derive(Debug)]
struct Narrow {
    columns: Vec<usize>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Narrow {
    fn new(exprs: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let used: BTreeSet<usize> = exprs
            .iter()
            .flat_map(collect_columns)
            .map(|c| c.index())
            .collect();
        let columns: Vec<usize> = used.into_iter().collect();
        let remap = |expr: &Arc<dyn PhysicalExpr>| {
            let remapped = expr.clone().transform_up(|node| {
                let Some(column) = node.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(node));
                };
                let index = columns
                    .iter()
                    .position(|c| *c == column.index())
                    .unwrap_or(column.index());
                Ok(Transformed::yes(
                    Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>,
                ))
            })?;
            Ok(remapped.data)
        };
        let exprs = exprs.iter().map(remap).collect::<Result<Vec<_>>>()?;
        Ok(Self { columns, exprs })
    }
}

/// What a rule remembers beside its matches, by key.
#[derive(Debug)]
enum Recall {
    Nothing,
    /// First-seen.
    Terms(Memory<Runs>),
    /// Absence: signs of life.
    Signs(Memory<Runs>),
    /// Absence: calls that want an answer.
    Pairs(Memory<Pairs>),
}

impl Recall {
    fn new(rule: &Rule) -> Self {
        match (&rule.new_terms, &rule.absence) {
            (Some(_), _) => Self::Terms(Memory::default()),
            (None, Some(absence)) if absence.pair.is_some() => Self::Pairs(Memory::default()),
            (None, Some(_)) => Self::Signs(Memory::default()),
            (None, None) => Self::Nothing,
        }
    }
}

#[derive(Debug)]
pub struct RunningRule {
    pub rule: Rule,
    pub version: String,
    pub plan: Plan,
    scorer: Option<Arc<dyn Score>>,
    /// The rule reads alerts of other rules, not events.
    pub over_alerts: bool,
    /// By input of the plan.
    predicates: Vec<Option<Narrow>>,
    keys: Option<Narrow>,
    pub window: Option<WindowState>,
    /// Standing matches of each answered window, by its end.
    window_matches: BTreeMap<i64, Vec<(String, Place)>>,
    recall: Recall,
    /// Earliest row that the rule ever saw.
    began: Option<i64>,
    began_written: bool,
    timelines: Timelines,
    /// What lies before this is certain.
    clock: i64,
    amend: i64,
    /// Clock at which what is remembered is looked through next.
    forget_at: i64,
    /// Open windows must be answered once, whatever the mode: an earlier run told provisional alerts.
    owed: bool,
    /// Why the rule takes no rows any more.
    pub suspended: Option<String>,
    pub rows_late: u64,
    pub rows_too_late: u64,
    pub matches: u64,
    pub last_match: Option<i64>,
}

impl RunningRule {
    pub fn new(
        rule: Rule,
        plan: Plan,
        scorer: Option<Arc<dyn Score>>,
        limits: &Limits,
    ) -> Result<Self> {
        let narrow = |p: &Arc<dyn PhysicalExpr>| Narrow::new(std::slice::from_ref(p));
        let inputs = plan.inputs();
        let predicates = inputs
            .iter()
            .map(|rows| rows.predicate.as_ref().map(narrow).transpose());
        let predicates = predicates.collect::<Result<_>>()?;
        let (window, keys) = match (&plan, rule.window) {
            (Plan::Window(plan), Some(window)) => {
                let exprs: Vec<_> = plan.keys.iter().map(|(expr, _)| expr.clone()).collect();
                (
                    Some(WindowState::new(plan.clone(), window, limits.amend)),
                    Some(Narrow::new(&exprs)?),
                )
            }
            _ => (None, None),
        };
        Ok(Self {
            version: rule.version(),
            over_alerts: plan.reads_alerts(),
            recall: Recall::new(&rule),
            rule,
            plan,
            scorer,
            predicates,
            keys,
            window,
            window_matches: BTreeMap::new(),
            began: None,
            began_written: true,
            timelines: Timelines::default(),
            clock: i64::MIN,
            amend: limits.amend,
            forget_at: i64::MIN,
            owed: false,
            suspended: None,
            rows_late: 0,
            rows_too_late: 0,
            matches: 0,
            last_match: None,
        })
    }

    /// Owner of this rule's state in the store.
    pub fn owner(&self) -> String {
        format!("rule/{}/{}", self.rule.id, self.version)
    }

    /// Evaluates the rule on candidate rows of a batch.
    pub async fn push(
        &mut self,
        events: &RecordBatch,
        rows: &Rows,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let candidates = match rows {
            Rows::All => None,
            Rows::Some(rows) => Some(UInt32Array::from(rows.as_ref().clone())),
        };
        let mut matched = vec![];
        for predicate in &self.predicates {
            matched.push(rows_that(predicate.as_ref(), events, candidates.as_ref())?);
        }
        if matched.iter().all(UInt32Array::is_empty) {
            return Ok(());
        }
        match &self.plan {
            Plan::Event(plan) => {
                let input = row::gather(events, &plan.rows.columns, Some(&matched[0]))?;
                let output = plan::run(&plan.template, vec![vec![input]], ctx).await?;
                let output = concat_batches(&plan.template.schema(), &output)?;
                if plan.joined {
                    return self.add_joined(&output);
                }
                if output.num_rows() != matched[0].len() {
                    return Err(Error::rule(
                        &self.rule.title,
                        "rows were dropped outside the WHERE clause",
                    ));
                }
                let times = times_of(events);
                let uids = events.column(col::EVENT_UID).as_string_view();
                for (index, source) in matched[0].values().iter().enumerate() {
                    let source = *source as usize;
                    let at = (times.value(source), uids.value(source).to_owned());
                    self.add_row(at, row::json(&output, index));
                }
                Ok(())
            }
            Plan::Window(_) => self.add_to_window(events, &matched, ctx).await,
        }
    }

    fn add_joined(&mut self, output: &RecordBatch) -> Result<()> {
        let column = |name: &str| {
            let missing = || Error::rule(&self.rule.title, format!("returns no `{name}`"));
            output.column_by_name(name).cloned().ok_or_else(missing)
        };
        let times = cast(&column("time")?, &schema::data_type(schema::Kind::Time))?;
        let uids = cast(&column("event_uid")?, &DataType::Utf8View)?;
        let (times, uids) = (
            times.as_primitive::<TimestampMicrosecondType>(),
            uids.as_string_view(),
        );
        for index in 0..output.num_rows() {
            let at = (times.value(index), uids.value(index).to_owned());
            self.add_row(at, row::json(output, index));
        }
        Ok(())
    }

    /// A row of a query that looks at single events.
    fn add_row(&mut self, at: At, row: Map<String, Value>) {
        if self.began.is_none_or(|began| at.0 < began) {
            self.began = Some(at.0);
            self.began_written = self.rule.new_terms.is_none();
            if self.rule.new_terms.is_some() {
                self.timelines.refold();
            }
        }
        let values = |columns: &[String]| -> Vec<(String, String)> {
            let value = |column: &String| row.get(column).map(row::text).unwrap_or_default();
            let named = columns.iter().map(|column| (column.clone(), value(column)));
            named.collect()
        };
        let rule = &self.rule;
        let remembered = match (&rule.new_terms, &rule.absence) {
            (Some(terms), _) => Some(&terms.fields),
            (None, Some(absence)) => Some(&absence.by),
            (None, None) => None,
        };
        if remembered.is_some_and(|columns| columns.iter().any(|c| !row.contains_key(c))) {
            return;
        }
        let key = match (&rule.suppress, remembered) {
            (Some(suppress), _) => values(&suppress.by),
            (None, Some(columns)) => values(columns),
            (None, None) => vec![("event_uid".into(), at.1.clone())],
        };
        let home = key_text(&key);
        let what = remembered.map(|columns| key_text(&values(columns)));
        let what = what.unwrap_or_default();
        let mut due = at.0.saturating_add(1);
        let change = match &mut self.recall {
            Recall::Nothing => Change {
                matches: true,
                gone: vec![],
            },
            Recall::Terms(memory) => {
                let history = rule.new_terms.as_ref().map_or(0, |terms| terms.history);
                memory.change(&what).note_first(at.clone(), &home, history)
            }
            Recall::Signs(memory) => {
                let within = rule.absence.as_ref().map_or(0, |absence| absence.within);
                due = due.saturating_add(within);
                memory.change(&what).note_last(at.clone(), &home, within)
            }
            Recall::Pairs(memory) => {
                let Some(absence) = &rule.absence else { return };
                let Some(pair) = &absence.pair else { return };
                let is = |column: &str| row.get(column) == Some(&Value::Bool(true));
                due = due.saturating_add(absence.within);
                let mut change = Change::default();
                if is(&pair.of) {
                    change = memory.change(&what).answer(at.0, absence.within);
                }
                if is(&pair.after) {
                    let call = memory.change(&what).call(at.clone(), &home, absence.within);
                    change.matches = call.matches;
                }
                change
            }
        };
        for (home, place) in &change.gone {
            self.timelines.remove(home, place);
        }
        if !change.matches {
            return;
        }
        let (time, uid) = at;
        let evidence = vec![Evidence {
            time,
            event_uid: uid.clone(),
        }];
        let found = Match {
            entities: row::entities(&row, &rule.entities),
            key,
            start: time,
            due,
            window: None,
            row,
            group: String::new(),
            evidence: vec![(time, 1, time, time, evidence)],
            level: None,
            reasons: vec![],
        };
        if self.timelines.insert(&home, uid, found) {
            self.matches += 1;
            self.last_match = self.last_match.max(Some(time));
        } else {
            self.rows_too_late += 1;
        }
    }

    /// `matched` has the rows of each input.
    async fn add_to_window(
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
        // By pane: rows of each input.
        let mut panes: BTreeMap<i64, Vec<Vec<u32>>> = BTreeMap::new();
        for (input, rows) in matched.iter().enumerate() {
            for row in rows.values() {
                let pane = window.pane_of(times.value(*row as usize));
                let inputs = panes
                    .entry(pane)
                    .or_insert_with(|| vec![vec![]; matched.len()]);
                inputs[input].push(*row);
            }
        }
        let (mut late, mut too_late) = (0, 0);
        let (mut ready, mut told) = (vec![], vec![]);
        for (pane, inputs) in panes {
            let all: BTreeSet<u32> = inputs.iter().flatten().copied().collect();
            let (partly, wholly) = window.is_gone(pane);
            late += if window.is_late(pane) {
                all.len() as u64
            } else {
                0
            };
            too_late += if partly { all.len() as u64 } else { 0 };
            if wholly {
                continue;
            }
            let all = UInt32Array::from_iter_values(all);
            let texts = if keys.exprs.is_empty() {
                vec![]
            } else {
                let narrow = row::gather(events, &keys.columns, Some(&all))?;
                let values = keys
                    .exprs
                    .iter()
                    .map(|e| Ok(e.evaluate(&narrow)?.into_array(narrow.num_rows())?));
                key_texts(&values.collect::<Result<Vec<_>>>()?)?
            };
            for (input, rows) in inputs.into_iter().enumerate() {
                if rows.is_empty() {
                    continue;
                }
                let columns = &window.plan().inputs[input].rows.columns;
                let rows = row::gather(events, columns, Some(&UInt32Array::from(rows)))?;
                ready.push((pane, input, window.reduce(input, rows, ctx).await?));
            }
            told.push((pane, all, texts));
        }
        self.rows_late += late;
        self.rows_too_late += too_late;
        // From here on nothing fails: the rows are counted once.
        for (pane, input, batches) in ready {
            window.insert(pane, input, batches, ctx).await;
        }
        for (pane, rows, texts) in told {
            for (row, key) in rows.values().iter().zip(&texts) {
                let row = *row as usize;
                window.add_evidence(pane, key, times.value(row), uids.value(row));
            }
        }
        Ok(())
    }

    /// Answers windows that the watermark has passed; what is behind it is certain. `newest` is the latest
    /// event time there was: once time has ended, absences are judged by it.
    pub async fn advance(
        &mut self,
        watermark: i64,
        newest: i64,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let clock = match watermark == i64::MAX && self.rule.absence.is_some() {
            true => newest.saturating_add(1),
            false => watermark,
        };
        self.clock = self.clock.max(clock);
        self.answer(self.clock, ctx).await?;
        if let Some(window) = &mut self.window {
            window.close(self.clock);
            let horizon = window.horizon();
            self.window_matches = self.window_matches.split_off(&horizon.saturating_add(1));
        }
        self.forget();
        Ok(())
    }

    /// Drops what is remembered and cannot matter any more; now and then, as it looks at everything.
    fn forget(&mut self) {
        let gap = match (&self.rule.new_terms, &self.rule.absence) {
            (Some(terms), _) => terms.history,
            (None, Some(absence)) => absence.within,
            (None, None) => return,
        };
        if self.clock < self.forget_at || self.clock == i64::MAX {
            return;
        }
        self.forget_at = self.clock.saturating_add(gap / 8);
        let from = self.clock.saturating_sub(self.amend);
        match &mut self.recall {
            Recall::Nothing => {}
            Recall::Terms(memory) | Recall::Signs(memory) => {
                memory.retain(|runs| runs.reaches(from, gap));
            }
            Recall::Pairs(memory) => memory.retain(|pairs| pairs.forget(from, gap)),
        }
    }

    /// Answers stale windows that end at or before `to`.
    async fn answer(&mut self, to: i64, ctx: &Arc<TaskContext>) -> Result<()> {
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
    fn set_window(&mut self, end: i64, found: Vec<(String, Match)>) {
        let before = self.window_matches.remove(&end).unwrap_or_default();
        let mut now = vec![];
        for (id, one) in found {
            let home = key_text(&one.key);
            let place = (one.start, id);
            if !before.iter().any(|(_, old)| *old == place) {
                self.matches += 1;
            }
            self.last_match = self.last_match.max(one.evidence.iter().map(|e| e.3).max());
            if self.timelines.insert(&home, place.1.clone(), one) {
                now.push((home, place));
            }
        }
        for (home, place) in before {
            if !now.contains(&(home.clone(), place.clone())) {
                self.timelines.remove(&home, &place);
            }
        }
        if !now.is_empty() {
            self.window_matches.insert(end, now);
        }
    }

    /// Whether matches can still join this alert, or it can still be retracted.
    pub fn is_live(&self, alert_id: &str) -> bool {
        self.timelines.is_live(alert_id)
    }

    /// Rows of a window's answer as matches, each with an id that depends on its content alone.
    fn matches_of(&self, answer: &Answer) -> Result<Vec<(String, Match)>> {
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
            let named = |names: &mut dyn Iterator<Item = &String>| -> Vec<(String, String)> {
                names.map(|name| (name.clone(), value(name))).collect()
            };
            let key = match &self.rule.suppress {
                Some(suppress) => named(&mut suppress.by.iter()),
                None => named(&mut plan.keys.iter().map(|(_, name)| name)),
            };
            let text = texts.get(index).map_or("", String::as_str);
            let mut id = serde_json::to_string(&row).unwrap_or_default();
            let count = same.entry(id.clone()).or_default();
            if *count > 0 {
                id = format!("{id}\u{1e}{count}");
            }
            *count += 1;
            let evidence = window.evidence(text, answer.start, answer.end);
            let entities = row::entities(&row, &self.rule.entities);
            let (level, reasons) = match anomaly {
                Some(anomaly) => {
                    row.insert("anomaly_score".into(), anomaly.score.into());
                    row.insert("anomaly_text".into(), anomaly.text.into());
                    (Some(anomaly.level), anomaly.reasons)
                }
                None => (None, vec![]),
            };
            let one = Match {
                key,
                start: answer.start,
                due: answer.end,
                window: Some((answer.start, answer.end)),
                row,
                entities,
                group: text.to_owned(),
                evidence: evidence
                    .into_iter()
                    .map(|(pane, e)| (pane, e.count, e.first, e.last, e.events))
                    .collect(),
                level,
                reasons,
            };
            found.push((id, one));
        }
        Ok(found)
    }

    /// Alerts that are new, changed or retracted since the last call. With `preview`, also of matches that are
    /// not certain yet.
    pub async fn changes(
        &mut self,
        preview: bool,
        watermark: Option<i64>,
        ctx: &Arc<TaskContext>,
    ) -> Result<Vec<Alert>> {
        let open = preview || std::mem::take(&mut self.owed);
        self.answer(if open { i64::MAX } else { self.clock }, ctx)
            .await?;
        let silent_to = match (&self.rule.new_terms, self.began) {
            (Some(terms), Some(began)) => began.saturating_add(terms.warmup),
            _ => i64::MIN,
        };
        let now = Now {
            clock: self.clock,
            preview,
            watermark,
        };
        let told = self
            .timelines
            .tell(&self.rule, &self.version, now, silent_to, self.amend);
        Ok(told)
    }

    /// End of the warm-up of a first-seen rule, µs of event time, while it lasts.
    pub fn learning_to(&self) -> Option<i64> {
        let to = self
            .began?
            .saturating_add(self.rule.new_terms.as_ref()?.warmup);
        (self.clock < to).then_some(to)
    }

    /// Stops taking rows and lets go of the state, for the reason given. A restart begins anew.
    pub fn suspend(&mut self, reason: String) {
        self.suspended = Some(reason);
        match &mut self.recall {
            Recall::Nothing => {}
            Recall::Terms(memory) | Recall::Signs(memory) => memory.clear(),
            Recall::Pairs(memory) => memory.clear(),
        }
        self.window_matches.clear();
        self.timelines.clear();
        if let Some(window) = &mut self.window {
            window.clear();
        }
    }

    /// Takes late rows no longer, to save memory. False if it took none before.
    pub fn amend_no_more(&mut self) -> bool {
        if self.amend == 0 {
            return false;
        }
        self.amend = 0;
        // Keys let go of their matches as they are looked at.
        self.timelines.refold();
        if let Some(window) = &mut self.window {
            window.amend_no_more();
        }
        true
    }

    /// Pieces of state that changed since the last call.
    pub fn take_state(&mut self) -> Result<Vec<StateWrite>> {
        let owner = self.owner();
        let mut writes = vec![];
        if let Some(window) = &mut self.window {
            for (key, value) in window.take_changes()? {
                writes.push(StateWrite {
                    owner: format!("{owner}/panes"),
                    key,
                    value,
                });
            }
        }
        self.timelines.take_state(&owner, self.clock, &mut writes)?;
        let memory = format!("{owner}/memory");
        match &mut self.recall {
            Recall::Nothing => {}
            Recall::Terms(terms) | Recall::Signs(terms) => {
                terms.take_state(&memory, &mut writes)?
            }
            Recall::Pairs(pairs) => pairs.take_state(&memory, &mut writes)?,
        }
        if let (false, Some(began)) = (self.began_written, self.began) {
            self.began_written = true;
            writes.push(StateWrite {
                owner: format!("{owner}/began"),
                key: 0,
                value: Some(began.to_le_bytes().to_vec()),
            });
        }
        Ok(writes)
    }

    /// Puts back one piece; `part` is what follows the owner. Pieces of a part come in ascending order.
    pub fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        match (part, &mut self.recall) {
            ("panes", _) => match &mut self.window {
                Some(window) => window.restore(key, value)?,
                None => return Err("the rule has no window".into()),
            },
            ("matches", _) => {
                let (end, home, place) = self.timelines.restore_match(value)?;
                if let Some(end) = end {
                    let matches = self.window_matches.entry(end).or_default();
                    matches.push((home, place));
                }
            }
            ("heads", _) => self.timelines.restore_head(value)?,
            ("memory", Recall::Terms(memory) | Recall::Signs(memory)) => {
                memory.restore(key, value)?;
            }
            ("memory", Recall::Pairs(memory)) => memory.restore(key, value)?,
            ("began", _) => {
                let bytes = value.try_into().map_err(|_| "began is not 8 bytes")?;
                self.began = Some(i64::from_le_bytes(bytes));
            }
            (other, _) => return Err(format!("unknown part `{other}`")),
        }
        Ok(())
    }

    /// Alerts that were told as final.
    pub fn finals(&self) -> impl Iterator<Item = &Alert> {
        self.timelines.finals()
    }

    /// After the last [`restore`](Self::restore).
    pub fn restored(&mut self) {
        if let Some(window) = &mut self.window {
            window.restored();
            self.owed = self.timelines.owes();
        }
    }

    pub fn state_bytes(&self) -> usize {
        let remembered = match &self.recall {
            Recall::Nothing => 0,
            Recall::Terms(memory) | Recall::Signs(memory) => memory.len() * REMEMBERED_BYTES,
            Recall::Pairs(memory) => memory.len() * REMEMBERED_BYTES,
        };
        let window = self.window.as_ref().map_or(0, WindowState::state_bytes);
        window + remembered + self.timelines.matches() * MATCH_BYTES
    }
}

/// Stand-ins for the memory of one match and of one remembered key.
const MATCH_BYTES: usize = 2048;
const REMEMBERED_BYTES: usize = 384;

/// The candidate rows (all when none are named) that satisfy the predicate.
fn rows_that(
    predicate: Option<&Narrow>,
    events: &RecordBatch,
    candidates: Option<&UInt32Array>,
) -> Result<UInt32Array> {
    let Some(predicate) = predicate else {
        let all = || UInt32Array::from_iter_values(0..events.num_rows() as u32);
        return Ok(candidates.cloned().unwrap_or_else(all));
    };
    let narrow = row::gather(events, &predicate.columns, candidates)?;
    let answer = predicate.exprs[0]
        .evaluate(&narrow)?
        .into_array(narrow.num_rows())?;
    let mask = match answer.as_boolean() {
        mask if mask.null_count() == 0 => mask.clone(),
        mask => prep_null_mask_filter(mask),
    };
    let row = |i: usize| candidates.map_or(i as u32, |c| c.value(i));
    Ok(UInt32Array::from_iter_values(
        mask.values().set_indices().map(row),
    ))
}

fn times_of(events: &RecordBatch) -> &PrimitiveArray<TimestampMicrosecondType> {
    events.column(col::TIME).as_primitive()
}

fn key_text(key: &[(String, String)]) -> String {
    let parts: Vec<&str> = key.iter().map(|(_, value)| value.as_str()).collect();
    parts.join("\u{1f}")
}
