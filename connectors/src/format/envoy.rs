//! Access logs of Envoy, as Istio writes them: JSON, and the default text forms of several versions.
//!
//! Traps: a client chooses path, user agent, request id, authority and server name, and Envoy writes them into the text
//! form as they are, quotes and blanks included: only a line that has exactly the fields of a known form is read field
//! by field, of another one only what no client can have written; nothing is `null` or `-`; addresses carry ports; `upstream_service_time` is text where `duration`
//! is a number; rows of TCP have no HTTP fields; nothing inside names the pod; a kubelet may put its own
//! time before the line, and Envoy's own messages stand between the lines.

use weir_engine::schema::col;

mod line;

use self::line::split;
use super::{Decoded, Stop};
use crate::mapping::{Event, How, Lines, LogFormat, Read};

#[rustfmt::skip]
pub static ACCESS: LogFormat = LogFormat {
    name: "Envoy access log line",
    source: "envoy",
    family: "network_flows",
    product: "Envoy",
    read: Read::Lines(Lines { split, header: |_, _| None, refusal: |_, _| None }),
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
    reads: &["response_code", "method", "upstream_cluster", "response_code_details", "protocol", UNCERTAIN],
    finish: Some(finish),
    ..LogFormat::NEW
};

/// Noted of a text line whose fields cannot all be told apart.
const UNCERTAIN: &str = "weir_uncertain";

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const CODE: usize = 0;
    const METHOD: usize = 1;
    const CLUSTER: usize = 2;
    const DETAILS: usize = 3;
    const PROTOCOL: usize = 4;
    const UNCERTAIN: usize = 5;
    if event.value(UNCERTAIN).is_some() {
        event.set(
            col::MESSAGE,
            "quotes or blanks inside of fields: only what no client can have written is filled in",
        );
    }
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
