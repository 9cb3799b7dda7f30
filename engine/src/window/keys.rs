//! Hashes of the keys that rows of states belong to.

use datafusion::arrow::array::RecordBatch;

use super::pane::Kept;
use super::tallies::hash;
use crate::keys::{Keys, Null};
use crate::plan::WindowPlan;

/// What came of rows, with the keys of its rows if the plan needs more of a key than any row. Group keys are
/// the first columns of states.
pub fn with_keys(plan: &WindowPlan, rows: RecordBatch) -> Kept {
    let keys = match plan.need.is_nothing() {
        true => None,
        false => rows.columns().get(..plan.keys.len()),
    };
    // Without keys, all rows take part in every answer.
    let keys = Keys::of(keys.unwrap_or_default(), Null::Marked);
    let keys = keys.iter().map(hash).collect();
    Kept { rows, keys }
}
