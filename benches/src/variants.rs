//! Many rules out of few: variants of the packs, each under its own id and title.
//!
//! A variant asks what its rule asks of other names: every text that the rule compares an event's column with is another one,
//! but for columns with few values (family, product, status, …). So it is dispatched as its rule is, and as seldom hit as most
//! rules of a large set are. A rule that only names columns with few values has variants that see and find all that it does.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value, visit_expressions_mut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use weir_engine::schema::{COLUMNS, Kind, col, index_of};

/// Columns that hold the same few values wherever events come from.
const FEW: &[usize] = &[
    col::FAMILY,
    col::LOG_NAME,
    col::CLOUD_PROVIDER,
    col::PRODUCT,
    col::STATUS,
    col::ACTOR_TYPE,
];

/// Fills a folder with so many rule files: those of the packs, then the first variant of each, and so on.
/// The events of their tests lie beside them.
pub fn write(packs: &Path, folder: &Path, rules: usize) -> Result<()> {
    let mut files = vec![];
    for pack in entries(packs)? {
        let in_pack = entries(&pack)?.into_iter();
        files.extend(in_pack.filter(|path| path.extension().is_some_and(|e| e == "yml")));
    }
    ensure!(!files.is_empty(), "{} holds no packs", packs.display());
    for index in 0..rules {
        let (file, number) = (&files[index % files.len()], index / files.len());
        let pack = file.parent().context("a rule lies in a pack")?;
        let place = folder
            .join(format!("v{number:03}"))
            .join(pack.strip_prefix(packs)?);
        if !place.exists() {
            fs::create_dir_all(&place)?;
            std::os::unix::fs::symlink(pack.canonicalize()?.join("cases"), place.join("cases"))?;
        }
        let text = fs::read_to_string(file)?;
        let text = variant(&text, number).with_context(|| file.display().to_string())?;
        fs::write(
            place.join(file.file_name().context("a file has a name")?),
            text,
        )?;
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = vec![];
    for entry in read {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The rule file's variant of this number; the file itself for 0.
pub fn variant(text: &str, number: usize) -> Result<String> {
    if number == 0 {
        return Ok(text.to_owned());
    }
    let mut made = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("title: ") {
            let title = title.trim_matches('"');
            made += &format!(
                "title: {}\n",
                serde_json::json!(format!("{title} ({number})"))
            );
        } else if let Some(id) = line.strip_prefix("id: ") {
            // A UUID begins with eight hexadecimal digits.
            let rest = id.get(8..).context("the id is no UUID")?;
            made += &format!("id: {number:08x}{rest}\n");
        } else if line.starts_with("query:") {
            let mut query = String::new();
            while let Some(more) = lines.next_if(|l| l.starts_with(' ') || l.is_empty()) {
                query += more;
                query.push('\n');
            }
            made += &format!(
                "query: {}\n",
                serde_json::json!(other_names(&query, number)?)
            );
        } else {
            made += line;
            made.push('\n');
        }
    }
    Ok(made)
}

/// The query over other names.
fn other_names(query: &str, number: usize) -> Result<String> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, query)?;
    ensure!(
        statements.len() == 1,
        "the rule holds no query of one statement"
    );
    let rename = |expr: &mut Expr| {
        if let Expr::Value(value) = expr
            && let Value::SingleQuotedString(text) = &mut value.value
        {
            *text += &format!("-{number}");
        }
    };
    let _ = visit_expressions_mut(&mut statements, |expr| {
        match expr {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } if has_many(left) => rename(right),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } if has_many(right) => rename(left),
            Expr::InList {
                expr,
                list,
                negated: false,
            } if has_many(expr) => {
                list.iter_mut().for_each(rename);
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(statements[0].to_string())
}

/// Whether an expression is a column of events with many values.
fn has_many(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    let index = name.and_then(|name| index_of(&name.value));
    index.is_some_and(|index| COLUMNS[index].kind == Kind::Text && !FEW.contains(&index))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_change_and_nothing_else() {
        let query = "SELECT * FROM cloud_audit WHERE (api_operation IN ('A', 'B') OR 'c' = cloud_region) \
                     AND status = 'success' AND raw ->> 'k' = 'v' AND resource_type NOT IN ('d')";
        let expected = query
            .replace("'A', 'B'", "'A-7', 'B-7'")
            .replace("'c'", "'c-7'");
        assert_eq!(other_names(query, 7).unwrap(), expected);
    }

    #[test]
    fn a_folder_of_variants_is_a_folder_of_rules() {
        let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../detections/packs");
        let count = weir_detections::load_dir(&packs).unwrap().len();
        let folder = tempfile::tempdir().unwrap();
        write(&packs, folder.path(), count * 2 + 1).unwrap();
        let rules = weir_detections::load_dir(folder.path()).unwrap();
        assert_eq!(rules.len(), count * 2 + 1);
        let own = weir_detections::load_dir(folder.path().join("v000")).unwrap();
        let other = weir_detections::load_dir(folder.path().join("v001")).unwrap();
        for (own, other) in own.iter().zip(&other) {
            assert_eq!(other.rule.title, format!("{} (1)", own.rule.title));
            assert_eq!(own.tests, other.tests);
            assert_eq!(own.rule.entities, other.rule.entities);
        }
    }
}
