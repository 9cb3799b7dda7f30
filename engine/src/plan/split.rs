//! A query over one GROUP BY, split at its lowest aggregate.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Operator};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion::prelude::SessionContext;

use super::rows::row_part;
use super::template::slot;
use super::{GroupKey, Input, Reduce, WindowPlan, lineage, short};

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
    let computed = slot(below.schema()).and_then(|computed| {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        partial.replace_children(vec![computed], options)
    });
    let partial = computed.map_err(|e| Refusal::Wrong(short(&e)))?;
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
        let physical = lineage::physical(ctx, source).map_err(|e| wrong(&e))?;
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
