//! Categories of Entra ID's logs besides sign-ins and audits.

use weir_engine::schema::col;

use super::{CALLS, PROVISIONINGS, RISKS};
use crate::format::azure::{NOTHING, http_code};
use crate::format::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY, STATUS};

/// What ID Protection finds, and whom it takes for risky: told again with each change.
#[rustfmt::skip]
pub static RISK: LogFormat = LogFormat {
    name: "Entra ID risk",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 2004,
    needs: &[&[("category", RISKS)]],
    nothing: NOTHING,
    uid: &["properties.id", "properties.riskState", "properties.riskLevel", "properties.riskLastUpdatedDateTime", "properties.lastUpdatedDateTime"],
    fields: &[
        ("properties.riskLastUpdatedDateTime", col::TIME, How::Utc),
        ("properties.detectedDateTime", col::TIME, How::Utc),
        ("time", col::TIME, How::Utc),
        ("properties.activityDateTime", col::START_TIME, How::Utc),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("properties.correlationId", col::CORRELATION_UID, How::Text),
        ("operationName", col::API_OPERATION, How::Text),
        ("category", col::ACTIVITY, How::Text),
        ("properties.riskLevel", col::SEVERITY_ID, SEVERITY),
        ("properties.riskLevel", col::RISK_LEVEL, How::Lower),
        ("properties.id", col::FINDING_UID, How::Text),
        ("properties.riskEventType", col::FINDING_TITLE, How::Text),
        ("operationName", col::FINDING_TITLE, How::Text),
        ("properties.riskEventType", col::FINDING_TYPE, How::Text),
        ("properties.riskDetail", col::FINDING_DESC, How::Text),
        ("properties.riskState", col::FINDING_STATUS, How::Lower),
        ("properties.userId", col::ACTOR_UID, How::Lower),
        ("properties.servicePrincipalId", col::ACTOR_UID, How::Lower),
        ("properties.userPrincipalName", col::ACTOR_NAME, How::Lower),
        ("properties.userPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("properties.servicePrincipalDisplayName", col::ACTOR_NAME, How::Text),
        ("properties.userDisplayName", col::ACTOR_NAME, How::Text),
        ("properties.displayName", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_NAME, How::Text),
        ("properties.appId", col::ACTOR_APP_UID, How::Lower),
        ("properties.ipAddress", col::SRC_IP, How::HostOf),
        ("callerIpAddress", col::SRC_IP, How::HostOf),
        ("properties.location.city", col::SRC_CITY, How::Text),
        ("properties.location.countryOrRegion", col::SRC_COUNTRY, How::Text),
        ("tenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["category", "properties.id"],
    finish: Some(finish_risk),
    ..LogFormat::NEW
};

fn finish_risk(event: &mut Event) -> Result<Decoded, Stop> {
    let risky = event
        .text(0)
        .is_some_and(|category| category.starts_with("Risky"));
    if let Some(id) = event.text(1).filter(|_| risky) {
        event.set_late(col::ACTOR_UID, &id.to_lowercase());
    }
    Ok(Decoded::Row)
}

#[rustfmt::skip]
pub static PROVISIONING: LogFormat = LogFormat {
    name: "Entra ID provisioning event",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3001,
    needs: &[&[("category", PROVISIONINGS)]],
    nothing: NOTHING,
    uid: &["properties.id"],
    fields: &[
        ("properties.activityDateTime", col::TIME, How::Utc),
        ("time", col::TIME, How::Utc),
        ("properties.cycleId", col::CORRELATION_UID, How::Text),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("properties.durationInMilliseconds", col::DURATION, How::Int),
        ("durationMs", col::DURATION, How::Int),
        ("properties.provisioningAction", col::ACTIVITY, How::Lower),
        ("properties.action", col::ACTIVITY, How::Lower),
        ("operationName", col::API_OPERATION, How::Text),
        ("properties.provisioningStatusInfo.status", col::STATUS, STATUS),
        ("properties.statusInfo.status", col::STATUS, STATUS),
        ("resultType", col::STATUS, STATUS),
        ("properties.provisioningStatusInfo.errorInformation.errorCode", col::STATUS_CODE, How::Text),
        ("properties.statusInfo.errorInformation.errorCode", col::STATUS_CODE, How::Text),
        ("properties.statusInfo.errorCode", col::STATUS_CODE, How::Text),
        ("properties.provisioningStatusInfo.status", col::STATUS_CODE, How::Lower),
        ("properties.statusInfo.status", col::STATUS_CODE, How::Lower),
        ("properties.provisioningStatusInfo.errorInformation.reason", col::STATUS_DETAIL, How::Text),
        ("properties.statusInfo.errorInformation.reason", col::STATUS_DETAIL, How::Text),
        ("properties.statusInfo.reason", col::STATUS_DETAIL, How::Text),
        ("resultDescription", col::STATUS_DETAIL, How::Text),
        ("properties.initiatedBy.id", col::ACTOR_UID, How::Lower),
        ("properties.servicePrincipal.id", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.displayName", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.name", col::ACTOR_UID, How::Lower),
        ("properties.initiatedBy.displayName", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.name", col::ACTOR_NAME, How::Text),
        ("properties.servicePrincipal.displayName", col::ACTOR_NAME, How::Text),
        ("properties.servicePrincipal.name", col::ACTOR_NAME, How::Text),
        ("identity", col::ACTOR_NAME, How::Text),
        ("properties.initiatedBy.initiatorType", col::ACTOR_TYPE, How::Text),
        ("properties.initiatedBy.initiatingType", col::ACTOR_TYPE, How::Text),
        ("properties.servicePrincipal.displayName", col::ACTOR_APP_NAME, How::Text),
        ("properties.servicePrincipal.name", col::ACTOR_APP_NAME, How::Text),
        ("properties.sourceIdentity.id", col::USER_UID, How::Text),
        ("properties.sourceIdentity.displayName", col::USER_NAME, How::Text),
        ("properties.sourceIdentity.name", col::USER_NAME, How::Text),
        ("properties.targetIdentity.id", col::RESOURCE_UID, How::Text),
        ("properties.targetIdentity.displayName", col::RESOURCE_NAME, How::Text),
        ("properties.targetIdentity.name", col::RESOURCE_NAME, How::Text),
        ("properties.targetIdentity.identityType", col::RESOURCE_TYPE, How::Text),
        ("tenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    ..LogFormat::NEW
};

/// Calls of Microsoft Graph.
#[rustfmt::skip]
pub static CALL: LogFormat = LogFormat {
    name: "Microsoft Graph activity",
    source: "entra_id",
    family: "cloud_audit",
    product: "Microsoft Graph",
    class: 6003,
    needs: &[&[("category", CALLS)]],
    nothing: NOTHING,
    uid: &["properties.requestId", "time"],
    fields: &[
        ("properties.timeGenerated", col::TIME, How::Utc),
        ("time", col::TIME, How::Utc),
        ("properties.clientRequestId", col::CORRELATION_UID, How::Text),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("properties.durationMs", col::DURATION, How::Int),
        ("durationMs", col::DURATION, How::Int),
        ("properties.requestMethod", col::API_OPERATION, How::Text),
        ("operationName", col::ACTIVITY, How::Text),
        ("properties.requestId", col::API_REQUEST_UID, How::Text),
        ("properties.responseStatusCode", col::HTTP_CODE, How::Int),
        ("properties.responseStatusCode", col::STATUS_CODE, How::Text),
        ("resultSignature", col::STATUS_CODE, How::Text),
        ("properties.userId", col::ACTOR_UID, How::Lower),
        ("properties.servicePrincipalId", col::ACTOR_UID, How::Lower),
        ("properties.appId", col::ACTOR_UID, How::Lower),
        ("properties.userPrincipalName", col::ACTOR_NAME, How::Lower),
        ("properties.appId", col::ACTOR_APP_UID, How::Lower),
        ("properties.C_Idtyp", col::ACTOR_TYPE, How::Text),
        ("properties.roles", col::ACTOR_ROLE, How::Text),
        ("properties.scopes", col::ACTOR_ROLE, How::Text),
        ("properties.signInActivityId", col::ACTOR_CREDENTIAL, How::Text),
        ("properties.sessionId", col::ACTOR_SESSION_UID, How::Text),
        ("properties.C_Sid", col::ACTOR_SESSION_UID, How::Text),
        ("properties.identityProvider", col::ACTOR_ISSUER, How::Text),
        ("properties.ipAddress", col::SRC_IP, How::HostOf),
        ("callerIpAddress", col::SRC_IP, How::HostOf),
        ("properties.userAgent", col::USER_AGENT, How::Text),
        ("properties.requestMethod", col::HTTP_METHOD, How::Text),
        ("properties.requestUri", col::URL, How::Text),
        ("tenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["properties.responseStatusCode", "resultSignature", "properties.requestMethod"],
    finish: Some(finish_call),
    ..LogFormat::NEW
};

fn finish_call(event: &mut Event) -> Result<Decoded, Stop> {
    let code = event.text(0).or_else(|| event.text(1));
    if let Some(code) = code
        .and_then(|code| http_code(&code))
        .filter(|code| *code >= 200)
    {
        event.row.status(code >= 400);
    }
    if let Some(method) = event.text(2) {
        event
            .row
            .builder
            .bool(col::IS_READ_ONLY, matches!(&*method, "GET" | "HEAD"));
    }
    Ok(Decoded::Row)
}
