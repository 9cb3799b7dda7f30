//! What turns rows into matches: one operator for each kind of rule.
//!
//! An operator keeps what its kind remembers beside its matches, which it puts into the rule's [`Timelines`]. Whatever the order
//! in which rows come, it ends with the same matches.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::execution::TaskContext;

use crate::detect::Limits;
use crate::detect::timeline::{Place, Timelines};
use crate::health::RuleHealth;
use crate::plan::{EventPlan, Plan};
use crate::rule::{Rule, RuleKind};
use crate::schema::col;
use crate::score::Score;
use crate::store::StateWrite;
use crate::watermark::Watermark;
use crate::{Error, Result};

mod absence;
mod event;
mod first_seen;
mod keyed;
mod matching;
mod window;

use self::absence::AbsenceOperator;
use self::event::EventOperator;
use self::first_seen::FirstSeenOperator;
pub use self::window::WindowOperator;

/// What an operator works with beside its own state.
#[derive(Debug)]
pub struct Scope<'a> {
    pub rule: &'a Rule,
    /// The rule reads alerts of other rules, not events.
    pub over_alerts: bool,
    pub timelines: &'a mut Timelines,
    pub health: &'a mut RuleHealth,
    /// What lies before this is certain.
    pub clock: i64,
    /// How far behind it late rows are taken, µs.
    pub amend: i64,
    pub ctx: &'a Arc<TaskContext>,
}

impl Scope<'_> {
    /// Rows before this change nothing any more.
    fn horizon(&self) -> i64 {
        self.clock.saturating_sub(self.amend)
    }

    /// Counts and shows an error that cost a row or a match.
    fn note(&mut self, error: &Error) {
        super::note(self.health, self.rule, error);
    }
}

/// Which windows that are not over yet are answered.
#[derive(Debug, Clone, Copy)]
pub struct Preview {
    /// Those that hold the newest event; otherwise only what an earlier run told of and has to be confirmed.
    pub wanted: bool,
    /// The latest event time there was.
    pub newest: i64,
}

#[async_trait]
pub trait Operator: Debug + Send {
    /// Takes the rows of a batch that satisfy the rule, by input of its plan. If it fails, nothing was taken.
    async fn take(
        &mut self,
        events: &RecordBatch,
        rows: &[UInt32Array],
        scope: &mut Scope<'_>,
    ) -> Result<()>;

    /// Time has moved, and the clock with it: answers what lies before it, and forgets what no row reaches. `newest` is the latest event time
    /// there was.
    async fn advance(
        &mut self,
        watermark: Watermark,
        newest: i64,
        scope: &mut Scope<'_>,
    ) -> Result<()>;

    /// Brings matches of what is not certain yet up to date.
    async fn answer(&mut self, _preview: Preview, _scope: &mut Scope<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes rows back, by time and id. Gives the times `[from, to)` of which nothing is left and whose other rows have to be
    /// given anew, as aggregates cannot be undone.
    fn take_back(&mut self, _gone: &[Place], _scope: &mut Scope<'_>) -> Vec<(i64, i64)> {
        vec![]
    }

    /// Pieces of state that changed since the last call.
    fn checkpoint(&mut self, _owner: &str, _writes: &mut Vec<StateWrite>) -> Result<()> {
        Ok(())
    }

    /// Puts back one piece; `part` is what follows the owner. Pieces of a part come in ascending order.
    fn restore(&mut self, part: &str, _key: i64, _value: &[u8]) -> Result<(), String> {
        Err(format!("the rule keeps nothing as `{part}`"))
    }

    /// After the last piece, with the clock from which time goes on and the matches that stand.
    fn restored(&mut self, _scope: &mut Scope<'_>) {}

    /// Memory, about.
    fn bytes(&self) -> usize {
        0
    }

    /// Lets go of everything, also in the store.
    fn clear(&mut self) {}

    /// Takes late rows no longer, to save memory.
    fn amend_no_more(&mut self) {}

    /// Everything before this was answered for good; nothing if that is the clock.
    fn closed_to(&self) -> Option<i64> {
        None
    }

    /// Times whose matches nobody is told of, as the rule learns.
    fn warmups(&self) -> Vec<(i64, i64)> {
        vec![]
    }

    /// End of the warm-up that lasts at this clock, µs of event time.
    fn learning_to(&self, _clock: i64) -> Option<i64> {
        None
    }
}

/// The operator of a rule. `scorer`: the rule is a model's, whose answers are scored.
pub fn operator(
    rule: &Rule,
    plan: Plan,
    scorer: Option<Arc<dyn Score>>,
    limits: &Limits,
) -> Result<Box<dyn Operator>> {
    if let Plan::Event(plan) = &plan
        && !rule.kind.remembered().is_empty()
        && plan.remembered.is_none()
        && !plan.joined
    {
        let reason = "it was planned without the columns that it remembers";
        return Err(Error::rule(&rule.title, reason));
    }
    Ok(match (&rule.kind, plan, scorer) {
        (RuleKind::Window(window), Plan::Window(plan), scorer) => {
            Box::new(WindowOperator::new(plan, *window, scorer, limits.amend)?)
        }
        (RuleKind::Event | RuleKind::Finding(_), Plan::Event(plan), None) => {
            Box::new(EventOperator::new(plan))
        }
        (RuleKind::NewTerms(terms), Plan::Event(plan), None) => {
            Box::new(FirstSeenOperator::new(plan, terms.clone()))
        }
        (RuleKind::Absence(absence), Plan::Event(plan), None) => {
            Box::new(AbsenceOperator::new(plan, absence.clone()))
        }
        (_, _, Some(_)) => {
            return Err(Error::rule(
                &rule.title,
                "a model scores windows; give it a window",
            ));
        }
        (kind, Plan::Event(_) | Plan::Window(_), None) => {
            let reason = format!(
                "it was planned as another kind of rule than {}",
                kind.as_str()
            );
            return Err(Error::rule(&rule.title, reason));
        }
    })
}

fn times_of(events: &RecordBatch) -> &PrimitiveArray<TimestampMicrosecondType> {
    events.column(col::TIME).as_primitive()
}
