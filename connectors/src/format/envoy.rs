//! Access logs of Envoy, as Istio writes them: JSON, and the default text forms of several versions.
//!
//! Traps: nothing is `null` or `-`; addresses carry ports; `upstream_service_time` is text where `duration`
//! is a number; rows of TCP have no HTTP fields; nothing inside names the pod; a kubelet may put its own
//! time before the line, and Envoy's own messages stand between the lines.

use weir_engine::schema::col;

use super::{Decoded, Stop};
use crate::json::{Scanner, Text};
use crate::mapping::{Compiled, Event, How, Mapping, Value};

#[rustfmt::skip]
pub static ACCESS: Mapping = Mapping {
    name: "Envoy access log line",
    source: "envoy",
    family: "network_flows",
    product: "Envoy",
    class: 4002,
    needs: &[
        &[("start_time", &[]), ("response_flags", &[])],
        &[("start_time", &[]), ("upstream_cluster", &[])],
    ],
    nothing: &["-"],
    fields: &[
        ("start_time", col::TIME, How::Time),
        ("duration", col::DURATION, How::Int),
        ("method", col::HTTP_METHOD, How::Text),
        ("path", col::URL, How::Text),
        ("protocol", col::PROTOCOL, How::Text),
        ("response_code", col::HTTP_CODE, How::Int),
        ("response_code", col::STATUS_CODE, How::Text),
        ("response_code_details", col::STATUS_DETAIL, How::Text),
        ("connection_termination_details", col::STATUS_DETAIL, How::Text),
        ("upstream_transport_failure_reason", col::MESSAGE, How::Text),
        ("response_flags", col::ACTIVITY, How::Text),
        ("bytes_received", col::BYTES_IN, How::Int),
        ("bytes_sent", col::BYTES_OUT, How::Int),
        ("user_agent", col::USER_AGENT, How::Text),
        ("request_id", col::API_REQUEST_UID, How::Text),
        ("authority", col::DST_DOMAIN, How::Text),
        ("downstream_remote_address", col::SRC_IP, How::HostOf),
        ("downstream_remote_address", col::SRC_PORT, How::PortOf),
        ("upstream_host", col::DST_IP, How::HostOf),
        ("upstream_host", col::DST_PORT, How::PortOf),
        ("downstream_local_address", col::DST_IP, How::HostOf),
        ("downstream_local_address", col::DST_PORT, How::PortOf),
        ("upstream_cluster", col::DST_SERVICE, How::Text),
        ("requested_server_name", col::SNI, How::Text),
        ("route_name", col::RESOURCE_NAME, How::Text),
    ],
    reads: &["response_code", "method", "upstream_cluster", "response_code_details", "protocol"],
    finish: Some(finish),
    ..Mapping::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const CODE: usize = 0;
    const METHOD: usize = 1;
    const CLUSTER: usize = 2;
    const DETAILS: usize = 3;
    const PROTOCOL: usize = 4;
    match event.int(CODE) {
        Some(code @ 100..) => event.row.status(code >= 400),
        // TCP has the code 0.
        _ if event.value(METHOD).is_none() => {
            event.set_int(col::CLASS_UID, 4001);
            if event.value(PROTOCOL).is_none() {
                event.set(col::PROTOCOL, "TCP");
            }
        }
        _ => {}
    }
    if let Some(cluster) = event.text(CLUSTER)
        && let Some((direction @ ("inbound" | "outbound" | "inbound-vip"), _)) =
            cluster.split_once('|')
    {
        event.set(col::DIRECTION, direction.trim_end_matches("-vip"));
    }
    if event
        .text(DETAILS)
        .is_some_and(|details| details.starts_with("rbac_access_denied"))
    {
        event.set(col::ACTION, "denied");
    }
    Ok(Decoded::Row)
}

/// Names of what stands in the text forms, in order; those in the middle differ from version to version.
const BEFORE: [&str; 2] = ["response_code", "response_flags"];
const MIDDLE: [&str; 2] = ["response_code_details", "connection_termination_details"];
const AFTER: [&str; 15] = [
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "route_name",
];

/// Finds the values of a line in text form. False if it is none.
pub(crate) fn split(s: &Scanner, tree: &Compiled, found: &mut Vec<Option<Value>>) -> bool {
    tree.clear(found);
    let mut note = |name: &str, text: Text| {
        if let Some(slot) = tree.named(name) {
            found[slot as usize] = Some(Value { text, first: b'"' });
        }
    };
    let mut words = Words {
        bytes: s.bytes(),
        at: s.position(),
    };
    // A kubelet's time ends before the bracket.
    if s.bytes().get(words.at) != Some(&b'[') && words.next().is_none() {
        return false;
    }
    let Some((b'[', time)) = words.next() else {
        return false;
    };
    // An array of JSON has words and quotes as well.
    if !s.slice(time).first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    note("start_time", time);
    let Some((b'"', request)) = words.next() else {
        return false;
    };
    let mut at = request.range().start;
    let parts = s.slice(request).split(|byte| *byte == b' ');
    for (name, part) in ["method", "path", "protocol"].iter().zip(parts) {
        note(name, Text::new(at, at + part.len(), false));
        at += part.len() + 1;
    }
    for name in BEFORE {
        match words.next() {
            Some((_, word)) => note(name, word),
            None => return false,
        }
    }
    let mut middle = MIDDLE.iter();
    let mut word = words.next();
    while let Some((quote, text)) = word
        && (quote == b'"' || !s.slice(text).iter().all(u8::is_ascii_digit))
    {
        match quote {
            b'"' => note("upstream_transport_failure_reason", text),
            _ => middle.next().into_iter().for_each(|name| note(name, text)),
        }
        word = words.next();
    }
    let mut count = 0;
    for name in AFTER {
        let Some((_, text)) = word else { break };
        note(name, text);
        count += 1;
        word = words.next();
    }
    count >= 4
}

/// Words between blanks; one in quotes or brackets may hold blanks.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Words<'_> {
    /// Whether the word ends with its bracket: `[2001:db8::1]:443` does not.
    fn is_bracketed(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let close = memchr::memchr(b']', rest).unwrap_or(rest.len());
        matches!(rest.get(close + 1), None | Some(b' '))
    }

    /// The first byte of the next word, and the word without its quotes or brackets.
    fn next(&mut self) -> Option<(u8, Text)> {
        while self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        let first = *self.bytes.get(self.at)?;
        let (start, close) = match first {
            b'"' => (self.at + 1, b'"'),
            b'[' if self.is_bracketed() => (self.at + 1, b']'),
            _ => (self.at, b' '),
        };
        let rest = &self.bytes[start..];
        let length = memchr::memchr(close, rest).unwrap_or(rest.len());
        self.at = start + length + 1;
        Some((first, Text::new(start, start + length, false)))
    }
}
