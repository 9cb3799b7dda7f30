//! Events inside other JSON.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{Array, AsArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use weir_connectors::slow::Json;
use weir_engine::schema::col;

use crate::{checked, config, rows};

/// Nesting that leaves room for an envelope.
const DEPTH: usize = 56;

/// One record. If it is an event, each envelope around it has to give the same event.
pub fn envelope(data: &[u8]) {
    let config = config("auto");
    let batch = checked(&config, &[data]);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some(event) = Json::parse(text, DEPTH).filter(|event| event.is_object()) else {
        return;
    };
    let raw = batch.events.column(col::RAW).as_string_view();
    if raw.len() != 1 || raw.value(0) != event.raw() {
        return;
    }
    let alone = rows(&batch);
    for wrapped in wrapped(event.raw()) {
        let batch = checked(&config, &[&wrapped]);
        let shown = String::from_utf8_lossy(&wrapped);
        assert_eq!(rows(&batch), alone, "{shown}");
        assert_eq!(batch.counts.read, 1, "{shown}");
    }
}

fn wrapped(event: &str) -> Vec<Vec<u8>> {
    let packed = gzip(event.as_bytes());
    let log = json!({"records": [{"category": "kube-audit", "properties": {"log": event}}]});
    let texts = [
        format!("[{event}]"),
        format!("[[ {event} ] ]"),
        format!("{{\"Records\":[{event}]}}"),
        format!("{{\"kind\":\"EventList\",\"items\":[{event}]}}"),
        format!(
            "{{\"logEvents\":[{{\"id\":\"1\",\"message\":{}}}]}}",
            json!(event)
        ),
        format!("{{\"version\":\"0\",\"detail-type\":\"x\",\"detail\":{event},\"resources\":[]}}"),
        format!("{{\"jsonPayload\":{event},\"insertId\":\"i\"}}"),
        format!("{{\"specversion\":\"1.0\",\"data\":{event}}}"),
        format!("{{\"EventId\":\"e\",\"CloudTrailEvent\":{}}}", json!(event)),
        format!("{{\"Type\":\"Notification\",\"Message\":{}}}", json!(event)),
        format!(
            "{{\"Records\":[{{\"messageId\":\"m\",\"body\":{}}}]}}",
            json!(event)
        ),
        json!({"message": {"data": STANDARD.encode(event), "messageId": "1"}}).to_string(),
        json!({"awslogs": {"data": STANDARD.encode(&packed)}}).to_string(),
        log.to_string(),
    ];
    let mut all: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
    all.push(gzip(event.as_bytes()));
    all
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    let written = gzip.write_all(bytes).and_then(|()| gzip.finish());
    written.unwrap_or_else(|error| panic!("{error}"))
}
