#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use serde_json::Value;

use super::*;

fn written(spec: &Spec) -> (Vec<u8>, Stats) {
    let mut out = Vec::new();
    let stats = write_events(&mut out, spec).unwrap();
    (out, stats)
}

fn lines(spec: &Spec) -> Vec<Value> {
    let (bytes, _) = written(spec);
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn spec(format: Format) -> Spec {
    Spec {
        events: 2_000,
        identities: 50,
        seed: 7,
        attacks: 0.1,
        format,
        ..Spec::default()
    }
}

#[test]
fn same_spec_same_bytes() {
    let mixed = spec(Format::Mixed);
    assert_eq!(written(&mixed), written(&mixed));
    let other = Spec {
        seed: 8,
        ..mixed.clone()
    };
    assert_ne!(written(&mixed).0, written(&other).0);
}

#[test]
fn iterator_and_writer_agree() {
    let mixed = spec(Format::Mixed);
    let mut joined = Vec::new();
    for (_, json) in Generator::new(mixed.clone()) {
        joined.extend(json);
        joined.push(b'\n');
    }
    assert_eq!(joined, written(&mixed).0);
}

#[test]
fn stats_say_what_was_written() {
    let (bytes, stats) = written(&spec(Format::Mixed));
    assert_eq!(stats.events, 2_000);
    assert_eq!(stats.bytes, bytes.len() as u64);
    assert_eq!(
        stats.cloudtrail + stats.k8s_audit + stats.falco,
        stats.events
    );
    assert!(stats.falco > 0 && stats.k8s_audit > stats.falco && stats.cloudtrail > stats.k8s_audit);
    assert!((100..300).contains(&stats.attacks), "{}", stats.attacks);
    assert_eq!(stats.newest_us - stats.oldest_us, 1_999_000);
}

#[test]
fn cloudtrail_records_have_the_vendors_shape() {
    let keys = [
        "eventVersion",
        "userIdentity",
        "eventTime",
        "eventSource",
        "eventName",
        "awsRegion",
        "sourceIPAddress",
        "userAgent",
        "requestParameters",
        "responseElements",
        "requestID",
        "eventID",
        "readOnly",
        "eventType",
        "managementEvent",
        "recipientAccountId",
        "eventCategory",
        "tlsDetails",
    ];
    let (bytes, stats) = written(&spec(Format::CloudTrail));
    let average = bytes.len() as u64 / stats.events;
    assert!(
        (1_300..1_700).contains(&average),
        "{average} bytes an event"
    );
    let records = lines(&spec(Format::CloudTrail));
    let mut ids = HashSet::new();
    let mut identities = HashSet::new();
    for record in &records {
        for key in keys {
            assert!(record.get(key).is_some(), "no {key} in {record}");
        }
        assert!(ids.insert(record["eventID"].as_str().unwrap()), "{record}");
        identities.insert(record["userIdentity"]["arn"].as_str().unwrap());
    }
    assert_eq!(identities.len(), 50);
}

#[test]
fn kubernetes_and_falco_have_the_vendors_shape() {
    for event in lines(&spec(Format::K8sAudit)) {
        for key in [
            "kind",
            "level",
            "auditID",
            "stage",
            "requestURI",
            "verb",
            "user",
            "objectRef",
            "responseStatus",
            "stageTimestamp",
        ] {
            assert!(event.get(key).is_some(), "no {key} in {event}");
        }
    }
    for event in lines(&spec(Format::Falco)) {
        for key in [
            "uuid",
            "output",
            "priority",
            "rule",
            "time",
            "source",
            "output_fields",
            "hostname",
            "tags",
        ] {
            assert!(event.get(key).is_some(), "no {key} in {event}");
        }
        let clock = &event["time"].as_str().unwrap()[11..29];
        assert!(
            event["output"].as_str().unwrap().starts_with(clock),
            "{event}"
        );
    }
}

#[test]
fn disorder_keeps_its_bound() {
    let spec = Spec {
        disorder_seconds: 2.0,
        ..spec(Format::CloudTrail)
    };
    let mut newest = DEFAULT_START_US;
    let mut backwards = 0;
    for (event, _) in Generator::new(spec) {
        assert!(
            newest - event.time_us <= 2_000_000,
            "{}",
            newest - event.time_us
        );
        backwards += usize::from(event.time_us < newest);
        newest = newest.max(event.time_us);
    }
    assert!(backwards > 500, "only {backwards} events out of order");
}
