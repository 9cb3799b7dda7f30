//! What forwarders put around events.

use serde_json::json;

use super::tests::{decode_with, text};
use super::*;
use weir_engine::schema::col;

const EVENT: &str = r#"{"kind":"Event","auditID":"a","stage":"ResponseComplete","verb":"get","requestURI":"/x","stageTimestamp":"2026-01-02T03:04:05Z"}"#;
const FLOW: &str = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK";
const NO_DATA: &str = "2 111122223333 eni-0a1 - - - - - - - 1767322800 1767322860 - NODATA";

fn decode(lines: &[&str]) -> EventBatch {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    decode_with(DecoderConfig::new("log"), &lines)
}

/// The ways in which a line reaches a log store.
fn wrapped(line: &str) -> Vec<String> {
    let cri = format!("2026-01-02T03:04:05.2Z stdout F {line}");
    let mut all = vec![
        line.to_owned(),
        format!("{line}\n"),
        cri.clone(),
        format!("<13>Oct  9 22:14:15 host app[77]: {line}"),
        format!("<13>1 2026-01-02T03:04:05Z host app 77 - - {line}"),
        format!("2026-01-02T03:04:05+00:00 host app: {line}"),
        json!(line).to_string(),
    ];
    for text in [line.to_owned(), format!("{line}\n"), cri] {
        all.extend([
            json!({"log": text, "stream": "stdout", "time": "2026-01-02T03:04:05Z"}).to_string(),
            json!({"date": 1.5, "log": text, "kubernetes": {"pod_name": "p", "labels": {}}}).to_string(),
            json!({"file": "/var/log/x", "host": "n", "message": text, "source_type": "file", "timestamp": "2026-01-02T03:04:05Z"}).to_string(),
            json!({"@timestamp": "2026-01-02T03:04:05Z", "@version": "1", "event": {"original": text}, "message": text, "host": {"name": "n"}}).to_string(),
            json!({"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": [{"id": "1", "timestamp": 1, "message": text}]}).to_string(),
            json!({"event": text, "sourcetype": "s", "time": 1.0}).to_string(),
            json!({"schema": {"type": "string"}, "payload": text}).to_string(),
            json!({"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": text}}]}]}]}).to_string(),
            json!({"hits": {"hits": [{"_index": "i", "_source": {"message": text}}]}}).to_string(),
            json!({"textPayload": text, "insertId": "i", "resource": {"type": "k8s_container"}, "timestamp": "2026-01-02T03:04:05Z"}).to_string(),
            json!({"MESSAGE": text, "_SYSTEMD_UNIT": "u"}).to_string(),
            json!([text]).to_string(),
        ]);
    }
    all
}

#[test]
fn a_line_is_the_same_event_whatever_is_around_it() {
    let access = "[2026-01-02T03:04:05.000Z] \"GET /a HTTP/1.1\" 403 - via_upstream - \"-\" 0 19 15 - \"203.0.113.7\" \"curl/8\" \"9fcc0001-0000-4000-8000-000000000001\" \"reviews:9080\" \"-\" inbound|9080|| - 10.0.0.5:9080 203.0.113.7:50000 outbound_.9080_._.reviews.default.svc.cluster.local default";
    for line in [EVENT, FLOW, access] {
        for record in wrapped(line) {
            let batch = decode(&[&record]);
            assert_eq!(batch.dead_letters, [], "{record}");
            assert_eq!(batch.events.num_rows(), 1, "{record}");
            assert_eq!(text(&batch, col::RAW, 0), line, "{record}");
        }
    }
    for record in wrapped(NO_DATA) {
        let counts = decode(&[&record]).counts;
        assert_eq!((counts.read, counts.filtered), (1, 1), "{record}");
    }
}

#[test]
fn what_is_no_event_is_one_dead_letter_that_says_what_is_inside() {
    for record in wrapped("Falco initialized with configuration files") {
        let batch = decode(&[&record, EVENT]);
        assert_eq!(batch.events.num_rows(), 1, "{record}");
        assert_eq!(
            batch.counts.dead_lettered, 1,
            "{record}: {:?}",
            batch.dead_letters
        );
    }
}

#[test]
fn a_line_that_a_runtime_cut_is_put_together() {
    let (one, two) = EVENT.split_at(40);
    let (two, three) = two.split_at(30);
    let cri =
        |stream: &str, tag: &str, text: &str| format!("2026-01-02T03:04:05Z {stream} {tag} {text}");
    let docker = |text: &str| json!({"log": text, "stream": "stdout", "time": "t"}).to_string();
    let lines = [
        cri("stdout", "P", one),
        cri("stderr", "P", FLOW),
        cri("stdout", "P", two),
        cri("stderr", "F", ""),
        cri("stdout", "F", three),
        cri("stdout", "F", EVENT),
        docker(one),
        docker(two),
        docker(&format!("{three}\n")),
        docker(&format!("{EVENT}\n")),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let batch = decode(&lines);
    assert_eq!(batch.dead_letters, []);
    assert_eq!(batch.counts.read, 5);
    let raws: Vec<_> = (0..5).map(|row| text(&batch, col::RAW, row)).collect();
    assert_eq!(raws, [FLOW, EVENT, EVENT, EVENT, EVENT]);
}

#[test]
fn control_messages_of_a_log_service_are_left_out() {
    let line = json!({"messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logEvents": [{"id": "", "timestamp": 1, "message": "CWL CONTROL MESSAGE: Checking health of destination Firehose."}]});
    let counts = decode(&[&line.to_string()]).counts;
    assert_eq!((counts.read, counts.filtered), (1, 1));
}

#[test]
fn a_header_holds_for_its_own_partition() {
    let header = "version interface-id start end srcaddr dstaddr action";
    let line = "7 eni-1 1767322800 1767322860 10.0.0.1 10.0.0.2 ACCEPT";
    let mut decoder = Decoder::new(DecoderConfig::new("log"));
    let mut decode = |name: &str, text: &str| {
        let record = Record {
            range: 0..text.len(),
            position: 0,
        };
        let (partition, block) = (Partition::new("s", name), Buffer::from(text.as_bytes()));
        let batch = decoder.decode(&partition, block, &[record], 1).unwrap();
        batch.events.num_rows()
    };
    assert_eq!(decode("a", &format!("{header}\n{line}")), 1);
    assert_eq!(decode("b", line), 0);
    assert_eq!(decode("a", line), 1);
}
