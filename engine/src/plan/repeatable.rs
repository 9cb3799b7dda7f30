//! Refuses queries whose answer depends on when they run or in which order rows come.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ExprSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, WindowFunctionDefinition};

use super::{lineage, short};

/// Functions whose answer depends on when they are called.
const CLOCKS: &[&str] = &[
    "now",
    "current_date",
    "current_time",
    "current_timestamp",
    "today",
];

/// Aggregates whose answer depends on the order in which rows come or states are merged, and what to write
/// instead. ORDER BY inside the call does not help: rows that it holds equal still come in any order. The t-digests
/// of the approximate percentiles compress what they have seen so far. `array_agg` is fine, because lists are
/// sorted in answers; so is `approx_distinct`, because its registers only keep maxima.
const ORDER_DEPENDENT: &[(&str, &str)] = &[
    ("any_value", "min(…) or max(…)"),
    (
        "first_value",
        "min(…), or array_agg(DISTINCT …) for all values",
    ),
    (
        "last_value",
        "max(…), or array_agg(DISTINCT …) for all values",
    ),
    ("nth_value", "array_agg(DISTINCT …)"),
    ("string_agg", "array_agg(DISTINCT …)"),
    ("approx_median", "median(…)"),
    ("approx_percentile_cont", "percentile_cont(…)"),
    ("approx_percentile_cont_with_weight", "percentile_cont(…)"),
];

/// Functions over lists that do not look at the order of elements.
const ANY_ORDER: &[&str] = &[
    "array_length",
    "cardinality",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_sort",
    "array_max",
    "array_min",
    "empty",
];

pub(super) fn check(plan: &LogicalPlan) -> Result<(), String> {
    let mut wrong = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node
            && !is_sorted(&limit.input)
        {
            wrong = Some("LIMIT without ORDER BY depends on the order of arrival".to_owned());
        }
        node.apply_expressions(|whole| {
            wrong = wrong.take().or_else(|| list_order(whole, node));
            whole.apply(|expr| {
                wrong = wrong.take().or_else(|| in_itself(expr));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(|e| short(&e))?;
    wrong.map_or(Ok(()), Err)
}

fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        _ => false,
    }
}

/// What is wrong with an expression wherever it stands.
fn in_itself(expr: &Expr) -> Option<String> {
    match expr {
        Expr::ScalarFunction(call) => {
            let volatile = call.func.signature().volatility == Volatility::Volatile;
            (volatile || CLOCKS.contains(&call.func.name())).then(|| {
                format!(
                    "{}() gives another answer each time; rules see only events and their times",
                    call.func.name()
                )
            })
        }
        Expr::AggregateFunction(call) => order_dependent(call.func.name()),
        Expr::WindowFunction(window) => unordered(window),
        _ => None,
    }
}

fn order_dependent(name: &str) -> Option<String> {
    let (_, instead) = ORDER_DEPENDENT
        .iter()
        .find(|(refused, _)| *refused == name)?;
    Some(format!(
        "the answer of {name} depends on the order in which events arrive; write {instead} instead"
    ))
}

fn unordered(window: &WindowFunction) -> Option<String> {
    let name = window.fun.name();
    let sums = matches!(&window.fun, WindowFunctionDefinition::AggregateUDF(function)
        if order_dependent(function.name()).is_none());
    (window.params.order_by.is_empty() && !sums).then(|| {
        format!(
            "{name} OVER without ORDER BY depends on the order of arrival; add ORDER BY time, event_uid"
        )
    })
}

/// Lists that were aggregated hold their elements in any order; as they are, answers sort them.
fn list_order(expr: &Expr, node: &LogicalPlan) -> Option<String> {
    let aggregated = |expr: &Expr| {
        let Expr::Column(column) = expr else {
            return false;
        };
        node.inputs().into_iter().any(|input| {
            let field = input.schema().field_from_column(column);
            field.is_ok_and(|f| matches!(f.data_type(), DataType::List(_)))
                && lineage::over_events(expr.clone(), input).is_none()
        })
    };
    let mut wrong = None;
    let walked: DfResult<_> = expr.apply(|expr| {
        match expr {
            Expr::Alias(_) | Expr::Column(_) | Expr::IsNull(_) | Expr::IsNotNull(_) => {}
            Expr::ScalarFunction(call) if ANY_ORDER.contains(&call.func.name()) => {
                return Ok(TreeNodeRecursion::Jump);
            }
            other => other.apply_children(|child| {
                if aggregated(child) {
                    wrong = Some(format!(
                        "{other} depends on the order in which events arrive: an aggregated list has none; \
                         put array_sort(…) around the list"
                    ));
                }
                Ok(TreeNodeRecursion::Continue)
            }).map(drop)?,
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok()?;
    wrong
}
