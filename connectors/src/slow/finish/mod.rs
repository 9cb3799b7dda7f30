//! What the hooks of the table formats do, said once more.

mod aws;
mod azure;
mod defender;
mod google;
mod rows;
mod saas;

use serde_json::Value;
use weir_engine::schema::col;

use super::columns::int;
use super::table::said;
use super::{Columns, Json, Outcome};
use crate::mapping::LogFormat;

/// An event and the columns that are set before and after those of its table.
pub struct Seen<'a> {
    mapping: &'a LogFormat<'static>,
    event: Json<'a>,
    pub columns: Columns,
    pub late: Vec<(usize, String)>,
}

impl<'a> Seen<'a> {
    pub fn new(mapping: &'a LogFormat<'static>, event: Json<'a>) -> Self {
        Self {
            mapping,
            event,
            columns: Columns::default(),
            late: vec![],
        }
    }

    fn value(&self, path: &str) -> Option<Json<'a>> {
        said(self.mapping, self.event, path)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.value(path)?.scalar()
    }

    /// The first of several paths that leads to a text.
    fn any(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.text(path))
    }

    fn has_any(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| self.value(path).is_some())
    }

    fn is(&self, path: &str, text: &str) -> bool {
        self.text(path).as_deref() == Some(text)
    }

    fn int(&self, path: &str) -> Option<i64> {
        int(&self.text(path)?)
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let value = self
            .value(path)
            .map(|value| serde_json::from_str(value.raw()));
        match value {
            Some(Ok(Value::Array(items))) => items,
            _ => vec![],
        }
    }

    /// The objects in an array.
    fn objects(&self, path: &str) -> Vec<Json<'a>> {
        let elements = self.value(path).map_or(vec![], Json::elements);
        elements.into_iter().filter(|one| one.is_object()).collect()
    }

    fn set(&mut self, column: usize, text: &str) {
        self.columns.text(column, Some(text.to_owned()));
    }
}

/// Sets what depends on several values. Gives what becomes of an event that is no row; nothing inside says
/// that it is of another format.
pub fn finish(name: &str, seen: &mut Seen) -> Option<Option<Outcome>> {
    let filtered = Some(Some(Outcome::Filtered));
    match name {
        "CloudTrail Insights event" | "CloudTrail digest" => return filtered,
        "SPDX document" => return Some(Some(Outcome::Dead("unknown_format"))),
        "VPC flow log line" => {
            if let Some(outcome) = flow(seen) {
                return Some(Some(outcome));
            }
        }
        // The parts of Trivy's reports have no name.
        "" if seen.mapping.reads == ["Status"] && seen.is("Status", "PASS") => return filtered,
        "" if seen.mapping.reads == ["success"] && seen.is("success", "true") => return filtered,
        "" if !seen.mapping.words.is_empty() => azure::azure_flow(seen),
        "Azure NSG flow" => azure_tuple(seen),
        "Azure traffic analytics row" => azure_traffic(seen),
        "GuardDuty finding" => aws::guardduty(seen),
        "Security Hub finding" => aws::security_hub(seen),
        "Google Cloud audit log entry" if !google::google(seen) => return filtered,
        "Google Cloud audit log entry" => {}
        "Azure Activity log event" => {
            let category = seen.text("category").unwrap_or_default();
            let log = seen.value("properties.log").and_then(Json::string);
            let others = crate::format::entra::is_category(&category)
                || crate::format::azure_flow::is_category(&category);
            if log.is_some() || others {
                return Some(None);
            }
            azure::azure(seen);
        }
        "Defender for Cloud alert" => defender::alert(seen),
        "Defender XDR alert" => defender::xdr(seen),
        "Entra ID sign-in" | "Entra ID sign-in of Microsoft Graph" => saas::sign_in(name, seen),
        "Entra ID audit event" => saas::entra_audit(seen, "properties."),
        "Entra ID audit event of Microsoft Graph" => saas::entra_audit(seen, ""),
        "Entra ID risk" => {
            let category = seen.text("category").unwrap_or_default();
            if ["RiskyUsers", "RiskyServicePrincipals"].contains(&category.as_str()) {
                let id = seen.text("properties.id").unwrap_or_default();
                seen.late.push((col::ACTOR_UID, id.to_lowercase()));
            }
        }
        "Microsoft Graph activity" => {
            let codes = ["properties.responseStatusCode", "resultSignature"];
            rows::call(seen, &codes, "properties.requestMethod");
        }
        "Microsoft Graph activity row of Log Analytics" => {
            rows::call(seen, &["ResponseStatusCode"], "RequestMethod");
        }
        "Entra ID sign-in row of Log Analytics" => rows::sign_in(seen),
        "Entra ID audit row of Log Analytics" => rows::audit(seen),
        "Entra ID risk row of Log Analytics" => rows::risk(seen),
        "Azure row of Log Analytics" => rows::resource(seen),
        "Defender XDR hunting record" if rows::hunting(seen, "category", "properties.") => {
            return filtered;
        }
        "Defender XDR hunting row of Sentinel" if rows::hunting(seen, "Type", "") => {
            return filtered;
        }
        "Google VPC flow log entry" => google::google_flow(seen),
        "ztunnel access log line" => ztunnel(seen),
        "Okta System Log event" => saas::okta(seen),
        "GitHub audit log entry" => saas::github(seen),
        "OCSF event" => saas::ocsf(seen),
        "Gatekeeper log line" | "Gatekeeper export message" => {
            let export = name.ends_with("message");
            let names = match export {
                true => [
                    "eventType",
                    "kind",
                    "name",
                    "resourceKind",
                    "resourceNamespace",
                    "resourceName",
                    "message",
                ],
                false => [
                    "event_type",
                    "constraint_kind",
                    "constraint_name",
                    "resource_kind",
                    "resource_namespace",
                    "resource_name",
                    "msg",
                ],
            };
            let kind = seen.text(names[0]).unwrap_or_default();
            if !kind.starts_with("violation") || !export && seen.is("semantic", "false") {
                return filtered;
            }
            let action = if export {
                "enforcementAction"
            } else {
                "constraint_action"
            };
            if kind == "violation" {
                seen.columns.set(col::CLASS_UID, 2004);
            }
            if kind != "violation" || seen.is(action, "deny") {
                seen.columns.status(true);
            }
            let parts = [1, 2, 3, 4, 5, 6].map(|at| seen.text(names[at]).unwrap_or_default());
            seen.set(col::FINDING_UID, &parts.join("/"));
            if parts[2] == "Pod" {
                seen.set(col::K8S_POD, &parts[4]);
            }
        }
        "Envoy access log line" => envoy(seen),
        name if name.starts_with("Tetragon") => tetragon(seen),
        _ => {}
    }
    None
}

fn envoy(seen: &mut Seen) {
    match seen.int("response_code").filter(|code| *code >= 100) {
        Some(code) => seen.columns.status(code >= 400),
        None if seen.value("method").is_none() => {
            seen.columns.set(col::CLASS_UID, 4001);
            if seen.value("protocol").is_none() {
                seen.set(col::PROTOCOL, "TCP");
            }
        }
        None => {}
    }
    let cluster = seen.text("upstream_cluster").unwrap_or_default();
    match cluster.split_once('|') {
        Some(("inbound" | "inbound-vip", _)) => seen.set(col::DIRECTION, "inbound"),
        Some(("outbound", _)) => seen.set(col::DIRECTION, "outbound"),
        _ => {}
    }
    if seen.value("weir_uncertain").is_some() {
        let text =
            "quotes or blanks inside of fields: only what no client can have written is filled in";
        seen.set(col::MESSAGE, text);
    }
    let details = seen.text("response_code_details").unwrap_or_default();
    if details.starts_with("rbac_access_denied") {
        seen.set(col::ACTION, "denied");
    }
}

/// What becomes of a flow that is no row.
fn flow(seen: &mut Seen) -> Option<Outcome> {
    let addresses = ["pkt_srcaddr", "srcaddr", "pkt_dstaddr", "dstaddr"];
    let has = |path: &str| super::table::find(seen.mapping, seen.event, path).is_some();
    if seen.is("log_status", "NODATA") {
        return Some(Outcome::Filtered);
    }
    if !seen.has_any(&["start", "end"]) {
        return Some(Outcome::Dead("missing_field"));
    }
    if !seen.is("log_status", "SKIPDATA") && !seen.has_any(&addresses) {
        let says_nothing = !has("log_status") && addresses.into_iter().any(has);
        return Some(match says_nothing {
            true => Outcome::Filtered,
            false => Outcome::Dead("missing_field"),
        });
    }
    let kind = match seen.value("tgw_id") {
        Some(_) => "AWS::EC2::TransitGateway",
        None => "AWS::EC2::NetworkInterface",
    };
    seen.set(col::RESOURCE_TYPE, kind);
    None
}

fn azure_tuple(seen: &mut Seen) {
    let inbound = seen.is("direction", "I");
    let (sent, received) = (seen.int("src_bytes"), seen.int("dst_bytes"));
    let (into, out) = if inbound {
        (sent, received)
    } else {
        (received, sent)
    };
    azure_sums(seen, into, out, seen.int("src_pack"), seen.int("dst_pack"));
}

/// Sets bytes in, out and in all, and packets in all.
fn azure_sums(
    seen: &mut Seen,
    into: Option<i64>,
    out: Option<i64>,
    packets_in: Option<i64>,
    packets_out: Option<i64>,
) {
    let sum = |one: Option<i64>, other: Option<i64>| Some(one?.saturating_add(other?));
    for (column, value) in [
        (col::BYTES_IN, into),
        (col::BYTES_OUT, out),
        (col::BYTES, sum(into, out)),
        (col::PACKETS, sum(packets_in, packets_out)),
    ] {
        if let Some(value) = value.filter(|_| !seen.columns.has(column)) {
            seen.columns.set(column, value);
        }
    }
}

fn azure_traffic(seen: &mut Seen) {
    let direction = seen.any(&["FlowDirection"]);
    let older = seen.any(&["FlowDirection_s"]);
    let inbound = [direction, older]
        .into_iter()
        .flatten()
        .any(|one| one == "I" || one == "Inbound");
    let (public, machine) = match inbound {
        true => (col::SRC_IP, col::DST_IP),
        false => (col::DST_IP, col::SRC_IP),
    };
    // The last that says something of those of one column counts first.
    for (path, column) in [
        ("DestPublicIPs_s", col::DST_IP),
        ("DestPublicIps", col::DST_IP),
        ("SrcPublicIPs_s", col::SRC_IP),
        ("SrcPublicIps", col::SRC_IP),
        ("VMIP_s", machine),
        ("PublicIPs_s", public),
    ] {
        let list = seen.text(path).unwrap_or_default();
        if let Some(address) = crate::format::azure_flow::first_address(&list) {
            seen.late.push((column, address));
        }
    }
    let int = |path: &str| seen.int(path);
    let at_interface = [
        int("InboundBytes_d"),
        int("OutboundBytes_d"),
        int("InboundPackets_d"),
        int("OutboundPackets_d"),
    ];
    let mut by_end = [
        int("BytesSrcToDest"),
        int("BytesDestToSrc"),
        int("PacketsSrcToDest"),
        int("PacketsDestToSrc"),
    ];
    if !inbound {
        by_end = [by_end[1], by_end[0], by_end[3], by_end[2]];
    }
    for [into, out, packets_in, packets_out] in [at_interface, by_end] {
        azure_sums(seen, into, out, packets_in, packets_out);
    }
}

fn ztunnel(seen: &mut Seen) {
    let target = seen.any(&["\"dst.hbone_addr\"", "\"dst.addr\""]);
    if let Some((host, port)) = target.unwrap_or_default().rsplit_once(':') {
        let host = host.trim_matches(['[', ']']);
        match host.parse::<std::net::IpAddr>() {
            Ok(address) => seen.set(col::DST_IP, &address.to_canonical().to_string()),
            Err(_) => seen.set(col::DST_DOMAIN, host),
        }
        if let Ok(port) = port.parse::<u16>() {
            seen.columns.set(col::DST_PORT, port);
        }
    }
    let duration = seen.text("duration").unwrap_or_default();
    if let Some(Ok(duration)) = duration.strip_suffix("ms").map(str::parse::<i64>) {
        seen.columns.set(col::DURATION, duration);
    }
    let error = seen.text("error");
    if error.is_some() || seen.is("message", "connection complete") {
        seen.columns.status(error.is_some());
    }
    if error.unwrap_or_default().contains("policy rejection") {
        seen.set(col::ACTION, "denied");
    }
    if seen.value("\"src.identity\"").is_some() {
        seen.set(col::ACTOR_TYPE, "ServiceAccount");
    }
}

fn tetragon(seen: &mut Seen) {
    let reads = seen.mapping.reads;
    let base = |path: String| path[path.rfind('/').map_or(0, |at| at + 1)..].to_owned();
    if let Some(binary) = seen.text(reads[0]) {
        let line = match seen.text(reads[1]) {
            Some(arguments) => format!("{binary} {arguments}"),
            None => binary.clone(),
        };
        seen.set(col::PROCESS_CMD_LINE, line.trim_end());
        seen.set(col::PROCESS_NAME, &base(binary));
    }
    if let Some(parent) = seen.text(reads[2]) {
        seen.set(col::PROCESS_PARENT_NAME, &base(parent));
    }
}
