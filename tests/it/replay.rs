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

/// What `weir replay` counts and answers when this is its standard input.
fn replay_input(
    folder: &Path,
    input: &[u8],
    before: &[&str],
    arguments: &[&str],
) -> (serde_json::Value, String) {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(before)
        .arg("replay")
        .args(arguments)
        .args(["--output", "json"])
        .current_dir(folder)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A program that refuses its arguments reads nothing.
    let _ = pipe.write_all(input);
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (
        serde_json::from_slice(&output.stdout).unwrap_or_default(),
        errors,
    )
}

#[test]
fn the_standard_input_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..5)
        .map(|index| GOOD.replace("\"one\"", &format!("\"{index}\"")) + "\n")
        .collect();
    let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, lines.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for path in ["-", "/dev/stdin"] {
        for input in [lines.as_bytes(), &packed] {
            let (told, errors) = replay_input(folder.path(), input, &[], &[path]);
            assert_eq!(told["counts"]["processed"], 5, "{path}: {errors}");
            assert_eq!(told["skipped"], serde_json::json!([]));
        }
    }
    // From a file, and beside another one.
    std::fs::write(folder.path().join("a.ndjson"), GOOD).unwrap();
    let (told, errors) = replay_input(
        folder.path(),
        lines.as_bytes(),
        &[],
        &["-", "a.ndjson", "/dev/stdin"],
    );
    assert_eq!(told["counts"]["processed"], 6, "{errors}");
    assert_eq!(told["skipped"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn a_mapping_of_the_configuration_and_flow_fields() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"
[source.acme]
type = "file"
paths = ["nowhere"]
format = "mapped"
[source.acme.mapping]
product = "ACME"
family = "identity"
required = ["when", "who"]
[source.acme.mapping.columns]
time = "when"
actor_user_name = "who"
"#;
    std::fs::write(folder.path().join("weir.toml"), config).unwrap();
    let event = br#"{"when":"2026-01-01T00:00:00Z","who":"ana"}"#;
    let with = ["--config", "weir.toml"];
    let (told, errors) = replay_input(folder.path(), event, &with, &["-", "--mapping", "acme"]);
    assert_eq!(told["counts"]["processed"], 1, "{errors}");
    let (_, errors) = replay_input(folder.path(), event, &with, &["-", "--mapping", "other"]);
    assert!(errors.contains("there are acme"), "{errors}");
    let (_, errors) = replay_input(folder.path(), event, &[], &["-", "--mapping", "acme"]);
    assert!(errors.contains("--config"), "{errors}");
    let (_, errors) = replay_input(folder.path(), event, &with, &["-", "--format", "mapped"]);
    assert!(errors.contains("--mapping"), "{errors}");
    let (_, errors) = replay_input(
        folder.path(),
        event,
        &with,
        &["-", "--mapping", "acme", "--format", "falco"],
    );
    assert!(errors.contains("mapped"), "{errors}");
    let (_, errors) = replay_input(folder.path(), event, &[], &["-"]);
    assert!(
        errors.contains("--mapping") && errors.contains("--flow-fields"),
        "{errors}"
    );
    let line = b"203.0.113.7 10.0.0.5 1767225600 1767225660 REJECT";
    let fields = ["-", "--flow-fields", "srcaddr dstaddr start end action"];
    let (told, errors) = replay_input(folder.path(), line, &[], &fields);
    assert_eq!(told["counts"]["processed"], 1, "{errors}");
    let (told, errors) = replay_input(folder.path(), line, &[], &["-"]);
    assert_eq!(told["counts"]["dead_lettered"], 1, "{errors}");
    assert!(errors.contains("flow_fields"), "{errors}");
    let (_, errors) = replay_input(folder.path(), line, &[], &["-", "--flow-fields", "a b"]);
    assert!(errors.contains("srcaddr"), "{errors}");
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

/// What came of a part of the input must not look like what came of all of it.
#[test]
fn a_replay_that_is_interrupted_says_so() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["replay", "-"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{GOOD}").unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    // With its first line of progress it runs, and hears signals.
    let mut line = String::new();
    while !line.contains("events") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    drop(input);
}
