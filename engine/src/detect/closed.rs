//! Rules over a closed set of events: everything is final.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;

use super::operator::{Operator, Scope, WindowOperator};
use super::running::Filters;
use super::timeline::Timelines;
use super::{Detector, Limits, RunningRule};
use crate::alert::Alert;
use crate::dispatch::Rows;
use crate::health::RuleHealth;
use crate::plan::{self, Plan};
use crate::rule::Rule;
use crate::window::Answer;
use crate::{Error, Result, Tables};

/// Rules that are planned once and run over several closed sets of events.
#[derive(Debug)]
pub struct Planned {
    rules: Vec<(Rule, Plan)>,
    ctx: Arc<TaskContext>,
}

impl Planned {
    /// Plans rules. One that cannot run is an error.
    pub async fn new(rules: &[Rule], tables: &Tables) -> Result<Self> {
        let tables = tables.with_declared(rules.iter())?;
        let session = plan::session(&[], &tables).await?;
        let plans = plan::all(&session, &rules.iter().collect::<Vec<_>>());
        let planned = rules.iter().zip(plans);
        let planned = planned.map(|(rule, plan)| Ok((rule.clone(), plan?)));
        Ok(Self {
            rules: planned.collect::<Result<_>>()?,
            ctx: session.task_ctx(),
        })
    }

    /// The final alerts of one closed set of events.
    pub async fn run(&self, events: &[RecordBatch]) -> Result<Vec<Alert>> {
        let limits = Limits::default();
        let rules = self
            .rules
            .iter()
            .map(|(rule, plan)| RunningRule::new(rule.clone(), plan.clone(), None, &limits));
        let rules = rules.collect::<Result<_>>()?;
        let mut detector = Detector::of(rules, limits.clone(), self.ctx.clone());
        for batch in events {
            detector.push(batch).await;
        }
        detector.finish(i64::MAX).await;
        let alerts = detector.changes(false, None).await;
        match detector
            .health()
            .find_map(|(id, health)| Some((id.to_owned(), health.last_error.clone()?)))
        {
            Some((id, error)) => Err(Error::rule(id, error)),
            None => Ok(alerts),
        }
    }
}

/// Runs rules over events as one closed set: everything is final. For tests of rules and backtests.
pub async fn run_all(rules: &[Rule], events: &[RecordBatch]) -> Result<Vec<Alert>> {
    run_all_with(rules, events, &Tables::default()).await
}

/// The same, with reference tables.
pub async fn run_all_with(
    rules: &[Rule],
    events: &[RecordBatch],
    tables: &Tables,
) -> Result<Vec<Alert>> {
    Planned::new(rules, tables).await?.run(events).await
}

/// Answers of one window rule over a closed set of events, window by window. Training reads feature vectors
/// with it.
pub async fn answers(
    rule: &Rule,
    functions: &[ScalarUDF],
    events: &[RecordBatch],
) -> Result<Vec<Answer>> {
    let session = plan::session(functions, &Tables::default()).await?;
    let ctx = session.task_ctx();
    let plan = Plan::new(&session, rule).await?;
    let (Plan::Window(window_plan), Some(window)) = (&plan, rule.kind.window()) else {
        return Err(Error::rule(
            &rule.title,
            "a model is trained on windows; give it a window",
        ));
    };
    let limits = Limits::default();
    let mut operator = WindowOperator::new(window_plan.clone(), window, None, limits.amend)?;
    let filters = Filters::new(&plan)?;
    let mut scope = Scope {
        rule,
        over_alerts: false,
        timelines: &mut Timelines::default(),
        health: &mut RuleHealth::default(),
        clock: i64::MIN,
        amend: limits.amend,
        ctx: &ctx,
    };
    for batch in events {
        if let Some(rows) = filters.rows(batch, &Rows::All)? {
            operator.take(batch, &rows, &mut scope).await?;
        }
    }
    let mut answers = vec![];
    while operator.state.is_stale(i64::MAX) {
        let answered = operator.state.answer(i64::MAX, &ctx).await?;
        answers.extend(answered.into_iter().filter_map(|(_, answer)| answer));
    }
    Ok(answers)
}
