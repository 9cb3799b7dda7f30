//! Reference tables: what an organisation knows (its egress networks, its VIPs), for rules and hunts to join
//! with. Every column is text, whatever a file holds today: a rule must not change its meaning with a value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use crate::rule::Rule;
use crate::schema::FAMILIES;
use crate::{Error, Result};

/// Names that mean something else in SQL.
const TAKEN: &[&str] = &["events", "alerts", "anomalies", "incidents"];

#[derive(Debug, Clone, Default)]
pub struct Tables(BTreeMap<String, RecordBatch>);

impl Tables {
    /// Adds a table; a row's missing values are null. Fails if a name cannot stand in SQL as it is.
    pub fn insert(
        &mut self,
        name: &str,
        columns: &[String],
        rows: &[Vec<Option<String>>],
    ) -> Result<()> {
        let refuse = |reason: String| Err(Error::Other(format!("table {name}: {reason}")));
        if !is_name(name) {
            return refuse(
                "its name may hold only a-z, 0-9 and _, and starts with a letter".into(),
            );
        }
        if TAKEN.contains(&name) || FAMILIES.contains(&name) {
            return refuse("Weir has a table of that name; choose another".into());
        }
        if columns.is_empty() {
            return refuse("it has no columns".into());
        }
        let mut seen = BTreeSet::new();
        for column in columns {
            if !is_name(column) {
                return refuse(format!(
                    "column `{column}`: a name may hold only a-z, 0-9 and _, and starts with a letter"
                ));
            }
            if !seen.insert(column) {
                return refuse(format!("column `{column}` stands there twice"));
            }
        }
        let column = |index: usize| -> ArrayRef {
            let values = rows.iter().map(|row| row.get(index)?.as_deref());
            Arc::new(StringViewArray::from_iter(values))
        };
        let fields = columns
            .iter()
            .map(|c| Field::new(c, DataType::Utf8View, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, (0..columns.len()).map(column).collect())?;
        self.0.insert(name.to_owned(), batch);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These tables, and an empty one for each that rules declare and nobody has filled.
    pub fn with_declared<'a>(&self, rules: impl Iterator<Item = &'a Rule>) -> Result<Self> {
        let mut wanted: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for rule in rules {
            for (name, columns) in &rule.tables {
                wanted.entry(name).or_default().extend(columns);
            }
        }
        let mut all = self.clone();
        for (name, columns) in wanted {
            if !self.0.contains_key(name) {
                let columns: Vec<String> = columns.into_iter().cloned().collect();
                all.insert(name, &columns, &[])?;
            }
        }
        Ok(all)
    }

    pub fn register(&self, ctx: &SessionContext) -> Result<()> {
        for (name, rows) in &self.0 {
            let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?;
            ctx.register_table(name.as_str(), Arc::new(table))?;
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
