//! Kubernetes audit events, `audit.k8s.io` v1, v1beta1 and v1alpha1 (types.go of the API server's audit
//! package).
//!
//! Traps: the `auditID` is what the client says it is (header `Audit-ID`), so it decides nothing alone
//! ([`uid`], docs/adr/0008); one request is told in up to three stages, and a request that lasts is told when
//! it starts (docs/adr/0009); all of `sourceIPs` but the last can be set by the client; nothing inside names
//! the cluster; an AdmissionReview looks alike and is not an audit event.

mod identity;

use std::io::Write;

use weir_engine::builder::Interned;
use weir_engine::dedup::BUCKET;
use weir_engine::schema::col;
use weir_engine::time::floor;

use self::identity::uid;
use super::{Decoded, Labels, Row, Stop, bad_time, missing};
use crate::json::{Error, Scanner, Text};
use crate::mapping::{LogFormat, Program, Read};
use crate::time;

const API_ACTIVITY: i64 = 6003;

#[rustfmt::skip]
pub static EVENT: LogFormat = LogFormat {
    name: "Kubernetes audit event",
    source: "k8s_audit",
    family: "k8s_audit",
    product: "Kubernetes",
    needs: &[&[("auditID", &[])]],
    read: Read::Program(Program {
        decode,
        required: "auditID, and kind Event or requestURI or verb",
    }),
    reads: &[
        "annotations", "apiVersion", "auditID", "impersonatedUser", "kind", "level", "metadata", "objectRef",
        "requestObject", "requestReceivedTimestamp", "requestURI", "responseObject", "responseStatus", "sourceIPs",
        "stage", "stageTimestamp", "timestamp", "user", "userAgent", "verb",
    ],
    ..LogFormat::NEW
};

#[derive(Default)]
struct Event {
    audit_id: Option<Text>,
    stage: Option<Text>,
    kind: Option<Text>,
    /// The key is there, with whatever value.
    has_uri: bool,
    has_verb: bool,
    has_user: bool,
    has_addresses: bool,
    uri: Option<Text>,
    verb: Option<Text>,
    user: Option<Text>,
    impersonated: Option<Text>,
    agent: Option<Text>,
    address: Option<Text>,
    /// `stageTimestamp`, `requestReceivedTimestamp`, `timestamp`, `metadata.creationTimestamp`.
    times: [Option<Text>; 4],
    object: Option<Object>,
    response: Option<Response>,
}

#[derive(Default)]
struct Object {
    resource: Option<Text>,
    namespace: Option<Text>,
    name: Option<Text>,
    group: Option<Text>,
    subresource: Option<Text>,
}

#[derive(Default)]
struct Response {
    code: Option<i64>,
    message: Option<Text>,
    reason: Option<Text>,
    status: Option<Text>,
}

/// Which event of its request the object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Of old versions and of copies without it.
    Untold,
    Complete,
    Panic,
    /// Start or end of a request that lasts: one event, whichever is seen first.
    Lasting,
}

/// Stage of a request that lasts at which it is an event.
const STARTED: &[u8] = b"ResponseStarted";

fn decode(s: &mut Scanner, row: &mut Row) -> Result<Decoded, Stop> {
    let mut event = Event::default();
    s.object(|s, key| member(s, row, key, &mut event))?;
    let is_event = match event.kind {
        Some(kind) => *s.value(kind) == *b"Event",
        None => event.has_uri || event.has_verb,
    };
    let Some(audit_id) = event.audit_id.filter(|_| is_event) else {
        return Ok(Decoded::NotThis);
    };
    let Some(told) = event.times.into_iter().flatten().next() else {
        return Err(missing("stageTimestamp"));
    };
    let told = time::parse(&s.value(told)).ok_or_else(|| bad_time(s, told))?;
    let Some(stage) = stage(s, &event) else {
        return Ok(Decoded::Filtered);
    };
    let received = event.times[1].or(event.times[2]);
    let received = received.and_then(|text| time::parse(&s.value(text)));
    let at = match received {
        Some(received) if stage == Stage::Lasting => start(s, &event, told, received),
        _ => told,
    };
    row.builder.int(col::TIME, at);
    uid(s, row, &event, audit_id, (stage, told, received));
    row.text(s, col::API_REQUEST_UID, audit_id);
    row.builder.int(col::CLASS_UID, API_ACTIVITY);
    if let Some(object) = &event.object {
        object_columns(s, row, object);
    }
    if let Some(response) = &event.response {
        response_columns(s, row, response);
    }
    if stage == Stage::Panic {
        row.status(true);
    }
    Ok(Decoded::Row)
}

/// Nothing for a stage that is no event.
fn stage(s: &Scanner, event: &Event) -> Option<Stage> {
    let Some(stage) = event.stage else {
        return Some(Stage::Untold);
    };
    match &*s.value(stage) {
        b"Panic" => Some(Stage::Panic),
        b"ResponseComplete" if lasts(s, event) => Some(Stage::Lasting),
        b"ResponseComplete" => Some(Stage::Complete),
        STARTED if lasts(s, event) => Some(Stage::Lasting),
        _ => None,
    }
}

/// Whether the API server tells of the request when its answer starts (`BasicLongRunningRequestCheck`).
fn lasts(s: &Scanner, event: &Event) -> bool {
    const PROFILES: &[u8] = b"/debug/pprof/";
    let subresource = event.object.as_ref().and_then(|object| object.subresource);
    let text = |text: Option<Text>| text.map(|text| s.value(text));
    let profiled = |uri: Text| {
        // Most addresses have escapes, few in their beginning.
        let start = s.slice(uri);
        let start = &start[..start.len().min(PROFILES.len())];
        start == PROFILES || start.contains(&b'\\') && s.value(uri).starts_with(PROFILES)
    };
    matches!(
        text(event.verb).as_deref(),
        Some(b"watch" | b"watchlist" | b"proxy")
    ) || matches!(
        text(subresource).as_deref(),
        Some(b"exec" | b"attach" | b"portforward" | b"proxy" | b"log")
    ) || event.uri.is_some_and(profiled)
}

/// When a request that lasts started. Both of its stages get times in one bucket of the deduplication, as the
/// API server writes the same time of reception into both.
fn start(s: &Scanner, event: &Event, told: i64, received: i64) -> i64 {
    let started = event.stage.is_some_and(|stage| *s.value(stage) == *STARTED);
    if !started {
        return received;
    }
    let bucket = floor(received, BUCKET);
    told.clamp(bucket, bucket.saturating_add(BUCKET - 1))
}

#[inline(always)]
fn member(s: &mut Scanner, row: &mut Row, key: &[u8], event: &mut Event) -> Result<(), Stop> {
    match key {
        b"kind" => first(&mut event.kind, s)?,
        b"auditID" => first(&mut event.audit_id, s)?,
        b"stage" => first(&mut event.stage, s)?,
        b"stageTimestamp" => first(&mut event.times[0], s)?,
        b"requestReceivedTimestamp" => first(&mut event.times[1], s)?,
        b"timestamp" => first(&mut event.times[2], s)?,
        b"metadata" => s.object_or_skip(|s, key| match key {
            b"creationTimestamp" => first(&mut event.times[3], s),
            _ => s.skip(),
        })?,
        b"requestURI" => {
            event.has_uri = true;
            kept(&mut event.uri, s, row, col::URL)?;
        }
        b"verb" => {
            event.has_verb = true;
            kept(&mut event.verb, s, row, col::API_OPERATION)?;
        }
        b"userAgent" => kept(&mut event.agent, s, row, col::USER_AGENT)?,
        b"user" if !event.has_user && s.peek() == b'{' => {
            event.has_user = true;
            user(s, row, &mut event.user)?;
        }
        b"impersonatedUser" => s.object_or_skip(|s, key| match key {
            b"username" => kept(&mut event.impersonated, s, row, col::ACTOR_IMPERSONATED),
            _ => s.skip(),
        })?,
        b"sourceIPs" if !event.has_addresses && s.peek() == b'[' => {
            event.has_addresses = true;
            event.address = source_addresses(s, row)?;
        }
        b"objectRef" if event.object.is_none() && s.peek() == b'{' => {
            event.object = Some(object(s, row)?);
        }
        b"responseStatus" if event.response.is_none() && s.peek() == b'{' => {
            event.response = Some(response(s)?);
        }
        // Known, frequent and not wanted: not looked at again below.
        b"apiVersion" | b"level" | b"annotations" | b"requestObject" | b"responseObject" => {
            s.skip()?;
        }
        _ if row.rivals.keys.has(key) => return Err(Stop::NotThis),
        _ => s.skip()?,
    }
    Ok(())
}

/// The first string that is not empty.
fn first(place: &mut Option<Text>, s: &mut Scanner) -> Result<(), Error> {
    let text = s.text()?;
    if place.is_none() {
        *place = text.filter(|text| !text.is_empty());
    }
    Ok(())
}

/// The same, which also fills a column.
fn kept(
    place: &mut Option<Text>,
    s: &mut Scanner,
    row: &mut Row,
    column: usize,
) -> Result<(), Error> {
    let is_first = place.is_none();
    first(place, s)?;
    if let Some(text) = place.filter(|_| is_first) {
        row.text(s, column, text);
    }
    Ok(())
}

fn user(s: &mut Scanner, row: &mut Row, name: &mut Option<Text>) -> Result<(), Error> {
    s.object(|s, key| match key {
        b"username" => first(name, s),
        b"groups" => row.array(s, col::ACTOR_GROUPS),
        _ => s.skip(),
    })?;
    if let Some(name) = *name {
        row.text(s, col::ACTOR_UID, name);
        row.text(s, col::ACTOR_NAME, name);
        row.label(col::ACTOR_TYPE, user_type(&s.value(name), row.labels));
    }
    Ok(())
}

fn user_type(name: &[u8], labels: &Labels) -> Interned {
    if name == b"system:anonymous" {
        labels.anonymous
    } else if name.starts_with(b"system:serviceaccount:") {
        labels.service_account
    } else if name.starts_with(b"system:node:") {
        labels.node
    } else {
        labels.user
    }
}

/// Only the last address was seen by the API server itself.
fn source_addresses(s: &mut Scanner, row: &mut Row) -> Result<Option<Text>, Error> {
    let mut last = None;
    s.array(|s| {
        last = s.text()?;
        Ok::<_, Error>(())
    })?;
    if let Some(text) = last {
        row.address(s, text, col::SRC_IP, Some(col::SRC_DOMAIN));
    }
    Ok(last)
}

fn object(s: &mut Scanner, row: &mut Row) -> Result<Object, Error> {
    let mut object = Object::default();
    s.object(|s, key| match key {
        b"resource" => first(&mut object.resource, s),
        b"name" => first(&mut object.name, s),
        b"apiGroup" => first(&mut object.group, s),
        b"namespace" => kept(&mut object.namespace, s, row, col::K8S_NAMESPACE),
        b"subresource" => kept(&mut object.subresource, s, row, col::K8S_SUBRESOURCE),
        _ => s.skip(),
    })?;
    Ok(object)
}

fn object_columns(s: &Scanner, row: &mut Row, object: &Object) {
    match object.group {
        Some(group) => row.text(s, col::API_SERVICE, group),
        None => row.label(col::API_SERVICE, row.labels.core),
    }
    if let Some(resource) = object.resource {
        row.text(s, col::RESOURCE_TYPE, resource);
    }
    if let Some(name) = object.name {
        row.text(s, col::RESOURCE_NAME, name);
        if object
            .resource
            .is_some_and(|kind| *s.value(kind) == *b"pods")
        {
            row.text(s, col::K8S_POD, name);
        }
    }
}

fn response(s: &mut Scanner) -> Result<Response, Error> {
    let mut response = Response::default();
    s.object(|s, key| {
        match key {
            b"code" => {
                let code = s.int()?.filter(|code| *code > 0);
                response.code = response.code.or(code);
            }
            b"message" => first(&mut response.message, s)?,
            b"reason" => first(&mut response.reason, s)?,
            b"status" => first(&mut response.status, s)?,
            _ => s.skip()?,
        }
        Ok::<_, Error>(())
    })?;
    Ok(response)
}

fn response_columns(s: &Scanner, row: &mut Row, response: &Response) {
    if let Some(code) = response.code {
        row.builder.int(col::HTTP_CODE, code);
        row.scratch.clear();
        let _ = write!(row.scratch, "{code}");
        if let Ok(code) = std::str::from_utf8(row.scratch) {
            row.builder.text(col::STATUS_CODE, code);
        }
    }
    let says_failure = || {
        response
            .status
            .is_some_and(|text| *s.value(text) == *b"Failure")
    };
    match response.code {
        Some(code) => row.status(code >= 400),
        None if says_failure() => row.status(true),
        None => {}
    }
    if let Some(detail) = response.message.or(response.reason) {
        row.text(s, col::STATUS_DETAIL, detail);
    }
}
