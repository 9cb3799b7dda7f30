//! Google's VPC flow logs and logs of firewall rules: `LogEntry` with a connection in its payload.
//!
//! Traps: numbers are text; both ends report the same flow, so the reporter tells which end is ours; metadata
//! may be left out.

use weir_engine::schema::col;

use super::vpc_flow::PROTOCOLS;
use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

const REPORTERS: How = How::Names(&[
    ("SRC", "egress"),
    ("SRC_GATEWAY", "egress"),
    ("DEST", "ingress"),
    ("DEST_GATEWAY", "ingress"),
]);

#[rustfmt::skip]
pub static FLOW: LogFormat = LogFormat {
    name: "Google VPC flow log entry",
    source: "gcp_flow",
    family: "network_flows",
    product: "Google VPC Flow Logs",
    class: 4001,
    needs: &[&[("logName", &[]), ("jsonPayload.connection", &[])]],
    uid: &["insertId", "timestamp", "logName"],
    fields: &[
        ("jsonPayload.start_time", col::TIME, How::Time),
        ("timestamp", col::TIME, How::Time),
        ("jsonPayload.start_time", col::START_TIME, How::Time),
        ("jsonPayload.end_time", col::END_TIME, How::Time),
        ("jsonPayload.connection.src_ip", col::SRC_IP, How::Address),
        ("jsonPayload.connection.src_port", col::SRC_PORT, How::Int),
        ("jsonPayload.connection.dest_ip", col::DST_IP, How::Address),
        ("jsonPayload.connection.dest_port", col::DST_PORT, How::Int),
        ("jsonPayload.connection.protocol", col::PROTOCOL_NUM, How::Int),
        ("jsonPayload.connection.protocol", col::PROTOCOL, PROTOCOLS),
        ("jsonPayload.bytes_sent", col::BYTES, How::Int),
        ("jsonPayload.packets_sent", col::PACKETS, How::Int),
        ("jsonPayload.reporter", col::DIRECTION, REPORTERS),
        ("jsonPayload.rule_details.direction", col::DIRECTION, How::Lower),
        ("jsonPayload.disposition", col::ACTION, How::Lower),
        ("jsonPayload.rule_details.reference", col::POLICY_UID, How::Text),
        ("jsonPayload.instance.vm_name", col::HOSTNAME, How::Text),
        ("jsonPayload.vpc.vpc_name", col::DEVICE_VPC, How::Text),
        ("jsonPayload.instance.region", col::CLOUD_REGION, How::Text),
        ("resource.labels.subnetwork_name", col::RESOURCE_NAME, How::Text),
        ("resource.labels.subnetwork_id", col::RESOURCE_UID, How::Text),
        ("resource.type", col::RESOURCE_TYPE, How::Text),
        ("resource.labels.project_id", col::CLOUD_ACCOUNT, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "GCP")],
    reads: &[
        "jsonPayload.reporter",
        "jsonPayload.src_instance.vm_name", "jsonPayload.dest_instance.vm_name",
        "jsonPayload.src_instance.region", "jsonPayload.dest_instance.region",
        "jsonPayload.src_vpc.vpc_name", "jsonPayload.dest_vpc.vpc_name",
        "jsonPayload.src_gke_details.pod.pod_name", "jsonPayload.dest_gke_details.pod.pod_name",
        "jsonPayload.src_gke_details.pod.pod_namespace", "jsonPayload.dest_gke_details.pod.pod_namespace",
        "jsonPayload.src_gke_details.cluster.cluster_name", "jsonPayload.dest_gke_details.cluster.cluster_name",
    ],
    finish: Some(finish),
    ..LogFormat::NEW
};

/// What the reporting end says of itself.
fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const COLUMNS: [usize; 6] = [
        col::HOSTNAME,
        col::CLOUD_REGION,
        col::DEVICE_VPC,
        col::K8S_POD,
        col::K8S_NAMESPACE,
        col::K8S_CLUSTER,
    ];
    let reporter = event.text(0).unwrap_or_default();
    let end = usize::from(reporter.starts_with("DEST"));
    for (at, column) in COLUMNS.into_iter().enumerate() {
        let value = event.text(1 + 2 * at + end).unwrap_or_default();
        event.set(column, &value);
    }
    Ok(Decoded::Row)
}
