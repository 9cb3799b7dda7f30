//! `weir replay` over files that cannot be read in whole: it says where and why, and how to keep them.

use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = r#"{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ana"},"eventTime":"2026-01-01T00:00:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","sourceIPAddress":"198.51.100.7","eventID":"one"}"#;

fn replay(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("replay")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, errors)
}

#[test]
fn files_of_nothing_but_dead_letters_fail_and_say_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "{\"neither\":\"nor\"}\nno json\n";
    std::fs::write(folder.path().join("bad.ndjson"), bad).unwrap();
    let (output, errors) = replay(folder.path(), &["bad.ndjson"]);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for told in [
        "unknown_format: ",
        "bad.ndjson at 0: ",
        "bad.ndjson at 18: ",
        "nothing could be decoded",
        "--data DIR keeps them all",
    ] {
        assert!(errors.contains(told), "{told} in {errors}");
    }
}

#[test]
fn json_stays_json_beside_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.ndjson"), "no json\n").unwrap();
    let (output, errors) = replay(folder.path(), &["bad.ndjson", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["dead_letters"]["invalid_json"], 1);
    assert!(errors.contains("bad.ndjson at 0: "), "{errors}");
}

#[test]
fn dead_letters_among_others_are_told_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), format!("{GOOD}\nno json\n")).unwrap();
    let (output, errors) = replay(folder.path(), &["a.ndjson", "--data", "kept"]);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let told = format!("a.ndjson at {}: ", GOOD.len() + 1);
    assert!(errors.contains(&told), "{errors}");
    assert!(errors.contains("kept/dead-letters.ndjson"), "{errors}");
    // Those of an earlier run are not told again.
    std::fs::write(folder.path().join("b.ndjson"), GOOD.replace("one", "two")).unwrap();
    let (output, errors) = replay(folder.path(), &["b.ndjson", "--data", "kept"]);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(!errors.contains("a.ndjson"), "{errors}");
    // Nor does what was read then make up for a run of nothing else.
    std::fs::write(folder.path().join("c.ndjson"), "[").unwrap();
    let (output, errors) = replay(folder.path(), &["c.ndjson", "--data", "kept"]);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("c.ndjson at 0: "), "{errors}");
    let kept = std::fs::read_to_string(folder.path().join("kept/dead-letters.ndjson")).unwrap();
    assert_eq!(kept.lines().count(), 2, "{kept}");
}
