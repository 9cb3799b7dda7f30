//! From Arrow rows to what alerts hold: JSON rows, keys and entities. Everything here is independent of the
//! order in which rows were aggregated: lists are sorted, floats rounded.

use std::borrow::Cow;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::Schema;
use serde_json::{Map, Value};

use crate::alert::Entity;
use crate::{Result, json, keys};

/// Entities kept per alert and column.
const MAX_ENTITIES: usize = 50;

/// Bytes of a text that are kept in an alert's row. The whole text stays with the event.
const MAX_TEXT: usize = 4096;

/// The text, or its beginning and how long it was.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    format!("{}… ({} bytes)", &text[..end], text.len()).into()
}

/// Selected columns of selected rows. Their texts still lie in the source's blocks.
pub fn gather(
    events: &RecordBatch,
    columns: &[usize],
    rows: Option<&UInt32Array>,
) -> Result<RecordBatch> {
    let fields: Vec<_> = columns
        .iter()
        .map(|c| events.schema().field(*c).clone())
        .collect();
    let arrays = columns.iter().map(|column| {
        let array = events.column(*column);
        let Some(rows) = rows else {
            return Ok(array.clone());
        };
        Ok(take(array, rows, None)?)
    });
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let count = rows.map_or(events.num_rows(), |rows| rows.len());
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(
        Schema::new(fields).into(),
        arrays,
        &options,
    )?)
}

/// A row as JSON without its nulls and without `raw`, which stays with the event.
pub fn json(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let values = columns.filter(|(field, column)| field.name() != "raw" && !column.is_null(row));
    values
        .map(|(field, column)| (field.name().clone(), value(column, row)))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// Cuts the texts of a row that are longer than what is kept. Whether there were any.
pub fn shorten(row: &mut Map<String, Value>) -> bool {
    let mut any = false;
    for value in row.values_mut() {
        any |= shorten_value(value);
    }
    any
}

fn shorten_value(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => {
            *text = cut(text).into_owned();
            true
        }
        Value::Array(values) => values
            .iter_mut()
            .map(shorten_value)
            .fold(false, |a, b| a | b),
        _ => false,
    }
}

fn shortened(mut value: Value) -> Value {
    shorten_value(&mut value);
    value
}

/// Rows that a query returned, to be written as JSON text.
#[derive(Debug)]
pub struct Output<'a> {
    rows: &'a RecordBatch,
    /// Columns but `raw`, and what stands before their values: the name in quotes and a colon.
    columns: Vec<(&'a ArrayRef, Vec<u8>)>,
}

impl<'a> Output<'a> {
    pub fn new(rows: &'a RecordBatch) -> Self {
        let schema = rows.schema_ref();
        let columns = schema.fields().iter().zip(rows.columns());
        let columns = columns.filter(|(field, _)| field.name() != "raw");
        Self {
            rows,
            columns: columns
                .map(|(field, column)| {
                    let mut head = Value::from(field.name().as_str()).to_string().into_bytes();
                    head.push(b':');
                    (column, head)
                })
                .collect(),
        }
    }

    /// None if the column is null, or is not there.
    pub fn get(&self, row: usize, column: &str) -> Option<Value> {
        let value = value(self.rows.column_by_name(column)?, row);
        (!value.is_null()).then_some(value)
    }

    /// The text of what [`json`] returns, [shortened](shorten).
    pub fn text(&self, row: usize) -> Box<str> {
        let mut text = Vec::with_capacity(1024);
        for (column, head) in &self.columns {
            if column.is_null(row) {
                continue;
            }
            let of_text = column.as_string_view_opt();
            let other = match of_text {
                Some(_) => Value::Null,
                None => shortened(value(column, row)),
            };
            if of_text.is_none() && other.is_null() {
                continue;
            }
            text.push(if text.is_empty() { b'{' } else { b',' });
            text.extend_from_slice(head);
            // Writing texts and values to memory does not fail.
            let _ = match of_text {
                Some(texts) => serde_json::to_writer(&mut text, &cut(texts.value(row))),
                None => serde_json::to_writer(&mut text, &other),
            };
        }
        if text.is_empty() {
            text.push(b'{');
        }
        text.push(b'}');
        String::from_utf8(text).unwrap_or_default().into()
    }
}

/// What [`Output::text`] wrote.
pub fn parse(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// One value as alerts hold it: the [same](json::settled) for every order of rows; null if it cannot be shown.
pub fn value(column: &ArrayRef, row: usize) -> Value {
    json::settled(json::value(column, row).unwrap_or_default())
}

/// The entities that a row names, by the rule's entity columns, sorted and without repeats.
pub fn entities(
    value: impl Fn(&str) -> Option<Value>,
    columns: &[(String, String)],
) -> Vec<Entity> {
    let mut entities = vec![];
    for (kind, column) in columns {
        let values = match value(column) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(values)) => {
                values.iter().take(MAX_ENTITIES).map(keys::text).collect()
            }
            Some(Value::String(text)) => vec![text],
            Some(value) => vec![keys::text(&value)],
        };
        let present = values.into_iter().filter(|value| !value.is_empty());
        entities.extend(present.map(|value| Entity {
            kind: kind.clone(),
            value: cut(&value).into_owned(),
        }));
    }
    entities.sort();
    entities.dedup();
    entities
}
