//! Google Cloud audit logs: `LogEntry` with an `AuditLog` as `protoPayload` (log_entry.proto and
//! audit_log.proto), and the Kubernetes audit of GKE, which comes in the same dress.
//!
//! Traps: exports may repeat entries, so the id is that of the entry, not of the delivery; 64-bit numbers
//! are strings; success is an absent or empty `status`; a long call is told twice (`operation`); `callerIp`
//! may be a word such as `private`; `logName` is URL-encoded.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, Mapping};

const SEVERITY: How = How::Words(&[
    ("DEBUG", 1),
    ("INFO", 1),
    ("NOTICE", 2),
    ("WARNING", 3),
    ("ERROR", 4),
    ("CRITICAL", 5),
    ("ALERT", 5),
    ("EMERGENCY", 5),
]);

#[rustfmt::skip]
pub static AUDIT: Mapping = Mapping {
    name: "Google Cloud audit log entry",
    source: "gcp_audit",
    product: "Google Cloud",
    class: 6003,
    needs: &[
        &[("protoPayload.methodName", &[]), ("logName", &[])],
        &[("protoPayload.methodName", &[]), ("timestamp", &[])],
        &[("protoPayload.serviceName", &[]), ("timestamp", &[])],
    ],
    uid: &["insertId", "timestamp", "logName", "split.index"],
    fields: &[
        ("timestamp", col::TIME, How::Time),
        ("receiveTimestamp", col::TIME, How::Time),
        ("severity", col::SEVERITY_ID, SEVERITY),
        ("operation.id", col::CORRELATION_UID, How::Text),
        ("split.uid", col::CORRELATION_UID, How::Text),
        ("trace", col::CORRELATION_UID, How::Text),
        ("protoPayload.serviceName", col::API_SERVICE, How::Text),
        ("protoPayload.methodName", col::API_OPERATION, How::Text),
        ("protoPayload.status.code", col::STATUS_CODE, How::Text),
        ("protoPayload.status.message", col::STATUS_DETAIL, How::Text),
        ("protoPayload.authenticationInfo.principalEmail", col::ACTOR_UID, How::Text),
        ("protoPayload.authenticationInfo.principalSubject", col::ACTOR_UID, How::Text),
        ("protoPayload.authenticationInfo.authoritySelector", col::ACTOR_UID, How::Text),
        ("protoPayload.authenticationInfo.principalEmail", col::ACTOR_NAME, How::Text),
        ("protoPayload.authenticationInfo.principalEmail", col::ACTOR_EMAIL, How::Text),
        ("protoPayload.authenticationInfo.serviceAccountKeyName", col::ACTOR_CREDENTIAL, How::Text),
        ("protoPayload.authenticationInfo.serviceAccountDelegationInfo", col::ACTOR_CHAIN, How::Json),
        ("protoPayload.authenticationInfo.serviceAccountDelegationInfo[0].firstPartyPrincipal.principalEmail", col::ACTOR_ISSUER, How::Text),
        ("protoPayload.authenticationInfo.serviceAccountDelegationInfo[0].principalSubject", col::ACTOR_ISSUER, How::Text),
        ("protoPayload.requestMetadata.callerIp", col::SRC_IP, How::Address),
        ("protoPayload.requestMetadata.callerIp", col::SRC_DOMAIN, How::NoAddress),
        ("protoPayload.requestMetadata.callerSuppliedUserAgent", col::USER_AGENT, How::Text),
        ("httpRequest.requestUrl", col::URL, How::Text),
        ("httpRequest.requestMethod", col::HTTP_METHOD, How::Text),
        ("httpRequest.status", col::HTTP_CODE, How::Int),
        ("protoPayload.resourceName", col::RESOURCE_UID, How::Text),
        ("resource.type", col::RESOURCE_TYPE, How::Text),
        ("resource.labels.project_id", col::CLOUD_ACCOUNT, How::Text),
        ("resource.labels.organization_id", col::CLOUD_ORG, How::Text),
        ("resource.labels.cluster_name", col::K8S_CLUSTER, How::Text),
        ("resource.labels.instance_id", col::DEVICE_INSTANCE, How::Text),
        ("resource.labels.location", col::CLOUD_REGION, How::Text),
        ("resource.labels.region", col::CLOUD_REGION, How::Text),
        ("resource.labels.zone", col::CLOUD_REGION, How::Text),
        ("protoPayload.resourceLocation.currentLocations[0]", col::CLOUD_REGION, How::Text),
        ("protoPayload.request.service_account.display_name", col::USER_NAME, How::Text),
        ("protoPayload.response.email", col::USER_NAME, How::Text),
        ("protoPayload.metadata.event[0].parameter[0].value", col::USER_NAME, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "GCP")],
    reads: &[
        "protoPayload.status.code",
        "protoPayload.authenticationInfo.principalEmail",
        "protoPayload.authorizationInfo[0].permissionType",
        "operation.first",
        "operation.last",
        "protoPayload.resourceName",
        "protoPayload.serviceName",
        "protoPayload.methodName",
        "logName",
    ],
    finish: Some(finish),
    ..Mapping::NEW
};

const CODE: usize = 0;
const PRINCIPAL: usize = 1;
const PERMISSION: usize = 2;
const FIRST: usize = 3;
const LAST: usize = 4;
const RESOURCE: usize = 5;
const SERVICE: usize = 6;
const METHOD: usize = 7;
const LOG: usize = 8;

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    let code = event.int(CODE).unwrap_or_default();
    event.row.status(code != 0);
    if let Some(permission) = event.text(PERMISSION) {
        let reads = matches!(&*permission, "ADMIN_READ" | "DATA_READ");
        event.row.builder.bool(col::IS_READ_ONLY, reads);
    }
    match (event.is(FIRST, "true"), event.is(LAST, "true")) {
        (true, false) => event.set(col::ACTIVITY, "start"),
        (false, true) => event.set(col::ACTIVITY, "end"),
        _ => {}
    }
    // `projects/p/logs/cloudaudit.googleapis.com%2Factivity`
    if let Some(log) = event.text(LOG) {
        let mut parts = log.split('/');
        match (parts.next(), parts.next()) {
            (Some("projects"), Some(project)) => event.set_late(col::CLOUD_ACCOUNT, project),
            (Some("organizations"), Some(id)) => event.set_late(col::CLOUD_ORG, id),
            _ => {}
        }
    }
    let resource = event.text(RESOURCE).unwrap_or_default();
    if event.is(SERVICE, "k8s.io") {
        kubernetes(event, &resource);
        return Ok(Decoded::Row);
    }
    if event.is(SERVICE, "login.googleapis.com") {
        event.set(col::FAMILY, "identity");
        event.set_int(col::CLASS_UID, 3002);
    }
    event.set(
        col::RESOURCE_NAME,
        resource.rsplit('/').next().unwrap_or_default(),
    );
    if let Some(principal) = event.text(PRINCIPAL) {
        let service = principal.ends_with(".gserviceaccount.com");
        event.set(
            col::ACTOR_TYPE,
            if service { "ServiceAccount" } else { "User" },
        );
    }
    Ok(Decoded::Row)
}

/// `io.k8s.core.v1.pods.exec.create` on `core/v1/namespaces/prod/pods/app-1/exec`. The groups of the method
/// are turned around (`io.k8s.authorization.rbac`), those of the resource are not.
fn kubernetes(event: &mut Event, resource: &str) {
    event.set(col::FAMILY, "k8s_audit");
    let method = event.text(METHOD).unwrap_or_default();
    event.set(
        col::API_OPERATION,
        method.rsplit('.').next().unwrap_or_default(),
    );
    let mut parts = resource.split('/');
    let (group, _version) = (parts.next().unwrap_or_default(), parts.next());
    event.set(col::API_SERVICE, group);
    let mut kind = parts.next().unwrap_or_default();
    if kind == "namespaces" {
        let namespace = parts.next().unwrap_or_default();
        event.set(col::K8S_NAMESPACE, namespace);
        match parts.next() {
            Some(inner) => kind = inner,
            None => event.set(col::RESOURCE_NAME, namespace),
        }
    }
    event.set(col::RESOURCE_TYPE, kind);
    let name = parts.next().unwrap_or_default();
    event.set(col::RESOURCE_NAME, name);
    if kind == "pods" {
        event.set(col::K8S_POD, name);
    }
    event.set(col::K8S_SUBRESOURCE, parts.next().unwrap_or_default());
    let kind = match event.text(PRINCIPAL).as_deref() {
        Some("system:anonymous") => "Anonymous",
        Some(name) if name.starts_with("system:serviceaccount:") => "ServiceAccount",
        Some(name) if name.starts_with("system:node:") => "Node",
        Some(_) => "User",
        None => "",
    };
    event.set(col::ACTOR_TYPE, kind);
}
