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

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, collect, displayable,
};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::detect::feed;
use crate::dispatch::necessary;
use crate::functions::distinct::SharedDistinct;
use crate::rule::Rule;
use crate::schema::{self, FAMILIES};
use crate::{Error, Result, functions};

mod whole;

/// A leaf that only marks where batches go. Its statistics are unknown on purpose: over an empty table the
/// optimizer would fold `count(*)` to 0.
#[derive(Debug)]
struct Slot(SchemaRef);

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let error = DataFusionError::Internal("a template was run without rows".into());
        let stream = futures::stream::once(async { Err(error) });
        Box::pin(
            datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(
                self.0.clone(),
                stream,
            ),
        )
    }
}

fn slot(schema: SchemaRef) -> DfResult<Arc<dyn ExecutionPlan>> {
    let part: Arc<dyn PartitionStream> = Arc::new(Slot(schema.clone()));
    Ok(Arc::new(StreamingTableExec::try_new(
        schema,
        vec![part],
        None,
        [],
        false,
        None,
    )?))
}

/// Runs a template over batches in the (projected) schemas of its leaves, one list per leaf, from left to
/// right.
pub async fn run(
    template: &Arc<dyn ExecutionPlan>,
    leaves: Vec<Vec<RecordBatch>>,
    ctx: &Arc<TaskContext>,
) -> DfResult<Vec<RecordBatch>> {
    let rows = collect(bind(template, leaves)?, ctx.clone()).await?;
    Ok(rows
        .into_iter()
        .filter(|batch| batch.num_rows() > 0)
        .collect())
}

fn bind(
    template: &Arc<dyn ExecutionPlan>,
    leaves: Vec<Vec<RecordBatch>>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let mut leaves = leaves.into_iter();
    // Plans keep state between runs (a top-k sort its threshold); without the reset, rows vanish.
    let bound = reset_plan_states(template.clone())?.transform_up(|node| {
        if node.downcast_ref::<StreamingTableExec>().is_none() {
            return Ok(Transformed::no(node));
        }
        let batches = leaves.next().unwrap_or_default();
        let source = MemorySourceConfig::try_new_exec(&[batches], node.schema(), None)?;
        Ok(Transformed::yes(source as Arc<dyn ExecutionPlan>))
    })?;
    Ok(bound.data)
}

/// Session that rules are planned in: the `events` table and one view per family.
pub async fn session(extra: &[ScalarUDF]) -> Result<SessionContext> {
    let mut rules = PhysicalOptimizer::new().rules;
    // With one partition the first fuses the two halves that must stay apart; the second computes columns
    // (JSON look-ups above all) before the filter that would have spared most of them.
    rules.retain(|rule| {
        !["CombinePartialFinalAggregate", "ProjectionPushdown"].contains(&rule.name())
    });
    let mut logical = Optimizer::new().rules;
    // These, too, put computed columns below the filter, where dispatch could not read it any more.
    let sink = [
        "extract_leaf_expressions",
        "push_down_leaf_projections",
        "common_sub_expression_eliminate",
    ];
    logical.retain(|rule| !sink.contains(&rule.name()));
    logical.insert(0, Arc::new(SharedDistinct));
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(8192);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_optimizer_rules(logical)
        .with_physical_optimizer_rules(rules)
        .build();
    let mut ctx = SessionContext::new_with_state(state);
    functions::register(&mut ctx)?;
    for function in extra {
        ctx.register_udf(function.clone());
    }
    let events = schema::events();
    let table = StreamingTable::try_new(events.clone(), vec![Arc::new(Slot(events))])?;
    ctx.register_table("events", Arc::new(table))?;
    family_views(&ctx).await?;
    ctx.sql(&feed::view()).await?;
    Ok(ctx)
}

/// Creates the views `cloud_audit`, `k8s_audit`, … over a registered table `events`.
pub async fn family_views(ctx: &SessionContext) -> DfResult<()> {
    for family in FAMILIES {
        let view =
            format!("CREATE VIEW {family} AS SELECT * FROM events WHERE family = '{family}'");
        ctx.sql(&view).await?;
    }
    Ok(())
}

/// The part of a rule that looks at one row at a time.
#[derive(Debug, Clone)]
pub struct RowPart {
    /// What a row must satisfy, over the event schema; none when every row passes.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Event columns that the plan's leaf expects, by index.
    pub columns: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct EventPlan {
    pub rows: RowPart,
    pub template: Arc<dyn ExecutionPlan>,
    /// The query joins reference tables: its rows are told apart by their columns `time` and `event_uid`.
    pub joined: bool,
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
    /// Rows → states.
    pub partial: Arc<dyn ExecutionPlan>,
    /// States → states.
    pub merge: Arc<dyn ExecutionPlan>,
}

#[derive(Debug, Clone)]
pub struct WindowPlan {
    pub inputs: Vec<Input>,
    /// What the panes kept of each input → answer.
    pub finish: Arc<dyn ExecutionPlan>,
    /// Expressions over the event schema that say which key's evidence a row is, and the output column of
    /// each. For a split query these are its group keys.
    pub keys: Vec<GroupKey>,
    /// Rows that a key must have in a window at least before HAVING can hold.
    pub min_rows: u64,
}

#[derive(Debug, Clone)]
pub enum Plan {
    Event(EventPlan),
    Window(WindowPlan),
}

impl Plan {
    /// Plans a rule, or says why it cannot be run on a stream.
    pub async fn new(ctx: &SessionContext, rule: &Rule) -> Result<Self> {
        let refuse = |reason: String| Error::rule(&rule.title, reason);
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let frame = ctx
            .sql_with_options(&rule.query, options)
            .await
            .map_err(|e| refuse(short(&e)))?;
        let logical = frame.logical_plan().clone();
        let physical = frame
            .create_physical_plan()
            .await
            .map_err(|e| refuse(short(&e)))?;
        let plan = match rule.window {
            None => Self::Event(event_plan(&physical).map_err(refuse)?),
            Some(_) => Self::Window(
                match refuse_order_dependent(&logical)
                    .map_err(Refusal::Wrong)
                    .and_then(|()| window_plan(ctx, &logical, physical.clone()))
                {
                    Err(Refusal::Shape(reason)) => {
                        whole::window_plan(rule, &logical, physical, &reason).map_err(refuse)?
                    }
                    split => split.map_err(|refusal| refuse(refusal.reason()))?,
                },
            ),
        };
        let outputs = plan.output();
        let named = rule
            .suppress
            .iter()
            .flat_map(|s| s.by.iter().map(|column| ("suppress.by", column)));
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
                return Err(refuse(format!(
                    "{place} names column `{column}`, which the query does not return; it returns {}",
                    have.join(", ")
                )));
            }
        }
        Ok(plan)
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
        let mut predicates = self
            .inputs()
            .into_iter()
            .filter_map(|rows| rows.predicate.clone());
        predicates.any(|predicate| {
            let names = predicate.exists(|node| {
                let literals = necessary(node).unwrap_or_default();
                Ok(literals == [(schema::col::FAMILY, feed::FAMILY.to_owned())])
            });
            names.unwrap_or(false)
        })
    }

    /// Schema of the rule's answer.
    pub fn output(&self) -> SchemaRef {
        match self {
            Self::Event(plan) => plan.template.schema(),
            Self::Window(plan) => plan.finish.schema(),
        }
    }

    /// The plan in words, for `weir rule explain`.
    pub fn explain(&self) -> String {
        let show =
            |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
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
                                "on each batch, per pane, rows → states:\n{}\nwhen a pane has many batches, states → states:\n{}\n",
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
                format!("{text}when a window is answered:\n{}", show(&plan.finish))
            }
        }
    }
}

/// Why a query is not split.
enum Refusal {
    /// It may still run whole.
    Shape(String),
    Wrong(String),
}

impl Refusal {
    fn reason(self) -> String {
        match self {
            Self::Shape(reason) | Self::Wrong(reason) => reason,
        }
    }
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

const ROW_LOCAL: &[&str] = &[
    "FilterExec",
    "ProjectionExec",
    "StreamingTableExec",
    "CooperativeExec",
];

fn event_plan(physical: &Arc<dyn ExecutionPlan>) -> std::result::Result<EventPlan, String> {
    let hint = "a per-event rule is one SELECT … FROM … WHERE …; for anything that looks at several events give the rule a `window`";
    if whole::joins_tables(physical) {
        return whole::event_plan(physical);
    }
    Ok(EventPlan {
        rows: row_part(physical, hint)?,
        template: physical.clone(),
        joined: false,
    })
}

/// Checks that a plan is row-local down to the slot and collects what it filters by.
fn row_part(plan: &Arc<dyn ExecutionPlan>, hint: &str) -> std::result::Result<RowPart, String> {
    let mut predicates = vec![];
    let mut columns = None;
    let mut wrong = None;
    plan.apply(|node| {
        if !ROW_LOCAL.contains(&node.name()) {
            wrong = Some(format!("{} cannot run row by row: {hint}", node.name()));
        } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let mut input = filter.input().clone();
            while input.name() == "CooperativeExec" {
                input = input.children()[0].clone();
            }
            if input.downcast_ref::<StreamingTableExec>().is_none() || filter.fetch().is_some() {
                wrong = Some(format!(
                    "its filter cannot be evaluated on the event alone: {hint}"
                ));
            } else {
                predicates.push(over_events(filter.predicate().clone(), &input.schema())?);
            }
        } else if let Some(leaf) = node.downcast_ref::<StreamingTableExec>() {
            if leaf.limit().is_some() {
                wrong = Some(format!("LIMIT has no meaning on a stream: {hint}"));
            }
            let names = leaf
                .schema()
                .fields()
                .iter()
                .map(|f| schema::index_of(f.name()))
                .collect::<Option<Vec<_>>>();
            columns = names;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|e| short(&e))?;
    if let Some(reason) = wrong {
        return Err(reason);
    }
    let columns = columns.ok_or("the query does not read `events` or one of its views")?;
    Ok(RowPart {
        predicate: simplified(predicates)?,
        columns,
    })
}

/// The conjunction of predicates over the event schema.
fn simplified(
    predicates: Vec<Arc<dyn PhysicalExpr>>,
) -> std::result::Result<Option<Arc<dyn PhysicalExpr>>, String> {
    if predicates.is_empty() {
        return Ok(None);
    }
    // The logical simplifier runs before type coercion: without this pass every literal stays in a CAST.
    PhysicalExprSimplifier::new(&schema::events())
        .simplify(conjunction(predicates))
        .map(Some)
        .map_err(|e| short(&e))
}

/// Points column references at the full event schema.
fn over_events(expr: Arc<dyn PhysicalExpr>, from: &SchemaRef) -> DfResult<Arc<dyn PhysicalExpr>> {
    let remapped = expr.transform_up(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let name = from.field(column.index()).name();
        let index = schema::index_of(name)
            .ok_or_else(|| DataFusionError::Plan(format!("`{name}` is not an event column")))?;
        Ok(Transformed::yes(
            Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>
        ))
    })?;
    Ok(remapped.data)
}

/// Aggregates whose answer depends on the order in which rows come or states are merged, and what to write
/// instead. ORDER BY inside the call does not help: rows that it holds equal still come in any order. The t-digests
/// of the approximate percentiles compress what they have seen so far. `array_agg` is fine, because lists are
/// sorted in answers; so is `approx_distinct`, because its registers only keep maxima.
const ORDER_DEPENDENT: &[(&str, &str)] = &[
    ("any_value", "min(…) or max(…)"),
    (
        "first_value",
        "min(…), or array_agg(DISTINCT …) for all values",
    ),
    (
        "last_value",
        "max(…), or array_agg(DISTINCT …) for all values",
    ),
    ("nth_value", "array_agg(DISTINCT …)"),
    ("string_agg", "array_agg(DISTINCT …)"),
    ("approx_median", "median(…)"),
    ("approx_percentile_cont", "percentile_cont(…)"),
    ("approx_percentile_cont_with_weight", "percentile_cont(…)"),
];

fn refuse_order_dependent(logical: &LogicalPlan) -> std::result::Result<(), String> {
    let mut wrong = None;
    let walked = logical.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            for item in &aggregate.aggr_expr {
                if let Expr::AggregateFunction(call) = item.clone().unalias() {
                    let name = call.func.name();
                    wrong = wrong.or(ORDER_DEPENDENT.iter().find(|(refused, _)| *refused == name));
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|e| short(&e))?;
    wrong.map_or(Ok(()), |(name, instead)| {
        Err(format!(
            "the answer of {name} depends on the order in which events arrive; write {instead} instead"
        ))
    })
}

fn window_plan(
    ctx: &SessionContext,
    logical: &LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
) -> std::result::Result<WindowPlan, Refusal> {
    let (keys, min_rows) = group_keys(ctx, logical)?;
    let mut parts = None;
    let split = physical.transform_up(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        if *aggregate.mode() != AggregateMode::Final || parts.is_some() {
            return Ok(Transformed::no(node));
        }
        let partial = aggregate.input().clone();
        let states = slot(partial.schema())?;
        let merge = AggregateExec::try_new(
            AggregateMode::PartialReduce,
            aggregate.group_expr().clone(),
            aggregate.aggr_expr().to_vec(),
            vec![None; aggregate.aggr_expr().len()],
            states.clone(),
            aggregate.input_schema(),
        )?;
        parts = Some((partial, Arc::new(merge) as Arc<dyn ExecutionPlan>));
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(
            node.replace_children(vec![states], options)?,
        ))
    });
    let finish = split.map_err(|e| Refusal::Wrong(short(&e)))?.data;
    let shape = |reason: &str| Refusal::Shape(reason.into());
    let (partial, merge) = parts.ok_or(shape("its GROUP BY cannot be split"))?;
    let below = partial.children().first().map(|child| (*child).clone());
    let below = below.ok_or(shape("the aggregate reads nothing"))?;
    let hint = "below a GROUP BY that is split there are only filters and computed columns";
    let rows = row_part(&below, hint).map_err(Refusal::Shape)?;
    Ok(WindowPlan {
        inputs: vec![Input {
            rows,
            reduce: Some(Reduce { partial, merge }),
        }],
        finish,
        keys,
        min_rows,
    })
}

/// The GROUP BY expressions over the event schema with the output columns that carry them, and how many rows
/// of one key HAVING needs at least.
fn group_keys(
    ctx: &SessionContext,
    logical: &LogicalPlan,
) -> std::result::Result<(Vec<GroupKey>, u64), Refusal> {
    let LogicalPlan::Projection(projection) = logical else {
        let reason = format!("{} is its last step", logical.display());
        return Err(Refusal::Shape(reason));
    };
    let mut node = projection.input.as_ref();
    let mut having = vec![];
    let aggregate: &Aggregate = loop {
        match node {
            LogicalPlan::Filter(filter) => {
                having.push(&filter.predicate);
                node = filter.input.as_ref();
            }
            LogicalPlan::Aggregate(aggregate) => break aggregate,
            other => {
                let reason = format!(
                    "it has no GROUP BY directly over events but {}",
                    other.display()
                );
                return Err(Refusal::Shape(reason));
            }
        }
    };
    if aggregate.group_expr.is_empty() {
        return Err(Refusal::Shape("it has no GROUP BY".into()));
    }
    let wrong = |error: &DataFusionError| Refusal::Wrong(short(error));
    let events = DFSchema::try_from(schema::events().as_ref().clone()).map_err(|e| wrong(&e))?;
    let key = |(index, expr): (usize, &Expr)| {
        let (qualifier, field) = aggregate.schema.qualified_field(index);
        let output = projection
            .expr
            .iter()
            .position(|item| is_column(item, qualifier, field.name()));
        let output = output.ok_or_else(|| {
            Refusal::Wrong(format!(
                "the query groups by `{expr}` but does not return it; add it to the SELECT list"
            ))
        })?;
        let name = projection.schema.field(output).name().clone();
        let bare = expr.clone().transform_up(|e| {
            Ok(match e {
                Expr::Column(column) => {
                    let name = feed::carrier(&column.name).unwrap_or(&column.name);
                    Transformed::yes(Expr::Column(datafusion::common::Column::from_name(name)))
                }
                other => Transformed::no(other),
            })
        });
        let physical = bare
            .and_then(|e| ctx.create_physical_expr(e.data, &events))
            .map_err(|e| wrong(&e))?;
        Ok((physical, name))
    };
    let keys = aggregate.group_expr.iter().enumerate().map(key);
    let min_rows = having.iter().map(|h| min_rows(h, aggregate)).max();
    Ok((keys.collect::<Result<_, Refusal>>()?, min_rows.unwrap_or(1)))
}

/// A bound from below on the rows of a group that satisfies the predicate, read off comparisons of counts
/// with constants.
fn min_rows(predicate: &Expr, aggregate: &Aggregate) -> u64 {
    let Expr::BinaryExpr(binary) = predicate else {
        return 1;
    };
    let (left, right) = (binary.left.as_ref(), binary.right.as_ref());
    let bound = |count: &Expr, constant: &Expr, more: u64| match is_count(count, aggregate) {
        true => whole_number(constant).map_or(1, |n| n.saturating_add(more)),
        false => 1,
    };
    match binary.op {
        Operator::And => min_rows(left, aggregate).max(min_rows(right, aggregate)),
        Operator::Or => min_rows(left, aggregate).min(min_rows(right, aggregate)),
        Operator::GtEq => bound(left, right, 0),
        Operator::Gt => bound(left, right, 1),
        Operator::LtEq => bound(right, left, 0),
        Operator::Lt => bound(right, left, 1),
        Operator::Eq => bound(left, right, 0).max(bound(right, left, 0)),
        _ => 1,
    }
}

/// Whether the expression is one of the aggregate's counts, which never exceed the rows of the group.
fn is_count(expr: &Expr, aggregate: &Aggregate) -> bool {
    match expr {
        Expr::Cast(cast) => is_count(&cast.expr, aggregate),
        Expr::Column(column) => aggregate
            .schema
            .maybe_index_of_column(column)
            .and_then(|index| index.checked_sub(aggregate.group_expr.len()))
            .and_then(|index| aggregate.aggr_expr.get(index))
            .is_some_and(|item| match item.clone().unalias() {
                Expr::AggregateFunction(call) => call.func.name() == "count",
                _ => false,
            }),
        _ => false,
    }
}

fn whole_number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Cast(cast) => whole_number(&cast.expr),
        Expr::Literal(value, _) => match value.cast_to(&DataType::UInt64).ok()? {
            ScalarValue::UInt64(number) => number,
            _ => None,
        },
        _ => None,
    }
}

fn is_column(item: &Expr, qualifier: Option<&TableReference>, name: &str) -> bool {
    match item {
        Expr::Alias(alias) => is_column(&alias.expr, qualifier, name),
        Expr::Column(column) => column.name == name && column.relation.as_ref() == qualifier,
        _ => false,
    }
}
