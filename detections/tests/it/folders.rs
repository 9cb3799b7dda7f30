//! Folders of rules as people leave them.

use std::fs;
use std::path::Path;

use weir_detections::{Error, load_dir, load_file};

fn rule(id: &str) -> String {
    format!("title: A rule\nid: {id}\nlevel: low\nquery: SELECT * FROM events\n")
}
fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn rules_come_in_order_of_their_paths_with_their_events() {
    let folder = tempfile::tempdir().unwrap();
    let case = "tests: [{ name: t, events: cases/t.ndjson, alerts: 0 }]\n";
    write(folder.path(), "b/two.yaml", &(rule("2") + case));
    write(folder.path(), "b/cases/t.ndjson", "{}\n");
    write(folder.path(), "a.yml", &rule("1"));
    write(folder.path(), "README.md", "no rule");
    write(folder.path(), ".hidden/three.yml", "not even YAML: [");
    let rules = load_dir(folder.path()).unwrap();
    let ids: Vec<_> = rules.iter().map(|loaded| loaded.rule.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(rules[1].tests[0].events, b"{}\n");
    assert!(rules[1].rule.path.ends_with("b/two.yaml"));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yml", &rule("same"));
    write(folder.path(), "b.yml", &rule("same"));
    write(folder.path(), "c.yml", &(rule("3") + "levl: high\n"));
    let missing = "tests: [{ name: t, events: cases/none.ndjson, alerts: 0 }]\n";
    write(folder.path(), "d.yml", &(rule("4") + missing));
    let message = load_dir(folder.path()).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 3, "{message}");
    assert!(message.contains("c.yml: unknown field `levl`"), "{message}");
    assert!(message.contains("line 5"), "{message}");
    assert!(
        message.contains("d.yml: test `t`: events file cases/none.ndjson"),
        "{message}"
    );
    assert!(
        message.contains("b.yml: id same is also the id of"),
        "{message}"
    );
}

#[test]
fn no_rules_and_no_folder_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        load_dir(folder.path()),
        Err(Error::NoRules { .. })
    ));
    let gone = folder.path().join("gone");
    assert!(matches!(load_dir(&gone), Err(Error::Io { .. })));
    let message = load_file(gone.join("x.yml")).unwrap_err().to_string();
    assert!(message.contains("x.yml"), "{message}");
}

/// Kubernetes mounts a ConfigMap as links into a hidden folder.
#[cfg(unix)]
#[test]
fn a_mounted_config_map_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "..2026_11_21/a.yml", &rule("1"));
    std::os::unix::fs::symlink("..2026_11_21", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yml", folder.path().join("a.yml")).unwrap();
    assert_eq!(load_dir(folder.path()).unwrap().len(), 1);
}
