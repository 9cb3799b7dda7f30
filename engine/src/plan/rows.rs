//! The row-local part of a plan: filters and computed columns over one event.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
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
use crate::detect::narrow::Narrow;
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
        output: physical.schema(),
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

    /// Of rows that satisfy the predicate, named expressions over events.
    pub(super) fn computing(
        predicate: Option<Arc<dyn PhysicalExpr>>,
        named: &[(String, Arc<dyn PhysicalExpr>)],
    ) -> Option<Self> {
        let exprs: Vec<_> = named.iter().map(|(_, expr)| expr.clone()).collect();
        let events = schema::events();
        let field = |(name, expr): &(String, Arc<dyn PhysicalExpr>)| {
            let field = expr.return_field(&events)?;
            Ok(field.as_ref().clone().with_name(name))
        };
        let fields = named.iter().map(field).collect::<DfResult<Vec<_>>>().ok()?;
        let Narrow { columns, exprs } = Narrow::new(&exprs).ok()?;
        let schema = Arc::new(Schema::new(fields));
        Some(Self {
            predicate,
            columns,
            steps: vec![Step { exprs, schema }],
        })
    }

    /// Schema of what [`evaluate`](Self::evaluate) returns.
    pub(super) fn output(&self) -> DfResult<SchemaRef> {
        match self.steps.last() {
            Some(step) => Ok(step.schema.clone()),
            None => Ok(Arc::new(schema::events().project(&self.columns)?)),
        }
    }

    /// What [`evaluate`](Self::evaluate) returns, as expressions over events.
    pub fn exprs(&self) -> DfResult<Vec<Arc<dyn PhysicalExpr>>> {
        let mut exprs: Vec<_> = self.columns.iter().map(|c| STAR[*c].clone()).collect();
        for step in &self.steps {
            let above = step.exprs.iter().map(|expr| {
                let composed = expr.clone().transform_up(|node| {
                    Ok(match node.downcast_ref::<Column>() {
                        Some(column) => Transformed::yes(exprs[column.index()].clone()),
                        None => Transformed::no(node),
                    })
                });
                composed.map(|composed| composed.data)
            });
            exprs = above.collect::<DfResult<_>>()?;
        }
        Ok(exprs)
    }
}

/// All columns of events as expressions.
static STAR: LazyLock<Vec<Arc<dyn PhysicalExpr>>> = LazyLock::new(|| {
    let columns = schema::COLUMNS.iter().enumerate();
    let column = |(index, column): (usize, &schema::Column)| {
        Arc::new(Column::new(column.name, index)) as Arc<dyn PhysicalExpr>
    };
    columns.map(column).collect()
});

impl EventPlan {
    /// The plan of the query that has a star in the place of these output columns. None if it could mean something
    /// else there.
    pub(super) fn with_star(self, at: Range<usize>) -> Option<Self> {
        let outputs = self.output.fields();
        let beside = |index: &usize| !at.contains(index);
        let named_alike = |index: usize| schema::index_of(outputs.get(index)?.name());
        if self.joined
            || (0..outputs.len())
                .filter(beside)
                .any(|i| named_alike(i).is_some())
        {
            return None;
        }
        let mut steps = vec![];
        let mut fields = outputs.to_vec();
        fields.splice(at.clone(), schema::events().fields().iter().cloned());
        let output = Arc::new(Schema::new(fields));
        if at.len() < outputs.len() {
            let mut exprs = self.rows.exprs().ok()?;
            exprs.splice(at, STAR.iter().cloned());
            steps.push(Step {
                exprs,
                schema: output.clone(),
            });
        }
        let rows = RowPart {
            predicate: self.rows.predicate,
            columns: (0..schema::COLUMNS.len()).collect(),
            steps,
        };
        Some(Self {
            rows,
            output,
            ..self
        })
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
