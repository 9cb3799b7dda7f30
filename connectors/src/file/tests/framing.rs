//! Records that span lines, torn ones, and what stands between them.

use std::time::Duration;

use super::super::frame::Waited;
use super::super::outline::LOOKED_AT;
use super::*;

fn joined(lines: &[&str]) -> Vec<u8> {
    lines.join("\n").into_bytes()
}

#[test]
fn a_line_end_in_a_string_does_not_end_the_record() {
    let good = r#"{"category":"A","correlationId":"c5"}"#;
    let document = format!("{{\"records\":[{good},{{\"m\":\"two\nlines\",\"n\":1}},{good}]}}");
    assert_eq!(texts(document.as_bytes()), [document.as_str()]);
    // Also where the break follows a bracket, beside others, and with more breaks.
    for broken in [
        "a}\nb",
        "a\n\n\nb",
        "a\r\nb",
        "{\\\"x\\\":1}\n{\\\"y\\\":2}",
        "]\n",
    ] {
        let document = format!("{{\"records\":[{{\"m\":\"{broken}\"}},{good}]}}");
        let content = format!("{good}\n{document}\n{good}\n{document}");
        let expected = [good, &document, good, &document];
        assert_eq!(texts(content.as_bytes()), expected, "{broken:?}");
    }
    // And where an element before is broken.
    let document = format!("{{\"records\":[{{'a':1}},{good},{{\"m\":\"two\nlines\"}},{good}]}}");
    assert_eq!(
        texts(format!("{document}\n{good}").as_bytes()),
        [&*document, good]
    );
}

#[test]
fn a_torn_line_costs_itself() {
    let good = r#"{"eventName":"n","detail":{"a":[1,2,{"b":"c, {d}"}]}}"#;
    for cut in 1..good.len() - 1 {
        let torn = &good[..cut];
        for torn in [
            torn.to_owned(),
            format!("{{\"x\":[{torn}"),
            format!("[{torn}"),
        ] {
            let content = joined(&[good, &torn, good, good]);
            let expected = [good, torn.trim(), good, good];
            assert_eq!(texts(&content), expected, "torn in the middle");
            assert_eq!(texts(&joined(&[good, &torn])), [good, torn.trim()]);
            assert_eq!(texts(&joined(&[&torn, good])), [torn.trim(), good]);
        }
    }
    // Lines that are no JSON behind it.
    let flow = "2 1 eni-1 10.0.0.5 203.0.113.7 1 2 6 1 40 1791968400 1791968460 ACCEPT OK";
    let access = "[2026-10-14T09:00:00.000Z] \"GET /{a HTTP/1.1\" 200 - 0 1 1 1 \"-\" \"b\" \"c\" \"d\" \"e\"";
    for torn in ["{\"a\":1", "{\"a\":\"x", "{\"a\":[1,", "{\"a\"", "{"] {
        for line in [flow, access] {
            let content = joined(&[torn, line, line, good, torn, line]);
            let expected = [torn, line, line, good, torn, line];
            assert_eq!(texts(&content), expected, "{torn}");
        }
    }
}

/// Lines of every format with lines, with and without what runtimes and daemons put before them.
fn text_lines() -> Vec<String> {
    let flow = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK";
    let envoy = "[2026-01-02T03:04:05.000Z] \"GET /{a HTTP/1.1\" 403 - via_upstream - \"-\" 0 19 15 - \"203.0.113.7\" \"curl/8\" \"9fcc\" \"r:9080\" \"-\" inbound|9080|| - 10.0.0.5:9080 203.0.113.7:50000 outbound_.9080 default";
    let ztunnel = "2026-01-02T03:04:05.000000Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:50000 src.workload=\"w\" dst.addr=10.0.1.1:15008 direction=\"inbound\" bytes_sent=1 duration=\"3ms\"";
    let mut all = vec![];
    for line in [flow, envoy, ztunnel] {
        all.extend([
            line.to_owned(),
            format!("2026-01-02T03:04:05Z stdout F {line}"),
            format!("<13>Oct  9 22:14:15 host app[77]: {line}"),
            format!("Oct  9 22:14:15 host app: {line}"),
        ]);
    }
    all.push("2026-01-02T03:04:05Z stdout F {\"a\":[1]}".into());
    all.push("<13>1 2026-10-09T22:14:15Z host app 77 - - {\"a\":[1]}".into());
    all
}

const TORN: [&str; 11] = [
    "{\"x\":1",
    "{\"x\":\"y",
    "{\"x\":[",
    "{\"x\":[{\"y\":1},",
    "{\"x\"",
    "{\"x\":",
    "{",
    "{'x': 1,",
    "[{\"x\":1}",
    "[2026-01-02T03:0",
    "{\n  \"x\": [\n    \"a",
];

/// A line that was cut off costs no line of a log behind it, however that is written.
#[test]
fn a_torn_line_costs_no_line_of_a_log() {
    for torn in TORN {
        for line in text_lines() {
            let content = joined(&[&line, torn, &line, &line, &line, torn, &line]);
            let found = texts(&content);
            let count = found.iter().filter(|one| **one == line).count();
            assert_eq!(count, 5, "{torn}\n{line}\n{found:?}");
        }
    }
}

/// In a text that a document ends later, lines of a log are a part of it.
#[test]
fn lines_of_a_log_within_a_text_do_not_end_its_document() {
    for line in text_lines().iter().filter(|line| !line.contains('"')) {
        let document = format!("{{\"m\":\"two\n{line}\n{line}\n\",\"n\":1}}");
        let content = format!("{document}\n{document}");
        assert_eq!(texts(content.as_bytes()), [&*document, &document]);
    }
}

/// Work is linear in the input, whatever that is: the bytes that outlines are fed are at most so many times as many, and
/// some besides.
#[test]
fn work_is_linear_in_the_input() {
    let most = |bytes: usize| 64 * bytes + (8 << 20);
    let shapes: [(&str, &dyn Fn(usize) -> String); 9] = [
        ("nested", &|n| "{\"a\":[\n".repeat(n)),
        ("nested objects", &|n| "{\"a\":\n".repeat(n)),
        ("arrays", &|n| "[\n".repeat(n)),
        ("nested, then a fault", &|n| {
            "{\"a\":[\n".repeat(n) + "} : }\n{}\n"
        }),
        ("open texts", &|n| "{\"a\":\"\n".repeat(n)),
        ("texts that change", &|n| "{\"a\":\"x\n\"y\n".repeat(n)),
        ("texts in nested ones", &|n| "{\"a\":[\"\n\",\n".repeat(n)),
        ("whole ones in one that is not", &|n| {
            ("{\"a\":[\n".to_owned() + &"{}\n".repeat(9)).repeat(n)
        }),
        ("deep, then short lines", &|n| {
            "[".repeat(n) + "\"" + &"\n\"}".repeat(n)
        }),
    ];
    for (name, shape) in shapes {
        for lines in [10_000, 20_000] {
            let content = shape(lines).into_bytes();
            LOOKED_AT.set(0);
            let found = crate::file::records(&content).len();
            let looked_at = LOOKED_AT.get();
            assert!(
                looked_at <= most(content.len()),
                "{name}: {looked_at} of {}, {found} records",
                content.len()
            );
            assert!(found > 0);
        }
        // A reader needs no more than that: it reads twice as much each time before it looks again.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let content = shape(150_000);
        fs::write(&path, &content).unwrap();
        LOOKED_AT.set(0);
        let mut reader = Reader::open(&path, 0, 1 << 20, false).unwrap();
        while reader.next_block().is_some() {}
        let looked_at = LOOKED_AT.get();
        assert!(
            looked_at <= most(content.len()),
            "{name}, read: {looked_at} of {}",
            content.len()
        );
    }
}

/// What is looked at in vain again and again costs no document behind it.
#[test]
fn a_few_torn_lines_in_a_row_cost_themselves_alone() {
    let good = "{\n\"a\": [\n{\n\"b\": 1\n}\n]\n}";
    for torn in ["{\"x\":[", "{\"x\":", "{\"x\":\"y"] {
        let mut lines = vec![torn; 50];
        lines.extend([good, good, good]);
        let found = texts(&joined(&lines));
        assert_eq!(&found[50..], [good, good, good], "{torn}");
    }
}

/// A growing file: what is at its end is given out after a while if it seems torn, not as long as it may go on.
#[test]
fn what_may_go_on_is_waited_for_and_what_is_torn_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let flow = "2 111122223333 eni-0a1 10.0.0.5 203.0.113.7 49152 443 6 8 4000 1767322800 1767322860 ACCEPT OK";
    let found = |content: &str, first_seen: u64, growth: u64| {
        fs::write(&path, content).unwrap();
        let waited = Waited {
            since_first_seen: Duration::from_secs(first_seen),
            since_growth: Duration::from_secs(growth),
        };
        let reader = Reader::open(&path, 0, 64 << 20, true).unwrap();
        let mut reader = reader.after(waited);
        let (mut count, mut next) = (0, 0);
        while let Some(block) = reader.next_block() {
            assert!(block.letter.is_none());
            (count, next) = (count + block.records.len(), block.next as usize);
        }
        (count, next)
    };
    // Torn, and lines that may stand in a text.
    let torn = format!("{{\"x\":\"y\n{flow}\n{flow}\n");
    assert_eq!(found(&torn, 1, 1), (0, 0));
    assert_eq!(found(&torn, 30, 1), (3, torn.len()));
    let unknown = "{\"x\":\"y\n".to_owned() + &"no known words\n".repeat(100_000);
    assert_eq!(found(&unknown, 0, 0), (100_001, unknown.len()));
    // A line without its end is not given out, nor what stands before it in vain.
    assert_eq!(found(&format!("{torn}{{\"z\""), 30, 30), (3, torn.len()));
    // A document that is being written.
    let document = "{\n  \"x\": [\n    1,\n";
    assert_eq!(found(document, 1000, 1000), (0, 0));
    let long = "{\n  \"x\": [\n".to_owned() + &"    1,\n".repeat(300_000);
    assert_eq!(found(&long, 1000, 1), (0, 0));
    assert_eq!(found(&long, 1000, 1000), (1, long.len()));
}

#[test]
fn documents_that_span_lines() {
    let pretty =
        "{\n  \"Records\": [\n    {\n      \"a\": \"}]\",\n      \"b\": []\n    },\n    {}\n  ]\n}";
    let by_line = "{\"Records\":[\n{\"a\":1},\n{\"a\":2},\n{\"a\":3}\n]}";
    let comma_first = "{\"Records\":[{\"a\":1}\n,{\"a\":2}\n,{\"a\":3}]}";
    let array = "[\n{\"a\":1}\n,\n{\"a\":2}\n]";
    let allman = "{\n\"a\":\n{\n\"b\":1\n}\n}";
    let all = [pretty, by_line, comma_first, array, allman];
    for first in all {
        for second in all {
            for (between, count) in [
                ("\n", 2),
                ("\n\n\n", 2),
                ("\n{\"x\":1}\n", 3),
                ("\nno json\n", 3),
            ] {
                let content = format!("{first}{between}{second}");
                let found = texts(content.as_bytes());
                assert_eq!(found.len(), count, "{content}: {found:?}");
                assert_eq!(
                    (found[0].as_str(), found[count - 1].as_str()),
                    (first, second)
                );
            }
        }
    }
    // One behind the other without a line end.
    let content = format!("{pretty}{pretty} {pretty}\n{{\"x\":1}}");
    assert_eq!(
        texts(content.as_bytes()),
        [pretty, pretty, pretty, "{\"x\":1}"]
    );
    // Windows' line ends.
    let windows = pretty.replace('\n', "\r\n");
    assert_eq!(
        texts(format!("{windows}\r\n{windows}").as_bytes()),
        [&*windows, &*windows]
    );
}

#[test]
fn a_broken_document_costs_no_other() {
    let good = "{\n  \"a\": 1,\n  \"b\": [\n    {\n      \"c\": \"d\"\n    }\n  ]\n}";
    let lines: Vec<_> = good.lines().collect();
    // Cut off behind any line.
    for cut in 1..lines.len() {
        let torn = lines[..cut].join("\n");
        let content = format!("{good}\n{torn}\n{good}\n{{\"x\":1}}\n{torn}");
        assert_eq!(
            texts(content.as_bytes()),
            [good, &torn, good, "{\"x\":1}", &torn],
            "{cut}"
        );
    }
    // Something wrong inside: the record goes on to its end, so that what is around can be read.
    for (from, to) in [
        ("\"d\"", "'d'"),
        ("\"d\"", "d\""),
        ("\"d\"", "\"d"),
        ("\"a\": 1", "\"a\" 1"),
        ("\"a\": 1,", "\"a\": ,"),
        ("\"a\": 1,", "\"a\": 1"),
        ("\"a\": 1", "\"a\": NaN"),
        ("{\n      \"c\"", "{\n      {},\"c\""),
    ] {
        let broken = good.replace(from, to);
        let content = format!("{good}\n{broken}\n{good}");
        assert_eq!(texts(content.as_bytes()), [good, &broken, good], "{to}");
    }
}

#[test]
fn elements_without_their_array() {
    let content = "{\"a\":1},\n{\"a\":2}, {\"a\":3} ,\r\n{\"a\":4}{\"a\":5}{\"a\":6}]}\n";
    let expected: Vec<_> = (1..7).map(|index| format!("{{\"a\":{index}}}")).collect();
    assert_eq!(texts(content.as_bytes()), expected);
}

#[test]
fn zeros_marks_and_separators_are_no_records() {
    let zeros = "\0".repeat(300_000);
    for (content, count) in [
        (format!("{zeros}{{\"a\":1}}\n"), 1),
        (format!("{{\"a\":1}}\n{zeros}{{\"a\":1}}\n{zeros}"), 2),
        (format!("{{\"a\":1}}{zeros}"), 1),
        (format!("{zeros}\n{zeros}\n{{\"a\":1}}\n"), 1),
        (
            "\u{FEFF}{\"a\":1}\n\u{FEFF}{\"a\":1}\n\u{FEFF}\n".to_owned(),
            2,
        ),
        ("\x1E{\"a\":1}\n\x1E{\"a\":1}\n".to_owned(), 2),
        ("\x1E{\"a\":1}\x1E{\"a\":1}\x1E".to_owned(), 2),
        ("\u{FEFF}\0\x1E {\"a\":1} \0\n".to_owned(), 1),
    ] {
        let (records, letters) = cut(content.as_bytes(), 1000);
        assert_eq!((records.len(), letters.len()), (count, 0));
        for (position, text) in records {
            assert_eq!(text, "{\"a\":1}");
            assert!(content[position as usize..].starts_with(&text));
        }
    }
}

#[test]
fn a_container_over_the_limit_is_read_event_by_event() {
    let event = |index: usize| format!("{{\"a\":{index},\"m\":\"{}\"}}", "x".repeat(100));
    let events: Vec<_> = (0..30_000).map(event).collect();
    let huge = format!("{{\"m\":\"{}\"}}", "y".repeat(1 << 21));
    for container in [
        format!("{{\"Records\":[{}]}}", events.join(",")),
        format!("[{}]", events.join(", ")),
        format!("{{\"x\":1,\"items\":[\n{}\n]}}", events.join(",\n")),
    ] {
        let content = format!("{}\n{container}\n{}\n", event(7), event(8));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, content).unwrap();
        let mut reader = Reader::open(&path, 0, 1 << 20, false).unwrap();
        let (mut found, mut letters) = (vec![], 0);
        while let Some(block) = reader.next_block() {
            letters += usize::from(block.letter.is_some());
            let text = |range| String::from_utf8_lossy(&block.bytes[range]).into_owned();
            found.extend(
                block
                    .records
                    .iter()
                    .map(|record| text(record.range.clone())),
            );
        }
        assert_eq!((found.len(), letters), (events.len() + 2, 0));
        assert_eq!(
            (&found[1..=events.len()], &found[events.len() + 1]),
            (&events[..], &event(8))
        );
    }
    // One event among them that is too large is the only one that is lost.
    let container = format!(
        "{{\"Records\":[{},{huge},{}]}}\n",
        events.join(","),
        event(9)
    );
    let (records, letters) = cut(container.as_bytes(), 1 << 20);
    assert_eq!(letters, ["too_large"]);
    assert_eq!(records.len(), events.len() + 1);
}

/// What a letter says of many events is counted as so many.
#[test]
fn what_is_too_long_is_counted_by_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let events: String = (0..10).map(|index| event(&index.to_string(), 1)).collect();
    let length = (events.len() / 10) as u64;
    let huge = "y".repeat(5 << 20);
    fs::write(&path, format!("{events}{huge}\n{events}")).unwrap();
    let mut config = config(&[&path]);
    config.decoder.max_envelope_bytes = 1 << 20;
    let (told, _) = run(config, &Positions::new());
    let bytes = huge.len() as u64 + 1;
    let lost = told.counts.dead_lettered;
    assert!(
        lost.abs_diff(bytes / length) < bytes / length / 50,
        "{lost}"
    );
    assert_eq!((told.counts.read, told.letters.len()), (20 + lost, 1));
    let says = format!("about {lost} events (an estimate by length) in {bytes} bytes");
    assert!(
        told.letters[0].detail.contains(&says),
        "{}",
        told.letters[0].detail
    );
}

#[test]
fn documents_that_span_blocks_and_chunks() {
    let document = |index: usize| {
        format!(
            "{{\n  \"a\": {index},\n  \"m\": \"{}\"\n}}",
            "x\ny".repeat(50_000)
        )
    };
    let documents: Vec<_> = (0..20).map(document).collect();
    let (records, letters) = cut(documents.join("\n").as_bytes(), 64 << 20);
    assert_eq!(letters.len(), 0);
    let found: Vec<_> = records.into_iter().map(|(_, text)| text).collect();
    assert_eq!(found, documents);
}
