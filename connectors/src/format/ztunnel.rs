//! Access log of Istio's ztunnel (ambient mesh): JSON with dots in its keys, or text with `key=value`.
//!
//! Traps: the port of `dst.addr` is that of the tunnel, 15008; where the connection went stands in
//! `dst.hbone_addr`, which may be a name; a duration is `2ms`; who calls is the SPIFFE identity, the workload is
//! what the mesh believes of an address; a kubelet may put its own words before the line; a value in quotes may hold
//! quotes behind a backslash. A line in which a quote stands elsewhere or a key comes twice is refused: which value
//! is the true one cannot be told.

use std::net::IpAddr;
use std::ops::Range;

use weir_engine::schema::col;

use super::{Decoded, Fault, Stop, fault};
use crate::json::{Scanner, Text};
use crate::mapping::{Column, Compiled, Event, Found, How, Lines, LogFormat, Read};

#[rustfmt::skip]
pub static ACCESS: LogFormat = LogFormat {
    name: "ztunnel access log line",
    source: "ztunnel",
    read: Read::Lines(Lines { split, header: |_, _| None, refusal: |line, _| refusal(line) }),
    family: "network_flows",
    product: "ztunnel",
    class: 4001,
    needs: &[&[("\"src.addr\"", &[]), ("\"dst.addr\"", &[]), ("time", &[])]],
    fields: &[
        ("time", col::TIME, How::Time),
        ("message", col::ACTIVITY, How::Text),
        ("error", col::STATUS_DETAIL, How::Text),
        ("\"src.addr\"", col::SRC_IP, How::HostOf),
        ("\"src.addr\"", col::SRC_PORT, How::PortOf),
        ("\"src.identity\"", col::ACTOR_UID, How::Text),
        ("\"src.workload\"", col::ACTOR_NAME, How::Text),
        ("\"dst.service\"", col::DST_SERVICE, How::Text),
        ("\"dst.identity\"", col::RESOURCE_UID, How::Text),
        ("\"dst.workload\"", col::RESOURCE_NAME, How::Text),
        ("\"dst.workload\"", col::K8S_POD, How::Text),
        ("\"dst.namespace\"", col::K8S_NAMESPACE, How::Text),
        ("direction", col::DIRECTION, How::Lower),
        ("bytes_sent", col::BYTES_OUT, How::Int),
        ("bytes_recv", col::BYTES_IN, How::Int),
    ],
    fixed: &[(col::PROTOCOL, "tcp")],
    reads: &["\"dst.hbone_addr\"", "\"dst.addr\"", "duration", "error", "message", "\"src.identity\""],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const TARGETS: [usize; 2] = [0, 1];
    const DURATION: usize = 2;
    const ERROR: usize = 3;
    const MESSAGE: usize = 4;
    const IDENTITY: usize = 5;
    if let Some(target) = TARGETS.into_iter().find_map(|at| event.text(at))
        && let Some((host, port)) = target.rsplit_once(':')
    {
        let host = host.trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) => event.set(col::DST_IP, &address.to_canonical().to_string()),
            Err(_) => event.set(col::DST_DOMAIN, host),
        }
        if let Ok(port) = port.parse::<u16>() {
            event.set_int(col::DST_PORT, port.into());
        }
    }
    if let Some(duration) = event.text(DURATION)
        && let Some(Ok(duration)) = duration.strip_suffix("ms").map(str::parse)
    {
        event.set_int(col::DURATION, duration);
    }
    let error = event.text(ERROR);
    if error.is_some() || event.is(MESSAGE, "connection complete") {
        event.row.status(error.is_some());
    }
    if error.is_some_and(|error| error.contains("policy rejection")) {
        event.set(col::ACTION, "denied");
    }
    if event.value(IDENTITY).is_some() {
        event.set(col::ACTOR_TYPE, "ServiceAccount");
    }
    Ok(Decoded::Row)
}

/// Finds the values of a line in text form. False if it is none.
fn split(s: &Scanner, _: Option<&[Column]>, tree: &Compiled, found: &mut Found) -> bool {
    tree.clear(found);
    let bytes = s.bytes().trim_ascii_end();
    let mut at = s.position();
    let mut word = || {
        at += blanks(&bytes[at..]);
        let start = at;
        at += bytes[at..]
            .iter()
            .take_while(|byte| !is_blank(byte))
            .count();
        Text::new(start, at, false)
    };
    let mut time = word();
    let mut level = word();
    if matches!(s.slice(level), b"stdout" | b"stderr") {
        (_, time, level) = (word(), word(), word());
    }
    if level.is_empty() || s.slice(word()) != b"access" {
        return false;
    }
    let mut is_twice = false;
    let mut note = |name: &[u8], start: usize, end: usize| {
        let slot = std::str::from_utf8(name)
            .ok()
            .and_then(|name| tree.named(name));
        if let Some(slot) = slot {
            let text = Text::new(start, end, bytes[start..end].contains(&b'\\'));
            let before = found[slot as usize].replace(tree.word(s, text));
            is_twice |= before.is_some();
        }
    };
    note(b"time", time.range().start, time.range().end);
    at += blanks(&bytes[at..]);
    let message = at;
    let mut pairs = 0;
    while at < bytes.len() {
        let start = at;
        let stop = bytes[at..]
            .iter()
            .position(|byte| *byte == b'=' || is_blank(byte));
        at = stop.map_or(bytes.len(), |length| at + length);
        if bytes.get(at) == Some(&b'=') {
            if pairs == 0 {
                let text = bytes[message..start].trim_ascii_end();
                note(b"message", message, message + text.len());
            }
            pairs += 1;
            let key = &bytes[start..at];
            let Some((value, behind)) = value(bytes, at + 1) else {
                return false;
            };
            note(key, value.start, value.end);
            at = behind;
        } else if pairs > 0 {
            // Words without a value stand before the first pair only.
            return false;
        }
        at += blanks(&bytes[at..]);
    }
    !is_twice && tree.is_met(s, found)
}

/// The value that begins here, without its quotes, and where the line goes on behind it. Nothing if a quote stands
/// where none can, or no blank behind the last one.
fn value(bytes: &[u8], start: usize) -> Option<(Range<usize>, usize)> {
    let rest = &bytes[start..];
    if rest.first() != Some(&b'"') {
        let length = rest.iter().position(is_blank).unwrap_or(rest.len());
        let end = start + length;
        return (!rest[..length].contains(&b'"')).then_some((start..end, end));
    }
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            break;
        }
        at += 2;
    }
    let behind = at + 1;
    let is_end = bytes.get(behind).is_none_or(is_blank);
    is_end.then_some((start + 1..at, behind))
}

/// What is wrong with a line that [`split`] refused; nothing if it does not look like one of these.
fn refusal(line: &[u8]) -> Option<Box<Fault>> {
    let has = |part: &[u8]| memchr::memmem::find(line, part).is_some();
    let is_access = has(b" access") || has(b"\taccess");
    (is_access && has(b"src.addr=")).then(|| {
        let detail = "a ztunnel access line whose quotes or keys do not fit: a key comes twice, or a quote stands inside of a value";
        fault("unknown_format", detail)
    })
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(byte)).count()
}
