//! What SQL typed by people is refused, before anything is planned.
//!
//! A session's own limits (memory pool, timeout) are no bound for foreign SQL: a long chain of operators
//! exhausts the stack while it is parsed, and some functions make gigabytes within one batch. So text is
//! first tokenised, which needs no recursion, and only what is short, flat and made of known functions goes
//! on to the parser. What passes here can still be expensive; that is what the child process is for.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, Expr, Query, SetExpr, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::functions;
use super::{Limits, Refusal};

/// What the guard learnt about a statement that it let through.
#[derive(Debug)]
pub struct Checked {
    pub statement: Statement,
    /// Names of the tables that it may read, as written, in lower case.
    pub tables: BTreeSet<String>,
    pub explain: bool,
}

/// Checks a statement's text, shape and functions.
pub fn check(sql: &str, limits: &Limits) -> Result<Checked, Refusal> {
    check_text(sql, limits)?;
    let tokens = tokenize(sql)?;
    check_shape(&tokens, limits)?;
    let statement = parse(sql)?;
    let explain = matches!(statement, Statement::Explain(_));
    let query = query_of(&statement)?;
    let mut rules = Rules {
        limits,
        tables: BTreeSet::new(),
        relations: 0,
    };
    match query.visit(&mut rules) {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(refusal) => return Err(*refusal),
    }
    let tables = rules.tables;
    Ok(Checked {
        statement,
        tables,
        explain,
    })
}

fn check_text(sql: &str, limits: &Limits) -> Result<(), Refusal> {
    if sql.len() > limits.max_text {
        return Err(Refusal::too_large(format!(
            "the query has {} bytes, {} are allowed; put long lists into a reference table and join it",
            sql.len(),
            limits.max_text
        )));
    }
    Ok(())
}

/// Tokens without blanks and comments.
fn tokenize(sql: &str) -> Result<Vec<Token>, Refusal> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize();
    let tokens = tokens.map_err(|e| Refusal::invalid(format!("the query cannot be read: {e}")))?;
    let blank = |token: &Token| matches!(token, Token::Whitespace(_));
    Ok(tokens.into_iter().filter(|token| !blank(token)).collect())
}

/// Bounds everything that parser, planner or optimizer recurse over.
fn check_shape(tokens: &[Token], limits: &Limits) -> Result<(), Refusal> {
    check_start(tokens)?;
    let mut operators = 0;
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                depth += 1;
                operators += usize::from(!matches!(token, Token::LParen));
            }
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::SemiColon if index + 1 < tokens.len() => {
                return Err(Refusal::refused("one statement at a time, please"));
            }
            Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::EOF
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::DollarQuotedString(_) => {}
            Token::Word(word) => {
                let keyword = word.quote_style.is_none() && operates(word.keyword);
                operators += usize::from(keyword);
            }
            // Whatever is not a value or punctuation: operators of every kind.
            _ => operators += 1,
        }
        if depth > limits.max_depth {
            return Err(Refusal::too_large(format!(
                "the query nests more than {} levels deep; name its parts with WITH",
                limits.max_depth
            )));
        }
        if operators > limits.max_operators {
            return Err(Refusal::too_large(format!(
                "the query has more than {} operators and clauses; use IN (…) for lists, or a reference table",
                limits.max_operators
            )));
        }
    }
    Ok(())
}

fn check_start(tokens: &[Token]) -> Result<(), Refusal> {
    let word = |index: usize| match tokens.get(index) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let mut start = 0;
    if word(0) == Keyword::EXPLAIN {
        start = 1;
        if word(start) == Keyword::VERBOSE {
            start += 1;
        }
        if word(start) == Keyword::FORMAT {
            start += 2;
        }
        if word(start) == Keyword::ANALYZE || tokens.get(start) == Some(&Token::LParen) {
            return Err(Refusal::refused(
                "EXPLAIN ANALYZE and EXPLAIN with options are refused because they run what they explain; use plain EXPLAIN",
            ));
        }
    }
    match word(start) {
        Keyword::SELECT | Keyword::WITH => Ok(()),
        _ if tokens.is_empty() => Err(Refusal::invalid("the query is empty")),
        _ => Err(Refusal::refused(
            "only SELECT, WITH … SELECT and EXPLAIN are answered: this interface reads and never writes",
        )),
    }
}

/// Words that make a level of a plan or of an expression.
fn operates(keyword: Keyword) -> bool {
    use Keyword::*;
    matches!(
        keyword,
        ALL | AND
            | ANY
            | ARRAY
            | AT
            | BETWEEN
            | CASE
            | CAST
            | COLLATE
            | CROSS
            | DISTINCT
            | EXCEPT
            | EXISTS
            | FILTER
            | FROM
            | GROUP
            | HAVING
            | ILIKE
            | IN
            | INTERSECT
            | INTERVAL
            | IS
            | JOIN
            | LATERAL
            | LIKE
            | NOT
            | OR
            | OVER
            | OVERLAPS
            | QUALIFY
            | REGEXP
            | RLIKE
            | SELECT
            | SIMILAR
            | SOME
            | TRY_CAST
            | UNION
            | UNNEST
            | VALUES
            | WHEN
            | WITH
            | XOR
    )
}

fn parse(sql: &str) -> Result<Statement, Refusal> {
    let invalid = |e: datafusion::error::DataFusionError| {
        Refusal::invalid(format!("the query cannot be read: {}", e.strip_backtrace()))
    };
    let parser = DFParserBuilder::new(sql).with_dialect(&GenericDialect {});
    let mut statements = parser
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(invalid)?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        _ => Err(Refusal::refused("one statement at a time, please")),
    }
}

/// The query that a statement is, or explains.
fn query_of(statement: &Statement) -> Result<&Query, Refusal> {
    let inner = match statement {
        Statement::Explain(explain) if !explain.options.analyze => &*explain.statement,
        other => other,
    };
    match inner {
        Statement::Statement(statement) => match &**statement {
            ast::Statement::Query(query) => Ok(query),
            _ => Err(only_queries()),
        },
        _ => Err(only_queries()),
    }
}

fn only_queries() -> Refusal {
    Refusal::refused("only queries are answered: this interface reads and never writes")
}

/// Looks at every part of the parsed query.
struct Rules<'a> {
    limits: &'a Limits,
    tables: BTreeSet<String>,
    relations: usize,
}

type Verdict = ControlFlow<Box<Refusal>>;

fn refuse(refusal: Refusal) -> Verdict {
    ControlFlow::Break(Box::new(refusal))
}

impl Visitor for Rules<'_> {
    type Break = Box<Refusal>;

    fn pre_visit_query(&mut self, query: &Query) -> Verdict {
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return refuse(Refusal::refused(
                "WITH RECURSIVE is refused: nothing bounds how often it runs",
            ));
        }
        match &*query.body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                refuse(only_queries())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> Verdict {
        match select.into {
            Some(_) => refuse(only_queries()),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> Verdict {
        self.relations += 1;
        if self.relations > self.limits.max_tables {
            return refuse(Refusal::too_large(format!(
                "the query names more than {} tables",
                self.limits.max_tables
            )));
        }
        let name = relation.to_string().replace('"', "").to_lowercase();
        self.tables.insert(name);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Verdict {
        let named = match factor {
            TableFactor::Table {
                args: Some(_),
                name,
                ..
            } => name.to_string(),
            TableFactor::Function { name, .. } => name.to_string(),
            TableFactor::TableFunction { expr, .. } => expr.to_string(),
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => return ControlFlow::Continue(()),
            other => {
                return refuse(Refusal::refused(format!("`{other}` is not answered here")));
            }
        };
        refuse(Refusal::refused(format!(
            "table function {named} is refused: only tables are read, and they are events, their families, alerts and incidents"
        )))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Verdict {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        match functions::refusal(&function.name.to_string()) {
            Some(reason) => refuse(Refusal::refused(reason)),
            None => ControlFlow::Continue(()),
        }
    }
}
