//! CloudTrail by the book ("CloudTrail record contents", "CloudTrail userIdentity element" and "AWS console
//! sign-in events" in the AWS CloudTrail User Guide).

use weir_engine::schema::col;

use super::columns::address;
use super::{Columns, Json, Outcome, dead, holds_others, row, time};

const REQUIRED: [&str; 3] = ["eventName", "eventSource", "eventTime"];

pub fn decode(event: Json) -> Option<Vec<Outcome>> {
    if holds_others(event) {
        return None;
    }
    let values = REQUIRED.map(|key| event.any_text(&[key]));
    let [Some(_), Some(source), Some(at)] = values else {
        let missing: Vec<_> = REQUIRED
            .into_iter()
            .filter(|key| event.any_text(&[key]).is_none())
            .collect();
        return match missing.as_slice() {
            [key] if !event.under(key).is_empty() => dead("wrong_type"),
            ["eventTime"] if event.any_text(&["eventID"]).is_some() => dead("missing_field"),
            _ => None,
        };
    };
    // A notification of S3 has the three as well.
    if !event.under("s3").is_empty() {
        return dead("unknown_format");
    }
    let Some(at) = time(&at) else {
        return dead("bad_time");
    };
    let mut columns = Columns::default();
    columns.set(col::TIME, at);
    let text = |key: &str| event.text(&[key]);
    columns.text(col::API_OPERATION, text("eventName"));
    columns.text(col::API_SERVICE, text("eventSource"));
    columns.text(col::EVENT_UID, text("eventID"));
    columns.text(col::CLOUD_REGION, text("awsRegion"));
    columns.text(col::USER_AGENT, text("userAgent"));
    columns.text(col::API_REQUEST_UID, text("requestID"));
    columns.text(col::CLOUD_ACCOUNT, text("recipientAccountId"));
    columns.text(col::STATUS_CODE, text("errorCode"));
    columns.text(col::STATUS_DETAIL, text("errorMessage"));
    columns.set(col::CLOUD_PROVIDER, "AWS");
    if let Some(from) = text("sourceIPAddress") {
        match address(&from) {
            Some(address) => columns.set(col::SRC_IP, address),
            None => columns.set(col::SRC_DOMAIN, from),
        }
    }
    if let Some(reads) = event.under("readOnly").into_iter().find_map(truth) {
        columns.set(col::IS_READ_ONLY, reads);
    }
    let sign_in = source == "signin.amazonaws.com";
    columns.set(col::CLASS_UID, if sign_in { 3002 } else { 6003 });
    let answer = event
        .object("responseElements")
        .and_then(|response| response.any_text(&["ConsoleLogin"]));
    columns.status(text("errorCode").is_some() || answer.as_deref() == Some("Failure"));
    if let Some(request) = event.object("requestParameters") {
        columns.text(col::RESOURCE_NAME, object_acted_upon(request));
    }
    if let Some(resources) = event.array("resources")
        && let Some(first) = resources.elements().first()
    {
        let arn = first.members().into_iter().filter_map(|(key, value)| {
            let is_arn = matches!(key.as_str(), "ARN" | "arn");
            value.string().filter(|_| is_arn)
        });
        columns.text(
            col::RESOURCE_UID,
            arn.into_iter().find(|text| !text.is_empty()),
        );
        columns.text(col::RESOURCE_TYPE, first.text(&["type"]));
    }
    if let Some(identity) = event.object("userIdentity") {
        actor(identity, &mut columns);
    }
    let used = event.at(&["additionalEventData", "MFAUsed"]);
    let used = used
        .into_iter()
        .find_map(|value| match value.string()?.as_str() {
            "Yes" => Some(true),
            "No" => Some(false),
            _ => None,
        });
    if let Some(used) = used {
        columns.set(col::ACTOR_SESSION_MFA, used);
    }
    row(columns)
}

/// True or false, also in quotes.
fn truth(value: Json) -> Option<bool> {
    match value.scalar()?.as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn object_acted_upon(request: Json) -> Option<String> {
    [
        "bucketName",
        "userName",
        "roleName",
        "instanceId",
        "secretId",
        "functionName",
        "name",
        "groupId",
    ]
    .into_iter()
    .find_map(|key| request.text(&[key]))
}

fn actor(identity: Json, columns: &mut Columns) {
    let text = |path: &[&str]| identity.text(path);
    let kind = text(&["type"]);
    let arn = text(&["arn"]);
    let caller = arn
        .clone()
        .or(text(&["principalId"]))
        .or(text(&["invokedBy"]));
    let (mut uid, mut name) = (caller, text(&["userName"]));
    // Many sessions are one role.
    if kind.as_deref() == Some("AssumedRole") {
        let issuer = |key: &str| text(&["sessionContext", "sessionIssuer", key]);
        uid = issuer("arn").or(uid);
        name = issuer("userName").or(name);
        columns.text(col::ACTOR_SESSION_UID, arn);
    }
    columns.text(col::ACTOR_UID, uid);
    columns.text(col::ACTOR_NAME, name);
    columns.text(col::ACTOR_TYPE, kind);
    columns.text(col::ACTOR_INVOKED_BY, text(&["invokedBy"]));
    columns.text(col::ACTOR_ACCOUNT, text(&["accountId"]));
    columns.text(col::ACTOR_CREDENTIAL, text(&["accessKeyId"]));
    let mfa = identity.at(&["sessionContext", "attributes", "mfaAuthenticated"]);
    if let Some(mfa) = mfa.into_iter().find_map(truth) {
        columns.set(col::ACTOR_SESSION_MFA, mfa);
    }
}
