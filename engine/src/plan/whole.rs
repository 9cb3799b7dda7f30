//! Queries that run whole: over the rows of one window (joins, window functions, subqueries, CTEs), or, for a
//! per-event rule that joins reference tables, over the rows of one batch.
//!
//! A leaf is one place where the query reads events. What is kept of it are the rows that the filter directly
//! above it lets through, in the columns that the query uses; the filter stays in the plan, so keeping more
//! rows would change nothing but memory.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, JoinSide, JoinType};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::streaming::StreamingTableExec;

use super::need::Need;
use super::rows::{over_events, simplified};
use super::{EventPlan, Input, RowPart, WindowPlan, lineage, short};
use crate::rule::Rule;
use crate::schema;

/// Plans a window rule that keeps its rows. `not_split` says why it cannot keep less.
pub(super) fn window_plan(
    state: &SessionState,
    rule: &Rule,
    logical: &LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
    not_split: &str,
) -> Result<WindowPlan, String> {
    let Some(suppress) = &rule.suppress else {
        return Err(format!(
            "the query cannot be split into panes ({not_split}), so its rows are kept and it runs whole over \
             each window; such a rule must say what one alert is about: add `suppress: {{ by: [columns], for: … }}`, \
             or write SELECT … FROM … WHERE … GROUP BY … HAVING …"
        ));
    };
    let leaves = leaves(&physical)?;
    if leaves.is_empty() {
        return Err("the query does not read `events` or one of its views".into());
    }
    let keys = suppress.by.iter().filter_map(|name| {
        let output = Expr::Column(Column::from_name(name));
        let source = lineage::over_events(output, logical)?;
        Some((lineage::physical(state, source).ok()?, name.clone()))
    });
    Ok(WindowPlan {
        inputs: leaves
            .into_iter()
            .map(|rows| Input { rows, reduce: None })
            .collect(),
        keys: keys.collect(),
        finish: physical,
        need: Need::NOTHING,
        conditions: vec![],
    })
}

/// Whether the plan joins the stream with something.
pub(super) fn joins_tables(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(node.name().ends_with("JoinExec")))
        .unwrap_or(false)
}

/// Plans a per-event rule that joins reference tables: each event is judged by itself.
pub(super) fn event_plan(physical: &Arc<dyn ExecutionPlan>) -> Result<EventPlan, String> {
    let hint = "a per-event rule joins events only with reference tables, keeping each event by itself; \
                to join events with events give the rule a `window`";
    let mut leaves = leaves(physical)?;
    let (Some(rows), true) = (leaves.pop(), leaves.is_empty()) else {
        return Err(hint.into());
    };
    let mut wrong = None;
    physical
        .apply(|node| {
            if let Some((left, right, join_type)) = join(node) {
                let side = match reads_events(left) {
                    true => JoinSide::Left,
                    false => JoinSide::Right,
                };
                let both = reads_events(left) && reads_events(right);
                let neither = !reads_events(left) && !reads_events(right);
                let keeps = match join_type {
                    JoinType::Inner => true,
                    JoinType::Left
                    | JoinType::LeftSemi
                    | JoinType::LeftAnti
                    | JoinType::LeftMark => side == JoinSide::Left,
                    JoinType::Right
                    | JoinType::RightSemi
                    | JoinType::RightAnti
                    | JoinType::RightMark => side == JoinSide::Right,
                    JoinType::Full => false,
                };
                if both || !(keeps || neither) {
                    wrong = Some(hint.to_owned());
                }
            } else if reads_events(node) && !ROW_BY_ROW.contains(&node.name()) {
                wrong = Some(format!("{} cannot run row by row: {hint}", node.name()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|e| short(&e))?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    for column in ["time", "event_uid"] {
        if physical.schema().index_of(column).is_err() {
            return Err(format!(
                "a per-event rule with a join must return `{column}`; add time and event_uid to the SELECT list"
            ));
        }
    }
    Ok(EventPlan {
        rows,
        template: physical.clone(),
        output: physical.schema(),
        joined: true,
        remembered: None,
    })
}

/// Operators that treat each row by itself.
const ROW_BY_ROW: &[&str] = &[
    "FilterExec",
    "ProjectionExec",
    "StreamingTableExec",
    "CooperativeExec",
    "CoalescePartitionsExec",
];

/// The two sides of a join and how they are joined.
fn join(node: &Arc<dyn ExecutionPlan>) -> Option<Sides<'_>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return Some((join.left(), join.right(), *join.join_type()));
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        return Some((join.left(), join.right(), *join.join_type()));
    }
    let join = node.downcast_ref::<CrossJoinExec>()?;
    Some((join.left(), join.right(), JoinType::Inner))
}

type Sides<'a> = (
    &'a Arc<dyn ExecutionPlan>,
    &'a Arc<dyn ExecutionPlan>,
    JoinType,
);

fn reads_events(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(node.downcast_ref::<StreamingTableExec>().is_some()))
        .unwrap_or(false)
}

/// The leaves from left to right.
fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<RowPart>, String> {
    let mut found = vec![];
    collect(plan, None, &mut found)?;
    Ok(found)
}

fn collect(
    node: &Arc<dyn ExecutionPlan>,
    above: Option<&FilterExec>,
    found: &mut Vec<RowPart>,
) -> Result<(), String> {
    let unequal = ["CrossJoinExec", "NestedLoopJoinExec"].contains(&node.name());
    if unequal && node.children().into_iter().all(reads_events) {
        return Err(
            "its join has no equality, so it would compare every event with every other; \
             join ON equal columns and put the rest into WHERE"
                .into(),
        );
    }
    if let Some(leaf) = node.downcast_ref::<StreamingTableExec>() {
        if leaf.limit().is_some() {
            return Err("LIMIT without ORDER BY depends on the order of arrival".into());
        }
        let columns = leaf
            .schema()
            .fields()
            .iter()
            .map(|field| schema::index_of(field.name()))
            .collect::<Option<Vec<_>>>()
            .ok_or("a leaf reads a column that events do not have")?;
        let predicates = match above {
            Some(filter) => {
                let expr = over_events(filter.predicate().clone(), &leaf.schema());
                vec![expr.map_err(|e: DataFusionError| short(&e))?]
            }
            None => vec![],
        };
        found.push(RowPart {
            predicate: simplified(predicates)?,
            columns,
            steps: vec![],
        });
        return Ok(());
    }
    let filter = node.downcast_ref::<FilterExec>();
    // What stands between a filter and its leaf without changing rows.
    let above = match filter {
        Some(filter) => Some(filter),
        None if node.name() == "CooperativeExec" => above,
        None => None,
    };
    for child in node.children() {
        collect(child, above, found)?;
    }
    Ok(())
}
