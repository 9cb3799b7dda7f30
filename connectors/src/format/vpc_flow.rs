//! AWS VPC Flow Logs in text: by the header line, by configured names, or in the default order.
//!
//! Traps: custom formats put fields in any order, so lines are read by header, never by position; nothing
//! is `-`; a NODATA line tells nothing and is left out, a SKIPDATA line tells of a gap and is kept.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::json::{Scanner, Text};
use crate::mapping::{Compiled, Event, How, Mapping, Value};

/// Fields of version 2, in their default order.
pub(crate) const DEFAULT: &[u8] =
    b"version account-id interface-id srcaddr dstaddr srcport dstport \
    protocol packets bytes start end action log-status";

pub(super) const PROTOCOLS: How =
    How::Names(&[("1", "icmp"), ("6", "tcp"), ("17", "udp"), ("58", "icmpv6")]);

const ACTIONS: How = How::Names(&[("ACCEPT", "allowed"), ("REJECT", "denied")]);

#[rustfmt::skip]
pub static FLOW: Mapping = Mapping {
    name: "VPC flow log line",
    source: "vpc_flow",
    family: "network_flows",
    product: "VPC Flow Logs",
    class: 4001,
    needs: &[&[("interface-id", &[]), ("start", &[]), ("end", &[])]],
    nothing: &["-"],
    fields: &[
        ("start", col::TIME, How::Time),
        ("end", col::TIME, How::Time),
        ("start", col::START_TIME, How::Time),
        ("end", col::END_TIME, How::Time),
        ("log-status", col::ACTIVITY, How::Text),
        ("action", col::ACTION, ACTIONS),
        ("reject-reason", col::STATUS_DETAIL, How::Text),
        ("pkt-srcaddr", col::SRC_IP, How::Address),
        ("srcaddr", col::SRC_IP, How::Address),
        ("srcport", col::SRC_PORT, How::Int),
        ("pkt-dstaddr", col::DST_IP, How::Address),
        ("dstaddr", col::DST_IP, How::Address),
        ("dstport", col::DST_PORT, How::Int),
        ("pkt-dst-aws-service", col::DST_SERVICE, How::Text),
        ("protocol", col::PROTOCOL_NUM, How::Int),
        ("protocol", col::PROTOCOL, PROTOCOLS),
        ("flow-direction", col::DIRECTION, How::Lower),
        ("tcp-flags", col::TCP_FLAGS, How::Int),
        ("bytes", col::BYTES, How::Int),
        ("packets", col::PACKETS, How::Int),
        ("account-id", col::CLOUD_ACCOUNT, How::Text),
        ("region", col::CLOUD_REGION, How::Text),
        ("interface-id", col::RESOURCE_UID, How::Text),
        ("instance-id", col::DEVICE_INSTANCE, How::Text),
        ("vpc-id", col::DEVICE_VPC, How::Text),
        ("ecs-cluster-name", col::K8S_WORKLOAD, How::Text),
        ("ecs-container-id", col::CONTAINER_UID, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "AWS"), (col::RESOURCE_TYPE, "AWS::EC2::NetworkInterface")],
    reads: &["log-status"],
    finish: Some(finish),
    ..Mapping::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    Ok(match event.is(0, "NODATA") {
        true => Decoded::Filtered,
        false => Decoded::Row,
    })
}

/// Where the values of a line belong, column by column, if the line is a header.
pub(crate) fn header(line: &[u8], tree: &Compiled) -> Option<Vec<Option<u16>>> {
    let line = std::str::from_utf8(line).ok()?;
    let mut names = line.split_ascii_whitespace();
    let has = |name: &str| line.split_ascii_whitespace().any(|one| one == name);
    let is_header = has("start") && has("end") && has("interface-id");
    is_header.then(|| names.by_ref().map(|name| tree.named(name)).collect())
}

/// Finds the values of a line. False if it does not have as many as there are columns.
pub(crate) fn split(
    s: &Scanner,
    columns: &[Option<u16>],
    tree: &Compiled,
    found: &mut Vec<Option<Value>>,
) -> bool {
    tree.clear(found);
    let mut at = s.position();
    let mut count = 0;
    for word in s.bytes()[at..].split(|byte| matches!(byte, b' ' | b'\t')) {
        if let Some(Some(slot)) = columns.get(count) {
            let text = Text::new(at, at + word.len(), false);
            found[*slot as usize] = Some(Value { text, first: b'"' });
        }
        at += word.len() + 1;
        count += 1;
    }
    count == columns.len()
}
