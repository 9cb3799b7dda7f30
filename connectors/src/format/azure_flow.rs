//! Azure flow logs, of network security groups and of virtual networks: each flow is a text between commas.
//!
//! Traps: what is sent is sent by the side that opened the flow, not by the one that reports; the older form
//! tells time in seconds and protocols by letter, the newer one in milliseconds and by number; the newer form
//! says `D` as the state of a flow that was denied, the older one has a decision of its own.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, Mapping};

const PROTOCOLS: How = How::Names(&[
    ("T", "tcp"),
    ("U", "udp"),
    ("1", "icmp"),
    ("6", "tcp"),
    ("17", "udp"),
    ("58", "icmpv6"),
]);

const NUMBERS: How = How::Words(&[
    ("T", 6),
    ("U", 17),
    ("1", 1),
    ("6", 6),
    ("17", 17),
    ("58", 58),
]);

const STATES: How = How::Names(&[
    ("B", "Begin"),
    ("C", "Continue"),
    ("E", "End"),
    ("D", "Deny"),
]);

const OF_GROUPS: &[&str] = &["NetworkSecurityGroupFlowEvent"];

const OF_NETWORKS: &[&str] = &["FlowLogFlowEvent"];

/// Whether Azure's other logs leave records of this category to these.
pub(crate) fn is_category(category: &str) -> bool {
    OF_GROUPS.contains(&category) || OF_NETWORKS.contains(&category)
}

#[rustfmt::skip]
pub static NSG: Mapping = Mapping {
    name: "Azure NSG flow log record",
    source: "azure_flow",
    family: "network_flows",
    product: "Azure Flow Logs",
    needs: &[&[("category", OF_GROUPS), ("properties.flows", &[])]],
    uid: &["resourceId"],
    fields: &[("resourceId", col::RESOURCE_UID, How::Lower)],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    inside: &[("properties.flows", &NSG_RULE)],
    ..Mapping::NEW
};

static NSG_RULE: Mapping = Mapping {
    uid: &["rule"],
    fields: &[("rule", col::POLICY_NAME, How::Text)],
    inside: &[("flows", &NSG_INTERFACE)],
    ..Mapping::NEW
};

static NSG_INTERFACE: Mapping = Mapping {
    uid: &["mac"],
    fields: &[("mac", col::RESOURCE_NAME, How::Text)],
    inside: &[("flowTuples", &NSG_FLOW)],
    ..Mapping::NEW
};

#[rustfmt::skip]
static NSG_FLOW: Mapping = Mapping {
    words: &[
        "time", "source", "destination", "source_port", "destination_port", "protocol", "direction", "decision",
        "state", "packets_sent", "bytes_sent", "packets_received", "bytes_received",
    ],
    ..FLOW
};

#[rustfmt::skip]
pub static VNET: Mapping = Mapping {
    name: "Azure VNet flow log record",
    source: "azure_flow",
    family: "network_flows",
    product: "Azure Flow Logs",
    needs: &[&[("category", OF_NETWORKS), ("flowRecords.flows", &[])]],
    uid: &["flowLogResourceID", "macAddress"],
    fields: &[
        ("targetResourceID", col::RESOURCE_UID, How::Lower),
        ("flowLogResourceID", col::RESOURCE_UID, How::Lower),
        ("macAddress", col::RESOURCE_NAME, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    inside: &[("flowRecords.flows", &VNET_LIST)],
    ..Mapping::NEW
};

static VNET_LIST: Mapping = Mapping {
    uid: &["aclID"],
    fields: &[("aclID", col::POLICY_UID, How::Text)],
    inside: &[("flowGroups", &VNET_RULE)],
    ..Mapping::NEW
};

static VNET_RULE: Mapping = Mapping {
    uid: &["rule"],
    fields: &[("rule", col::POLICY_NAME, How::Text)],
    inside: &[("flowTuples", &VNET_FLOW)],
    ..Mapping::NEW
};

#[rustfmt::skip]
static VNET_FLOW: Mapping = Mapping {
    words: &[
        "time", "source", "destination", "source_port", "destination_port", "protocol", "direction", "state",
        "encryption", "packets_sent", "bytes_sent", "packets_received", "bytes_received",
    ],
    ..FLOW
};

#[rustfmt::skip]
const FLOW: Mapping<'static> = Mapping {
    class: 4001,
    uid: &["time", "source", "destination", "source_port", "destination_port", "protocol", "direction", "decision", "state"],
    fields: &[
        ("time", col::TIME, How::Utc),
        ("source", col::SRC_IP, How::Address),
        ("source_port", col::SRC_PORT, How::Int),
        ("destination", col::DST_IP, How::Address),
        ("destination_port", col::DST_PORT, How::Int),
        ("protocol", col::PROTOCOL, PROTOCOLS),
        ("protocol", col::PROTOCOL_NUM, NUMBERS),
        ("protocol", col::PROTOCOL_NUM, How::Int),
        ("direction", col::DIRECTION, How::Names(&[("I", "inbound"), ("O", "outbound")])),
        ("decision", col::ACTION, How::Names(&[("A", "allowed"), ("D", "denied")])),
        ("state", col::ACTIVITY, STATES),
    ],
    reads: &["direction", "decision", "state", "packets_sent", "packets_received", "bytes_sent", "bytes_received"],
    finish: Some(finish),
    ..Mapping::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const DIRECTION: usize = 0;
    const DECISION: usize = 1;
    const STATE: usize = 2;
    if event.value(DECISION).is_none() {
        let denied = event.is(STATE, "D");
        event.set(col::ACTION, if denied { "denied" } else { "allowed" });
    }
    for (column, sent, received) in [(col::PACKETS, 3, 4), (col::BYTES, 5, 6)] {
        if let (Some(sent), Some(received)) = (event.int(sent), event.int(received)) {
            event.set_int(column, sent.saturating_add(received));
        }
    }
    // Into the reporting side flows what the other side sends.
    let (sent, received) = match event.is(DIRECTION, "I") {
        true => (col::BYTES_IN, col::BYTES_OUT),
        false => (col::BYTES_OUT, col::BYTES_IN),
    };
    for (column, value) in [(sent, 5), (received, 6)] {
        if let Some(bytes) = event.int(value) {
            event.set_int(column, bytes);
        }
    }
    Ok(Decoded::Row)
}
