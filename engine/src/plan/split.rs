//! A query over one GROUP BY, split at its lowest aggregate.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, TableReference, internal_err};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use super::need::{self, Need};
use super::rows::row_part;
use super::template::slot;
use super::{GroupKey, Grouped, Input, Reduce, WindowPlan, lineage, short};
use crate::schema;

type Conditions = Vec<Arc<dyn PhysicalExpr>>;

/// Why a query is not split.
pub(super) enum Refusal {
    /// It may still run whole.
    Shape(String),
    Wrong(String),
}

impl Refusal {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Shape(reason) | Self::Wrong(reason) => reason,
        }
    }
}

pub(super) fn window_plan(
    state: &SessionState,
    logical: &LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
) -> std::result::Result<WindowPlan, Refusal> {
    let (keys, need, conditions) = group_keys(state, logical)?;
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
        parts = Some((partial, Arc::new(merge)));
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
    let states = partial.schema();
    let wrong = |error: DataFusionError| Refusal::Wrong(short(&error));
    let partial = by_pane(&partial, &below.schema()).map_err(wrong)?;
    let grouped = |plan| Grouped::new(plan).map(Arc::new).map_err(wrong);
    // Keys of events and of states are compared as texts, which are alike only if their types are.
    let events = schema::events();
    let alike = keys.iter().zip(states.fields());
    let mut alike = alike
        .map(|((key, _), state)| key.data_type(&events).ok() == Some(state.data_type().clone()));
    let need = match alike.all(|alike| alike) {
        true => need,
        false => Need::NOTHING,
    };
    Ok(WindowPlan {
        inputs: vec![Input {
            rows,
            reduce: Some(Reduce {
                rows: grouped(&partial)?,
                merged: grouped(&merge)?,
                partial: Arc::new(partial),
                states,
                merge,
            }),
        }],
        finish,
        keys,
        need,
        conditions,
    })
}

/// Column behind those of the rows that are aggregated: the pane that a row belongs to. Of the states it is the first one.
const PANE: &str = "__pane";

/// The aggregate over rows with their panes, grouped by the pane beside its own keys: one run for all panes that a batch has
/// rows of.
fn by_pane(partial: &Arc<dyn ExecutionPlan>, computed: &SchemaRef) -> DfResult<AggregateExec> {
    let Some(aggregate) = partial.downcast_ref::<AggregateExec>() else {
        return internal_err!("{} is no aggregate", partial.name());
    };
    let mut fields: Vec<FieldRef> = computed.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(PANE, DataType::Int64, false)));
    let pane = Column::new(PANE, computed.fields().len());
    let rows: SchemaRef = Arc::new(Schema::new(fields));
    let keys = aggregate.group_expr();
    type Named = (Arc<dyn PhysicalExpr>, String);
    let before = |first: Arc<dyn PhysicalExpr>, others: &[Named]| -> Vec<Named> {
        let first = (first, PANE.to_owned());
        [&[first], others].concat()
    };
    // Each set of GROUPING SETS has the pane.
    let groups = keys
        .groups()
        .iter()
        .map(|nulls| [&[false], nulls.as_slice()].concat());
    let none = Arc::new(Literal::new(ScalarValue::Int64(None)));
    let keys = PhysicalGroupBy::new(
        before(Arc::new(pane), keys.expr()),
        match keys.null_expr() {
            [] => vec![],
            nulls => before(none, nulls),
        },
        groups.collect(),
        keys.has_grouping_set(),
    );
    AggregateExec::try_new(
        *aggregate.mode(),
        keys,
        aggregate.aggr_expr().to_vec(),
        aggregate.filter_expr().to_vec(),
        slot(rows.clone())?,
        rows,
    )
}

/// The GROUP BY expressions over the event schema with the output columns that carry them, and what HAVING
/// needs of one key.
fn group_keys(
    state: &SessionState,
    logical: &LogicalPlan,
) -> std::result::Result<(Vec<GroupKey>, Need, Conditions), Refusal> {
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
        let source = lineage::over_events(expr.clone().unalias(), &aggregate.input);
        let source = source.ok_or_else(|| {
            Refusal::Shape(format!(
                "it groups by `{expr}`, which is no value of one event"
            ))
        })?;
        let physical = lineage::physical(state, source).map_err(|e| wrong(&e))?;
        Ok((physical, name))
    };
    let keys = aggregate.group_expr.iter().enumerate().map(key);
    let (need, conditions) = need::of_having(state, &having, aggregate);
    Ok((keys.collect::<Result<_, Refusal>>()?, need, conditions))
}

fn is_column(item: &Expr, qualifier: Option<&TableReference>, name: &str) -> bool {
    match item {
        Expr::Alias(alias) => is_column(&alias.expr, qualifier, name),
        Expr::Column(column) => column.name == name && column.relation.as_ref() == qualifier,
        _ => false,
    }
}
