//! The detector: event batches in, alerts out. All rules, per-event and windowed, and the anomaly models.
//!
//! A rule that fails or panics does not touch the others: its error is counted and shown in its health, and
//! the rows that it failed on are found by halving, so that one bad row costs no good one.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use futures::FutureExt;
use futures::future::BoxFuture;
use hashbrown::HashSet;

use crate::alert::{Alert, AlertState};
use crate::dispatch::{Dispatch, Rows};
use crate::health::RuleHealth;
use crate::plan;
use crate::rule::Rule;
use crate::schema::col;
use crate::score::Score;
use crate::watermark::Watermark;
use crate::{Error, Result, Tables, parallel};

mod closed;
mod ending;
mod episode;
mod fed;
pub mod feed;
mod guard;
mod history;
mod layout;
mod limits;
mod memory;
pub(crate) mod narrow;
mod operator;
mod reach;
pub mod row;
mod running;
mod state;
mod terms;
mod timeline;
mod told;

pub use closed::{Planned, answers, run_all, run_all_with};
pub(crate) use ending::Ending;
use fed::Fed;
use guard::{count, guarded, halves};
pub use limits::Limits;
pub use running::RunningRule;

/// A rule whose answers a trained model scores.
#[derive(Debug, Clone)]
pub struct ModelRule {
    pub rule: Rule,
    pub scorer: Arc<dyn Score>,
    /// Functions that the feature query calls.
    pub functions: Vec<ScalarUDF>,
}

#[derive(Debug)]
pub struct Detector {
    limits: Limits,
    ending: Ending,
    /// Where time would end by the rows so far.
    newest: i64,
    /// The latest that this ever was: open windows up to it were answered, and a restart has to answer the same ones.
    early: i64,
    /// Latest time up to which the absence of events was certain because the input was closed.
    ended: i64,
    watermark: Option<Watermark>,
    fed: Fed,
    /// Provisional alerts of rules, or versions of them, that are no more.
    orphans: Vec<Alert>,
    #[expect(
        clippy::vec_box,
        reason = "rules are moved to the threads that run them, and back"
    )]
    rules: Vec<Box<RunningRule>>,
    dispatch: Dispatch,
    ctx: Arc<TaskContext>,
}

impl Detector {
    /// Plans all rules. Those that cannot be run come back as errors; the others run.
    pub async fn new(rules: Vec<Rule>, models: Vec<ModelRule>) -> Result<(Self, Vec<Error>)> {
        Self::open(rules, models, Limits::default(), &Tables::default()).await
    }

    /// The same, within other limits and with reference tables.
    pub async fn open(
        rules: Vec<Rule>,
        models: Vec<ModelRule>,
        limits: Limits,
        tables: &Tables,
    ) -> Result<(Self, Vec<Error>)> {
        let functions: Vec<ScalarUDF> = models
            .iter()
            .flat_map(|m| m.functions.iter().cloned())
            .collect();
        let of_models = models.iter().map(|model| &model.rule);
        let tables = tables.with_declared(rules.iter().chain(of_models))?;
        let session = plan::session(&functions, &tables).await?;
        let plain = rules.into_iter().map(|rule| (rule, None));
        let scored = models
            .into_iter()
            .map(|model| (model.rule, Some(model.scorer)));
        let all: Vec<_> = plain.chain(scored).collect();
        let planned = plan::all(
            &session,
            &all.iter().map(|(rule, _)| rule).collect::<Vec<_>>(),
        );
        let (mut running, mut refused) = (vec![], vec![]);
        for ((rule, scorer), plan) in all.into_iter().zip(planned) {
            match plan {
                Ok(plan) => running.push(RunningRule::new(rule, plan, scorer, &limits)?),
                Err(error) => refused.push(error),
            }
        }
        Ok((Self::of(running, limits, session.task_ctx()), refused))
    }

    /// Of rules that are ready to run.
    fn of(rules: Vec<RunningRule>, limits: Limits, ctx: Arc<TaskContext>) -> Self {
        let predicates: Vec<_> = rules.iter().map(|r| r.predicate.clone()).collect();
        Self {
            limits,
            ending: Ending::default(),
            newest: i64::MIN,
            early: i64::MIN,
            ended: i64::MIN,
            watermark: None,
            fed: Fed::default(),
            orphans: vec![],
            dispatch: Dispatch::new(&predicates),
            rules: rules.into_iter().map(Box::new).collect(),
            ctx,
        }
    }

    pub fn rules(&self) -> impl ExactSizeIterator<Item = &RunningRule> {
        self.rules.iter().map(|rule| &**rule)
    }

    /// Does work on the rules for which there is a job, on all cores, the costly ones first. What one rule does depends on no
    /// other. Gives what became of each, in their order. While it is under way the rules are not here: whoever drops it, drops
    /// the detector.
    async fn each<J: Send + 'static, R: Send + 'static>(
        &mut self,
        mut job: impl FnMut(usize, &RunningRule) -> Option<J>,
        work: impl for<'a> Fn(&'a mut RunningRule, J) -> BoxFuture<'a, R> + Send + Sync + 'static,
    ) -> Vec<R> {
        let rules = std::mem::take(&mut self.rules).into_iter().enumerate();
        let (mut all, mut jobs) = (Vec::with_capacity(rules.len()), vec![]);
        for (index, rule) in rules {
            match job(index, &rule) {
                Some(job) => {
                    jobs.push((index, rule, Some(job)));
                    all.push(None);
                }
                None => all.push(Some(rule)),
            }
        }
        jobs.sort_by_key(|(_, rule, _)| Reverse(rule.health.cost_ns));
        let done = parallel::each(jobs, move |(_, rule, job)| {
            let started = Instant::now();
            let done = job.take().map(|job| work(rule, job));
            async move {
                let made = match done {
                    Some(work) => Some(work.await),
                    None => None,
                };
                (made, started.elapsed())
            }
            .boxed()
        });
        let mut made = vec![];
        for ((index, mut rule, _), (of, took)) in done.await {
            rule.health.cost_ns += took.as_nanos() as u64;
            all[index] = Some(rule);
            made.extend(of.map(|of| (index, of)));
        }
        self.rules = all.into_iter().flatten().collect();
        made.sort_unstable_by_key(|(index, _)| *index);
        made.into_iter().map(|(_, made)| made).collect()
    }

    /// Runs every rule over new events. Rows are aggregated; nothing is answered before
    /// [`advance`](Self::advance).
    pub async fn push(&mut self, events: &RecordBatch) {
        if events.num_rows() == 0 {
            return;
        }
        let times = events
            .column(col::TIME)
            .as_primitive::<TimestampMicrosecondType>();
        self.ending.note(times.values());
        self.newest = self.ending.end(i64::MAX);
        self.early = self.early.max(self.newest);
        self.push_to(events, false).await;
    }

    /// Gives rows to the rules over events, or to those over alerts.
    async fn push_to(&mut self, events: &RecordBatch, over_alerts: bool) {
        let mut candidates = vec![None; self.rules.len()];
        for (index, rows) in self.dispatch.candidates(events) {
            candidates[index] = Some(rows);
        }
        let events = Arc::new((events.clone(), self.ctx.clone()));
        self.each(
            |index, rule| candidates[index].take().filter(|_| rule.takes(over_alerts)),
            move |rule, rows| {
                let events = events.clone();
                async move { push(rule, &events.0, rows, &events.1).await }.boxed()
            },
        )
        .await;
    }

    /// The input is closed: answers everything. Rows after `limit` have clocks in the future, by which nothing is
    /// judged.
    pub async fn finish(&mut self, limit: i64) {
        self.newest = self.ending.end(limit);
        self.ended = self.ended.max(self.newest.saturating_add(1));
        self.move_to(Watermark::Ended).await;
    }

    /// Answers what lies before the watermark.
    pub async fn advance(&mut self, watermark: i64) {
        self.move_to(Watermark::At(watermark)).await;
    }

    async fn move_to(&mut self, watermark: Watermark) {
        self.watermark = Some(watermark);
        self.advance_rules(watermark, false).await;
    }

    async fn advance_rules(&mut self, watermark: Watermark, over_alerts: bool) {
        let (newest, ctx) = (self.newest, self.ctx.clone());
        self.each(
            |_, rule| (rule.over_alerts == over_alerts).then_some(()),
            move |rule, ()| {
                let ctx = ctx.clone();
                async move {
                    if let Err(error) = guarded(rule.advance(watermark, newest, &ctx)).await {
                        rule.note(&error);
                    }
                }
                .boxed()
            },
        )
        .await;
    }

    /// New and changed alerts since the last call, in order of time. With `preview`, also provisional ones.
    pub async fn changes(&mut self, preview: bool, watermark: Option<i64>) -> Vec<Alert> {
        let alerts = self.answer(preview, watermark).await;
        self.answer_over(alerts, preview, watermark).await
    }

    /// The first step of [`changes`](Self::changes): alerts of rules over events, those of building blocks among them.
    pub async fn answer(&mut self, preview: bool, watermark: Option<i64>) -> Vec<Alert> {
        let mut alerts = self.changes_of(false, preview, watermark).await;
        alerts.extend(self.orphans.drain(..).map(|orphan| Alert {
            state: AlertState::Retracted,
            revision: orphan.revision + 1,
            watermark,
            ..orphan
        }));
        alerts
    }

    /// The second: rules over alerts see these and answer. Gives all that are to be told.
    pub async fn answer_over(
        &mut self,
        mut alerts: Vec<Alert>,
        preview: bool,
        watermark: Option<i64>,
    ) -> Vec<Alert> {
        if self.rules.iter().any(|rule| rule.over_alerts) {
            self.feed(&alerts).await;
            if let Some(watermark) = self.watermark {
                self.advance_rules(watermark, true).await;
            }
            alerts.extend(self.changes_of(true, preview, watermark).await);
        }
        let silent = self.rules.iter().filter(|rule| rule.rule.building_block);
        let silent: HashSet<&str> = silent.map(|rule| rule.rule.id.as_str()).collect();
        alerts.retain(|alert| !silent.contains(alert.rule_id.as_str()));
        drop(silent);
        alerts.sort_by(|a, b| (a.first_time, &a.alert_id).cmp(&(b.first_time, &b.alert_id)));
        self.keep_limits();
        alerts
    }

    async fn changes_of(
        &mut self,
        over_alerts: bool,
        preview: bool,
        watermark: Option<i64>,
    ) -> Vec<Alert> {
        let (early, ctx) = (self.early, self.ctx.clone());
        let changed = self.each(
            |_, rule| (rule.over_alerts == over_alerts).then_some(()),
            move |rule, ()| {
                let ctx = ctx.clone();
                async move {
                    match guarded(rule.changes(preview, early, watermark, &ctx)).await {
                        Ok(changed) => {
                            let new = changed.iter().filter(|alert| alert.revision == 1);
                            rule.health.alerts += new.count() as u64;
                            changed
                        }
                        Err(error) => {
                            rule.note(&error);
                            vec![]
                        }
                    }
                }
                .boxed()
            },
        );
        changed.await.into_iter().flatten().collect()
    }

    /// Whether an alert can still change.
    pub fn is_live(&self, alert: &Alert) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.rule.id == alert.rule_id && rule.is_live(&alert.alert_id))
    }

    /// Health of every rule, by rule id.
    pub fn health(&mut self) -> impl Iterator<Item = (&str, &RuleHealth)> {
        let rules = self.rules.iter_mut();
        rules.map(|rule| rule.health())
    }
}

/// Evaluates a rule on rows of a batch, depth first over halves: only the rows that fail alone are given up.
async fn push(rule: &mut RunningRule, events: &RecordBatch, rows: Rows, ctx: &Arc<TaskContext>) {
    rule.health.rows_evaluated += count(events, &rows) as u64;
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        let Err(error) = guarded(rule.push(events, &part, ctx)).await else {
            continue;
        };
        match halves(events, &part) {
            Some((left, right)) => parts.extend([right, left]),
            None => rule.note(&error),
        }
    }
}

/// The same with rows that were taken and counted before.
async fn push_again(rule: &mut RunningRule, events: &RecordBatch, ctx: &Arc<TaskContext>) {
    let of = |health: &RuleHealth| {
        (
            health.rows_evaluated,
            health.rows_late,
            health.rows_too_late,
        )
    };
    let counted = of(&rule.health);
    push(rule, events, Rows::All, ctx).await;
    let health = &mut rule.health;
    (
        health.rows_evaluated,
        health.rows_late,
        health.rows_too_late,
    ) = counted;
}

fn note(health: &mut RuleHealth, rule: &Rule, error: &Error) {
    health.errors += 1;
    let text = error.to_string();
    if health.last_error.as_ref() != Some(&text) {
        tracing::warn!(rule = rule.title, %error, "a rule failed; the others go on");
        health.last_error = Some(text);
    }
}
