//! From a feature vector to a distance, and back to the features that caused it.
//!
//! 1. *Transform.* A count `x` becomes `ln(1 + x)`, so that twice as much is equally far from everywhere; a
//!    ratio stays.
//! 2. *Standardise.* From each feature its centre is taken: the median of the identity's own training
//!    windows, drawn towards the median of all (weight `n / (n + SHRINK)`); an identity with fewer than
//!    `OWN_WINDOWS` windows has the median of all. What a ratio differs by is weighed by the calls `n` that
//!    it is a part of, `n / (n + PRIOR_CALLS)`: one refused call of one says less than ninety of ninety. The
//!    result is divided by the feature's scale, a robust deviation with a floor. Where less than usual is
//!    nothing to report, values below −1 count as −1.
//! 3. *Whiten.* Principal components of the standardised training windows (smartcore) say which features
//!    move together. Those that carry `KEEP` of the variance keep theirs, the remaining ones share their
//!    mean: the covariance of probabilistic PCA (Tipping and Bishop 1999). So both a vector far out along
//!    a usual direction and one that leaves the usual directions are far away.
//! 4. *Distance.* With covariance `C` and deviation `d`, the squared distance is `dᵀ C⁻¹ d = |C^-½ d|²`.
//!    The square of component `j` of `C^-½ d` is feature `j`'s part in it: the parts are not negative and
//!    sum to the squared distance exactly (Garthwaite and Koch 2016).
//!
//! A feature that never varied in training stands outside the components, with its scale's floor: any
//! deviation counts, in units of that floor.
//!
//! Everything learned is rounded to 12 digits before it is used, so that a model read back from its file
//! scores exactly like the one that was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smartcore::decomposition::pca::{PCA, PCAParameters};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;

use crate::spec::{Feature, FeatureSpec, Kind};
use crate::{Error, Result};

/// Smallest scale: of a count's logarithm (about a quarter more than usual), and of a ratio.
const FLOOR_COUNT: f64 = 0.25;
const FLOOR_RATIO: f64 = 0.05;
/// Windows that an identity needs for a centre of its own, and the pull of the common one, in windows.
const OWN_WINDOWS: usize = 8;
const SHRINK: f64 = 4.0;
/// Calls of usual kind that a ratio is thought to have seen before the window began.
const PRIOR_CALLS: f64 = 10.0;
/// Standardised values beyond this are cut before the components are fitted (not when scoring), so that an
/// attack in the training data cannot bend them.
const WINSOR: f64 = 6.0;
/// Part of the variance whose components keep their own.
const KEEP: f64 = 0.95;
/// Smallest variance of a component: a direction in which training hardly moved must not make trifles huge.
const MIN_VARIANCE: f64 = 0.1;

/// One row of the feature query.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    pub key: String,
    /// In the spec's order; NaN where the query answered null.
    pub values: Vec<f64>,
}

/// What training learned about the shape of ordinary windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Median of each transformed feature.
    center: Vec<f64>,
    scale: Vec<f64>,
    /// Centres of identities with enough windows.
    own: BTreeMap<String, Vec<f64>>,
    /// Positions of the features that varied in training: those that the components are about.
    varied: Vec<usize>,
    /// Mean of the standardised training windows, per varied feature.
    mean: Vec<f64>,
    /// One row per principal component, one column per varied feature.
    components: Vec<Vec<f64>>,
    /// Variance of each component, as used.
    variance: Vec<f64>,
}

impl Fit {
    pub fn new(spec: &FeatureSpec, vectors: &[Vector]) -> Result<Self> {
        let rows: Vec<Vec<f64>> = vectors.iter().map(|v| transform(spec, &v.values)).collect();
        let features = 0..spec.features.len();
        let center: Vec<f64> = features
            .clone()
            .map(|j| settle(median(rows.iter().map(|row| row[j]).collect())))
            .collect();
        let own = own_centers(vectors, &rows, &center);
        let mut fit = Self {
            scale: vec![1.0; center.len()],
            center,
            own,
            varied: vec![],
            mean: vec![],
            components: vec![],
            variance: vec![],
        };
        fit.scale = features
            .clone()
            .map(|j| {
                let deviation = |(vector, row): (&Vector, &Vec<f64>)| {
                    deviation(spec, vector, j, row[j] - fit.centers(&vector.key)[j])
                };
                let deviations = vectors.iter().zip(&rows).map(deviation).collect();
                settle(scale(deviations, spec.features[j].kind))
            })
            .collect();

        let mut standard: Vec<Vec<f64>> =
            vectors.iter().map(|v| fit.standardise(spec, v)).collect();
        for value in standard.iter_mut().flatten() {
            *value = value.clamp(-WINSOR, WINSOR);
        }
        let varies = |j: &usize| standard.iter().any(|row| row[*j] != standard[0][*j]);
        fit.varied = features.filter(varies).collect();
        if !fit.varied.is_empty() {
            fit.find_components(spec, &standard)?;
        }
        Ok(fit)
    }

    /// Step 3: principal components of the varied features and the variance along each.
    fn find_components(&mut self, spec: &FeatureSpec, standard: &[Vec<f64>]) -> Result<()> {
        let count = standard.len() as f64;
        let failed = |error| Error::training(spec.name, format!("principal components: {error}"));
        let varied = |row: &Vec<f64>| self.varied.iter().map(|j| row[*j]).collect::<Vec<f64>>();
        let rows: Vec<Vec<f64>> = standard.iter().map(varied).collect();
        let matrix = DenseMatrix::from_2d_vec(&rows).map_err(failed)?;
        let width = self.varied.len();
        let parameters = PCAParameters::default().with_n_components(width);
        let pca = PCA::fit(&matrix, parameters).map_err(failed)?;
        let projected = pca.transform(&matrix).map_err(failed)?;

        let axes = pca.components();
        let mut components: Vec<(f64, Vec<f64>)> = (0..width)
            .map(|k| {
                let square = |row| projected.get((row, k)).powi(2);
                let variance = (0..rows.len()).map(square).sum::<f64>() / count;
                let axis = (0..width).map(|j| settle(*axes.get((j, k)))).collect();
                (variance, axis)
            })
            .collect();
        components.sort_by(|a, b| b.0.total_cmp(&a.0));

        let total: f64 = components.iter().map(|(variance, _)| variance).sum();
        let mut covered = 0.0;
        let kept = components
            .iter()
            .take_while(|(variance, _)| {
                let wanted = covered < KEEP * total;
                covered += variance;
                wanted
            })
            .count();
        let rest = &components[kept..];
        let shared = rest.iter().map(|(v, _)| v).sum::<f64>() / rest.len().max(1) as f64;
        let variance = |(k, (own, _)): (usize, &(f64, _))| {
            settle(if k < kept { *own } else { shared }.max(MIN_VARIANCE))
        };
        self.variance = components.iter().enumerate().map(variance).collect();
        self.components = components.into_iter().map(|(_, axis)| axis).collect();
        self.mean = (0..width)
            .map(|j| settle(rows.iter().map(|row| row[j]).sum::<f64>() / count))
            .collect();
        Ok(())
    }

    /// Centre of each transformed feature for an identity.
    fn centers(&self, key: &str) -> &[f64] {
        self.own.get(key).unwrap_or(&self.center)
    }

    /// What is usual for an identity, in the feature's own unit.
    pub fn usual(&self, spec: &FeatureSpec, key: &str) -> Vec<f64> {
        let back = |(center, feature): (&f64, &Feature)| match feature.kind {
            Kind::Count => center.exp_m1(),
            Kind::Ratio | Kind::Balance => *center,
        };
        self.centers(key)
            .iter()
            .zip(spec.features)
            .map(back)
            .collect()
    }

    /// Steps 1 and 2. A missing value counts as usual.
    fn standardise(&self, spec: &FeatureSpec, vector: &Vector) -> Vec<f64> {
        let centers = self.centers(&vector.key);
        let row = transform(spec, &vector.values);
        let standard = |j: usize| {
            let value = deviation(spec, vector, j, row[j] - centers[j]) / self.scale[j];
            match spec.features[j].kind {
                _ if value.is_nan() => 0.0,
                Kind::Balance => value,
                Kind::Count | Kind::Ratio => value.max(-1.0),
            }
        };
        (0..row.len()).map(standard).collect()
    }

    /// `C^-½` over the varied features.
    pub fn whitening(&self) -> Vec<Vec<f64>> {
        let width = self.varied.len();
        let entry = |i: usize, j: usize| -> f64 {
            let part = |(axis, variance): (&Vec<f64>, &f64)| axis[i] * axis[j] / variance.sqrt();
            self.components.iter().zip(&self.variance).map(part).sum()
        };
        let row = |i| (0..width).map(|j| entry(i, j)).collect();
        (0..width).map(row).collect()
    }

    /// Step 4: each feature's part in the squared distance of a standardised vector.
    fn parts(&self, whitening: &[Vec<f64>], standard: &[f64]) -> Vec<f64> {
        let mut parts: Vec<f64> = standard.iter().map(|value| value * value).collect();
        let deviation = |(j, mean): (&usize, &f64)| standard[*j] - mean;
        let deviations: Vec<f64> = self.varied.iter().zip(&self.mean).map(deviation).collect();
        for (row, j) in whitening.iter().zip(&self.varied) {
            let white: f64 = row.iter().zip(&deviations).map(|(w, d)| w * d).sum();
            parts[*j] = white * white;
        }
        parts
    }

    /// Distance of a vector from what is usual, and each feature's part in its square.
    pub fn distance(
        &self,
        spec: &FeatureSpec,
        whitening: &[Vec<f64>],
        vector: &Vector,
    ) -> (f64, Vec<f64>) {
        let parts = self.parts(whitening, &self.standardise(spec, vector));
        (settle(parts.iter().sum::<f64>().sqrt()), parts)
    }

    /// Whether the sizes belong together, so that scoring cannot fail.
    pub fn check(&self, features: usize) -> Result<(), &'static str> {
        let width = self.varied.len();
        let square = self.components.iter().all(|axis| axis.len() == width);
        if self.center.len() != features || self.own.values().any(|own| own.len() != features) {
            return Err("centres do not fit the features");
        }
        if self.scale.len() != features || self.scale.iter().any(|s| *s <= 0.0) {
            return Err("scales do not fit the features");
        }
        if self.varied.iter().any(|j| *j >= features) {
            return Err("a feature number is out of range");
        }
        if !square || [self.mean.len(), self.components.len(), self.variance.len()] != [width; 3] {
            return Err("components do not fit the features");
        }
        if self.variance.iter().any(|v| *v <= 0.0) {
            return Err("a variance is not positive");
        }
        Ok(())
    }
}

/// Step 1. Infinite values count as missing.
fn transform(spec: &FeatureSpec, values: &[f64]) -> Vec<f64> {
    let one = |(value, feature): (&f64, &Feature)| match feature.kind {
        _ if !value.is_finite() => f64::NAN,
        Kind::Count => value.max(0.0).ln_1p(),
        Kind::Ratio | Kind::Balance => *value,
    };
    values.iter().zip(spec.features).map(one).collect()
}

/// A feature's difference from its centre, for ratios weighed by how much they are about.
fn deviation(spec: &FeatureSpec, vector: &Vector, feature: usize, difference: f64) -> f64 {
    match spec.features[feature].kind {
        Kind::Count => difference,
        Kind::Ratio | Kind::Balance => {
            // `max` also turns a missing total into 0.
            let calls = vector.values[spec.total].max(0.0);
            difference * calls / (calls + PRIOR_CALLS)
        }
    }
}

fn own_centers(
    vectors: &[Vector],
    rows: &[Vec<f64>],
    center: &[f64],
) -> BTreeMap<String, Vec<f64>> {
    let mut by_key: BTreeMap<&str, Vec<&Vec<f64>>> = BTreeMap::new();
    for (vector, row) in vectors.iter().zip(rows) {
        by_key.entry(&vector.key).or_default().push(row);
    }
    by_key.retain(|_, rows| rows.len() >= OWN_WINDOWS);
    let own = |(key, rows): (&str, Vec<&Vec<f64>>)| {
        let weight = rows.len() as f64 / (rows.len() as f64 + SHRINK);
        let drawn = |(j, common): (usize, &f64)| {
            let values: Vec<f64> = rows.iter().map(|row| row[j]).collect();
            if values.iter().all(|value| value.is_nan()) {
                return *common;
            }
            settle(weight * median(values) + (1.0 - weight) * common)
        };
        (
            key.to_owned(),
            center.iter().enumerate().map(drawn).collect(),
        )
    };
    by_key.into_iter().map(own).collect()
}

/// Robust deviation around zero: 1.4826 × the median of absolute deviations, which for a normal
/// distribution is its standard deviation. Where most values are equal that is zero, and the root mean
/// square takes its place.
fn scale(mut deviations: Vec<f64>, kind: Kind) -> f64 {
    let floor = match kind {
        Kind::Count => FLOOR_COUNT,
        Kind::Ratio | Kind::Balance => FLOOR_RATIO,
    };
    deviations.retain(|deviation| !deviation.is_nan());
    if deviations.is_empty() {
        return floor;
    }
    let robust = 1.4826 * median(deviations.iter().map(|d| d.abs()).collect());
    if robust >= floor {
        return robust;
    }
    let squares: f64 = deviations.iter().map(|d| d * d).sum();
    (squares / deviations.len() as f64).sqrt().max(floor)
}

/// Median without the missing values; 0 when there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Rounds to 12 significant digits, and to 0 below 10⁻⁹: such numbers have at most 2⁵³ as digits and 22 as
/// decimal exponent, which is where `serde_json` reads back exactly what it wrote.
pub fn settle(value: f64) -> f64 {
    if value.abs() < 1e-9 {
        return 0.0;
    }
    format!("{value:.11e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_numbers_survive_json() {
        let mut number = 1.0e-9_f64;
        for step in 0..20_000 {
            number *= 1.0017 + f64::from(step % 7) * 1e-5;
            for settled in [settle(number), settle(-number), settle(1.0 / number)] {
                let text = serde_json::to_string(&settled).expect("a finite number");
                let back: f64 = serde_json::from_str(&text).expect("a number");
                assert_eq!(back.to_bits(), settled.to_bits(), "{text}");
            }
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, f64::NAN, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![1.0, 2.0]), 1.5);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn a_scale_never_falls_below_its_floor() {
        assert_eq!(scale(vec![0.0; 9], Kind::Count), FLOOR_COUNT);
        assert_eq!(scale(vec![], Kind::Ratio), FLOOR_RATIO);
        assert!(scale(vec![-2.0, -1.0, 0.0, 1.0, 2.0], Kind::Count) > 1.4);
        let mostly_zero = [vec![0.0; 9], vec![3.0]].concat();
        assert!((scale(mostly_zero, Kind::Count) - 0.9_f64.sqrt()).abs() < 1e-12);
    }
}
