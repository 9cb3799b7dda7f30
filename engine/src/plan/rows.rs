//! The row-local part of a plan: filters and computed columns over one event.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::simplifier::PhysicalExprSimplifier;
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::streaming::StreamingTableExec;

use super::{EventPlan, RowPart, short, whole};
use crate::{Result, schema};

const ROW_LOCAL: &[&str] = &[
    "FilterExec",
    "ProjectionExec",
    "StreamingTableExec",
    "CooperativeExec",
];

pub(super) fn event_plan(
    physical: &Arc<dyn ExecutionPlan>,
) -> std::result::Result<EventPlan, String> {
    let hint = "a per-event rule is one SELECT … FROM … WHERE …; for anything that looks at several events give the rule a `window`";
    if whole::joins_tables(physical) {
        return whole::event_plan(physical);
    }
    Ok(EventPlan {
        rows: row_part(physical, hint)?,
        template: physical.clone(),
        joined: false,
        remembered: None,
    })
}

/// Checks that a plan is row-local down to the slot and collects what it filters by.
pub(super) fn row_part(
    plan: &Arc<dyn ExecutionPlan>,
    hint: &str,
) -> std::result::Result<RowPart, String> {
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
    let mut steps = vec![];
    add_steps(plan, &mut steps);
    Ok(RowPart {
        predicate: simplified(predicates)?,
        columns,
        steps,
    })
}

/// Columns computed from those of the step before, for rows that satisfy the predicate already.
#[derive(Debug, Clone)]
pub struct Step {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

/// Collects what a row-local plan computes, from the leaf upwards.
fn add_steps(plan: &Arc<dyn ExecutionPlan>, steps: &mut Vec<Step>) {
    for child in plan.children() {
        add_steps(child, steps);
    }
    let exprs = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        projection.expr().iter().map(|e| e.expr.clone()).collect()
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>()
        && let Some(kept) = filter.projection()
    {
        let input = filter.input().schema();
        let column = |at: &usize| {
            Arc::new(Column::new(input.field(*at).name(), *at)) as Arc<dyn PhysicalExpr>
        };
        kept.iter().map(column).collect()
    } else {
        return;
    };
    let schema = plan.schema();
    steps.push(Step { exprs, schema });
}

impl RowPart {
    /// What the query computes of rows that satisfy the predicate, given the columns of its leaf. Expressions
    /// alone: to set up a plan for each batch costs more than to evaluate it, the more so the wider the events.
    pub fn evaluate(&self, mut rows: RecordBatch) -> Result<RecordBatch> {
        for step in &self.steps {
            let count = rows.num_rows();
            let columns = step.exprs.iter();
            let columns = columns.map(|expr| expr.evaluate(&rows)?.into_array(count));
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let columns = columns.collect::<DfResult<Vec<_>>>()?;
            rows = RecordBatch::try_new_with_options(step.schema.clone(), columns, &options)?;
        }
        Ok(rows)
    }
}

/// The conjunction of predicates over the event schema.
pub(super) fn simplified(
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
pub(super) fn over_events(
    expr: Arc<dyn PhysicalExpr>,
    from: &SchemaRef,
) -> DfResult<Arc<dyn PhysicalExpr>> {
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
