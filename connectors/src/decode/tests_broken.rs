//! Text that is broken: what can still be read of it, and what is counted as lost.

use super::tests::{decode_with, marked, text};
use super::*;
use crate::json::Scanner;
use weir_engine::schema::col;

fn trail(id: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventTime":"2026-01-02T03:04:05Z","eventSource":"iam.amazonaws.com","eventName":"ListUsers","eventID":"{id}","resources":[{{"arn":"a"}},{{"arn":"b"}}],"requestParameters":{{"userName":"u"}}}}"#
    )
}

fn decode(lines: &[&[u8]]) -> EventBatch {
    decode_with(DecoderConfig::new("log"), lines)
}

fn uids(batch: &EventBatch) -> Vec<String> {
    let rows = 0..batch.events.num_rows();
    rows.map(|row| text(batch, col::EVENT_UID, row)).collect()
}

type Wrap = fn(&[String]) -> String;

/// Every way to put events into one record.
const CONTAINERS: &[(&str, Wrap)] = &[
    ("Records", |events| {
        format!("{{\"Records\":[{}]}}", events.join(","))
    }),
    ("Records first", |events| {
        format!(
            "{{\"a\":{{}},\"Records\":[{}],\"next\":\"x\"}}",
            events.join(" , ")
        )
    }),
    ("array", |events| format!("[{}]", events.join(",\n"))),
    ("items", |events| {
        format!(
            "{{\"kind\":\"EventList\",\"metadata\":{{}},\"items\":[{}]}}",
            events.join(",")
        )
    }),
    ("value", |events| {
        format!(
            "{{\"@odata.context\":\"x\",\"value\":[{}]}}",
            events.join(",")
        )
    }),
    ("concatenated", |events| events.join("")),
    ("lines", |events| events.join("\n")),
    ("nested", |events| {
        format!("{{\"Records\":[{{\"records\":[{}]}}]}}", events.join(","))
    }),
    ("a string", |events| {
        format!(
            "{{\"message\":{}}}",
            serde_json::to_string(&events.join("\n")).unwrap()
        )
    }),
    ("array in a string", |events| {
        format!(
            "{{\"body\":{}}}",
            serde_json::to_string(&format!("[{}]", events.join(","))).unwrap()
        )
    }),
];

type Break = fn(&str) -> String;

/// What can happen to one event; no event is left of it.
const BREAKS: &[(&str, Break)] = &[
    ("not a number", |event| {
        event.replace("{\"userName\":\"u\"}", "NaN")
    }),
    ("a blob", |event| {
        event.replace("{\"userName\":\"u\"}", "[ 227 B blob data ]")
    }),
    ("single quotes", |event| event.replace('"', "'")),
    ("no colon", |event| event.replacen(':', " ", 1)),
    ("a bare word", |event| event.replace("\"u\"", "u")),
    ("no closing quote", |event| {
        event.replace("\"ListUsers\"", "\"ListUsers")
    }),
    ("cut in a key", |event| {
        event[..event.find("eventName").unwrap() + 3].to_owned()
    }),
    ("cut in a value", |event| {
        event[..event.find("Users").unwrap()].to_owned()
    }),
    ("cut in a nested array", |event| {
        event[..event.find(",{\"arn\":\"b").unwrap()].to_owned()
    }),
    ("cut before its end", |event| {
        event[..event.len() - 1].to_owned()
    }),
    ("a bracket too few", |event| event.replacen("}]", "]", 1)),
    ("a bracket too many", |event| event.replacen("}]", "}}]", 1)),
];

#[test]
fn a_broken_event_costs_itself_alone_in_every_container() {
    for (container, wrap) in CONTAINERS {
        for (name, break_it) in BREAKS {
            // The brackets that close the last event's container would close what was cut of it.
            let places = if name.contains("nested") { 0..6 } else { 0..7 };
            for broken in places.step_by(3) {
                let mut events: Vec<_> = (0..7).map(|n| trail(&n.to_string())).collect();
                let whole = decode(&[wrap(&events).as_bytes()]);
                assert_eq!(whole.counts.read, 7, "{container}");
                events[broken] = break_it(&events[broken]);
                let record = wrap(&events);
                let batch = decode(&[record.as_bytes(), trail("after").as_bytes()]);
                let expected = (0..7).filter(|n| *n != broken).map(|n| n.to_string());
                let expected: Vec<_> = expected.chain(["after".to_owned()]).collect();
                assert_eq!(
                    uids(&batch),
                    expected,
                    "{container}, {name}, {broken}: {record}"
                );
                let letters = &batch.dead_letters;
                assert_eq!(
                    letters.len(),
                    1,
                    "{container}, {name}, {broken}: {letters:?}"
                );
                assert_eq!(batch.counts.read, 8, "{container}, {name}, {broken}");
                for (row, uid) in expected.iter().enumerate().take(6) {
                    assert_eq!(text(&batch, col::RAW, row), trail(uid));
                }
            }
        }
    }
}

/// One change of any kind at a place that the seed picks.
fn damage(event: &str, seed: &mut u64) -> Vec<u8> {
    let mut next = |bound: usize| crate::slow::mutate::next(seed) % bound;
    let mut bytes = event.as_bytes().to_vec();
    let at = 1 + next(bytes.len() - 2);
    match next(8) {
        // Cut behind a colon, what follows is the value of that member: nobody can tell.
        0 if bytes[at - 1] != b':' => bytes.truncate(at),
        0 => bytes.truncate(at - 1),
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, b"\"{}[]:,\\x1.\n\0\x80\xFF"[next(15)]),
        3 => bytes[at] = b"\"{}[]:,\\x1.\n\0\x80\xFF"[next(15)],
        4 => drop(bytes.splice(at..at, *b"\\ud800")),
        5 => {
            let end = (at + 1 + next(40)).min(bytes.len());
            bytes.drain(at..end);
            if bytes.ends_with(b":") {
                bytes.pop();
            }
        }
        6 => {
            let big = format!("{{\"huge\":\"{}\",", "x".repeat(5000));
            bytes.splice(0..1, big.into_bytes());
        }
        _ => {
            let deep = format!("{{\"deep\":{}{},", "[".repeat(200), "]".repeat(200));
            bytes.splice(0..1, deep.into_bytes());
        }
    }
    bytes
}

/// Events of each format's fixtures that are one row each.
fn samples() -> Vec<(String, Vec<String>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "ndjson"))
        .collect();
    files.sort();
    let mut all = vec![];
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let events: Vec<String> = text
            .lines()
            .filter(|line| {
                line.starts_with('{') && Scanner::new(line.as_bytes(), 0, 64).skip().is_ok()
            })
            .filter(|line| {
                let batch = decode(&[line.as_bytes()]);
                batch.events.num_rows() == 1
                    && batch.counts.read == 1
                    && text_of_row(&batch, 0) == **line
            })
            .map(str::to_owned)
            .collect();
        if events.len() > 1 {
            all.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                events,
            ));
        }
    }
    assert!(all.len() > 10);
    all
}

fn text_of_row(batch: &EventBatch, row: usize) -> String {
    text(batch, col::RAW, row)
}

/// Whatever happens to one event of a delivery: the others are rows as they were alone, and as many events are counted as were
/// delivered.
#[test]
fn damage_to_one_event_leaves_all_others_as_they_were() {
    let rounds = crate::slow::mutate::rounds(40);
    let mut seed = 20_261_127;
    for (file, events) in samples() {
        let alone: Vec<_> = events
            .iter()
            .map(|event| crate::slow::row_of(&decode(&[event.as_bytes()]), 0))
            .collect();
        for (container, wrap) in CONTAINERS
            .iter()
            .filter(|(name, _)| !name.contains("string"))
        {
            for _ in 0..rounds {
                let broken = crate::slow::mutate::next(&mut seed) % events.len();
                let damaged = damage(&events[broken], &mut seed);
                let mut parts = events.clone();
                parts[broken] = "\"THE DAMAGED ONE\"".to_owned();
                let record = wrap(&parts);
                let (before, after) = record.split_once("\"THE DAMAGED ONE\"").unwrap();
                let record = [before.as_bytes(), &damaged, after.as_bytes()].concat();
                let batch = decode(&[&record]);
                let shown = String::from_utf8_lossy(&damaged);
                let context = || {
                    format!(
                        "{file}, {container}, {broken}: {shown}\n{:?}",
                        batch
                            .dead_letters
                            .iter()
                            .map(|l| (&l.detail, String::from_utf8_lossy(&l.payload).into_owned()))
                            .collect::<Vec<_>>()
                    )
                };
                let rows: Vec<_> = (0..batch.events.num_rows())
                    .map(|row| crate::slow::row_of(&batch, row))
                    .collect();
                for (n, row) in alone.iter().enumerate().filter(|(n, _)| *n != broken) {
                    assert!(rows.contains(row), "lost {n}: {}", context());
                }
                // A bracket too many can leave a whole event on one side of it: it is read, and the rest is dead letters.
                let (read, whole) = (batch.counts.read, events.len() as u64);
                let is_split = rows.len() as u64 == whole && read > whole;
                assert!(
                    read == whole || is_split,
                    "{read} of {whole}: {}",
                    context()
                );
            }
        }
    }
}

#[test]
fn two_broken_events_beside_each_other_are_two() {
    for (container, wrap) in CONTAINERS {
        for (name, break_it) in BREAKS
            .iter()
            .filter(|(name, _)| !name.starts_with("cut") && !name.contains("closing quote"))
        {
            let mut events: Vec<_> = (0..5).map(|n| trail(&n.to_string())).collect();
            events[2] = break_it(&events[2]);
            events[3] = break_it(&events[3]);
            let batch = decode(&[wrap(&events).as_bytes()]);
            assert_eq!(uids(&batch), ["0", "1", "4"], "{container}, {name}");
            assert_eq!(
                batch.counts.read, 5,
                "{container}, {name}: {:?}",
                batch.dead_letters
            );
        }
    }
}

#[test]
fn faults_in_strings_cost_nothing_and_are_marked() {
    type Fault = (&'static str, &'static [u8], &'static str, &'static str);
    let faults: &[Fault] = &[
        ("half a pair", br"x\ud800y", "x\u{fffd}y", r"x\ufffdy"),
        ("tab", b"x\ty", "x\ty", r"x\ty"),
        ("line end", b"x\ny", "x\ny", r"x\ny"),
        ("zero", b"x\0y", "x\0y", r"x\u0000y"),
        ("bad escape", br"x\qy", "x\\qy", r"x\\qy"),
        ("not UTF-8", b"x\xFFy", "x\u{fffd}y", "x\u{fffd}y"),
        ("cut character", b"x\xE2\x82y", "x\u{fffd}y", "x\u{fffd}y"),
    ];
    for (container, wrap) in CONTAINERS {
        for (name, bytes, value, raw) in faults {
            let mut events: Vec<_> = (0..5).map(|n| trail(&n.to_string())).collect();
            events[2] = events[2].replace("ListUsers", "FAULT");
            let record = wrap(&events);
            let (before, after) = record.split_once("FAULT").unwrap();
            // Inside a string the fault is that of the text inside, or of the string itself.
            let record = [before.as_bytes(), bytes, after.as_bytes()].concat();
            let batch = decode(&[&record]);
            let shown = String::from_utf8_lossy(&record);
            assert_eq!(
                uids(&batch),
                ["0", "1", "2", "3", "4"],
                "{container}, {name}: {shown}"
            );
            assert_eq!(batch.counts.read, 5, "{container}, {name}");
            if !container.contains("string") || *name == "not UTF-8" || *name == "half a pair" {
                assert_eq!(
                    text(&batch, col::API_OPERATION, 2),
                    *value,
                    "{container}, {name}"
                );
                assert_eq!(
                    marked(&batch, col::RAW_REPAIRED),
                    [2],
                    "{container}, {name}"
                );
            }
            if !container.contains("string") {
                assert_eq!(
                    text(&batch, col::RAW, 2),
                    trail("2").replace("ListUsers", raw)
                );
            }
            assert_eq!(text(&batch, col::RAW, 3), trail("3"), "{container}, {name}");
        }
    }
}

#[test]
fn a_text_made_of_starts_is_read_in_bounded_time() {
    let start = r#"{"eventTime":"2026-01-02T03:04:05Z","eventName":[{"Records":[{"a":"#;
    let record = format!("[{}]", start.repeat(20_000));
    let batch = decode(&[record.as_bytes(), trail("after").as_bytes()]);
    assert_eq!(uids(&batch), ["after"]);
    assert!(batch.counts.dead_lettered >= 1);
}

#[test]
fn what_cannot_be_found_again_is_counted_by_its_length() {
    let good = trail("0");
    let rubbish = "x".repeat(good.len() * 40);
    let record = format!("{{\"Records\":[{good},{{\"eventTime\":{rubbish}");
    let batch = decode(&[record.as_bytes()]);
    assert_eq!(uids(&batch), ["0"]);
    assert!(
        (38..=42).contains(&batch.counts.dead_lettered),
        "{:?}",
        batch.counts
    );
    let letter = &batch.dead_letters[0];
    assert!(letter.detail.contains("about 4"), "{}", letter.detail);
}

#[test]
fn a_delivery_that_breaks_off_between_two_events_is_told() {
    for (text, rows) in [
        (format!("{{\"Records\":[{},{},", trail("0"), trail("1")), 2),
        (format!("{{\"Records\":[{}", trail("0")), 1),
        (format!("[{}]{{\"Records\":[", trail("0")), 1),
        ("[".to_owned(), 0),
        ("{".to_owned(), 0),
        ("{\"Records\":[".to_owned(), 0),
    ] {
        let batch = decode(&[text.as_bytes()]);
        assert_eq!(batch.events.num_rows(), rows, "{text}");
        assert_eq!(batch.dead_letters.len(), 1, "{text}");
        assert!(batch.dead_letters[0].detail.contains("ends early"));
    }
}

#[test]
fn other_encodings_are_read() {
    let event = trail("é");
    let units =
        |order: fn(u16) -> [u8; 2]| event.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let little = units(u16::to_le_bytes);
    let records = [
        [b"\xFF\xFE", little.as_slice()].concat(),
        little,
        units(u16::to_be_bytes),
        [&[0; 7], event.as_bytes()].concat(),
        [&[0; 4096], event.as_bytes(), &[0; 12]].concat(),
        ["\u{feff}".as_bytes(), event.as_bytes()].concat(),
        [b"\x1E", event.as_bytes(), b"\n"].concat(),
    ];
    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
    let batch = decode(&records);
    assert_eq!(uids(&batch), ["é"; 7], "{:?}", batch.dead_letters);
    assert_eq!(marked(&batch, col::RAW_REPAIRED), [0usize; 0]);
    for row in 0..7 {
        assert_eq!(text(&batch, col::RAW, row), event);
    }
}
