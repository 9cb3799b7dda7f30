//! Hooks of what Azure writes.

use serde_json::Value;
use weir_engine::schema::col;

use super::Seen;
use crate::format::azure::NOTHING;
use crate::mapping::How;
use crate::slow::columns::{address, int};
use crate::slow::table::host;

pub fn azure(seen: &mut Seen) {
    azure_outcome(seen);
    azure_actor(seen);
    const METHODS: &str = "\"http://schemas.microsoft.com/claims/authnmethodsreferences\"";
    let claims = [
        format!("identity.claims.{METHODS}"),
        format!("claims.{METHODS}"),
    ];
    if let Some(methods) = seen.any(&claims.each_ref().map(String::as_str)) {
        let second = methods.split(',').any(|method| method.trim() == "mfa");
        seen.columns.set(col::ACTOR_SESSION_MFA, second);
    }
    let resource = seen
        .any(&["resourceId", "resource_id"])
        .unwrap_or_default()
        .to_lowercase();
    let parts: Vec<_> = resource
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    if let ["subscriptions", subscription, ..] = parts.as_slice() {
        seen.set(col::CLOUD_ACCOUNT, subscription);
    }
    seen.set(col::RESOURCE_NAME, parts.last().unwrap_or(&""));
    let operation = seen.any(&[
        "operationName.value",
        "operationName",
        "operation_name.value",
    ]);
    let operation = operation.unwrap_or_default().to_lowercase();
    let mut parts: Vec<_> = operation.split('/').collect();
    if parts.len() > 1 {
        seen.set(col::API_SERVICE, parts[0]);
        if parts.last() == Some(&"action") {
            parts.pop();
        }
        let verb = if parts.len() > 1 { parts.pop() } else { None };
        let kind = verb.map_or(String::new(), |_| parts.join("/"));
        seen.late.push((col::RESOURCE_TYPE, kind));
        seen.columns.set(col::IS_READ_ONLY, verb == Some("read"));
    }
}

/// The HTTP code that a word is or names.
pub fn http_code(word: &str) -> Option<i64> {
    let code = match word.to_ascii_lowercase().as_str() {
        "ok" => 200,
        "created" => 201,
        "accepted" => 202,
        "nocontent" => 204,
        "partialcontent" => 206,
        "notmodified" => 304,
        "badrequest" => 400,
        "unauthorized" => 401,
        "forbidden" => 403,
        "notfound" => 404,
        "methodnotallowed" => 405,
        "requesttimeout" => 408,
        "conflict" => 409,
        "gone" => 410,
        "preconditionfailed" => 412,
        "unprocessableentity" => 422,
        "toomanyrequests" => 429,
        "internalservererror" => 500,
        "notimplemented" => 501,
        "badgateway" => 502,
        "serviceunavailable" => 503,
        "gatewaytimeout" => 504,
        _ => int(word)?,
    };
    (100..600).contains(&code).then_some(code)
}

/// The object in text that the properties may be.
fn textual(seen: &Seen) -> Value {
    let text = seen.text("properties").unwrap_or_default();
    object_in(&text).unwrap_or_default()
}

fn object_in(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.is_object().then_some(value)
}

/// What a value says, if that is anything.
fn says(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let text = number.to_string();
            int(&text).map_or(text, |int| int.to_string())
        }
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        _ => String::new(),
    };
    let nothing = text.is_empty() || NOTHING.iter().any(|nothing| *nothing == text);
    (!nothing).then_some(text)
}

fn azure_outcome(seen: &mut Seen) {
    let registry = seen.is("resultType", "HttpStatusCode");
    let mut said: Vec<_> = seen
        .text("resultDescription")
        .filter(|_| registry)
        .into_iter()
        .collect();
    let codes = [
        "httpStatusCode",
        "statusCode",
        "httpStatus",
        "responseCode",
        "scStatus",
        "ScStatus",
        "StatusCode",
        "HttpStatusCode",
        "ResponseCode",
    ];
    let properties = textual(seen);
    let inside = codes.iter().chain(&["succeeded"]);
    said.extend(inside.filter_map(|name| says(&properties[*name])));
    let mut paths: Vec<_> = codes.map(|name| format!("properties.{name}")).into();
    paths.insert(1, "statusCode".to_owned());
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let words = [
        "subStatus.value",
        "sub_status.value",
        "resultSignature",
        "statusText",
        "properties.succeeded",
        "isRequestSuccess",
    ];
    let results = ["resultType", "status.value", "status"];
    let order = [
        words[0], words[1], words[2], words[3], results[0], results[1], results[2], words[4],
        words[5],
    ];
    outcome(seen, said, &paths, &order, &results);
}

/// The HTTP code and the outcome that these values tell; codes come first, and what is said already before them.
/// Of the words, those at `results` alone, or before a dot, tell that something has begun.
pub fn outcome(
    seen: &mut Seen,
    mut said: Vec<String>,
    codes: &[&str],
    words: &[&str],
    results: &[&str],
) {
    said.extend(codes.iter().filter_map(|path| seen.text(path)));
    let mut code = said.iter().find_map(|text| http_code(text));
    // A number that is no HTTP code is not looked at where there should be one.
    said.retain(|text| int(text).is_none() || http_code(text).is_some());
    let mut begun = false;
    for path in words {
        let text = seen.text(path).unwrap_or_default();
        code = code.or(text.split('.').find_map(http_code));
        let state = text.split('.').next().unwrap_or_default();
        if text.contains('.') || results.contains(path) {
            let starts = [
                "start",
                "started",
                "accept",
                "accepted",
                "inprogress",
                "active",
            ];
            begun |= starts.contains(&state.to_ascii_lowercase().as_str());
        }
        said.push(text);
    }
    if let Some(code) = code {
        seen.columns.set(col::HTTP_CODE, code);
    }
    let words = said.iter().flat_map(|text| match int(text) {
        Some(_) => vec![text.as_str()],
        None => text.split('.').collect(),
    });
    let outcomes = words.filter_map(|word| match (http_code(word), int(word)) {
        (Some(code), _) => (code >= 200).then_some(code >= 400),
        (None, Some(number)) => Some(number != 0),
        (None, None) => match word.to_ascii_lowercase().as_str() {
            "success" | "succeeded" | "true" => Some(false),
            "failure" | "failed" | "fail" | "error" | "denied" | "deny" | "false"
            | "clienterror" | "servererror" => Some(true),
            _ => None,
        },
    });
    let outcomes: Vec<bool> = outcomes.collect();
    if outcomes.contains(&true) {
        seen.columns.status(true);
    } else if !begun && !outcomes.is_empty() {
        seen.columns.status(false);
    }
}

/// Who it was by the claims that an identity holds or is.
pub fn identity(seen: &mut Seen, identity: &Value) {
    let inner = ["claim", "claims", "requester"].map(|holder| identity[holder].clone());
    for claims in inner.iter().chain([identity]) {
        let any = |names: &[&str]| {
            let strings = names.iter().filter(|name| claims[**name].is_string());
            let mut said = strings.filter_map(|name| says(&claims[*name]));
            said.next().unwrap_or_default().to_lowercase()
        };
        let id = "http://schemas.microsoft.com/identity/claims/objectidentifier";
        let name = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn";
        let name = any(&[name, "upn", "unique_name", "preferred_username", "email"]);
        let (other, app) = (any(&["subjectName", "name"]), any(&["appid", "appId"]));
        let mail = if name.contains('@') {
            name.clone()
        } else {
            String::new()
        };
        seen.late.extend([
            (col::ACTOR_UID, any(&[id, "oid", "objectId"])),
            (col::ACTOR_UID, name.clone()),
            (col::ACTOR_UID, app.clone()),
            (col::ACTOR_UID, other.clone()),
            (col::ACTOR_NAME, name),
            (col::ACTOR_NAME, other),
            (col::ACTOR_EMAIL, mail),
            (col::ACTOR_APP_UID, app),
        ]);
    }
}

fn azure_actor(seen: &mut Seen) {
    let caller = seen.text("caller").unwrap_or_default();
    if caller.contains('@') {
        seen.set(col::ACTOR_NAME, &caller.to_lowercase());
    }
    if let Some(text) = seen.text("identity") {
        match object_in(&text) {
            Some(object) => identity(seen, &object),
            None => {
                seen.late.push((col::ACTOR_UID, text.to_lowercase()));
                seen.late.push((col::ACTOR_NAME, text));
            }
        }
    }
    let properties = textual(seen);
    for (path, column, how) in seen.mapping.fields {
        let Some((_, name)) = path.split_once("properties.") else {
            continue;
        };
        let text = says(&properties[name]).unwrap_or_default();
        let text = match how {
            How::Text => text,
            How::Lower => text.to_lowercase(),
            How::HostOf => address(&host(&text).0).unwrap_or_default(),
            _ => continue,
        };
        seen.late.push((*column, text));
    }
    for base in ["identity.authorization", "authorization"] {
        let kind = seen.text(&format!("{base}.evidence.principalType"));
        let group = kind.is_some_and(|kind| kind.ends_with("Group"));
        if let Some(id) = seen
            .text(&format!("{base}.evidence.principalId"))
            .filter(|_| !group)
        {
            let id = id.to_lowercase();
            let hex = id.len() == 32 && id.chars().all(|digit| digit.is_ascii_hexdigit());
            let dashed = || {
                let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
                parts.join("-")
            };
            seen.late
                .push((col::ACTOR_UID, if hex { dashed() } else { id.clone() }));
        }
    }
    for app in [
        "identity.claims.appid",
        "claims.appid",
        "identity.claim.appid",
        "identity.requester.appId",
    ] {
        let app = seen.text(app).unwrap_or_default();
        seen.late.push((col::ACTOR_UID, app.to_lowercase()));
    }
}

pub fn azure_flow(seen: &mut Seen) {
    // Only virtual networks tell of encryption, and decide by the state.
    if seen.mapping.words.contains(&"encryption") {
        match seen.text("state").unwrap_or_default().as_str() {
            "D" => seen.set(col::ACTION, "denied"),
            "B" | "C" | "E" => seen.set(col::ACTION, "allowed"),
            _ => {}
        }
    }
    for (column, what) in [(col::PACKETS, "packets"), (col::BYTES, "bytes")] {
        let ways = ["sent", "received"].map(|way| seen.int(&format!("{what}_{way}")));
        if let [Some(sent), Some(received)] = ways {
            seen.columns.set(column, sent.saturating_add(received));
        }
    }
    // What the opener of the flow sent comes in where the flow does.
    let names = match seen.is("direction", "I") {
        true => ["bytes_received", "bytes_sent"],
        false => ["bytes_sent", "bytes_received"],
    };
    for (column, name) in [col::BYTES_OUT, col::BYTES_IN].into_iter().zip(names) {
        if let Some(bytes) = seen.int(name) {
            seen.columns.set(column, bytes);
        }
    }
}
