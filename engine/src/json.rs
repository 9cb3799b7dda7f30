//! Arrow values as JSON, the way people read them: times as RFC 3339 in UTC, lists as arrays, JSON as JSON.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_functions_json::{JsonUnionEncoder, JsonUnionValue};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::Result;
use crate::time::rfc3339;

/// Values of one column. Times have six digits of a second. Integers beyond 53 bits stay numbers; floats that JSON has no number for, decimals,
/// intervals and bytes become text.
pub fn column(array: &dyn Array) -> Result<Vec<Value>> {
    (0..array.len()).map(|row| value(array, row)).collect()
}

/// One row as an object of its non-null columns.
pub fn object(batch: &RecordBatch, row: usize) -> Result<Map<String, Value>> {
    let schema = batch.schema();
    let mut object = Map::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if !array.is_null(row) {
            object.insert(field.name().clone(), value(array, row)?);
        }
    }
    Ok(object)
}

pub fn value(array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |values: datafusion::arrow::array::ArrayRef| column(&values).map(Value::Array);
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Timestamp(unit, _) => match instant(array, *unit, row) {
            Some(time) if Timestamp::from_microsecond(time).is_ok() => rfc3339(time).into(),
            Some(time) => time.into(),
            None => text(array, row)?,
        },
        DataType::List(_) => list(array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(row))?,
        DataType::ListView(_) => list(array.as_list_view::<i32>().value(row))?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pair = |(field, column): (&std::sync::Arc<_>, &std::sync::Arc<dyn Array>)| {
                let field: &datafusion::arrow::datatypes::Field = field;
                Ok((field.name().clone(), value(column, row)?))
            };
            let pairs = fields.iter().zip(columns).map(pair);
            Value::Object(pairs.collect::<Result<_>>()?)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match dictionary.normalized_keys().get(row) {
                Some(key) => value(dictionary.values(), *key)?,
                None => Value::Null,
            }
        }
        DataType::Union(..) => match JsonUnionEncoder::from_union(array.as_union().slice(row, 1)) {
            Some(union) => json_union(union.get_value(0)),
            None => text(array, row)?,
        },
        _ => text(array, row)?,
    })
}

/// The same for every order in which rows were aggregated: lists are sorted and without nulls, floats have nine digits.
/// What is no number is the text that [`value`] made of it.
pub fn settled(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().map_or(Value::Null, rounded),
        Value::Array(values) => {
            let values = values.into_iter().filter(|value| !value.is_null());
            let mut values: Vec<Value> = values.map(settled).collect();
            values.sort_by_cached_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(name, value)| (name, settled(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

fn rounded(value: f64) -> Value {
    let text = format!("{value:.8e}");
    text.parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map_or(Value::Null, Value::Number)
}

/// What the operator `->` yields.
fn json_union(value: JsonUnionValue<'_>) -> Value {
    match value {
        JsonUnionValue::JsonNull => Value::Null,
        JsonUnionValue::Bool(value) => value.into(),
        JsonUnionValue::Int(value) => value.into(),
        JsonUnionValue::Float(value) => float(value),
        JsonUnionValue::Str(value) => value.into(),
        JsonUnionValue::Array(json) | JsonUnionValue::Object(json) => {
            serde_json::from_str(json).unwrap_or_else(|_| json.into())
        }
    }
}

fn float(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => value.to_string().into(),
    }
}

fn text(array: &dyn Array, row: usize) -> Result<Value> {
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
    Ok(formatter.value(row).try_to_string()?.into())
}

fn instant(array: &dyn Array, unit: TimeUnit, row: usize) -> Option<i64> {
    use datafusion::arrow::datatypes::{
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    };
    match unit {
        TimeUnit::Second => array
            .as_primitive::<TimestampSecondType>()
            .value(row)
            .checked_mul(1_000_000),
        TimeUnit::Millisecond => array
            .as_primitive::<TimestampMillisecondType>()
            .value(row)
            .checked_mul(1000),
        TimeUnit::Microsecond => Some(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        // Below a microsecond nothing is stored; a query that makes nanoseconds gets their microsecond.
        TimeUnit::Nanosecond => Some(
            array
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .div_euclid(1000),
        ),
    }
}
