//! One rule's failure is no other's: panics become errors, and the rows that fail are found by halving.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use futures::FutureExt;

use crate::dispatch::Rows;
use crate::{Error, Result};

/// Turns a panic inside a rule into an error of that rule.
pub(super) async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Error::Other(format!("panic: {text}")))
        }
    }
}

pub(super) fn count(events: &RecordBatch, rows: &Rows) -> usize {
    match rows {
        Rows::All => events.num_rows(),
        Rows::Some(rows) => rows.len(),
    }
}

pub(super) fn halves(events: &RecordBatch, rows: &Rows) -> Option<(Rows, Rows)> {
    let all: Vec<u32> = match rows {
        Rows::All => (0..events.num_rows() as u32).collect(),
        Rows::Some(rows) => rows.as_ref().clone(),
    };
    if all.len() < 2 {
        return None;
    }
    let (left, right) = all.split_at(all.len() / 2);
    Some((
        Rows::Some(Arc::new(left.to_vec())),
        Rows::Some(Arc::new(right.to_vec())),
    ))
}
