//! Keys of rows, as texts and as hashes of these.

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::pane::Kept;
use super::tallies::hash;
use crate::plan::WindowPlan;
use crate::{Error, Result};

/// What came of rows, with the keys of its rows if the plan needs more of a key than any row. Group keys are
/// the first columns of states.
pub fn with_keys(plan: &WindowPlan, rows: RecordBatch) -> Kept {
    let keys = match plan.need.is_nothing() {
        true => None,
        false => rows.columns().get(..plan.keys.len()),
    };
    // Without keys, all rows take part in every answer.
    let texts = keys.and_then(|keys| key_texts(keys).ok());
    let keys = texts.unwrap_or_default();
    let keys = keys.iter().map(|key| hash(key)).collect();
    Kept { rows, keys }
}

/// Text of a key's values in a row: parts are separated by U+001F, null is U+0000.
pub fn key_texts(columns: &[ArrayRef]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("\u{0}");
    let formatters = columns
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = columns.first().map_or(0, |c| c.len());
    let mut texts = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut text = String::new();
        for (index, formatter) in formatters.iter().enumerate() {
            if index > 0 {
                text.push('\u{1f}');
            }
            formatter
                .value(row)
                .write(&mut text)
                .map_err(|e| Error::Other(format!("key cannot be shown: {e}")))?;
        }
        texts.push(text);
    }
    Ok(texts)
}
