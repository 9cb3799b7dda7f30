//! Every fixture becomes the rows that stand beside it. `WEIR_UPDATE=1` writes them anew.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::decode::tests::{decode_with, row};
use crate::decode::{DecoderConfig, FormatChoice};

/// Fixtures: one event per line, in files named `<source>[-<what>].ndjson` (`.log` for text).
pub(crate) fn fixtures() -> Vec<(PathBuf, FormatChoice)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|end| end == "ndjson" || end == "log")
        {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let source = name.split('-').next().unwrap();
            found.push((
                path,
                FormatChoice::named(source).unwrap_or_else(|| panic!("{source}")),
            ));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(found.len() > 3);
    found
}

fn rows(path: &Path, format: FormatChoice) -> Value {
    let text = std::fs::read(path).unwrap();
    let lines: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let config = DecoderConfig {
        format,
        ..DecoderConfig::new("log")
    };
    let batch = decode_with(config, &lines);
    let rows: Vec<_> = (0..batch.events.num_rows())
        .map(|at| row(&batch, at))
        .collect();
    let letters = batch.dead_letters.iter();
    let letters: Vec<_> = letters.map(|one| json!([one.reason, one.detail])).collect();
    json!({"rows": rows, "filtered": batch.counts.filtered, "dead_letters": letters})
}

#[test]
fn fixtures_become_the_rows_beside_them() {
    let mut differ = vec![];
    for (path, format) in fixtures() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let by_content = rows(&path, FormatChoice::Auto);
        let by_name = rows(&path, format);
        for key in ["rows", "filtered"] {
            let letters = &by_name["dead_letters"];
            assert_eq!(
                by_name[key], by_content[key],
                "{name}, read by its name: {letters}"
            );
        }
        let actual = serde_json::to_string_pretty(&by_content).unwrap() + "\n";
        let beside = path.with_extension("rows.json");
        if std::env::var_os("WEIR_UPDATE").is_some() {
            std::fs::write(&beside, &actual).unwrap();
        }
        if std::fs::read_to_string(&beside).unwrap_or_default() != actual {
            differ.push(format!("{name}:\n{actual}"));
        }
    }
    assert!(
        differ.is_empty(),
        "rows have changed; if that is right, run with WEIR_UPDATE=1 and commit: {}",
        differ.join("\n")
    );
}

/// Fixtures of all formats in one log, in turn: none is taken for another.
#[test]
fn fixtures_of_all_formats_in_one_log() {
    let mut lines: Vec<Vec<u8>> = vec![];
    let mut expected = vec![];
    for (path, format) in fixtures() {
        for line in std::fs::read(&path).unwrap().split(|byte| *byte == b'\n') {
            if path.extension().is_some_and(|end| end == "ndjson") && !line.is_empty() {
                let config = DecoderConfig {
                    format,
                    ..DecoderConfig::new("log")
                };
                let batch = decode_with(config, &[line]);
                let count = batch.events.num_rows();
                expected.push((
                    batch.counts.filtered,
                    batch.counts.dead_lettered,
                    (0..count).map(|at| row(&batch, at)).collect::<Vec<_>>(),
                ));
                lines.push(line.to_vec());
            }
        }
    }
    // Interleaved, so that each follows another format.
    for step in [1, 7, 11] {
        let order: Vec<_> = (0..lines.len()).map(|at| at * step % lines.len()).collect();
        let given: Vec<_> = order.iter().map(|at| lines[*at].as_slice()).collect();
        let batch = decode_with(DecoderConfig::new("log"), &given);
        let rows: Vec<_> = (0..batch.events.num_rows())
            .map(|at| row(&batch, at))
            .collect();
        let wanted: Vec<_> = order
            .iter()
            .flat_map(|at| expected[*at].2.clone())
            .collect();
        assert_eq!(rows.len(), wanted.len());
        for (row, wanted) in rows.iter().zip(&wanted) {
            assert_eq!(row, wanted);
        }
        let filtered: u64 = order.iter().map(|at| expected[*at].0).sum();
        let letters: u64 = order.iter().map(|at| expected[*at].1).sum();
        assert_eq!(
            (batch.counts.filtered, batch.counts.dead_lettered),
            (filtered, letters)
        );
    }
}
