//! The plan of a query that looks at single events, made of its expressions alone.
//!
//! Such a query is a filter and what is computed of the rows that pass it. DataFusion's optimizer looks for more in it, for most of
//! the time that a rule takes; what it finds is done to the expressions here: they are written over events, simplified, and
//! the filter's parts are put together in its order, the view's before the rule's.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::optimizer::simplify_expressions::simplify_predicates;
use datafusion::physical_expr::PhysicalExpr;

use super::rows::simplified;
use super::template::slot;
use super::{EventPlan, RowPart, lineage, remembered_names, repeatable};
use crate::rule::Rule;

/// The plan of `SELECT … FROM family WHERE …`; none if the query is another, or is refused.
pub(super) fn event_plan(
    state: &SessionState,
    rule: &Rule,
    logical: &LogicalPlan,
) -> Option<EventPlan> {
    let LogicalPlan::Projection(top) = logical else {
        return None;
    };
    if rule.kind.window().is_some() || repeatable::check(logical).is_err() {
        return None;
    }
    let mut exprs = vec![];
    for expr in &top.expr {
        exprs.push(physical(state, expr.clone().unalias(), &top.input)?);
    }
    let mut node = top.input.as_ref();
    let mut filters = vec![];
    loop {
        node = match node {
            LogicalPlan::Filter(filter) => {
                filters.push(filter);
                &filter.input
            }
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
                break;
            }
            _ => return None,
        };
    }
    let mut parts = vec![];
    for filter in filters {
        let inner = over_events(filter.predicate.clone(), &filter.input)?;
        let mut all = split_conjunction_owned(lineage::simplified(inner).ok()?);
        parts.retain(|part| !all.contains(part));
        all.append(&mut parts);
        parts = ordered(all)?;
    }
    let predicate = match conjunction(parts) {
        Some(Expr::Literal(..)) => return None,
        Some(predicate) => vec![
            state
                .create_physical_expr(predicate, lineage::events())
                .ok()?,
        ],
        None => vec![],
    };
    let predicate = simplified(predicate).ok()?;
    let names = top.schema.fields().iter().map(|field| field.name());
    let computed: Vec<_> = names.cloned().zip(exprs).collect();
    let rows = RowPart::computing(predicate.clone(), &computed)?;
    let output = rows.output().ok()?;
    let remembered = match rule.kind.remembered().is_empty() {
        true => None,
        false => {
            let names: BTreeSet<&String> = remembered_names(rule).collect();
            let named = names.into_iter();
            let named = named.filter_map(|name| computed.iter().find(|(of, _)| of == name));
            Some(RowPart::computing(
                predicate,
                &named.cloned().collect::<Vec<_>>(),
            )?)
        }
    };
    Some(EventPlan {
        // Never run: there is nothing but rows.
        template: slot(Arc::new(Schema::empty())).ok()?,
        rows,
        output,
        joined: false,
        remembered,
    })
}

/// Parts of a filter as DataFusion would have them: what says nothing new is gone, what is cheap stands first.
fn ordered(parts: Vec<Expr>) -> Option<Vec<Expr>> {
    let fewer = simplify_predicates(parts.clone()).ok()?;
    let in_order = fewer.is_sorted_by_key(|part| !is_cheap(part));
    if fewer.len() == parts.len() && in_order {
        return Some(parts);
    }
    let (mut cheap, costly): (Vec<_>, Vec<_>) = fewer.into_iter().partition(is_cheap);
    cheap.extend(costly);
    Some(cheap)
}

/// As DataFusion sees it: whatever is not listed may be costly.
fn is_cheap(expr: &Expr) -> bool {
    use Operator::{
        ILikeMatch, LikeMatch, NotILikeMatch, NotLikeMatch, RegexIMatch, RegexMatch,
        RegexNotIMatch, RegexNotMatch,
    };
    let costly = expr.exists(|node| {
        Ok(match node {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::Negative(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::InList(_) => false,
            Expr::BinaryExpr(binary) => matches!(
                binary.op,
                LikeMatch
                    | ILikeMatch
                    | NotLikeMatch
                    | NotILikeMatch
                    | RegexMatch
                    | RegexIMatch
                    | RegexNotMatch
                    | RegexNotIMatch
            ),
            _ => true,
        })
    });
    matches!(costly, Ok(false))
}

/// An expression over the rows of a plan, as one over events. None if it looks at more than one of them.
fn over_events(expr: Expr, plan: &LogicalPlan) -> Option<Expr> {
    let more = expr.exists(|node| {
        Ok(matches!(
            node,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    match more {
        Ok(false) => lineage::over_events(expr, plan),
        _ => None,
    }
}

fn physical(state: &SessionState, expr: Expr, plan: &LogicalPlan) -> Option<Arc<dyn PhysicalExpr>> {
    lineage::physical(state, over_events(expr, plan)?).ok()
}
