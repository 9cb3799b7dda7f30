#![allow(clippy::unwrap_used)]

use datafusion::arrow::array::{Array, AsArray};
use weir_engine::batch::DEAD_LETTER_PAYLOAD;

use super::*;
pub(crate) use crate::slow::row_of as row;
use weir_engine::schema::col;

/// Decodes lines with a fresh decoder.
pub(crate) fn decode_with(config: DecoderConfig, lines: &[&[u8]]) -> EventBatch {
    let mut decoder = Decoder::new(config);
    let (mut block, mut records) = (vec![], vec![]);
    for line in lines {
        let start = block.len();
        block.extend_from_slice(line);
        records.push(Record {
            range: start..block.len(),
            position: start as i64,
        });
        block.push(b'\n');
    }
    let next = block.len() as i64;
    let partition = Partition::new("test", "lines");
    let batch = decoder.decode(&partition, Buffer::from_vec(block), &records, next);
    let batch = batch.unwrap();
    assert!(batch.counts.conserved(), "{:?}", batch.counts);
    assert_eq!(batch.next, next);
    batch
}

fn decode(lines: &[&str]) -> EventBatch {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    decode_with(DecoderConfig::new("a log with a long name"), &lines)
}

pub(crate) fn text(batch: &EventBatch, column: usize, row: usize) -> String {
    let array = batch.events.column(column).as_string_view();
    array.value(row).to_owned()
}

/// Reason and detail of each dead letter.
fn letters(batch: &EventBatch) -> Vec<(&'static str, &str)> {
    let letters = batch.dead_letters.iter();
    letters.map(|l| (l.reason, l.detail.as_str())).collect()
}

fn reasons(batch: &EventBatch) -> Vec<&'static str> {
    letters(batch)
        .into_iter()
        .map(|(reason, _)| reason)
        .collect()
}

/// Ids, those of Kubernetes without their hash.
fn uids(batch: &EventBatch) -> Vec<String> {
    let rows = 0..batch.events.num_rows();
    let short = |uid: String| match uid.rsplit_once('/') {
        Some((known, hash)) if hash.len() == 32 => known.to_owned(),
        _ => uid,
    };
    rows.map(|row| short(text(batch, col::EVENT_UID, row)))
        .collect()
}

fn trail(id: &str) -> String {
    format!(
        r#"{{"eventTime":"2026-01-02T03:04:05Z","eventSource":"iam.amazonaws.com","eventName":"ListUsers","eventID":"{id}"}}"#
    )
}

fn audit(id: &str, stage: &str) -> String {
    format!(
        r#"{{"kind":"Event","auditID":"{id}","stage":"{stage}","verb":"get","stageTimestamp":"2026-01-02T03:04:05.5Z"}}"#
    )
}

fn falco(id: &str) -> String {
    format!(
        r#"{{"uuid":"{id}","rule":"Shell","priority":"Notice","time":"2026-01-02T03:04:05Z","output":"x"}}"#
    )
}

/// Rows in which a column is true.
pub(crate) fn marked(batch: &EventBatch, column: usize) -> Vec<usize> {
    let values = batch.events.column(column).as_boolean();
    let rows = 0..batch.events.num_rows();
    rows.filter(|row| values.is_valid(*row) && values.value(*row))
        .collect()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn mixed_formats_in_one_log_are_told_apart_by_content() {
    let lines = [
        trail("a"),
        falco("b"),
        audit("c", "Panic"),
        trail("d"),
        falco("e"),
    ];
    let batch = decode(&lines.each_ref().map(String::as_str));
    assert_eq!(uids(&batch), ["a", "b", "c/Panic", "d", "e"]);
    let families: Vec<_> = (0..5).map(|row| text(&batch, col::FAMILY, row)).collect();
    let expected = [
        "cloud_audit",
        "agent_alerts",
        "k8s_audit",
        "cloud_audit",
        "agent_alerts",
    ];
    assert_eq!(families, expected);
    assert_eq!(text(&batch, col::LOG_NAME, 4), "a log with a long name");
    assert_eq!(text(&batch, col::RAW, 1), lines[1]);
    assert_eq!(batch.counts.read, 5);
    let bytes: usize = lines.iter().map(String::len).sum();
    assert_eq!(batch.counts.bytes as usize, bytes);
}

#[test]
fn envelopes_are_peeled_and_raw_is_the_inner_event() {
    let (a, b) = (trail("a"), trail("b"));
    let lines = [
        format!("{{\"Records\": [{a} , {b}]}}"),
        format!("[{a},{b}]"),
        format!(
            "{{\"kind\":\"EventList\",\"metadata\":{{}},\"items\":[{}]}}",
            audit("c", "ResponseComplete")
        ),
        format!(
            "{{\"version\":\"0\",\"detail-type\":\"AWS API Call via CloudTrail\",\"detail\":{a},\"region\":\"x\"}}"
        ),
        format!(
            "{{\"insertId\":\"i\",\"jsonPayload\":{b},\"timestamp\":\"2026-01-02T03:04:05Z\"}}"
        ),
        "{\"Records\":[]}".to_owned(),
    ];
    let batch = decode(&lines.each_ref().map(String::as_str));
    assert_eq!(letters(&batch), []);
    assert_eq!(
        uids(&batch),
        ["a", "b", "a", "b", "c/ResponseComplete", "a", "b"]
    );
    assert_eq!(text(&batch, col::RAW, 1), b);
    assert_eq!(text(&batch, col::RAW, 5), a);
    assert_eq!(batch.counts.read, 7);
}

#[test]
fn events_in_strings_are_unescaped() {
    let inner = r#"{"kind":"Event","auditID":"a\"é","stage":"Panic","verb":"get","user":{"username":"a user with a long name"},"stageTimestamp":"2026-01-02T03:04:05Z"}"#;
    let lines = [
        format!(
            "{{\"records\":[{{\"category\":\"kube-audit\",\"properties\":{{\"pod\":\"p\",\"log\":{}}}}}]}}",
            quoted(&format!("{inner}\n"))
        ),
        format!(
            "{{\"EventId\":\"a\",\"ReadOnly\":\"true\",\"CloudTrailEvent\":{}}}",
            quoted(&trail("b"))
        ),
        format!(
            "{{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[{{\"id\":\"1\",\"message\":{}}}]}}",
            quoted(&trail("c"))
        ),
    ];
    let batch = decode(&lines.each_ref().map(String::as_str));
    assert_eq!(letters(&batch), []);
    assert_eq!(uids(&batch), ["a\"é/Panic", "b", "c"]);
    assert_eq!(text(&batch, col::RAW, 0), inner);
    assert_eq!(text(&batch, col::ACTOR_UID, 0), "a user with a long name");
}

#[test]
fn an_unusable_event_does_not_cost_its_neighbours_in_the_envelope() {
    let deep = "[".repeat(70) + &"]".repeat(70);
    let line = format!(
        r#"{{"Records":[{},{{"other":1}},{{"eventTime":"yesterday","eventSource":"a","eventName":"b"}},{deep},{{"deep":{deep}}},{}]}}"#,
        trail("a"),
        trail("b")
    );
    let batch = decode(&[&line]);
    assert_eq!(uids(&batch), ["a", "b"]);
    assert_eq!(
        reasons(&batch),
        [
            "unknown_format",
            "bad_time",
            "unknown_format",
            "unknown_format"
        ]
    );
    assert_eq!(batch.dead_letters[0].payload, b"{\"other\":1}");
    assert_eq!(batch.counts.read, 6);
}

#[test]
fn an_envelope_that_breaks_off_keeps_what_was_whole() {
    let line = format!("{{\"Records\":[{},{},{{\"eventTi", trail("a"), trail("b"));
    let batch = decode(&[&line, &trail("c")]);
    assert_eq!(uids(&batch), ["a", "b", "c"]);
    assert_eq!(
        letters(&batch),
        [("invalid_json", "the text ends early at byte 9")]
    );
    assert_eq!(batch.dead_letters[0].payload, b"{\"eventTi");
    assert_eq!(batch.counts.read, 4);
}

/// Whether the decoder looks for an event or for an envelope first depends on what came before; what it finds does not.
#[test]
fn a_torn_envelope_is_read_alike_whatever_came_before() {
    let event = r#"{"time":"2026-01-02T03:04:05Z","resourceId":"/r","operationName":"o","category":"Administrative"}"#;
    let torn = format!(r#"[{{"records":[{event},{{"ti"#);
    for before in [None, Some("{}"), Some("[{}]"), Some(r#"[{"a":[]}]"#)] {
        let lines = before.into_iter().chain([torn.as_str()]);
        let lines: Vec<_> = lines.map(str::as_bytes).collect();
        let config = DecoderConfig {
            format: FormatChoice::named("azure_activity").unwrap(),
            ..DecoderConfig::new("log")
        };
        let batch = decode_with(config, &lines);
        assert_eq!(batch.events.num_rows(), 1, "{before:?}");
        assert_eq!(batch.dead_letters.last().unwrap().payload, b"{\"ti");
    }
}

#[test]
fn bad_records_are_told_by_reason_and_cost_no_other() {
    let good = trail("a");
    let cases: [(&[u8], &str, &str); 13] = [
        (b"", "empty", "whitespace"),
        (b" \t ", "empty", "whitespace"),
        (b"\0\0\0\0", "empty", "whitespace"),
        (b"{\"eventName\":\"a", "invalid_json", "ends early at byte 15"),
        (b"not json at all", "invalid_json", "bad literal at byte 0"),
        (b"{\"a\":\"\xE2\x82", "invalid_utf8", "not UTF-8 at byte 6; without that: the text ends early"),
        (b"{\"a\":\"\xFF\"}", "unknown_format", "its keys are a"),
        (b"17", "unknown_format", "not a JSON object"),
        (b"[1,2]", "unknown_format", "2 elements"),
        (b"{}", "unknown_format", "no keys"),
        (br#"{"kind":"AdmissionReview","request":{"uid":"u"}}"#, "unknown_format", "kind is `AdmissionReview`; its keys are kind, request"),
        (br#"{"detail-type":"GuardDuty Finding","detail":{"id":"f"}}"#, "unknown_format", "detail-type is `GuardDuty Finding`"),
        (br#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2026-01-02T03:04:05Z","eventName":"ObjectCreated:Put","s3":{"bucket":{}}}]}"#, "unknown_format", "S3 notification"),
    ];
    for (case, reason, detail) in cases {
        let batch = decode_with(
            DecoderConfig::new("log"),
            &[good.as_bytes(), case, good.as_bytes()],
        );
        let shown = String::from_utf8_lossy(&case[..case.len().min(80)]).into_owned();
        assert_eq!(batch.events.num_rows(), 2, "{shown}");
        assert_eq!(
            reasons(&batch),
            [reason],
            "{shown}: {}",
            batch.dead_letters[0].detail
        );
        let letter = &batch.dead_letters[0];
        assert!(letter.detail.contains(detail), "{shown}: {}", letter.detail);
        assert_eq!(letter.position, good.len() as i64 + 1);
        // Of an envelope it is the event inside.
        assert!(letter.payload_bytes <= case.len() as u64);
        assert!(case.starts_with(b"{\"Records") || letter.payload_bytes == case.len() as u64);
        assert!(letter.payload.len() <= DEAD_LETTER_PAYLOAD);
    }
}

#[test]
fn an_event_of_a_configured_format_says_what_is_missing() {
    let config = DecoderConfig {
        format: FormatChoice::Falco,
        ..DecoderConfig::new("log")
    };
    let (event, alert) = (trail("a"), falco("b"));
    let batch = decode_with(config, &[event.as_bytes(), alert.as_bytes()]);
    assert_eq!(uids(&batch), ["b"]);
    let (reason, detail) = letters(&batch)[0];
    assert_eq!(reason, "missing_field");
    assert!(
        detail.contains("no Falco alert") && detail.contains("eventName"),
        "{detail}"
    );
}

#[test]
fn beyond_the_limits_of_size_and_depth_an_event_is_a_row_with_its_text_cut() {
    let config = DecoderConfig {
        max_record_bytes: 200,
        max_depth: 8,
        ..DecoderConfig::new("log")
    };
    let name = "é".repeat(150);
    let (long, short) = (trail(&name), trail("b"));
    let deep = short.replace(
        '}',
        &format!(",\"x\":{}1{}}}", "[".repeat(9), "]".repeat(9)),
    );
    let deepest = short.replace(
        '}',
        &format!(",\"x\":{}1{}}}", "[".repeat(500_000), "]".repeat(500_000)),
    );
    for wrap in [
        |event: &str| event.to_owned(),
        |event: &str| format!("{{\"Records\":[{event}]}}"),
        |event: &str| format!("{{\"message\":{}}}", quoted(event)),
    ] {
        let lines = [&long, &short, &deep, &deepest, &short].map(|event| wrap(event));
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        let batch = decode_with(config.clone(), &lines);
        assert_eq!(letters(&batch), []);
        assert_eq!(uids(&batch), [name.as_str(), "b", "b", "b", "b"]);
        assert_eq!(marked(&batch, col::RAW_TRUNCATED), [0, 2, 3]);
        assert_eq!(marked(&batch, col::RAW_REPAIRED), [0usize; 0]);
        let raw = |row| text(&batch, col::RAW, row);
        assert!(long.starts_with(&raw(0)) && (199..=200).contains(&raw(0).len()));
        assert_eq!(raw(1), short);
        assert!(deep.starts_with(&raw(2)) && raw(2).ends_with('['));
        assert!(raw(3).len() < 200);
    }
}

#[test]
fn an_envelope_of_rubbish_writes_a_bounded_number_of_letters() {
    let line = format!("[{}]", vec!["{}"; 50_000].join(","));
    let batch = decode(&[&line, &trail("a")]);
    assert_eq!(batch.counts.dead_lettered, 50_000);
    assert_eq!(batch.dead_letters.len(), LETTERS_PER_RECORD + 1);
    let last = &batch.dead_letters[LETTERS_PER_RECORD];
    assert!(
        last.detail.starts_with("49000 more events"),
        "{}",
        last.detail
    );
}

#[test]
fn envelopes_nest_only_so_far() {
    let mut line = trail("a");
    for _ in 0..40 {
        line = format!("[{line}]");
    }
    let batch = decode(&[&line]);
    assert_eq!(reasons(&batch), ["unknown_format"]);
}

#[test]
fn without_a_vendor_id_the_content_is_the_id() {
    let event = r#"{"eventTime":"2026-01-02T03:04:05Z","eventSource":"s","eventName":"n"}"#;
    let other = event.replace("\"n\"", "\"m\"");
    let batch = decode(&[event, &other, &format!("[{event}]")]);
    let uids = uids(&batch);
    assert_eq!(uids[0].len(), 32);
    assert_ne!(uids[0], uids[1]);
    assert_eq!(uids[0], uids[2]);
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let marked = format!("\u{feff}{}", trail("a"));
    let batch = decode(&[&marked]);
    assert_eq!(uids(&batch), ["a"]);
    assert_eq!(text(&batch, col::RAW, 0), trail("a"));
}

#[test]
fn filtered_events_are_counted_and_leave_nothing_behind() {
    let batch = decode(&[
        &audit("a", "RequestReceived"),
        &audit("b", "ResponseComplete"),
        &audit("c", "ResponseStarted"),
    ]);
    assert_eq!(uids(&batch), ["b/ResponseComplete"]);
    assert_eq!((batch.counts.read, batch.counts.filtered), (3, 2));
}

#[test]
fn what_one_block_taught_holds_in_the_next() {
    let mut decoder = Decoder::new(DecoderConfig::new("log"));
    let alert = falco("a");
    let block = Buffer::from(alert.as_bytes());
    let record = Record {
        range: 0..alert.len(),
        position: 7,
    };
    let partition = Partition::new("s", "p");
    for _ in 0..2 {
        let batch = decoder.decode(&partition, block.clone(), std::slice::from_ref(&record), 8);
        assert_eq!(batch.unwrap().events.num_rows(), 1);
    }
    // A range outside the block is the caller's mistake, and still no panic.
    let outside = Record {
        range: 5..500,
        position: 9,
    };
    let batch = decoder.decode(&partition, block, &[outside], 10).unwrap();
    assert_eq!(batch.counts.dead_lettered, 1);
}
