//! What a model learns and what it says about windows that it did not see.

use datafusion::arrow::array::{ArrayRef, Int64Array};
use std::sync::Arc;
use weir_engine::rule::Level;
use weir_engine::score::{Anomaly, Score};
use weir_models::spec::CLOUDTRAIL_IDENTITY_HOUR as SPEC;
use weir_models::{Error, History, Model, TrainOptions, WindowRows, train};

use super::support::{HOUR, Random, Row, SPAN, batch, ordinary, ordinary_windows, trained};

fn one(model: &Model, row: Row) -> Option<Anomaly> {
    model.score(&batch(&[row])).unwrap().pop()
}

#[test]
fn an_outlier_is_found_and_explained_by_the_feature_that_it_is_in() {
    let model = Model::new(trained()).unwrap();
    // alice's ordinary window, and the same with one feature far off.
    let usual = [40.0, 9.0, 5.0, 1.0, 1.0, 0.02, 0.87, 0.0];
    assert_eq!(one(&model, ("alice", usual)), None);
    for (position, value) in [
        (0, 5210.0),
        (1, 120.0),
        (2, 60.0),
        (3, 16.0),
        (4, 12.0),
        (5, 0.9),
        (6, 0.1),
        (7, 12.0),
    ] {
        let mut row = usual;
        row[position] = value;
        let feature = SPEC.features[position].column;
        let anomaly = one(&model, ("alice", row)).unwrap_or_else(|| panic!("{feature} is missed"));
        let first = &anomaly.reasons[0];
        assert_eq!(first.feature, feature, "{anomaly:?}");
        assert_eq!(first.value, value);
        assert!(first.share > 0.5, "{anomaly:?}");
        assert!(
            (first.usual - usual[position]).abs() <= 0.1 + usual[position] * 0.2,
            "{anomaly:?}"
        );
        assert!(anomaly.score > 0.99, "{anomaly:?}");
        let label = SPEC.features[position].label;
        assert!(anomaly.text.starts_with(label), "{}", anomaly.text);
        let shares: f64 = anomaly.reasons.iter().map(|reason| reason.share).sum();
        assert!((0.9..=1.0 + 1e-9).contains(&shares), "{shares}");
    }
}

#[test]
fn usual_is_what_is_usual_for_that_identity() {
    let model = Model::new(trained()).unwrap();
    let busy = [5000.0, 150.0, 60.0, 16.0, 1.0, 0.05, 1.0, 0.0];
    assert_eq!(one(&model, ("scanner", busy)), None);
    let alice = one(&model, ("alice", busy)).unwrap();
    assert_eq!(alice.level, Level::High);
    // An identity that training never met is compared with all of them.
    assert!(one(&model, ("mallory", busy)).is_some());
}

#[test]
fn less_than_usual_is_no_anomaly() {
    let model = Model::new(trained()).unwrap();
    let quiet = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0];
    assert_eq!(one(&model, ("scanner", quiet)), None);
    assert_eq!(one(&model, ("deployer", [0.0; 8])).map(|a| a.level), None);
}

#[test]
fn a_ratio_of_few_calls_says_little() {
    let model = Model::new(trained()).unwrap();
    let refused = |calls: f64| ("alice", [calls, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(one(&model, refused(1.0)), None);
    let anomaly = one(&model, refused(40.0)).unwrap();
    assert_eq!(anomaly.reasons[0].feature, "error_ratio", "{anomaly:?}");
}

#[test]
fn anomalies_name_their_rows_in_order() {
    let model = Model::new(trained()).unwrap();
    let mut random = Random(7);
    let mut rows = ordinary(&mut random);
    rows.insert(1, ("bob", [30.0, 3.0, 1.0, 1.0, 1.0, 1.0, 0.0, 3.0]));
    rows.push(("alice", [40.0, 9.0, 5.0, 1.0, 1.0, 0.0, 0.9, 40.0]));
    let found = model.score(&batch(&rows)).unwrap();
    let numbers: Vec<usize> = found.iter().map(|anomaly| anomaly.row).collect();
    assert_eq!(numbers, [1, 4], "{found:#?}");
    assert!(
        found[1]
            .text
            .contains("never-seen operations 40 (usually 0)")
    );
    assert_eq!(found, model.score(&batch(&rows)).unwrap());
    assert!(model.score(&batch(&[])).unwrap().is_empty());
}

#[test]
fn unseen_ordinary_windows_are_seldom_flagged() {
    let model = Model::new(trained()).unwrap();
    let mut random = Random(0xABCD_EF01_2345);
    let rows: Vec<Row> = (0..1000).flat_map(|_| ordinary(&mut random)).collect();
    let flagged = model.score(&batch(&rows)).unwrap().len();
    assert!(flagged < 60, "{flagged} of 3000");
}

#[test]
fn an_attack_in_the_training_data_does_not_hide_the_next_one() {
    let mut windows = ordinary_windows();
    let attack: Row = ("alice", [5210.0, 90.0, 30.0, 16.0, 6.0, 0.6, 0.2, 40.0]);
    windows[50].rows = batch(&[attack]);
    let artefact = train(
        &SPEC,
        &windows,
        History::default(),
        SPAN,
        &TrainOptions::default(),
    )
    .unwrap();
    let model = Model::new(artefact).unwrap();
    assert_eq!(one(&model, attack).unwrap().level, Level::High);
}

#[test]
fn features_that_never_varied_count_in_units_of_their_floor() {
    let same: Row = ("alice", [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
    let windows: Vec<WindowRows> = (200..300)
        .map(|hour| WindowRows {
            start: hour * HOUR,
            rows: batch(&[same]),
        })
        .collect();
    let artefact = train(
        &SPEC,
        &windows,
        History::default(),
        SPAN,
        &TrainOptions::default(),
    )
    .unwrap();
    assert_eq!(artefact.calibration.threshold, 3.0);
    let model = Model::new(artefact).unwrap();
    assert_eq!(one(&model, same), None);
    let mut one_more = same;
    one_more.1[0] = 2.0;
    assert_eq!(one(&model, one_more), None);
    let mut many = same;
    many.1[7] = 12.0;
    let anomaly = one(&model, many).unwrap();
    assert_eq!(anomaly.text, "never-seen operations 12 (usually 0)");
    assert_eq!((anomaly.score, anomaly.reasons[0].share), (1.0, 1.0));
}

#[test]
fn training_does_not_depend_on_the_order_of_its_input() {
    let windows = ordinary_windows();
    let mut turned: Vec<WindowRows> = windows.clone();
    turned.reverse();
    // One window's rows in two batches, and backwards.
    let last = turned.remove(0);
    for row in (0..last.rows.num_rows()).rev() {
        turned.push(WindowRows {
            start: last.start,
            rows: last.rows.slice(row, 1),
        });
    }
    let train = |windows: &[WindowRows]| {
        train(
            &SPEC,
            windows,
            History::default(),
            SPAN,
            &TrainOptions::default(),
        )
        .unwrap()
        .to_json()
    };
    assert!(train(&windows) == train(&turned));
}

#[test]
fn the_evaluation_says_how_the_model_did() {
    let artefact = trained();
    let evaluation = &artefact.evaluation;
    assert_eq!((evaluation.windows, evaluation.identities), (600, 3));
    assert!(evaluation.flagged_share <= 0.005 + 1e-9);
    let holdout = evaluation.holdout.as_ref().unwrap();
    assert_eq!(
        (holdout.trained_windows, holdout.tested_windows),
        (480, 120)
    );
    assert!(holdout.flagged_share < 0.05, "{holdout:?}");
    let quantiles: Vec<f64> = ["0.5", "0.9", "0.99", "1"]
        .iter()
        .map(|quantile| evaluation.distance_quantiles[*quantile])
        .collect();
    assert!(quantiles.is_sorted() && quantiles[0] > 0.0, "{quantiles:?}");
}

#[test]
fn too_few_windows_are_refused_with_the_numbers() {
    let windows = &ordinary_windows()[..16];
    let error = train(
        &SPEC,
        windows,
        History::default(),
        SPAN,
        &TrainOptions::default(),
    )
    .unwrap_err();
    assert!(matches!(
        error,
        Error::TooFew {
            windows: 48,
            minimum: 50,
            ..
        }
    ));
    assert!(
        error.to_string().contains("48 windows, at least 50"),
        "{error}"
    );
}

#[test]
fn windows_outside_the_second_half_and_bad_options_are_refused() {
    let refuse = |windows: &[WindowRows], span, options: &TrainOptions| {
        train(&SPEC, windows, History::default(), span, options)
            .unwrap_err()
            .to_string()
    };
    let mut windows = ordinary_windows();
    let good = TrainOptions::default();
    assert!(refuse(&windows, 0..HOUR, &good).contains("shorter than two windows"));
    let bad = TrainOptions {
        quantile: 1.0,
        ..good
    };
    assert!(refuse(&windows, SPAN, &bad).contains("quantile 1 is not in"));
    windows[3].start = 10 * HOUR;
    assert!(refuse(&windows, SPAN, &good).contains("second half"));
}

#[test]
fn a_missing_or_wrong_feature_column_is_named() {
    let model = Model::new(trained()).unwrap();
    let rows = batch(&[("alice", [1.0; 8])]);
    let calls = rows.schema().index_of("calls").unwrap();
    let without: Vec<usize> = (0..rows.num_columns()).filter(|i| *i != calls).collect();
    let error = model.score(&rows.project(&without).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("no numeric column calls"),
        "{error}"
    );
}

#[test]
fn a_null_feature_counts_as_usual() {
    let model = Model::new(trained()).unwrap();
    let rows = batch(&[("alice", [40.0, 9.0, 5.0, 1.0, 1.0, 0.02, 0.87, 0.0])]);
    let calls = rows.schema().index_of("calls").unwrap();
    let mut columns: Vec<(String, ArrayRef)> = rows
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .zip(rows.columns().to_vec())
        .collect();
    columns[calls].1 = Arc::new(Int64Array::from(vec![None]));
    let rows = datafusion::arrow::array::RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    assert_eq!(model.score(&rows).unwrap(), []);
}
