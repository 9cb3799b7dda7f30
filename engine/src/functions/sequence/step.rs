//! The step makers `within` and `without`.
//!
//! What a step is travels in the metadata of its field, so that it is known when the query is planned, and
//! the same for all rows and in all phases of the aggregate.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int8Array, Int64Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::pattern::Step;
use crate::functions::true_rows;
use crate::time::parse_duration;

/// Metadata key of a step made by `within`; the value is the gap in µs.
const WITHIN: &str = "weir.within";
/// Metadata key of a step made by `without`.
const WITHOUT: &str = "weir.without";

/// The step that a field was made to be; none for any other field.
pub(super) fn kind(field: &Field) -> Option<Step> {
    let metadata = field.metadata();
    match (field.data_type(), metadata.get(WITHIN)) {
        (DataType::Int64, Some(gap)) => gap.parse().ok().map(Step::Within),
        (DataType::Int8, None) if metadata.contains_key(WITHOUT) => Some(Step::Without),
        _ => None,
    }
}

/// A column that has a value where the condition is true and null elsewhere.
fn where_true(
    args: &ScalarFunctionArgs,
    make: impl Fn(usize, Option<NullBuffer>) -> ArrayRef,
) -> Result<ColumnarValue> {
    let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
    let rows = if constant { 1 } else { args.number_rows };
    let hits = true_rows(&args.args[0].to_array(rows)?);
    let column = make(rows, Some(NullBuffer::new(hits)));
    Ok(if constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&column, 0)?)
    } else {
        ColumnarValue::Array(column)
    })
}

fn is_condition(name: &str, field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::Boolean => Ok(()),
        other => plan_err!("{name}: the first argument must be a condition, not {other}"),
    }
}

/// Null is a condition that is never true.
fn null_is_false(types: &[DataType]) -> Vec<DataType> {
    let mut types = types.to_vec();
    if types.first() == Some(&DataType::Null) {
        types[0] = DataType::Boolean;
    }
    types
}

/// `within(condition, '10m')`: the gap in µs where the condition is true, else null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::functions) struct Within(Signature);

impl Within {
    pub(in crate::functions) fn new() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

/// The gap that a constant says.
fn gap(constant: Option<&ScalarValue>) -> Result<i64, String> {
    match constant.and_then(ScalarValue::try_as_str) {
        Some(Some(text)) => parse_duration(text),
        _ => Err("the duration must be a constant such as '10m'".into()),
    }
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &str {
        "within"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(null_is_false(types))
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [condition, _] = args.arg_fields else {
            return plan_err!("within takes a condition and a duration: within(condition, '10m')");
        };
        is_condition("within", condition)?;
        match gap(args.scalar_arguments.get(1).copied().flatten()) {
            Ok(gap) => {
                let step = [(WITHIN.to_owned(), gap.to_string())];
                let field = Field::new("within", DataType::Int64, true);
                Ok(Arc::new(field.with_metadata(step.into())))
            }
            Err(reason) => plan_err!("within: {reason}"),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(Step::Within(gap)) = kind(&args.return_field) else {
            return exec_err!("within: the duration is lost");
        };
        where_true(&args, |rows, hits| {
            Arc::new(Int64Array::new(vec![gap; rows].into(), hits))
        })
    }
}

/// `without(condition)`: 1 where the condition is true, else null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::functions) struct Without(Signature);

impl Without {
    pub(in crate::functions) fn new() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Without {
    fn name(&self) -> &str {
        "without"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(null_is_false(types))
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int8)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [condition] = args.arg_fields else {
            return plan_err!("without takes one condition: without(condition)");
        };
        is_condition("without", condition)?;
        let step = [(WITHOUT.to_owned(), String::new())];
        let field = Field::new("without", DataType::Int8, true);
        Ok(Arc::new(field.with_metadata(step.into())))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        where_true(&args, |rows, hits| {
            Arc::new(Int8Array::new(vec![1; rows].into(), hits))
        })
    }
}
