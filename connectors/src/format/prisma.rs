//! Prisma Cloud: alerts about configuration (CSPM) and incidents of running containers (Compute).
//!
//! Traps: times are milliseconds as numbers, but text in `history`; a change of status tells the same alert
//! again; `resource.data` is any object. An alert is state: open until told otherwise.

use weir_engine::schema::col;

use crate::mapping::{How, LogFormat, SEVERITY};

#[rustfmt::skip]
pub static ALERT: LogFormat = LogFormat {
    name: "Prisma Cloud alert",
    source: "prisma_cloud",
    family: "posture",
    product: "Prisma Cloud",
    class: 2003,
    needs: &[&[("id", &[]), ("policy", &[]), ("resource", &[]), ("alertTime", &[])],
             &[("id", &[]), ("policyId", &[]), ("resource", &[]), ("firstSeen", &[])]],
    uid: &["id", "lastUpdated", "status"],
    fields: &[
        ("lastUpdated", col::TIME, How::Time),
        ("alertTime", col::TIME, How::Time),
        ("lastSeen", col::TIME, How::Time),
        ("firstSeen", col::START_TIME, How::Time),
        ("lastSeen", col::END_TIME, How::Time),
        ("id", col::FINDING_UID, How::Text),
        ("status", col::FINDING_STATUS, How::Lower),
        ("reason", col::ACTIVITY, How::Text),
        ("policy.severity", col::SEVERITY_ID, SEVERITY),
        ("policy.name", col::FINDING_TITLE, How::Text),
        ("policy.description", col::FINDING_DESC, How::Text),
        ("policy.policyType", col::FINDING_TYPE, How::Text),
        ("policy.labels", col::FINDING_TAGS, How::Json),
        ("policy.policyId", col::POLICY_UID, How::Text),
        ("policyId", col::POLICY_UID, How::Text),
        ("policy.name", col::POLICY_NAME, How::Text),
        ("alertAttribution.attributionEventList[0].username", col::ACTOR_NAME, How::Text),
        ("alertAttribution.resourceCreatedBy", col::ACTOR_NAME, How::Text),
        ("alertAttribution.attributionEventList[0].username", col::ACTOR_UID, How::Text),
        ("alertAttribution.resourceCreatedBy", col::ACTOR_UID, How::Text),
        ("resource.rrn", col::RESOURCE_UID, How::Text),
        ("resource.id", col::RESOURCE_UID, How::Text),
        ("resource.name", col::RESOURCE_NAME, How::Text),
        ("resource.resourceType", col::RESOURCE_TYPE, How::Text),
        ("resource.accountId", col::CLOUD_ACCOUNT, How::Text),
        ("resource.regionId", col::CLOUD_REGION, How::Text),
        ("resource.cloudType", col::CLOUD_PROVIDER, How::Names(&[("aws", "AWS"), ("gcp", "GCP"), ("azure", "Azure")])),
        ("resource.cloudType", col::CLOUD_PROVIDER, How::Text),
    ],
    ..LogFormat::NEW
};

#[rustfmt::skip]
pub static INCIDENT: LogFormat = LogFormat {
    name: "Prisma Cloud Compute incident",
    source: "prisma_cloud",
    family: "agent_alerts",
    product: "Prisma Cloud Compute",
    class: 2004,
    needs: &[&[("_id", &[]), ("category", &[]), ("audits", &[]), ("time", &[])]],
    uid: &["_id", "time"],
    fields: &[
        ("time", col::TIME, How::Time),
        ("_id", col::FINDING_UID, How::Text),
        ("category", col::FINDING_TITLE, How::Text),
        ("audits[0].msg", col::FINDING_DESC, How::Text),
        ("audits[0].attackType", col::FINDING_TYPE, How::Text),
        ("category", col::FINDING_TYPE, How::Text),
        ("audits[0].attackTechniques", col::FINDING_ATTACKS, How::Json),
        ("audits[0].severity[0]", col::SEVERITY_ID, SEVERITY),
        ("audits[0].severity", col::SEVERITY_ID, SEVERITY),
        ("audits[0].effect[0]", col::ACTION, How::Lower),
        ("audits[0].effect", col::ACTION, How::Lower),
        ("audits[0].ruleName", col::POLICY_NAME, How::Text),
        ("customRuleName", col::POLICY_NAME, How::Text),
        ("audits[0].command", col::PROCESS_CMD_LINE, How::Text),
        ("audits[0].processPath", col::PROCESS_EXE, How::Text),
        ("audits[0].pid", col::PROCESS_PID, How::Int),
        ("audits[0].md5", col::PROCESS_HASH, How::Text),
        ("audits[0].user", col::ACTOR_NAME, How::Text),
        ("audits[0].user", col::ACTOR_UID, How::Text),
        ("audits[0].ip", col::DST_IP, How::Address),
        ("audits[0].port", col::DST_PORT, How::Int),
        ("audits[0].domain", col::DST_DOMAIN, How::Text),
        ("audits[0].filepath", col::FILE_PATH, How::Text),
        ("hostname", col::HOSTNAME, How::Text),
        ("fqdn", col::HOSTNAME, How::Text),
        ("cluster", col::K8S_CLUSTER, How::Text),
        ("namespace", col::K8S_NAMESPACE, How::Text),
        ("containerID", col::CONTAINER_UID, How::Text),
        ("containerName", col::CONTAINER_NAME, How::Text),
        ("imageName", col::CONTAINER_IMAGE, How::Text),
        ("accountID", col::CLOUD_ACCOUNT, How::Text),
        ("region", col::CLOUD_REGION, How::Text),
        ("resourceID", col::RESOURCE_UID, How::Text),
        ("provider", col::CLOUD_PROVIDER, How::Names(&[("aws", "AWS"), ("gcp", "GCP"), ("azure", "Azure")])),
    ],
    ..LogFormat::NEW
};
