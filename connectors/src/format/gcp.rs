//! Google Cloud audit logs: `LogEntry` with an `AuditLog` as `protoPayload` (log_entry.proto and
//! audit_log.proto), and the Kubernetes audit of GKE, which comes in the same dress.
//!
//! Traps: exports may repeat entries, so the id is that of the entry, not of the delivery; 64-bit numbers
//! are strings; success is an absent or empty `status`, unless an authorization says `granted: false`; a
//! sign-in tells its outcome in the name of its method; a long call is told twice (`operation`), first when it was
//! accepted; `callerIp` may be a word such as `private`; `logName` is URL-encoded; of GKE the `insertId` may be the audit id, which the
//! client chooses (docs/adr/0008).

mod gke;

use std::borrow::Cow;

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

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
pub static AUDIT: LogFormat = LogFormat {
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
        ("protoPayload.status.message", col::STATUS_DETAIL, How::Text),
        ("protoPayload.authenticationInfo.principalEmail", col::ACTOR_UID, How::Text),
        ("protoPayload.authenticationInfo.principalSubject", col::ACTOR_UID, How::Text),
        ("protoPayload.authenticationInfo.authoritySelector", col::ACTOR_UID, How::Text),
        ("protoPayload.authenticationInfo.principalEmail", col::ACTOR_NAME, How::Text),
        ("protoPayload.authenticationInfo.principalSubject", col::ACTOR_NAME, How::Text),
        ("protoPayload.authenticationInfo.authoritySelector", col::ACTOR_NAME, How::Text),
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
        "protoPayload.authorizationInfo",
        "protoPayload.authenticationInfo.principalSubject",
        "protoPayload.authenticationInfo.authoritySelector",
        "timestamp",
        "insertId",
        "protoPayload.requestMetadata.callerIp",
        "protoPayload.requestMetadata.callerSuppliedUserAgent",
        "resource.labels.project_id",
        "resource.labels.location",
        "resource.labels.cluster_name",
        "httpRequest.status",
        "protoPayload.response.code",
        "protoPayload.response.kind",
        "httpRequest.requestUrl",
        "protoPayload.status",
        "operation.id",
        "protoPayload.authenticationInfo.thirdPartyPrincipal",
    ],
    finish: Some(finish),
    ..LogFormat::NEW
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
const AUTHORIZATIONS: usize = 9;
const SUBJECT: usize = 10;
const SELECTOR: usize = 11;
const TIMESTAMP: usize = 12;
const INSERT_ID: usize = 13;
const CALLER: usize = 14;
const AGENT: usize = 15;
const PROJECT: usize = 16;
const LOCATION: usize = 17;
const CLUSTER: usize = 18;
const HTTP_STATUS: usize = 19;
const RESPONSE_CODE: usize = 20;
const RESPONSE_KIND: usize = 21;
const REQUEST_URL: usize = 22;
const STATUS: usize = 23;
const OPERATION_ID: usize = 24;
const THIRD_PARTY: usize = 25;

/// Whether it failed, if the entry says so: the table "Outcomes" of docs/schema.md.
fn failed(event: &Event) -> Option<bool> {
    if event.int(CODE).unwrap_or_default() != 0 || refused(event) {
        return Some(true);
    }
    if !event.is(SERVICE, "login.googleapis.com") {
        // A long operation has only been accepted. What GKE tells first has been answered.
        let has_begun = is_first(event) && !event.is(SERVICE, "k8s.io");
        return (!has_begun || event.value(STATUS).is_some()).then_some(false);
    }
    let method = event.text(METHOD).unwrap_or_default();
    match method.rsplit('.').next().unwrap_or_default() {
        "loginFailure" | "riskySensitiveActionBlocked" => Some(true),
        "loginSuccess" | "logout" | "riskySensitiveActionAllowed" => Some(false),
        other => {
            let done = ["Edit", "Enroll", "Unenroll", "Disable"];
            done.iter().any(|end| other.ends_with(end)).then_some(false)
        }
    }
}

/// Whether every authorization that says `granted` says false. Entries without it say nothing.
fn refused(event: &Event) -> bool {
    let Some(value) = event.value(AUTHORIZATIONS) else {
        return false;
    };
    if memchr::memmem::find(event.s.slice(value.text), b"false").is_none() {
        return false;
    }
    let tree = event.tree(AUTHORIZATIONS);
    let all = tree.as_array().into_iter().flatten();
    let mut said = all.filter_map(|one| match &one["granted"] {
        serde_json::Value::Bool(granted) => Some(*granted),
        serde_json::Value::String(word) => word.parse().ok(),
        _ => None,
    });
    said.next() == Some(false) && said.all(|granted| !granted)
}

/// The first of two entries of one operation.
fn is_first(event: &Event) -> bool {
    event.is(FIRST, "true") && !event.is(LAST, "true")
}

/// The last of two entries of one operation.
fn is_last(event: &Event) -> bool {
    event.is(LAST, "true") && !event.is(FIRST, "true")
}

/// Who it was, as the entry has it.
fn principal<'s>(event: &Event<'_, '_, 's, '_>) -> Option<Cow<'s, str>> {
    let text = event.text(PRINCIPAL);
    text.or_else(|| event.text(SUBJECT))
        .or_else(|| event.text(SELECTOR))
}

/// Who it was by the claims of another identity provider, whose names nobody prescribes.
fn third_party(event: &Event) -> Option<String> {
    const NAMES: &[&str] = &[
        "principalEmail",
        "email",
        "principalSubject",
        "subject",
        "sub",
        "principal",
        "username",
        "userName",
        "user",
        "arn",
        "name",
        "id",
    ];
    event.value(THIRD_PARTY)?;
    let tree = event.tree(THIRD_PARTY);
    let claims = [&tree["thirdPartyClaims"], &tree["claims"], &tree];
    let named = |claims: &&serde_json::Value| {
        let mut texts = NAMES.iter().filter_map(|name| claims[*name].as_str());
        texts.find(|text| !text.is_empty()).map(str::to_owned)
    };
    let text = tree.as_str().map(str::to_owned);
    text.or_else(|| claims.iter().find_map(named))
}

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    if let Some(failed) = failed(event) {
        event.row.status(failed);
    }
    if let Some(code) = event.int(CODE) {
        event.set(col::STATUS_CODE, &code.to_string());
    }
    let who = principal(event).unwrap_or_else(|| {
        let who = third_party(event).unwrap_or_default();
        event.set_late(col::ACTOR_UID, &who);
        event.set_late(col::ACTOR_NAME, &who);
        Cow::Owned(who)
    });
    for kind in ["user:", "serviceAccount:", "group:"] {
        if let Some(name) = who.strip_prefix(kind) {
            event.set(col::ACTOR_UID, name);
            event.set(col::ACTOR_NAME, name);
        }
    }
    let mail = who.rsplit(':').next().unwrap_or_default();
    if mail.contains('@') && !who.contains("//") {
        event.set(col::ACTOR_EMAIL, mail);
    }
    if let Some(permission) = event.text(PERMISSION) {
        let reads = matches!(&*permission, "ADMIN_READ" | "DATA_READ");
        event.row.builder.bool(col::IS_READ_ONLY, reads);
    }
    if is_first(event) {
        event.set(col::ACTIVITY, "start");
    } else if is_last(event) {
        event.set(col::ACTIVITY, "end");
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
        return Ok(gke::fill(event, &resource, &who));
    }
    if event.is(SERVICE, "login.googleapis.com") {
        event.set(col::FAMILY, "identity");
        event.set_int(col::CLASS_UID, 3002);
    }
    event.set(
        col::RESOURCE_NAME,
        resource.rsplit('/').next().unwrap_or_default(),
    );
    if !who.is_empty() {
        let service = who.ends_with(".gserviceaccount.com");
        event.set(
            col::ACTOR_TYPE,
            if service { "ServiceAccount" } else { "User" },
        );
    }
    Ok(Decoded::Row)
}
