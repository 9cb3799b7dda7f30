//! Anomaly scoring: what the engine asks of a trained model.
//!
//! A model is a window rule whose rows are feature vectors. The engine keeps its windows like any other
//! rule's; when a window is answered it hands the rows to [`Score`] and goes on with those that stand out.

use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::rule::Level;

/// Why a score is what it is: one feature's part in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub feature: String,
    /// What the window had.
    pub value: f64,
    /// What is usual, by the training data.
    pub usual: f64,
    /// Part of the score that this feature causes, 0 to 1.
    pub share: f64,
}

/// A row that stands out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Row of the scored batch.
    pub row: usize,
    /// 0 to 1: the part of training windows that scored lower.
    pub score: f64,
    pub level: Level,
    /// Largest share first.
    pub reasons: Vec<Reason>,
    /// The reasons as one sentence for people.
    pub text: String,
}

pub trait Score: Send + Sync + std::fmt::Debug {
    /// Anomalies among the rows of one window, by ascending row. Pure: the same rows give the same answer.
    fn score(&self, rows: &RecordBatch) -> Result<Vec<Anomaly>>;
}
