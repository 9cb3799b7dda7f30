//! Kubernetes audit events, `audit.k8s.io` v1 and v1beta1 (types.go of the API server's audit package).
//!
//! Traps: one request is told in up to three stages under one `auditID`, so only the final ones become
//! rows; all of `sourceIPs` but the last can be set by the client; nothing inside names the cluster; an
//! AdmissionReview looks alike and is not an audit event.

use weir_engine::builder::Interned;
use weir_engine::schema::col;

use super::{Decoded, Labels, Row, Stop, is_envelope_key, missing};
use crate::json::{Error, Scanner, Text};

const API_ACTIVITY: i64 = 6003;

#[derive(Default)]
struct Event {
    audit_id: Option<Text>,
    stage: Option<Text>,
    kind: Option<Text>,
    uri: bool,
    verb: bool,
    user: bool,
    addresses: bool,
    /// `stageTimestamp`, `requestReceivedTimestamp`, `timestamp`, `metadata.creationTimestamp`.
    times: [Option<Text>; 4],
    object: Option<Object>,
    response: Option<Response>,
}

#[derive(Default)]
struct Object {
    resource: Option<Text>,
    name: Option<Text>,
    group: Option<Text>,
}

#[derive(Default)]
struct Response {
    code: Option<i64>,
    message: Option<Text>,
    reason: Option<Text>,
    status: Option<Text>,
}

pub(super) fn decode(s: &mut Scanner, row: &mut Row) -> Result<Decoded, Stop> {
    let mut event = Event::default();
    s.object(|s, key| member(s, row, key, &mut event))?;
    let is_event = match event.kind {
        Some(kind) => *s.value(kind) == *b"Event",
        None => event.uri || event.verb,
    };
    let Some(audit_id) = event.audit_id.filter(|_| is_event) else {
        return Ok(Decoded::NotThis);
    };
    let Some(time) = event.times.into_iter().flatten().next() else {
        return Err(missing("stageTimestamp"));
    };
    row.time(s, time)?;
    if let Some(stage) = event.stage
        && !matches!(&*s.value(stage), b"ResponseComplete" | b"Panic")
    {
        return Ok(Decoded::Filtered);
    }
    uid(s, row, audit_id, event.stage);
    row.text(s, col::API_REQUEST_UID, audit_id);
    row.builder.int(col::CLASS_UID, API_ACTIVITY);
    if let Some(object) = &event.object {
        object_columns(s, row, object);
    }
    if let Some(response) = &event.response {
        response_columns(s, row, response);
    }
    Ok(Decoded::Row)
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
            event.uri = true;
            row.string(s, col::URL)?;
        }
        b"verb" => {
            event.verb = true;
            row.string(s, col::API_OPERATION)?;
        }
        b"userAgent" => row.string(s, col::USER_AGENT)?,
        b"user" if !event.user && s.peek() == b'{' => {
            event.user = true;
            user(s, row)?;
        }
        b"impersonatedUser" => s.object_or_skip(|s, key| match key {
            b"username" => row.string(s, col::ACTOR_IMPERSONATED),
            _ => s.skip(),
        })?,
        b"sourceIPs" if !event.addresses && s.peek() == b'[' => {
            event.addresses = true;
            source_addresses(s, row)?;
        }
        b"objectRef" if event.object.is_none() && s.peek() == b'{' => {
            event.object = Some(object(s, row)?);
        }
        b"responseStatus" if event.response.is_none() && s.peek() == b'{' => {
            event.response = Some(response(s, row)?);
        }
        // Known, frequent and not wanted: not looked at again below.
        b"apiVersion" | b"level" | b"annotations" | b"requestObject" | b"responseObject" => {
            s.skip()?;
        }
        _ if is_envelope_key(key) => return Err(Stop::NotThis),
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

fn user(s: &mut Scanner, row: &mut Row) -> Result<(), Error> {
    s.object(|s, key| match key {
        b"username" => {
            if let Some(name) = s.text()?.filter(|name| !name.is_empty()) {
                row.text(s, col::ACTOR_UID, name);
                row.text(s, col::ACTOR_NAME, name);
                row.label(col::ACTOR_TYPE, user_type(&s.value(name), row.labels));
            }
            Ok(())
        }
        b"groups" => row.array(s, col::ACTOR_GROUPS),
        _ => s.skip(),
    })
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
fn source_addresses(s: &mut Scanner, row: &mut Row) -> Result<(), Error> {
    let mut last = None;
    s.array(|s| {
        last = s.text()?;
        Ok::<_, Error>(())
    })?;
    if let Some(text) = last {
        row.address(s, text, col::SRC_IP, Some(col::SRC_DOMAIN));
    }
    Ok(())
}

fn object(s: &mut Scanner, row: &mut Row) -> Result<Object, Error> {
    let mut object = Object::default();
    s.object(|s, key| match key {
        b"resource" => first(&mut object.resource, s),
        b"name" => first(&mut object.name, s),
        b"apiGroup" => first(&mut object.group, s),
        b"namespace" => row.string(s, col::K8S_NAMESPACE),
        b"subresource" => row.string(s, col::K8S_SUBRESOURCE),
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

fn response(s: &mut Scanner, row: &mut Row) -> Result<Response, Error> {
    let mut response = Response::default();
    s.object(|s, key| {
        match key {
            b"code" => {
                let quoted = s.peek() == b'"';
                let start = s.position();
                let code = s.int()?;
                if response.code.is_none()
                    && let Some(number) = code.filter(|code| *code > 0)
                {
                    response.code = code;
                    match quoted {
                        true => row.builder.text(col::STATUS_CODE, &number.to_string()),
                        false => row.slice(s, col::STATUS_CODE, start..s.position()),
                    }
                }
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

/// `auditID/stage`: the stages of one request are events of their own.
fn uid(s: &Scanner, row: &mut Row, audit_id: Text, stage: Option<Text>) {
    let Some(stage) = stage else {
        return row.text(s, col::EVENT_UID, audit_id);
    };
    row.scratch.clear();
    row.scratch.extend_from_slice(&s.value(audit_id));
    row.scratch.push(b'/');
    row.scratch.extend_from_slice(&s.value(stage));
    // Records are UTF-8.
    if let Ok(uid) = std::str::from_utf8(row.scratch) {
        row.builder.text(col::EVENT_UID, uid);
    }
}
