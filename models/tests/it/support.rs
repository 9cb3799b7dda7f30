//! Synthetic windows: a seeded year-in-the-life of a few identities.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use weir_models::spec::{CLOUDTRAIL_IDENTITY_HOUR as SPEC, Kind};
use weir_models::{Artefact, History, TrainOptions, WindowRows, train};

pub const HOUR: i64 = 3_600_000_000;

/// A small generator (xorshift): the tests must not change with a library's version.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    /// Around `middle`, a third up or down.
    pub fn about(&mut self, middle: u64) -> f64 {
        (middle * (67 + self.below(67)) / 100) as f64
    }
}

/// One identity's window; features in the spec's order.
pub type Row = (&'static str, [f64; 8]);

/// A human with a few calls, a busy deployment role, and a scanner that only reads.
pub fn ordinary(random: &mut Random) -> Vec<Row> {
    let new = |random: &mut Random| f64::from(u8::from(random.below(30) == 0));
    vec![
        (
            "alice",
            [
                random.about(40),
                random.about(9),
                random.about(5),
                1.0,
                1.0,
                random.below(4) as f64 / 100.0,
                0.8 + random.below(15) as f64 / 100.0,
                new(random),
            ],
        ),
        (
            "deployer",
            [
                random.about(900),
                random.about(60),
                random.about(20),
                3.0,
                2.0 + random.below(2) as f64,
                random.below(3) as f64 / 100.0,
                0.4 + random.below(15) as f64 / 100.0,
                new(random),
            ],
        ),
        (
            "scanner",
            [
                random.about(5000),
                random.about(150),
                random.about(60),
                16.0,
                1.0,
                0.05,
                1.0,
                0.0,
            ],
        ),
    ]
}

pub fn batch(rows: &[Row]) -> RecordBatch {
    let keys = StringViewArray::from_iter_values(rows.iter().map(|(key, _)| key));
    let mut columns: Vec<(&str, ArrayRef)> = vec![(SPEC.key, Arc::new(keys))];
    for (j, feature) in SPEC.features.iter().enumerate() {
        let values = rows.iter().map(|(_, values)| values[j]);
        columns.push((
            feature.column,
            match feature.kind {
                Kind::Count => Arc::new(Int64Array::from_iter_values(values.map(|v| v as i64))),
                _ => Arc::new(Float64Array::from_iter_values(values)),
            },
        ));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

pub const SPAN: Range<i64> = 0..400 * HOUR;

/// 200 windows of the second half of [`SPAN`].
pub fn ordinary_windows() -> Vec<WindowRows> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    (200..400)
        .map(|hour| WindowRows {
            start: hour * HOUR,
            rows: batch(&ordinary(&mut random)),
        })
        .collect()
}

pub fn trained() -> Artefact {
    train(
        &SPEC,
        &ordinary_windows(),
        History::default(),
        SPAN,
        &TrainOptions::default(),
    )
    .unwrap()
}
