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
    FAMILY Text "family" "cloud_audit, k8s_audit or agent_alerts. Never null.";
    PRODUCT Text "metadata_product_name" "CloudTrail, Kubernetes or Falco. Never null.";
    LOG_NAME Text "metadata_log_name" "Name of the configured source. Never null.";
    CLASS_UID Int "class_uid" "OCSF class: 6003 API Activity, 3002 Authentication, 2004 Detection Finding.";
    SEVERITY_ID Int "severity_id" "OCSF severity, 1 informational to 6 fatal, where the vendor gives one.";
    STATUS Text "status" "success or failure.";
    STATUS_CODE Text "status_code" "The vendor's error code, or the HTTP code as text.";
    STATUS_DETAIL Text "status_detail" "The vendor's error message.";
    API_SERVICE Text "api_service_name" "s3.amazonaws.com; the API group for Kubernetes, `core` for the unnamed one.";
    API_OPERATION Text "api_operation" "PutBucketPolicy; the verb for Kubernetes.";
    API_REQUEST_UID Text "api_request_uid" "The vendor's request id.";
    IS_READ_ONLY Bool "api_is_read_only" "True where the vendor says that the call changes nothing.";
    ACTOR_UID Text "actor_user_uid" "Identity: the ARN (of the role, for an assumed one), the Kubernetes user name.";
    ACTOR_NAME Text "actor_user_name" "Short name: IAM user or role name, Kubernetes user, Linux user.";
    ACTOR_TYPE Text "actor_user_type" "IAMUser, AssumedRole, Root, AWSService, ServiceAccount, User, Node, Anonymous.";
    ACTOR_ACCOUNT Text "actor_user_account_uid" "Account that the identity belongs to.";
    ACTOR_CREDENTIAL Text "actor_user_credential_uid" "Access key id.";
    ACTOR_GROUPS Text "actor_user_groups" "JSON array of group names.";
    ACTOR_SESSION_UID Text "actor_session_uid" "Session: the full ARN of an assumed role's session.";
    ACTOR_SESSION_MFA Bool "actor_session_is_mfa" "Whether the session used a second factor, where stated.";
    ACTOR_INVOKED_BY Text "actor_invoked_by" "Service that called on the identity's behalf.";
    ACTOR_IMPERSONATED Text "actor_impersonated_user_name" "Kubernetes user that the actor acted as.";
    SRC_IP Text "src_endpoint_ip" "Canonical text of the caller's address; null when it is not an address.";
    SRC_DOMAIN Text "src_endpoint_domain" "What stands in the address field when it is not an address.";
    SRC_PORT Int "src_endpoint_port" "";
    SRC_CITY Text "src_endpoint_location_city" "GeoIP city.";
    SRC_COUNTRY Text "src_endpoint_location_country" "GeoIP ISO 3166-1 alpha-2 country.";
    SRC_LAT Float "src_endpoint_location_lat" "GeoIP latitude, degrees.";
    SRC_LONG Float "src_endpoint_location_long" "GeoIP longitude, degrees.";
    SRC_ASN Int "src_endpoint_autonomous_system_number" "";
    SRC_AS_NAME Text "src_endpoint_autonomous_system_name" "";
    USER_AGENT Text "http_request_user_agent" "";
    URL Text "http_request_url" "Request URI, with its query.";
    HTTP_CODE Int "http_response_code" "";
    DST_IP Text "dst_endpoint_ip" "";
    DST_PORT Int "dst_endpoint_port" "";
    CLOUD_PROVIDER Text "cloud_provider" "AWS.";
    CLOUD_ACCOUNT Text "cloud_account_uid" "Account that the event was recorded in.";
    CLOUD_REGION Text "cloud_region" "";
    RESOURCE_UID Text "resource_uid" "ARN of the first resource named by the vendor.";
    RESOURCE_NAME Text "resource_name" "Name of the object acted upon.";
    RESOURCE_TYPE Text "resource_type" "AWS::S3::Bucket; pods, secrets, … for Kubernetes.";
    K8S_CLUSTER Text "k8s_cluster_name" "Stamped by configuration: audit events do not name their cluster.";
    K8S_NAMESPACE Text "k8s_namespace_name" "";
    K8S_SUBRESOURCE Text "k8s_subresource" "exec, token, status, …";
    K8S_POD Text "k8s_pod_name" "";
    HOSTNAME Text "device_hostname" "Node or host that an agent runs on.";
    CONTAINER_UID Text "container_uid" "";
    CONTAINER_NAME Text "container_name" "";
    CONTAINER_IMAGE Text "container_image_name" "Image with its tag where known.";
    PROCESS_NAME Text "process_name" "";
    PROCESS_CMD_LINE Text "process_cmd_line" "";
    PROCESS_PARENT_NAME Text "process_parent_process_name" "";
    FILE_PATH Text "file_path" "";
    FINDING_TITLE Text "finding_info_title" "Name of the vendor's rule.";
    FINDING_DESC Text "finding_info_desc" "";
    FINDING_TAGS Text "finding_info_tags" "JSON array of the vendor's tags.";
    OSINT_VALUE Text "osint_value" "Indicator that matched this event.";
    OSINT_TYPE Text "osint_type" "ip (also networks), domain, url or hash.";
    OSINT_SOURCE Text "osint_source" "Name of the list that holds it.";
    OSINT_CONFIDENCE Int "osint_confidence" "0 to 100; 50 where the list states none.";
    OSINT_LABELS Text "osint_labels" "JSON array of the list's labels.";
    ASSET_NAME Text "asset_name" "From the asset table.";
    ASSET_OWNER Text "asset_owner" "";
    ASSET_ENVIRONMENT Text "asset_environment" "";
    ASSET_CRITICALITY Text "asset_criticality" "low, medium, high or critical.";
    ASSET_TAGS Text "asset_tags" "JSON array.";
    POD_WORKLOAD_KIND Text "k8s_workload_kind" "Deployment, CronJob, …: what the pod belongs to, learnt from audit events.";
    POD_WORKLOAD Text "k8s_workload_name" "";
    POD_NODE Text "k8s_pod_node_name" "Node that the pod was bound to.";
    POD_IMAGES Text "k8s_pod_images" "JSON array of its containers' images.";
    POD_SERVICE_ACCOUNT Text "k8s_pod_service_account" "";
    POD_LABELS Text "k8s_pod_labels" "JSON object.";
    ACTOR_IS_AUTOMATION Bool "actor_is_automation" "Whether a controller or a cloud's own service acts; null where no one is named.";
    RAW Text "raw" "The original JSON. Never null.";
}

/// Families of events; each is also a SQL view of that name.
pub const FAMILIES: &[&str] = &["cloud_audit", "k8s_audit", "agent_alerts"];

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
