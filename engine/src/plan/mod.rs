//! From a rule's SQL to plans that run on batches: planned once, split once, bound to rows many times.
//!
//! A plan is a template whose leaves mark where rows go; [`run`] puts rows there. A per-event rule is one
//! template. A window rule over one GROUP BY is split at its lowest aggregate into `partial` (rows → states),
//! `merge` (states → states) and `finish` (states → answer); its state is Arrow batches of partial aggregates.
//! Any other query of a window rule (joins, `lag()`, subqueries) keeps the rows that its filters let through
//! and runs whole over the rows of each window; see [`whole`].
//!
//! Only shapes whose answer cannot depend on batching are admitted; anything else is refused here, at load,
//! with the reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionContext;
use futures::executor::block_on;

pub use self::grouped::Grouped;
pub use self::need::{CONDITIONS, Need, Tally};
use self::split::Refusal;
pub use self::template::{run, session};
use crate::detect::feed;
use crate::dispatch::necessary;
use crate::finding::Finding;
use crate::rule::Rule;
use crate::schema;
use crate::{Error, Result, parallel};

mod abridged;
mod direct;
mod grouped;
mod lineage;
mod need;
pub(crate) mod pattern;
mod repeatable;
mod rows;
mod split;
mod template;
mod whole;

/// The part of a rule that looks at one row at a time.
#[derive(Debug, Clone)]
pub struct RowPart {
    /// What a row must satisfy, over the event schema; none when every row passes.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Event columns that the plan's leaf expects, by index.
    pub columns: Vec<usize>,
    /// What is computed of them.
    steps: Vec<rows::Step>,
}

#[derive(Debug, Clone)]
pub struct EventPlan {
    pub rows: RowPart,
    /// What runs if the query is joined. Otherwise it may lack the columns of a star.
    pub template: Arc<dyn ExecutionPlan>,
    /// Schema of what the query returns.
    pub output: SchemaRef,
    /// The query joins reference tables: its rows are told apart by their columns `time` and `event_uid`.
    pub joined: bool,
    /// For a rule that remembers: what it remembers of a row, which is less than what it returns.
    pub remembered: Option<RowPart>,
}

/// A GROUP BY expression and the output column that carries it.
pub type GroupKey = (Arc<dyn PhysicalExpr>, String);

/// One place where a window rule's query reads events, and what a pane keeps of them.
#[derive(Debug, Clone)]
pub struct Input {
    pub rows: RowPart,
    /// Without it, the rows themselves are kept.
    pub reduce: Option<Reduce>,
}

#[derive(Debug, Clone)]
pub struct Reduce {
    /// What was computed of rows, and behind it the pane of each → pane and states.
    pub partial: Arc<dyn ExecutionPlan>,
    pub states: SchemaRef,
    /// States → states.
    pub merge: Arc<dyn ExecutionPlan>,
    /// The two as they are run.
    pub rows: Arc<Grouped>,
    pub merged: Arc<Grouped>,
}

impl Reduce {
    /// States of computed rows, of which each belongs to a pane, and the pane of each state.
    pub fn run(&self, rows: RecordBatch, panes: Int64Array) -> Result<(Int64Array, RecordBatch)> {
        let columns = [rows.columns(), &[Arc::new(panes) as ArrayRef]].concat();
        let leaf = self.partial.children().first().map(|leaf| leaf.schema());
        let rows = RecordBatch::try_new(leaf.unwrap_or_else(|| rows.schema()), columns)?;
        let by_pane = self.rows.run(&[rows])?;
        let (panes, states) = (by_pane.column(0), by_pane.columns()[1..].to_vec());
        let states = RecordBatch::try_new(self.states.clone(), states)?;
        Ok((panes.as_primitive().clone(), states))
    }
}

#[derive(Debug, Clone)]
pub struct WindowPlan {
    pub inputs: Vec<Input>,
    /// What the panes kept of each input → answer.
    pub finish: Arc<dyn ExecutionPlan>,
    /// Expressions over the event schema that say which key's evidence a row is, and the output column of
    /// each. For a split query these are its group keys.
    pub keys: Vec<GroupKey>,
    /// What the rows of a key must be in a window at least before HAVING can hold.
    pub need: Need,
    /// Conditions that the need speaks of, over the event schema.
    pub conditions: Vec<Arc<dyn PhysicalExpr>>,
}

#[derive(Debug, Clone)]
pub enum Plan {
    Event(EventPlan),
    Window(WindowPlan),
}

impl Plan {
    /// Plans a rule, or says why it cannot be run on a stream.
    pub async fn new(ctx: &SessionContext, rule: &Rule) -> Result<Self> {
        Self::in_state(&ctx.state(), rule).await
    }

    async fn in_state(state: &SessionState, rule: &Rule) -> Result<Self> {
        if let Some(plan) = abridged::plan(state, rule).await
            && plan.check_columns(rule).is_ok()
        {
            return Ok(plan);
        }
        Self::unabridged(state, rule).await
    }

    /// The same plan by a longer way: the query is planned as it stands, over all columns. What is refused is
    /// refused here.
    pub async fn unabridged(state: &SessionState, rule: &Rule) -> Result<Self> {
        let refuse = |reason: String| Error::rule(&rule.title, reason);
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let logical = state
            .create_logical_plan(&rule.query)
            .await
            .and_then(|logical| options.verify_plan(&logical).map(|()| logical))
            .map_err(|e| refuse(short(&e)))?;
        let plan = Self::of(state, rule, logical).await.map_err(refuse)?;
        plan.check_columns(rule).map_err(refuse)?;
        Ok(plan)
    }

    /// The plan of a rule's query.
    async fn of(state: &SessionState, rule: &Rule, logical: LogicalPlan) -> Result<Self, String> {
        let physical = state.create_physical_plan(&logical).await;
        let physical = physical.map_err(|e| short(&e))?;
        repeatable::check(&logical)?;
        let plan = match rule.kind.window() {
            None => {
                let mut plan = rows::event_plan(&physical)?;
                if !plan.joined && !rule.kind.remembered().is_empty() {
                    plan.remembered = Some(remembered(state, logical, rule, &plan).await?);
                }
                Self::Event(plan)
            }
            Some(_) => Self::Window(
                match split::window_plan(state, &logical, physical.clone()) {
                    Err(Refusal::Shape(reason)) => {
                        whole::window_plan(state, rule, &logical, physical, &reason)?
                    }
                    split => split.map_err(Refusal::reason)?,
                },
            ),
        };
        plan.check_alerts()?;
        Ok(plan)
    }

    /// Whether the query returns the columns that the rule names.
    fn check_columns(&self, rule: &Rule) -> Result<(), String> {
        let outputs = self.output();
        let named = rule
            .suppress
            .iter()
            .flat_map(|s| s.by.iter().map(|column| ("suppress.by", column)));
        let finding = rule.kind.finding().into_iter().flat_map(Finding::columns);
        let named = named.chain(finding.map(|column| ("finding", column)));
        for (place, column) in
            named.chain(rule.entities.iter().map(|(_, column)| ("entities", column)))
        {
            if outputs.index_of(column).is_err() {
                let have: Vec<_> = outputs
                    .fields()
                    .iter()
                    .map(|f| f.name().as_str())
                    .take(20)
                    .collect();
                return Err(format!(
                    "{place} names column `{column}`, which the query does not return; it returns {}",
                    have.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The row-local parts, one per place where the query reads events.
    pub fn inputs(&self) -> Vec<&RowPart> {
        match self {
            Self::Event(plan) => vec![&plan.rows],
            Self::Window(plan) => plan.inputs.iter().map(|input| &input.rows).collect(),
        }
    }

    /// What a row must satisfy to matter anywhere in the query; none when every row does.
    pub fn predicate(&self) -> Option<Arc<dyn PhysicalExpr>> {
        let parts = self.inputs().into_iter().map(|rows| rows.predicate.clone());
        let parts = parts.collect::<Option<Vec<_>>>()?;
        parts.into_iter().reduce(|left, right| {
            Arc::new(BinaryExpr::new(left, Operator::Or, right)) as Arc<dyn PhysicalExpr>
        })
    }

    /// Whether the query reads `alerts`.
    pub fn reads_alerts(&self) -> bool {
        self.inputs().into_iter().any(of_alerts)
    }

    fn check_alerts(&self) -> Result<(), String> {
        let inputs = self.inputs();
        let over = inputs.iter().filter(|rows| of_alerts(rows)).count();
        match over == 0 || over == inputs.len() {
            true => Ok(()),
            false => Err(
                "it reads `alerts` and events in one query; write a building block for the events \
                          and read its alerts"
                    .into(),
            ),
        }
    }

    /// Schema of the rule's answer.
    pub fn output(&self) -> SchemaRef {
        match self {
            Self::Event(plan) => plan.output.clone(),
            Self::Window(plan) => plan.finish.schema(),
        }
    }

    /// The plan in words, for `weir rule explain`.
    pub fn explain(&self) -> String {
        let show =
            |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
        let shown = |rows: &RowPart| match &rows.predicate {
            Some(predicate) => predicate.to_string(),
            None => "nothing (all of them)".into(),
        };
        match self {
            Self::Event(plan) => format!(
                "on each batch, over the rows that dispatch hits:\n{}",
                show(&plan.template)
            ),
            Self::Window(plan) => {
                let mut text = String::new();
                for (index, input) in plan.inputs.iter().enumerate() {
                    match &input.reduce {
                        Some(reduce) => {
                            text += &format!(
                                "on each batch, rows that satisfy {} → states by pane:\n{}\nwhen a pane has many batches, states → states:\n{}\n",
                                shown(&input.rows),
                                show(&reduce.partial),
                                show(&reduce.merge)
                            );
                        }
                        None => {
                            let columns = input.rows.columns.iter();
                            let columns: Vec<_> =
                                columns.map(|c| schema::COLUMNS[*c].name).collect();
                            text += &format!(
                                "on each batch, per pane, input {} keeps its rows: {}\n",
                                index + 1,
                                columns.join(", ")
                            );
                        }
                    }
                }
                if !plan.need.is_nothing() {
                    let need = need::show(&plan.need, &plan.conditions);
                    text += &format!("only keys with {need} are answered\n");
                }
                format!("{text}when a window is answered:\n{}", show(&plan.finish))
            }
        }
    }
}

/// Plans rules on all cores; what became of each, in their order.
pub fn all(ctx: &SessionContext, rules: &[&Rule]) -> Vec<Result<Plan>> {
    let state = ctx.state();
    parallel::map(rules, |rule| block_on(Plan::in_state(&state, rule)))
}

/// The columns that decide whether a row of this rule is a match, and of which alert.
fn remembered_names(rule: &Rule) -> impl Iterator<Item = &String> {
    let suppress = rule.suppress.iter().flat_map(|suppress| &suppress.by);
    let absence = rule.kind.absence();
    let pair = absence.and_then(|absence| absence.pair.as_ref());
    let pair = pair.into_iter().flat_map(|pair| [&pair.of, &pair.after]);
    rule.kind.remembered().iter().chain(suppress).chain(pair)
}

async fn remembered(
    state: &SessionState,
    logical: LogicalPlan,
    rule: &Rule,
    whole: &EventPlan,
) -> Result<RowPart, String> {
    let returned = remembered_names(rule).filter(|name| whole.output.index_of(name).is_ok());
    let names: BTreeSet<&String> = returned.collect();
    let columns = names
        .into_iter()
        .map(|name| Expr::Column(Column::from_name(name)));
    let logical = LogicalPlanBuilder::from(logical)
        .project(columns.collect::<Vec<_>>())
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| short(&e))?;
    let template = state.create_physical_plan(&logical).await;
    Ok(rows::event_plan(&template.map_err(|e| short(&e))?)?.rows)
}

/// Whether the rows are alerts of other rules.
fn of_alerts(rows: &RowPart) -> bool {
    let alerts = |node: &Arc<dyn PhysicalExpr>| {
        let literals = necessary(node).unwrap_or_default();
        Ok(literals == [(schema::col::FAMILY, feed::FAMILY.to_owned())])
    };
    let names = rows.predicate.as_ref().map(|p| p.exists(alerts));
    names.is_some_and(|names| names.unwrap_or(false))
}

/// DataFusion's message without its backtrace and layers.
fn short(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    // The list of all columns would bury what is wrong.
    match text.split_once("\nValid fields are") {
        Some((wrong, _)) => format!("{wrong} (docs/rules.md says where the columns are listed)"),
        None => text,
    }
}
