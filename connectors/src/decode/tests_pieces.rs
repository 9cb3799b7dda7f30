//! Lines that a container runtime cut into pieces.

use serde_json::{Value, json};

use super::tests::text;
use super::*;
use crate::envelope::LEVELS;
use weir_engine::schema::col;

const TIME: &str = "2026-01-02T03:04:05Z";
const FLOW: &str = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK";
const ACCESS: &str = "[2026-01-02T03:04:05.000Z] \"GET /a HTTP/1.1\" 403 - via_upstream - \"-\" 0 19 15 - \"203.0.113.7\" \"curl/8\" \"9fcc0001-0000-4000-8000-000000000001\" \"reviews:9080\" \"-\" inbound|9080|| - 10.0.0.5:9080 203.0.113.7:50000 outbound_.9080_._.reviews.default.svc.cluster.local default";

fn audit(id: &str) -> String {
    format!(
        r#"{{"kind":"Event","auditID":"{id}","stage":"Panic","verb":"get","requestURI":"/x","stageTimestamp":"{TIME}"}}"#
    )
}

/// What the batches of a partition hold: one per block, and that of its end.
struct Read {
    counts: Counts,
    raws: Vec<String>,
    letters: Vec<(i64, String)>,
}

fn read(blocks: &[&[String]]) -> Read {
    let partition = Partition::new("s", "p");
    let mut decoder = Decoder::new(DecoderConfig::new("log"));
    let (mut position, mut batches) = (0, vec![]);
    for lines in blocks {
        let (mut bytes, mut records) = (vec![], vec![]);
        for line in *lines {
            let start = bytes.len();
            bytes.extend_from_slice(line.as_bytes());
            records.push(Record {
                range: start..bytes.len(),
                position,
            });
            position += 1;
        }
        let block = Buffer::from_vec(bytes);
        batches.push(
            decoder
                .decode(&partition, block, &records, position)
                .unwrap(),
        );
    }
    batches.extend(decoder.finish(&partition, position).unwrap());
    assert!(decoder.finish(&partition, position).unwrap().is_none());
    let mut read = Read {
        counts: Counts::default(),
        raws: vec![],
        letters: vec![],
    };
    for batch in batches {
        assert!(batch.counts.conserved(), "{:?}", batch.counts);
        read.counts.add(&batch.counts);
        let rows = 0..batch.events.num_rows();
        read.raws
            .extend(rows.map(|row| text(&batch, col::RAW, row)));
        let letters = batch.dead_letters.into_iter();
        read.letters.extend(letters.map(|letter| {
            (
                letter.position,
                String::from_utf8_lossy(&letter.payload).into_owned(),
            )
        }));
    }
    read
}

fn docker(text: &str, beside: Value) -> String {
    let mut object = json!({"log": text});
    let members = beside.as_object().cloned().unwrap_or_default();
    object.as_object_mut().unwrap().extend(members);
    object.to_string()
}

fn cri(tag: &str, text: &str) -> String {
    format!("{TIME} stdout {tag} {text}")
}

#[test]
fn a_whole_line_is_no_piece_of_another() {
    for (whole, raw) in [
        (FLOW.to_owned(), FLOW.to_owned()),
        (ACCESS.to_owned(), ACCESS.to_owned()),
        (audit("whole"), audit("whole")),
        (format!("{}\n", audit("whole")), audit("whole")),
    ] {
        for beside in [json!({}), json!({"container_id": "c"})] {
            let mut lines = vec![docker("{\"x\":\"", beside.clone())];
            lines.extend((0..20).map(|_| docker(&whole, beside.clone())));
            let read = read(&[&lines]);
            assert_eq!(read.raws, vec![raw.clone(); 20], "{whole}");
            assert_eq!(read.letters, [(0, "{\"x\":\"".to_owned())]);
            assert_eq!(read.counts.read, 21);
        }
        let lines = [cri("P", "{\"x\":\""), cri("F", raw.as_str())];
        let read = read(&[&lines]);
        assert_eq!(read.raws, [raw]);
        assert_eq!(read.counts.read, 2);
    }
}

/// A piece of a line as one of two containers wrote it.
type Wrap<'a> = &'a dyn Fn(&str, usize) -> String;

#[test]
fn pieces_of_different_containers_are_kept_apart() {
    let (one, two) = (audit("one"), audit("two"));
    let kinds = [
        |n: usize| json!({"kubernetes": {"pod_name": format!("pod-{n}"), "container_name": "c"}}),
        |n: usize| json!({"container_id": format!("id-{n}"), "stream": "stdout"}),
        |n: usize| json!({"tag": format!("kube.{n}")}),
        |n: usize| json!({"stream": if n == 0 { "stdout" } else { "stderr" }, "time": TIME}),
        |n: usize| json!({"file": format!("/var/log/containers/{n}.log"), "host": "h"}),
    ];
    for kind in kinds {
        let wraps: [Wrap; 4] = [
            &|text, n| docker(text, kind(n)),
            &|text, n| match text.ends_with('}') {
                true => docker(&cri("F", text), kind(n)),
                false => docker(&cri("P", text), kind(n)),
            },
            &|text, n| {
                let mut object = kind(n);
                let tag = if text.ends_with('}') { "F" } else { "P" };
                object["message"] = json!(cri(tag, text));
                object.to_string()
            },
            &|text, n| {
                let inner = docker(text, json!({}));
                let mut object = kind(n);
                object["message"] = json!(inner);
                object.to_string()
            },
        ];
        for wrap in wraps {
            let lines = [
                wrap(&one[..30], 0),
                wrap(&two[..50], 1),
                wrap(&one[30..60], 0),
                wrap(&two[50..], 1),
                wrap(&one[60..], 0),
            ];
            let read = read(&[&lines[..2], &lines[2..]]);
            assert_eq!(read.raws, [two.clone(), one.clone()], "{}", lines[0]);
            assert_eq!(read.counts.read, 2);
        }
    }
}

#[test]
fn log_streams_of_a_service_are_kept_apart() {
    let (one, two) = (audit("one"), audit("two"));
    let group = |stream: &str, tag: &str, text: &str| {
        json!({"messageType": "DATA_MESSAGE", "logGroup": "g", "logStream": stream, "logEvents": [{"id": "1", "timestamp": 1, "message": cri(tag, text)}]}).to_string()
    };
    let resource = |pod: &str, tag: &str, text: &str| {
        json!({"resourceLogs": [{"resource": {"attributes": [{"key": "k8s.pod.name", "value": {"stringValue": pod}}]}, "scopeLogs": [{"logRecords": [{"body": {"stringValue": cri(tag, text)}}]}]}]}).to_string()
    };
    for wrap in [&group as &dyn Fn(&str, &str, &str) -> String, &resource] {
        let lines = [
            wrap("a", "P", &one[..30]),
            wrap("b", "P", &two[..30]),
            wrap("a", "F", &one[30..]),
            wrap("b", "F", &two[30..]),
        ];
        assert_eq!(read(&[&lines]).raws, [one.clone(), two.clone()]);
    }
}

#[test]
fn a_line_whose_end_never_comes_is_a_dead_letter() {
    let cut = audit("cut")[..60].to_owned();
    for line in [
        docker(&cut, json!({})),
        cri("P", &cut),
        docker(&cri("P", &cut), json!({"tag": "t"})),
    ] {
        let read = read(&[std::slice::from_ref(&line)]);
        assert_eq!(
            (read.counts.read, read.counts.dead_lettered),
            (1, 1),
            "{line}"
        );
        assert_eq!(read.letters, [(0, cut.clone())]);
    }
    // Long before the end, if nothing more of it comes.
    let mut lines = vec![cri("P", &cut)];
    lines.extend((0..10_100).map(|_| FLOW.to_owned()));
    let (first, rest) = lines.split_at(5000);
    let partition = Partition::new("s", "p");
    let mut decoder = Decoder::new(DecoderConfig::new("log"));
    let mut letters = 0;
    for lines in [first, rest] {
        let block = lines.concat();
        let mut at = 0;
        let records: Vec<_> = lines
            .iter()
            .map(|line| {
                let range = at..at + line.len();
                at = range.end;
                Record { range, position: 7 }
            })
            .collect();
        let block = Buffer::from(block.as_bytes());
        let batch = decoder.decode(&partition, block, &records, 8).unwrap();
        letters += batch.dead_letters.len();
    }
    assert_eq!(letters, 1);
    // A partition that is read anew.
    let mut decoder = Decoder::new(DecoderConfig::new("log"));
    let mut decode = |position| {
        let line = cri("P", &cut);
        let record = Record {
            range: 0..line.len(),
            position,
        };
        let block = Buffer::from(line.as_bytes());
        let batch = decoder.decode(&partition, block, &[record], position + 1);
        batch.unwrap().counts.dead_lettered
    };
    assert_eq!((decode(7), decode(3)), (0, 1));
}

#[test]
fn more_than_the_limit_is_not_held() {
    let config = DecoderConfig {
        max_envelope_bytes: 10_000,
        ..DecoderConfig::new("log")
    };
    let lines: Vec<_> = (0..40)
        .map(|n| {
            docker(
                "{\"x\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                json!({"tag": n}),
            )
        })
        .chain((0..400).map(|_| docker(&"b".repeat(100), json!({"tag": "0"}))))
        .map(String::into_bytes)
        .collect();
    let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
    let batch = super::tests::decode_with(config, &lines);
    assert!(batch.counts.dead_lettered >= 40, "{:?}", batch.counts);
}

/// What stands beside a piece is looked at.
#[test]
fn an_event_beside_a_piece_is_read() {
    let line =
        json!({"log": "{\"kind\":\"Ev", "stream": "stdout", "event": {"original": audit("a")}});
    let read = read(&[&[line.to_string()]]);
    assert_eq!(read.raws, [audit("a")]);
}

#[test]
fn what_is_read_again_adds_no_piece_twice() {
    let event = audit("a");
    // The array breaks off, and its elements are read once more.
    let lines = [
        format!("[{},{{\"a\":", docker(&event[..40], json!({}))),
        docker(&event[40..70], json!({})),
        format!(
            "[{},{},{{\"a\":",
            docker(&event[70..], json!({})),
            audit("b")
        ),
    ];
    let read = read(&[&lines[..1], &lines[1..]]);
    assert_eq!(read.raws, [event, audit("b")], "{:?}", read.letters);
}

#[test]
fn joining_is_linear() {
    let started = std::time::Instant::now();
    let mut lines = vec![docker("{\"x\":\"", json!({}))];
    lines.extend((0..20_000).map(|_| docker(&"a".repeat(60), json!({}))));
    let read = read(&[&lines]);
    assert_eq!(read.counts.read, 1);
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn lines_put_together_nest_only_so_far() {
    let inner = format!(
        "{TIME} stderr P {{\"a\n{TIME} stdout P {TIME} stderr F \":1\n{TIME} stdout F }}\n"
    );
    for depth in 0..=LEVELS + 2 {
        let mut line = json!(inner);
        for _ in 0..depth {
            line = json!({"message": line});
        }
        let read = read(&[&[line.to_string(), audit("after")]]);
        assert_eq!(read.raws, [audit("after")], "{depth}");
        assert!(read.counts.dead_lettered >= 1);
    }
    // Pieces of pieces.
    let mut text = audit("deep");
    for _ in 0..30 {
        text = format!("{TIME} stdout P {text}\n{TIME} stdout F \n");
        text = text.replace('\n', &format!("\n{TIME} stderr F "));
    }
    assert_eq!(
        read(&[&[text, audit("after")]]).raws.last(),
        Some(&audit("after"))
    );
}
