//! What counts in envelopes: events once, and what is none once.

use std::io::Write;

use base64::Engine;
use serde_json::{Value, json};

use super::tests::{decode_with, marked, text};
use super::*;
use weir_engine::schema::col;

fn decode(lines: &[&str]) -> EventBatch {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    decode_with(DecoderConfig::new("log"), &lines)
}

fn audit(id: &str) -> Value {
    json!({"kind": "Event", "auditID": id, "stage": "Panic", "verb": "get", "requestURI": "/x", "stageTimestamp": "2026-01-02T03:04:05Z"})
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_member_that_is_no_event_does_not_hide_the_one_that_is() {
    let event = audit("a");
    for useless in [
        json!("one"),
        json!("one\ntwo"),
        json!("[1,2]"),
        json!("[]"),
        json!({"a": "b"}),
        json!({"Records": [1, 2]}),
    ] {
        for record in [
            json!({"message": useless, "event": event}),
            json!({"log": useless, "message": useless, "event": event.to_string()}),
            json!({"message": useless, "payload": useless, "detail": {"records": [event]}}),
            json!({"event": event, "message": useless}),
        ] {
            let batch = decode(&[&record.to_string()]);
            assert_eq!(batch.dead_letters, [], "{record}");
            assert_eq!(
                (batch.counts.read, batch.counts.processed),
                (1, 1),
                "{record}"
            );
        }
    }
}

#[test]
fn what_cannot_be_an_event_is_counted_once() {
    for (record, count) in [
        (json!([1, 2, 3, 4, 5, 6, 7]), 7),
        (json!([1, audit("a"), 2]), 3),
        (json!({"records": [1, 2], "value": []}), 2),
        (json!({"value": [], "records": [1, 2]}), 2),
        // An object that has numbers of its own.
        (json!({"value": [1, 2, 3], "name": "x"}), 1),
        (json!({"message": "one\ntwo"}), 2),
        (json!({"message": "one\ntwo", "event": "three"}), 2),
        (json!({"message": "one", "event": "two"}), 1),
        (json!({"records": []}), 0),
    ] {
        let batch = decode(&[&record.to_string()]);
        assert_eq!(
            batch.counts.read, count,
            "{record}: {:?}",
            batch.dead_letters
        );
    }
}

#[test]
fn letters_of_unknown_tables_name_the_table() {
    for (record, detail) in [
        (
            json!({"Type": "SecretTable_CL", "TimeGenerated": "x"}),
            "Type is `SecretTable_CL`",
        ),
        (
            json!({"records": [{"category": "AdvancedHunting-New", "properties": {}}]}),
            "category is `AdvancedHunting-New`",
        ),
        (json!({"TableName": "T"}), "TableName is `T`"),
    ] {
        let batch = decode(&[&record.to_string()]);
        let letter = &batch.dead_letters[0].detail;
        assert!(letter.contains(detail), "{letter}");
    }
}

fn athena(parameters: &str) -> Value {
    json!({
        "eventversion": "1.08", "eventtime": "2026-01-02T03:04:05Z", "eventsource": "iam.amazonaws.com", "eventname": "CreateUser",
        "useragent": "AGENT", "eventid": "i", "requestparameters": parameters, "addendum": null, "account": "1", "day": "2026",
        "additionaleventdata": null, "apiversion": null, "awsregion": "us-east-1", "errorcode": null, "errormessage": null,
        "eventcategory": "Management", "recipientaccountid": "1", "requestid": "r", "resources": null,
    })
}

#[test]
fn rows_of_a_database_are_events_whatever_stands_in_them() {
    let plain = "{\"userName\":\"eve\"}";
    let row = athena(plain).to_string();
    let sorted: std::collections::BTreeMap<_, _> = athena(plain)
        .as_object()
        .unwrap()
        .clone()
        .into_iter()
        .collect();
    let sorted = serde_json::to_string(&sorted).unwrap();
    let half = row.replace("AGENT", "x\\ud800");
    let half_inside = athena(r#"{"userName":"eve","x":"\ud800"}"#).to_string();
    let deep = format!("{}1{}", "{\"a\":".repeat(140), "}".repeat(140));
    let deep = athena(&format!("{{\"userName\":\"eve\",\"x\":{deep}}}")).to_string();
    let number = athena("{\"userName\":\"eve\",\"x\":12345678901234567890123}").to_string();
    let bad = athena("{a={b").to_string();
    let batch = decode(&[&row, &sorted, &half, &half_inside, &deep, &number, &bad]);
    assert_eq!(batch.dead_letters, []);
    assert_eq!(batch.events.num_rows(), 7);
    assert_eq!(marked(&batch, col::RAW_REPAIRED), [2, 3, 6]);
    assert_eq!(marked(&batch, col::RAW_TRUNCATED), [4]);
    for row in 0..7 {
        let raw = text(&batch, col::RAW, row);
        assert_eq!(text(&batch, col::API_OPERATION, row), "CreateUser");
        assert!(
            row == 6 || raw.contains("\"requestParameters\":{\"userName\":\"eve\""),
            "{raw}"
        );
    }
    assert!(text(&batch, col::RAW, 5).contains("12345678901234567890123"));
}

#[test]
fn rows_of_a_database_cost_time_by_their_length() {
    let started = std::time::Instant::now();
    for text in [
        "[".repeat(200_000),
        format!("{{a={}!=}}", "{a=, a=".repeat(40)),
        format!("{{a={}", "\", \"".repeat(100_000)),
    ] {
        let batch = decode(&[&athena(&text).to_string(), &audit("after").to_string()]);
        assert_eq!(batch.events.num_rows(), 2);
        assert_eq!(marked(&batch, col::RAW_REPAIRED), [0]);
    }
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn an_audit_event_of_a_cluster_is_told_behind_blanks() {
    let line = |log: String| {
        json!({"time": "2026-01-02T03:04:05Z", "category": "kube-audit", "properties": {"log": log, "pod": "p"}}).to_string()
    };
    for before in ["", "\n", "\u{feff}", "\0\0", "\n \u{feff}\0\t"] {
        let batch = decode(&[&line(format!("{before}{}", audit("a")))]);
        assert_eq!(batch.events.num_rows(), 1, "{before:?}");
    }
    let counts = decode(&[&line("\nI1014 a line of its own".to_owned())]).counts;
    assert_eq!((counts.read, counts.filtered), (1, 1));
}

#[test]
fn events_of_a_damaged_member_are_marked_and_the_rest_is_estimated() {
    let lines = |from: u64| -> String {
        let ids = (from..from + 500).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        ids.map(|id| format!("{}\n", audit(&id.to_string())))
            .collect()
    };
    let (one, two) = (gzip(lines(0).as_bytes()), gzip(lines(1000).as_bytes()));
    let cut = one.len() / 2;
    let packed = [&one[..cut], &two].concat();
    let whole: Vec<_> = [lines(0), lines(1000)]
        .concat()
        .lines()
        .map(str::to_owned)
        .collect();
    let wrapped = json!({"data": base64(&packed)}).to_string();
    for record in [packed.as_slice(), wrapped.as_bytes()] {
        let batch = decode_with(DecoderConfig::new("log"), &[record]);
        let rows = batch.events.num_rows();
        let raws: Vec<_> = (0..rows).map(|row| text(&batch, col::RAW, row)).collect();
        assert!(raws.iter().all(|raw| whole.contains(raw)));
        let sound = rows - 500;
        assert!((200..300).contains(&sound), "{rows}");
        let expected: Vec<_> = (0..sound).collect();
        assert_eq!(marked(&batch, col::RAW_REPAIRED), expected);
    }
    // Of a member that lies in the record half of it is lost.
    let mut broken = one.clone();
    broken.splice(cut..cut + 64, [0xFF; 64]);
    let batch = decode_with(DecoderConfig::new("log"), &[&broken]);
    let all = batch.counts.read;
    assert!((400..700).contains(&all), "{:?}", batch.counts);
}

#[test]
fn a_record_with_all_that_lies_in_it_has_one_limit() {
    let config = DecoderConfig {
        max_envelope_bytes: 100_000,
        ..DecoderConfig::new("log")
    };
    let lines = format!("{}\n", audit("a")).repeat(500);
    let blob = json!({"data": base64(&gzip(lines.as_bytes()))});
    let records = json!({"Records": vec![blob; 10]}).to_string();
    let batch = decode_with(
        config.clone(),
        &[records.as_bytes(), audit("b").to_string().as_bytes()],
    );
    let most = 100_000 / (lines.len() / 500) + 2;
    assert!(
        batch.events.num_rows() <= most,
        "{}",
        batch.events.num_rows()
    );
    let letters = batch.dead_letters.iter();
    assert!(
        letters
            .filter(|letter| letter.reason == "too_large")
            .count()
            >= 8
    );
    assert!(batch.counts.read >= 4000, "{:?}", batch.counts);
    // The limit is that of one record.
    let one = json!({"data": base64(&gzip(&lines.as_bytes()[..lines.len() / 2]))}).to_string();
    let batch = decode_with(config, &[one.as_bytes(); 5]);
    assert_eq!(batch.events.num_rows(), 5 * 250);
}
