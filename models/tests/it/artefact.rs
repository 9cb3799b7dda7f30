//! Artefacts as files.

use std::fs;
use std::path::Path;

use weir_engine::score::Score;
use weir_models::{Artefact, Model};

use super::support::{Random, batch, ordinary, trained};

#[test]
fn a_model_read_back_scores_exactly_like_the_one_written() {
    let folder = tempfile::tempdir().unwrap();
    let artefact = trained();
    let path = artefact.save(&folder.path().join("new")).unwrap();
    assert!(path.ends_with("new/cloudtrail_identity_hour.json"));
    assert_eq!(Artefact::load(&path).unwrap(), artefact);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let (before, after) = (Model::new(artefact).unwrap(), Model::load(&path).unwrap());
    assert_eq!(before.rule(), after.rule());
    let mut random = Random(99);
    let mut flagged = 0;
    for _ in 0..200 {
        let mut rows = ordinary(&mut random);
        for (_, values) in &mut rows {
            values[random.below(8) as usize] *= 1.0 + random.below(40) as f64;
        }
        let rows = batch(&rows);
        let found = before.score(&rows).unwrap();
        flagged += found.len();
        assert_eq!(found, after.score(&rows).unwrap());
    }
    assert!(flagged > 100, "{flagged}");
}

#[test]
fn saving_replaces_the_older_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut artefact = trained();
    artefact.save(folder.path()).unwrap();
    artefact.calibration.quantile = 0.9;
    let path = artefact.save(folder.path()).unwrap();
    assert_eq!(Artefact::load(&path).unwrap().calibration.quantile, 0.9);
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = trained().to_json();
    let refuse = |text: &str, reason: &str| {
        let path = folder.path().join("model.json");
        fs::write(&path, text).unwrap();
        let error = Model::load(&path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(
            error.contains("train it again with `weir model train`"),
            "{error}"
        );
    };
    refuse("", "EOF");
    refuse("{}", "missing field `format`");
    refuse(&good[..good.len() / 2], "EOF");
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    refuse(&changed("weir-model", "other"), "format \"other\"");
    refuse(
        &changed("\"version\": 1", "\"version\": 7"),
        "it has version 7, this program reads version 1",
    );
    refuse(
        &changed("count(*) AS calls", "sum(1) AS calls"),
        "another feature query",
    );
    refuse(
        &changed("\"query_hash\": \"", "\"query_hash\": \"0"),
        "another feature query",
    );
    refuse(
        &changed("\"center\": [", "\"center\": [1.0,"),
        "centres do not fit",
    );
    refuse(
        &changed("\"varied\": [", "\"varied\": [99,"),
        "out of range",
    );
    refuse(
        &changed("\"variance\": [", "\"variance\": [1.0,"),
        "components do not fit",
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Model::load(Path::new("no/such/model.json")).unwrap_err();
    assert!(
        error.to_string().starts_with("no/such/model.json: "),
        "{error}"
    );
}
