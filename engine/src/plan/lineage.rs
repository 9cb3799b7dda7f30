//! Where the columns of a query come from.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;

use crate::schema;

/// An expression over event columns, ready to run.
pub(super) fn physical(ctx: &SessionContext, expr: Expr) -> DfResult<Arc<dyn PhysicalExpr>> {
    let events = DFSchema::try_from(schema::events().as_ref().clone())?;
    let context = SimplifyContext::builder().with_schema(Arc::new(events.clone()));
    let simplifier = ExprSimplifier::new(context.build());
    // Some functions exist only until the simplifier has put others in their place (`coalesce`).
    let expr = simplifier.simplify(simplifier.coerce(expr, &events)?)?;
    ctx.create_physical_expr(expr, &events)
}

/// The expression, written over the columns of `plan`'s output, as one over event columns; none if it holds
/// what no single event has (an aggregate, a value of a reference table).
pub(super) fn over_events(expr: Expr, plan: &LogicalPlan) -> Option<Expr> {
    let mut whole = true;
    let traced = expr.transform_up(|node| {
        Ok(match node {
            Expr::Column(column) => match source(&column, plan) {
                Some(source) => Transformed::yes(source),
                None => {
                    whole = false;
                    Transformed::no(Expr::Column(column))
                }
            },
            other => Transformed::no(other),
        })
    });
    traced.ok().map(|t| t.data).filter(|_| whole)
}

/// A column of `plan`'s output as an expression over event columns.
fn source(column: &Column, plan: &LogicalPlan) -> Option<Expr> {
    let index = position(column, plan.schema())?;
    let below = |index: usize, input: &LogicalPlan| {
        let (qualifier, field) = input.schema().qualified_field(index);
        source(&Column::new(qualifier.cloned(), field.name()), input)
    };
    match plan {
        LogicalPlan::Projection(projection) => over_events(
            projection.expr.get(index)?.clone().unalias(),
            &projection.input,
        ),
        LogicalPlan::SubqueryAlias(alias) => below(index, &alias.input),
        LogicalPlan::Filter(filter) => below(index, &filter.input),
        LogicalPlan::Sort(sort) => below(index, &sort.input),
        LogicalPlan::Limit(limit) => below(index, &limit.input),
        LogicalPlan::Distinct(distinct) => source(column, distinct.input()),
        LogicalPlan::Aggregate(aggregate) => over_events(
            aggregate.group_expr.get(index)?.clone().unalias(),
            &aggregate.input,
        ),
        // What a window function adds stands behind the input's columns.
        LogicalPlan::Window(window) => source(column, &window.input),
        LogicalPlan::Join(join) => {
            source(column, &join.left).or_else(|| source(column, &join.right))
        }
        LogicalPlan::TableScan(scan) => match scan.source.get_logical_plan() {
            Some(view) => source(&Column::from_name(&column.name), &view),
            None if scan.table_name.table() == "events" => {
                Some(Expr::Column(Column::from_name(&column.name)))
            }
            None => None,
        },
        _ => None,
    }
}

fn position(column: &Column, schema: &DFSchema) -> Option<usize> {
    schema
        .index_of_column_by_name(column.relation.as_ref(), &column.name)
        .or_else(|| schema.index_of_column_by_name(None, &column.name))
}
