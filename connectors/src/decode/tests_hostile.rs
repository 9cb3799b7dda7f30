//! Texts made by somebody who wants to hide an event, to forge one, or to keep the decoder busy.

use serde_json::json;

use super::tests::{decode_with, text};
use super::*;
use datafusion::arrow::array::Array;
use weir_engine::schema::col;

const FLOW: &str = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK";
const HEADER: &str = "version account-id interface-id dstaddr srcaddr dstport srcport protocol packets bytes start end action log-status";

/// A Kubernetes audit event with this body of its request.
fn audit(id: &str, body: &str) -> String {
    format!(
        r#"{{"kind":"Event","auditID":"{id}","stage":"ResponseComplete","verb":"create","requestURI":"/x","stageTimestamp":"2026-01-02T03:04:05Z","requestObject":{body}}}"#
    )
}

fn plain(id: &str) -> String {
    audit(id, "{}")
}

fn decode(texts: &[&str]) -> EventBatch {
    let texts: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
    decode_with(DecoderConfig::new("log"), &texts)
}

/// The client's ids of the rows.
fn ids(batch: &EventBatch) -> Vec<String> {
    let rows = 0..batch.events.num_rows();
    rows.map(|row| text(batch, col::API_REQUEST_UID, row))
        .collect()
}

#[test]
fn a_line_hides_no_event_on_another_line() {
    for line in ["\"x\"", ": x", ",\"x\"", "\"a\":1", "x", "}", "]"] {
        let lines = format!("{}\n{line}\n{}\n{}", plain("1"), plain("2"), plain("3"));
        let in_a_string = json!({"message": lines}).to_string();
        for record in [lines.as_str(), &in_a_string] {
            let batch = decode(&[record]);
            assert_eq!(ids(&batch), ["1", "2", "3"], "{record}");
        }
    }
}

/// The bracket too many of a text that was written over several lines.
#[test]
fn a_member_on_a_later_line_belongs_to_a_value_of_several_lines() {
    let event = plain("1").replace(",\"verb\"", "},\n\"verb\"");
    let event = event.replace(",\"stage\"", ",\n\"stage\"");
    let batch = decode(&[&event]);
    assert_eq!(ids(&batch), Vec::<String>::new(), "{event}");
    assert_eq!(batch.counts.read, 1);
}

#[test]
fn lines_of_a_log_behind_a_torn_text_are_read() {
    let cri = format!("2026-01-02T03:04:05.2Z stdout F {}", plain("9"));
    let syslog = format!("<13>Oct  9 22:14:15 host app[77]: {}", plain("9"));
    let tunnel = "2026-01-02T03:04:06.5Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.5:45000 src.workload=\"a\" dst.addr=10.0.0.6:15008 dst.hbone_addr=10.0.0.6:80 direction=\"outbound\" bytes_sent=1 bytes_recv=2 duration=\"3ms\"";
    for line in [FLOW, cri.as_str(), &syslog, tunnel] {
        for torn in [
            "{\"x\":1",
            "{\"x\":\"1",
            "[{\"a\":",
            "{\"Records\":[{\"eventName\":\"n\"",
        ] {
            let lines = format!("{torn}\n{}", [line; 10].join("\n"));
            let in_a_string = json!({"message": lines}).to_string();
            for record in [lines.as_str(), &in_a_string] {
                let batch = decode(&[record]);
                assert_eq!(batch.events.num_rows(), 10, "{record}");
                assert_eq!(batch.counts.read, 11, "{record}");
            }
        }
    }
}

#[test]
fn lines_of_a_runtime_behind_a_broken_one_are_read() {
    let line = |event: &str| format!("2026-01-02T03:04:05.2Z stdout F {event}\n");
    let mut lines = line("{\"kind\":\"Event\",\"auditID\":oops}");
    (0..5).for_each(|n| lines += &line(&plain(&n.to_string())));
    let batch = decode(&[&json!({"message": lines}).to_string()]);
    assert_eq!(ids(&batch), ["0", "1", "2", "3", "4"]);
    assert_eq!(batch.dead_letters.len(), 1);
}

/// An array of events, of which some are put in place of others.
fn array(count: usize, others: &[(usize, String)]) -> String {
    let mut events: Vec<_> = (0..count).map(|n| plain(&n.to_string())).collect();
    for (at, other) in others {
        events[*at] = other.clone();
    }
    format!("{{\"items\":[{}]}}", events.join(","))
}

#[test]
fn an_event_inside_a_request_replaces_no_event() {
    let body = format!("{{\"spec\":[1,{}]}}", plain("forged"));
    let cut = plain("3")[..60].to_owned();
    for last in [4, 5] {
        let delivery = array(last, &[(1, audit("1", &body)), (3, cut.clone())]);
        let batch = decode(&[&delivery]);
        let expected = (0..last).filter(|n| *n != 3).map(|n| n.to_string());
        assert_eq!(ids(&batch), expected.collect::<Vec<_>>(), "{delivery}");
    }
}

#[test]
fn a_deep_event_costs_its_neighbours_nothing() {
    let cut = plain("2")[..60].to_owned();
    for (open, close) in [("{\"a\":", "}"), ("[{\"a\":", "}]"), ("[", "]")] {
        let deep = format!("{}1{}", open.repeat(3_000), close.repeat(3_000));
        let sound = array(200, &[(2, cut.clone()), (4, audit("4", &deep))]);
        let batch = decode(&[&sound]);
        assert_eq!(
            (batch.events.num_rows(), batch.counts.read),
            (199, 200),
            "{open}"
        );
        let torn = audit("4", &deep).replace("\"auditID\":\"4\"", "\"auditID\":4x");
        let broken = array(200, &[(4, torn)]);
        let batch = decode(&[&broken]);
        assert_eq!(
            (batch.events.num_rows(), batch.counts.read),
            (199, 200),
            "{open}"
        );
    }
}

#[test]
fn a_header_holds_for_the_text_that_it_stands_in() {
    let flow = json!({"message": FLOW}).to_string();
    let header = json!({"message": HEADER, "kubernetes": {"pod_name": "p"}}).to_string();
    let sources = |batch: &EventBatch| {
        let rows = 0..batch.events.num_rows();
        rows.map(|row| text(batch, col::SRC_IP, row))
            .collect::<Vec<_>>()
    };
    assert_eq!(sources(&decode(&[&flow, &header, &flow])), ["10.0.0.5"; 2]);
    let both = json!({"message": format!("{HEADER}\n{FLOW}")}).to_string();
    assert_eq!(
        sources(&decode(&[&both, &flow])),
        ["203.0.113.7", "10.0.0.5"]
    );
    // Lines of one file, and messages of a topic.
    assert_eq!(sources(&decode(&[HEADER, FLOW])), ["203.0.113.7"]);
    let with = |headers_last: bool, columns: Option<&str>| {
        let config = DecoderConfig {
            headers_last,
            columns: columns.map(Into::into),
            ..DecoderConfig::new("log")
        };
        sources(&decode_with(config, &[HEADER.as_bytes(), FLOW.as_bytes()]))
    };
    assert_eq!(with(false, None), ["10.0.0.5"]);
    // What the operator says holds.
    let columns = HEADER
        .replace("dst", "x")
        .replace("src", "dst")
        .replace("x", "src");
    assert_eq!(with(true, Some(&columns)), ["10.0.0.5"]);
}

/// Each level is broken, and each was read again for it.
#[test]
fn broken_texts_inside_of_broken_texts_are_read_in_bounded_time() {
    let lines = vec![FLOW; 2_000].join("\n");
    let mut record = lines.clone();
    for _ in 0..6 {
        record = json!({"message": record}).to_string() + ",";
    }
    let batch = decode(&[&record]);
    assert_eq!(batch.events.num_rows(), 2_000);
    assert_eq!(batch.counts.read, 2_000);
    let mut record = lines;
    for _ in 0..6 {
        record = json!({"message": record}).to_string() + ",\"x\":";
    }
    let batch = decode(&[&record, FLOW]);
    assert!(batch.events.num_rows() >= 1);
}

/// Rows that are marked are found among many marks.
#[test]
fn many_characters_that_are_none_cost_the_others_nothing() {
    let bad = [&b"{\"message\":\""[..], &[0xFF; 100_000], b"\"}"].concat();
    let events: Vec<_> = (0..20_000).map(|n| plain(&n.to_string())).collect();
    let record = [events.join("\n").as_bytes(), b"\n", &bad].concat();
    let batch = decode_with(DecoderConfig::new("log"), &[&record]);
    assert_eq!(batch.events.num_rows(), 20_000);
    assert_eq!(batch.events.column(col::RAW_REPAIRED).null_count(), 20_000);
}
