//! The Kubernetes audit of GKE: entries of `k8s.io` fill the columns of `audit.k8s.io`.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use weir_engine::schema::col;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{
    AGENT, CALLER, CLUSTER, CODE, HTTP_STATUS, INSERT_ID, LOCATION, LOG, METHOD, OPERATION_ID,
    PROJECT, REQUEST_URL, RESPONSE_CODE, RESPONSE_KIND, TIMESTAMP,
};
use crate::format::Decoded;
use crate::hash::Hex;
use crate::mapping::Event;
use crate::time;

/// What of a request the method and the resource name tell.
#[derive(Default)]
struct Request<'a> {
    verb: &'a str,
    group: &'a str,
    namespace: &'a str,
    resource: &'a str,
    name: &'a str,
    subresource: &'a str,
}

/// `io.k8s.core.v1.pods.exec.create` on `core/v1/namespaces/prod/pods/app-1/exec`. The groups of the method
/// are turned around (`io.k8s.authorization.rbac`), those of the resource are not. Nothing but the verb of what
/// is no resource: there the method has no version and the resource name is a path.
fn request<'a>(method: &'a str, resource: &'a str) -> Request<'a> {
    let verb = method.rsplit('.').next().unwrap_or_default();
    let mut parts = resource.split('/');
    let (group, version) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if !method.split('.').any(is_version) || !is_version(version) || group.is_empty() {
        return Request {
            verb,
            ..Request::default()
        };
    }
    let mut request = Request {
        verb,
        group,
        resource: parts.next().unwrap_or_default(),
        ..Request::default()
    };
    request.name = parts.next().unwrap_or_default();
    if request.resource == "namespaces" {
        request.namespace = request.name;
        let mut rest = parts.clone();
        match (rest.next(), rest.next()) {
            (None | Some("status" | "finalize"), None) => {}
            (inner, _) => {
                parts.next();
                request.resource = inner.unwrap_or_default();
                request.name = parts.next().unwrap_or_default();
            }
        }
    }
    request.subresource = parts.next().unwrap_or_default();
    request
}

/// `v1`, `v1beta1`.
fn is_version(part: &str) -> bool {
    let digits = part.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|first: char| first.is_ascii_digit())
}

pub(super) fn fill(event: &mut Event, resource: &str, who: &str) -> Decoded {
    let method = event.text(METHOD).unwrap_or_default();
    let request = request(&method, resource);
    let streams = matches!(request.subresource, "exec" | "attach" | "portforward");
    let lasts =
        streams || request.verb == "watch" || matches!(request.subresource, "proxy" | "log");
    // Of a watch that ended well nothing is lost but that it was one.
    let failed = super::failed(event) == Some(true);
    if request.verb == "watch" && super::is_last(event) && !failed {
        return Decoded::Filtered;
    }
    event.set(col::FAMILY, "k8s_audit");
    event.set(col::API_OPERATION, request.verb);
    event.set(col::API_SERVICE, request.group);
    event.set(col::K8S_NAMESPACE, request.namespace);
    event.set(col::RESOURCE_TYPE, request.resource);
    event.set(col::RESOURCE_NAME, request.name);
    event.set(col::K8S_SUBRESOURCE, request.subresource);
    if request.resource == "pods" {
        event.set(col::K8S_POD, request.name);
    }
    if event.value(REQUEST_URL).is_none() {
        let path = match (request.group, resource.split_once('/')) {
            ("", _) => format!("/{}", resource.trim_start_matches('/')),
            ("core", Some((_, rest))) => format!("/api/{rest}"),
            _ => format!("/apis/{resource}"),
        };
        event.set(col::URL, &path);
    }
    if let Some(code) = http_code(event, &request, streams) {
        event.set_int(col::HTTP_CODE, code);
    }
    let kind = match who {
        "" => "",
        "system:anonymous" => "Anonymous",
        name if name.starts_with("system:serviceaccount:") => "ServiceAccount",
        name if name.starts_with("system:node:") => "Node",
        _ => "User",
    };
    event.set(col::ACTOR_TYPE, kind);
    let half = super::is_first(event) || super::is_last(event);
    let operation = event.text(OPERATION_ID).filter(|_| lasts && half);
    uid(event, operation.as_deref(), &method, resource, who);
    Decoded::Row
}

/// The code that the API server answered with, as far as the entry tells: that of the answer, else that of the
/// gRPC status. Of success it is the one that the API server gives to such a request.
fn http_code(event: &Event, request: &Request, streams: bool) -> Option<i64> {
    let is_code = |code: &i64| (100..600).contains(code);
    if let Some(code) = event.int(HTTP_STATUS).filter(is_code) {
        return Some(code);
    }
    let told = event.int(RESPONSE_CODE).filter(is_code);
    if told.is_some() && event.is(RESPONSE_KIND, "Status") {
        return told;
    }
    let refused = super::refused(event);
    Some(match event.int(CODE).unwrap_or_default() {
        0 if refused => 403,
        0 if streams => 101,
        0 if request.verb == "create" && request.subresource != "proxy" => 201,
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        code if is_code(&code) => code,
        _ => 500,
    })
}

/// The parts of any entry's id, and a hash of what the entry says. Both entries of a request that lasts have the id of
/// its `operation`, and what both say alike (docs/adr/0009).
fn uid(event: &mut Event, operation: Option<&str>, method: &str, resource: &str, who: &str) {
    let text = |index: usize| event.text(index).unwrap_or_default();
    let (id, timestamp, log) = match operation {
        Some(operation) => (Cow::Borrowed(operation), Cow::Borrowed(""), text(LOG)),
        None => (text(INSERT_ID), text(TIMESTAMP), text(LOG)),
    };
    let micros = time::parse(timestamp.as_bytes()).unwrap_or_default();
    let parts = [
        &*id,
        who,
        method,
        resource,
        &*text(CALLER),
        &*text(AGENT),
        &*text(PROJECT),
        &*text(LOCATION),
        &*text(CLUSTER),
    ];
    let mut bytes = Vec::with_capacity(256);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let code = event.int(CODE).unwrap_or_default();
    bytes.extend_from_slice(&code.to_le_bytes());
    let hash = match operation {
        Some(_) => {
            let digest: [u8; 32] = Sha256::digest(&bytes).into();
            digest[..16]
                .iter()
                .fold(0, |hash, byte| hash << 8 | u128::from(*byte))
        }
        // A client does not know the API server's microseconds before it has sent the request.
        None => {
            bytes.extend_from_slice(&micros.to_le_bytes());
            xxh3_128_with_seed(&bytes, micros as u64)
        }
    };
    let known = [&*id, &*timestamp, &*log];
    let known = known.into_iter().filter(|part| !part.is_empty());
    let mut uid: String = known.flat_map(|part| [part, "/"]).collect();
    uid.push_str(Hex::of(hash).as_str());
    event.set(col::EVENT_UID, &uid);
}
