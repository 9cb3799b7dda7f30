//! Entra ID sign-in and audit logs, as diagnostic settings export them.
//!
//! Traps: `resultType` is an error code, `0` for success; values in `modifiedProperties` are JSON in text;
//! the actor is a user or an application; `"None"` means nothing.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, Mapping, STATUS};

const SIGN_INS: &[&str] = &[
    "SignInLogs",
    "NonInteractiveUserSignInLogs",
    "ServicePrincipalSignInLogs",
    "ManagedIdentitySignInLogs",
];

const AUDITS: &[&str] = &["AuditLogs"];

/// Whether Azure's other logs leave records of this category to Entra ID.
pub(crate) fn is_category(category: &str) -> bool {
    SIGN_INS.contains(&category) || AUDITS.contains(&category)
}

#[rustfmt::skip]
pub static SIGN_IN: Mapping = Mapping {
    name: "Entra ID sign-in",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3002,
    needs: &[&[("category", SIGN_INS)]],
    nothing: &["None", "none"],
    uid: &["properties.id"],
    fields: &[
        ("properties.createdDateTime", col::TIME, How::Time),
        ("time", col::TIME, How::Time),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("durationMs", col::DURATION, How::Int),
        ("operationName", col::API_OPERATION, How::Text),
        ("category", col::ACTIVITY, How::Text),
        ("resultType", col::STATUS_CODE, How::Text),
        ("properties.status.errorCode", col::STATUS_CODE, How::Text),
        ("resultDescription", col::STATUS_DETAIL, How::Text),
        ("properties.status.failureReason", col::STATUS_DETAIL, How::Text),
        ("properties.status.additionalDetails", col::MESSAGE, How::Text),
        ("properties.userId", col::ACTOR_UID, How::Text),
        ("properties.servicePrincipalId", col::ACTOR_UID, How::Text),
        ("properties.userPrincipalName", col::ACTOR_NAME, How::Text),
        ("properties.servicePrincipalName", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_NAME, How::Text),
        ("properties.userPrincipalName", col::ACTOR_EMAIL, How::Text),
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
        ("properties.ipAddress", col::SRC_IP, How::Address),
        ("callerIpAddress", col::SRC_IP, How::Address),
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
    ..Mapping::NEW
};

pub(super) fn finish_sign_in(event: &mut Event) -> Result<Decoded, Stop> {
    if let Some(code) = event.text(0).or_else(|| event.text(1)) {
        event.row.status(code != "0");
    }
    match event.text(2).as_deref() {
        Some("multiFactorAuthentication") => event.row.builder.bool(col::ACTOR_SESSION_MFA, true),
        Some("singleFactorAuthentication") => event.row.builder.bool(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
    Ok(Decoded::Row)
}

#[rustfmt::skip]
pub static AUDIT: Mapping = Mapping {
    name: "Entra ID audit event",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3001,
    needs: &[&[("category", AUDITS)]],
    nothing: &["None"],
    uid: &["properties.id"],
    fields: &[
        ("properties.activityDateTime", col::TIME, How::Time),
        ("time", col::TIME, How::Time),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("durationMs", col::DURATION, How::Int),
        ("properties.activityDisplayName", col::API_OPERATION, How::Text),
        ("operationName", col::API_OPERATION, How::Text),
        ("properties.loggedByService", col::API_SERVICE, How::Text),
        ("properties.operationType", col::ACTIVITY, How::Text),
        ("properties.result", col::STATUS, STATUS),
        ("properties.resultReason", col::STATUS_DETAIL, How::Text),
        ("resultDescription", col::STATUS_DETAIL, How::Text),
        ("properties.initiatedBy.user.id", col::ACTOR_UID, How::Text),
        ("properties.initiatedBy.app.servicePrincipalId", col::ACTOR_UID, How::Text),
        ("properties.initiatedBy.user.userPrincipalName", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.user.displayName", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.app.displayName", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.user.userPrincipalName", col::ACTOR_EMAIL, How::Text),
        ("properties.initiatedBy.app.appId", col::ACTOR_APP_UID, How::Text),
        ("properties.initiatedBy.app.displayName", col::ACTOR_APP_NAME, How::Text),
        ("properties.initiatedBy.user.ipAddress", col::SRC_IP, How::Address),
        ("callerIpAddress", col::SRC_IP, How::Address),
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
    ..Mapping::NEW
};

pub(super) fn finish_audit(event: &mut Event) -> Result<Decoded, Stop> {
    const TARGETS: usize = 0;
    const APP: usize = 1;
    const DETAILS: usize = 2;
    let app = event.value(APP).is_some_and(|value| value.first == b'{');
    event.set(col::ACTOR_TYPE, if app { "Application" } else { "User" });
    for target in event.tree(TARGETS).as_array().into_iter().flatten() {
        if matches!(
            target["type"].as_str(),
            Some("User" | "Group" | "ServicePrincipal")
        ) {
            event.set(col::USER_UID, target["id"].as_str().unwrap_or_default());
            let name = target["userPrincipalName"].as_str();
            let name = name.or_else(|| target["displayName"].as_str());
            event.set(col::USER_NAME, name.unwrap_or_default());
            break;
        }
    }
    for detail in event.tree(DETAILS).as_array().into_iter().flatten() {
        if detail["key"] == "User-Agent" {
            event.set_late(
                col::USER_AGENT,
                detail["value"].as_str().unwrap_or_default(),
            );
        }
    }
    Ok(Decoded::Row)
}
