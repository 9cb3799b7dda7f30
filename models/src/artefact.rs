//! A trained model as a file: `<name>.json`, everything that scoring needs and that people ask about.
//!
//! The same events and options give the same bytes. A file is written whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fit::Fit;
use crate::history::History;
use crate::{Error, Result};

/// Says what kind of file it is.
pub const FORMAT: &str = "weir-model";
/// Raised when older artefacts can no longer be scored as they were trained.
pub const VERSION: u32 = 1;

/// A distance that is never unusual, however quiet the training was: three times the floor of one scale.
const MIN_THRESHOLD: f64 = 3.0;
/// Points that the distribution of training distances is kept in.
const POINTS: usize = 1001;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artefact {
    pub format: String,
    pub version: u32,
    pub name: String,
    /// The feature query that the vectors came from, and its hash.
    pub query: String,
    pub query_hash: String,
    /// Feature columns, in the order of all numbers below.
    pub features: Vec<String>,
    /// Event times `[start, end)` of the training, µs; the history is from all of it.
    pub span: Range<i64>,
    /// Vectors are from windows from here on, told apart by the history before it.
    pub vectors_from: i64,
    pub calibration: Calibration,
    pub evaluation: Evaluation,
    pub fit: Fit,
    pub history: History,
}

/// Distances of the training windows, and where unusual begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Part of the training windows that is usual by definition.
    pub quantile: f64,
    /// Distances above this are anomalies.
    pub threshold: f64,
    /// Evenly spaced quantiles of the training distances, from the least to the largest.
    pub distances: Vec<f64>,
}

impl Calibration {
    /// `distances` must not be empty and ascend.
    pub fn new(distances: &[f64], quantile: f64) -> Self {
        let points = if distances.len() <= POINTS {
            distances.to_vec()
        } else {
            let last = (distances.len() - 1) as f64;
            let at = |i: usize| (last * i as f64 / (POINTS - 1) as f64).round() as usize;
            (0..POINTS).map(|i| distances[at(i)]).collect()
        };
        Self {
            quantile,
            threshold: at_quantile(distances, quantile).max(MIN_THRESHOLD),
            distances: points,
        }
    }

    /// Part of the training windows that were nearer.
    pub fn score(&self, distance: f64) -> f64 {
        let nearer = self.distances.partition_point(|d| *d < distance);
        nearer as f64 / self.distances.len() as f64
    }
}

/// Smallest value with at least this part of the (ascending) values at or below it.
pub fn at_quantile(ascending: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * ascending.len() as f64).ceil() as usize;
    let index = rank.clamp(1, ascending.len().max(1)) - 1;
    ascending.get(index).copied().unwrap_or(0.0)
}

/// How the model did on data it can be judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Vectors trained on: windows × identities active in them.
    pub windows: usize,
    pub identities: usize,
    /// Quantile → distance of the training windows.
    pub distance_quantiles: BTreeMap<String, f64>,
    /// Part of the training windows above the threshold.
    pub flagged_share: f64,
    /// A second model trained on the earlier windows only and tried on the later ones; none when all
    /// windows have one start time.
    pub holdout: Option<Holdout>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holdout {
    pub trained_windows: usize,
    pub tested_windows: usize,
    pub flagged: usize,
    pub flagged_share: f64,
}

/// What every version of the file starts with.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl Artefact {
    /// The file's content.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text keys and finite numbers only")
    }

    /// Writes `<folder>/<name>.json` and returns its path. The file appears complete or not at all.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("{}.json", self.name));
        let part = folder.join(format!(".{}.json.{}", self.name, std::process::id()));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(self.to_json().as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| {
            // Best effort: what matters is the first error.
            let _ = fs::remove_file(&part);
            Error::io(&path, error)
        })?;
        Ok(path)
    }

    /// Reads a file of this version; whether it fits today's feature query is [`crate::Model::new`]'s
    /// question.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let wrong = |reason: String| Error::format(path, reason);
        let head: Head = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if head.format != FORMAT {
            return Err(wrong(format!("format {:?} is not {FORMAT:?}", head.format)));
        }
        if head.version != VERSION {
            return Err(wrong(format!(
                "it has version {}, this program reads version {VERSION}",
                head.version
            )));
        }
        let artefact: Self = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        artefact
            .fit
            .check(artefact.features.len())
            .map_err(|reason| wrong(reason.to_owned()))?;
        if artefact.calibration.distances.is_empty() {
            return Err(wrong("it has no calibration".to_owned()));
        }
        Ok(artefact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(at_quantile(&values, 0.995), 199.0);
        assert_eq!(at_quantile(&values, 1.0), 200.0);
        assert_eq!(at_quantile(&values, 0.0), 1.0);
    }

    #[test]
    fn a_long_list_of_distances_is_thinned_without_losing_its_ends() {
        let values: Vec<f64> = (0..50_000).map(f64::from).collect();
        let calibration = Calibration::new(&values, 0.995);
        assert_eq!(calibration.distances.len(), POINTS);
        assert_eq!(calibration.distances[POINTS - 1], 49_999.0);
        assert_eq!(calibration.score(1e9), 1.0);
        assert_eq!(calibration.score(-1.0), 0.0);
        assert!((calibration.score(25_000.0) - 0.5).abs() < 0.001);
    }

    #[test]
    fn a_threshold_never_falls_below_three_scales() {
        assert_eq!(Calibration::new(&[0.0; 100], 0.995).threshold, 3.0);
    }
}
