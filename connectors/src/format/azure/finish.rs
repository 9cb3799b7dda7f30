//! What of an Azure record depends on several values: how it ended, and who did it.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;
use weir_engine::schema::col;

use super::{ACTIVITY, NOTHING};
use crate::format::{Decoded, Stop, azure_flow, entra};
use crate::json::int;
use crate::mapping::{Event, How, int_of};

pub(super) fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const LOG: usize = 0;
    const RESOURCE: [usize; 2] = [1, 2];
    const OPERATION: [usize; 3] = [3, 4, 5];
    const METHODS: [usize; 2] = [6, 7];
    const CATEGORY: usize = 8;
    const PROPERTIES: usize = 30;
    let others = event
        .text(CATEGORY)
        .is_some_and(|text| entra::is_category(&text) || azure_flow::is_category(&text));
    if others || event.value(LOG).is_some_and(|value| value.is_string()) {
        return Ok(Decoded::NotThis);
    }
    let properties = event.text(PROPERTIES).as_deref().and_then(json_of);
    set_outcome(event, properties.as_ref());
    set_actor(event, properties.as_ref());
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
    // No name has a digit.
    if word.bytes().any(|byte| byte.is_ascii_digit()) {
        return int(word.as_bytes()).filter(|code| (100..600).contains(code));
    }
    let named = HTTP
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    named.map(|(_, code)| *code)
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

/// Where `finish` reads how it ended, by what stands there.
pub(crate) struct Places {
    /// HTTP codes. A number that is none says nothing: of what was never answered it is 0.
    pub codes: Range<usize>,
    pub words: Range<usize>,
    /// Those of the words that may say that something has only begun. Elsewhere `Accepted` is the name of a code.
    pub results: Range<usize>,
}

const PLACES: Places = Places {
    codes: 9..19,
    words: 19..28,
    results: 23..26,
};

/// What is said of the outcome in properties that are text.
const SAID: &[&str] = &[
    "httpStatusCode",
    "statusCode",
    "httpStatus",
    "responseCode",
    "scStatus",
    "ScStatus",
    "StatusCode",
    "HttpStatusCode",
    "ResponseCode",
    "succeeded",
];

/// A code of failure outweighs a word of success: Key Vault answers 403 with `resultType` Success. A start has not
/// ended, whatever it was answered.
fn set_outcome(event: &mut Event, properties: Option<&Value>) {
    const RESULT: usize = 23;
    const DESCRIPTION: usize = 28;
    let mut said = vec![];
    // The container registry writes its code where others explain it.
    if event.is(RESULT, "HttpStatusCode") {
        said.extend(event.text(DESCRIPTION).map(|text| text.into_owned()));
    }
    if let Some(properties) = properties {
        said.extend(SAID.iter().filter_map(|name| scalar(&properties[*name])));
    }
    set_words(event, &said, &PLACES);
}

/// Sets the HTTP code and the outcome that codes and words tell; `said` are codes found elsewhere.
pub(crate) fn set_words(event: &mut Event, said: &[String], places: &Places) {
    let mut code = None;
    let mut told = [false; 2];
    let mut judge = |text: &str, is_code: bool| {
        let mut add = |word: &str| {
            if let Some(failed) = failed(word) {
                told[usize::from(failed)] = true;
            }
        };
        // `Succeeded.OK`
        match int(text.as_bytes()) {
            Some(_) if is_code && http_code(text).is_none() => {}
            Some(_) => add(text),
            None => text.split('.').for_each(add),
        }
    };
    let told_codes = places.codes.clone().filter_map(|at| event.text(at));
    let said = said.iter().map(|text| Cow::Borrowed(text.as_str()));
    for text in said.chain(told_codes) {
        code = code.or_else(|| http_code(&text));
        judge(&text, true);
    }
    let mut began = false;
    for at in places.words.clone() {
        let Some(text) = event.text(at) else { continue };
        code = code.or_else(|| text.split('.').find_map(http_code));
        judge(&text, false);
        // `Accepted.Created`: the state, and the answer.
        let state = match text.split_once('.') {
            Some((state, _)) => Some(state),
            None => places.results.contains(&at).then_some(&*text),
        };
        began |= state.is_some_and(has_begun);
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
fn set_actor(event: &mut Event, properties: Option<&Value>) {
    const IDENTITY: usize = 29;
    const PRINCIPALS: [[usize; 2]; 2] = [[31, 33], [32, 34]];
    const APPS: Range<usize> = 35..39;
    const CALLER: usize = 39;
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
    if let Some(properties) = properties {
        set_properties(event, properties);
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

/// Sets what the table reads of properties, from properties that are text.
fn set_properties(event: &mut Event, properties: &Value) {
    for (path, column, how) in ACTIVITY.fields {
        let name = path.strip_prefix("properties.");
        let Some(text) = name.and_then(|name| scalar(&properties[name])) else {
            continue;
        };
        match how {
            How::Text => event.set_late(*column, &text),
            How::Lower => event.set_late(*column, &text.to_lowercase()),
            How::HostOf => event.set_late(*column, &address(&text).unwrap_or_default()),
            _ => {}
        }
    }
}

/// The address of a text that may name a port behind it.
fn address(text: &str) -> Option<String> {
    let host = match (text.strip_prefix('['), text.split_once(':')) {
        (Some(rest), _) => rest.split(']').next()?,
        (None, Some((host, port))) if !port.contains(':') => host,
        _ => text,
    };
    let address: std::net::IpAddr = host.parse().ok()?;
    Some(address.to_canonical().to_string())
}

/// What a member says: a string, a truth value or a number, an integer in digits.
fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(said) => said.to_string(),
        Value::Number(number) => match int_of(value) {
            Some(int) => int.to_string(),
            None => number.to_string(),
        },
        _ => return None,
    };
    (!text.is_empty() && !NOTHING.contains(&text.as_str())).then_some(text)
}

/// Sets who it was by the claims of a token, which stand under a member of their own or are the identity.
pub(crate) fn set_identity(event: &mut Event, identity: &Value) {
    const IDS: &[&str] = &[OBJECT_ID, "oid", "objectId"];
    const NAMES: &[&str] = &[UPN, "upn", "unique_name", "preferred_username", "email"];
    const OTHER_NAMES: &[&str] = &["subjectName", "name"];
    const APPS: &[&str] = &["appid", "appId"];
    let holders = ["claim", "claims", "requester"].map(|holder| &identity[holder]);
    for claims in holders.into_iter().chain([identity]) {
        let text = |names: &[&str]| {
            let mut texts = names.iter().filter_map(|name| claims[*name].as_str());
            let found = texts.find(|text| !text.is_empty() && !NOTHING.contains(text));
            found.unwrap_or_default().to_lowercase()
        };
        let (name, other, app) = (text(NAMES), text(OTHER_NAMES), text(APPS));
        for uid in [&text(IDS), &name, &app, &other] {
            event.set_late(col::ACTOR_UID, uid);
        }
        for name in [&name, &other] {
            event.set_late(col::ACTOR_NAME, name);
        }
        if name.contains('@') {
            event.set_late(col::ACTOR_EMAIL, &name);
        }
        event.set_late(col::ACTOR_APP_UID, &app);
    }
}

const OBJECT_ID: &str = "http://schemas.microsoft.com/identity/claims/objectidentifier";
const UPN: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn";

/// The object that a text holds.
fn json_of(text: &str) -> Option<Value> {
    let is_object = text.trim_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok())?
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
