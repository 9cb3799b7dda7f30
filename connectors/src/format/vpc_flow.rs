//! AWS VPC and transit gateway flow logs: lines under a header, by configured names or in the default order, and
//! JSON objects whose keys are the names of the same fields (exports of Parquet and Athena tables).
//!
//! Traps: custom formats put fields in any order, so a line is read by its header, never by a position that nobody
//! told; names are written `srcaddr`, `SRCADDR`, `srcAddr`, `account-id` or `account_id`, in objects as well; nothing is `-`; a NODATA line tells
//! nothing and is left out, a SKIPDATA line tells of a gap and is kept; transit gateways have neither interface nor
//! action.

use std::sync::LazyLock;

use weir_engine::schema::col;

use super::{Decoded, Fault, Format, Stop, fault};
use crate::json::{Scanner, Text};
use crate::mapping::{Column, Compiled, Event, Found, How, Lines, LogFormat, Read, Spelling};

/// Fields of version 2, in their default order.
const DEFAULT: &[u8] = b"version account-id interface-id srcaddr dstaddr srcport dstport \
    protocol packets bytes start end action log-status";

/// Names of fields, besides those that begin with `ecs_`, `tgw_` or `packets_lost_`.
#[rustfmt::skip]
const NAMES: [&str; 34] = [
    "version", "account_id", "interface_id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol", "packets",
    "bytes", "start", "end", "action", "log_status", "vpc_id", "subnet_id", "instance_id", "tcp_flags", "type",
    "pkt_srcaddr", "pkt_dstaddr", "region", "az_id", "sublocation_type", "sublocation_id", "pkt_src_aws_service",
    "pkt_dst_aws_service", "flow_direction", "traffic_path", "reject_reason", "resource_type", "resource_id",
    "encryption_status", "encryption_type",
];

const TIMES: [&str; 2] = ["start", "end"];
const ADDRESSES: [&str; 4] = ["pkt_srcaddr", "srcaddr", "pkt_dstaddr", "dstaddr"];
const NUMBERS: [&str; 8] = [
    "version", "srcport", "dstport", "protocol", "packets", "bytes", "start", "end",
];

pub(super) const PROTOCOLS: How =
    How::Names(&[("1", "icmp"), ("6", "tcp"), ("17", "udp"), ("58", "icmpv6")]);

const ACTIONS: How = How::Names(&[("ACCEPT", "allowed"), ("REJECT", "denied")]);

#[rustfmt::skip]
pub static FLOW: LogFormat = LogFormat {
    name: "VPC flow log line",
    source: "vpc_flow",
    family: "network_flows",
    product: "VPC Flow Logs",
    read: Read::Lines(Lines { split: split_line, header, refusal }),
    class: 4001,
    needs: &[
        &[("srcaddr", &[]), ("dstaddr", &[]), ("start", &[])],
        &[("srcaddr", &[]), ("dstaddr", &[]), ("end", &[])],
        &[("pkt_srcaddr", &[]), ("pkt_dstaddr", &[]), ("start", &[])],
        &[("interface_id", &[]), ("log_status", &[]), ("start", &[])],
    ],
    spelling: Spelling::Words,
    nothing: &["-"],
    fields: &[
        ("start", col::TIME, How::Time),
        ("end", col::TIME, How::Time),
        ("start", col::START_TIME, How::Time),
        ("end", col::END_TIME, How::Time),
        ("log_status", col::ACTIVITY, How::Text),
        ("action", col::ACTION, ACTIONS),
        ("reject_reason", col::STATUS_DETAIL, How::Text),
        ("pkt_srcaddr", col::SRC_IP, How::Address),
        ("srcaddr", col::SRC_IP, How::Address),
        ("srcport", col::SRC_PORT, How::Int),
        ("pkt_dstaddr", col::DST_IP, How::Address),
        ("dstaddr", col::DST_IP, How::Address),
        ("dstport", col::DST_PORT, How::Int),
        ("pkt_dst_aws_service", col::DST_SERVICE, How::Text),
        ("protocol", col::PROTOCOL_NUM, How::Int),
        ("protocol", col::PROTOCOL, PROTOCOLS),
        ("flow_direction", col::DIRECTION, How::Lower),
        ("tcp_flags", col::TCP_FLAGS, How::Int),
        ("bytes", col::BYTES, How::Int),
        ("packets", col::PACKETS, How::Int),
        ("account_id", col::CLOUD_ACCOUNT, How::Text),
        ("region", col::CLOUD_REGION, How::Text),
        ("interface_id", col::RESOURCE_UID, How::Text),
        ("tgw_id", col::RESOURCE_UID, How::Text),
        ("tgw_attachment_id", col::RESOURCE_NAME, How::Text),
        ("instance_id", col::DEVICE_INSTANCE, How::Text),
        ("vpc_id", col::DEVICE_VPC, How::Text),
        ("ecs_cluster_name", col::K8S_WORKLOAD, How::Text),
        ("ecs_container_id", col::CONTAINER_UID, How::Text),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "AWS")],
    reads: &[
        "log_status", "tgw_id", "start", "end", "pkt_srcaddr", "srcaddr", "pkt_dstaddr", "dstaddr",
    ],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const STATUS: usize = 0;
    const GATEWAY: usize = 1;
    const STARTS: std::ops::Range<usize> = 2..4;
    const ENDS: std::ops::Range<usize> = 4..8;
    if event.is(STATUS, "NODATA") {
        return Ok(Decoded::Filtered);
    }
    if STARTS.into_iter().all(|time| event.value(time).is_none()) {
        let detail = "`start` and `end` are missing: a flow log without a time";
        return Err(Stop::Event(fault("missing_field", detail)));
    }
    let is_gap = event.is(STATUS, "SKIPDATA");
    if !is_gap && ENDS.into_iter().all(|end| event.value(end).is_none()) {
        // Without a status the dashes are all that tells of no data.
        let has = |index: usize| event.found[event.tree.reads[index] as usize].is_some();
        if !has(STATUS) && ENDS.into_iter().any(has) {
            return Ok(Decoded::Filtered);
        }
        let detail = "`srcaddr`, `dstaddr`, `pkt-srcaddr` and `pkt-dstaddr` are missing: a flow log without addresses";
        return Err(Stop::Event(fault("missing_field", detail)));
    }
    let kind = match event.value(GATEWAY) {
        Some(_) => "AWS::EC2::TransitGateway",
        None => "AWS::EC2::NetworkInterface",
    };
    event.set(col::RESOURCE_TYPE, kind);
    Ok(Decoded::Row)
}

/// What a value of a text line must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Number,
    Address,
    Action,
    Status,
}

/// What is known of the fields without a line.
struct Layout {
    /// By the number of the value.
    kinds: Vec<Kind>,
    /// Of version 2, in their default order.
    default: Vec<Column>,
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let mut layout = Layout {
        kinds: vec![],
        default: vec![],
    };
    let Some(tree) = Format::of(&FLOW).tree(None) else {
        return layout;
    };
    let mut say = |names: &[&str], kind: Kind| {
        for slot in names.iter().filter_map(|name| tree.named(name)) {
            let slot = usize::from(slot);
            let length = layout.kinds.len().max(slot + 1);
            layout.kinds.resize(length, Kind::Any);
            layout.kinds[slot] = kind;
        }
    };
    say(&NUMBERS, Kind::Number);
    say(&ADDRESSES, Kind::Address);
    say(&["action"], Kind::Action);
    say(&["log_status"], Kind::Status);
    layout.default = header(DEFAULT, tree).unwrap_or_default();
    layout
});

impl Kind {
    /// Whether a word can be such a value; a dash always can.
    #[inline]
    fn fits(self, word: &[u8]) -> bool {
        match self {
            Kind::Any => true,
            _ if word == b"-" => true,
            Kind::Number => word.iter().all(u8::is_ascii_digit),
            Kind::Address => {
                word.iter().all(
                    |byte| matches!(byte, b'0'..=b'9' | b'.' | b':' | b'a'..=b'f' | b'A'..=b'F'),
                ) && word.iter().any(|byte| matches!(byte, b'.' | b':'))
            }
            Kind::Action => matches!(word, b"ACCEPT" | b"REJECT"),
            Kind::Status => matches!(word, b"OK" | b"NODATA" | b"SKIPDATA"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Any => "a value",
            Kind::Number => "a number",
            Kind::Address => "an address",
            Kind::Action => "ACCEPT or REJECT",
            Kind::Status => "OK, NODATA or SKIPDATA",
        }
    }
}

/// A column's name as the table spells it: `srcaddr` for `${srcaddr}`, `account_id` for `Account-ID`.
fn canonical(word: &str) -> Option<String> {
    let inner = word
        .strip_prefix("${")
        .and_then(|word| word.strip_suffix('}'))
        .unwrap_or(word);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = inner.starts_with(|first: char| first.is_ascii_alphabetic());
    (is_name && inner.bytes().all(plain)).then(|| inner.to_ascii_lowercase().replace('-', "_"))
}

fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
        || ["ecs_", "tgw_", "packets_lost_"]
            .iter()
            .any(|start| name.starts_with(start))
}

/// The names of the columns, if the line is a header: at least three names, most of them known, none twice, and
/// among them a time or an address.
fn names(line: &[u8]) -> Option<Vec<String>> {
    // Headers are shorter than this. Every line is looked at, so what is none is told without a copy.
    const LONGEST: usize = 4096;
    let begins_name = |word: &[u8]| word[0].is_ascii_alphabetic() || word[0] == b'$';
    if line.len() > LONGEST || !words_of(line).all(begins_name) {
        return None;
    }
    let line = std::str::from_utf8(line).ok()?;
    let names: Vec<_> = line
        .split_ascii_whitespace()
        .map(canonical)
        .collect::<Option<_>>()?;
    let known = names.iter().filter(|name| is_known(name)).count();
    let tells = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
    let is_twice = |(at, name): (usize, &String)| names[..at].contains(name);
    let is_header = known >= 3
        && known * 2 > names.len()
        && (tells(&TIMES) || tells(&ADDRESSES))
        && !names.iter().enumerate().any(is_twice);
    is_header.then_some(names)
}

/// Where the values of a line belong, column by column, if the line is a header.
pub(crate) fn header(line: &[u8], tree: &Compiled) -> Option<Vec<Column>> {
    Some(names(line)?.iter().map(|name| tree.named(name)).collect())
}

/// Whether the names are those of columns of which rows can be made.
pub(crate) fn are_fields(names_of_columns: &str) -> bool {
    let Some(names) = names(names_of_columns.as_bytes()) else {
        return false;
    };
    let tells = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
    tells(&TIMES) && tells(&ADDRESSES)
}

/// The columns of version 2 in their default order, if the line without a header is surely such a line: 14 fields,
/// each of its kind, and no more packets than bytes.
fn default_columns(line: &[u8]) -> Option<&'static [Column]> {
    if words_of(line).next() != Some(b"2") {
        return None;
    }
    let mut words = [&b""[..]; 14];
    let mut count = 0;
    for word in words_of(line) {
        *words.get_mut(count)? = word;
        count += 1;
    }
    let layout = &*LAYOUT;
    let fits = words.iter().zip(&layout.default).all(|(word, slot)| {
        let slot = slot.unwrap_or(u16::MAX);
        let kind = layout.kinds.get(usize::from(slot));
        kind.is_none_or(|kind| kind.fits(word))
    });
    let number = |at: usize| crate::json::int(words[at]);
    let in_order = |less: usize, more: usize| match (number(less), number(more)) {
        (Some(less), Some(more)) => less <= more,
        _ => true,
    };
    let (packets, bytes, start, end) = (8, 9, 10, 11);
    let is_default = count == words.len()
        && words[13] != b"-"
        && fits
        && in_order(packets, bytes)
        && in_order(start, end);
    is_default.then_some(&layout.default)
}

fn words_of(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// Finds the values of a line, in the columns that a header or the configuration named, or in those of version 2.
fn split_line(s: &Scanner, columns: Option<&[Column]>, tree: &Compiled, found: &mut Found) -> bool {
    let columns = columns.or_else(|| default_columns(&s.bytes()[s.position()..]));
    columns.is_some_and(|columns| split(s, columns, tree, found))
}

/// Finds the values of a line. False if it does not have as many as there are columns, or one cannot be what its
/// column says.
fn split(s: &Scanner, columns: &[Column], tree: &Compiled, found: &mut Found) -> bool {
    tree.clear(found);
    let kinds = &LAYOUT.kinds;
    let bytes = s.bytes();
    let (mut at, mut count) = (s.position(), 0);
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let start = at;
        while bytes
            .get(at)
            .is_some_and(|byte| !byte.is_ascii_whitespace())
        {
            at += 1;
        }
        if start == at {
            return count == columns.len();
        }
        let Some(slot) = columns.get(count) else {
            return false;
        };
        count += 1;
        if let Some(slot) = slot {
            let slot = usize::from(*slot);
            if let Some(kind) = kinds.get(slot)
                && !kind.fits(&bytes[start..at])
            {
                return false;
            }
            let text = Text::new(start, at, false);
            found[slot] = Some(tree.word(s, text));
        }
    }
}

/// What is wrong with a line that is no JSON and that [`split`] refused; `columns` are those of its header. Nothing
/// if it does not look like a line of a flow log.
fn refusal(line: &[u8], columns: Option<&[Column]>) -> Option<Box<Fault>> {
    let words: Vec<_> = words_of(line).collect();
    let has = |wanted: &[&[u8]]| words.iter().any(|word| wanted.contains(word));
    let is_flow = has(&[b"ACCEPT", b"REJECT", b"NODATA", b"SKIPDATA"])
        || words
            .iter()
            .any(|word| word.starts_with(b"eni-") || word.starts_with(b"tgw-"));
    let Some(columns) = columns else {
        let detail = format!(
            "a flow log line of {} fields without a header: what they are is not known unless `flow_fields` names \
             them (14 fields in the default order of version 2 need no header)",
            words.len()
        );
        return (is_flow && words.len() > 3).then(|| fault("unknown_format", detail));
    };
    let is_text = line
        .trim_ascii_start()
        .first()
        .is_some_and(|first| first.is_ascii_alphanumeric() || *first == b'-');
    if !is_text {
        return None;
    }
    let (expected, actual) = (columns.len(), words.len());
    if expected != actual {
        let reason = match actual < expected {
            true => "missing_field",
            false => "unknown_format",
        };
        let detail = format!("a flow log line of {actual} fields; its header names {expected}");
        return Some(fault(reason, detail));
    }
    let kind_of = |slot: &Column| match slot {
        Some(slot) => LAYOUT.kinds.get(usize::from(*slot)).copied(),
        None => None,
    };
    let mut fields = columns.iter().map(kind_of).zip(&words).enumerate();
    fields.find_map(|(at, (kind, word))| {
        let kind = kind.filter(|kind| !kind.fits(word))?;
        let word = String::from_utf8_lossy(word);
        let detail = format!(
            "field {} of the flow log line is `{word:.60}`, which is not {} as its header says",
            at + 1,
            kind.name()
        );
        Some(fault("wrong_type", detail))
    })
}
