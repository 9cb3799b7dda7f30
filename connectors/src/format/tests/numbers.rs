//! JSON has one kind of number: however a forwarder writes one, the row is the same.

use serde_json::Value;
use weir_engine::schema::{COLUMNS, Kind};

use super::golden::fixtures;
use crate::decode::DecoderConfig;
use crate::decode::tests::{decode_with, row};
use crate::json;

/// Where the numbers of a JSON text stand, those in strings left out.
fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut quoted) = (vec![], 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let start = at;
                while at < bytes.len() && !matches!(bytes[at], b',' | b'}' | b']' | b' ') {
                    at += 1;
                }
                found.push(start..at);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Other spellings of a number, and whether each keeps its text: `"7.0"` in quotes may be a version, which is not 7.
fn spellings(number: &str) -> Vec<(String, bool)> {
    let Some(value) = json::int(number.as_bytes()) else {
        let (whole, fraction) = number.split_once('.').unwrap();
        let exponent = format!("{whole}{fraction}e-{}", fraction.len());
        return vec![(format!("\"{number}\""), true), (exponent, false)];
    };
    let text = value.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", &*text),
    };
    let tenth = if value == 0 {
        "0e-1".to_owned()
    } else {
        format!("{value}0e-1")
    };
    let (first, rest) = digits.split_at(1);
    let exponent = match rest {
        "" => format!("{sign}{first}e0"),
        rest => format!("{sign}{first}.{rest}E+{}", rest.len()),
    };
    vec![
        (format!("{value}.0"), true),
        (format!("{value}.000000"), true),
        (tenth, true),
        (format!("\"{value}\""), true),
        (format!("\"{value}.0\""), false),
        (format!("\"{exponent}\""), false),
        (exponent, true),
    ]
}

/// JSON in a column stands as the vendor wrote it; its numbers are compared by value.
fn by_value(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(['[', '{']) => {
            serde_json::from_str(text).map_or(value.clone(), |inner: Value| by_value(&inner))
        }
        Value::Array(items) => items.iter().map(by_value).collect(),
        Value::Object(map) => {
            let members = map.iter();
            Value::Object(
                members
                    .map(|(key, one)| (key.clone(), by_value(one)))
                    .collect(),
            )
        }
        Value::Number(number) => {
            let text = number.to_string();
            Value::String(json::plain(text.as_bytes()).unwrap_or(text))
        }
        other => other.clone(),
    }
}

/// The rows of a line without ids that are hashes of the content; without texts, too, if these may differ.
fn rows(line: &str, texts: bool) -> Vec<Value> {
    let batch = decode_with(DecoderConfig::new("log"), &[line.as_bytes()]);
    let rows = (0..batch.events.num_rows()).map(|at| {
        let mut row = row(&batch, at);
        let columns = row.as_object_mut().unwrap();
        columns.retain(|name, value| {
            let column = COLUMNS.iter().find(|column| column.name == name).unwrap();
            let uid = value.as_str().unwrap_or_default();
            let is_hash = uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit());
            !(name == "event_uid" && is_hash)
                && (texts || column.kind != Kind::Text || name == "status")
        });
        columns
            .values_mut()
            .for_each(|value| *value = by_value(value));
        row
    });
    rows.collect()
}

/// Fixtures of programs that set texts from numbers as they are written.
const NOT_YET: &[&str] = &["falco.ndjson", "k8s_audit.ndjson"];

#[test]
fn a_number_is_the_same_in_all_its_spellings() {
    let (mut differ, mut tried) = (vec![], 0);
    for (path, _) in fixtures() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text
            .lines()
            .filter(|_| name.ends_with(".ndjson") && !NOT_YET.contains(&&*name))
        {
            for place in numbers(line) {
                for (spelling, texts) in spellings(&line[place.clone()]) {
                    let (before, behind) = (&line[..place.start], &line[place.end..]);
                    let other = rows(&format!("{before}{spelling}{behind}"), texts);
                    tried += 1;
                    let own = rows(line, texts);
                    if other == own {
                        continue;
                    }
                    let start = before.len().saturating_sub(40);
                    let start = (start..).find(|at| before.is_char_boundary(*at)).unwrap();
                    differ.push(format!(
                        "{name}: …{}{spelling}: {other:?}",
                        &before[start..]
                    ));
                }
            }
        }
    }
    assert!(tried > 500, "{tried}");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn spellings_are_of_one_value() {
    for number in ["0", "7", "-5", "403", "1767323045123", "52.5"] {
        for (spelling, _) in spellings(number) {
            let value: f64 = spelling.trim_matches('"').parse().unwrap();
            assert_eq!(value, number.parse::<f64>().unwrap(), "{spelling}");
        }
    }
    assert_eq!(numbers(r#"{"a\"1":[1,-2.5],"b":"3","c":4}"#).len(), 3);
}
