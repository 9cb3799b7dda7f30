#![allow(clippy::unwrap_used)]

use std::path::Path as FilePath;

use serde_json::json;
use weir_engine::schema::{COLUMNS, Kind, col, index_of};

use super::LogFormat;
use super::custom::{CustomMapping, Description, Source};
use crate::decode::tests::{decode_with, row as row_of};
use crate::decode::{DecoderConfig, FormatChoice};
use crate::format::{FORMATS, Format};

#[test]
fn built_in_tables_fit_the_schema() {
    for mapping in FORMATS {
        assert!(super::Compiled::new(mapping).is_ok(), "{}", mapping.name);
        for (path, column, how) in mapping.fields {
            let (given, wanted) = (how.kind(), COLUMNS[*column].kind);
            assert_eq!(given, wanted, "{}: {path}", mapping.name);
        }
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
        "time": 1_767_323_045_500_000i64, "event_uid": "a/2/08fc4899466d718b7c3cce3a903df466", "family": "identity",
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
    // The same event in other words, and another one under the same id.
    let copy = event.to_string().replace("\"a\"", " \"\\u0061\"");
    let mut forged = event.clone();
    forged["result"] = json!("ok");
    let lines = [other, event, envelope].map(|line| line.to_string());
    let lines = [lines.as_slice(), &[copy, forged.to_string()]].concat();
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let batch = decode_with(config, &lines);
    assert_eq!((batch.events.num_rows(), batch.dead_letters.len()), (5, 1));
    assert_eq!(row_of(&batch, 0), expected);
    assert_eq!(row_of(&batch, 3), expected);
    assert_ne!(row_of(&batch, 4)["event_uid"], expected["event_uid"]);
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
        let described = format.known().unwrap();
        if matches!(described.read, super::Read::Program(_)) {
            writeln!(
                page,
                "A decoder of its own: `connectors/src/format/{}.rs`.",
                format.source()
            )
            .unwrap();
            continue;
        }
        table(&mut page, described);
    }
    page
}

fn table(page: &mut String, mapping: &LogFormat) {
    use std::fmt::Write;
    if mapping.fields.is_empty() {
        page.push_str(match mapping.name {
            "SPDX document" => "Refused: it lists packages and no findings.\n",
            _ => "Counted and left out.\n",
        });
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
