//! What is known of the members under which forwarders and services put events: one table for the recognition of formats, the
//! reading of envelopes and the reference reader.

use std::sync::LazyLock;

use crate::mapping::Keys;

/// An array of events, or of envelopes.
pub(crate) const ARRAY: u8 = 1;
/// An event as an object, or an envelope.
pub(crate) const OBJECT: u8 = 2;
/// Events as text: JSON, or lines of a log.
pub(crate) const TEXT: u8 = 4;
/// Events in base64, compressed or not.
pub(crate) const BASE64: u8 = 8;
/// An object with such a member is no event itself.
pub(crate) const ONLY_ENVELOPES: u8 = 16;

/// Member, and what may stand under it. Of two that hold the same event the first that is one counts.
pub(crate) const MEMBERS: &[(&str, u8)] = &[
    // CloudTrail objects and SQS/SNS/Kinesis events of Lambda; Event Hubs; Firehose over HTTP.
    ("Records", ARRAY | ONLY_ENVELOPES),
    ("records", ARRAY | ONLY_ENVELOPES),
    // Lists of Kubernetes; LookupEvents; CloudWatch Logs (`filter-log-events`, subscriptions).
    ("items", ARRAY | ONLY_ENVELOPES),
    ("Events", ARRAY | ONLY_ENVELOPES),
    ("events", ARRAY),
    ("logEvents", ARRAY | ONLY_ENVELOPES),
    // GuardDuty and Security Hub; queues; Microsoft Graph; Cloud Logging's `entries.list`.
    ("findings", ARRAY),
    ("Findings", ARRAY),
    ("Messages", ARRAY),
    ("receivedMessages", ARRAY),
    ("value", ARRAY),
    ("entries", ARRAY),
    // OpenTelemetry.
    ("resourceLogs", ARRAY),
    ("scopeLogs", ARRAY),
    ("logRecords", ARRAY),
    ("stringValue", TEXT),
    // Elasticsearch and Splunk.
    ("hits", ARRAY | OBJECT),
    ("_source", OBJECT),
    ("results", ARRAY),
    ("result", OBJECT),
    ("_raw", TEXT),
    // EventBridge; Cloud Logging; Event Grid, CloudEvents, Okta's hooks, Pub/Sub and Kinesis.
    ("detail", OBJECT | ONLY_ENVELOPES),
    ("jsonPayload", OBJECT | ONLY_ENVELOPES),
    ("textPayload", TEXT),
    ("data", ARRAY | OBJECT | TEXT | BASE64),
    ("Data", BASE64),
    ("kinesis", OBJECT),
    ("Sns", OBJECT),
    ("awslogs", OBJECT),
    // LookupEvents; CloudTrail Lake.
    ("CloudTrailEvent", TEXT | ONLY_ENVELOPES),
    ("eventJson", TEXT),
    ("eventData", OBJECT | TEXT),
    // Event Hubs of AKS: see `kubernetes_log`.
    ("properties", ONLY_ENVELOPES),
    // Forwarders: Fluent Bit, Docker, Vector, Logstash and Beats, journald, Splunk's collector, Kafka Connect, queues.
    ("message", OBJECT | TEXT),
    ("Message", TEXT),
    ("@message", TEXT),
    ("MESSAGE", TEXT),
    ("msg", OBJECT | TEXT),
    ("log", OBJECT | TEXT),
    ("log_processed", OBJECT),
    ("event", OBJECT | TEXT),
    ("original", TEXT),
    ("body", OBJECT | TEXT),
    ("Body", OBJECT | TEXT),
    ("payload", OBJECT | TEXT),
    ("record", OBJECT | TEXT),
    ("raw", TEXT),
    ("RawData", TEXT),
];

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Keys::default();
    for (key, what) in MEMBERS {
        keys.get_or_insert(key.as_bytes(), || u16::from(*what));
    }
    keys
});

/// What may stand under the member; 0 if nothing is known of it.
#[inline]
pub(crate) fn holds(key: &[u8]) -> u8 {
    KEYS.get(key).unwrap_or_default() as u8
}
