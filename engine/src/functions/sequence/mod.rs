//! `sequence_match(time, step, step, …)`: whether the events of a group hold a sequence of steps in the order
//! of their times.
//!
//! Each positive step takes another event. Events of one time are in the order of the lowest step that they
//! satisfy, then of all steps that they satisfy. The answer is exact and depends on the set of events alone. It
//! is null, which HAVING takes for no, when the group has more than [`pattern::MAX_EVENTS`] events that satisfy a
//! step.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

mod groups;
mod pattern;
#[cfg(test)]
mod sql_tests;
mod step;
#[cfg(test)]
mod tests;

use groups::{Groups, Single};
use pattern::Pattern;
pub(super) use step::{Within, Without};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SequenceMatch(Signature);

impl SequenceMatch {
    pub(super) fn new() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

fn pattern(args: &AccumulatorArgs) -> Result<Pattern> {
    Ok(Pattern::from_fields(args.expr_fields)?.distinct(args.is_distinct))
}

impl AggregateUDFImpl for SequenceMatch {
    fn name(&self) -> &str {
        "sequence_match"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    /// Brings any timestamp to microseconds and null to a condition that is never true. What does not fit is
    /// left to [`return_field`](Self::return_field) to refuse, which says it better.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types
            .iter()
            .enumerate()
            .map(|(index, given)| match given {
                DataType::Timestamp(..) if index == 0 => pattern::time_type(),
                DataType::Null if index > 0 => DataType::Boolean,
                other => other.clone(),
            })
            .collect())
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }
    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        Pattern::from_fields(fields)?;
        Ok(Arc::new(Field::new(self.name(), DataType::Boolean, true)))
    }
    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Boolean(Some(false)))
    }
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let [times, steps] = groups::state_types();
        let field = |name: &str, list: DataType| {
            Arc::new(Field::new(format_state_name(args.name, name), list, true))
        };
        Ok(vec![field("times", times), field("steps", steps)])
    }
    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(pattern(&args)?)))
    }
    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }
    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(pattern(&args)?)))
    }
}
