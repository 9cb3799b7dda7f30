//! What a group must hold at least before HAVING can be true, read off the query: most groups of most windows
//! hold less, and no answer is computed for them.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Aggregate, Case, Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;

use super::lineage;

/// Conditions that are counted per key at most; what is said of more is left out.
pub const CONDITIONS: usize = 4;

/// Rows of a key, and how many of them satisfy each condition of its rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    pub that: [u32; CONDITIONS],
}

/// A necessary condition on the rows of one group. It never fails where HAVING could hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    Rows(u64),
    /// So many rows that satisfy the condition of this number.
    That(usize, u32),
    All(Vec<Need>),
    Any(Vec<Need>),
}

impl Need {
    pub const NOTHING: Self = Self::Rows(1);

    pub fn holds(&self, tally: &Tally) -> bool {
        match self {
            Self::Rows(least) => tally.rows >= *least,
            Self::That(condition, least) => tally.that[*condition] >= *least,
            Self::All(needs) => needs.iter().all(|need| need.holds(tally)),
            Self::Any(needs) => needs.iter().any(|need| need.holds(tally)),
        }
    }

    /// Whether any row at all is enough.
    pub fn is_nothing(&self) -> bool {
        self.holds(&Tally {
            rows: 1,
            that: [0; CONDITIONS],
        })
    }
}

/// The need in words, for `weir rule explain`.
pub(super) fn show(need: &Need, conditions: &[Arc<dyn PhysicalExpr>]) -> String {
    let list = |needs: &[Need], between: &str| {
        let needs = needs.iter().filter(|need| !need.is_nothing());
        let texts: Vec<_> = needs.map(|need| show(need, conditions)).collect();
        texts.join(between)
    };
    match need {
        Need::Rows(least) => format!("{least} rows"),
        Need::That(condition, least) => match conditions.get(*condition) {
            Some(condition) => format!("{least} rows with {condition}"),
            None => format!("{least} rows"),
        },
        Need::All(needs) => list(needs, " and "),
        Need::Any(needs) => format!("({})", list(needs, " or ")),
    }
}

/// What HAVING needs, and the conditions that it speaks of, over the event schema.
pub(super) fn of_having(
    state: &SessionState,
    having: &[&Expr],
    aggregate: &Aggregate,
) -> (Need, Vec<Arc<dyn PhysicalExpr>>) {
    let mut reader = Reader {
        state,
        aggregate,
        conditions: vec![],
    };
    let needs = having.iter().map(|predicate| reader.need(predicate));
    let need = Need::All(needs.collect());
    let conditions = reader.conditions.into_iter();
    (need, conditions.map(|(_, physical)| physical).collect())
}

struct Reader<'a> {
    state: &'a SessionState,
    aggregate: &'a Aggregate,
    conditions: Vec<(Expr, Arc<dyn PhysicalExpr>)>,
}

impl Reader<'_> {
    fn need(&mut self, predicate: &Expr) -> Need {
        let Expr::BinaryExpr(binary) = predicate else {
            return match self.call(predicate) {
                Some(call) if call.func.name() == "sequence_match" => self.steps(&call),
                _ => Need::NOTHING,
            };
        };
        let (left, right) = (binary.left.as_ref(), binary.right.as_ref());
        match binary.op {
            Operator::And => Need::All(vec![self.need(left), self.need(right)]),
            Operator::Or => Need::Any(vec![self.need(left), self.need(right)]),
            Operator::GtEq => self.at_least(left, right, 0),
            Operator::Gt => self.at_least(left, right, 1),
            Operator::LtEq => self.at_least(right, left, 0),
            Operator::Lt => self.at_least(right, left, 1),
            Operator::Eq => Need::All(vec![
                self.at_least(left, right, 0),
                self.at_least(right, left, 0),
            ]),
            _ => Need::NOTHING,
        }
    }

    /// The aggregate that a column of HAVING stands for.
    fn call(&self, expr: &Expr) -> Option<AggregateFunction> {
        match expr {
            Expr::Cast(cast) => self.call(&cast.expr),
            Expr::Column(column) => {
                let index = self.aggregate.schema.maybe_index_of_column(column)?;
                let index = index.checked_sub(self.aggregate.group_expr.len())?;
                match self.aggregate.aggr_expr.get(index)?.clone().unalias() {
                    Expr::AggregateFunction(call) => Some(call),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Rows that it takes for a count, or a sum of ones, to be as large as a constant and `more`.
    fn at_least(&mut self, counted: &Expr, constant: &Expr, more: u64) -> Need {
        let (Some(call), Some(number)) = (self.call(counted), whole_number(constant)) else {
            return Need::NOTHING;
        };
        let least = number.saturating_add(more);
        let params = &call.params;
        let case = params.args.first().and_then(|arg| match arg {
            Expr::Case(case) => only_when(case),
            _ => None,
        });
        let condition = match (call.func.name(), case) {
            ("count", Some((condition, _, None))) => Some(condition),
            ("count", _) => params.filter.as_deref(),
            ("sum", Some((condition, then, other))) if is_at_most(then, 1.0) => {
                match other.is_none_or(|other| is_at_most(other, 0.0)) {
                    true => Some(condition),
                    false => return Need::NOTHING,
                }
            }
            _ => return Need::NOTHING,
        };
        match condition {
            Some(condition) => self.that(condition, least),
            None => Need::Rows(least),
        }
    }

    /// Each positive step of a sequence takes an event of its own.
    fn steps(&mut self, call: &AggregateFunction) -> Need {
        let (mut rows, mut that) = (0, [0; CONDITIONS]);
        for step in call.params.args.iter().skip(1) {
            let condition = match step {
                Expr::ScalarFunction(made) if made.name() == "without" => continue,
                Expr::ScalarFunction(made) if made.name() == "within" => match made.args.first() {
                    Some(condition) => condition,
                    None => continue,
                },
                condition => condition,
            };
            rows += 1;
            if let Need::That(condition, _) = self.that(condition, 1) {
                that[condition] += 1;
            }
        }
        let conditions = that.into_iter().enumerate().filter(|(_, least)| *least > 0);
        let conditions = conditions.map(|(condition, least)| Need::That(condition, least));
        let rows = std::iter::once(Need::Rows(rows));
        Need::All(rows.chain(conditions).collect())
    }

    /// So many rows that satisfy the condition, or the part of it that is cheap to see.
    fn that(&mut self, condition: &Expr, least: u64) -> Need {
        let cheap = split_conjunction(condition).into_iter();
        let cheap = cheap.filter(|part| !part.column_refs().iter().any(|c| c.name == "raw"));
        let seen = conjunction(cheap.cloned()).and_then(|seen| self.condition(seen));
        match (seen, u32::try_from(least)) {
            (Some(condition), Ok(least)) => Need::That(condition, least),
            _ => Need::Rows(least),
        }
    }

    fn condition(&mut self, condition: Expr) -> Option<usize> {
        let known = self.conditions.iter().position(|(c, _)| *c == condition);
        if known.is_some() || self.conditions.len() == CONDITIONS {
            return known;
        }
        let source = lineage::over_events(condition.clone(), &self.aggregate.input)?;
        let physical = lineage::physical(self.state, source).ok()?;
        self.conditions.push((condition, physical));
        Some(self.conditions.len() - 1)
    }
}

/// `CASE WHEN condition THEN value [ELSE other] END`.
fn only_when(case: &Case) -> Option<(&Expr, &Expr, Option<&Expr>)> {
    match (&case.expr, case.when_then_expr.as_slice()) {
        (None, [(condition, then)]) => Some((condition, then, case.else_expr.as_deref())),
        _ => None,
    }
}

fn is_at_most(expr: &Expr, most: f64) -> bool {
    let Expr::Literal(value, _) = expr else {
        return false;
    };
    match value.cast_to(&DataType::Float64) {
        // Null adds nothing.
        Ok(ScalarValue::Float64(number)) => number.is_none_or(|number| number <= most),
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
