//! Events that are OCSF already: paths are the columns' own names.
//!
//! Trap: `time` is milliseconds, `time_dt` text, and either may be missing.

use std::ops::Range;

use serde_json::Value;
use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, int_of};

#[rustfmt::skip]
pub static EVENT: LogFormat = LogFormat {
    name: "OCSF event",
    source: "ocsf",
    product: "OCSF",
    needs: &[&[("class_uid", &[]), ("metadata", &[]), ("time", &[])], &[("class_uid", &[]), ("metadata", &[]), ("time_dt", &[])]],
    uid: &["metadata.uid"],
    uid_with_content: true,
    fields: &[
        ("time", col::TIME, How::Time),
        ("time_dt", col::TIME, How::Time),
        ("start_time", col::START_TIME, How::Time),
        ("end_time", col::END_TIME, How::Time),
        ("duration", col::DURATION, How::Int),
        ("count", col::COUNT, How::Int),
        ("metadata.product.name", col::PRODUCT, How::Text),
        ("metadata.correlation_uid", col::CORRELATION_UID, How::Text),
        ("class_uid", col::CLASS_UID, How::Int),
        ("severity_id", col::SEVERITY_ID, How::Int),
        ("activity_name", col::ACTIVITY, How::Text),
        ("message", col::MESSAGE, How::Text),
        ("status_code", col::STATUS_CODE, How::Text),
        ("status_detail", col::STATUS_DETAIL, How::Text),
        ("action", col::ACTION, How::Lower),
        ("disposition", col::ACTION, How::Lower),
        ("api.service.name", col::API_SERVICE, How::Text),
        ("api.operation", col::API_OPERATION, How::Text),
        ("api.request.uid", col::API_REQUEST_UID, How::Text),
        ("actor.user.uid", col::ACTOR_UID, How::Text),
        ("actor.user.uid_alt", col::ACTOR_UID, How::Text),
        ("actor.user.email_addr", col::ACTOR_UID, How::Text),
        ("actor.user.name", col::ACTOR_UID, How::Text),
        ("actor.user.full_name", col::ACTOR_UID, How::Text),
        ("actor.process.user.uid", col::ACTOR_UID, How::Text),
        ("actor.process.user.uid_alt", col::ACTOR_UID, How::Text),
        ("actor.process.user.email_addr", col::ACTOR_UID, How::Text),
        ("actor.process.user.name", col::ACTOR_UID, How::Text),
        ("actor.process.user.full_name", col::ACTOR_UID, How::Text),
        ("actor.user.name", col::ACTOR_NAME, How::Text),
        ("actor.user.full_name", col::ACTOR_NAME, How::Text),
        ("actor.process.user.name", col::ACTOR_NAME, How::Text),
        ("actor.process.user.full_name", col::ACTOR_NAME, How::Text),
        ("actor.user.type", col::ACTOR_TYPE, How::Text),
        ("actor.user.email_addr", col::ACTOR_EMAIL, How::Text),
        ("actor.process.user.email_addr", col::ACTOR_EMAIL, How::Text),
        ("actor.user.account.uid", col::ACTOR_ACCOUNT, How::Text),
        ("actor.user.credential_uid", col::ACTOR_CREDENTIAL, How::Text),
        ("actor.user.groups", col::ACTOR_GROUPS, How::Json),
        ("actor.session.uid", col::ACTOR_SESSION_UID, How::Text),
        ("actor.session.is_mfa", col::ACTOR_SESSION_MFA, How::Bool),
        ("actor.session.issuer", col::ACTOR_ISSUER, How::Text),
        ("actor.invoked_by", col::ACTOR_INVOKED_BY, How::Text),
        ("actor.app_name", col::ACTOR_APP_NAME, How::Text),
        ("actor.app_uid", col::ACTOR_APP_UID, How::Text),
        ("actor.idp.name", col::ACTOR_ISSUER, How::Text),
        ("actor.process.name", col::PROCESS_NAME, How::Text),
        ("user.uid", col::USER_UID, How::Text),
        ("user.uid_alt", col::USER_UID, How::Text),
        ("user.email_addr", col::USER_UID, How::Text),
        ("user.name", col::USER_NAME, How::Text),
        ("user.full_name", col::USER_NAME, How::Text),
        ("src_endpoint.ip", col::SRC_IP, How::Address),
        ("src_endpoint.domain", col::SRC_DOMAIN, How::Text),
        ("src_endpoint.port", col::SRC_PORT, How::Int),
        ("dst_endpoint.ip", col::DST_IP, How::Address),
        ("dst_endpoint.domain", col::DST_DOMAIN, How::Text),
        ("dst_endpoint.port", col::DST_PORT, How::Int),
        ("dst_endpoint.svc_name", col::DST_SERVICE, How::Text),
        ("connection_info.protocol_name", col::PROTOCOL, How::Text),
        ("connection_info.protocol_num", col::PROTOCOL_NUM, How::Int),
        ("connection_info.direction", col::DIRECTION, How::Lower),
        ("connection_info.tcp_flags", col::TCP_FLAGS, How::Int),
        ("traffic.bytes", col::BYTES, How::Int),
        ("traffic.packets", col::PACKETS, How::Int),
        ("traffic.bytes_in", col::BYTES_IN, How::Int),
        ("traffic.bytes_out", col::BYTES_OUT, How::Int),
        ("http_request.user_agent", col::USER_AGENT, How::Text),
        ("http_request.http_method", col::HTTP_METHOD, How::Text),
        ("http_request.url.url_string", col::URL, How::Text),
        ("http_response.code", col::HTTP_CODE, How::Int),
        ("tls.sni", col::SNI, How::Text),
        ("cloud.provider", col::CLOUD_PROVIDER, How::Text),
        ("cloud.account.uid", col::CLOUD_ACCOUNT, How::Text),
        ("cloud.org.uid", col::CLOUD_ORG, How::Text),
        ("cloud.region", col::CLOUD_REGION, How::Text),
        ("resources[0].uid", col::RESOURCE_UID, How::Text),
        ("resources[0].name", col::RESOURCE_NAME, How::Text),
        ("resources[0].type", col::RESOURCE_TYPE, How::Text),
        ("resource.uid", col::RESOURCE_UID, How::Text),
        ("resource.name", col::RESOURCE_NAME, How::Text),
        ("resource.type", col::RESOURCE_TYPE, How::Text),
        ("device.hostname", col::HOSTNAME, How::Text),
        ("device.instance_uid", col::DEVICE_INSTANCE, How::Text),
        ("container.uid", col::CONTAINER_UID, How::Text),
        ("container.name", col::CONTAINER_NAME, How::Text),
        ("container.image.name", col::CONTAINER_IMAGE, How::Text),
        ("process.name", col::PROCESS_NAME, How::Text),
        ("process.cmd_line", col::PROCESS_CMD_LINE, How::Text),
        ("process.pid", col::PROCESS_PID, How::Int),
        ("process.uid", col::PROCESS_UID, How::Text),
        ("process.file.path", col::PROCESS_EXE, How::Text),
        ("process.parent_process.name", col::PROCESS_PARENT_NAME, How::Text),
        ("file.path", col::FILE_PATH, How::Text),
        ("finding_info.uid", col::FINDING_UID, How::Text),
        ("finding_info.title", col::FINDING_TITLE, How::Text),
        ("finding_info.desc", col::FINDING_DESC, How::Text),
        ("finding_info.types[0]", col::FINDING_TYPE, How::Text),
        ("finding_info.attacks", col::FINDING_ATTACKS, How::Json),
        ("confidence_score", col::CONFIDENCE, How::Int),
        ("compliance.control", col::POLICY_UID, How::Text),
        ("vulnerabilities[0].cve.uid", col::CVE, How::Text),
        ("vulnerabilities[0].affected_packages[0].name", col::PACKAGE, How::Text),
        ("vulnerabilities[0].affected_packages[0].version", col::PACKAGE_VERSION, How::Text),
        ("vulnerabilities[0].affected_packages[0].fixed_in_version", col::PACKAGE_FIXED, How::Text),
        ("risk_level", col::RISK_LEVEL, How::Lower),
        ("auth_protocol", col::AUTH_PROTOCOL, How::Text),
    ],
    reads: &[
        "class_uid",
        "metadata.uid",
        "finding_info.modified_time",
        "status",
        "status_id",
        "compliance.status",
        "compliance.status_id",
        "user.uid",
        "user.uid_alt",
        "user.email_addr",
        "user.name",
        "user.full_name",
        "actor.app_uid",
        "actor.app_name",
        "actor.invoked_by",
        "actor.user.uid",
        "actor.user.uid_alt",
        "actor.user.email_addr",
        "actor.user.name",
        "actor.user.full_name",
        "actor.process.user.uid",
        "actor.process.user.uid_alt",
        "actor.process.user.email_addr",
        "actor.process.user.name",
        "actor.process.user.full_name",
        "evidences",
        // What else makes a request another one: it decides about the id.
        "api",
        "http_request",
        "http_response",
        "resources",
        "raw_data",
        "unmapped",
    ],
    finish: Some(finish),
    ..LogFormat::NEW
};

/// `status_id` of a finding: how far one is with it.
const FINDING_STATES: &[(i64, &str)] = &[
    (1, "new"),
    (2, "in progress"),
    (3, "suppressed"),
    (4, "resolved"),
    (5, "archived"),
    (6, "deleted"),
];

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const UID: usize = 1;
    const MODIFIED: usize = 2;
    const USER: Range<usize> = 7..12;
    const USER_MAIL: usize = 9;
    const USER_NAMES: Range<usize> = 10..12;
    const APP: Range<usize> = 12..15;
    let class = event.int(0).unwrap_or_default();
    let family = match class {
        1000..2000 | 2004 | 2005 => "agent_alerts",
        2000..3000 => "posture",
        3000..4000 => "identity",
        4000..5000 => "network_flows",
        _ => "cloud_audit",
    };
    event.set(col::FAMILY, family);
    set_status(event, class);
    set_evidence(event);
    // Who signs in is the user; of other classes the user is acted upon.
    if class == 3002 {
        for at in USER {
            let user = event.text(at).unwrap_or_default();
            event.set_late(col::ACTOR_UID, &user);
        }
        for at in USER_NAMES {
            let name = event.text(at).unwrap_or_default();
            event.set_late(col::ACTOR_NAME, &name);
        }
        let mail = event.text(USER_MAIL).unwrap_or_default();
        event.set_late(col::ACTOR_EMAIL, &mail);
    }
    for at in APP {
        let app = event.text(at).unwrap_or_default();
        event.set_late(col::ACTOR_UID, &app);
    }
    if let (Some(uid), Some(modified)) = (event.text(UID), event.text(MODIFIED)) {
        event.set(col::EVENT_UID, &format!("{uid}/{modified}"));
    }
    Ok(Decoded::Row)
}

/// Sets the first user that pieces of evidence name as an actor, if the event names none.
fn set_evidence(event: &mut Event) {
    const NAMED: Range<usize> = 15..25;
    const EVIDENCE: usize = 25;
    const IDS: [&str; 5] = ["uid", "uid_alt", "email_addr", "name", "full_name"];
    if event.value(EVIDENCE).is_none() || NAMED.into_iter().any(|at| event.text(at).is_some()) {
        return;
    }
    let evidence = event.tree(EVIDENCE);
    let text = |user: &Value, name: &str| match &user[name] {
        Value::String(text) => text.clone(),
        number => int_of(number).map_or(String::new(), |number| number.to_string()),
    };
    let is_named = |user: &&Value| IDS.iter().any(|id| !text(user, id).is_empty());
    let users = evidence.as_array().into_iter().flatten().flat_map(|one| {
        let actor = &one["actor"];
        [&actor["user"], &actor["process"]["user"]]
    });
    if let Some(user) = users.into_iter().find(is_named) {
        for id in IDS {
            event.set_late(col::ACTOR_UID, &text(user, id));
        }
        event.set_late(col::ACTOR_NAME, &text(user, "name"));
        event.set_late(col::ACTOR_NAME, &text(user, "full_name"));
        event.set_late(col::ACTOR_EMAIL, &text(user, "email_addr"));
    }
}

/// Of a finding, `status` says how far one is with it, and a check says how it ended; of everything else it says
/// how it ended.
fn set_status(event: &mut Event, class: i64) {
    const STATUS: usize = 3;
    const STATUS_ID: usize = 4;
    const CHECK: usize = 5;
    const CHECK_ID: usize = 6;
    let word = |event: &Event, at| event.text(at).unwrap_or_default().to_lowercase();
    let (status, id) = (word(event, STATUS), event.int(STATUS_ID));
    if !(2000..3000).contains(&class) {
        match (&*status, id) {
            ("success", _) => event.row.status(false),
            ("failure", _) => event.row.status(true),
            (_, Some(1)) => event.row.status(false),
            (_, Some(2)) => event.row.status(true),
            _ => {}
        }
        return;
    }
    event.set(col::FINDING_STATUS, &status);
    let known = FINDING_STATES.iter().find(|(known, _)| Some(*known) == id);
    if let Some((_, state)) = known {
        event.set(col::FINDING_STATUS, state);
    }
    match (&*word(event, CHECK), event.int(CHECK_ID)) {
        ("pass", _) | ("", Some(1)) => event.row.status(false),
        ("fail", _) | ("", Some(3)) => event.row.status(true),
        _ => {}
    }
}
