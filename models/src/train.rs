//! Training, step by step.
//!
//! The feature "never-seen operations" asks what an identity did before, so the vectors must not be told
//! apart by a history that they are in themselves: every operation would be known, and the first new one
//! in production an outlier. Hence:
//!
//! 1. [`FeatureSpec::halves`] cuts the training span in two.
//! 2. [`History::collect`] reads the events of the first half.
//! 3. The feature query runs over the windows of the second half, with
//!    [`History::functions`] of that first history.
//! 4. [`History::collect`] reads the events of the whole span: this history goes into the artefact.
//! 5. [`train`] fits the model on the vectors, calibrates it and evaluates it.
//!
//! `train` computes and touches no file. Equal input gives an equal artefact, in whatever order the windows
//! and their rows are handed in.

use std::collections::BTreeMap;
use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};

use crate::artefact::{self, Artefact, Calibration, Evaluation, Holdout, at_quantile};
use crate::fit::{Fit, Vector, settle};
use crate::history::History;
use crate::spec::FeatureSpec;
use crate::{Error, Result};

/// The feature query's answer for one window.
#[derive(Debug, Clone)]
pub struct WindowRows {
    /// Start of the window, µs.
    pub start: i64,
    pub rows: RecordBatch,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// Vectors below which training is refused: with fewer, "usual" is a guess.
    pub min_windows: usize,
    /// Part of the training windows that counts as usual.
    pub quantile: f64,
    /// Part of the windows, the earlier ones, that the held-out check trains on.
    pub holdout: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            min_windows: 50,
            quantile: 0.995,
            holdout: 0.8,
        }
    }
}

/// Fits a model on the vectors of the second half of `span`. `history` is that of the whole span.
pub fn train(
    spec: &FeatureSpec,
    windows: &[WindowRows],
    history: History,
    span: Range<i64>,
    options: &TrainOptions,
) -> Result<Artefact> {
    let (_, second) = spec.halves(&span)?;
    if !(0.5..1.0).contains(&options.quantile) {
        return Err(Error::training(
            spec.name,
            format!("quantile {} is not in 0.5 to 1", options.quantile),
        ));
    }
    let mut vectors: Vec<(i64, Vector)> = vec![];
    for window in windows {
        if !second.contains(&window.start) {
            return Err(Error::training(
                spec.name,
                format!(
                    "window {} is not in the second half of the span, {} to {}",
                    window.start, second.start, second.end
                ),
            ));
        }
        let rows = vectors_of(spec, &window.rows)?;
        vectors.extend(rows.into_iter().map(|vector| (window.start, vector)));
    }
    if vectors.len() < options.min_windows.max(2) {
        return Err(Error::TooFew {
            name: spec.name.to_owned(),
            windows: vectors.len(),
            minimum: options.min_windows.max(2),
        });
    }
    vectors.sort_by(|(a, left), (b, right)| (a, &left.key).cmp(&(b, &right.key)));

    let (starts, vectors): (Vec<i64>, Vec<Vector>) = vectors.into_iter().unzip();
    let (fit, calibration, distances) = learn(spec, &vectors, options)?;
    let mut keys: Vec<&str> = vectors.iter().map(|vector| vector.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let flagged = distances.partition_point(|d| *d <= calibration.threshold);
    let evaluation = Evaluation {
        windows: vectors.len(),
        identities: keys.len(),
        distance_quantiles: quantiles(&distances),
        flagged_share: share(distances.len() - flagged, distances.len()),
        holdout: hold_out(spec, &starts, &vectors, options)?,
    };
    Ok(Artefact {
        format: artefact::FORMAT.to_owned(),
        version: artefact::VERSION,
        name: spec.name.to_owned(),
        query: spec.query.to_owned(),
        query_hash: spec.query_hash(),
        features: spec.features.iter().map(|f| f.column.to_owned()).collect(),
        span,
        vectors_from: second.start,
        calibration,
        evaluation,
        fit,
        history,
    })
}

/// Fit, calibration and the ascending distances of the vectors.
fn learn(
    spec: &FeatureSpec,
    vectors: &[Vector],
    options: &TrainOptions,
) -> Result<(Fit, Calibration, Vec<f64>)> {
    let fit = Fit::new(spec, vectors)?;
    let mut distances = distances(spec, &fit, vectors);
    distances.sort_by(f64::total_cmp);
    let calibration = Calibration::new(&distances, options.quantile);
    Ok((fit, calibration, distances))
}

fn distances(spec: &FeatureSpec, fit: &Fit, vectors: &[Vector]) -> Vec<f64> {
    let whitening = fit.whitening();
    vectors
        .iter()
        .map(|vector| fit.distance(spec, &whitening, vector).0)
        .collect()
}

/// Trains on the earlier windows and counts what it flags among the later ones.
fn hold_out(
    spec: &FeatureSpec,
    starts: &[i64],
    vectors: &[Vector],
    options: &TrainOptions,
) -> Result<Option<Holdout>> {
    let wanted = (vectors.len() as f64 * options.holdout) as usize;
    // All vectors of one window go to the same side.
    let cut = match starts.get(wanted) {
        Some(start) => starts.partition_point(|s| s < start),
        None => return Ok(None),
    };
    if cut < 2 {
        return Ok(None);
    }
    let (earlier, later) = vectors.split_at(cut);
    let (fit, calibration, _) = learn(spec, earlier, options)?;
    let over = |distance: &f64| *distance > calibration.threshold;
    let flagged = distances(spec, &fit, later)
        .into_iter()
        .filter(over)
        .count();
    Ok(Some(Holdout {
        trained_windows: earlier.len(),
        tested_windows: later.len(),
        flagged,
        flagged_share: share(flagged, later.len()),
    }))
}

fn quantiles(ascending: &[f64]) -> BTreeMap<String, f64> {
    [0.5, 0.9, 0.95, 0.99, 0.995, 1.0]
        .into_iter()
        .map(|quantile| (quantile.to_string(), at_quantile(ascending, quantile)))
        .collect()
}

fn share(part: usize, whole: usize) -> f64 {
    settle(part as f64 / whole.max(1) as f64)
}

/// Vectors of the feature query's rows, in their order.
pub(crate) fn vectors_of(spec: &FeatureSpec, rows: &RecordBatch) -> Result<Vec<Vector>> {
    let missing = |column: &str| Error::Column {
        name: spec.name.to_owned(),
        column: column.to_owned(),
    };
    let column = |name: &str, kind: &DataType| {
        let column = rows.column_by_name(name).ok_or_else(|| missing(name))?;
        cast(column, kind).map_err(|_| missing(name))
    };
    let keys = column(spec.key, &DataType::Utf8View)?;
    let keys = keys.as_string_view();
    let features = spec
        .features
        .iter()
        .map(|feature| column(feature.column, &DataType::Float64))
        .collect::<Result<Vec<_>>>()?;
    let vector = |row: usize| {
        let value = |feature: &ArrayRef| match feature.is_null(row) {
            true => f64::NAN,
            false => feature.as_primitive::<Float64Type>().value(row),
        };
        Vector {
            key: match keys.is_null(row) {
                true => String::new(),
                false => keys.value(row).to_owned(),
            },
            values: features.iter().map(value).collect(),
        }
    };
    Ok((0..rows.num_rows()).map(vector).collect())
}
