//! CloudTrail by the book ("CloudTrail record contents", "CloudTrail userIdentity element" and "AWS console
//! sign-in events" in the AWS CloudTrail User Guide).

use weir_engine::schema::col;

use super::columns::{address, int};
use super::{Columns, Json, Outcome, dead, holds_others, row, time};

const REQUIRED: [&str; 3] = ["eventName", "eventSource", "eventTime"];

pub fn decode(event: Json) -> Option<Vec<Outcome>> {
    if holds_others(event) {
        return None;
    }
    // A forwarder made text of what is no text: that is no event as it stands.
    let is_inside = |value: Json| {
        let text = value.string();
        text.is_some_and(|text| crate::envelope::exports::holds_members(text.as_bytes()))
    };
    let places = [
        "userIdentity",
        "requestParameters",
        "responseElements",
        "serviceEventDetails",
        "additionalEventData",
        "resources",
    ];
    if places
        .iter()
        .any(|place| event.under(place).into_iter().any(is_inside))
    {
        return None;
    }
    let values = REQUIRED.map(|key| event.any_text(&[key]));
    if REQUIRED.iter().all(|key| !event.under(key).is_empty()) {
        let source = values[1].clone().unwrap_or_default();
        let ours = ["amazonaws.com", "amazonaws.com.cn", "amazon.com"];
        let domain = format!(".{}", source.to_lowercase());
        let is_ours = ours
            .iter()
            .any(|ours| domain.ends_with(&format!(".{ours}")));
        let alibaba = ["acsRegion", "eventRW"]
            .iter()
            .any(|key| !event.under(key).is_empty());
        if alibaba || source.contains('.') && !is_ours {
            return dead("unknown_format");
        }
    }
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
    columns.text(col::CLOUD_ACCOUNT, account(event, "recipientAccountId"));
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
    if let Some(failed) = failed(event) {
        columns.status(failed);
    }
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
    actor(event, &mut columns);
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

/// An account number, in quotes or not.
fn account(object: Json, key: &str) -> Option<String> {
    let said = object.under(key).into_iter().filter_map(|value| {
        let number = || int(&value.scalar()?).filter(|number| *number >= 0);
        match value.string() {
            Some(text) => Some(text),
            None => Some(format!("{:012}", number()?)),
        }
    });
    said.into_iter().find(|text| !text.is_empty())
}

/// A name that is told and not hidden.
fn named(text: &String) -> bool {
    !text.is_empty() && text != "HIDDEN_DUE_TO_SECURITY_REASONS"
}

fn names(object: Json, keys: &[&str]) -> Option<String> {
    let members = object.members().into_iter();
    let mut texts = members
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .filter_map(|(_, value)| value.string());
    texts.find(named)
}

/// Whether it failed; nothing if the event does not say how it ended.
fn failed(event: Json) -> Option<bool> {
    if event
        .text(&["errorCode"])
        .or(event.text(&["errorMessage"]))
        .is_some()
    {
        return Some(true);
    }
    let sign_in = event.any_text(&["eventSource"]).as_deref() == Some("signin.amazonaws.com");
    let name = event.any_text(&["eventName"]).unwrap_or_default();
    let word = |text: String| match text.to_ascii_lowercase().as_str() {
        "success" | "succeeded" | "completed" => Some(false),
        "failure" | "failed" | "error" | "denied" => Some(true),
        _ => None,
    };
    let mut said = vec![];
    for place in ["responseElements", "serviceEventDetails"] {
        let members = event.object(place).map_or(vec![], Json::members);
        for (key, value) in members {
            if let Some(failed) = value.string().and_then(word) {
                said.push((place, key, failed));
            }
        }
    }
    let by_name = said.iter().find(|(_, key, _)| *key == name);
    let other = said.iter().find(|(place, key, _)| {
        let tells = ["status", "state", "result"].contains(&key.as_str());
        sign_in || *place == "serviceEventDetails" && tells
    });
    if let Some((_, _, failed)) = by_name.or(other) {
        return Some(*failed);
    }
    let kind = event.text(&["eventType"]).unwrap_or_default();
    let untold = ["AwsServiceEvent", "AwsConsoleSignIn"].contains(&kind.as_str());
    (!sign_in && !untold).then_some(false)
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
    .find_map(|key| {
        let texts = request.under(key).into_iter().filter_map(Json::string);
        texts.into_iter().find(named)
    })
}

/// The role of a session, `arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`, and its name.
fn role_of(session: &str) -> Option<(String, String)> {
    let (before, role) = session.split_once(":assumed-role/")?;
    let (name, _) = role.split_once('/')?;
    let [arn, partition, sts, _, account] = before.split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let is_session = arn == "arn" && sts == "sts" && !name.is_empty();
    is_session.then(|| {
        (
            format!("arn:{partition}:iam::{account}:role/{name}"),
            name.to_owned(),
        )
    })
}

fn actor(event: Json, columns: &mut Columns) {
    let identity = event.object("userIdentity");
    let text = |path: &[&str]| identity.and_then(|identity| identity.text(path));
    let shown = |key: &str| identity.and_then(|identity| names(identity, &[key]));
    let source = event.any_text(&["eventSource"]).unwrap_or_default();
    let kind = text(&["type"]).unwrap_or_default();
    let (arn, on_behalf) = (text(&["arn"]), text(&["onBehalfOf", "userId"]));
    let (principal, invoked_by) = (shown("principalId"), text(&["invokedBy"]));
    let number = identity.and_then(|identity| account(identity, "accountId"));
    let written = text(&["accountId"]);
    columns.text(col::ACTOR_TYPE, Some(kind.clone()));
    columns.text(col::ACTOR_INVOKED_BY, invoked_by.clone());
    columns.text(col::ACTOR_ACCOUNT, number);
    let credential = text(&["accessKeyId"]).or(text(&["credentialId"]));
    columns.text(col::ACTOR_CREDENTIAL, credential);
    let mfa = identity.map(|identity| {
        let at = identity.at(&["sessionContext", "attributes", "mfaAuthenticated"]);
        at.into_iter().find_map(truth)
    });
    if let Some(Some(mfa)) = mfa {
        columns.set(col::ACTOR_SESSION_MFA, mfa);
    }
    let issuer = |key: &str| text(&["sessionContext", "sessionIssuer", key]);
    // Many sessions are one role.
    if kind == "AssumedRole" {
        let role = arn.as_deref().and_then(role_of);
        let (role_arn, role_name) = role.unzip();
        let of_principal = principal.filter(|_| arn.is_none());
        let of_principal = of_principal.map(|all| all.split(':').next().unwrap_or("").to_owned());
        let of_principal = of_principal.filter(|role| !role.is_empty());
        let own = [
            issuer("arn"),
            role_arn,
            of_principal,
            arn.clone(),
            invoked_by,
            on_behalf,
        ];
        columns.text(col::ACTOR_UID, own.into_iter().flatten().next());
        let names = [issuer("userName"), shown("userName"), role_name];
        columns.text(col::ACTOR_NAME, names.into_iter().flatten().next());
        columns.text(col::ACTOR_SESSION_UID, arn);
        return;
    }
    columns.text(
        col::ACTOR_ISSUER,
        match kind.as_str() {
            "FederatedUser" => issuer("arn"),
            _ => text(&["identityProvider"]).or(text(&["onBehalfOf", "identityStoreArn"])),
        },
    );
    let additional = |keys: &[&str]| {
        let objects = event.under("additionalEventData").into_iter();
        let mut found = objects.filter_map(|object| names(object, keys));
        found.next()
    };
    let beside = additional(&["UserName", "userName"]);
    let details = event.object("serviceEventDetails");
    let details = details
        .and_then(|details| names(details, &["UserName", "userName", "username", "user_name"]));
    let request = event.object("requestParameters");
    let request = request.and_then(|request| names(request, &["UserName", "userName", "username"]));
    let at_sign_in = ["signin.amazonaws.com", "sso.amazonaws.com"].contains(&source.as_str());
    let beside = match kind.as_str() {
        _ if at_sign_in => beside.or(details).or(request),
        "IdentityCenterUser" | "Unknown" | "" => beside,
        _ => None,
    };
    let own_name = shown("userName");
    let name = own_name.clone().or(beside);
    columns.text(col::ACTOR_NAME, name.clone());
    let region = event.text(&["awsRegion"]).unwrap_or_default();
    let partition = match region.as_str() {
        china if china.starts_with("cn-") => "aws-cn",
        government if government.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let digits = |text: &String| text.chars().all(|one| one.is_ascii_digit());
    let root = [written.clone(), principal.clone()];
    let root = root.into_iter().flatten().find(digits);
    if let (Some(account), "Root", None) = (root, &*kind, &arn) {
        columns.set(
            col::ACTOR_UID,
            format!("arn:{partition}:iam::{account}:root"),
        );
    }
    if let (Some(account), Some(name), "IAMUser", None) = (&written, &own_name, &*kind, &arn) {
        let arn = format!("arn:{partition}:iam::{account}:user/{name}");
        columns.set(col::ACTOR_UID, arn);
        return;
    }
    let whole = ["Root", "AWSAccount"].contains(&kind.as_str());
    let person = on_behalf.clone().filter(|_| kind == "IdentityCenterUser");
    let uids = [
        person,
        arn.clone(),
        principal.filter(|principal| whole || Some(principal) != written.as_ref()),
        on_behalf,
        invoked_by,
        name,
        additional(&["sub"]),
        text(&["identityProvider"]),
        written.filter(|_| whole),
    ];
    columns.text(col::ACTOR_UID, uids.into_iter().flatten().next());
    if ["IAMUser", "FederatedUser"].contains(&kind.as_str())
        && let Some((_, name)) = arn.as_deref().and_then(|arn| arn.rsplit_once('/'))
    {
        columns.text(col::ACTOR_NAME, Some(name.to_owned()));
    }
}
