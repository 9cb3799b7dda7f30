//! Expressions that look at a few columns of wide events.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use crate::Result;
use crate::detect::row;
use crate::functions::true_rows;
use crate::plan::pattern::compiled;

/// An expression over a few event columns.
#[derive(Debug)]
pub struct Narrow {
    pub columns: Vec<usize>,
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Narrow {
    pub fn new(exprs: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let used: BTreeSet<usize> = exprs
            .iter()
            .flat_map(collect_columns)
            .map(|c| c.index())
            .collect();
        let columns: Vec<usize> = used.into_iter().collect();
        let remap = |expr: &Arc<dyn PhysicalExpr>| {
            let remapped = expr.clone().transform_up(|node| {
                if let Some(compiled) = compiled(&node) {
                    return Ok(Transformed::yes(compiled));
                }
                let Some(column) = node.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(node));
                };
                let index = columns
                    .iter()
                    .position(|c| *c == column.index())
                    .unwrap_or(column.index());
                Ok(Transformed::yes(
                    Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>,
                ))
            })?;
            Ok(remapped.data)
        };
        let exprs = exprs.iter().map(remap).collect::<Result<Vec<_>>>()?;
        Ok(Self { columns, exprs })
    }
}

/// The candidate rows (all when none are named) that satisfy the predicate.
pub fn rows_that(
    predicate: Option<&Narrow>,
    events: &RecordBatch,
    candidates: Option<&UInt32Array>,
) -> Result<UInt32Array> {
    let Some(predicate) = predicate else {
        let all = || UInt32Array::from_iter_values(0..events.num_rows() as u32);
        return Ok(candidates.cloned().unwrap_or_else(all));
    };
    let narrow = row::gather(events, &predicate.columns, candidates)?;
    let answer = predicate.exprs[0]
        .evaluate(&narrow)?
        .into_array(narrow.num_rows())?;
    let row = |i: usize| candidates.map_or(i as u32, |c| c.value(i));
    Ok(UInt32Array::from_iter_values(
        true_rows(&answer).set_indices().map(row),
    ))
}
