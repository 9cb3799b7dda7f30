#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

use super::mutate::{mutate, mutate_line, rounds};
use super::*;
use crate::format::tests::golden::fixtures;

/// Shows the objects of a document, from the outside in, as deep as envelopes go, also those in strings. What
/// is an event is not looked into.
fn visit(value: &Value, depth: usize, is_event: &mut dyn FnMut(&str) -> bool) {
    match value {
        Value::Object(map) if !is_event(&value.to_string()) && depth > 0 => {
            map.values()
                .for_each(|inner| visit(inner, depth - 1, is_event));
        }
        Value::Array(items) if depth > 0 => {
            items
                .iter()
                .for_each(|inner| visit(inner, depth - 1, is_event));
        }
        Value::String(text) if text.starts_with('{') => {
            if let Ok(inner) = serde_json::from_str(text) {
                visit(&inner, 0, is_event);
            }
        }
        _ => {}
    }
}

fn documents(text: &str, is_event: &mut dyn FnMut(&str) -> bool) {
    let text = text.trim_start_matches('\u{FEFF}');
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let Ok(document) = document else { return };
        visit(&document, 3, is_event);
    }
}

/// Events of all formats, and what is around them.
static FIXTURES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut found = vec![];
    for (path, _) in fixtures() {
        documents(&std::fs::read_to_string(path).unwrap(), &mut |text| {
            found.push(text.to_owned());
            object(text).is_some_and(|event| Format::all().any(|one| decode(one, event).is_some()))
        });
    }
    found
});

/// Lines of a log that are no JSON, each with the flow log's header that it stands under.
fn lines_of(text: &str) -> impl Iterator<Item = (Option<String>, String)> {
    let mut header = None;
    text.lines().filter_map(move |line| {
        if lines::is_header(line) {
            header = Some(line.to_owned());
            return None;
        }
        Some((header.clone(), line.to_owned()))
    })
}

static LINES: LazyLock<Vec<(Option<String>, String)>> = LazyLock::new(|| {
    let logs = fixtures().into_iter().map(|(path, _)| path);
    let logs = logs.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.flat_map(|path| lines_of(&std::fs::read_to_string(path).unwrap()).collect::<Vec<_>>())
        .collect()
});

/// All decoders over one text. How many took it for theirs.
fn agree_all(text: &str) -> usize {
    agree_by_content(text);
    Format::all().filter(|format| agree(*format, text)).count()
}

#[test]
fn fast_and_slow_agree_on_fixtures() {
    let mut met = std::collections::BTreeSet::new();
    for text in FIXTURES.iter() {
        agree_by_content(text);
        let formats = Format::all().filter(|format| agree(*format, text));
        met.extend(formats.map(Format::name));
    }
    let as_lines = LINES.iter().filter_map(|(header, line)| {
        let mut formats = Format::all();
        let format = formats.find(|format| agree_line(*format, header.as_deref(), line));
        format.map(Format::name)
    });
    let as_lines: std::collections::BTreeSet<_> = as_lines.collect();
    let lines = [
        "Envoy access log line",
        "VPC flow log line",
        "ztunnel access log line",
    ];
    assert_eq!(as_lines.into_iter().collect::<Vec<_>>(), lines);
    let missed = Format::all()
        .map(Format::name)
        .filter(|one| !met.contains(one));
    assert_eq!(missed.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn what_stands_around_a_record_is_no_part_of_it() {
    for text in FIXTURES.iter() {
        let Some(event) = object(text) else { continue };
        let Some(format) = Format::all().find(|one| decode(*one, event).is_some()) else {
            continue;
        };
        for around in [" ", "\t", "\r", "\x0c", "\0", "\x0b", "\x1e", "\0\x0b \x1e"] {
            assert!(
                agree(format, &format!("{around}{text}")),
                "{around:?} {text}"
            );
            assert!(
                agree(format, &format!("{text}{around}")),
                "{text} {around:?}"
            );
        }
    }
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, into),
            false => into.push(path),
        }
    }
}

fn content(path: &Path) -> String {
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let mut inflated = vec![];
        let mut reader = flate2::read::MultiGzDecoder::new(bytes.as_slice());
        reader.read_to_end(&mut inflated).unwrap();
        bytes = inflated;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn fast_and_slow_agree_on_real_logs() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("WEIR_SHARED_DATA").map_or(default, PathBuf::from);
    if !folder.is_dir() {
        return eprintln!("SKIPPED: no sample data in {}", folder.display());
    }
    // Against all formats at once only so many of each file.
    const AGAINST_ALL: usize = 100;
    const LINES_OF_FILE: usize = 2_000;
    for (name, least, least_lines) in [
        ("cloudtrail", 3_900, 0),
        ("k8s_audit", 16_000, 0),
        ("falco", 40, 0),
        ("guardduty", 30, 0),
        ("gcp_audit", 150, 0),
        ("azure_activity", 20, 0),
        ("okta", 1, 0),
        ("tetragon", 40, 0),
        ("trivy", 5, 0),
        ("ocsf", 0, 0),
        ("github", 0, 0),
        ("istio", 0, 50),
        ("saas", 0, 0),
        ("vpcflow", 0, 3),
    ] {
        let mut paths = vec![];
        files(&folder.join(name), &mut paths);
        let mut met = 0;
        for path in &paths {
            let mut seen = 0;
            documents(&content(path), &mut |text| {
                seen += 1;
                let mut own = Format::all().filter(|one| one.source() == name);
                let by = match seen <= AGAINST_ALL {
                    true => agree_all(text),
                    false => usize::from(own.any(|one| agree(one, text))),
                };
                assert!(by < 2, "an event of {by} formats: {text}");
                met += usize::from(by > 0);
                by > 0
            });
        }
        let mut read = 0;
        for (header, line) in paths.iter().flat_map(|path| {
            let text = content(path);
            lines_of(&text).take(LINES_OF_FILE).collect::<Vec<_>>()
        }) {
            let mut formats = Format::all();
            read += usize::from(formats.any(|one| agree_line(one, header.as_deref(), &line)));
        }
        println!(
            "{name}: {met} events, {read} lines in {} files",
            paths.len()
        );
        assert!(read >= least_lines, "{name}: {read} lines");
        assert!(met >= least, "{name}: {met}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fast_and_slow_agree_on_changed_events(
        pick in any::<prop::sample::Index>(),
        changes in 1..8,
        seed in any::<u64>(),
    ) {
        let mut text = pick.get(&FIXTURES).clone();
        let mut seed = seed;
        for _ in 0..changes {
            text = mutate(&text, &mut seed);
            agree_all(&text);
        }
    }

    #[test]
    fn fast_and_slow_agree_on_changed_lines(
        pick in any::<prop::sample::Index>(),
        changes in 1..8,
        seed in any::<u64>(),
    ) {
        let (header, mut line) = pick.get(&LINES).clone();
        let mut seed = seed;
        for _ in 0..changes {
            line = mutate_line(&line, &mut seed);
            for format in Format::all() {
                agree_line(format, header.as_deref(), &line);
            }
        }
    }
}

#[test]
fn changed_json_is_json() {
    let mut seed = 1;
    for text in FIXTURES.iter() {
        let changed = mutate(text, &mut seed);
        assert!(Json::parse(&changed, 128).is_some(), "{changed}");
    }
}

/// Falcosidekick and other forwarders in Go write `<` and `>` as escapes.
#[test]
fn nothing_that_a_forwarder_escaped_is_nothing() {
    let text = r#"{"rule":"r","priority":"\u0043ritical","time":"2026-01-02T03:04:05\u005a","output":"o","output_fields":{"container.name":"\u003cNA\u003e","fd.name":"\/etc\/shadow","fd.sip":"192.0\u002e2.7"}}"#;
    assert!(agree(Format::FALCO, text));
    let batch = run(Decoder::only(Format::FALCO), &[text]);
    let row = row_of(&batch, 0);
    assert_eq!(row.get("container_name"), None);
    assert_eq!(row["file_path"], "/etc/shadow");
    assert_eq!(row["dst_endpoint_ip"], "192.0.2.7");
    assert_eq!(row["severity_id"], 5);
}

#[test]
fn escaped_words_say_what_they_say() {
    let trail = r#"{"eventTime":"2026-01-02T03:04:05Z","eventName":"ConsoleLogin","eventSource":"signin\u002eamazonaws.com","responseElements":{"ConsoleLogin":"\u0046ailure"},"readOnly":"\u0066alse","userIdentity":{"type":"\u0041ssumedRole","arn":"a"}}"#;
    let audit = r#"{"kind":"\u0045vent","auditID":"a","stage":"Response\u0043omplete","stageTimestamp":"2026-01-02T03:04:05Z","user":{"username":"system\u003anode:n"},"responseStatus":{"code":"4\u00303"}}"#;
    let finding = r#"{"id":"f","type":"a:b/c","severity":"8\u002e5","accountId":"1","service":{"serviceName":"guard\u0064uty","archived":"\u0074rue","count":"\u0033"},"updatedAt":"2026-01-02T03:04:05Z"}"#;
    let flow = r#"{"start_time":"2026-01-02T03:04:05Z","response_flags":"\u002d","upstream_host":"192.0.2.7\u003a443"}"#;
    for (text, column, value) in [
        (trail, "class_uid", json!(3002)),
        (trail, "status", json!("failure")),
        (trail, "api_is_read_only", json!(false)),
        (trail, "actor_session_uid", json!("a")),
        (
            audit,
            "event_uid",
            json!("a/ResponseComplete/701838ac7f8712030700bcdbdea7ab6e"),
        ),
        (audit, "actor_user_type", json!("Node")),
        (audit, "status_code", json!("403")),
        (finding, "severity_id", json!(4)),
        (finding, "count", json!(3)),
        (finding, "finding_info_status", json!("archived")),
        (flow, "dst_endpoint_port", json!(443)),
    ] {
        let batch = run(Decoder::new(DecoderConfig::new("log")), &[text]);
        assert_eq!(batch.dead_letters, []);
        assert_eq!(row_of(&batch, 0)[column], value, "{column}: {text}");
    }
}

#[test]
fn what_says_nothing_leaves_the_place_to_what_does() {
    let trail = r#"{"eventTime":5,"eventTime":"2026-01-02T03:04:05Z","eventName":"n","eventSource":"s","userIdentity":null,"userIdentity":{"arn":"a"},"requestParameters":{"bucketName":"","name":"n"},"sourceIPAddress":"AWS Internal","sourceIPAddress":"192.0.2.7","resources":null,"resources":[{"ARN":"r"}]}"#;
    let audit = r#"{"kind":"Event","auditID":"a","stageTimestamp":"2026-01-02T03:04:05Z","objectRef":null,"user":{"username":"","groups":[ ]}}"#;
    let alert = r#"{"rule":5,"rule":"r","priority":"Notice","time":"2026-01-02T03:04:05Z","output_fields":null,"output_fields":{"proc.name":"p"}}"#;
    for (text, column, value) in [
        (trail, "actor_user_uid", json!("a")),
        (trail, "resource_name", json!("n")),
        (trail, "resource_uid", json!("r")),
        (trail, "src_endpoint_domain", json!("AWS Internal")),
        (trail, "src_endpoint_ip", json!(null)),
        (audit, "api_service_name", json!(null)),
        (audit, "actor_user_type", json!(null)),
        (audit, "actor_user_groups", json!(null)),
        (alert, "process_name", json!("p")),
    ] {
        let batch = run(Decoder::new(DecoderConfig::new("log")), &[text]);
        assert_eq!(batch.dead_letters, []);
        let row = row_of(&batch, 0);
        assert_eq!(
            row.get(column).cloned().unwrap_or_default(),
            value,
            "{column}: {text}"
        );
    }
}

/// As programs write it that sort keys: the name of the target stands behind its findings.
#[test]
fn a_report_with_sorted_keys_is_read() {
    let report = r#"{"ArtifactName":"a","ArtifactType":"container_image","CreatedAt":"2026-01-02T03:04:05Z","Results":[{"Class":"config","Misconfigurations":[{"ID":"DS002","Severity":"HIGH","Status":"FAIL"}],"Target":"Dockerfile"}],"SchemaVersion":2}"#;
    assert_eq!(agree_all(report), 1);
    let batch = run(Decoder::new(DecoderConfig::new("log")), &[report]);
    assert_eq!(row_of(&batch, 0)["file_path"], "Dockerfile");
}

/// What is no event in an array of a report is counted, whatever it is; the events beside it are rows.
#[test]
fn elements_of_a_report_that_are_no_events_are_counted() {
    let finding = r#"{"ID":"DS002","Severity":"HIGH","Status":"FAIL"}"#;
    let report = format!(
        r#"{{"ArtifactName":"a","ArtifactType":"container_image","CreatedAt":"2026-01-02T03:04:05Z","Results":["x",{{"Class":"config","Misconfigurations":[1,{finding},["y"],null,"z"],"Target":"Dockerfile"}}],"SchemaVersion":2}}"#
    );
    assert_eq!(agree_all(&report), 1);
    let counts = run(Decoder::new(DecoderConfig::new("log")), &[&report]).counts;
    assert_eq!((counts.read, counts.dead_lettered), (5, 4));
}

/// Written with blanks, its words stand where those of an access line do.
#[test]
fn an_array_of_json_is_no_access_line() {
    let event = r#"{"eventTime": "2026-01-02T03:04:05Z" , "eventSource": "s" , "eventName": "n" , "port": 443 , "eventID": "a" , "requestParameters": {"x":["y"]} , "b": "c" }"#;
    let batch = run(
        Decoder::new(DecoderConfig::new("log")),
        &[&format!("[{event}]")],
    );
    assert_eq!(batch.dead_letters, []);
    assert_eq!(row_of(&batch, 0)["event_uid"], "a");
}

#[test]
fn words_of_a_flow_may_be_escaped() {
    let empty = r#"{"category":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"r","flowTuples":["1767322800000,10.0.0.6\u002c192.0.2.7,23956,443,6,O,B,,,,,"]}]}]}}"#;
    assert_eq!(agree_all(empty), 1);
    let record = r#"{"category":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"a","flowGroups":[{"rule":"r","flowTuples":["1767322800000,10.0.0.6,192.0.2.7,\u0032\u0033956,443,6,O,B,NX,0,0,0,0"]}]}]}}"#;
    assert_eq!(agree_all(record), 1);
    let batch = run(Decoder::new(DecoderConfig::new("log")), &[record]);
    assert_eq!(row_of(&batch, 0)["src_endpoint_port"], 23956);
}

/// One event of each format, with that format.
fn of_each_format() -> Vec<(Format, &'static str)> {
    let first = |format: Format| {
        let mut fixtures = FIXTURES.iter();
        let is_one =
            |text: &&String| object(text).is_some_and(|event| decode(format, event).is_some());
        Some((format, fixtures.find(is_one)?.as_str()))
    };
    Format::all().filter_map(first).collect()
}

/// What becomes of the last of the texts: its rows, and the reasons of its letters.
fn last_of(texts: &[&str]) -> (Vec<Value>, Vec<&'static str>) {
    let batch = run(Decoder::new(DecoderConfig::new("log")), texts);
    let before = texts.len() as i64 - 1;
    let start: i64 = texts[..before as usize]
        .iter()
        .map(|text| text.len() as i64)
        .sum();
    let rows = (0..batch.events.num_rows()).skip(before as usize);
    let letters = batch
        .dead_letters
        .iter()
        .filter(|letter| letter.position == start);
    (
        rows.map(|row| row_of(&batch, row)).collect(),
        letters.map(|letter| letter.reason).collect(),
    )
}

#[test]
fn what_an_event_is_does_not_depend_on_those_before_it() {
    let events = of_each_format();
    let rows_of = |text: &str| last_of(&[text]).0.len();
    // Reports of many events would have to be counted.
    let events: Vec<_> = events
        .into_iter()
        .filter(|(_, text)| rows_of(text) == 1)
        .collect();
    let mut of_two = 0;
    for (_, first) in &events {
        for (_, second) in &events {
            let inner = first
                .trim()
                .strip_prefix('{')
                .and_then(|text| text.strip_suffix('}'))
                .unwrap();
            let other = second
                .trim()
                .strip_prefix('{')
                .and_then(|text| text.strip_suffix('}'))
                .unwrap();
            let both = format!("{{{inner},{other}}}");
            let alone = last_of(&[&both]);
            assert_eq!(last_of(&[first, first, &both]), alone, "{both}");
            assert_eq!(last_of(&[second, second, &both]), alone, "{both}");
            of_two += 1;
        }
    }
    assert!(of_two > 1_000, "{of_two}");
}

#[test]
fn places_of_programs() {
    for (format, name) in [
        (Format::CLOUDTRAIL, "CloudTrail event"),
        (Format::K8S_AUDIT, "Kubernetes audit event"),
        (Format::FALCO, "Falco alert"),
    ] {
        assert_eq!(format.name(), name);
    }
}

/// They look at keys alone.
#[test]
fn programs_have_no_rivals_whose_keys_they_know() {
    for format in [Format::CLOUDTRAIL, Format::K8S_AUDIT, Format::FALCO] {
        assert!(format.rivals().lines.is_empty(), "{}", format.name());
    }
}

/// A decoder would otherwise have to be told which.
#[test]
fn no_event_is_of_two_formats() {
    for text in FIXTURES.iter() {
        let Some(event) = object(text) else { continue };
        let fitting = Format::all().filter(|format| decode(*format, event).is_some());
        let names: Vec<_> = fitting.map(Format::name).collect();
        assert!(names.len() < 2, "{names:?}: {text}");
    }
}
