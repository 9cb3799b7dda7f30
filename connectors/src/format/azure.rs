//! Azure Activity log and resource logs: as Event Hubs and storage accounts get them, as the REST interface
//! gives them, and with the Python client's names.
//!
//! Traps: the case of operations and resource ids varies, so both are lowered; `operationName`, `category`
//! and `status` are text or `{value}`; claims are keyed by URIs; start and end of one operation are two
//! records with one `correlationId`; the Event Hub form has no id, so it is a hash; `durationMs` is a number
//! or text. Kubernetes audit of AKS lies in `properties.log` and is read by its own format.

use weir_engine::schema::col;

use super::{Decoded, Stop, azure_flow, entra};
use crate::mapping::{Event, How, Mapping, STATUS};

const LEVEL: How = How::Words(&[
    ("Informational", 1),
    ("Information", 1),
    ("Verbose", 1),
    ("Warning", 3),
    ("Error", 4),
    ("Critical", 5),
]);

#[rustfmt::skip]
pub static ACTIVITY: Mapping = Mapping {
    name: "Azure Activity log event",
    source: "azure_activity",
    product: "Azure",
    class: 6003,
    needs: &[
        &[("time", &[]), ("resourceId", &[]), ("operationName", &[]), ("category", &[])],
        &[("eventTimestamp", &[]), ("operationName", &[])],
        &[("event_timestamp", &[]), ("operation_name", &[])],
    ],
    nothing: &["None"],
    uid: &["eventDataId"],
    fields: &[
        ("time", col::TIME, How::Time),
        ("eventTimestamp", col::TIME, How::Time),
        ("event_timestamp", col::TIME, How::Time),
        ("event_data_id", col::EVENT_UID, How::Text),
        ("correlationId", col::CORRELATION_UID, How::Text),
        ("correlation_id", col::CORRELATION_UID, How::Text),
        ("level", col::SEVERITY_ID, LEVEL),
        ("Level", col::SEVERITY_ID, LEVEL),
        ("durationMs", col::DURATION, How::Int),
        ("resultType", col::STATUS, STATUS),
        ("status.value", col::STATUS, STATUS),
        ("resultType", col::ACTIVITY, How::Lower),
        ("status.value", col::ACTIVITY, How::Lower),
        ("properties.statusCode", col::STATUS_CODE, How::Text),
        ("subStatus.value", col::STATUS_CODE, How::Text),
        ("resultSignature", col::STATUS_CODE, How::Text),
        ("resultDescription", col::STATUS_DETAIL, How::Text),
        ("properties.statusMessage", col::STATUS_DETAIL, How::Text),
        ("description", col::MESSAGE, How::Text),
        ("operationName.value", col::API_OPERATION, How::Lower),
        ("operationName", col::API_OPERATION, How::Lower),
        ("operation_name.value", col::API_OPERATION, How::Lower),
        ("operationId", col::API_REQUEST_UID, How::Text),
        ("identity.claims.\"http://schemas.microsoft.com/identity/claims/objectidentifier\"", col::ACTOR_UID, How::Text),
        ("claims.\"http://schemas.microsoft.com/identity/claims/objectidentifier\"", col::ACTOR_UID, How::Text),
        ("identity.authorization.evidence.principalId", col::ACTOR_UID, How::Text),
        ("identity.claims.appid", col::ACTOR_UID, How::Text),
        ("caller", col::ACTOR_UID, How::Text),
        ("identity.claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn\"", col::ACTOR_NAME, How::Text),
        ("claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn\"", col::ACTOR_NAME, How::Text),
        ("identity.claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name\"", col::ACTOR_NAME, How::Text),
        ("identity.claims.name", col::ACTOR_NAME, How::Text),
        ("caller", col::ACTOR_NAME, How::Text),
        ("identity.claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress\"", col::ACTOR_EMAIL, How::Text),
        ("claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress\"", col::ACTOR_EMAIL, How::Text),
        ("identity.claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn\"", col::ACTOR_EMAIL, How::Text),
        ("claims.\"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn\"", col::ACTOR_EMAIL, How::Text),
        ("identity.authorization.evidence.principalType", col::ACTOR_TYPE, How::Text),
        ("identity.claims.idtyp", col::ACTOR_TYPE, How::Text),
        ("claims.idtyp", col::ACTOR_TYPE, How::Text),
        ("identity.authorization.evidence.role", col::ACTOR_ROLE, How::Text),
        ("authorization.evidence.role", col::ACTOR_ROLE, How::Text),
        ("identity.claims.appid", col::ACTOR_APP_UID, How::Text),
        ("claims.appid", col::ACTOR_APP_UID, How::Text),
        ("identity.claims.iss", col::ACTOR_ISSUER, How::Text),
        ("claims.iss", col::ACTOR_ISSUER, How::Text),
        ("identity.claims.uti", col::ACTOR_CREDENTIAL, How::Text),
        ("claims.uti", col::ACTOR_CREDENTIAL, How::Text),
        ("callerIpAddress", col::SRC_IP, How::HostOf),
        ("httpRequest.clientIpAddress", col::SRC_IP, How::HostOf),
        ("identity.claims.ipaddr", col::SRC_IP, How::Address),
        ("claims.ipaddr", col::SRC_IP, How::Address),
        ("httpRequest.method", col::HTTP_METHOD, How::Text),
        ("httpRequest.uri", col::URL, How::Text),
        ("resourceId", col::RESOURCE_UID, How::Lower),
        ("resource_id", col::RESOURCE_UID, How::Lower),
        ("resourceType.value", col::RESOURCE_TYPE, How::Lower),
        ("subscriptionId", col::CLOUD_ACCOUNT, How::Lower),
        ("subscription_id", col::CLOUD_ACCOUNT, How::Lower),
        ("tenantId", col::CLOUD_ORG, How::Lower),
        ("identity.claims.\"http://schemas.microsoft.com/identity/claims/tenantid\"", col::CLOUD_ORG, How::Lower),
        ("location", col::CLOUD_REGION, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &[
        "properties.log",
        "resourceId",
        "operationName",
        "operationName.value",
        "identity.claims.\"http://schemas.microsoft.com/claims/authnmethodsreferences\"",
        "claims.\"http://schemas.microsoft.com/claims/authnmethodsreferences\"",
        "resource_id",
        "operation_name.value",
        "category",
    ],
    finish: Some(finish),
    ..Mapping::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const LOG: usize = 0;
    const RESOURCE: [usize; 2] = [1, 6];
    const OPERATION: [usize; 3] = [3, 2, 7];
    const METHODS: [usize; 2] = [4, 5];
    const CATEGORY: usize = 8;
    let others = event
        .text(CATEGORY)
        .is_some_and(|text| entra::is_category(&text) || azure_flow::is_category(&text));
    if others || event.value(LOG).is_some_and(|value| value.is_string()) {
        return Ok(Decoded::NotThis);
    }
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
