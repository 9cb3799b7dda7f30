//! Rows of the tables of Entra ID and Microsoft Graph.

use serde_json::Value;
use weir_engine::schema::col;

use crate::format::azure::{NOTHING, http_code};
use crate::format::entra::set_sign_in_status;
use crate::format::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY, STATUS, int_of};

const SIGN_INS: &[&str] = &[
    "SigninLogs",
    "AADNonInteractiveUserSignInLogs",
    "AADServicePrincipalSignInLogs",
    "AADManagedIdentitySignInLogs",
    "ADFSSignInLogs",
    "MicrosoftServicePrincipalSignInLogs",
];

#[rustfmt::skip]
pub static SIGN_IN: LogFormat = LogFormat {
    name: "Entra ID sign-in row of Log Analytics",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3002,
    needs: &[&[("Type", SIGN_INS)], &[("TableName", SIGN_INS)]],
    nothing: NOTHING,
    uid: &["Id"],
    fields: &[
        ("CreatedDateTime", col::TIME, How::Utc),
        ("TimeGenerated", col::TIME, How::Utc),
        ("CorrelationId", col::CORRELATION_UID, How::Text),
        ("DurationMs", col::DURATION, How::Int),
        ("OperationName", col::API_OPERATION, How::Text),
        ("Category", col::ACTIVITY, How::Text),
        ("ResultType", col::STATUS_CODE, How::Text),
        ("ResultDescription", col::STATUS_DETAIL, How::Text),
        ("UserId", col::ACTOR_UID, How::Lower),
        ("ServicePrincipalId", col::ACTOR_UID, How::Lower),
        ("UserPrincipalName", col::ACTOR_UID, How::Lower),
        ("AppId", col::ACTOR_UID, How::Lower),
        ("UserPrincipalName", col::ACTOR_NAME, How::Lower),
        ("ServicePrincipalName", col::ACTOR_NAME, How::Text),
        ("AlternateSignInName", col::ACTOR_NAME, How::Lower),
        ("UserDisplayName", col::ACTOR_NAME, How::Text),
        ("Identity", col::ACTOR_NAME, How::Text),
        ("UserPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("UserType", col::ACTOR_TYPE, How::Text),
        ("AppId", col::ACTOR_APP_UID, How::Text),
        ("AppDisplayName", col::ACTOR_APP_NAME, How::Text),
        ("UniqueTokenIdentifier", col::ACTOR_CREDENTIAL, How::Text),
        ("TokenIssuerName", col::ACTOR_ISSUER, How::Text),
        ("TokenIssuerType", col::ACTOR_ISSUER, How::Text),
        ("AuthenticationProtocol", col::AUTH_PROTOCOL, How::Text),
        ("ClientAppUsed", col::AUTH_PROTOCOL, How::Text),
        ("RiskLevelDuringSignIn", col::RISK_LEVEL, How::Lower),
        ("RiskLevelAggregated", col::RISK_LEVEL, How::Lower),
        ("IPAddress", col::SRC_IP, How::HostOf),
        ("AutonomousSystemNumber", col::SRC_ASN, How::Int),
        ("UserAgent", col::USER_AGENT, How::Text),
        ("ResourceIdentity", col::RESOURCE_UID, How::Text),
        ("ResourceDisplayName", col::RESOURCE_NAME, How::Text),
        ("ConditionalAccessStatus", col::ACTION, How::Lower),
        ("AADTenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["ResultType", "Status", "AuthenticationRequirement", "LocationDetails", "DeviceDetail"],
    finish: Some(finish_sign_in),
    ..LogFormat::NEW
};

fn finish_sign_in(event: &mut Event) -> Result<Decoded, Stop> {
    const STATUS: usize = 1;
    const REQUIREMENT: usize = 2;
    const LOCATION: usize = 3;
    const DEVICE: usize = 4;
    let status = event.inner(STATUS);
    let code = match &status["errorCode"] {
        Value::String(code) => Some(code.clone()),
        code => int_of(code).map(|code| code.to_string()),
    };
    let code = event.text(0).map(|code| code.into_owned()).or(code);
    if let Some(code) = code {
        set_sign_in_status(event, &code);
        event.set_late(col::STATUS_CODE, &code);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    event.set_late(col::STATUS_DETAIL, &text(&status["failureReason"]));
    event.set_late(col::MESSAGE, &text(&status["additionalDetails"]));
    match event.text(REQUIREMENT).as_deref() {
        Some("multiFactorAuthentication") => event.row.builder.bool(col::ACTOR_SESSION_MFA, true),
        Some("singleFactorAuthentication") => event.row.builder.bool(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
    let location = event.inner(LOCATION);
    event.set_late(col::SRC_CITY, &text(&location["city"]));
    event.set_late(col::SRC_COUNTRY, &text(&location["countryOrRegion"]));
    event.set_late(col::HOSTNAME, &text(&event.inner(DEVICE)["displayName"]));
    Ok(Decoded::Row)
}

#[rustfmt::skip]
pub static AUDIT: LogFormat = LogFormat {
    name: "Entra ID audit row of Log Analytics",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 3001,
    needs: &[&[("Type", &["AuditLogs"])], &[("TableName", &["AuditLogs"])]],
    nothing: NOTHING,
    uid: &["Id"],
    fields: &[
        ("ActivityDateTime", col::TIME, How::Utc),
        ("TimeGenerated", col::TIME, How::Utc),
        ("CorrelationId", col::CORRELATION_UID, How::Text),
        ("DurationMs", col::DURATION, How::Int),
        ("ActivityDisplayName", col::API_OPERATION, How::Text),
        ("OperationName", col::API_OPERATION, How::Text),
        ("LoggedByService", col::API_SERVICE, How::Text),
        ("AADOperationType", col::ACTIVITY, How::Text),
        ("Result", col::STATUS, STATUS),
        ("ResultReason", col::STATUS_DETAIL, How::Text),
        ("ResultDescription", col::STATUS_DETAIL, How::Text),
        ("AADTenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["InitiatedBy", "TargetResources", "AdditionalDetails", "Identity"],
    finish: Some(finish_audit),
    ..LogFormat::NEW
};

fn finish_audit(event: &mut Event) -> Result<Decoded, Stop> {
    const TARGETS: usize = 1;
    const DETAILS: usize = 2;
    const IDENTITY: usize = 3;
    let by = event.inner(0);
    let (user, app) = (&by["user"], &by["app"]);
    let first = |values: &[&Value]| {
        let mut texts = values.iter().filter_map(|value| value.as_str());
        texts
            .find(|text| !text.is_empty() && !NOTHING.contains(text))
            .unwrap_or_default()
            .to_owned()
    };
    let upn = &user["userPrincipalName"];
    let identity = event.text(IDENTITY).unwrap_or_default();
    let uid = first(&[
        &user["id"],
        &app["servicePrincipalId"],
        upn,
        &app["appId"],
        &app["displayName"],
        &app["servicePrincipalName"],
        &user["displayName"],
    ]);
    let name = first(&[
        upn,
        &user["displayName"],
        &app["displayName"],
        &app["servicePrincipalName"],
    ]);
    let name = if upn.as_str() == Some(&name) {
        name.to_lowercase()
    } else {
        name
    };
    event.set(
        col::ACTOR_TYPE,
        if app.is_object() {
            "Application"
        } else {
            "User"
        },
    );
    event.set(col::ACTOR_UID, &uid.to_lowercase());
    event.set(col::ACTOR_UID, &identity.to_lowercase());
    event.set(col::ACTOR_NAME, &name);
    event.set(col::ACTOR_NAME, &identity);
    event.set(col::ACTOR_EMAIL, &first(&[upn]).to_lowercase());
    event.set(col::ACTOR_APP_UID, &first(&[&app["appId"]]));
    event.set(col::ACTOR_APP_NAME, &first(&[&app["displayName"]]));
    let address = first(&[&user["ipAddress"]]).parse::<std::net::IpAddr>();
    if let Ok(address) = address {
        event.set(col::SRC_IP, &address.to_canonical().to_string());
    }
    let targets = event.inner(TARGETS);
    let target = &targets[0];
    event.set(col::RESOURCE_UID, &first(&[&target["id"]]));
    event.set(
        col::RESOURCE_NAME,
        &first(&[&target["displayName"], &target["userPrincipalName"]]),
    );
    event.set(col::RESOURCE_TYPE, &first(&[&target["type"]]));
    let is_changed = |target: &&Value| {
        matches!(
            target["type"].as_str(),
            Some("User" | "Group" | "ServicePrincipal")
        )
    };
    if let Some(target) = targets.as_array().into_iter().flatten().find(is_changed) {
        event.set(col::USER_UID, &first(&[&target["id"]]));
        event.set(
            col::USER_NAME,
            &first(&[&target["userPrincipalName"], &target["displayName"]]),
        );
    }
    for detail in event.inner(DETAILS).as_array().into_iter().flatten() {
        if detail["key"] == "User-Agent" {
            event.set(col::USER_AGENT, &first(&[&detail["value"]]));
        }
    }
    Ok(Decoded::Row)
}

const RISKS: &[&str] = &[
    "AADUserRiskEvents",
    "AADRiskyUsers",
    "AADServicePrincipalRiskEvents",
    "AADRiskyServicePrincipals",
];

#[rustfmt::skip]
pub static RISK: LogFormat = LogFormat {
    name: "Entra ID risk row of Log Analytics",
    source: "entra_id",
    family: "identity",
    product: "Entra ID",
    class: 2004,
    needs: &[&[("Type", RISKS)], &[("TableName", RISKS)]],
    nothing: NOTHING,
    uid: &["Id", "RiskState", "RiskLevel", "RiskLastUpdatedDateTime", "LastUpdatedDateTime"],
    fields: &[
        ("RiskLastUpdatedDateTime", col::TIME, How::Utc),
        ("DetectedDateTime", col::TIME, How::Utc),
        ("TimeGenerated", col::TIME, How::Utc),
        ("ActivityDateTime", col::START_TIME, How::Utc),
        ("CorrelationId", col::CORRELATION_UID, How::Text),
        ("OperationName", col::API_OPERATION, How::Text),
        ("RiskLevel", col::SEVERITY_ID, SEVERITY),
        ("RiskLevel", col::RISK_LEVEL, How::Lower),
        ("Id", col::FINDING_UID, How::Text),
        ("RiskEventType", col::FINDING_TITLE, How::Text),
        ("OperationName", col::FINDING_TITLE, How::Text),
        ("RiskEventType", col::FINDING_TYPE, How::Text),
        ("RiskDetail", col::FINDING_DESC, How::Text),
        ("RiskState", col::FINDING_STATUS, How::Lower),
        ("UserId", col::ACTOR_UID, How::Lower),
        ("ServicePrincipalId", col::ACTOR_UID, How::Lower),
        ("UserPrincipalName", col::ACTOR_NAME, How::Lower),
        ("UserPrincipalName", col::ACTOR_EMAIL, How::Lower),
        ("ServicePrincipalDisplayName", col::ACTOR_NAME, How::Text),
        ("UserDisplayName", col::ACTOR_NAME, How::Text),
        ("DisplayName", col::ACTOR_NAME, How::Text),
        ("AppId", col::ACTOR_APP_UID, How::Lower),
        ("IpAddress", col::SRC_IP, How::HostOf),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["Type", "TableName", "Id"],
    finish: Some(finish_risk),
    ..LogFormat::NEW
};

fn finish_risk(event: &mut Event) -> Result<Decoded, Stop> {
    let table = event.text(0).or_else(|| event.text(1)).unwrap_or_default();
    if table.starts_with("AADRisky") {
        let id = event.text(2).unwrap_or_default();
        event.set_late(col::ACTOR_UID, &id.to_lowercase());
    }
    Ok(Decoded::Row)
}

#[rustfmt::skip]
pub static CALL: LogFormat = LogFormat {
    name: "Microsoft Graph activity row of Log Analytics",
    source: "entra_id",
    product: "Microsoft Graph",
    class: 6003,
    needs: &[&[("Type", &["MicrosoftGraphActivityLogs"])], &[("TableName", &["MicrosoftGraphActivityLogs"])]],
    nothing: NOTHING,
    uid: &["RequestId", "TimeGenerated"],
    fields: &[
        ("TimeGenerated", col::TIME, How::Utc),
        ("ClientRequestId", col::CORRELATION_UID, How::Text),
        ("DurationMs", col::DURATION, How::Int),
        ("RequestMethod", col::API_OPERATION, How::Text),
        ("RequestId", col::API_REQUEST_UID, How::Text),
        ("ResponseStatusCode", col::HTTP_CODE, How::Int),
        ("ResponseStatusCode", col::STATUS_CODE, How::Text),
        ("UserId", col::ACTOR_UID, How::Lower),
        ("ServicePrincipalId", col::ACTOR_UID, How::Lower),
        ("AppId", col::ACTOR_UID, How::Lower),
        ("AppId", col::ACTOR_APP_UID, How::Lower),
        ("Roles", col::ACTOR_ROLE, How::Text),
        ("Scopes", col::ACTOR_ROLE, How::Text),
        ("SignInActivityId", col::ACTOR_CREDENTIAL, How::Text),
        ("SessionId", col::ACTOR_SESSION_UID, How::Text),
        ("IdentityProvider", col::ACTOR_ISSUER, How::Text),
        ("IPAddress", col::SRC_IP, How::HostOf),
        ("UserAgent", col::USER_AGENT, How::Text),
        ("RequestMethod", col::HTTP_METHOD, How::Text),
        ("RequestUri", col::URL, How::Text),
        ("AadTenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["ResponseStatusCode", "RequestMethod"],
    finish: Some(finish_call),
    ..LogFormat::NEW
};

fn finish_call(event: &mut Event) -> Result<Decoded, Stop> {
    let code = event.text(0).and_then(|code| http_code(&code));
    if let Some(code) = code.filter(|code| *code >= 200) {
        event.row.status(code >= 400);
    }
    if let Some(method) = event.text(1) {
        event
            .row
            .builder
            .bool(col::IS_READ_ONLY, matches!(&*method, "GET" | "HEAD"));
    }
    Ok(Decoded::Row)
}
