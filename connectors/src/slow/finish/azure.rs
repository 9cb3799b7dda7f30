//! Hooks of what Azure writes.

use weir_engine::schema::col;

use super::Seen;
use crate::slow::columns::{address, int};

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

fn azure_outcome(seen: &mut Seen) {
    let code = match seen.is("resultType", "HttpStatusCode") {
        true => seen.text("resultDescription"),
        false => None,
    };
    let codes = [
        "properties.httpStatusCode",
        "statusCode",
        "properties.statusCode",
        "properties.httpStatus",
        "properties.responseCode",
        "properties.scStatus",
    ];
    let words = [
        "subStatus.value",
        "sub_status.value",
        "resultSignature",
        "statusText",
        "resultType",
        "status.value",
        "status",
        "properties.succeeded",
        "isRequestSuccess",
    ];
    outcome(seen, code.into_iter().collect(), &codes, &words);
}

/// The HTTP code and the outcome that these values tell; codes come first, and what is said already before them.
pub fn outcome(seen: &mut Seen, mut all: Vec<String>, codes: &[&str], words: &[&str]) {
    let split = |text: String| match int(&text) {
        Some(_) => vec![text],
        None => text.split('.').map(str::to_owned).collect(),
    };
    let mut code = all.first().and_then(|word| http_code(word));
    for path in codes {
        let text = seen.text(path);
        code = code.or(text.as_deref().and_then(http_code));
        all.extend(text.map_or(vec![], split));
    }
    for path in words {
        let text = seen.text(path).unwrap_or_default();
        code = code.or(text.split('.').find_map(http_code));
        all.extend(split(text));
    }
    if let Some(code) = code {
        seen.columns.set(col::HTTP_CODE, code);
    }
    let outcome = |word: &String| match (http_code(word), int(word)) {
        (Some(code), _) => (code >= 200).then_some(code >= 400),
        (None, Some(number)) => Some(number != 0),
        (None, None) => match word.to_ascii_lowercase().as_str() {
            "success" | "succeeded" | "true" => Some(false),
            "failure" | "failed" | "fail" | "error" | "denied" | "deny" | "false"
            | "clienterror" | "servererror" => Some(true),
            _ => None,
        },
    };
    let began = all.iter().any(|word| {
        let starts = [
            "start",
            "started",
            "accept",
            "accepted",
            "inprogress",
            "active",
        ];
        starts.contains(&word.to_ascii_lowercase().as_str())
    });
    let outcomes: Vec<bool> = all.iter().filter_map(outcome).collect();
    if outcomes.contains(&true) {
        seen.columns.status(true);
    } else if !began && !outcomes.is_empty() {
        seen.columns.status(false);
    }
}

fn azure_actor(seen: &mut Seen) {
    let json = |text: &str| match text.trim_start().starts_with('{') {
        true => serde_json::from_str::<serde_json::Value>(text).ok(),
        false => None,
    };
    let caller = seen.text("caller").unwrap_or_default();
    if caller.contains('@') {
        seen.set(col::ACTOR_NAME, &caller.to_lowercase());
    }
    if let Some(text) = seen.text("identity") {
        match json(&text) {
            None => {
                seen.late.push((col::ACTOR_UID, text.to_lowercase()));
                seen.late.push((col::ACTOR_NAME, text));
            }
            Some(identity) => {
                for holder in ["claim", "claims", "requester"] {
                    let any = |names: &[&str]| {
                        let mut found = names
                            .iter()
                            .filter_map(|name| identity[holder][name].as_str());
                        found.next().unwrap_or_default().to_lowercase()
                    };
                    let id = "http://schemas.microsoft.com/identity/claims/objectidentifier";
                    let name = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn";
                    let upn = any(&[name, "upn"]);
                    let app = any(&["appid", "appId"]);
                    seen.late
                        .push((col::ACTOR_UID, any(&[id, "oid", "objectId"])));
                    seen.late.push((col::ACTOR_NAME, upn.clone()));
                    seen.late.push((col::ACTOR_EMAIL, upn));
                    seen.late.push((col::ACTOR_UID, app.clone()));
                    seen.late.push((col::ACTOR_APP_UID, app));
                }
            }
        }
    }
    if let Some(properties) = seen.text("properties").and_then(|text| json(&text)) {
        let text = |name: &str| properties[name].as_str().map(str::to_owned);
        for (name, columns) in [
            ("User", &[col::ACTOR_UID][..]),
            ("UserDisplayName", &[col::ACTOR_NAME]),
            ("User", &[col::ACTOR_NAME]),
            ("CsUsername", &[col::ACTOR_UID, col::ACTOR_NAME]),
            ("CsMethod", &[col::HTTP_METHOD]),
            ("CsUriStem", &[col::URL]),
            ("UserAgent", &[col::USER_AGENT]),
        ] {
            for column in columns {
                let text = text(name).unwrap_or_default();
                let small = *column == col::ACTOR_UID;
                seen.late
                    .push((*column, if small { text.to_lowercase() } else { text }));
            }
        }
        let from = text("UserAddress").or(text("CIp")).unwrap_or_default();
        seen.late
            .push((col::SRC_IP, address(&from).unwrap_or_default()));
        let code = match &properties["ScStatus"] {
            serde_json::Value::String(text) => int(text),
            number => int(&number.to_string()),
        };
        if let Some(code) = code.filter(|code| (100..600).contains(code)) {
            seen.columns.set(col::HTTP_CODE, code);
            if code >= 200 {
                seen.columns.status(code >= 400);
            }
        }
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
    if seen.text("decision").is_none() {
        let denied = seen.is("state", "D");
        seen.set(col::ACTION, if denied { "denied" } else { "allowed" });
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
