//! Patterns that are literals, compiled once with the rule. DataFusion compiles them anew for every batch, which for a few rows
//! costs a hundred times what matching does.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, StringArrayType, StringBuilder, StringViewBuilder,
};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, LikeExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use regex::{Regex, RegexBuilder};

/// An expression over one text with a pattern that is compiled. It is shown as what it stands for.
struct Compiled {
    /// What it stands for; its first child is the text.
    original: Arc<dyn PhysicalExpr>,
    text: Arc<dyn PhysicalExpr>,
    regex: Regex,
    then: Then,
}

#[derive(Debug, Clone)]
enum Then {
    /// Whether the text matches, or does not.
    Test { negated: bool },
    /// The text with its first match replaced, or with all of them.
    Replace { with: String, all: bool },
}

/// The same expression with its pattern compiled, if it has one that is worth it.
pub fn compiled(node: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let (text, regex, then) = if let Some(binary) = node.downcast_ref::<BinaryExpr>() {
        let (negated, flags) = match binary.op() {
            Operator::RegexMatch => (false, None),
            Operator::RegexIMatch => (false, Some("i")),
            Operator::RegexNotMatch => (true, None),
            Operator::RegexNotIMatch => (true, Some("i")),
            _ => return None,
        };
        let regex = with_flags(literal(binary.right())?, flags)?;
        (binary.left(), regex, Then::Test { negated })
    } else if let Some(like) = node.downcast_ref::<LikeExpr>() {
        let regex = like_pattern(literal(like.pattern())?, like.case_insensitive())?;
        let negated = like.negated();
        (like.expr(), regex, Then::Test { negated })
    } else if let Some(call) = node.downcast_ref::<ScalarFunctionExpr>()
        && call.name() == "regexp_replace"
        && let [text, pattern, with, flags @ ..] = call.args()
    {
        let flags = match flags {
            [] => "",
            [flags] => literal(flags)?,
            _ => return None,
        };
        let own = flags.replace('g', "");
        let regex = with_flags(
            literal(pattern)?,
            Some(own.as_str()).filter(|own| !own.is_empty()),
        )?;
        let then = Then::Replace {
            with: numbered_groups(literal(with)?),
            all: flags.contains('g'),
        };
        (text, regex, then)
    } else {
        return None;
    };
    Some(Arc::new(Compiled {
        original: node.clone(),
        text: text.clone(),
        regex,
        then,
    }))
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return literal(cast.expr());
    }
    expr.downcast_ref::<Literal>()?.value().try_as_str()?
}

/// None if it cannot be compiled: the original says what is wrong with it.
fn with_flags(pattern: &str, flags: Option<&str>) -> Option<Regex> {
    match flags {
        Some(flags) => Regex::new(&format!("(?{flags}){pattern}")).ok(),
        None => Regex::new(pattern).ok(),
    }
}

/// A LIKE pattern as a regular expression. None for a text with `%` at its ends alone, which is looked for without one.
fn like_pattern(pattern: &str, case_insensitive: bool) -> Option<Regex> {
    let inner = pattern.strip_prefix('%').unwrap_or(pattern);
    let inner = inner.strip_suffix('%').unwrap_or(inner);
    if !inner.contains(['%', '_', '\\']) {
        return None;
    }
    let mut regex = String::from("^");
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        match next {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => regex += &regex::escape(&chars.next().unwrap_or('\\').to_string()),
            plain => regex += &regex::escape(plain.encode_utf8(&mut [0; 4])),
        }
    }
    regex.push('$');
    let mut builder = RegexBuilder::new(&regex);
    builder.dot_matches_new_line(true);
    builder.case_insensitive(case_insensitive).build().ok()
}

/// Groups are written `\1` in SQL and `${1}` in the regex crate.
fn numbered_groups(with: &str) -> String {
    let mut result = String::new();
    let mut rest = with;
    while let Some(at) = rest.find('\\') {
        result += &rest[..at];
        let behind = rest[at..].strip_prefix("\\\\").unwrap_or(&rest[at + 1..]);
        let digits = behind.len()
            - behind
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        if digits == 0 {
            result.push('\\');
            rest = &rest[at + 1..];
            continue;
        }
        result += &format!("${{{}}}", &behind[..digits]);
        rest = &behind[digits..];
    }
    result + rest
}

impl Compiled {
    fn tests<'a>(&self, texts: impl StringArrayType<'a>, negated: bool) -> BooleanArray {
        let test = |text: Option<&str>| text.map(|text| self.regex.is_match(text) != negated);
        texts.iter().map(test).collect()
    }

    fn test(&self, texts: &ArrayRef, negated: bool) -> Result<ArrayRef> {
        Ok(Arc::new(match texts.data_type() {
            DataType::Utf8View => self.tests(texts.as_string_view(), negated),
            DataType::Utf8 => self.tests(texts.as_string::<i32>(), negated),
            DataType::LargeUtf8 => self.tests(texts.as_string::<i64>(), negated),
            other => return internal_err!("a pattern is matched against {other}"),
        }))
    }

    fn replace(&self, texts: &ArrayRef, with: &str, all: bool) -> Result<ArrayRef> {
        let limit = usize::from(!all);
        let replaced = |text: Option<&str>| {
            text.map(|text| self.regex.replacen(text, limit, with).into_owned())
        };
        match texts.data_type() {
            DataType::Utf8View => {
                let mut builder = StringViewBuilder::with_capacity(texts.len());
                builder.extend(texts.as_string_view().iter().map(replaced));
                Ok(Arc::new(builder.finish()))
            }
            DataType::Utf8 => {
                let mut builder = StringBuilder::new();
                builder.extend(texts.as_string::<i32>().iter().map(replaced));
                Ok(Arc::new(builder.finish()))
            }
            other => internal_err!("a pattern is replaced in {other}"),
        }
    }
}

impl PhysicalExpr for Compiled {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.original.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.original.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let texts = match self.text.evaluate(batch)? {
            ColumnarValue::Array(texts) => texts,
            ColumnarValue::Scalar(_) => return self.original.evaluate(batch),
        };
        let result = match &self.then {
            Then::Test { negated } => self.test(&texts, *negated),
            Then::Replace { with, all } => self.replace(&texts, with, *all),
        };
        Ok(ColumnarValue::Array(result?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.original.children()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(text) = children.first().cloned() else {
            return internal_err!("a pattern without a text");
        };
        Ok(Arc::new(Self {
            original: self.original.clone().with_new_children(children)?,
            text,
            regex: self.regex.clone(),
            then: self.then.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.fmt_sql(f)
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.original, f)
    }
}

impl fmt::Display for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.original, f)
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.original.eq(&other.original)
    }
}

impl Eq for Compiled {}

impl Hash for Compiled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.original.hash(state);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use datafusion::arrow::array::StringViewArray;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    use datafusion::prelude::{SessionContext, col, lit};

    use super::*;

    const TEXTS: [Option<&str>; 12] = [
        Some(""),
        Some("arn:aws:iam::123456789012:role/Admin"),
        Some("system:serviceaccount:kube-system:job-controller"),
        Some("system:serviceaccount:kube-system:\njob-controller"),
        Some("AWSReservedSSO_x"),
        Some("AWSReservedSSOx"),
        Some("a%b_c\\d"),
        Some("A%B_C\\D"),
        None,
        Some("Ünïcödé ß ſ K"),
        Some("aaa"),
        Some("$1 ${1} \\1"),
    ];

    fn texts() -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter(TEXTS));
        RecordBatch::try_from_iter_with_nullable([("t", texts, true)]).unwrap()
    }

    /// Evaluates as DataFusion does, and compiled; returns how many patterns were compiled.
    fn same(sql: &str) -> usize {
        let ctx = SessionContext::new();
        let batch = texts();
        let schema = datafusion::common::DFSchema::try_from(batch.schema()).unwrap();
        let logical = ctx.parse_sql_expr(sql, &schema).unwrap();
        let plain = ctx.create_physical_expr(logical, &schema).unwrap();
        let mut count = 0;
        let node = |node: Arc<dyn PhysicalExpr>| {
            Ok(match compiled(&node) {
                Some(compiled) => {
                    count += 1;
                    Transformed::yes(compiled)
                }
                None => Transformed::no(node),
            })
        };
        let fast = plain.clone().transform_up(node).unwrap().data;
        let values = |expr: &Arc<dyn PhysicalExpr>| {
            expr.evaluate(&batch)
                .unwrap()
                .into_array(TEXTS.len())
                .unwrap()
        };
        assert_eq!(&values(&plain), &values(&fast), "{sql}");
        assert_eq!(plain.to_string(), fast.to_string());
        let again = fast
            .clone()
            .with_new_children(fast.children().into_iter().cloned().collect());
        assert_eq!(&values(&plain), &values(&again.unwrap()), "{sql}");
        count
    }

    #[test]
    fn compiled_patterns_answer_as_datafusion_does() {
        for pattern in [
            "^a",
            "role/(Admin|Root)$",
            "(?s):.job",
            "",
            "[0-9]{12}",
            "\\\\",
            "ß|k",
        ] {
            for operator in ["~", "~*", "!~", "!~*"] {
                same(&format!("t {operator} '{pattern}'"));
            }
            same(&format!("regexp_like(t, '{pattern}')"));
            same(&format!("regexp_like(t, '{pattern}', 'i')"));
            for with in ["", "<\\0>", "\\\\1x", "$0", "\\x", "\\1"] {
                same(&format!("regexp_replace(t, '{pattern}', '{with}')"));
                same(&format!("regexp_replace(t, '{pattern}', '{with}', 'g')"));
                same(&format!("regexp_replace(t, '{pattern}', '{with}', 'gi')"));
            }
        }
        assert_eq!(same("t ~ '[0-9]{12}' AND NOT t ~ '^x'"), 2);
        assert_eq!(
            same("regexp_replace(t, '(a)(%)', '\\2\\1') ~ '^%.[^b]?'"),
            2
        );
    }

    #[test]
    fn like_patterns_answer_as_arrow_does() {
        let pieces = [
            "%",
            "_",
            "\\%",
            "\\_",
            "\\\\",
            "a",
            "B",
            "SSO",
            ":",
            "ß",
            "K",
            "controller",
            ".",
        ];
        let mut seed = 5_u64;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % n
        };
        let mut compiled = 0;
        for _ in 0..2_000 {
            let pattern: String = (0..random(6))
                .map(|_| pieces[random(pieces.len())])
                .collect();
            let like = ["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"][random(4)];
            compiled += same(&format!("t {like} '{pattern}'"));
        }
        assert!(compiled > 500, "{compiled}");
        assert_eq!(
            same("t LIKE 'system:serviceaccount:kube-system:%-controller'"),
            1
        );
        assert_eq!(same("t LIKE '%role%'"), 0);
    }

    #[test]
    fn a_pattern_that_does_not_compile_stays_as_it_is() {
        let schema = datafusion::common::DFSchema::try_from(texts().schema()).unwrap();
        let wrong =
            datafusion::logical_expr::binary_expr(col("t"), Operator::RegexMatch, lit("(("));
        let wrong = SessionContext::new()
            .create_physical_expr(wrong, &schema)
            .unwrap();
        assert!(compiled(&wrong).is_none());
    }
}
