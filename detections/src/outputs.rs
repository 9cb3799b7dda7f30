//! What can be read off a rule's SQL without planning it: output columns and the shape of the query.
//!
//! Columns are checked against the schema when the engine plans the rule; here only names count.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    Value, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use weir_engine::schema::COLUMNS;

/// The shape of a rule's query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub columns: Vec<String>,
    pub grouped: bool,
    /// Whether the predicate holds a comparison with a text literal that no match can do without. The
    /// engine then evaluates the rule only on rows with that text.
    pub dispatchable: bool,
    /// Tables read anywhere in the query.
    pub tables: Vec<String>,
}

pub(crate) fn shape(sql: &str) -> Result<Shape, String> {
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, sql).map_err(|error| error.to_string())?;
    let mut tables = vec![];
    let _ = visit_relations(&statements, |name| {
        tables.push(name.to_string());
        ControlFlow::<()>::Continue(())
    });
    let query = match (statements.pop(), statements.len()) {
        (Some(Statement::Query(query)), 0) => query,
        _ => return Err("the query must be one SELECT".to_owned()),
    };
    let Query { body, with, .. } = *query;
    let own: Vec<String> = with
        .iter()
        .flat_map(|with| &with.cte_tables)
        .map(|cte| cte.alias.name.value.clone())
        .collect();
    tables.retain(|table| !own.contains(table));
    tables.sort();
    tables.dedup();
    let parts = with.iter().flat_map(|with| &with.cte_tables);
    let inner = parts.into_iter().any(|cte| query_tells(&cte.query));
    let SetExpr::Select(select) = *body else {
        return Err("the query must be one plain SELECT".to_owned());
    };
    let mut columns = vec![];
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                columns.extend(COLUMNS.iter().map(|column| column.name.to_owned()));
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
                columns.extend(names.last().map(|name| name.value.clone()));
            }
            SelectItem::UnnamedExpr(expression) => columns.push(expression.to_string()),
            SelectItem::ExprWithAlias { alias, .. } => columns.push(alias.value.clone()),
            SelectItem::ExprWithAliases { aliases, .. } => {
                columns.extend(aliases.iter().map(|alias| alias.value.clone()));
            }
        }
    }
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    Ok(Shape {
        columns,
        grouped,
        dispatchable: inner || tells(&select),
        tables,
    })
}

/// Whether a query reads the alerts of other rules. False for what is no query.
pub fn reads_alerts(sql: &str) -> bool {
    shape(sql).is_ok_and(|shape| shape.tables.iter().any(|table| table == "alerts"))
}

/// Whether a literal dispatches the rows of a SELECT, there or in a subquery that it reads.
fn tells(select: &Select) -> bool {
    let derived = |factor: &TableFactor| match factor {
        TableFactor::Derived { subquery, .. } => query_tells(subquery),
        _ => false,
    };
    select.selection.as_ref().is_some_and(needs_literal)
        || select.from.iter().any(|from| derived(&from.relation))
}

fn query_tells(query: &Query) -> bool {
    matches!(query.body.as_ref(), SetExpr::Select(select) if tells(select))
}

/// `column = 'text'` or `column IN ('text', …)` on every way through the predicate.
fn needs_literal(predicate: &Expr) -> bool {
    let column = |expression: &Expr| {
        matches!(
            expression,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_)
        )
    };
    match predicate {
        Expr::Nested(inner) => needs_literal(inner),
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::And => needs_literal(left) || needs_literal(right),
            BinaryOperator::Or => needs_literal(left) && needs_literal(right),
            BinaryOperator::Eq => {
                column(left) && text_literal(right) || column(right) && text_literal(left)
            }
            _ => false,
        },
        Expr::InList {
            expr,
            list,
            negated: false,
        } => column(expr) && list.iter().all(text_literal),
        _ => false,
    }
}

fn text_literal(expression: &Expr) -> bool {
    matches!(expression, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_the_query_names_them() {
        let shape = shape(
            "SELECT actor_user_uid, count(*) AS n, e.raw FROM cloud_audit e \
             WHERE api_operation = 'A' GROUP BY actor_user_uid, e.raw",
        )
        .unwrap();
        assert_eq!(shape.columns, ["actor_user_uid", "n", "raw"]);
        assert!(shape.grouped && shape.dispatchable);
        assert_eq!(shape.tables, ["cloud_audit"]);
    }

    #[test]
    fn tables_are_found_wherever_they_are_read() {
        let shape = shape(
            "WITH x AS (SELECT * FROM k8s_audit) SELECT a.time FROM cloud_audit a JOIN x ON a.time = x.time \
             WHERE a.src_endpoint_ip NOT IN (SELECT ip FROM egress)",
        )
        .unwrap();
        assert_eq!(shape.tables, ["cloud_audit", "egress", "k8s_audit"]);
    }

    #[test]
    fn a_star_has_every_column_and_what_stands_beside_it() {
        let shape = shape("SELECT *, raw->'a'->>'b' AS b FROM events").unwrap();
        assert_eq!(shape.columns.len(), COLUMNS.len() + 1);
        assert!(shape.columns.contains(&"b".to_owned()) && !shape.grouped);
    }

    #[test]
    fn a_literal_counts_only_where_no_match_can_do_without_it() {
        let dispatchable = |predicate: &str| {
            shape(&format!("SELECT * FROM events WHERE {predicate}"))
                .unwrap()
                .dispatchable
        };
        assert!(dispatchable(
            "severity_id > 3 AND api_operation IN ('A', 'B')"
        ));
        assert!(dispatchable("(api_operation = 'A' OR resource_type = 'b')"));
        assert!(!dispatchable("api_operation = 'A' OR severity_id > 3"));
        assert!(!dispatchable("api_operation NOT IN ('A')"));
        assert!(!dispatchable("api_operation LIKE 'A%'"));
    }

    #[test]
    fn only_one_plain_select_is_a_rule() {
        for sql in [
            "",
            "DROP TABLE events",
            "SELECT 1; SELECT 2",
            "SELECT 1 UNION SELECT 2",
            "SELEC",
        ] {
            assert!(shape(sql).is_err(), "{sql}");
        }
    }
}
