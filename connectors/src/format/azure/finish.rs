//! What of an Azure record depends on several values: how it ended, and who did it.

use std::ops::Range;

use serde_json::Value;
use weir_engine::schema::col;

use crate::format::{Decoded, Stop, azure_flow, entra};
use crate::json::int;
use crate::mapping::{Event, int_of};

pub(super) fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const LOG: usize = 0;
    const RESOURCE: [usize; 2] = [1, 2];
    const OPERATION: [usize; 3] = [3, 4, 5];
    const METHODS: [usize; 2] = [6, 7];
    const CATEGORY: usize = 8;
    let others = event
        .text(CATEGORY)
        .is_some_and(|text| entra::is_category(&text) || azure_flow::is_category(&text));
    if others || event.value(LOG).is_some_and(|value| value.is_string()) {
        return Ok(Decoded::NotThis);
    }
    set_outcome(event);
    set_actor(event);
    if let Some(methods) = METHODS.into_iter().find_map(|at| event.text(at)) {
        let second = methods.split(',').any(|method| method.trim() == "mfa");
        event.row.builder.bool(col::ACTOR_SESSION_MFA, second);
    }
    if let Some(resource) = RESOURCE.into_iter().find_map(|at| event.text(at)) {
        let resource = resource.to_lowercase();
        let parts: Vec<_> = resource
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        if let ["subscriptions", subscription, ..] = parts.as_slice() {
            event.set(col::CLOUD_ACCOUNT, subscription);
        }
        event.set(col::RESOURCE_NAME, parts.last().unwrap_or(&""));
    }
    // `Microsoft.KeyVault/vaults/write` is done to a `microsoft.keyvault/vaults`.
    if let Some(operation) = OPERATION.into_iter().find_map(|at| event.text(at)) {
        let operation = operation.to_lowercase();
        if let Some((service, _)) = operation.split_once('/') {
            event.set(col::API_SERVICE, service);
            let kind = operation.strip_suffix("/action").unwrap_or(&operation);
            let (kind, verb) = kind.rsplit_once('/').unwrap_or_default();
            event.set_late(col::RESOURCE_TYPE, kind);
            event.row.builder.bool(col::IS_READ_ONLY, verb == "read");
        }
    }
    Ok(Decoded::Row)
}

/// Names that Azure writes for HTTP codes.
#[rustfmt::skip]
const HTTP: &[(&str, i64)] = &[
    ("OK", 200), ("Created", 201), ("Accepted", 202), ("NoContent", 204), ("PartialContent", 206),
    ("NotModified", 304), ("BadRequest", 400), ("Unauthorized", 401), ("Forbidden", 403), ("NotFound", 404),
    ("MethodNotAllowed", 405), ("RequestTimeout", 408), ("Conflict", 409), ("Gone", 410),
    ("PreconditionFailed", 412), ("UnprocessableEntity", 422), ("TooManyRequests", 429),
    ("InternalServerError", 500), ("NotImplemented", 501), ("BadGateway", 502), ("ServiceUnavailable", 503),
    ("GatewayTimeout", 504),
];

/// The HTTP code that a word is or names.
pub(crate) fn http_code(word: &str) -> Option<i64> {
    let named = HTTP
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    let code = named.map(|(_, code)| *code);
    code.or_else(|| int(word.as_bytes()).filter(|code| (100..600).contains(code)))
}

/// Whether a word tells of a failure, if it tells an outcome at all.
fn failed(word: &str) -> Option<bool> {
    if let Some(code) = http_code(word) {
        return (code >= 200).then_some(code >= 400);
    }
    if let Some(code) = int(word.as_bytes()) {
        return Some(code != 0);
    }
    let known = WORDS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map(|(_, failed)| *failed)
}

/// Words for how it ended, and whether that is a failure.
const WORDS: &[(&str, bool)] = &[
    ("success", false),
    ("succeeded", false),
    ("true", false),
    ("failure", true),
    ("failed", true),
    ("fail", true),
    ("error", true),
    ("denied", true),
    ("deny", true),
    ("false", true),
    ("clienterror", true),
    ("servererror", true),
];

/// A code of failure outweighs a word of success: Key Vault answers 403 with `resultType` Success. A start has not
/// ended, whatever it was answered.
fn set_outcome(event: &mut Event) {
    const CODES: Range<usize> = 9..15;
    const TOLD: Range<usize> = 9..24;
    const RESULT: usize = 19;
    const DESCRIPTION: usize = 24;
    // The container registry writes its code where others explain it.
    let first = event.is(RESULT, "HttpStatusCode").then_some(DESCRIPTION);
    set_words(event, CODES, TOLD, first);
}

/// Sets the HTTP code and the outcome that the values tell which `finish` reads at these places; `codes` come
/// first, and `first` before them.
pub(crate) fn set_words(
    event: &mut Event,
    codes: Range<usize>,
    all: Range<usize>,
    first: Option<usize>,
) {
    let (mut code, mut began) = (None, false);
    let mut told = [false; 2];
    for at in first.into_iter().chain(all) {
        let Some(text) = event.text(at) else { continue };
        // `Succeeded.OK`
        let parts = || text.split('.');
        code = code.or_else(|| match codes.contains(&at) || first == Some(at) {
            true => http_code(&text),
            false => parts().find_map(http_code),
        });
        let mut judge = |word: &str| {
            began |= has_begun(word);
            if let Some(failed) = failed(word) {
                told[usize::from(failed)] = true;
            }
        };
        match first == Some(at) || int(text.as_bytes()).is_some() {
            true => judge(&text),
            false => parts().for_each(judge),
        }
    }
    if let Some(code) = code {
        event.set_int(col::HTTP_CODE, code);
    }
    match (told, began) {
        ([_, true], _) => event.row.status(true),
        ([true, false], false) => event.row.status(false),
        _ => {}
    }
}

/// Whether a word tells of what has not ended.
fn has_begun(word: &str) -> bool {
    [
        "start",
        "started",
        "accept",
        "accepted",
        "inprogress",
        "active",
    ]
    .iter()
    .any(|begun| begun.eq_ignore_ascii_case(word))
}

/// What the table does not reach: an identity that is a name or JSON in text, and what is told in properties
/// that are text.
fn set_actor(event: &mut Event) {
    const IDENTITY: usize = 25;
    const PROPERTIES: usize = 26;
    const PRINCIPALS: [[usize; 2]; 2] = [[27, 29], [28, 30]];
    const APPS: Range<usize> = 31..35;
    const CALLER: usize = 35;
    // Better than a display name.
    if let Some(caller) = event.text(CALLER).filter(|caller| caller.contains('@')) {
        event.set(col::ACTOR_NAME, &caller.to_lowercase());
    }
    if let Some(text) = event.text(IDENTITY) {
        match json_of(&text) {
            Some(identity) => set_identity(event, &identity),
            None => {
                event.set_late(col::ACTOR_UID, &text.to_lowercase());
                event.set_late(col::ACTOR_NAME, &text);
            }
        }
    }
    if let Some(properties) = event.text(PROPERTIES).as_deref().and_then(json_of) {
        for (name, column) in APP_SERVICE {
            let text = properties[*name].as_str().unwrap_or_default();
            match *column {
                col::ACTOR_UID => event.set_late(col::ACTOR_UID, &text.to_lowercase()),
                column => event.set_late(column, text),
            }
        }
        if let Some(address) = ["UserAddress", "CIp"]
            .iter()
            .find_map(|name| properties[*name].as_str())
            && let Ok(address) = address.parse::<std::net::IpAddr>()
        {
            event.set_late(col::SRC_IP, &address.to_canonical().to_string());
        }
        let code = int_of(&properties["ScStatus"]);
        if let Some(code) = code.filter(|code| (100..600).contains(code)) {
            event.set_int(col::HTTP_CODE, code);
            if code >= 200 {
                event.row.status(code >= 400);
            }
        }
    }
    for [principal, kind] in PRINCIPALS {
        // The role may have been given to a group: that is nobody.
        if let Some(principal) = event.text(principal)
            && !event.text(kind).is_some_and(|kind| kind.ends_with("Group"))
        {
            event.set_late(col::ACTOR_UID, &guid(&principal));
        }
    }
    for at in APPS {
        if let Some(app) = event.text(at) {
            event.set_late(col::ACTOR_UID, &app.to_lowercase());
        }
    }
}

/// What App Service tells in text, and where it goes.
const APP_SERVICE: &[(&str, usize)] = &[
    ("User", col::ACTOR_UID),
    ("UserDisplayName", col::ACTOR_NAME),
    ("User", col::ACTOR_NAME),
    ("CsUsername", col::ACTOR_UID),
    ("CsUsername", col::ACTOR_NAME),
    ("CsMethod", col::HTTP_METHOD),
    ("CsUriStem", col::URL),
    ("UserAgent", col::USER_AGENT),
];

fn set_identity(event: &mut Event, identity: &Value) {
    for holder in ["claim", "claims", "requester"] {
        let text = |names: &[&str]| {
            let found = names
                .iter()
                .find_map(|name| identity[holder][*name].as_str());
            found.unwrap_or_default().to_lowercase()
        };
        event.set_late(col::ACTOR_UID, &text(&[OBJECT_ID, "oid", "objectId"]));
        let upn = text(&[UPN, "upn"]);
        event.set_late(col::ACTOR_NAME, &upn);
        event.set_late(col::ACTOR_EMAIL, &upn);
        let app = text(&["appid", "appId"]);
        event.set_late(col::ACTOR_UID, &app);
        event.set_late(col::ACTOR_APP_UID, &app);
    }
}

const OBJECT_ID: &str = "http://schemas.microsoft.com/identity/claims/objectidentifier";
const UPN: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn";

/// The object that a text holds.
fn json_of(text: &str) -> Option<Value> {
    let object = text.trim_start().starts_with('{');
    serde_json::from_str(text).ok().filter(|_| object)
}

/// A GUID as the others are written: small letters, with dashes.
fn guid(text: &str) -> String {
    let text = text.to_lowercase();
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return text;
    }
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &text[range]);
    format!("{a}-{b}-{c}-{d}-{e}")
}
