//! What the scenario promises: the same bytes for a seed, whole events, true ground truth.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::*;

/// The week of one seed, written and read once for all tests.
static WEEK: LazyLock<(Scenario, Vec<Delivered>)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let scenario = write_days(dir.path(), 1, DAYS, false).unwrap();
    let events = scenario.files.iter().flat_map(|path| read(path)).collect();
    (scenario, events)
});

/// One event as it lies in a file.
struct Delivered {
    source: String,
    uid: String,
    time: i64,
    json: String,
}

/// The events of a file, in order of delivery. Cut out as text: an unoptimised build takes minutes to
/// parse a whole week.
fn read(path: &Path) -> Vec<Delivered> {
    let folder = path.parent().unwrap().file_name().unwrap();
    let source = folder.to_str().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let lines: Vec<String> = if source == "cloudtrail" {
        let text = unpacked(path, bytes);
        let records = text
            .strip_prefix(r#"{"Records":["#)
            .and_then(|text| text.strip_suffix("]}"))
            .unwrap();
        let start = r#"{"eventVersion""#;
        records
            .split(&format!(",{start}"))
            .map(|record| format!("{start}{}", record.strip_prefix(start).unwrap_or(record)))
            .collect()
    } else {
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let (uid, time) = match source {
        "cloudtrail" => ("eventID", "eventTime"),
        "falco" => ("uuid", "time"),
        _ => ("auditID", "stageTimestamp"),
    };
    let uid_has_stage = uid == "auditID";
    lines
        .into_iter()
        .map(|json| {
            let text = |key: &str| {
                let (_, after) = json.split_once(&format!(r#""{key}":""#)).unwrap();
                after.split_once('"').unwrap().0.to_owned()
            };
            let time: jiff::Timestamp = text(time).parse().unwrap();
            let mut uid = text(uid);
            if uid_has_stage {
                uid = format!("{uid}/{}", text("stage"));
            }
            Delivered {
                source: source.to_owned(),
                uid,
                time: time.as_microsecond(),
                json,
            }
        })
        .collect()
}

fn unpacked(path: &Path, bytes: Vec<u8>) -> String {
    if path.extension().unwrap() != "gz" {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    GzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn a_trail_is_delivered_packed() {
    let dir = tempfile::tempdir().unwrap();
    let packed = write_days(&dir.path().join("packed"), 1, 1, true).unwrap();
    let plain = write_days(&dir.path().join("plain"), 1, 1, false).unwrap();
    let (left, right) = (&packed.files[3], &plain.files[3]);
    assert!(
        left.to_str().unwrap().ends_with("20261109T0900Z.json.gz"),
        "{}",
        left.display()
    );
    let text = |path: &Path| unpacked(path, std::fs::read(path).unwrap());
    assert!(text(left) == text(right), "packing changed the records");
    assert_eq!((packed.events, packed.bytes), (plain.events, plain.bytes));
}

#[test]
fn same_seed_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| write_days(&dir.path().join(name), seed, 1, false).unwrap();
    let (one, two, other) = (write("one", 7), write("two", 7), write("other", 8));
    assert_eq!(one.files.len(), two.files.len());
    for (index, path) in one.files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(path.file_name(), two.files[index].file_name());
        let same = bytes == std::fs::read(&two.files[index]).unwrap();
        assert!(same, "{} differs", path.display());
        let changed = bytes != std::fs::read(&other.files[index]).unwrap();
        assert!(changed, "{} ignores the seed", path.display());
    }
}

#[test]
fn events_are_unique_and_nearly_in_order() {
    let (scenario, all) = &*WEEK;
    assert_eq!(all.len(), scenario.events + scenario.duplicates);
    let plausible = 120_000..=200_000;
    assert!(
        plausible.contains(&scenario.events),
        "{} events",
        scenario.events
    );
    assert!(scenario.bytes < 200_000_000, "{} bytes", scenario.bytes);
    let mut first: HashMap<&str, &str> = HashMap::new();
    let mut newest: HashMap<&str, i64> = HashMap::new();
    let (mut twice, mut backwards) = (0, 0);
    for one in all {
        match first.get(one.uid.as_str()) {
            Some(before) => {
                twice += 1;
                assert_eq!(*before, one.json, "{} stands for two events", one.uid);
            }
            None => {
                first.insert(&one.uid, &one.json);
            }
        }
        let newest = newest.entry(&one.source).or_insert(one.time);
        assert!(
            *newest - one.time <= MAX_LATENESS_US,
            "{} is too late",
            one.uid
        );
        backwards += usize::from(one.time < *newest);
        *newest = one.time.max(*newest);
    }
    assert_eq!(twice, scenario.duplicates);
    assert!((50..2_000).contains(&twice), "{twice} duplicates");
    assert!(backwards > 1_000, "only {backwards} events out of order");
}

#[test]
fn every_step_of_an_attack_is_in_the_files() {
    let (scenario, all) = &*WEEK;
    let by_uid: HashMap<&str, &Delivered> = all.iter().map(|one| (one.uid.as_str(), one)).collect();
    assert_eq!(scenario.attacks.len(), 3);
    for attack in &scenario.attacks {
        assert!(attack.steps.len() >= 20, "{}", attack.name);
        assert!(attack.steps.is_sorted_by_key(|step| step.time_us));
        let mut named: HashSet<&str> = HashSet::new();
        for step in &attack.steps {
            let Some(event) = by_uid.get(step.event_uid.as_str()) else {
                panic!("{}: no event {}", step.what, step.event_uid);
            };
            assert_whole(event);
            assert!(
                (event.time - step.time_us).abs() < clock::SECOND,
                "{}",
                step.what
            );
            let mut about = attack
                .entities
                .iter()
                .map(String::as_str)
                .filter(|entity| event.json.contains(entity))
                .peekable();
            assert!(
                about.peek().is_some(),
                "{}: no entity in {}",
                step.what,
                event.json
            );
            named.extend(about);
        }
        assert_eq!(
            named.len(),
            attack.entities.len(),
            "{}: {named:?}",
            attack.name
        );
    }
}

#[test]
fn events_are_whole() {
    for one in WEEK.1.iter().step_by(11) {
        assert_whole(one);
    }
    for one in &WEEK.1 {
        for placeholder in ["$BUCKET", "$INSTANCE", "$SECRET", "$NUMBER"] {
            assert!(!one.json.contains(placeholder), "{}", one.json);
        }
    }
}

/// Valid JSON with all keys that the vendor always writes.
fn assert_whole(one: &Delivered) {
    let event: Value = serde_json::from_str(&one.json).unwrap();
    let keys: &[&str] = match one.source.as_str() {
        "cloudtrail" => &[
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
            "eventID",
            "readOnly",
            "eventType",
            "managementEvent",
            "recipientAccountId",
            "eventCategory",
        ],
        "falco" => &[
            "uuid",
            "output",
            "priority",
            "rule",
            "time",
            "source",
            "output_fields",
            "hostname",
            "tags",
        ],
        _ => &[
            "kind",
            "apiVersion",
            "level",
            "auditID",
            "stage",
            "requestURI",
            "verb",
            "user",
            "sourceIPs",
            "userAgent",
            "responseStatus",
            "requestReceivedTimestamp",
            "stageTimestamp",
            "annotations",
        ],
    };
    for key in keys {
        assert!(event.get(key).is_some(), "no {key} in {event}");
    }
}

#[test]
fn databases_know_the_addresses() {
    let city = maxminddb::Reader::from_source(CITY_MMDB).unwrap();
    let asn = maxminddb::Reader::from_source(ASN_MMDB).unwrap();
    assert_eq!(city.metadata().database_type, "Weir-Demo-City");
    assert_eq!(asn.metadata().database_type, "Weir-Demo-ASN");
    for (address, name, country, number) in [
        ("198.51.100.10", "Boston", "US", 64496),
        ("203.0.113.24", "Bucharest", "RO", 64503),
        ("203.0.113.77", "Amsterdam", "NL", 64504),
        ("203.0.113.140", "São Paulo", "BR", 64505),
        ("2001:db8:a::1f", "Portland", "US", 64510),
    ] {
        let address: std::net::IpAddr = address.parse().unwrap();
        let place: maxminddb::geoip2::City =
            city.lookup(address).unwrap().decode().unwrap().unwrap();
        assert_eq!(place.city.names.english, Some(name));
        assert_eq!(place.country.iso_code, Some(country));
        assert!(place.location.latitude.is_some() && place.location.longitude.is_some());
        let owner: maxminddb::geoip2::Asn = asn.lookup(address).unwrap().decode().unwrap().unwrap();
        assert_eq!(owner.autonomous_system_number, Some(number));
        assert!(owner.autonomous_system_organization.is_some());
    }
    let inside: std::net::IpAddr = "10.20.3.112".parse().unwrap();
    assert!(!city.lookup(inside).unwrap().has_data());
}

#[test]
fn tables_have_their_columns() {
    for (table, header) in [
        (INDICATORS_CSV, "indicator,type,source,confidence,expires"),
        (ASSETS_CSV, "entity,name,owner,environment,criticality"),
    ] {
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some(header));
        for line in lines {
            assert_eq!(line.split(',').count(), 5, "{line}");
        }
    }
}
