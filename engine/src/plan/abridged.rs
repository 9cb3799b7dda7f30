//! A rule planned over the columns that it names.
//!
//! What DataFusion does takes time by the width of what it is done to, and events are wide: of the 8 ms that a rule
//! took, 6 went into columns that it never looks at, most of them where it says `SELECT *`. So a query is planned over
//! a table of the columns whose names occur in its text; its star is left out, and put back into the plan.
//! This is done for forms of which it is certain that the plan is the same. Of others, and of what DataFusion
//! refuses, nothing is made here, and the query is planned as it stands.

use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select, SelectItem,
    SetExpr, TableFactor, Visit, Visitor,
};
use futures::FutureExt;

use super::template::{Slot, family_view};
use super::{Plan, direct, remembered_names};
use crate::rule::Rule;
use crate::schema::{self, COLUMNS, FAMILIES, col};

/// The plan of a rule; none if it must be planned as it stands.
pub(super) async fn plan(state: &SessionState, rule: &Rule) -> Option<Plan> {
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(&rule.query, &dialect).ok()?;
    let Statement::Statement(statement) = statement else {
        return None;
    };
    let ast::Statement::Query(mut query) = *statement else {
        return None;
    };
    let star = take_star(&mut query, rule)?;
    if query.visit(&mut Certain).is_break() {
        return None;
    }
    let mut columns = named(&rule.query)?;
    columns.extend(star.iter().flat_map(|star| &star.columns));
    let tables = Tables::new(state, columns).ok()?;
    let logical = SqlToRel::new_with_options(&tables, options(state))
        .sql_statement_to_plan(ast::Statement::Query(query))
        .ok()?;
    let plan = match direct::event_plan(state, rule, &logical).map(Plan::Event) {
        Some(plan) if plan.check_alerts().is_ok() => plan,
        _ => Plan::of(state, rule, logical).await.ok()?,
    };
    match (plan, star) {
        (plan, None) => Some(plan),
        (Plan::Event(plan), Some(star)) => plan.with_star(star.at).map(Plan::Event),
        _ => None,
    }
}

/// A star that was taken out of a query.
struct Star {
    /// Columns that stand in its place meanwhile.
    columns: Vec<usize>,
    /// Where they stand in the output.
    at: Range<usize>,
}

/// Takes the star out of `SELECT *, … FROM family WHERE …`. The outer none is for a star that cannot be taken out, the
/// inner one for a query without.
fn take_star(query: &mut Query, rule: &Rule) -> Option<Option<Star>> {
    let whole = query.to_string();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Some(None);
    };
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    let Some(at) = select.projection.iter().position(is_star) else {
        return Some(None);
    };
    let [from] = select.from.as_slice() else {
        return None;
    };
    let TableFactor::Table { name, .. } = &from.relation else {
        return None;
    };
    let [ast::ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
        return None;
    };
    let of_events = name.value == "events" || FAMILIES.contains(&name.value.as_str());
    let items: Vec<_> = select.projection.iter().map(ToString::to_string).collect();
    let filter = select.selection.as_ref();
    let filter = filter.map_or(String::new(), |filter| format!(" WHERE {filter}"));
    let plain = format!("SELECT {} FROM {from}{filter}", items.join(", "));
    if rule.kind.window().is_some() || !of_events || !from.joins.is_empty() || whole != plain {
        return None;
    }
    let mut columns = BTreeSet::new();
    if !rule.kind.remembered().is_empty() {
        columns.extend(remembered_names(rule).filter_map(|name| schema::index_of(name)));
    }
    if columns.is_empty() && items.len() == 1 {
        columns.insert(col::TIME);
    }
    let columns: Vec<usize> = columns.into_iter().collect();
    let meanwhile = columns.iter().map(|column| {
        let name = Ident::with_quote('"', COLUMNS[*column].name);
        SelectItem::UnnamedExpr(ast::Expr::Identifier(name))
    });
    // The text of an item is what DataFusion would read; a star with options (EXCEPT, REPLACE) is more than a star.
    if items[at] != "*" {
        return None;
    }
    select
        .projection
        .splice(at..=at, meanwhile.collect::<Vec<_>>());
    let at = at..at + columns.len();
    Some(Some(Star { columns, at }))
}

/// Breaks at what might mean another thing over fewer columns.
struct Certain;

impl Visitor for Certain {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        fn known(body: &SetExpr) -> bool {
            match body {
                SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => true,
                SetExpr::SetOperation { left, right, .. } => known(left) && known(right),
                _ => false,
            }
        }
        go_on(known(&query.body) && query.pipe_operators.is_empty())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let star = |item: &SelectItem| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        };
        go_on(!select.projection.iter().any(star))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (alias, plain) = match factor {
            TableFactor::Table { name, alias, .. } => (alias, name.to_string()),
            TableFactor::Derived {
                subquery, alias, ..
            } => (alias, format!("({subquery})")),
            _ => return ControlFlow::Break(()),
        };
        let plain = match alias {
            Some(alias) if !alias.columns.is_empty() => return ControlFlow::Break(()),
            Some(alias) => format!("{plain} {alias}"),
            None => plain,
        };
        go_on(factor.to_string() == plain)
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        let star = match expr {
            ast::Expr::Wildcard(_) | ast::Expr::QualifiedWildcard(..) => true,
            ast::Expr::Function(call) => match &call.args {
                FunctionArguments::List(list) => list.args.iter().any(is_wide),
                _ => false,
            },
            _ => false,
        };
        go_on(!star)
    }
}

/// Whether an argument is all columns; `count(*)` looks at none.
fn is_wide(arg: &FunctionArg) -> bool {
    let (FunctionArg::Unnamed(arg)
    | FunctionArg::Named { arg, .. }
    | FunctionArg::ExprNamed { arg, .. }) = arg;
    matches!(
        arg,
        FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::WildcardWithOptions(_)
    )
}

fn go_on(certain: bool) -> ControlFlow<()> {
    match certain {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    }
}

static BY_NAME: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    let columns = COLUMNS.iter().enumerate();
    columns
        .map(|(index, column)| (column.name, index))
        .collect()
});

/// Columns whose names occur in a query as words, wherever they stand. None if the query may mean columns without
/// naming them.
fn named(query: &str) -> Option<BTreeSet<usize>> {
    // Views look at it.
    let mut columns = BTreeSet::from([col::FAMILY]);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for text in query.split(|c| !word(c)).filter(|text| !text.is_empty()) {
        let text = text.to_ascii_lowercase();
        if text == "natural" {
            return None;
        }
        columns.extend(BY_NAME.get(text.as_str()));
    }
    Some(columns)
}

/// The tables of a session, with fewer columns of events.
struct Tables<'a> {
    state: &'a SessionState,
    events: Arc<dyn TableSource>,
}

impl<'a> Tables<'a> {
    fn new(state: &'a SessionState, columns: BTreeSet<usize>) -> DfResult<Self> {
        let columns: Vec<usize> = columns.into_iter().collect();
        let schema: Arc<Schema> = Arc::new(schema::events().project(&columns)?);
        let table = StreamingTable::try_new(schema.clone(), vec![Arc::new(Slot(schema))])?;
        let events = provider_as_source(Arc::new(table));
        Ok(Self { state, events })
    }
}

impl ContextProvider for Tables<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        if let TableReference::Bare { table } = &name {
            match table.as_ref() {
                "events" => return Ok(self.events.clone()),
                family if FAMILIES.contains(&family) => {
                    let view = family_view(self.events.clone(), family)?;
                    return Ok(provider_as_source(Arc::new(view)));
                }
                _ => {}
            }
        }
        let schema = self.state.schema_for_ref(name.clone())?;
        match schema.table(name.table()).now_or_never() {
            Some(Ok(Some(table))) => Ok(provider_as_source(table)),
            _ => plan_err!("table '{name}' not found"),
        }
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }
    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }
    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }
    // Names are only asked for to say what is like an unknown one; here it is then planned as it stands.
    fn udf_names(&self) -> Vec<String> {
        vec![]
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }
    fn udaf_names(&self) -> Vec<String> {
        vec![]
    }
    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}

/// As the session has them.
fn options(state: &SessionState) -> ParserOptions {
    let sql = &state.config().options().sql_parser;
    ParserOptions {
        parse_float_as_decimal: sql.parse_float_as_decimal,
        enable_ident_normalization: sql.enable_ident_normalization,
        support_varchar_with_length: sql.support_varchar_with_length,
        enable_options_value_normalization: sql.enable_options_value_normalization,
        collect_spans: sql.collect_spans,
        map_string_types_to_utf8view: sql.map_string_types_to_utf8view,
        default_null_ordering: sql.default_null_ordering.as_str().into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::session;

    #[test]
    fn words_of_a_query_are_its_columns() {
        let names = |query| {
            let columns = named(query)?.into_iter();
            Some(
                columns
                    .map(|column| COLUMNS[column].name)
                    .collect::<Vec<_>>(),
            )
        };
        let query = "SELECT e.TIME, \"raw\"->>'x' FROM cloud_audit e -- not status_codes";
        assert_eq!(names(query).unwrap(), ["time", "family", "raw"]);
        assert_eq!(names("SELECT 1 FROM a Natural JOIN b"), None);
    }

    /// What most rules look like must not fall back to the longer way, which gives the same plan and so is not noticed.
    #[tokio::test]
    async fn rules_of_the_usual_forms_are_abridged() {
        let state = session(&[], &Default::default()).await.unwrap().state();
        let abridged = async |query: &str| {
            let mut rule: Rule = serde_json::from_str(RULE).unwrap();
            rule.query = query.into();
            if query.contains("GROUP BY") {
                rule.kind = crate::rule::RuleKind::Window(crate::rule::Window {
                    size: 60_000_000,
                    slide: 60_000_000,
                });
            }
            plan(&state, &rule).await.is_some()
        };
        for query in [
            "SELECT * FROM cloud_audit",
            "SELECT *, raw->'a'->>'b' AS b\n FROM k8s_audit\n WHERE api_operation IN ('A')\n AND (x IS NULL OR x <> '')",
            "SELECT *, CASE WHEN status = 'success' THEN 1 END AS n FROM events WHERE is_public_ip(src_endpoint_ip)",
            "SELECT time, event_uid FROM cloud_audit WHERE status = 'success'",
            "SELECT status, count(*) AS n FROM cloud_audit WHERE (raw->>'a') = 'b' GROUP BY status HAVING count(*) > 2",
        ] {
            let query = query.replace("x ", "src_endpoint_ip ");
            assert!(abridged(&query).await, "{query}");
        }
        for query in [
            "SELECT * EXCEPT (raw) FROM cloud_audit",
            "SELECT *, 1 AS time FROM cloud_audit",
            "SELECT a FROM (SELECT * FROM cloud_audit) x (a)",
            "SELECT nosuch FROM cloud_audit",
        ] {
            assert!(!abridged(query).await, "{query}");
        }
    }

    const RULE: &str = r#"{"id": "x", "title": "x", "status": "test", "description": "", "references": [],
        "author": "", "date": "", "tags": [], "level": "low", "confidence": "low", "query": "", "kind": "event",
        "suppress": null, "entities": [], "compliance": {}, "falsepositives": [], "runbook": "", "path": ""}"#;
}
