//! Rows of Log Analytics and Sentinel: the logs of Azure and Entra ID once more, flat, with capitals, and with
//! the name of their table in `Type` (exports) or `TableName`.
//!
//! Traps: dynamic columns are objects or JSON in text; `AzureDiagnostics` puts the path of a member and a letter
//! for its type into one name (`identity_claim_oid_g`); `Category` is the category of the event, not of the log.
//! `SecurityAlert` is read by [`defender`](super::defender), the tables of advanced hunting by
//! [`hunting`](super::hunting).

mod entra;

use weir_engine::schema::col;

pub use self::entra::{AUDIT, CALL, RISK, SIGN_IN};
use super::azure::{NOTHING, Places, set_identity, set_words};
use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY};

const RESOURCES: &[&str] = &[
    "AzureActivity",
    "AzureDiagnostics",
    "AZKVAuditLogs",
    "LAQueryLogs",
    "StorageBlobLogs",
    "StorageFileLogs",
    "StorageQueueLogs",
    "StorageTableLogs",
];

#[rustfmt::skip]
pub static RESOURCE: LogFormat = LogFormat {
    name: "Azure row of Log Analytics",
    source: "azure_activity",
    product: "Azure",
    class: 6003,
    needs: &[&[("Type", RESOURCES)], &[("TableName", RESOURCES)]],
    nothing: NOTHING,
    uid: &["EventDataId"],
    fields: &[
        ("EventSubmissionTimestamp", col::END_TIME, How::Utc),
        ("TimeGenerated", col::TIME, How::Utc),
        ("CorrelationId", col::CORRELATION_UID, How::Text),
        ("DurationMs", col::DURATION, How::Int),
        ("OperationNameValue", col::API_OPERATION, How::Lower),
        ("OperationName", col::API_OPERATION, How::Lower),
        ("ResourceProviderValue", col::API_SERVICE, How::Lower),
        ("ResourceProvider", col::API_SERVICE, How::Lower),
        ("OperationId", col::API_REQUEST_UID, How::Text),
        ("Category", col::ACTIVITY, How::Text),
        ("ActivitySubstatusValue", col::STATUS_CODE, How::Text),
        ("StatusText", col::STATUS_CODE, How::Text),
        ("ResultSignature", col::STATUS_CODE, How::Text),
        ("ActivityStatusValue", col::STATUS_CODE, How::Text),
        ("ResultDescription", col::STATUS_DETAIL, How::Text),
        ("RequesterObjectId", col::ACTOR_UID, How::Lower),
        ("identity_claim_oid_g", col::ACTOR_UID, How::Lower),
        ("identity_claim_http_schemas_microsoft_com_identity_claims_objectidentifier_g", col::ACTOR_UID, How::Lower),
        ("CallerObjectId", col::ACTOR_UID, How::Lower),
        ("AADObjectId", col::ACTOR_UID, How::Lower),
        ("AADEmail", col::ACTOR_UID, How::Lower),
        ("RequesterUpn", col::ACTOR_NAME, How::Lower),
        ("AADEmail", col::ACTOR_NAME, How::Lower),
        ("identity_claim_upn_s", col::ACTOR_NAME, How::Lower),
        ("identity_claim_http_schemas_xmlsoap_org_ws_2005_05_identity_claims_upn_s", col::ACTOR_NAME, How::Lower),
        ("identity_claim_unique_name_s", col::ACTOR_NAME, How::Lower),
        ("server_principal_name_s", col::ACTOR_NAME, How::Lower),
        ("Caller", col::ACTOR_NAME, How::Lower),
        ("identity_claim_xms_mirid_s", col::ACTOR_NAME, How::Lower),
        ("identity_claim_upn_s", col::ACTOR_EMAIL, How::Lower),
        ("RequesterUpn", col::ACTOR_EMAIL, How::Lower),
        ("AADEmail", col::ACTOR_EMAIL, How::Lower),
        ("AuthenticationType", col::ACTOR_TYPE, How::Text),
        ("RequesterAppId", col::ACTOR_APP_UID, How::Lower),
        ("AADClientId", col::ACTOR_APP_UID, How::Lower),
        ("identity_claim_appid_g", col::ACTOR_APP_UID, How::Lower),
        ("AuthenticationHash", col::ACTOR_CREDENTIAL, How::Text),
        ("CallerIpAddress", col::SRC_IP, How::HostOf),
        ("CallerIPAddress", col::SRC_IP, How::HostOf),
        ("client_ip_s", col::SRC_IP, How::HostOf),
        ("CallerIpAddress", col::SRC_PORT, How::PortOf),
        ("UserAgentHeader", col::USER_AGENT, How::Text),
        ("clientInfo_s", col::USER_AGENT, How::Text),
        ("ClientInfo", col::USER_AGENT, How::Text),
        ("Uri", col::URL, How::Text),
        ("requestUri_s", col::URL, How::Text),
        ("RequestUri", col::URL, How::Text),
        ("_ResourceId", col::RESOURCE_UID, How::Lower),
        ("ResourceId", col::RESOURCE_UID, How::Lower),
        ("Resource", col::RESOURCE_NAME, How::Lower),
        ("AccountName", col::RESOURCE_NAME, How::Lower),
        ("ResourceType", col::RESOURCE_TYPE, How::Lower),
        ("SubscriptionId", col::CLOUD_ACCOUNT, How::Lower),
        ("AADTenantId", col::CLOUD_ORG, How::Lower),
        ("Location", col::CLOUD_REGION, How::Text),
        ("statement_s", col::MESSAGE, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &[
        "httpStatusCode_d",
        "HttpStatusCode",
        "StatusCode",
        "ResponseCode",
        "ActivitySubstatusValue",
        "ResultSignature",
        "StatusText",
        "ResultType",
        "ActivityStatusValue",
        "succeeded_s",
        "Claims",
        "Claims_d",
        "Caller",
        "RequesterAppId",
        "identity_claim_appid_g",
        "server_principal_name_s",
        "identity_claim_upn_s",
        "OperationNameValue",
        "Identity",
    ],
    finish: Some(finish_resource),
    ..LogFormat::NEW
};

fn finish_resource(event: &mut Event) -> Result<Decoded, Stop> {
    const PLACES: Places = Places {
        codes: 0..4,
        words: 4..10,
        results: 7..9,
    };
    const CLAIMS: [usize; 2] = [10, 11];
    const NAMES: [usize; 5] = [16, 15, 12, 13, 14];
    const OPERATION: usize = 17;
    const IDENTITY: usize = 18;
    set_words(event, &[], &PLACES);
    for at in CLAIMS {
        let claims = event.inner(at);
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        event.set(
            col::ACTOR_UID,
            &text("http://schemas.microsoft.com/identity/claims/objectidentifier").to_lowercase(),
        );
        event.set(
            col::ACTOR_NAME,
            &text("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn").to_lowercase(),
        );
        event.set(col::ACTOR_APP_UID, &text("appid").to_lowercase());
        event.set(col::ACTOR_TYPE, &text("idtyp"));
    }
    let identity = event.inner(IDENTITY);
    if identity.is_object() {
        set_identity(event, &identity);
    } else if let Some(name) = event.text(IDENTITY) {
        event.set_late(col::ACTOR_UID, &name.to_lowercase());
        event.set_late(col::ACTOR_NAME, &name);
    }
    for at in NAMES {
        let name = event.text(at).unwrap_or_default();
        event.set_late(col::ACTOR_UID, &name.to_lowercase());
    }
    if let Some(operation) = event
        .text(OPERATION)
        .filter(|operation| operation.contains('/'))
    {
        let reads = operation.to_lowercase().ends_with("/read");
        event.row.builder.bool(col::IS_READ_ONLY, reads);
    }
    Ok(Decoded::Row)
}

/// What analysts work on: told again with each change.
#[rustfmt::skip]
pub static INCIDENT: LogFormat = LogFormat {
    name: "Sentinel incident",
    source: "defender",
    family: "agent_alerts",
    product: "Microsoft Sentinel",
    class: 2005,
    needs: &[&[("Type", &["SecurityIncident"])], &[("TableName", &["SecurityIncident"])]],
    nothing: NOTHING,
    uid: &["IncidentName", "LastModifiedTime", "Status"],
    fields: &[
        ("LastModifiedTime", col::TIME, How::Utc),
        ("TimeGenerated", col::TIME, How::Utc),
        ("FirstActivityTime", col::START_TIME, How::Utc),
        ("LastActivityTime", col::END_TIME, How::Utc),
        ("IncidentNumber", col::CORRELATION_UID, How::Text),
        ("Severity", col::SEVERITY_ID, SEVERITY),
        ("IncidentName", col::FINDING_UID, How::Text),
        ("Title", col::FINDING_TITLE, How::Text),
        ("Description", col::FINDING_DESC, How::Text),
        ("ProviderName", col::FINDING_TYPE, How::Text),
        ("Status", col::FINDING_STATUS, How::Lower),
        ("Classification", col::ACTIVITY, How::Text),
        ("AlertIds", col::FINDING_TAGS, How::Json),
        ("TenantId", col::CLOUD_ORG, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    ..LogFormat::NEW
};
