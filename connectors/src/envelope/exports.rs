//! CloudTrail events as databases give them: the columns of an Athena table, and the rows of a CloudTrail Lake query; and with
//! members that a forwarder made JSON in text. They are put
//! back into the form in which CloudTrail wrote them, as rules know it.

use serde_json::{Map, Value};

/// Keys of CloudTrail below the top whose case a database loses.
const KEYS: &[&str] = &[
    "eventVersion",
    "userIdentity",
    "eventTime",
    "eventSource",
    "eventName",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "errorCode",
    "errorMessage",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "requestID",
    "eventID",
    "eventType",
    "apiVersion",
    "readOnly",
    "managementEvent",
    "recipientAccountId",
    "serviceEventDetails",
    "sharedEventID",
    "vpcEndpointId",
    "vpcEndpointAccountId",
    "eventCategory",
    "tlsDetails",
    "tlsVersion",
    "cipherSuite",
    "clientProvidedHostHeader",
    "principalId",
    "accountId",
    "accessKeyId",
    "userName",
    "invokedBy",
    "sessionContext",
    "sessionIssuer",
    "mfaAuthenticated",
    "creationDate",
    "webIdFederationData",
    "federatedProvider",
    "sourceIdentity",
    "ec2RoleDelivery",
    "identityProvider",
    "onBehalfOf",
    "userId",
    "identityStoreArn",
    "credentialId",
    "resourceName",
    "sessionCredentialFromConsole",
    "edgeDeviceDetails",
    "addendum",
    "arn",
    "type",
    "attributes",
    "resources",
];

/// Columns that hold JSON as text.
const TEXTS: &[&str] = &[
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "serviceEventDetails",
    "userIdentity",
    "resources",
    "tlsDetails",
    "addendum",
    "edgeDeviceDetails",
];

/// The top-level keys by which an exported event is known, in lower case.
pub(super) const REQUIRED: [&str; 3] = ["eventname", "eventsource", "eventtime"];

/// The event of a row whose columns are named in lower case, or are JSON in text; nothing if it is none, or was one already.
pub(super) fn of_row(object: &[u8]) -> Option<String> {
    let Value::Object(row) = serde_json::from_slice(object).ok()? else {
        return None;
    };
    let before = row.clone();
    let event = native(row)?;
    (event != before).then(|| Value::Object(event).to_string())
}

/// Whether the text of such a column is an object or an array.
pub(crate) fn holds_members(text: &str) -> bool {
    text.trim_ascii_start().starts_with(['{', '['])
        && matches!(
            of_text(text.to_owned(), ""),
            Value::Object(_) | Value::Array(_)
        )
}

/// The event of a row that is an array of objects with one column each.
pub(super) fn of_cells(array: &[u8]) -> Option<String> {
    let cells: Vec<Map<String, Value>> = serde_json::from_slice(array).ok()?;
    let event = native(cells.into_iter().flatten().collect())?;
    Some(Value::Object(event).to_string())
}

fn native(row: Map<String, Value>) -> Option<Map<String, Value>> {
    let mut event = Map::new();
    for (key, value) in row {
        let key = named(key);
        let value = match value {
            Value::String(text) if TEXTS.contains(&key.as_str()) => of_text(text, &key),
            Value::String(text) if key == "eventTime" => Value::String(utc(text)),
            Value::String(text) if text == "null" => Value::Null,
            value => renamed(value, &key),
        };
        event.insert(key, value);
    }
    let has = |key: &&str| event.get(*key).is_some_and(Value::is_string);
    let is_event = ["eventName", "eventSource", "eventTime"].iter().all(has);
    is_event.then_some(event)
}

fn named(key: String) -> String {
    let known = KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key));
    known.map_or(key, |known| (*known).to_owned())
}

/// Names below a column; what stands in parameters and answers is the caller's own.
fn renamed(value: Value, column: &str) -> Value {
    if matches!(
        column,
        "requestParameters" | "responseElements" | "additionalEventData" | "serviceEventDetails"
    ) {
        return value;
    }
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (named(key), renamed(value, column)))
            .collect(),
        Value::Array(elements) => elements
            .into_iter()
            .map(|value| renamed(value, column))
            .collect(),
        value => value,
    }
}

/// JSON, or a structure as Presto prints it: `{type=IAMUser, arn=…, sessioncontext=null}`.
fn of_text(text: String, column: &str) -> Value {
    if text.is_empty() || text == "null" {
        return Value::Null;
    }
    match serde_json::from_str(&text) {
        Ok(value) => renamed(value, column),
        Err(_) => match structure(&text) {
            Some((value, "")) => value,
            _ => Value::String(text),
        },
    }
}

/// The structure that the text begins with, and what follows. Values hold commas: one ends where a key with its sign follows.
fn structure(text: &str) -> Option<(Value, &str)> {
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut elements = vec![];
        while let Some((element, after)) = structure(rest) {
            elements.push(element);
            rest = after.strip_prefix(", ").unwrap_or(after);
        }
        return Some((Value::Array(elements), rest.strip_prefix(']')?));
    }
    let mut rest = text.strip_prefix('{')?;
    let mut members = Map::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((Value::Object(members), after));
        }
        let (key, after) = rest.split_once('=')?;
        if key.is_empty() || !key.chars().all(|one| one.is_alphanumeric() || one == '_') {
            return None;
        }
        let (value, after) = match structure(after) {
            Some(found) => found,
            None => {
                let end = end_of_value(after)?;
                let value = match &after[..end] {
                    "null" => Value::Null,
                    value => Value::String(value.to_owned()),
                };
                (value, &after[end..])
            }
        };
        members.insert(named(key.to_owned()), value);
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
}

fn end_of_value(text: &str) -> Option<usize> {
    let comma = text.match_indices(", ").map(|(at, _)| at).find(|at| {
        let key = text[at + 2..].split('=').next().unwrap_or_default();
        key.len() < text.len() - at - 2
            && !key.is_empty()
            && key.chars().all(|one| one.is_alphanumeric() || one == '_')
    });
    let brace = text.find('}')?;
    Some(comma.map_or(brace, |comma| comma.min(brace)))
}

/// A time of which the database lost the zone: CloudTrail means UTC.
fn utc(text: String) -> String {
    let is_bare = text.len() >= 19
        && text.as_bytes()[10] == b' '
        && !text.ends_with('Z')
        && !text.contains('+');
    match is_bare {
        true => format!("{}T{}Z", &text[..10], text[11..].trim_end_matches(" UTC")),
        false => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_both_databases_become_the_event() {
        let event = json!({
            "eventVersion": "1.08", "eventTime": "2026-10-14T09:00:00Z", "eventSource": "iam.amazonaws.com", "eventName": "CreateUser",
            "sourceIPAddress": "203.0.113.7", "requestParameters": {"userName": "eve", "tags": [{"Key": "a"}]},
            "userIdentity": {"type": "AssumedRole", "principalId": "AROA:x", "arn": "arn:aws:sts::1:assumed-role/R/x", "accessKeyId": "ASIA",
                "sessionContext": {"attributes": {"mfaAuthenticated": "false"}, "sessionIssuer": {"userName": "R"}}},
        });
        let athena = json!({
            "eventversion": "1.08", "eventtime": "2026-10-14T09:00:00Z", "eventsource": "iam.amazonaws.com", "eventname": "CreateUser",
            "sourceipaddress": "203.0.113.7", "requestparameters": "{\"userName\":\"eve\",\"tags\":[{\"Key\":\"a\"}]}",
            "useridentity": {"type": "AssumedRole", "principalid": "AROA:x", "arn": "arn:aws:sts::1:assumed-role/R/x", "accesskeyid": "ASIA",
                "sessioncontext": {"attributes": {"mfaauthenticated": "false"}, "sessionissuer": {"username": "R"}}},
        });
        let read = |text: Option<String>| serde_json::from_str::<Value>(&text.unwrap()).unwrap();
        assert_eq!(read(of_row(athena.to_string().as_bytes())), event);
        let lake = json!([
            {"eventVersion": "1.08"}, {"eventTime": "2026-10-14 09:00:00.000"}, {"eventSource": "iam.amazonaws.com"},
            {"eventName": "CreateUser"},
            {"userIdentity": "{type=IAMUser, principalid=A, arn=arn:aws:iam::1:user/a, b, sessioncontext={attributes={mfaauthenticated=false}, sessionissuer=null}}"},
        ]);
        let read = read(of_cells(lake.to_string().as_bytes()));
        assert_eq!(read["eventTime"], "2026-10-14T09:00:00.000Z");
        assert_eq!(read["userIdentity"]["arn"], "arn:aws:iam::1:user/a, b");
        assert_eq!(
            read["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"],
            "false"
        );
        assert_eq!(of_row(b"{\"eventname\":1}"), None);
        assert_eq!(of_cells(b"[{\"a\":\"b\"}]"), None);
    }
}
