//! Rows into states of aggregates by group, and states of several batches into one.
//!
//! It is what DataFusion's partial aggregation does, with its group values and accumulators, but without setting up a plan and a
//! stream each time: for a rule and a batch that cost as much as aggregating ten thousand rows.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateInputMode, PhysicalGroupBy, aggregate_expressions, evaluate_group_by,
    evaluate_many,
};

use crate::plan::pattern::compiled;

type Expression = Arc<dyn PhysicalExpr>;

/// An aggregation whose answer is states.
#[derive(Debug)]
pub struct Grouped {
    groups: PhysicalGroupBy,
    keys: SchemaRef,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// By aggregate.
    arguments: Vec<Vec<Expression>>,
    filters: Vec<Option<Expression>>,
    /// It takes states, not rows.
    merges: bool,
    states: SchemaRef,
}

impl Grouped {
    /// What the plan does, which is a partial one.
    pub fn new(plan: &AggregateExec) -> DfResult<Self> {
        let groups = PhysicalGroupBy::clone(plan.group_expr());
        let input: Arc<Schema> = plan.input().schema();
        let keys = groups.group_schema(&input)?;
        let aggregates = plan.aggr_expr().to_vec();
        let arguments = aggregate_expressions(&aggregates, plan.mode(), groups.num_group_exprs())?;
        let of = |list: Vec<Expression>| list.into_iter().map(patterns).collect::<DfResult<_>>();
        let filters = plan.filter_expr().iter().cloned();
        Ok(Self {
            keys,
            groups,
            arguments: arguments.into_iter().map(of).collect::<DfResult<_>>()?,
            filters: filters
                .map(|filter| filter.map(patterns).transpose())
                .collect::<DfResult<_>>()?,
            aggregates,
            merges: plan.mode().input_mode() == AggregateInputMode::Partial,
            states: plan.schema(),
        })
    }

    /// One row for each group of these batches: its keys and the states of its aggregates.
    pub fn run(&self, batches: &[RecordBatch]) -> DfResult<RecordBatch> {
        let mut groups = new_group_values(self.keys.clone(), &GroupOrdering::None)?;
        let aggregates = self.aggregates.iter().map(accumulator);
        let mut aggregates = aggregates.collect::<DfResult<Vec<_>>>()?;
        let mut of_row = vec![];
        for batch in batches {
            let sets = evaluate_group_by(&self.groups, batch)?;
            let values = evaluate_many(&self.arguments, batch)?;
            let filter = |filter: &Option<Expression>| -> DfResult<Option<ArrayRef>> {
                let filter = filter.as_ref().filter(|_| !self.merges);
                let of = filter.map(|filter| filter.evaluate(batch)?.into_array(batch.num_rows()));
                of.transpose()
            };
            let filters = self.filters.iter().map(filter);
            let filters = filters.collect::<DfResult<Vec<_>>>()?;
            for keys in &sets {
                groups.intern(keys, &mut of_row)?;
                let count = groups.len();
                for ((aggregate, values), filter) in
                    aggregates.iter_mut().zip(&values).zip(&filters)
                {
                    match self.merges {
                        true => aggregate.merge_batch(values, &of_row, count)?,
                        false => {
                            let filter = filter.as_ref().map(|filter| filter.as_boolean());
                            aggregate.update_batch(values, &of_row, filter, count)?;
                        }
                    }
                }
            }
        }
        let mut columns = groups.emit(EmitTo::All)?;
        for aggregate in &mut aggregates {
            columns.extend(aggregate.state(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(self.states.clone(), columns)?)
    }
}

fn accumulator(of: &Arc<AggregateFunctionExpr>) -> DfResult<Box<dyn GroupsAccumulator>> {
    if of.groups_accumulator_supported() {
        return of.create_groups_accumulator();
    }
    let of = of.clone();
    let one = move || of.create_accumulator();
    Ok(Box::new(GroupsAccumulatorAdapter::new(one)))
}

/// The expression with its literal patterns compiled.
fn patterns(expression: Expression) -> DfResult<Expression> {
    let all = expression.transform_up(|node| {
        Ok(match compiled(&node) {
            Some(compiled) => Transformed::yes(compiled),
            None => Transformed::no(node),
        })
    });
    Ok(all?.data)
}
