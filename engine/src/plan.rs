//! From a rule's SQL to plans that run on batches: planned once, split once, bound to rows many times.
//!
//! A plan is a template whose leaf marks where rows go; [`bind`] puts rows there. A per-event rule is one
//! template. A window rule is split at its lowest aggregate into `partial` (rows → states), `merge` (states →
//! states) and `finish` (states → answer); its state is Arrow batches of partial aggregates.
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
use datafusion::physical_expr::expressions::Column;
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

use crate::rule::Rule;
use crate::schema::{self, FAMILIES};
use crate::{Error, Result, functions};

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

/// Runs a template over batches in the (projected) schema of its leaf.
pub async fn run(
    template: &Arc<dyn ExecutionPlan>,
    batches: Vec<RecordBatch>,
    ctx: &Arc<TaskContext>,
) -> DfResult<Vec<RecordBatch>> {
    let rows = collect(bind(template, batches)?, ctx.clone()).await?;
    Ok(rows
        .into_iter()
        .filter(|batch| batch.num_rows() > 0)
        .collect())
}

fn bind(
    template: &Arc<dyn ExecutionPlan>,
    batches: Vec<RecordBatch>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    // Plans keep state between runs (a top-k sort its threshold); without the reset, rows vanish.
    let bound = reset_plan_states(template.clone())?.transform_up(|node| {
        if node.downcast_ref::<StreamingTableExec>().is_none() {
            return Ok(Transformed::no(node));
        }
        let source =
            MemorySourceConfig::try_new_exec(std::slice::from_ref(&batches), node.schema(), None)?;
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
}

/// A GROUP BY expression and the output column that carries it.
pub type GroupKey = (Arc<dyn PhysicalExpr>, String);

#[derive(Debug, Clone)]
pub struct WindowPlan {
    pub rows: RowPart,
    pub partial: Arc<dyn ExecutionPlan>,
    pub merge: Arc<dyn ExecutionPlan>,
    pub finish: Arc<dyn ExecutionPlan>,
    /// Group keys over the event schema, and the output column of each.
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
            Some(_) => Self::Window(window_plan(ctx, &logical, physical).map_err(refuse)?),
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

    pub fn rows(&self) -> &RowPart {
        match self {
            Self::Event(plan) => &plan.rows,
            Self::Window(plan) => &plan.rows,
        }
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
            Self::Window(plan) => format!(
                "on each batch, per pane, rows → states:\n{}\nwhen a pane has many batches, states → states:\n{}\nwhen a window is answered, states → answer:\n{}",
                show(&plan.partial),
                show(&plan.merge),
                show(&plan.finish)
            ),
        }
    }
}

/// DataFusion's message without its backtrace and layers.
fn short(error: &DataFusionError) -> String {
    error.strip_backtrace()
}

const ROW_LOCAL: &[&str] = &[
    "FilterExec",
    "ProjectionExec",
    "StreamingTableExec",
    "CooperativeExec",
];

fn event_plan(physical: &Arc<dyn ExecutionPlan>) -> std::result::Result<EventPlan, String> {
    let hint =
        "a per-event rule is one SELECT … FROM … WHERE …; for GROUP BY give the rule a `window`";
    Ok(EventPlan {
        rows: row_part(physical, hint)?,
        template: physical.clone(),
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
    let predicate = if predicates.is_empty() {
        None
    } else {
        Some(conjunction(predicates))
    };
    // The logical simplifier runs before type coercion: without this pass every literal stays in a CAST.
    let predicate = predicate
        .map(|p| PhysicalExprSimplifier::new(&schema::events()).simplify(p))
        .transpose()
        .map_err(|e| short(&e))?;
    Ok(RowPart { predicate, columns })
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

fn window_plan(
    ctx: &SessionContext,
    logical: &LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
) -> std::result::Result<WindowPlan, String> {
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
    let finish = split.map_err(|e| short(&e))?.data;
    let (partial, merge) =
        parts.ok_or("a window rule must GROUP BY the columns that make up its key")?;
    let below = partial
        .children()
        .first()
        .map(|child| (*child).clone())
        .ok_or("the aggregate reads nothing")?;
    let hint = "below GROUP BY a window rule may only filter and compute columns";
    let rows = row_part(&below, hint)?;
    Ok(WindowPlan {
        rows,
        partial,
        merge,
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
) -> std::result::Result<(Vec<GroupKey>, u64), String> {
    let LogicalPlan::Projection(projection) = logical else {
        return Err(format!(
            "{} cannot be the last step of a window rule; write SELECT … FROM … WHERE … GROUP BY … HAVING …",
            logical.display()
        ));
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
                return Err(format!(
                    "a window rule must GROUP BY directly over events, found {}; write SELECT … FROM … WHERE … GROUP BY … HAVING …",
                    other.display()
                ));
            }
        }
    };
    if aggregate.group_expr.is_empty() {
        return Err("a window rule must GROUP BY the columns that make up its key".into());
    }
    let events = DFSchema::try_from(schema::events().as_ref().clone()).map_err(|e| short(&e))?;
    let key = |(index, expr): (usize, &Expr)| {
        let (qualifier, field) = aggregate.schema.qualified_field(index);
        let output = projection
            .expr
            .iter()
            .position(|item| is_column(item, qualifier, field.name()));
        let output = output.ok_or_else(|| {
            format!(
                "the query groups by `{expr}` but does not return it; add it to the SELECT list"
            )
        })?;
        let name = projection.schema.field(output).name().clone();
        let bare = expr.clone().transform_up(|e| {
            Ok(match e {
                Expr::Column(column) => Transformed::yes(Expr::Column(column.name.into())),
                other => Transformed::no(other),
            })
        });
        let physical = bare
            .and_then(|e| ctx.create_physical_expr(e.data, &events))
            .map_err(|e| short(&e))?;
        Ok((physical, name))
    };
    let keys = aggregate.group_expr.iter().enumerate().map(key);
    let min_rows = having.iter().map(|h| min_rows(h, aggregate)).max();
    Ok((
        keys.collect::<std::result::Result<_, String>>()?,
        min_rows.unwrap_or(1),
    ))
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
