//! House rules that a machine can check: who may import whom, how long a file may be, that lints are
//! inherited, and that the papers name what the code uses.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};

/// Crates of the workspace that each crate may use, in normal, build and dev dependencies alike.
/// `weir`, `weir-benches` and `weir-fuzz` may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("weir-engine", &[]),
    ("weir-connectors", &["weir-engine"]),
    ("weir-detections", &["weir-engine"]),
    ("weir-models", &["weir-engine"]),
    ("weir-api", &["weir-engine"]),
];
const MAY_USE_ALL: &[&str] = &["weir", "weir-benches", "weir-fuzz"];

/// Lines that a source file may have outside of its tests.
const LONGEST: usize = 400;

/// Files that are longer and why that is right; empty is best.
const LONGER: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's own packages and what they declare; nothing is resolved or fetched.
fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
}

/// Every file below `folder` whose name ends in `.extension`, without build output.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|ending| ending == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The path below the root, with `/`.
fn shown(path: &Path) -> String {
    let below = path.strip_prefix(root()).unwrap_or(path);
    below.to_string_lossy().replace('\\', "/")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

#[test]
fn imports_go_one_way() {
    let workspace = workspace();
    let own: BTreeSet<&str> = workspace
        .packages
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    for package in &workspace.packages {
        let name = package.name.as_str();
        if MAY_USE_ALL.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(one, _)| *one == name) else {
            panic!("crate {name} is new: say in tests/tidy.rs what it may use");
        };
        for used in package.dependencies.iter().map(|one| one.name.as_str()) {
            let fine = !own.contains(used) || allowed.contains(&used);
            assert!(fine, "{name} must not use {used}");
        }
    }
}

#[test]
fn no_crate_is_a_drawer() {
    for package in &workspace().packages {
        let name = package.name.as_str();
        for drawer in ["common", "utils", "util", "types", "shared", "helpers"] {
            assert!(
                !name.split('-').any(|part| part == drawer),
                "{name} is named after nothing"
            );
        }
    }
}

/// Lines before a file's unit tests, which stand at its end. A test module in a file of its own is only declared, anywhere.
fn before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |at: &usize| {
        let mut item = lines[*at..]
            .iter()
            .skip_while(|line| line.starts_with("#["));
        lines[*at] == "#[cfg(test)]" && item.next().is_some_and(|line| line.ends_with('{'))
    };
    (0..lines.len()).find(begins).unwrap_or(lines.len())
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for path in files(root(), "rs") {
        let shown = shown(&path);
        let is_test = shown
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs");
        if is_test {
            continue;
        }
        let lines = before_tests(&read(&path));
        let excused = LONGER.iter().any(|(one, _)| *one == shown);
        if lines > LONGEST && !excused {
            long.push(format!("{shown} has {lines} lines"));
        }
        assert!(
            lines > LONGEST || !excused,
            "{shown} is short now: take it off the list"
        );
    }
    assert!(
        long.is_empty(),
        "more than {LONGEST} lines outside of tests:\n{}",
        long.join("\n")
    );
    for (path, why) in LONGER {
        assert!(
            root().join(path).exists() && !why.is_empty(),
            "{path} is listed for nothing"
        );
    }
}

#[test]
fn every_crate_inherits_the_lints() {
    for package in &workspace().packages {
        let manifest = read(package.manifest_path.as_std_path());
        let inherited = manifest
            .split("[lints]")
            .nth(1)
            .is_some_and(|after| after.trim_start().starts_with("workspace = true"));
        assert!(
            inherited,
            "{} does not inherit the workspace's lints",
            package.name
        );
    }
}

#[test]
fn no_test_is_skipped() {
    let attribute = concat!("#[", "ignore");
    for path in files(root(), "rs") {
        for (number, line) in read(&path).lines().enumerate() {
            let skips = line.trim_start().starts_with(attribute);
            assert!(!skips, "{}:{} skips a test", shown(&path), number + 1);
        }
    }
}

#[test]
fn decisions_are_numbered() {
    let mut numbers = BTreeSet::new();
    for path in files(&root().join("docs/adr"), "md") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (number, title) = name.split_once('-').unwrap_or((&name, ""));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fine = number.len() == 4
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && !title.is_empty()
            && title.bytes().all(plain);
        assert!(fine, "{} is not named NNNN-title.md", shown(&path));
        assert!(
            numbers.insert(number.to_owned()),
            "two decisions have the number {number}"
        );
    }
}

#[test]
fn every_dependency_says_why() {
    let workspace = workspace();
    let own: BTreeSet<&str> = workspace
        .packages
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let used: BTreeSet<&str> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|one| one.name.as_str())
        .filter(|name| !own.contains(name))
        .collect();
    let page = read(&root().join("docs/dependencies.md"));
    let explained: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .filter_map(|line| line.split_once("`: "))
        .filter(|(_, why)| !why.trim().is_empty())
        .map(|(name, _)| name)
        .collect();
    let silent: Vec<_> = used.difference(&explained).collect();
    assert!(
        silent.is_empty(),
        "docs/dependencies.md does not say why: {silent:?}"
    );
    let gone: Vec<_> = explained.difference(&used).collect();
    assert!(
        gone.is_empty(),
        "docs/dependencies.md names what nothing uses: {gone:?}"
    );
}

#[test]
fn the_papers_are_there() {
    for paper in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "justfile",
        "docs/ARCHITECTURE.md",
    ] {
        let text = read(&root().join(paper));
        assert!(!text.trim().is_empty(), "{paper} is empty");
    }
}
