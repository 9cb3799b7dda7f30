//! A trained model at work: its rule, its functions, its scores.

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::ScalarUDF;
use weir_engine::Rule;
use weir_engine::rule::Level;
use weir_engine::score::{Anomaly, Reason, Score};
use xxhash_rust::xxh3::xxh3_64;

use crate::artefact::Artefact;
use crate::fit::Vector;
use crate::spec::FeatureSpec;
use crate::train::vectors_of;
use crate::words::sentence;
use crate::{Error, Result};

/// Distances from these multiples of the threshold on are of medium and high level; below, of low.
const MEDIUM: f64 = 1.5;
const HIGH: f64 = 3.0;
/// Features with less of the score are no reasons.
const SMALLEST_SHARE: f64 = 0.01;

#[derive(Debug)]
pub struct Model {
    spec: &'static FeatureSpec,
    artefact: Artefact,
    whitening: Vec<Vec<f64>>,
    /// Hash of the artefact.
    id: String,
}

impl Model {
    /// Refuses an artefact whose feature query is not the one that this program would run.
    pub fn new(artefact: Artefact) -> Result<Self> {
        let spec = FeatureSpec::by_name(&artefact.name).ok_or_else(|| {
            Error::training(
                &artefact.name,
                "this program has no feature query of that name; remove the artefact",
            )
        })?;
        if artefact.query_hash != spec.query_hash() || artefact.query != spec.query {
            return Err(Error::OtherQuery {
                name: artefact.name,
                trained: artefact.query_hash,
                current: spec.query_hash(),
            });
        }
        let columns = spec.features.iter().map(|feature| feature.column);
        if !columns.eq(artefact.features.iter().map(String::as_str)) {
            let trained = artefact.features.join(", ");
            let reason = format!(
                "it was trained with the features {trained}; train it again with `weir model train`"
            );
            return Err(Error::training(spec.name, reason));
        }
        Ok(Self {
            spec,
            whitening: artefact.fit.whitening(),
            id: format!("{:016x}", xxh3_64(artefact.to_json().as_bytes())),
            artefact,
        })
    }

    pub fn load(path: &Path) -> Result<Self> {
        Self::new(Artefact::load(path)?)
    }

    pub fn name(&self) -> &'static str {
        self.spec.name
    }
    pub fn artefact(&self) -> &Artefact {
        &self.artefact
    }

    /// The window rule whose rows this model scores. Its version changes with each training.
    pub fn rule(&self) -> Rule {
        self.spec.rule(&self.id)
    }

    /// Functions that the rule's query needs, bound to the history of the training span.
    pub fn functions(&self) -> Vec<ScalarUDF> {
        self.artefact.history.functions()
    }

    fn judge(&self, row: usize, vector: &Vector) -> Option<Anomaly> {
        let fit = &self.artefact.fit;
        let (distance, parts) = fit.distance(self.spec, &self.whitening, vector);
        let square: f64 = parts.iter().sum();
        let calibration = &self.artefact.calibration;
        if distance <= calibration.threshold {
            return None;
        }
        let usual = fit.usual(self.spec, &vector.key);
        let reason = |j: usize| Reason {
            feature: self.spec.features[j].column.to_owned(),
            value: vector.values[j],
            usual: (usual[j] * 100.0).round() / 100.0,
            share: parts[j] / square,
        };
        let mut reasons: Vec<Reason> = (0..parts.len())
            .filter(|j| vector.values[*j].is_finite())
            .map(reason)
            .filter(|reason| reason.share >= SMALLEST_SHARE)
            .collect();
        reasons.sort_by(|a, b| b.share.total_cmp(&a.share));
        let level = match distance / calibration.threshold {
            excess if excess >= HIGH => Level::High,
            excess if excess >= MEDIUM => Level::Medium,
            _ => Level::Low,
        };
        Some(Anomaly {
            row,
            score: calibration.score(distance),
            level,
            text: sentence(self.spec, &reasons),
            reasons,
        })
    }
}

impl Score for Model {
    fn score(&self, rows: &RecordBatch) -> weir_engine::Result<Vec<Anomaly>> {
        let vectors = vectors_of(self.spec, rows)
            .map_err(|error| weir_engine::Error::rule(self.spec.name, error))?;
        let judged = vectors
            .iter()
            .enumerate()
            .filter_map(|(row, vector)| self.judge(row, vector));
        Ok(judged.collect())
    }
}
