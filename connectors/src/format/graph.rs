//! What Microsoft Graph answers: sign-ins and directory audits of Entra ID, and alerts of Defender XDR.
//!
//! Traps: answers are lists under `value`; the same events come from diagnostic settings in another form
//! ([`entra`](super::entra)); an alert is told again with each change, so its id is that of alert, time and
//! status; evidence is a list of objects of many types, told apart by `@odata.type`.

use serde_json::Value;
use weir_engine::schema::col;

use super::azure::NOTHING;
use super::entra::{finish_audit, finish_sign_in};
use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY, STATUS, int_of};

#[rustfmt::skip]
pub static SIGN_IN: LogFormat = LogFormat {
    name: "Entra ID sign-in of Microsoft Graph",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3002,
    needs: &[
        &[("createdDateTime", &[]), ("userPrincipalName", &[]), ("appId", &[]), ("conditionalAccessStatus", &[])],
        // What is no user has no such name, nor has a user who was deleted.
        &[("createdDateTime", &[]), ("servicePrincipalId", &[]), ("appId", &[]), ("conditionalAccessStatus", &[])],
        &[("createdDateTime", &[]), ("userId", &[]), ("appId", &[]), ("conditionalAccessStatus", &[])],
    ],
    nothing: NOTHING,
    uid: &["id"],
    fields: &[
        ("createdDateTime", col::TIME, How::Utc),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("status.errorCode", col::STATUS_CODE, How::Text),
        ("status.failureReason", col::STATUS_DETAIL, How::Text),
        ("status.additionalDetails", col::MESSAGE, How::Text),
        ("userId", col::ACTOR_UID, How::Lower),
        ("servicePrincipalId", col::ACTOR_UID, How::Lower),
        ("userPrincipalName", col::ACTOR_NAME, How::Lower),
        ("userPrincipalName", col::ACTOR_UID, How::Lower),
        ("appId", col::ACTOR_UID, How::Lower),
        ("servicePrincipalName", col::ACTOR_NAME, How::Text),
        ("userDisplayName", col::ACTOR_NAME, How::Text),
        ("userPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("userType", col::ACTOR_TYPE, How::Text),
        ("appId", col::ACTOR_APP_UID, How::Text),
        ("appDisplayName", col::ACTOR_APP_NAME, How::Text),
        ("uniqueTokenIdentifier", col::ACTOR_CREDENTIAL, How::Text),
        ("tokenIssuerName", col::ACTOR_ISSUER, How::Text),
        ("tokenIssuerType", col::ACTOR_ISSUER, How::Text),
        ("authenticationProtocol", col::AUTH_PROTOCOL, How::Text),
        ("clientAppUsed", col::AUTH_PROTOCOL, How::Text),
        ("riskLevelDuringSignIn", col::RISK_LEVEL, How::Lower),
        ("riskLevelAggregated", col::RISK_LEVEL, How::Lower),
        ("ipAddress", col::SRC_IP, How::Address),
        ("location.city", col::SRC_CITY, How::Text),
        ("location.countryOrRegion", col::SRC_COUNTRY, How::Text),
        ("location.geoCoordinates.latitude", col::SRC_LAT, How::Float),
        ("location.geoCoordinates.longitude", col::SRC_LONG, How::Float),
        ("autonomousSystemNumber", col::SRC_ASN, How::Int),
        ("userAgent", col::USER_AGENT, How::Text),
        ("deviceDetail.displayName", col::HOSTNAME, How::Text),
        ("resourceId", col::RESOURCE_UID, How::Text),
        ("resourceDisplayName", col::RESOURCE_NAME, How::Text),
        ("conditionalAccessStatus", col::ACTION, How::Lower),
        ("homeTenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure"), (col::API_OPERATION, "Sign-in activity")],
    reads: &["status.errorCode", "status.errorCode", "authenticationRequirement"],
    finish: Some(finish_sign_in),
    ..LogFormat::NEW
};

#[rustfmt::skip]
pub static AUDIT: LogFormat = LogFormat {
    name: "Entra ID audit event of Microsoft Graph",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3001,
    needs: &[&[("activityDateTime", &[]), ("activityDisplayName", &[]), ("initiatedBy", &[])]],
    nothing: NOTHING,
    uid: &["id"],
    fields: &[
        ("activityDateTime", col::TIME, How::Utc),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("activityDisplayName", col::API_OPERATION, How::Text),
        ("loggedByService", col::API_SERVICE, How::Text),
        ("operationType", col::ACTIVITY, How::Text),
        ("result", col::STATUS, STATUS),
        ("resultReason", col::STATUS_DETAIL, How::Text),
        ("initiatedBy.user.id", col::ACTOR_UID, How::Lower),
        ("initiatedBy.app.servicePrincipalId", col::ACTOR_UID, How::Lower),
        ("initiatedBy.user.userPrincipalName", col::ACTOR_NAME, How::Lower),
        ("initiatedBy.user.displayName", col::ACTOR_NAME, How::Text),
        ("initiatedBy.user.userPrincipalName", col::ACTOR_UID, How::Lower),
        ("initiatedBy.app.appId", col::ACTOR_UID, How::Lower),
        ("initiatedBy.app.displayName", col::ACTOR_UID, How::Lower),
        ("initiatedBy.app.servicePrincipalName", col::ACTOR_UID, How::Lower),
        ("initiatedBy.user.displayName", col::ACTOR_UID, How::Lower),
        ("initiatedBy.app.displayName", col::ACTOR_NAME, How::Text),
        ("initiatedBy.app.servicePrincipalName", col::ACTOR_NAME, How::Text),
        ("initiatedBy.user.userPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("initiatedBy.app.appId", col::ACTOR_APP_UID, How::Text),
        ("initiatedBy.app.displayName", col::ACTOR_APP_NAME, How::Text),
        ("initiatedBy.user.ipAddress", col::SRC_IP, How::Address),
        ("userAgent", col::USER_AGENT, How::Text),
        ("targetResources[0].id", col::RESOURCE_UID, How::Text),
        ("targetResources[0].displayName", col::RESOURCE_NAME, How::Text),
        ("targetResources[0].userPrincipalName", col::RESOURCE_NAME, How::Text),
        ("targetResources[0].type", col::RESOURCE_TYPE, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["targetResources", "initiatedBy.app", "additionalDetails"],
    finish: Some(finish_audit),
    ..LogFormat::NEW
};

#[rustfmt::skip]
pub static ALERT: LogFormat = LogFormat {
    name: "Defender XDR alert",
    source: "defender",
    family: "agent_alerts",
    product: "Defender XDR",
    class: 2004,
    needs: &[&[("serviceSource", &[]), ("detectionSource", &[]), ("lastUpdateDateTime", &[])]],
    nothing: &["None", "unknownFutureValue"],
    uid: &["id", "lastUpdateDateTime", "status"],
    fields: &[
        ("lastActivityDateTime", col::TIME, How::Utc),
        ("createdDateTime", col::TIME, How::Utc),
        ("firstActivityDateTime", col::START_TIME, How::Utc),
        ("lastActivityDateTime", col::END_TIME, How::Utc),
        ("incidentId", col::CORRELATION_UID, How::Text),
        ("severity", col::SEVERITY_ID, SEVERITY),
        ("id", col::FINDING_UID, How::Text),
        ("title", col::FINDING_TITLE, How::Text),
        ("description", col::FINDING_DESC, How::Text),
        ("category", col::FINDING_TYPE, How::Text),
        ("status", col::FINDING_STATUS, How::Lower),
        ("mitreTechniques", col::FINDING_ATTACKS, How::Json),
        ("detectorId", col::POLICY_UID, How::Text),
        ("serviceSource", col::POLICY_NAME, How::Text),
        ("tenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["evidence"],
    finish: Some(finish_alert),
    ..LogFormat::NEW
};

/// Columns that evidence fills, by its type.
#[rustfmt::skip]
const EVIDENCE: &[(&str, &[(&str, usize)])] = &[
    ("deviceEvidence", &[("/deviceDnsName", col::HOSTNAME), ("/hostName", col::HOSTNAME)]),
    ("processEvidence", &[
        ("/processCommandLine", col::PROCESS_CMD_LINE),
        ("/imageFile/fileName", col::PROCESS_NAME),
        ("/imageFile/filePath", col::PROCESS_EXE),
        ("/imageFile/sha256", col::PROCESS_HASH),
    ]),
    ("fileEvidence", &[("/fileDetails/fileName", col::FILE_PATH)]),
    ("azureResourceEvidence", &[("/resourceId", col::RESOURCE_UID), ("/resourceName", col::RESOURCE_NAME)]),
    ("amazonResourceEvidence", &[("/amazonResourceId", col::RESOURCE_UID), ("/resourceName", col::RESOURCE_NAME)]),
    ("kubernetesPodEvidence", &[("/name", col::K8S_POD), ("/namespace/name", col::K8S_NAMESPACE)]),
    ("containerEvidence", &[("/containerId", col::CONTAINER_UID), ("/name", col::CONTAINER_NAME), ("/image/imageId", col::CONTAINER_IMAGE)]),
];

/// Columns that an account fills.
const ACCOUNT: &[(&str, usize)] = &[
    ("azureAdUserId", col::ACTOR_UID),
    ("userSid", col::ACTOR_UID),
    ("userPrincipalName", col::ACTOR_UID),
    ("accountName", col::ACTOR_UID),
    ("userPrincipalName", col::ACTOR_NAME),
    ("accountName", col::ACTOR_NAME),
    ("userPrincipalName", col::ACTOR_EMAIL),
];

/// The type of a piece of evidence, without its namespace.
fn kind(evidence: &Value) -> &str {
    let kind = evidence["@odata.type"].as_str().unwrap_or_default();
    kind.rsplit('.').next().unwrap_or_default()
}

/// Sets who it was: the first account that is told of a user, of what a process, mailbox or other thing belongs to, or
/// of who was logged on to a device.
fn set_account(event: &mut Event, evidence: &[Value]) {
    let text = |account: &Value, name: &str| {
        let text = account[name]
            .as_str()
            .filter(|text| !NOTHING.contains(text));
        text.unwrap_or_default().to_lowercase()
    };
    let says = |account: &&Value| {
        ACCOUNT
            .iter()
            .any(|(name, _)| !text(account, name).is_empty())
    };
    let of_users = |is: bool| {
        let some = evidence
            .iter()
            .filter(move |one| (kind(one) == "userEvidence") == is);
        some.map(|one| &one["userAccount"])
    };
    let devices = evidence
        .iter()
        .filter_map(|one| one["loggedOnUsers"].as_array());
    let mut accounts = of_users(true)
        .chain(of_users(false))
        .chain(devices.flatten());
    if let Some(account) = accounts.find(says) {
        for (name, column) in ACCOUNT {
            // Ids and names of people are the same in either case.
            event.set(*column, &text(account, name));
        }
    }
}

fn finish_alert(event: &mut Event) -> Result<Decoded, Stop> {
    let tree = event.tree(0);
    let all = tree.as_array().map_or(&[][..], Vec::as_slice);
    set_account(event, all);
    for evidence in all {
        let kind = kind(evidence);
        let text = |path: &str| evidence.pointer(path).and_then(Value::as_str);
        if kind == "ipEvidence"
            && let Some(Ok(address)) = text("/ipAddress").map(str::parse::<std::net::IpAddr>)
        {
            event.set(col::SRC_IP, &address.to_canonical().to_string());
        }
        let known = EVIDENCE.iter().find(|(one, _)| *one == kind);
        for (path, column) in known.into_iter().flat_map(|(_, columns)| *columns) {
            event.set(*column, text(path).unwrap_or_default());
        }
        if kind == "processEvidence"
            && let Some(pid) = int_of(&evidence["processId"])
        {
            event.set_int(col::PROCESS_PID, pid);
        }
    }
    Ok(Decoded::Row)
}
