//! One loaded rule with its state: rows in, matches, alerts out.
//!
//! Whatever the kind, a rule turns rows into matches (at once, when a window is answered, or by what it
//! remembers), and its [`Timelines`] turn matches into alerts. Neither depends on the order of rows.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;

use super::operator::{Operator, Preview, Scope, operator};
use super::timeline::{Now, Place, Timelines};
use super::{Limits, layout, narrow, note};
use crate::alert::Alert;
use crate::detect::layout::Layout;
use crate::detect::narrow::Narrow;
use crate::dispatch::Rows;
use crate::health::RuleHealth;
use crate::plan::Plan;
use crate::rule::{Rule, RuleKind};
use crate::score::Score;
use crate::store::StateWrite;
use crate::watermark::Watermark;
use crate::{Error, Result};

#[derive(Debug)]
pub struct RunningRule {
    pub rule: Rule,
    pub version: String,
    pub health: RuleHealth,
    /// The rule reads alerts of other rules, not events.
    pub over_alerts: bool,
    /// What a row must satisfy to matter; none when every row does.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    pub layout: Layout,
    layout_written: bool,
    filters: Filters,
    operator: Box<dyn Operator>,
    timelines: Timelines,
    /// What lies before this is certain.
    clock: i64,
    amend: i64,
}

/// What the rows of each input of a plan must satisfy.
#[derive(Debug)]
pub struct Filters(Vec<Option<Narrow>>);

impl Filters {
    pub fn new(plan: &Plan) -> Result<Self> {
        let narrow = |p: &Arc<dyn PhysicalExpr>| Narrow::new(std::slice::from_ref(p));
        let inputs = plan.inputs().into_iter();
        let filters = inputs.map(|rows| rows.predicate.as_ref().map(narrow).transpose());
        Ok(Self(filters.collect::<Result<_>>()?))
    }

    /// The rows of each input among the candidates; nothing if there are none.
    pub fn rows(&self, events: &RecordBatch, rows: &Rows) -> Result<Option<Vec<UInt32Array>>> {
        let candidates = match rows {
            Rows::All => None,
            Rows::Some(rows) => Some(UInt32Array::from(rows.as_ref().clone())),
        };
        let inputs = self.0.iter();
        let rows =
            inputs.map(|filter| narrow::rows_that(filter.as_ref(), events, candidates.as_ref()));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Ok(Some(rows).filter(|rows| !rows.iter().all(UInt32Array::is_empty)))
    }
}

impl RunningRule {
    pub fn new(
        rule: Rule,
        plan: Plan,
        scorer: Option<Arc<dyn Score>>,
        limits: &Limits,
    ) -> Result<Self> {
        let version = rule.version();
        Ok(Self {
            health: RuleHealth {
                title: rule.title.clone(),
                level: rule.level.as_str().into(),
                version: version.clone(),
                path: rule.path.clone(),
                kind: rule.kind.as_str(),
                ..RuleHealth::default()
            },
            version,
            over_alerts: plan.reads_alerts(),
            predicate: plan.predicate(),
            layout: Layout::of(&plan),
            layout_written: false,
            filters: Filters::new(&plan)?,
            operator: operator(&rule, plan, scorer, limits)?,
            rule,
            timelines: Timelines::default(),
            clock: i64::MIN,
            amend: limits.amend,
        })
    }

    /// Owner of this rule's state in the store.
    pub fn owner(&self) -> String {
        format!("rule/{}/{}", self.rule.id, self.version)
    }

    /// Whether it takes rows of events, or of alerts.
    pub fn takes(&self, over_alerts: bool) -> bool {
        self.over_alerts == over_alerts && self.health.suspended.is_none()
    }

    /// The operator, and what it works with.
    fn parts<'a>(&'a mut self, ctx: &'a Arc<TaskContext>) -> (&'a mut dyn Operator, Scope<'a>) {
        let scope = Scope {
            rule: &self.rule,
            over_alerts: self.over_alerts,
            timelines: &mut self.timelines,
            health: &mut self.health,
            clock: self.clock,
            amend: self.amend,
            ctx,
        };
        (self.operator.as_mut(), scope)
    }

    /// Evaluates the rule on candidate rows of a batch.
    pub async fn push(
        &mut self,
        events: &RecordBatch,
        rows: &Rows,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let Some(rows) = self.filters.rows(events, rows)? else {
            return Ok(());
        };
        let (operator, mut scope) = self.parts(ctx);
        operator.take(events, &rows, &mut scope).await
    }

    /// Answers windows that the watermark has passed; what is behind it is certain. `newest` is the latest
    /// event time there was: once time has ended, absences are judged by it.
    pub async fn advance(
        &mut self,
        watermark: Watermark,
        newest: i64,
        ctx: &Arc<TaskContext>,
    ) -> Result<()> {
        let clock = match (watermark, &self.rule.kind) {
            (Watermark::Ended, RuleKind::Absence(_)) => newest.saturating_add(1),
            (watermark, _) => watermark.before(),
        };
        self.clock = self.clock.max(clock);
        let (operator, mut scope) = self.parts(ctx);
        operator.advance(watermark, newest, &mut scope).await
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
        let wanted = Preview {
            wanted: preview,
            newest,
        };
        let (operator, mut scope) = self.parts(ctx);
        operator.answer(wanted, &mut scope).await?;
        let silent = self.operator.warmups();
        let closed = self.operator.closed_to();
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
        let remembers = !self.rule.kind.remembered().is_empty();
        !self.over_alerts && !remembers && self.rule.reach().episode == 0
    }

    /// Takes rows back, by time and id. Gives the times `[from, to)` whose other rows have to be given anew.
    pub fn take_back(&mut self, gone: &[Place], ctx: &Arc<TaskContext>) -> Vec<(i64, i64)> {
        let (operator, mut scope) = self.parts(ctx);
        operator.take_back(gone, &mut scope)
    }

    /// Counts an error, and shows it.
    pub fn note(&mut self, error: &Error) {
        note(&mut self.health, &self.rule, error);
    }

    /// Its id, and its health as it is now.
    pub fn health(&mut self) -> (&str, &RuleHealth) {
        self.health.learning_to = self.operator.learning_to(self.clock);
        self.health.state_bytes = self.state_bytes() as u64;
        (&self.rule.id, &self.health)
    }

    /// Stops taking rows and lets go of the state, for the reason given. A restart begins anew.
    pub fn suspend(&mut self, reason: String) {
        self.health.suspended = Some(reason);
        self.operator.clear();
        self.timelines.clear();
    }

    /// Takes late rows no longer, to save memory. False if it took none before.
    pub fn amend_no_more(&mut self) -> bool {
        if self.amend == 0 {
            return false;
        }
        self.amend = 0;
        // Keys let go of their matches as they are looked at.
        self.timelines.refold();
        self.operator.amend_no_more();
        true
    }

    /// Pieces of state that changed since the last call.
    pub fn take_state(&mut self) -> Result<Vec<StateWrite>> {
        let owner = self.owner();
        let mut writes = vec![];
        if !self.layout_written && self.health.suspended.is_none() {
            self.layout_written = true;
            let json = serde_json::to_vec(&self.layout).map_err(|e| Error::Other(e.to_string()))?;
            writes.push(StateWrite {
                owner: format!("{owner}/{}", layout::PART),
                key: 0,
                value: Some(json),
            });
        }
        self.operator.checkpoint(&owner, &mut writes)?;
        // A finished run closes windows ahead of its watermark: what it found there is to stand when the next one starts.
        let closed = self.operator.closed_to();
        let known = self.clock.max(closed.unwrap_or(i64::MIN));
        self.timelines.take_state(&owner, known, &mut writes)?;
        Ok(writes)
    }

    /// Puts back one piece; `part` is what follows the owner. Pieces of a part come in ascending order.
    pub fn restore(&mut self, part: &str, key: i64, value: &[u8]) -> Result<(), String> {
        match part {
            // One by one, as they were stored before there was a log.
            "matches" => self.timelines.restore_single(key, value),
            "match-log" => self.timelines.restore_piece(key, value),
            "heads" => self.timelines.restore_head(value),
            // The detector has compared it. One of an earlier format is written anew with the first pieces of this one.
            layout::PART => {
                self.layout_written = self.layout.is(value);
                Ok(())
            }
            part => self.operator.restore(part, key, value),
        }
    }

    /// After the last [`restore`](Self::restore). What lies before `watermark` was certain already, absences
    /// also before `ended`.
    pub fn restored(&mut self, watermark: Option<i64>, ended: i64, ctx: &Arc<TaskContext>) {
        self.clock = watermark.unwrap_or(i64::MIN);
        if self.rule.kind.absence().is_some() {
            self.clock = self.clock.max(ended);
        }
        let (operator, mut scope) = self.parts(ctx);
        operator.restored(&mut scope);
    }

    pub fn state_bytes(&self) -> usize {
        self.operator.bytes() + self.timelines.bytes()
    }
}
