//! Entra ID sign-in and audit logs, as diagnostic settings export them.
//!
//! Traps: `resultType` is an error code, `0` for success, and some codes only interrupt a sign-in that goes on;
//! values in `modifiedProperties` are JSON in text; the actor is a user or an application; `"None"` means
//! nothing; a risky user is named by the record's own `id`.

mod others;

use weir_engine::schema::col;

pub use self::others::{CALL, PROVISIONING, RISK};
use super::azure::NOTHING;
use super::{Decoded, Stop};
use crate::json::int;
use crate::mapping::{Event, How, LogFormat, STATUS};

const SIGN_INS: &[&str] = &[
    "SignInLogs",
    "NonInteractiveUserSignInLogs",
    "ServicePrincipalSignInLogs",
    "ManagedIdentitySignInLogs",
    "ADFSSignInLogs",
    "MicrosoftServicePrincipalSignInLogs",
];

const AUDITS: &[&str] = &["AuditLogs"];

const RISKS: &[&str] = &[
    "UserRiskEvents",
    "RiskyUsers",
    "ServicePrincipalRiskEvents",
    "RiskyServicePrincipals",
];

const PROVISIONINGS: &[&str] = &["ProvisioningLogs"];

const CALLS: &[&str] = &["MicrosoftGraphActivityLogs"];

/// Error codes after which a sign-in goes on, or could: more is asked of the user, or a page stands in between.
/// Microsoft's own sign-in workbook tells them as Interrupt, and its list of AADSTS codes as an interrupt or as
/// a demand that is part of signing in.
pub(crate) const INTERRUPTS: &[i64] = &[
    16000, 16001, 16002, 16003, 50055, 50058, 50059, 50072, 50074, 50076, 50078, 50079, 50097,
    50125, 50127, 50129, 50135, 50136, 50140, 50142, 50143, 50144, 50155, 50157, 50158, 50168,
    50199, 50201, 50203, 51005, 51006, 52004, 53004, 65001, 70016, 81010, 81012, 81014, 90095,
    160021, 9002341,
];

/// Whether Azure's other logs leave records of this category to Entra ID.
pub(crate) fn is_category(category: &str) -> bool {
    let all = [SIGN_INS, AUDITS, RISKS, PROVISIONINGS, CALLS];
    all.iter().any(|one| one.contains(&category))
}

#[rustfmt::skip]
pub static SIGN_IN: LogFormat = LogFormat {
    name: "Entra ID sign-in",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3002,
    needs: &[&[("category", SIGN_INS)]],
    nothing: NOTHING,
    uid: &["properties.id"],
    fields: &[
        ("properties.createdDateTime", col::TIME, How::Utc),
        ("time", col::TIME, How::Utc),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("durationMs", col::DURATION, How::Int),
        ("operationName", col::API_OPERATION, How::Text),
        ("category", col::ACTIVITY, How::Text),
        ("resultType", col::STATUS_CODE, How::Text),
        ("properties.status.errorCode", col::STATUS_CODE, How::Text),
        ("resultDescription", col::STATUS_DETAIL, How::Text),
        ("properties.status.failureReason", col::STATUS_DETAIL, How::Text),
        ("properties.status.additionalDetails", col::MESSAGE, How::Text),
        ("properties.userId", col::ACTOR_UID, How::Lower),
        ("properties.servicePrincipalId", col::ACTOR_UID, How::Lower),
        ("properties.userPrincipalName", col::ACTOR_NAME, How::Lower),
        ("properties.userPrincipalName", col::ACTOR_UID, How::Lower),
        ("properties.appId", col::ACTOR_UID, How::Lower),
        ("properties.servicePrincipalName", col::ACTOR_NAME, How::Text),
        ("properties.alternateSignInName", col::ACTOR_NAME, How::Lower),
        ("properties.userDisplayName", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_UID, How::Lower),
        ("properties.userPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("properties.userType", col::ACTOR_TYPE, How::Text),
        ("properties.appId", col::ACTOR_APP_UID, How::Text),
        ("properties.appDisplayName", col::ACTOR_APP_NAME, How::Text),
        ("properties.uniqueTokenIdentifier", col::ACTOR_CREDENTIAL, How::Text),
        ("properties.tokenIssuerName", col::ACTOR_ISSUER, How::Text),
        ("properties.tokenIssuerType", col::ACTOR_ISSUER, How::Text),
        ("properties.authenticationProtocol", col::AUTH_PROTOCOL, How::Text),
        ("properties.clientAppUsed", col::AUTH_PROTOCOL, How::Text),
        ("properties.riskLevelDuringSignIn", col::RISK_LEVEL, How::Lower),
        ("properties.riskLevelAggregated", col::RISK_LEVEL, How::Lower),
        ("properties.ipAddress", col::SRC_IP, How::HostOf),
        ("callerIpAddress", col::SRC_IP, How::HostOf),
        ("properties.location.city", col::SRC_CITY, How::Text),
        ("properties.location.countryOrRegion", col::SRC_COUNTRY, How::Text),
        ("properties.location.geoCoordinates.latitude", col::SRC_LAT, How::Float),
        ("properties.location.geoCoordinates.longitude", col::SRC_LONG, How::Float),
        ("properties.autonomousSystemNumber", col::SRC_ASN, How::Int),
        ("properties.userAgent", col::USER_AGENT, How::Text),
        ("properties.deviceDetail.displayName", col::HOSTNAME, How::Text),
        ("properties.resourceId", col::RESOURCE_UID, How::Text),
        ("properties.resourceDisplayName", col::RESOURCE_NAME, How::Text),
        ("properties.conditionalAccessStatus", col::ACTION, How::Lower),
        ("tenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["resultType", "properties.status.errorCode", "properties.authenticationRequirement"],
    finish: Some(finish_sign_in),
    ..LogFormat::NEW
};

pub(super) fn finish_sign_in(event: &mut Event) -> Result<Decoded, Stop> {
    if let Some(code) = event.text(0).or_else(|| event.text(1)) {
        set_sign_in_status(event, &code);
    }
    match event.text(2).as_deref() {
        Some("multiFactorAuthentication") => event.row.builder.bool(col::ACTOR_SESSION_MFA, true),
        Some("singleFactorAuthentication") => event.row.builder.bool(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
    Ok(Decoded::Row)
}

/// The outcome that an error code of a sign-in tells; ADFS writes words in its place.
pub(crate) fn set_sign_in_status(event: &mut Event, code: &str) {
    match (int(code.as_bytes()), code.to_ascii_lowercase().as_str()) {
        (Some(0), _) | (None, "success" | "succeeded") => event.row.status(false),
        (Some(code), _) if INTERRUPTS.contains(&code) => event.set(col::STATUS, "interrupted"),
        (Some(_), _) | (None, "failure" | "failed") => event.row.status(true),
        (None, _) => {}
    }
}

#[rustfmt::skip]
pub static AUDIT: LogFormat = LogFormat {
    name: "Entra ID audit event",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3001,
    needs: &[&[("category", AUDITS)]],
    nothing: NOTHING,
    uid: &["properties.id"],
    fields: &[
        ("properties.activityDateTime", col::TIME, How::Utc),
        ("time", col::TIME, How::Utc),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("durationMs", col::DURATION, How::Int),
        ("properties.activityDisplayName", col::API_OPERATION, How::Text),
        ("operationName", col::API_OPERATION, How::Text),
        ("properties.loggedByService", col::API_SERVICE, How::Text),
        ("properties.operationType", col::ACTIVITY, How::Text),
        ("properties.result", col::STATUS, STATUS),
        ("resultType", col::STATUS, STATUS),
        ("properties.resultReason", col::STATUS_DETAIL, How::Text),
        ("resultDescription", col::STATUS_DETAIL, How::Text),
        ("properties.initiatedBy.user.id", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.app.servicePrincipalId", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.user.userPrincipalName", col::ACTOR_NAME, How::Lower),
        ("properties.initiatedBy.user.displayName", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.user.userPrincipalName", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.app.appId", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.app.displayName", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.app.servicePrincipalName", col::ACTOR_NAME, How::Text),
        // Of Intune, whose audit log has the same category.
        ("properties.Actor.ObjectId", col::ACTOR_UID, How::Lower),
        ("properties.Actor.UPN", col::ACTOR_UID, How::Lower),
        ("properties.Actor.UPN", col::ACTOR_NAME, How::Lower),
        ("properties.Actor.ApplicationName", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.app.displayName", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.app.servicePrincipalName", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.user.displayName", col::ACTOR_UID, How::Lower),
        ("identity", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.user.userPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("properties.initiatedBy.app.appId", col::ACTOR_APP_UID, How::Text),
        ("properties.initiatedBy.app.displayName", col::ACTOR_APP_NAME, How::Text),
        ("properties.initiatedBy.user.ipAddress", col::SRC_IP, How::HostOf),
        ("callerIpAddress", col::SRC_IP, How::HostOf),
        ("properties.userAgent", col::USER_AGENT, How::Text),
        ("properties.targetResources[0].id", col::RESOURCE_UID, How::Text),
        ("properties.targetResources[0].displayName", col::RESOURCE_NAME, How::Text),
        ("properties.targetResources[0].userPrincipalName", col::RESOURCE_NAME, How::Text),
        ("properties.targetResources[0].type", col::RESOURCE_TYPE, How::Text),
        ("tenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["properties.targetResources", "properties.initiatedBy.app", "properties.additionalDetails"],
    finish: Some(finish_audit),
    ..LogFormat::NEW
};

pub(super) fn finish_audit(event: &mut Event) -> Result<Decoded, Stop> {
    const TARGETS: usize = 0;
    const APP: usize = 1;
    const DETAILS: usize = 2;
    let app = event.value(APP).is_some_and(|value| value.first == b'{');
    event.set(col::ACTOR_TYPE, if app { "Application" } else { "User" });
    let names = ["type", "id", "userPrincipalName", "displayName"];
    let targets = event.strings(TARGETS, names).into_iter();
    let mut people = targets.filter(|[kind, ..]| {
        matches!(kind.as_deref(), Some("User" | "Group" | "ServicePrincipal"))
    });
    if let Some([_, id, principal, name]) = people.next() {
        event.set(col::USER_UID, &id.unwrap_or_default());
        event.set(col::USER_NAME, &principal.or(name).unwrap_or_default());
    }
    for [key, value] in event.strings(DETAILS, ["key", "value"]) {
        if key.as_deref() == Some("User-Agent") {
            event.set_late(col::USER_AGENT, &value.unwrap_or_default());
        }
    }
    Ok(Decoded::Row)
}
