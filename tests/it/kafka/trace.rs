//! Events to produce: real attacks from the sample data, or our own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::PARTITIONS;
use crate::broker::Broker;

/// Events in the order in which they are produced, one JSON document each.
pub struct Trace {
    pub name: &'static str,
    pub events: Vec<Vec<u8>>,
    pub file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Trace {
    pub fn of(name: &'static str, events: Vec<Vec<u8>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("{name}.ndjson"));
        let mut lines = events.join(&b'\n');
        lines.push(b'\n');
        std::fs::write(&file, lines).unwrap();
        Self {
            name,
            events,
            file,
            _folder: folder,
        }
    }

    /// A real intrusion recorded in CloudTrail, or our own when the sample data is not here. At its end every
    /// partition gets ordinary events of the next day, by which all that was before is certain.
    pub fn intrusion() -> Self {
        let mut events =
            sample("cloudtrail/invictus_stratus_2023.ndjson.gz").unwrap_or_else(own_intrusion);
        end_with_next_day(&mut events);
        Self::of("intrusion", events)
    }

    /// Short attacks from many days in no order of time.
    pub fn detonations() -> Option<Self> {
        let mut events = sample("cloudtrail/stratus_detonation.ndjson")?;
        end_with_next_day(&mut events);
        Some(Self::of("detonations", events))
    }

    /// Produces a part in small portions with pauses, round-robin over the partitions.
    pub fn produce(
        &self,
        broker: &Broker,
        topic: &str,
        part: std::ops::Range<usize>,
        pause: Duration,
    ) {
        for portion in part.collect::<Vec<_>>().chunks(20) {
            let messages = portion
                .iter()
                .map(|n| (*n as i32 % PARTITIONS, Some(&*self.events[*n])));
            broker.produce(topic, messages);
            std::thread::sleep(pause);
        }
    }

    /// The trace in so many parts of equal length.
    pub fn parts(&self, count: usize) -> Vec<std::ops::Range<usize>> {
        let all = self.events.len();
        (0..count)
            .map(|n| all * n / count..all * (n + 1) / count)
            .collect()
    }
}

/// Lines of a file of the sample data, which lies beside the repository and is no part of it.
pub fn sample(path: &str) -> Option<Vec<Vec<u8>>> {
    let folder = std::env::var_os("WEIR_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let file = folder.join(path);
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!(
            "SKIPPED: {}: not here, using events of our own",
            file.display()
        );
        return None;
    };
    let mut text = vec![];
    if path.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(&*bytes)
            .read_to_end(&mut text)
            .unwrap();
    } else {
        text = bytes;
    }
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(<[u8]>::to_vec).collect())
}

/// Appends, for each partition, ordinary events of the day after the latest.
fn end_with_next_day(events: &mut Vec<Vec<u8>>) {
    let read = |event: &Vec<u8>| {
        let event: Value = serde_json::from_slice(event).unwrap();
        let time: jiff::Timestamp = event["eventTime"].as_str().unwrap().parse().unwrap();
        (time, event["recipientAccountId"].clone())
    };
    let (time, account) = events
        .iter()
        .map(read)
        .max_by_key(|(time, _)| *time)
        .unwrap();
    let time = time + jiff::SignedDuration::from_hours(24);
    // One alone could be a clock that is ahead (ADR 0010).
    const EACH: i32 = 8;
    events.extend((0..EACH * PARTITIONS).map(|n| {
        let time = time + jiff::SignedDuration::from_secs(i64::from(n));
        ordinary(time, &account, n)
    }));
}

fn ordinary(time: jiff::Timestamp, account: &Value, n: i32) -> Vec<u8> {
    json!({
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": account,
            "arn": format!("arn:aws:iam::{}:user/ana", account.as_str().unwrap()), "userName": "ana"
        },
        "eventTime": time.to_string(), "eventSource": "s3.amazonaws.com", "eventName": "GetObject",
        "awsRegion": "eu-west-1", "sourceIPAddress": "192.0.2.10", "userAgent": "aws-cli/2.15",
        "requestParameters": {"bucketName": "reports"}, "responseElements": null,
        "eventID": format!("{n:08}-0000-4000-8000-{:012}", time.as_second()), "readOnly": true, "eventType": "AwsApiCall",
        "managementEvent": false, "recipientAccountId": account
    })
    .to_string()
    .into_bytes()
}

/// An hour of an account: ordinary reads, and one identity that tries out stolen keys, hides and opens doors.
pub fn own_intrusion() -> Vec<Vec<u8>> {
    let second = |n: usize| {
        format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            10 + n / 3600,
            n / 60 % 60,
            n % 60
        )
    };
    let event = |n: usize,
                 user: &str,
                 service: &str,
                 operation: &str,
                 error: Option<&str>,
                 parameters: Value| {
        let mut event = json!({
            "eventVersion": "1.08",
            "userIdentity": {
                "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": "111122223333",
                "arn": format!("arn:aws:iam::111122223333:user/{user}"), "accessKeyId": format!("AKIA{user}"),
                "userName": user
            },
            "eventTime": second(n), "eventSource": format!("{service}.amazonaws.com"), "eventName": operation,
            "awsRegion": "eu-west-1", "sourceIPAddress": if user == "mallory" { "198.51.100.66" } else { "192.0.2.10" },
            "userAgent": "aws-cli/2.15", "requestParameters": parameters, "responseElements": null,
            "requestID": format!("r-{n:08}"), "eventID": format!("{n:08}-0000-4000-8000-{user:0>12}"),
            "readOnly": false, "eventType": "AwsApiCall", "managementEvent": true,
            "recipientAccountId": "111122223333"
        });
        if let Some(error) = error {
            event["errorCode"] = json!(error);
            event["errorMessage"] = json!("User is not authorized to perform this operation");
        }
        event.to_string().into_bytes()
    };
    let mut events = vec![];
    for n in 0..1800 {
        events.push(event(
            2 * n,
            "ana",
            "s3",
            "GetObject",
            None,
            json!({"bucketName": "reports", "key": format!("{n}")}),
        ));
        // Sixteen different calls are refused within four minutes.
        if (600..720).contains(&n) && n % 8 == 0 {
            let operation = format!(
                "Describe{}",
                ["Instances", "Volumes", "Vpcs", "Subnets"][n / 8 % 4]
            ) + &(n / 32).to_string();
            events.push(event(
                2 * n + 1,
                "mallory",
                "ec2",
                &operation,
                Some("AccessDenied"),
                json!({}),
            ));
        }
        let step = match n {
            740 => Some(("cloudtrail", "StopLogging", json!({"name": "main"}))),
            760 => Some(("iam", "CreateAccessKey", json!({"userName": "root-helper"}))),
            780 => Some((
                "ec2",
                "AuthorizeSecurityGroupIngress",
                json!({"groupId": "sg-1", "ipPermissions": {"items": [{
                "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}}]}}),
            )),
            800 => Some(("cloudtrail", "DeleteTrail", json!({"name": "main"}))),
            _ => None,
        };
        if let Some((service, operation, parameters)) = step {
            events.push(event(
                2 * n + 1,
                "mallory",
                service,
                operation,
                None,
                parameters,
            ));
        }
    }
    events
}
