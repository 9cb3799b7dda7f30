//! Where the columns of a query come from.

use std::sync::{Arc, LazyLock};

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;

use crate::schema;

static EVENTS: LazyLock<Arc<DFSchema>> = LazyLock::new(|| {
    // It refuses repeated names only, of which events have none.
    Arc::new(
        DFSchema::try_from(schema::events().as_ref().clone()).unwrap_or_else(|_| DFSchema::empty()),
    )
});

/// The schema of events.
pub(super) fn events() -> &'static DFSchema {
    &EVENTS
}

/// An expression over event columns, ready to run.
pub(super) fn physical(state: &SessionState, expr: Expr) -> DfResult<Arc<dyn PhysicalExpr>> {
    state.create_physical_expr(simplified(expr)?, &EVENTS)
}

/// Some functions exist only until the simplifier has put others in their place (`coalesce`).
pub(super) fn simplified(expr: Expr) -> DfResult<Expr> {
    let context = SimplifyContext::builder().with_schema(EVENTS.clone());
    let simplifier = ExprSimplifier::new(context.build());
    simplifier.simplify(simplifier.coerce(expr, &EVENTS)?)
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
