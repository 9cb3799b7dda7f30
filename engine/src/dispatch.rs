//! Thousands of rules at the cost of tens: a rule is evaluated only on rows that can match it.
//!
//! From each predicate we take *necessary literals*: pairs (column, text) such that the predicate can be true
//! only on a row where at least one pair holds. One index per column maps a text to the rules that need it; a
//! batch is looked up once per indexed column.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, InListExpr, Literal};
use hashbrown::HashMap;

use crate::schema::{COLUMNS, Kind, col};

/// (event column, text): at least one must hold for the rule to match.
pub type Literals = Vec<(usize, String)>;

/// Rows of a batch that a rule has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    All,
    /// Ascending, without repeats.
    Some(Arc<Vec<u32>>),
}

#[derive(Debug, Default)]
pub struct Dispatch {
    /// By column: text → rules.
    index: Vec<(usize, HashMap<String, Vec<u32>>)>,
    /// Rules that must see every row.
    always: Vec<u32>,
    rules: usize,
}

impl Dispatch {
    /// Takes the rules' predicates over the event schema, by rule index.
    pub fn new(predicates: &[Option<Arc<dyn PhysicalExpr>>]) -> Self {
        let mut dispatch = Self {
            rules: predicates.len(),
            ..Self::default()
        };
        for (rule, predicate) in predicates.iter().enumerate() {
            match predicate.as_ref().and_then(necessary) {
                Some(literals) => {
                    for (column, value) in literals {
                        dispatch.add(column, value, rule as u32);
                    }
                }
                None => dispatch.always.push(rule as u32),
            }
        }
        dispatch
    }

    fn add(&mut self, column: usize, value: String, rule: u32) {
        let place = self
            .index
            .iter()
            .position(|(c, _)| *c == column)
            .unwrap_or_else(|| {
                self.index.push((column, HashMap::new()));
                self.index.len() - 1
            });
        let rules = self.index[place].1.entry(value).or_default();
        if rules.last() != Some(&rule) {
            rules.push(rule);
        }
    }

    /// Rules to evaluate on a batch, with their rows; rules without a candidate row are left out.
    pub fn candidates(&self, events: &RecordBatch) -> Vec<(usize, Rows)> {
        let mut hits: Vec<Vec<u32>> = vec![vec![]; self.rules];
        for (column, values) in &self.index {
            let texts = events.column(*column).as_string_view();
            if texts.null_count() == texts.len() {
                continue;
            }
            // Neighbouring rows often hold the same text: remember the last look-up.
            let mut last: Option<(u128, Option<&Vec<u32>>)> = None;
            for row in 0..texts.len() {
                if texts.is_null(row) {
                    continue;
                }
                let view = texts.views()[row];
                // A view of up to twelve bytes holds the whole text.
                let known = last.filter(|(seen, _)| *seen == view && view as u32 <= 12);
                let rules = match known {
                    Some((_, found)) => found,
                    None => values.get(texts.value(row)),
                };
                last = Some((view, rules));
                for rule in rules.into_iter().flatten() {
                    hits[*rule as usize].push(row as u32);
                }
            }
        }
        let mut candidates: Vec<(usize, Rows)> = self
            .always
            .iter()
            .map(|rule| (*rule as usize, Rows::All))
            .collect();
        for (rule, mut rows) in hits
            .into_iter()
            .enumerate()
            .filter(|(_, rows)| !rows.is_empty())
        {
            rows.sort_unstable();
            rows.dedup();
            let rows = if rows.len() == events.num_rows() {
                Rows::All
            } else {
                Rows::Some(Arc::new(rows))
            };
            candidates.push((rule, rows));
        }
        candidates
    }
}

/// Literals without which the predicate cannot be true; `None` when nothing is known to be necessary.
pub fn necessary(predicate: &Arc<dyn PhysicalExpr>) -> Option<Literals> {
    if let Some(binary) = predicate.downcast_ref::<BinaryExpr>() {
        let (left, right) = (binary.left(), binary.right());
        return match binary.op() {
            Operator::Eq => match (
                column_of(left),
                text_of(right),
                column_of(right),
                text_of(left),
            ) {
                (Some(column), Some(value), _, _) | (_, _, Some(column), Some(value)) => {
                    Some(vec![(column, value)])
                }
                _ => None,
            },
            // Either side's set is enough; the one that lets fewer rows through is better.
            Operator::And => match (necessary(left), necessary(right)) {
                (Some(a), Some(b)) => Some(if weight(&a) <= weight(&b) { a } else { b }),
                (a, b) => a.or(b),
            },
            Operator::Or => {
                let mut literals = necessary(left)?;
                literals.extend(necessary(right)?);
                Some(literals)
            }
            _ => None,
        };
    }
    if let Some(list) = predicate.downcast_ref::<InListExpr>() {
        if list.negated() {
            return None;
        }
        let column = column_of(list.expr())?;
        return list
            .list()
            .iter()
            .map(|value| Some((column, text_of(value)?)))
            .collect();
    }
    None
}

/// Stand-in for measured selectivity: how much of an ordinary stream a literal of this column lets through,
/// in thousandths.
fn weight(literals: &Literals) -> usize {
    let one = |column: usize| match column {
        col::FAMILY | col::LOG_NAME | col::CLOUD_PROVIDER => 400,
        // Of a family that several products fill.
        col::PRODUCT => 300,
        col::STATUS | col::ACTOR_TYPE | col::CLOUD_ACCOUNT | col::CLOUD_REGION => 200,
        col::API_SERVICE | col::RESOURCE_TYPE | col::STATUS_CODE | col::K8S_NAMESPACE => 50,
        _ => 5,
    };
    literals.iter().map(|(column, _)| one(*column)).sum()
}

fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return column_of(cast.expr());
    }
    let index = expr.downcast_ref::<Column>()?.index();
    (COLUMNS[index].kind == Kind::Text).then_some(index)
}

fn text_of(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return text_of(cast.expr());
    }
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8(Some(s))
        | ScalarValue::Utf8View(Some(s))
        | ScalarValue::LargeUtf8(Some(s)) => Some(s.clone()),
        _ => None,
    }
}
