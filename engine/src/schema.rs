//! The one wide event schema. Column names are OCSF 1.x attribute paths with `_` for `.`.
//!
//! Invariant: a column has one type for ever. Vendor objects whose shape changes from call to call
//! (`requestParameters`, `output_fields`, …) are never columns; rules reach them through `raw`.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Physical type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text (`Utf8View`).
    Text,
    /// 64-bit signed integer.
    Int,
    /// 64-bit float.
    Float,
    Bool,
    /// Microseconds since the epoch, UTC.
    Time,
}

/// One column of the event schema.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// What it holds, and its unit where it has one.
    pub doc: &'static str,
}

macro_rules! columns {
    ($($constant:ident $kind:ident $name:literal $doc:literal;)*) => {
        /// Index of each column in [`COLUMNS`] and in every event batch.
        pub mod col {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            #[repr(usize)]
            enum Index { $($constant),* }
            $(pub const $constant: usize = Index::$constant as usize;)*
        }
        /// Every column, in schema order.
        pub const COLUMNS: &[Column] = &[$(Column { name: $name, kind: Kind::$kind, doc: $doc }),*];
    };
}

columns! {
    TIME Time "time" "When it happened, by the source's clock. Never null.";
    EVENT_UID Text "event_uid" "The vendor's id, else a hash of the content. Never null.";
    START_TIME Time "start_time" "Start of what the row sums up: a flow, the occurrences of a finding.";
    END_TIME Time "end_time" "End of what the row sums up.";
    DURATION Int "duration" "Milliseconds that it took.";
    COUNT Int "count" "Occurrences that the vendor sums up in this event.";
    CORRELATION_UID Text "metadata_correlation_uid" "What ties events of one operation together: Azure's correlationId, the operation id of Google.";
    MESSAGE Text "message" "The vendor's sentence about the event.";
    ACTIVITY Text "activity_name" "What the event says happened, where that is no API operation: Start, process_exec, update, …";
    ACTION Text "action" "allowed, denied, audited, …: what a firewall, policy or agent did.";
    FAMILY Text "family" "cloud_audit, k8s_audit, identity, agent_alerts, posture or network_flows. Never null.";
    PRODUCT Text "metadata_product_name" "CloudTrail, Kubernetes, Falco, GuardDuty, … Never null.";
    LOG_NAME Text "metadata_log_name" "Name of the configured source. Never null.";
    CLASS_UID Int "class_uid" "OCSF class: 6003 API Activity, 3002 Authentication, 2004 Detection Finding, 4001 Network Activity, …";
    SEVERITY_ID Int "severity_id" "OCSF severity, 1 informational to 6 fatal, where the vendor gives one.";
    STATUS Text "status" "success, failure or interrupted; null where the vendor does not say.";
    STATUS_CODE Text "status_code" "The vendor's error code, or the HTTP code as text.";
    STATUS_DETAIL Text "status_detail" "The vendor's error message.";
    API_SERVICE Text "api_service_name" "s3.amazonaws.com; the API group for Kubernetes, `core` for the unnamed one.";
    API_OPERATION Text "api_operation" "PutBucketPolicy; the verb for Kubernetes.";
    API_REQUEST_UID Text "api_request_uid" "The vendor's request id.";
    IS_READ_ONLY Bool "api_is_read_only" "True where the vendor says that the call changes nothing.";
    ACTOR_UID Text "actor_user_uid" "Identity: the ARN (of the role, for an assumed one), the Kubernetes user name.";
    ACTOR_NAME Text "actor_user_name" "Short name: IAM user or role name, Kubernetes user, Linux user.";
    ACTOR_EMAIL Text "actor_user_email_addr" "E-mail address or user principal name.";
    ACTOR_TYPE Text "actor_user_type" "IAMUser, AssumedRole, Root, AWSService, ServiceAccount, User, Node, Anonymous.";
    ACTOR_ACCOUNT Text "actor_user_account_uid" "Account that the identity belongs to.";
    ACTOR_CREDENTIAL Text "actor_user_credential_uid" "Access key or token id.";
    ACTOR_GROUPS Text "actor_user_groups" "JSON array of group names.";
    ACTOR_ROLE Text "actor_authorization_role" "Role by which the call was allowed.";
    ACTOR_SESSION_UID Text "actor_session_uid" "Session: the full ARN of an assumed role's session.";
    ACTOR_SESSION_MFA Bool "actor_session_is_mfa" "Whether the session used a second factor, where stated.";
    ACTOR_ISSUER Text "actor_session_issuer" "Who vouches for the session: identity provider, role, service account key.";
    ACTOR_CHAIN Text "actor_session_delegation" "JSON array: identities through which the actor got its own.";
    ACTOR_APP_UID Text "actor_app_uid" "Id of the application that acted for the user.";
    ACTOR_APP_NAME Text "actor_app_name" "Name of that application.";
    AUTH_PROTOCOL Text "auth_protocol" "How the identity was proved: password, SAML, ssh, a kind of token.";
    RISK_LEVEL Text "risk_level" "The identity provider's own estimate, in lower case.";
    ACTOR_INVOKED_BY Text "actor_invoked_by" "Service that called on the identity's behalf.";
    ACTOR_IMPERSONATED Text "actor_impersonated_user_name" "Kubernetes user that the actor acted as.";
    USER_UID Text "user_uid" "User, group or role that was changed.";
    USER_NAME Text "user_name" "Its name.";
    SRC_IP Text "src_endpoint_ip" "Canonical text of the caller's address; null when it is not an address.";
    SRC_DOMAIN Text "src_endpoint_domain" "What stands in the address field when it is not an address.";
    SRC_PORT Int "src_endpoint_port" "Port of the caller.";
    SRC_CITY Text "src_endpoint_location_city" "GeoIP city.";
    SRC_COUNTRY Text "src_endpoint_location_country" "GeoIP ISO 3166-1 alpha-2 country.";
    SRC_LAT Float "src_endpoint_location_lat" "GeoIP latitude, degrees.";
    SRC_LONG Float "src_endpoint_location_long" "GeoIP longitude, degrees.";
    SRC_ASN Int "src_endpoint_autonomous_system_number" "Number of the network that holds the caller's address.";
    SRC_AS_NAME Text "src_endpoint_autonomous_system_name" "Name of that network.";
    USER_AGENT Text "http_request_user_agent" "What the client says it is.";
    URL Text "http_request_url" "Request URI, with its query.";
    HTTP_METHOD Text "http_request_http_method" "GET, POST, …";
    HTTP_CODE Int "http_response_code" "HTTP status.";
    DST_IP Text "dst_endpoint_ip" "Canonical text of the other end's address.";
    DST_PORT Int "dst_endpoint_port" "Port of the other end.";
    DST_DOMAIN Text "dst_endpoint_domain" "Host name asked for: HTTP authority, DNS question.";
    DST_SERVICE Text "dst_endpoint_svc_name" "Service or upstream cluster at the other end.";
    SNI Text "tls_sni" "Server name of the TLS handshake.";
    PROTOCOL Text "connection_info_protocol_name" "tcp, udp, HTTP/1.1, … in the vendor's spelling.";
    PROTOCOL_NUM Int "connection_info_protocol_num" "IANA number: 6 is TCP, 17 UDP.";
    DIRECTION Text "connection_info_direction" "ingress or egress, inbound or outbound, in lower case.";
    TCP_FLAGS Int "connection_info_tcp_flags" "Or of the flags seen.";
    BYTES Int "traffic_bytes" "Bytes in all.";
    PACKETS Int "traffic_packets" "Packets in all.";
    BYTES_IN Int "traffic_bytes_in" "Bytes received by the reporting side.";
    BYTES_OUT Int "traffic_bytes_out" "Bytes sent by the reporting side.";
    CLOUD_PROVIDER Text "cloud_provider" "AWS, GCP or Azure.";
    CLOUD_ACCOUNT Text "cloud_account_uid" "Account, project or subscription that the event was recorded in.";
    CLOUD_ORG Text "cloud_org_uid" "Organisation or tenant.";
    CLOUD_REGION Text "cloud_region" "Region or location.";
    RESOURCE_UID Text "resource_uid" "ARN or other full name of the first resource named by the vendor.";
    RESOURCE_NAME Text "resource_name" "Name of the object acted upon.";
    RESOURCE_TYPE Text "resource_type" "AWS::S3::Bucket; pods, secrets, … for Kubernetes.";
    K8S_CLUSTER Text "k8s_cluster_name" "Stamped by configuration: audit events do not name their cluster.";
    K8S_NAMESPACE Text "k8s_namespace_name" "Namespace of the object.";
    K8S_SUBRESOURCE Text "k8s_subresource" "exec, token, status, …";
    K8S_POD Text "k8s_pod_name" "Pod acted upon, or that an agent watched.";
    K8S_WORKLOAD Text "k8s_workload_name" "Deployment, DaemonSet, … that owns the pod.";
    HOSTNAME Text "device_hostname" "Node or host that an agent runs on.";
    DEVICE_INSTANCE Text "device_instance_uid" "Instance id of the machine.";
    DEVICE_VPC Text "device_vpc_uid" "Virtual network of the machine or interface.";
    CONTAINER_UID Text "container_uid" "Container id.";
    CONTAINER_NAME Text "container_name" "Container name.";
    CONTAINER_IMAGE Text "container_image_name" "Image with its tag where known.";
    PROCESS_NAME Text "process_name" "Short name of the program.";
    PROCESS_CMD_LINE Text "process_cmd_line" "Command line, or arguments where the vendor has only those.";
    PROCESS_PID Int "process_pid" "Process id.";
    PROCESS_UID Text "process_uid" "Id that tells this run of the process from all others.";
    PROCESS_EXE Text "process_file_path" "Path of the program.";
    PROCESS_HASH Text "process_file_hash" "Hash of the program, MD5, SHA-1 or SHA-256 in hex.";
    PROCESS_PARENT_NAME Text "process_parent_process_name" "Program that started it.";
    FILE_PATH Text "file_path" "File acted upon.";
    FINDING_TITLE Text "finding_info_title" "Name of the vendor's rule.";
    FINDING_UID Text "finding_info_uid" "The finding's own id: the same for all updates of it, and from scan to scan where the vendor has one.";
    FINDING_TYPE Text "finding_info_type" "The vendor's name for this kind of finding.";
    FINDING_STATUS Text "finding_info_status" "open, resolved, new, archived, …: the vendor's word in lower case.";
    FINDING_DESC Text "finding_info_desc" "What the vendor says about it.";
    FINDING_TAGS Text "finding_info_tags" "JSON array of the vendor's tags.";
    FINDING_ATTACKS Text "finding_info_attacks" "ATT&CK tactics or techniques as the vendor names them; text or JSON array.";
    CONFIDENCE Int "confidence_score" "Percent, where the vendor gives it.";
    POLICY_UID Text "policy_uid" "Id of the policy that was violated.";
    POLICY_NAME Text "policy_name" "Its name.";
    CVE Text "vulnerabilities_cve_uid" "CVE or advisory id.";
    PACKAGE Text "vulnerabilities_package_name" "Package with the vulnerability.";
    PACKAGE_VERSION Text "vulnerabilities_package_version" "Version found.";
    PACKAGE_FIXED Text "vulnerabilities_package_fixed_in_version" "Version that is repaired.";
    OSINT_VALUE Text "osint_value" "Indicator that matched this event.";
    OSINT_TYPE Text "osint_type" "ip (also networks), domain, url or hash.";
    OSINT_SOURCE Text "osint_source" "Name of the list that holds it.";
    OSINT_CONFIDENCE Int "osint_confidence" "0 to 100; 50 where the list states none.";
    OSINT_LABELS Text "osint_labels" "JSON array of the list's labels.";
    ASSET_NAME Text "asset_name" "From the asset table.";
    ASSET_OWNER Text "asset_owner" "From the asset table.";
    ASSET_ENVIRONMENT Text "asset_environment" "From the asset table.";
    ASSET_CRITICALITY Text "asset_criticality" "low, medium, high or critical.";
    ASSET_TAGS Text "asset_tags" "JSON array.";
    POD_WORKLOAD_KIND Text "k8s_workload_kind" "Deployment, CronJob, …: what the pod belongs to, learnt from audit events.";
    POD_NODE Text "k8s_pod_node_name" "Node that the pod was bound to.";
    POD_IMAGES Text "k8s_pod_images" "JSON array of its containers' images.";
    POD_SERVICE_ACCOUNT Text "k8s_pod_service_account" "Service account that the pod ran as.";
    POD_LABELS Text "k8s_pod_labels" "JSON object.";
    ACTOR_IS_AUTOMATION Bool "actor_is_automation" "Whether a controller or a cloud's own service acts; null where no one is named.";
    RAW_TRUNCATED Bool "raw_truncated" "True where the event was over a limit of size or depth: `raw` then holds only its beginning, and columns that stand behind the limit are null. Null otherwise.";
    RAW_REPAIRED Bool "raw_repaired" "True where the event was not valid text (bytes that are not UTF-8, half surrogates, control characters): U+FFFD stands for what could not be read. Null otherwise.";
    RAW Text "raw" "The original JSON or line. Never null.";
}

/// Families of events; each is also a SQL view of that name.
pub const FAMILIES: &[&str] = &[
    "cloud_audit",
    "k8s_audit",
    "identity",
    "agent_alerts",
    "posture",
    "network_flows",
];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let never_null = [
        col::TIME,
        col::EVENT_UID,
        col::FAMILY,
        col::PRODUCT,
        col::LOG_NAME,
        col::RAW,
    ];
    let field = |(index, column): (usize, &Column)| {
        Field::new(
            column.name,
            data_type(column.kind),
            !never_null.contains(&index),
        )
    };
    Arc::new(Schema::new(
        COLUMNS.iter().enumerate().map(field).collect::<Vec<_>>(),
    ))
});

/// The schema of every event batch.
pub fn events() -> SchemaRef {
    SCHEMA.clone()
}

pub fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8View,
        Kind::Int => DataType::Int64,
        Kind::Float => DataType::Float64,
        Kind::Bool => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// Index of a column by its name.
pub fn index_of(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_name_their_columns() {
        assert_eq!(COLUMNS[col::TIME].name, "time");
        assert_eq!(COLUMNS[col::RAW].name, "raw");
        assert_eq!(COLUMNS.len(), col::RAW + 1);
        assert_eq!(index_of("src_endpoint_ip"), Some(col::SRC_IP));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = COLUMNS.iter().map(|c| c.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COLUMNS.len());
    }
}
