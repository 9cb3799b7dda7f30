//! Bundles of STIX: which values of their patterns are used, and what is told of the others.

use super::*;

#[test]
fn stix_bundles_are_read_as_far_as_one_value_suffices() {
    let (intel, problems) = read(&[("bundle.json", BUNDLE)], |config| {
        config.form = Form::Stix
    });
    let day = 86_400_000_000;
    let labels = "[\"malicious-activity\",\"loader\"]".to_owned();
    let expected = (day, 2 * day, 85, "bundle".to_owned(), Some(labels));
    assert_eq!(valid(&intel, By::Address, "192.0.2.1"), [expected]);
    assert_eq!(
        found(&intel, By::Domain, "www.worse.example"),
        ["worse.example"]
    );
    assert_eq!(found(&intel, By::Address, "2001:db8::5"), ["2001:db8::/32"]);
    assert_eq!(
        found(&intel, By::Address, "198.51.100.5"),
        ["198.51.100.0/24"]
    );
    assert_eq!(found(&intel, By::Hash, &"ab".repeat(32)).len(), 1);
    assert_eq!(found(&intel, By::Hash, &"0f".repeat(16)).len(), 1);
    assert_eq!(found(&intel, By::Url, "http://bad.example/it's").len(), 2);
    for unused in [5, 6, 7, 8, 9] {
        let address = format!("203.0.113.{unused}");
        assert!(found(&intel, By::Address, &address).is_empty(), "{address}");
    }
    // The file name; AND and FOLLOWEDBY; the other language.
    assert_eq!(problems.unused["type_not_matched"], 1);
    assert_eq!(problems.unused["needs_several_values"], 2);
    assert_eq!(problems.unused["pattern_not_read"], 1);
    assert_eq!(
        (problems.unused["revoked"], problems.unused["invalid"]),
        (2, 1)
    );
    assert_eq!(problems.warnings.len(), 1);
    assert!(
        problems.warnings[0].contains("indicator--10"),
        "{problems:?}"
    );
    assert!(!problems.broken);
}

/// Values of a pattern, and why alternatives are not used.
fn stix_of(pattern: &str) -> (Vec<String>, Vec<&'static str>) {
    let read = stix::pattern(pattern).unwrap_or_else(|| panic!("{pattern}"));
    let values = read.values.into_iter().map(|(_, value)| value);
    (values.collect(), read.unused)
}

#[test]
fn a_type_beside_a_value_says_nothing_new() {
    for (pattern, value) in [
        (
            "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1']",
            "192.0.2.1",
        ),
        (
            "[network-traffic:src_ref.value = '192.0.2.1' AND network-traffic:src_ref.type = 'ipv4-addr']",
            "192.0.2.1",
        ),
        (
            "[(network-traffic:dst_ref.type = 'ipv6-addr') AND (network-traffic:dst_ref.value = '2001:db8::1')]",
            "2001:db8::1",
        ),
        (
            "[network-traffic:dst_ref.type = 'domain-name' AND network-traffic:dst_ref.value = 'bad.example']",
            "bad.example",
        ),
        (
            "[network-traffic:dst_ref.value = 'bad.example']",
            "bad.example",
        ),
        ("([ ipv4-addr:value='192.0.2.1' ])", "192.0.2.1"),
        ("[ipv4-addr:value == '192.0.2.1']", "192.0.2.1"),
        (
            "[ipv4-addr:type = 'ipv4-addr' AND ipv4-addr:value = '192.0.2.1']",
            "192.0.2.1",
        ),
    ] {
        assert_eq!(
            stix_of(pattern),
            (vec![value.to_owned()], vec![]),
            "{pattern}"
        );
    }
    let either = "[network-traffic:dst_ref.type = 'ipv4-addr' AND (network-traffic:dst_ref.value = '192.0.2.1' OR network-traffic:dst_ref.value = '192.0.2.2')]";
    assert_eq!(stix_of(either).0, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn what_must_hold_together_is_not_used_and_told_by_reason() {
    let together = "needs_several_values";
    for (pattern, reasons) in [
        (
            "[ipv4-addr:value = '192.0.2.1' AND network-traffic:dst_port = '443']",
            vec![together],
        ),
        (
            "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1' AND network-traffic:dst_port = 443]",
            vec![together],
        ),
        (
            "[network-traffic:src_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1']",
            vec![together],
        ),
        (
            "[network-traffic:dst_ref.type = 'ipv6-addr' AND network-traffic:dst_ref.value = '192.0.2.1']",
            vec![together],
        ),
        (
            "[ipv4-addr:value = '192.0.2.1'] AND [ipv4-addr:value = '192.0.2.2']",
            vec![together],
        ),
        (
            "[ipv4-addr:value = '192.0.2.1'] FOLLOWEDBY [ipv4-addr:value = '192.0.2.2']",
            vec![together],
        ),
        (
            "[ipv4-addr:value = '192.0.2.1'] START t'2026-01-01T00:00:00Z' STOP t'2026-12-31T00:00:00Z'",
            vec!["qualified_pattern"],
        ),
        (
            "([ipv4-addr:value = '192.0.2.1'] OR [ipv4-addr:value = '192.0.2.2']) WITHIN 5 SECONDS",
            vec!["qualified_pattern"],
        ),
        (
            "[ipv4-addr:value = '192.0.2.1'] REPEATS 5 TIMES",
            vec!["qualified_pattern"],
        ),
        (
            "[ipv4-addr:value LIKE '192.0.2.1%']",
            vec!["comparison_not_matched"],
        ),
        (
            "[ipv4-addr:value NOT = '192.0.2.1' OR ipv4-addr:value NOT IN ('192.0.2.2')]",
            vec!["comparison_not_matched"; 2],
        ),
        ("[EXISTS ipv4-addr:value]", vec!["comparison_not_matched"]),
        (
            "[network-traffic:dst_ref.type = 'ipv4-addr']",
            vec!["type_not_matched"],
        ),
        (
            "[file:name = 'x' OR email-addr:value = 'a@b.example']",
            vec!["type_not_matched"; 2],
        ),
    ] {
        assert_eq!(stix_of(pattern), (vec![], reasons), "{pattern}");
    }
    // An alternative that suffices is used all the same.
    let mixed = "[ipv4-addr:value = '192.0.2.1' AND file:name = 'x' OR ipv4-addr:value = '192.0.2.2'] OR [domain-name:value = 'bad.example'] OR ([url:value = 'http://a.example/'] FOLLOWEDBY [url:value = 'http://b.example/'])";
    assert_eq!(
        stix_of(mixed),
        (
            vec!["192.0.2.2".into(), "bad.example".into()],
            vec![together; 2]
        )
    );
    let deep = format!(
        "[{}ipv4-addr:value = '192.0.2.1'{}]",
        "(".repeat(100_000),
        ")".repeat(100_000)
    );
    assert_eq!(stix::pattern(&deep), None);
}

#[test]
fn bundles_stand_in_envelopes_and_indicators_may_have_no_id() {
    let object = |n: usize, id: &str| {
        format!(
            r#"{{"type":"indicator",{id}"pattern":"[ipv4-addr:value = '192.0.2.{n}']","valid_from":"1970-01-01T00:00:00Z"}}"#
        )
    };
    let bundle =
        |objects: &str| format!(r#"{{"type":"bundle","id":"bundle--1","objects":[{objects}]}}"#);
    let without = format!(
        "{},{},{}",
        object(1, ""),
        object(2, ""),
        object(3, r#""id":"","#)
    );
    let nested = format!(
        r#"{{"more":false,"next":"x","objects":[{}]}}"#,
        bundle(&bundle(&object(4, "")))
    );
    let lines = format!(
        "{}
{}
",
        bundle(&object(5, "")),
        object(6, "")
    );
    let wrapped = format!(
        r#"{{"data":{},"id":"7","type":"create"}}"#,
        object(7, r#""id":"indicator--7","#)
    );
    let list = format!("[{},{}]", bundle(&object(8, "")), object(9, ""));
    let files = [
        ("without.json", bundle(&without)),
        ("nested.json", nested),
        ("lines.jsonl", lines),
        ("wrapped.json", wrapped),
        ("list.json", list),
    ];
    for (name, text) in &files {
        let (_, problems) = read(&[(name, text)], |_| {});
        assert!(
            !problems.broken && problems.warnings.is_empty(),
            "{name} {problems:?}"
        );
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let (intel, _) = read(&files, |_| {});
    for n in 1..=9 {
        let address = format!("192.0.2.{n}");
        assert_eq!(found(&intel, By::Address, &address).len(), 1, "{address}");
    }
    let mut deep = object(1, "");
    for _ in 0..40 {
        deep = bundle(&deep);
    }
    let (intel, problems) = read(&[("deep.json", &deep)], |_| {});
    assert_eq!((intel.len(), problems.unused["nested_too_deep"]), (0, 1));
}
