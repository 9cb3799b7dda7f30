//! Keys of rows, as texts and as hashes of these.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
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
    let keys = keys.iter().map(hash).collect();
    Kept { rows, keys }
}

/// The keys of rows as texts, in one buffer.
#[derive(Debug, Default)]
pub struct KeyTexts {
    buffer: String,
    ends: Vec<usize>,
}

impl KeyTexts {
    pub fn get(&self, row: usize) -> Option<&str> {
        let end = *self.ends.get(row)?;
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.buffer.get(start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|row| self.get(row))
    }
}

/// Text of a key's values in a row: parts are separated by U+001F, null is U+0000.
pub fn key_texts(columns: &[ArrayRef]) -> Result<KeyTexts> {
    let options = FormatOptions::default().with_null("\u{0}");
    let formatters = columns
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<_> = columns.iter().map(|c| c.as_string_view_opt()).collect();
    let rows = columns.first().map_or(0, |c| c.len());
    let mut keys = KeyTexts {
        buffer: String::with_capacity(rows * 32),
        ends: Vec::with_capacity(rows),
    };
    for row in 0..rows {
        for (index, formatter) in formatters.iter().enumerate() {
            if index > 0 {
                keys.buffer.push('\u{1f}');
            }
            match texts[index] {
                Some(texts) if texts.is_valid(row) => keys.buffer.push_str(texts.value(row)),
                _ => formatter
                    .value(row)
                    .write(&mut keys.buffer)
                    .map_err(|e| Error::Other(format!("key cannot be shown: {e}")))?,
            }
        }
        keys.ends.push(keys.buffer.len());
    }
    Ok(keys)
}
