//! Azure flow logs, of network security groups and of virtual networks: each flow is a text between commas. And flows
//! that others took apart: rows of traffic analytics in Log Analytics, and Logstash's events of one flow each.
//!
//! Traps: what is sent is sent by the side that opened the flow, not by the one that reports; the older form
//! tells time in seconds and protocols by letter, the newer one in milliseconds and by number; the newer form
//! says `D` as the state of a flow that was denied, the older one has a decision of its own.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat};

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
pub static NSG: LogFormat = LogFormat {
    name: "Azure NSG flow log record",
    source: "azure_flow",
    family: "network_flows",
    product: "Azure Flow Logs",
    needs: &[&[("category", OF_GROUPS), ("properties.flows", &[])]],
    uid: &["resourceId"],
    fields: &[("resourceId", col::RESOURCE_UID, How::Lower)],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    inside: &[("properties.flows", &NSG_RULE)],
    ..LogFormat::NEW
};

static NSG_RULE: LogFormat = LogFormat {
    uid: &["rule"],
    fields: &[("rule", col::POLICY_NAME, How::Text)],
    inside: &[("flows", &NSG_INTERFACE)],
    ..LogFormat::NEW
};

static NSG_INTERFACE: LogFormat = LogFormat {
    uid: &["mac"],
    fields: &[("mac", col::RESOURCE_NAME, How::Text)],
    inside: &[("flowTuples", &NSG_FLOW)],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static NSG_FLOW: LogFormat = LogFormat {
    words: &[
        "time", "source", "destination", "source_port", "destination_port", "protocol", "direction", "decision",
        "state", "packets_sent", "bytes_sent", "packets_received", "bytes_received",
    ],
    counts: &[8, 13],
    ..FLOW
};

#[rustfmt::skip]
pub static VNET: LogFormat = LogFormat {
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
    ..LogFormat::NEW
};

static VNET_LIST: LogFormat = LogFormat {
    uid: &["aclID"],
    fields: &[("aclID", col::POLICY_UID, How::Text)],
    inside: &[("flowGroups", &VNET_RULE)],
    ..LogFormat::NEW
};

static VNET_RULE: LogFormat = LogFormat {
    uid: &["rule"],
    fields: &[("rule", col::POLICY_NAME, How::Text)],
    inside: &[("flowTuples", &VNET_FLOW)],
    ..LogFormat::NEW
};

#[rustfmt::skip]
static VNET_FLOW: LogFormat = LogFormat {
    words: &[
        "time", "source", "destination", "source_port", "destination_port", "protocol", "direction", "state",
        "encryption", "packets_sent", "bytes_sent", "packets_received", "bytes_received",
    ],
    counts: &[13],
    finish: Some(finish_network),
    ..FLOW
};

/// Rows of the tables `NTANetAnalytics` and `AzureNetworkAnalytics_CL`. Traps: public addresses stand in lists of their
/// own, each with counts behind it; the older table counts bytes at the interface, the newer one by source and
/// destination.
#[rustfmt::skip]
pub static TRAFFIC: LogFormat = LogFormat {
    name: "Azure traffic analytics row",
    source: "azure_flow",
    family: "network_flows",
    product: "Azure Traffic Analytics",
    class: 4001,
    needs: &[
        &[("FlowStartTime", &[]), ("FlowStatus", &[]), ("L4Protocol", &[])],
        &[("FlowStartTime_t", &[]), ("FlowStatus_s", &[]), ("L4Protocol_s", &[])],
    ],
    fields: &[
        ("FlowStartTime", col::TIME, How::Time),
        ("FlowStartTime_t", col::TIME, How::Time),
        ("FlowStartTime", col::START_TIME, How::Time),
        ("FlowStartTime_t", col::START_TIME, How::Time),
        ("FlowEndTime", col::END_TIME, How::Time),
        ("FlowEndTime_t", col::END_TIME, How::Time),
        ("FlowType", col::ACTIVITY, How::Text),
        ("FlowType_s", col::ACTIVITY, How::Text),
        ("SrcIp", col::SRC_IP, How::Address),
        ("SrcIP_s", col::SRC_IP, How::Address),
        ("DestIp", col::DST_IP, How::Address),
        ("DestIP_s", col::DST_IP, How::Address),
        ("DestPort", col::DST_PORT, How::Int),
        ("DestPort_d", col::DST_PORT, How::Int),
        ("L4Protocol", col::PROTOCOL, PROTOCOLS),
        ("L4Protocol_s", col::PROTOCOL, PROTOCOLS),
        ("L4Protocol", col::PROTOCOL_NUM, NUMBERS),
        ("L4Protocol_s", col::PROTOCOL_NUM, NUMBERS),
        ("FlowDirection", col::DIRECTION, DIRECTIONS),
        ("FlowDirection_s", col::DIRECTION, DIRECTIONS),
        ("FlowStatus", col::ACTION, DECISIONS),
        ("FlowStatus_s", col::ACTION, DECISIONS),
        ("AclGroup", col::POLICY_UID, How::Text),
        ("NSGList_s", col::POLICY_UID, How::Text),
        ("AclRule", col::POLICY_NAME, How::Text),
        ("NSGRule_s", col::POLICY_NAME, How::Text),
        ("TargetResourceId", col::RESOURCE_UID, How::Lower),
        ("MacAddress", col::RESOURCE_NAME, How::Text),
        ("MACAddress_s", col::RESOURCE_NAME, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &[
        "SrcPublicIps", "SrcPublicIPs_s", "DestPublicIps", "DestPublicIPs_s", "PublicIPs_s", "VMIP_s",
        "FlowDirection", "FlowDirection_s", "InboundBytes_d", "OutboundBytes_d", "InboundPackets_d",
        "OutboundPackets_d", "BytesSrcToDest", "BytesDestToSrc", "PacketsSrcToDest", "PacketsDestToSrc",
    ],
    finish: Some(finish_traffic),
    ..LogFormat::NEW
};

/// A flow of a network security group as Logstash's input for Azure's storage makes an event of it.
#[rustfmt::skip]
pub static TUPLE: LogFormat = LogFormat {
    name: "Azure NSG flow",
    source: "azure_flow",
    family: "network_flows",
    product: "Azure Flow Logs",
    needs: &[&[("unixtimestamp", &[]), ("src_ip", &[]), ("dst_ip", &[]), ("decision", &[])]],
    uid: &[],
    fields: &[
        ("unixtimestamp", col::TIME, How::Time),
        ("src_ip", col::SRC_IP, How::Address),
        ("src_port", col::SRC_PORT, How::Int),
        ("dst_ip", col::DST_IP, How::Address),
        ("dst_port", col::DST_PORT, How::Int),
        ("protocol", col::PROTOCOL, PROTOCOLS),
        ("protocol", col::PROTOCOL_NUM, NUMBERS),
        ("direction", col::DIRECTION, DIRECTIONS),
        ("decision", col::ACTION, DECISIONS),
        ("flowstate", col::ACTIVITY, STATES),
        ("rule", col::POLICY_NAME, How::Text),
        ("nsg", col::RESOURCE_NAME, How::Text),
        ("subscription", col::CLOUD_ACCOUNT, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &["direction", "decision", "flowstate", "src_pack", "dst_pack", "src_bytes", "dst_bytes"],
    ..FLOW
};

const DIRECTIONS: How = How::Names(&[
    ("I", "inbound"),
    ("O", "outbound"),
    ("Inbound", "inbound"),
    ("Outbound", "outbound"),
]);

const DECISIONS: How = How::Names(&[
    ("A", "allowed"),
    ("D", "denied"),
    ("Allowed", "allowed"),
    ("Denied", "denied"),
]);

fn finish_traffic(event: &mut Event) -> Result<Decoded, Stop> {
    const SOURCES: [usize; 2] = [0, 1];
    const DESTINATIONS: [usize; 2] = [2, 3];
    const PUBLIC: usize = 4;
    const MACHINE: usize = 5;
    const DIRECTION: [usize; 2] = [6, 7];
    const AT_THE_INTERFACE: [(usize, usize, usize); 2] =
        [(8, 9, col::BYTES), (10, 11, col::PACKETS)];
    const BY_END: [(usize, usize, usize); 2] = [(12, 13, col::BYTES), (14, 15, col::PACKETS)];
    let is_inbound = DIRECTION
        .iter()
        .any(|at| event.is(*at, "I") || event.is(*at, "Inbound"));
    // The outer end of a flow from or to the internet, by its role or without it.
    let mut ends = match is_inbound {
        true => [(col::SRC_IP, PUBLIC), (col::DST_IP, MACHINE)],
        false => [(col::DST_IP, PUBLIC), (col::SRC_IP, MACHINE)],
    }
    .to_vec();
    ends.extend(SOURCES.map(|at| (col::SRC_IP, at)));
    ends.extend(DESTINATIONS.map(|at| (col::DST_IP, at)));
    for (column, at) in ends.into_iter().rev() {
        if let Some(address) = event.text(at).and_then(|list| first_address(&list)) {
            event.set_late(column, &address);
        }
    }
    for (received, sent, sum) in AT_THE_INTERFACE {
        sums(event, received, sent, sum);
    }
    for (from_source, from_destination, sum) in BY_END {
        match is_inbound {
            true => sums(event, from_source, from_destination, sum),
            false => sums(event, from_destination, from_source, sum),
        }
    }
    Ok(Decoded::Row)
}

/// The first address of a list such as `203.0.113.7|2|0|0|0|0 198.51.100.4|…`.
pub(crate) fn first_address(list: &str) -> Option<String> {
    let first = list.split([' ', '|', ',']).find(|part| !part.is_empty())?;
    let address: std::net::IpAddr = first.parse().ok()?;
    Some(address.to_canonical().to_string())
}

/// Sets what came in, what went out and the sum; of packets only the sum has a column.
fn sums(event: &mut Event, received: usize, sent: usize, sum: usize) {
    let (received, sent) = (event.int(received), event.int(sent));
    if sum == col::BYTES {
        for (column, value) in [(col::BYTES_IN, received), (col::BYTES_OUT, sent)] {
            if let Some(value) = value {
                event.set_int(column, value);
            }
        }
    }
    if let (Some(received), Some(sent)) = (received, sent) {
        event.set_int(sum, received.saturating_add(sent));
    }
}

#[rustfmt::skip]
const FLOW: LogFormat<'static> = LogFormat {
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
    ..LogFormat::NEW
};

/// A flow of a virtual network, whose state is all that tells of a decision.
fn finish_network(event: &mut Event) -> Result<Decoded, Stop> {
    const STATE: usize = 2;
    match event.text(STATE).as_deref() {
        Some("D") => event.set(col::ACTION, "denied"),
        Some("B" | "C" | "E") => event.set(col::ACTION, "allowed"),
        _ => {}
    }
    finish(event)
}

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const DIRECTION: usize = 0;
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
