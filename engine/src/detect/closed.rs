//! Rules over a closed set of events: everything is final.

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::ScalarUDF;

use super::{Detector, Limits, RunningRule};
use crate::alert::Alert;
use crate::dispatch::Rows;
use crate::plan::{self, Plan};
use crate::rule::Rule;
use crate::window::Answer;
use crate::{Error, Result, Tables};

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
    let made = Detector::open(rules.to_vec(), vec![], Limits::default(), tables).await;
    let (mut detector, refused) = made?;
    if let Some(error) = refused.into_iter().next() {
        return Err(error);
    }
    for batch in events {
        detector.push(batch).await;
    }
    detector.advance(i64::MAX).await;
    let alerts = detector.changes(false, None).await;
    match detector
        .health()
        .find_map(|(id, health)| Some((id.to_owned(), health.last_error.clone()?)))
    {
        Some((id, error)) => Err(Error::rule(id, error)),
        None => Ok(alerts),
    }
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
    let mut running = RunningRule::new(rule.clone(), plan, None, &Limits::default())?;
    for batch in events {
        running.push(batch, &Rows::All, &ctx).await?;
    }
    let mut answers = vec![];
    if let Some(window) = &mut running.window {
        while window.is_stale(i64::MAX) {
            let answered = window.answer(i64::MAX, &ctx).await?;
            answers.extend(answered.into_iter().filter_map(|(_, answer)| answer));
        }
    }
    Ok(answers)
}
