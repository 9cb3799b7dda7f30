//! AWS GuardDuty findings (`Finding` of the GuardDuty API): bare, in EventBridge, and with the capitals of
//! the API; and those that come through Security Hub, in its own format (ASFF).
//!
//! Traps: a repeated finding is an update under the same id with a new `updatedAt` and a higher count; the
//! kind of action decides where the remote address stands; the `type` begins with the threat's purpose; of the actors of an
//! attack sequence some are processes only.

use serde_json::Value;
use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY, Spelling};

/// OCSF severity of the bands that AWS documents.
const BANDS: How = How::Bands(&[(0.0, 2), (4.0, 3), (7.0, 4), (9.0, 5)]);

#[rustfmt::skip]
pub static FINDING: LogFormat = LogFormat {
    name: "GuardDuty finding",
    source: "guardduty",
    family: "agent_alerts",
    product: "GuardDuty",
    class: 2004,
    needs: &[&[
        ("id", &[]),
        ("type", &[]),
        ("severity", &[]),
        ("accountId", &[]),
        ("service.serviceName", &["guardduty"]),
    ]],
    spelling: Spelling::FirstLetter,
    nothing: &["HIDDEN_DUE_TO_SECURITY_REASONS"],
    uid: &["id", "updatedAt"],
    fields: &[
        ("service.eventLastSeen", col::TIME, How::Time),
        ("updatedAt", col::TIME, How::Time),
        ("createdAt", col::TIME, How::Time),
        ("service.eventFirstSeen", col::START_TIME, How::Time),
        ("service.eventLastSeen", col::END_TIME, How::Time),
        ("service.count", col::COUNT, How::Int),
        ("severity", col::SEVERITY_ID, BANDS),
        ("id", col::FINDING_UID, How::Text),
        ("title", col::FINDING_TITLE, How::Text),
        ("description", col::FINDING_DESC, How::Text),
        ("type", col::FINDING_TYPE, How::Text),
        ("accountId", col::CLOUD_ACCOUNT, How::Text),
        ("region", col::CLOUD_REGION, How::Text),
        ("service.action.actionType", col::ACTIVITY, How::Text),
        ("service.action.awsApiCallAction.api", col::API_OPERATION, How::Text),
        ("service.action.awsApiCallAction.serviceName", col::API_SERVICE, How::Text),
        ("service.action.awsApiCallAction.errorCode", col::STATUS_CODE, How::Text),
        ("service.action.awsApiCallAction.userAgent", col::USER_AGENT, How::Text),
        ("service.action.awsApiCallAction.remoteIpDetails.ipAddressV4", col::SRC_IP, How::Address),
        ("service.action.awsApiCallAction.remoteIpDetails.ipAddressV6", col::SRC_IP, How::Address),
        ("service.action.awsApiCallAction.domainDetails.domain", col::SRC_DOMAIN, How::Text),
        ("service.action.kubernetesApiCallAction.verb", col::API_OPERATION, How::Text),
        ("service.action.kubernetesApiCallAction.requestUri", col::URL, How::Text),
        ("service.action.kubernetesApiCallAction.statusCode", col::HTTP_CODE, How::Int),
        ("service.action.kubernetesApiCallAction.userAgent", col::USER_AGENT, How::Text),
        ("service.action.kubernetesApiCallAction.namespace", col::K8S_NAMESPACE, How::Text),
        ("service.action.kubernetesApiCallAction.resource", col::RESOURCE_TYPE, How::Text),
        ("service.action.kubernetesApiCallAction.resourceName", col::RESOURCE_NAME, How::Text),
        ("service.action.kubernetesApiCallAction.subresource", col::K8S_SUBRESOURCE, How::Text),
        ("service.action.kubernetesApiCallAction.remoteIpDetails.ipAddressV4", col::SRC_IP, How::Address),
        ("service.action.portProbeAction.portProbeDetails[0].remoteIpDetails.ipAddressV4", col::SRC_IP, How::Address),
        ("service.action.portProbeAction.portProbeDetails[0].localPortDetails.port", col::DST_PORT, How::Int),
        ("service.action.rdsLoginAttemptAction.remoteIpDetails.ipAddressV4", col::SRC_IP, How::Address),
        ("service.action.dnsRequestAction.domain", col::DST_DOMAIN, How::Text),
        ("service.action.dnsRequestAction.protocol", col::PROTOCOL, How::Text),
        ("service.action.networkConnectionAction.protocol", col::PROTOCOL, How::Text),
        ("service.action.networkConnectionAction.connectionDirection", col::DIRECTION, How::Lower),
        ("resource.resourceType", col::RESOURCE_TYPE, How::Text),
        ("resource.accessKeyDetails.userName", col::ACTOR_NAME, How::Text),
        ("resource.accessKeyDetails.principalId", col::ACTOR_UID, How::Text),
        ("resource.accessKeyDetails.userName", col::ACTOR_UID, How::Text),
        ("resource.accessKeyDetails.userType", col::ACTOR_TYPE, How::Text),
        ("resource.accessKeyDetails.accessKeyId", col::ACTOR_CREDENTIAL, How::Text),
        ("resource.kubernetesDetails.kubernetesUserDetails.username", col::ACTOR_NAME, How::Text),
        ("resource.kubernetesDetails.kubernetesUserDetails.username", col::ACTOR_UID, How::Text),
        ("resource.kubernetesDetails.kubernetesUserDetails.groups", col::ACTOR_GROUPS, How::Json),
        ("resource.kubernetesDetails.kubernetesWorkloadDetails.name", col::K8S_WORKLOAD, How::Text),
        ("resource.kubernetesDetails.kubernetesWorkloadDetails.namespace", col::K8S_NAMESPACE, How::Text),
        ("resource.eksClusterDetails.name", col::K8S_CLUSTER, How::Text),
        ("resource.eksClusterDetails.arn", col::RESOURCE_UID, How::Text),
        ("resource.containerDetails.id", col::CONTAINER_UID, How::Text),
        ("resource.containerDetails.name", col::CONTAINER_NAME, How::Text),
        ("resource.containerDetails.image", col::CONTAINER_IMAGE, How::Text),
        ("resource.instanceDetails.instanceId", col::DEVICE_INSTANCE, How::Text),
        ("resource.instanceDetails.instanceId", col::RESOURCE_NAME, How::Text),
        ("resource.instanceDetails.networkInterfaces[0].vpcId", col::DEVICE_VPC, How::Text),
        ("resource.instanceDetails.iamInstanceProfile.arn", col::ACTOR_ISSUER, How::Text),
        ("resource.s3BucketDetails[0].name", col::RESOURCE_NAME, How::Text),
        ("resource.s3BucketDetails[0].arn", col::RESOURCE_UID, How::Text),
        ("resource.lambdaDetails.functionName", col::RESOURCE_NAME, How::Text),
        ("resource.lambdaDetails.functionArn", col::RESOURCE_UID, How::Text),
        ("resource.rdsDbInstanceDetails.dbInstanceIdentifier", col::RESOURCE_NAME, How::Text),
        ("resource.rdsDbInstanceDetails.dbInstanceArn", col::RESOURCE_UID, How::Text),
        ("resource.rdsDbUserDetails.user", col::ACTOR_NAME, How::Text),
        ("resource.rdsDbUserDetails.user", col::ACTOR_UID, How::Text),
        // Of an attack sequence: its first actor, endpoint and resource.
        ("service.detection.sequence.actors[0].user.uid", col::ACTOR_UID, How::Text),
        ("service.detection.sequence.actors[0].user.name", col::ACTOR_UID, How::Text),
        ("service.detection.sequence.actors[0].user.name", col::ACTOR_NAME, How::Text),
        ("service.detection.sequence.actors[0].user.type", col::ACTOR_TYPE, How::Text),
        ("service.detection.sequence.actors[0].user.credentialUid", col::ACTOR_CREDENTIAL, How::Text),
        ("service.detection.sequence.actors[0].user.account.uid", col::ACTOR_ACCOUNT, How::Text),
        ("service.detection.sequence.actors[0].session.uid", col::ACTOR_SESSION_UID, How::Text),
        ("service.detection.sequence.actors[0].session.issuer", col::ACTOR_ISSUER, How::Text),
        ("service.detection.sequence.actors[0].process.name", col::PROCESS_NAME, How::Text),
        ("service.detection.sequence.actors[0].process.path", col::PROCESS_EXE, How::Text),
        ("service.detection.sequence.actors[0].process.sha256", col::PROCESS_HASH, How::Text),
        ("service.detection.sequence.endpoints[0].ip", col::SRC_IP, How::Address),
        ("service.detection.sequence.endpoints[0].domain", col::SRC_DOMAIN, How::Text),
        ("service.detection.sequence.resources[0].uid", col::RESOURCE_UID, How::Text),
        ("service.detection.sequence.resources[0].name", col::RESOURCE_NAME, How::Text),
        ("service.detection.sequence.uid", col::CORRELATION_UID, How::Text),
        ("resource.kubernetesDetails.kubernetesUserDetails.impersonatedUser.username", col::ACTOR_IMPERSONATED, How::Text),
        ("service.runtimeDetails.process.name", col::PROCESS_NAME, How::Text),
        ("service.runtimeDetails.process.executablePath", col::PROCESS_EXE, How::Text),
        ("service.runtimeDetails.process.executableSha256", col::PROCESS_HASH, How::Text),
        ("service.runtimeDetails.process.pid", col::PROCESS_PID, How::Int),
        ("service.runtimeDetails.process.user", col::ACTOR_NAME, How::Text),
        ("service.runtimeDetails.process.user", col::ACTOR_UID, How::Text),
        ("service.runtimeDetails.process.lineage[0].name", col::PROCESS_PARENT_NAME, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "AWS")],
    reads: &[
        "type",
        "service.archived",
        "service.action.networkConnectionAction.connectionDirection",
        "service.action.networkConnectionAction.remoteIpDetails.ipAddressV4",
        "service.action.networkConnectionAction.remoteIpDetails.ipAddressV6",
        "service.action.networkConnectionAction.remotePortDetails.port",
        "service.action.networkConnectionAction.localIpDetails.ipAddressV4",
        "service.action.networkConnectionAction.localPortDetails.port",
        "service.detection.sequence.actors[0].session.mfaStatus",
        "service.detection.sequence.actors[0].user.uid",
        "service.detection.sequence.actors[0].user.name",
        "service.detection.sequence.actors",
        "service.detection.sequence.endpoints[0].ip",
        "service.detection.sequence.endpoints",
    ],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const TYPE: usize = 0;
    const ARCHIVED: usize = 1;
    const DIRECTION: usize = 2;
    const REMOTE: [usize; 3] = [3, 4, 5];
    const LOCAL: [usize; 3] = [6, 6, 7];
    const MFA: usize = 8;
    if let Some(kind) = event.text(TYPE)
        && let Some((purpose, _)) = kind.split_once(':')
    {
        event.set(col::FINDING_ATTACKS, purpose);
    }
    let mfa = set_sequence(event).or_else(|| Some(event.text(MFA)?.into_owned()));
    match mfa.as_deref() {
        Some("ENABLED") => event.row.builder.bool(col::ACTOR_SESSION_MFA, true),
        Some("DISABLED") => event.row.builder.bool(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
    let archived = event.is(ARCHIVED, "true");
    event.set(
        col::FINDING_STATUS,
        if archived { "archived" } else { "active" },
    );
    // The source of a connection is the side that opened it.
    let (source, target) = match event.is(DIRECTION, "OUTBOUND") {
        true => (LOCAL, REMOTE),
        false => (REMOTE, LOCAL),
    };
    for ([v4, v6, port], [address_column, port_column]) in [
        (source, [col::SRC_IP, col::SRC_PORT]),
        (target, [col::DST_IP, col::DST_PORT]),
    ] {
        event.set_address(address_column, v4);
        event.set_address(address_column, v6);
        if let Some(port) = event.int(port) {
            event.set_int(port_column, port);
        }
    }
    Ok(Decoded::Row)
}

/// A member, whatever the case of its first letter.
fn member<'a>(of: &'a Value, name: &str) -> &'a Value {
    let (first, rest) = name.split_at(1);
    match &of[name] {
        Value::Null => &of[format!("{}{rest}", first.to_uppercase())],
        value => value,
    }
}

fn text_of<'a>(of: &'a Value, path: &[&str]) -> &'a str {
    let value = path.iter().fold(of, |value, name| member(value, name));
    let text = value.as_str().unwrap_or_default();
    match FINDING.nothing.contains(&text) {
        true => "",
        false => text,
    }
}

/// Columns that a user among the actors of an attack sequence fills.
const ACTOR: &[(&[&str], usize)] = &[
    (&["user", "uid"], col::ACTOR_UID),
    (&["user", "name"], col::ACTOR_UID),
    (&["user", "name"], col::ACTOR_NAME),
    (&["user", "type"], col::ACTOR_TYPE),
    (&["user", "credentialUid"], col::ACTOR_CREDENTIAL),
    (&["user", "account", "uid"], col::ACTOR_ACCOUNT),
    (&["session", "uid"], col::ACTOR_SESSION_UID),
    (&["session", "issuer"], col::ACTOR_ISSUER),
];

/// Sets the first user and the first address of an attack sequence whose first actor or endpoint has none. Returns
/// whether that user's session had a second factor, if it says so.
fn set_sequence(event: &mut Event) -> Option<String> {
    const USER: [usize; 2] = [9, 10];
    const ACTORS: usize = 11;
    const ADDRESS: usize = 12;
    const ENDPOINTS: usize = 13;
    if event.text(ADDRESS).is_none() && event.value(ENDPOINTS).is_some() {
        let endpoints = event.tree(ENDPOINTS);
        let endpoints = endpoints.as_array().into_iter().flatten();
        let mut addresses =
            endpoints.filter_map(|one| text_of(one, &["ip"]).parse::<std::net::IpAddr>().ok());
        if let Some(address) = addresses.next() {
            event.set_late(col::SRC_IP, &address.to_canonical().to_string());
        }
    }
    if USER.into_iter().any(|at| event.text(at).is_some()) || event.value(ACTORS).is_none() {
        return None;
    }
    let actors = event.tree(ACTORS);
    let is_user = |actor: &&Value| {
        let says = |name| !text_of(actor, &["user", name]).is_empty();
        says("uid") || says("name")
    };
    let actor = actors.as_array()?.iter().find(is_user)?;
    for (path, column) in ACTOR {
        event.set_late(*column, text_of(actor, path));
    }
    Some(text_of(actor, &["session", "mfaStatus"]).to_owned())
}

#[rustfmt::skip]
pub static SECURITY_HUB: LogFormat = LogFormat {
    name: "Security Hub finding",
    source: "guardduty",
    family: "agent_alerts",
    product: "Security Hub",
    class: 2004,
    needs: &[&[
        ("Id", &[]),
        ("ProductArn", &[]),
        ("AwsAccountId", &[]),
        ("GeneratorId", &[]),
    ]],
    nothing: &["None", "HIDDEN_DUE_TO_SECURITY_REASONS"],
    uid: &["Id", "UpdatedAt"],
    fields: &[
        ("LastObservedAt", col::TIME, How::Time),
        ("UpdatedAt", col::TIME, How::Time),
        ("CreatedAt", col::TIME, How::Time),
        ("FirstObservedAt", col::START_TIME, How::Time),
        ("LastObservedAt", col::END_TIME, How::Time),
        ("ProductFields.\"aws/guardduty/service/count\"", col::COUNT, How::Int),
        ("Severity.Label", col::SEVERITY_ID, SEVERITY),
        ("FindingProviderFields.Severity.Label", col::SEVERITY_ID, SEVERITY),
        ("Severity.Normalized", col::SEVERITY_ID, NORMALIZED),
        ("Confidence", col::CONFIDENCE, How::Int),
        ("Id", col::FINDING_UID, How::Text),
        ("Title", col::FINDING_TITLE, How::Text),
        ("Description", col::FINDING_DESC, How::Text),
        ("Types[0]", col::FINDING_TYPE, How::Text),
        ("Types", col::FINDING_TAGS, How::Json),
        ("Workflow.Status", col::FINDING_STATUS, How::Lower),
        ("RecordState", col::FINDING_STATUS, How::Lower),
        ("Compliance.SecurityControlId", col::POLICY_UID, How::Text),
        ("GeneratorId", col::POLICY_UID, How::Text),
        ("AwsAccountId", col::CLOUD_ACCOUNT, How::Text),
        ("Region", col::CLOUD_REGION, How::Text),
        ("Resources[0].Region", col::CLOUD_REGION, How::Text),
        ("Resources[0].Id", col::RESOURCE_UID, How::Text),
        ("Resources[0].Type", col::RESOURCE_TYPE, How::Text),
        ("ProductName", col::PRODUCT, How::Text),
        ("ProductFields.\"aws/securityhub/ProductName\"", col::PRODUCT, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.UserName", col::ACTOR_NAME, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.PrincipalName", col::ACTOR_NAME, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.PrincipalId", col::ACTOR_UID, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.UserName", col::ACTOR_UID, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.PrincipalName", col::ACTOR_UID, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.PrincipalType", col::ACTOR_TYPE, How::Text),
        ("Resources[0].Details.AwsIamAccessKey.AccessKeyId", col::ACTOR_CREDENTIAL, How::Text),
        ("Resources[0].Details.AwsEc2Instance.VpcId", col::DEVICE_VPC, How::Text),
        ("Action.ActionType", col::ACTIVITY, How::Text),
        ("Action.AwsApiCallAction.Api", col::API_OPERATION, How::Text),
        ("Action.AwsApiCallAction.ServiceName", col::API_SERVICE, How::Text),
        ("Action.AwsApiCallAction.RemoteIpDetails.IpAddressV4", col::SRC_IP, How::Address),
        ("Action.NetworkConnectionAction.RemoteIpDetails.IpAddressV4", col::SRC_IP, How::Address),
        ("Action.PortProbeAction.PortProbeDetails[0].RemoteIpDetails.IpAddressV4", col::SRC_IP, How::Address),
        ("Action.DnsRequestAction.Domain", col::DST_DOMAIN, How::Text),
        ("Network.SourceIpV4", col::SRC_IP, How::Address),
        ("Network.SourcePort", col::SRC_PORT, How::Int),
        ("Network.DestinationIpV4", col::DST_IP, How::Address),
        ("Network.DestinationPort", col::DST_PORT, How::Int),
        ("Process.Name", col::PROCESS_NAME, How::Text),
        ("Process.Path", col::PROCESS_EXE, How::Text),
        ("Process.Pid", col::PROCESS_PID, How::Int),
        ("Vulnerabilities[0].Id", col::CVE, How::Text),
        ("Vulnerabilities[0].VulnerablePackages[0].Name", col::PACKAGE, How::Text),
        ("Vulnerabilities[0].VulnerablePackages[0].Version", col::PACKAGE_VERSION, How::Text),
        ("Vulnerabilities[0].VulnerablePackages[0].FixedInVersion", col::PACKAGE_FIXED, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "AWS")],
    reads: &["Compliance.Status", "Vulnerabilities[0].Id", "Types[0]"],
    finish: Some(finish_hub),
    ..LogFormat::NEW
};

/// OCSF severity of Security Hub's 0 to 100.
const NORMALIZED: How = How::Bands(&[(0.0, 1), (1.0, 2), (40.0, 3), (70.0, 4), (90.0, 5)]);

/// A compliance check and a vulnerability are posture; everything else is an alert of the product that found it.
fn finish_hub(event: &mut Event) -> Result<Decoded, Stop> {
    const COMPLIANCE: usize = 0;
    const VULNERABILITIES: usize = 1;
    const TYPE: usize = 2;
    if let Some(status) = event.text(COMPLIANCE) {
        event.set(col::FAMILY, "posture");
        event.set_int(col::CLASS_UID, 2003);
        // A warning, or a check that was not made, has no outcome.
        match &*status {
            "PASSED" => event.row.status(false),
            "FAILED" => event.row.status(true),
            _ => {}
        }
    } else if event.value(VULNERABILITIES).is_some() {
        event.set(col::FAMILY, "posture");
        event.set_int(col::CLASS_UID, 2002);
    }
    // `TTPs/Discovery/Recon:IAMUser-MaliciousIPCaller`
    if let Some(kind) = event.text(TYPE)
        && let Some(tactic) = kind.strip_prefix("TTPs/")
    {
        event.set(
            col::FINDING_ATTACKS,
            tactic.split('/').next().unwrap_or_default(),
        );
    }
    Ok(Decoded::Row)
}
