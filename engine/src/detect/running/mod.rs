//! One loaded rule with its state: rows in, matches, alerts out.
//!
//! Whatever the kind, a rule turns rows into matches (at once, when a window is answered, or by what it
//! remembers), and its [`Timelines`] turn matches into alerts. Neither depends on the order of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;

use crate::alert::Alert;
use crate::detect::Limits;
use crate::detect::episode::episode_length;
use crate::detect::layout::{self, Layout};
use crate::detect::narrow::{self, Narrow};
use crate::detect::recall::{self, Recall};
use crate::detect::terms::Stretches;
use crate::detect::timeline::{Now, Place, Timelines};
use crate::dispatch::Rows;
use crate::plan::Plan;
use crate::rule::Rule;
use crate::schema::col;
use crate::score::Score;
use crate::store::StateWrite;
use crate::window::WindowState;
use crate::{Error, Result};

mod events;
mod remember;
mod windows;

use self::windows::Keys;

#[derive(Debug)]
pub struct RunningRule {
    pub rule: Rule,
    pub version: String,
    pub plan: Plan,
    pub layout: Layout,
    layout_written: bool,
    scorer: Option<Arc<dyn Score>>,
    /// The rule reads alerts of other rules, not events.
    pub over_alerts: bool,
    /// By input of the plan.
    predicates: Vec<Option<Narrow>>,
    keys: Option<Keys>,
    pub window: Option<WindowState>,
    /// Standing matches of each answered window, by its end.
    window_matches: BTreeMap<i64, Vec<(String, Place)>>,
    recall: Recall,
    /// When a first-seen rule saw rows.
    seen: Stretches,
    seen_written: bool,
    timelines: Timelines,
    /// What lies before this is certain.
    clock: i64,
    amend: i64,
    /// Clock at which what is remembered is looked through next.
    forget_at: i64,
    /// Open windows must be answered once, whatever the mode: an earlier run told provisional alerts.
    owed: bool,
    /// Why a match was given up.
    pub failed: Option<Error>,
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
            (Plan::Window(plan), Some(window)) => (
                Some(WindowState::new(plan.clone(), window, limits.amend)),
                Some(Keys::new(plan)?),
            ),
            _ => (None, None),
        };
        Ok(Self {
            version: rule.version(),
            over_alerts: plan.reads_alerts(),
            recall: Recall::new(&rule),
            rule,
            layout: Layout::of(&plan),
            layout_written: false,
            plan,
            scorer,
            predicates,
            keys,
            window,
            window_matches: BTreeMap::new(),
            seen: Stretches::default(),
            seen_written: true,
            timelines: Timelines::default(),
            clock: i64::MIN,
            amend: limits.amend,
            forget_at: i64::MIN,
            owed: false,
            failed: None,
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
            matched.push(narrow::rows_that(
                predicate.as_ref(),
                events,
                candidates.as_ref(),
            )?);
        }
        if matched.iter().all(UInt32Array::is_empty) {
            return Ok(());
        }
        match &self.plan {
            Plan::Event(_) => self.add_rows(events, &matched[0], ctx).await,
            Plan::Window(_) => self.add_to_window(events, &matched, ctx).await,
        }
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
            window.close(self.clock, newest);
            let horizon = window.horizon();
            self.window_matches = self.window_matches.split_off(&horizon.saturating_add(1));
        }
        self.forget();
        Ok(())
    }

    /// Drops what is remembered and cannot matter any more; now and then, where it looks at everything.
    fn forget(&mut self) {
        // An alert becomes certain, or is taken back, at any time after its own.
        if !self.over_alerts && self.clock < i64::MAX {
            self.recall.settle(self.clock.saturating_sub(self.amend));
        }
        if self.clock >= self.forget_at && self.clock < i64::MAX {
            self.forget_at = self.clock.saturating_add(recall::gap(&self.rule) / 8);
            let from = self.clock.saturating_sub(self.amend);
            self.recall.forget(&self.rule, from);
        }
    }

    /// Whether matches can still join this alert, or it can still be retracted.
    pub fn is_live(&self, alert_id: &str) -> bool {
        self.timelines.is_live(alert_id)
    }

    /// Alerts that are new, changed or retracted since the last call. With `preview`, also of matches that are
    /// not certain yet. `newest` is the latest event time there was.
    pub async fn changes(
        &mut self,
        preview: bool,
        newest: i64,
        watermark: Option<i64>,
        ctx: &Arc<TaskContext>,
    ) -> Result<Vec<Alert>> {
        let open = preview || std::mem::take(&mut self.owed);
        let newest = self.window.as_ref().map(|window| window.newest_end(newest));
        let early = newest.filter(|_| open).unwrap_or(i64::MIN);
        self.answer(self.clock.max(early), ctx).await?;
        let silent = match &self.rule.new_terms {
            Some(terms) => self.seen.warmups(terms.warmup),
            None => vec![],
        };
        let closed = self.window.as_ref().map(WindowState::closed_to);
        let now = Now {
            clock: self.clock,
            kept_from: closed.map_or(self.clock, |closed| closed.min(self.clock)),
            preview,
            watermark,
        };
        let amend = match self.stands_alone() {
            true => 0,
            false => self.amend,
        };
        let told = self
            .timelines
            .tell(&self.rule, &self.version, now, &silent, amend);
        Ok(told)
    }

    /// Whether each match is an alert that nothing that comes late can change.
    fn stands_alone(&self) -> bool {
        let remembers = self.rule.new_terms.is_some() || self.rule.absence.is_some();
        !self.over_alerts && !remembers && episode_length(&self.rule) == 0
    }

    /// End of the warm-up of a first-seen rule, µs of event time, while it lasts.
    pub fn learning_to(&self) -> Option<i64> {
        let terms = self.rule.new_terms.as_ref()?;
        self.seen.learning_to(self.clock, terms.warmup)
    }

    /// Stops taking rows and lets go of the state, for the reason given. A restart begins anew.
    pub fn suspend(&mut self, reason: String) {
        self.suspended = Some(reason);
        self.recall.clear();
        self.seen = Stretches::default();
        self.seen_written = false;
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
        if !self.layout_written && self.suspended.is_none() {
            self.layout_written = true;
            let json = serde_json::to_vec(&self.layout).map_err(|e| Error::Other(e.to_string()))?;
            writes.push(StateWrite {
                owner: format!("{owner}/{}", layout::PART),
                key: 0,
                value: Some(json),
            });
        }
        if let Some(window) = &mut self.window {
            for piece in window.take_pieces()? {
                writes.push(StateWrite {
                    owner: format!("{owner}/panes/{}", piece.pane),
                    key: piece.number,
                    value: piece.value,
                });
            }
            if let Some(closed_to) = window.take_closed() {
                writes.push(StateWrite {
                    owner: format!("{owner}/closed"),
                    key: 0,
                    value: Some(closed_to.to_le_bytes().to_vec()),
                });
            }
        }
        // A finished run closes windows ahead of its watermark: what it found there is to stand when the next one starts.
        let closed = self.window.as_ref().map(WindowState::closed_to);
        let known = self.clock.max(closed.unwrap_or(i64::MIN));
        self.timelines.take_state(&owner, known, &mut writes)?;
        self.recall.take_state(&owner, &mut writes)?;
        if !self.seen_written {
            self.seen_written = true;
            let json = serde_json::to_vec(&self.seen).map_err(|e| Error::Other(e.to_string()))?;
            writes.push(StateWrite {
                owner: format!("{owner}/seen"),
                key: 0,
                value: Some(json).filter(|_| self.suspended.is_none()),
            });
        }
        Ok(writes)
    }

    /// Puts back one piece; `part` is what follows the owner. Pieces of a part come in ascending order.
    pub fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        if let Some(pane) = part.strip_prefix("panes/") {
            let pane = pane
                .parse()
                .map_err(|_| format!("`{pane}` is not a time"))?;
            let window = self.window.as_mut().ok_or("the rule has no window")?;
            return window.restore(pane, key, value);
        }
        match part {
            "closed" => {
                let window = self.window.as_mut().ok_or("the rule has no window")?;
                let bytes = value.try_into().map_err(|_| "not 8 bytes")?;
                window.restore_closed(i64::from_le_bytes(bytes));
            }
            // One by one, as they were stored before there was a log.
            "matches" => self.timelines.restore_single(key, value)?,
            "match-log" => self.timelines.restore_piece(key, value)?,
            // The detector has compared it.
            layout::PART => self.layout_written = true,
            "heads" => self.timelines.restore_head(value)?,
            "memory" | recall::HISTORY => self.recall.restore(part, key, value)?,
            "seen" => self.seen = serde_json::from_slice(value).map_err(|e| e.to_string())?,
            other => return Err(format!("unknown part `{other}`")),
        }
        Ok(())
    }

    /// After the last [`restore`](Self::restore). What lies before `watermark` was certain already, absences
    /// also before `ended`.
    pub fn restored(&mut self, watermark: Option<i64>, ended: i64) {
        self.clock = watermark.unwrap_or(i64::MIN);
        if self.rule.absence.is_some() {
            self.clock = self.clock.max(ended);
        }
        for (end, home, place) in self.timelines.windows() {
            let matches = self.window_matches.entry(end).or_default();
            matches.push((home.to_owned(), place.clone()));
        }
        if let Some(window) = &mut self.window {
            window.restored(self.clock);
            self.owed = self.timelines.owes();
        }
    }

    pub fn state_bytes(&self) -> usize {
        let window = self.window.as_ref().map_or(0, WindowState::state_bytes);
        window + self.recall.bytes() + self.timelines.bytes()
    }
}

fn times_of(events: &RecordBatch) -> &PrimitiveArray<TimestampMicrosecondType> {
    events.column(col::TIME).as_primitive()
}
