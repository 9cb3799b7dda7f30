#![allow(clippy::unwrap_used)]

use std::path::{Path as FilePath, PathBuf};
use std::sync::LazyLock;

use datafusion::arrow::buffer::Buffer;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use weir_engine::batch::{Counts, EventBatch, Partition};
use weir_engine::builder::EventBuilder;
use weir_engine::schema::{COLUMNS, Kind, col, index_of};

use super::custom::{CustomMapping, Description, Source};
use super::{Mapping, slow};
use crate::decode::tests::{decode_with, row as row_of};
use crate::decode::{DecoderConfig, FormatChoice};
use crate::format::tests::golden::fixtures;
use crate::format::{Decoded, Format, Labels, MAPPINGS, Row, Stop};
use crate::json::Scanner;

#[test]
fn built_in_tables_fit_the_schema() {
    for mapping in MAPPINGS {
        assert!(super::Compiled::new(mapping).is_ok(), "{}", mapping.name);
        for (path, column, how) in mapping.fields {
            let (given, wanted) = (how.kind(), COLUMNS[*column].kind);
            assert_eq!(given, wanted, "{}: {path}", mapping.name);
        }
    }
}

/// A mapping of which the fast decoder reads nothing but the table: its `finish` and arrays taken out.
fn table_only(mapping: &Mapping<'static>) -> Option<CustomMapping> {
    let plain = Mapping {
        finish: None,
        ..*mapping
    };
    mapping.inside.is_empty().then(|| CustomMapping::of(&plain))
}

/// The row that the fast decoder makes of one object; nothing if it is no event of the format.
fn fast(mapping: &CustomMapping, text: &str) -> Option<Map<String, Value>> {
    let config = DecoderConfig::new("log");
    let mut builder = EventBuilder::with_capacity(Buffer::from(text.as_bytes()), 1);
    let labels = Labels::new(&mut builder, &config);
    builder.begin_in(text, 0);
    let (mut scratch, mut found) = (vec![], vec![]);
    let mut row = Row {
        builder: &mut builder,
        labels: &labels,
        in_block: true,
        scratch: &mut scratch,
    };
    let mut s = Scanner::new(text.as_bytes(), 0, 64);
    match mapping.tree().decode(&mut s, &mut row, &mut found) {
        Ok(Decoded::Row) => {}
        Ok(_) | Err(Stop::Event(_)) => return None,
        Err(other) => panic!("{other:?}"),
    }
    for column in [
        col::EVENT_UID,
        col::FAMILY,
        col::PRODUCT,
        col::LOG_NAME,
        col::RAW,
    ] {
        builder.text(column, UNSET);
    }
    builder.keep();
    let batch = EventBatch {
        partition: Partition::new("test", "one"),
        next: 0,
        counts: Counts::default(),
        dead_letters: vec![],
        events: builder.finish().unwrap(),
    };
    let Value::Object(mut row) = row_of(&batch, 0) else {
        panic!("a row is an object");
    };
    row.retain(|_, value| value != UNSET);
    Some(row)
}

/// What no table sets.
const UNSET: &str = "\u{1}unset";

/// Every mapping without what is no table.
static PLAIN: LazyLock<Vec<Option<CustomMapping>>> =
    LazyLock::new(|| MAPPINGS.iter().map(|mapping| table_only(mapping)).collect());

static FIXTURES: LazyLock<Vec<Value>> = LazyLock::new(of_fixtures);

/// Both decoders over one object, in every format.
fn compare(value: &Value) -> usize {
    let text = value.to_string();
    let value: Value = serde_json::from_str(&text).unwrap();
    let mut met = 0;
    for (mapping, plain) in MAPPINGS.iter().zip(&*PLAIN) {
        let Some(plain) = plain else { continue };
        let mut expected = slow::fields(mapping, &value);
        let is_event = slow::is_met(mapping, &value) && expected.contains_key("time");
        let actual = fast(plain, &text);
        assert_eq!(actual.is_some(), is_event, "{}: {text}", mapping.name);
        let Some(mut actual) = actual else { continue };
        met += 1;
        if mapping.class > 0 {
            expected.entry("class_uid").or_insert(json!(mapping.class));
        }
        // JSON is kept as it stands.
        for (name, value) in &expected {
            if value.is_object() || value.is_array() {
                let text = actual[name].as_str().unwrap();
                actual.insert(name.clone(), serde_json::from_str(text).unwrap());
            }
        }
        assert_eq!(
            Value::Object(actual),
            Value::Object(expected),
            "{}: {text}",
            mapping.name
        );
    }
    met
}

/// Every object in a document, at any depth that envelopes have, also in strings.
fn objects(value: &Value, depth: usize, into: &mut Vec<Value>) {
    match value {
        Value::Object(map) => {
            into.push(value.clone());
            if depth > 0 {
                map.values()
                    .for_each(|inner| objects(inner, depth - 1, into));
            }
        }
        Value::Array(items) if depth > 0 => {
            items
                .iter()
                .for_each(|inner| objects(inner, depth - 1, into));
        }
        Value::String(text) if text.starts_with('{') => {
            if let Ok(inner) = serde_json::from_str(text) {
                objects(&inner, 0, into);
            }
        }
        _ => {}
    }
}

fn documents(text: &str, into: &mut Vec<Value>) {
    for line in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let Ok(line) = line else { return };
        objects(&line, 3, into);
    }
}

fn of_fixtures() -> Vec<Value> {
    let mut found = vec![];
    for (path, _) in fixtures() {
        documents(&std::fs::read_to_string(path).unwrap(), &mut found);
    }
    found
}

#[test]
fn fast_and_slow_agree_on_fixtures() {
    let met: usize = of_fixtures().iter().map(compare).sum();
    assert!(met > 20, "{met}");
}

fn files(folder: &FilePath, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, into),
            false => into.push(path),
        }
    }
}

#[test]
fn fast_and_slow_agree_on_real_logs() {
    let default = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("WEIR_SHARED_DATA").map_or(default, PathBuf::from);
    if !folder.is_dir() {
        return eprintln!("SKIPPED: no sample data in {}", folder.display());
    }
    let (mut paths, mut met) = (vec![], 0);
    for name in [
        "guardduty",
        "gcp_audit",
        "azure_activity",
        "okta",
        "github",
        "tetragon",
        "vpcflow",
    ] {
        files(&folder.join(name), &mut paths);
    }
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let mut found = vec![];
        documents(text.trim_start_matches('\u{FEFF}'), &mut found);
        met += found.iter().map(compare).sum::<usize>();
    }
    assert!(met > 250, "{met}");
}

/// Puts `value` at the place that `picks` lead to.
fn mutate(at: &mut Value, picks: &[usize], value: &Value) {
    let Some((pick, picks)) = picks.split_first() else {
        *at = value.clone();
        return;
    };
    match at {
        Value::Object(map) if !map.is_empty() => {
            let index = pick % map.len();
            let (_, inner) = map.iter_mut().nth(index).unwrap();
            mutate(inner, picks, value);
        }
        Value::Array(items) if !items.is_empty() => {
            let index = pick % items.len();
            mutate(&mut items[index], picks, value);
        }
        other => *other = value.clone(),
    }
}

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!("-")),
        Just(json!("null")),
        Just(json!("None")),
        Just(json!({})),
        Just(json!([])),
        Just(json!({"value": "x", "code": 7})),
        Just(json!([{"id": "a"}, 5, null])),
        Just(json!(["a", "b\"c"])),
        Just(json!(true)),
        Just(json!("false")),
        Just(json!("2001:DB8::1")),
        Just(json!("[2001:db8::1]:443")),
        Just(json!("10.0.0.1:99999")),
        Just(json!("2026-01-02T03:04:05.123456789+01:00")),
        Just(json!("2026-13-02T03:04:05Z")),
        Just(json!("escaped \" \\ \u{e9} \u{1F600} \n")),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u32>().prop_map(|number| json!(f64::from(number) / 4.0)),
        any::<String>().prop_map(|text| json!(text)),
        (1_500_000_000i64..1_900_000_000).prop_map(|second| json!(second.to_string())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fast_and_slow_agree_on_mutated_events(
        pick in any::<usize>(),
        changes in prop::collection::vec((prop::collection::vec(any::<usize>(), 1..5), odd()), 1..6),
    ) {
        let mut event = FIXTURES[pick % FIXTURES.len()].clone();
        for (picks, value) in &changes {
            mutate(&mut event, picks, value);
        }
        prop_assume!(event.is_object());
        compare(&event);
    }
}

fn source(path: &str, how: Option<&str>) -> Source {
    Source {
        path: path.into(),
        how: how.map(Into::into),
    }
}

fn description() -> Description {
    Description {
        product: "Shop".into(),
        family: "identity".into(),
        class: 3002,
        required: vec!["when".into(), "user.id".into()],
        uid: vec!["id".into(), "attempt".into()],
        columns: vec![
            ("time".into(), vec![source("when", None)]),
            ("actor_user_uid".into(), vec![source("user.id", None)]),
            (
                "src_endpoint_ip".into(),
                vec![source("ip", None), source("hops[-1].addr", Some("host_of"))],
            ),
            ("status".into(), vec![source("result", Some("status"))]),
            (
                "severity_id".into(),
                vec![source("\"sev.word\"", Some("severity"))],
            ),
            (
                "actor_user_groups".into(),
                vec![source("user.groups", Some("json"))],
            ),
        ],
    }
}

#[test]
fn a_mapping_of_ones_own() {
    let mapping = CustomMapping::new(&description()).unwrap();
    let event = json!({"when": 1767323045.5, "id": "a", "attempt": 2, "user": {"id": 7, "groups": ["x"]}, "ip": "-",
        "hops": [{"addr": "192.0.2.1:1"}, {"addr": "203.0.113.7:443"}], "result": "FAILED", "sev.word": "High"});
    let expected = json!({
        "time": 1_767_323_045_500_000i64, "event_uid": "a/2", "family": "identity",
        "metadata_product_name": "Shop", "class_uid": 3002, "severity_id": 4, "status": "failure",
        "actor_user_uid": "7", "actor_user_groups": "[\"x\"]", "src_endpoint_ip": "203.0.113.7",
    });
    let config = DecoderConfig {
        format: FormatChoice::Custom,
        mapping: Some(mapping),
        ..DecoderConfig::new("log")
    };
    let other = json!({"when": "2026-01-02T03:04:05Z", "user": {}});
    let envelope = json!({"Records": [event, event]});
    let lines = [other.to_string(), event.to_string(), envelope.to_string()];
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let batch = decode_with(config, &lines);
    assert_eq!((batch.events.num_rows(), batch.dead_letters.len()), (3, 1));
    assert_eq!(row_of(&batch, 0), expected);
    let letter = &batch.dead_letters[0];
    assert_eq!(letter.reason, "missing_field");
    assert!(letter.detail.contains("when, user.id"), "{}", letter.detail);
}

#[test]
fn a_bad_mapping_says_what_is_wrong() {
    type Change = fn(&mut Description);
    let cases: [(Change, &str); 10] = [
        (|d| d.product.clear(), "needs a product"),
        (
            |d| d.family = "cloud".into(),
            "family `cloud` is unknown; there are cloud_audit",
        ),
        (
            |d| d.columns[1].0 = "actor".into(),
            "column `actor` is unknown",
        ),
        (
            |d| d.columns[1].0 = "raw".into(),
            "column `raw` cannot be mapped",
        ),
        (|d| d.columns[1].1.clear(), "has no path"),
        (
            |d| d.columns[1].1[0].path = "user..id".into(),
            "`user..id` is no path",
        ),
        (
            |d| d.columns[1].1[0].how = Some("upper".into()),
            "`as = \"upper\"` is unknown",
        ),
        (
            |d| d.columns[1].1[0].how = Some("int".into()),
            "holds Text values",
        ),
        (|d| drop(d.columns.remove(0)), "which path is the `time`"),
        (|d| d.required.clear(), "`required` is empty"),
    ];
    for (change, what) in cases {
        let mut wrong = description();
        change(&mut wrong);
        let error = CustomMapping::new(&wrong).unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

/// What fills each column, format by format.
fn page() -> String {
    use std::fmt::Write;
    let mut page = include_str!("../../../docs/schema.head.md").to_owned();
    page.push_str("| column | type | what it holds |\n|---|---|---|\n");
    for column in COLUMNS {
        let kind = match column.kind {
            Kind::Text => "text",
            Kind::Int => "integer",
            Kind::Float => "float",
            Kind::Bool => "true or false",
            Kind::Time => "time",
        };
        writeln!(page, "| `{}` | {kind} | {} |", column.name, column.doc).unwrap();
    }
    page.push_str("\n## Formats\n");
    for format in Format::all() {
        let name = format.name();
        writeln!(
            page,
            "\n### {name}\n\n`format = \"{}\"`. Recognised by {}.\n",
            format.source(),
            format.required(None)
        )
        .unwrap();
        let Format::Mapped(place) = format else {
            writeln!(
                page,
                "A decoder of its own: `connectors/src/format/{}.rs`.",
                format.source()
            )
            .unwrap();
            continue;
        };
        table(&mut page, MAPPINGS[place]);
    }
    page
}

fn table(page: &mut String, mapping: &Mapping) {
    use std::fmt::Write;
    if mapping.fields.is_empty() {
        page.push_str("Counted and left out.\n");
        return;
    }
    page.push_str("| column | from |\n|---|---|\n");
    let mut columns: Vec<usize> = mapping
        .fields
        .iter()
        .map(|(_, column, _)| *column)
        .collect();
    columns.sort_unstable();
    columns.dedup();
    if !mapping.uid.is_empty() {
        writeln!(
            page,
            "| `event_uid` | {} |",
            mapping
                .uid
                .iter()
                .map(|path| format!("`{path}`"))
                .collect::<Vec<_>>()
                .join(" / ")
        )
        .unwrap();
    }
    for column in columns {
        let paths = mapping.fields.iter().filter(|(_, one, _)| *one == column);
        let paths: Vec<_> = paths.map(|(path, ..)| format!("`{path}`")).collect();
        writeln!(
            page,
            "| `{}` | {} |",
            COLUMNS[column].name,
            paths.join(", ")
        )
        .unwrap();
    }
    for (path, inner) in mapping.inside {
        writeln!(page, "\nOf each element of `{path}`:\n").unwrap();
        table(page, inner);
    }
}

#[test]
fn the_page_about_the_schema_is_up_to_date() {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.md");
    let page = page();
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/schema.md is old: run with WEIR_UPDATE=1 and commit it"
    );
    assert_eq!(index_of("time"), Some(col::TIME));
}
