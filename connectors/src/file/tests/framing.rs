//! Records that span lines, torn ones, and what stands between them.

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

#[test]
fn what_is_too_long_is_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let line = "x".repeat(99);
    fs::write(&path, format!("{line}\n{line}\n{}\n", "y".repeat(5 << 20))).unwrap();
    let mut reader = Reader::open(&path, 0, 1 << 20, false).unwrap();
    reader.next_block().unwrap();
    let letter = reader.next_block().unwrap().letter.unwrap();
    assert!(
        letter.detail.contains("perhaps 52958 events"),
        "{}",
        letter.detail
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
