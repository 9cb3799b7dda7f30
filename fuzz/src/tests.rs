//! Every seed, and everything that once made a target fail, goes through its target in `cargo test`.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::*;

fn files(folder: impl AsRef<Path>) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = vec![];
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.clone(), std::fs::read(&path).unwrap()));
    }
    found.sort();
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

#[test]
fn fixtures_of_every_format() {
    let mut seen = vec![];
    for (path, content) in files("../connectors/tests/formats") {
        if path.extension().unwrap() == "json" {
            continue;
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let name = stem.split('-').next().unwrap().to_owned();
        format_as(&name, &content);
        format_as("auto", &content);
        for line in content.split(|byte| *byte == b'\n') {
            envelope(line);
            json(line);
        }
        seen.push(name);
    }
    for name in FormatChoice::names() {
        let seen = seen.iter().any(|one| one == name);
        assert!(
            seen || matches!(name, "auto" | "mapped"),
            "{name} has no fixture"
        );
    }
}

#[test]
fn seeds() {
    for (_, content) in files("seeds/envelope") {
        envelope(&content);
        format_as("auto", &content);
    }
    for (_, content) in files("seeds/intel") {
        intel_in_all_forms(&content);
    }
    for (_, content) in files("seeds/mapped") {
        format_as("mapped", &content);
    }
}

/// Named `<target>-<what was wrong>`, where the target is a format or one of the others.
#[test]
fn what_once_failed() {
    for (path, content) in files("regressions") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match name.split('-').next().unwrap() {
            "envelope" => envelope(&content),
            "intel" => intel_in_all_forms(&content),
            "json" => json(&content),
            format => format_as(format, &content),
        }
    }
}
