//! Hooks of what the clouds themselves write.

use weir_engine::schema::col;

use super::Seen;
use crate::slow::Json;

pub fn guardduty(seen: &mut Seen) {
    if let Some((purpose, _)) = seen.text("type").unwrap_or_default().split_once(':') {
        seen.set(col::FINDING_ATTACKS, purpose);
    }
    match seen
        .text("service.detection.sequence.actors[0].session.mfaStatus")
        .as_deref()
    {
        Some("ENABLED") => seen.columns.set(col::ACTOR_SESSION_MFA, true),
        Some("DISABLED") => seen.columns.set(col::ACTOR_SESSION_MFA, false),
        _ => {}
    }
    let archived = seen.is("service.archived", "true");
    seen.set(
        col::FINDING_STATUS,
        if archived { "archived" } else { "active" },
    );
    let connection = "service.action.networkConnectionAction";
    let outbound = seen.is(&format!("{connection}.connectionDirection"), "OUTBOUND");
    for (side, is_source) in [("local", outbound), ("remote", !outbound)] {
        let (address, port) = match is_source {
            true => (col::SRC_IP, col::SRC_PORT),
            false => (col::DST_IP, col::DST_PORT),
        };
        for version in ["V4", "V6"] {
            // Of this end AWS names the older kind of address alone.
            if side == "remote" || version == "V4" {
                let value = seen.value(&format!("{connection}.{side}IpDetails.ipAddress{version}"));
                seen.columns.address(address, value.and_then(Json::string));
            }
        }
        if let Some(number) = seen.int(&format!("{connection}.{side}PortDetails.port")) {
            seen.columns.set(port, number);
        }
    }
}

pub fn security_hub(seen: &mut Seen) {
    if let Some(status) = seen.text("Compliance.Status") {
        seen.set(col::FAMILY, "posture");
        seen.columns.set(col::CLASS_UID, 2003);
        if status == "PASSED" || status == "FAILED" {
            seen.columns.status(status == "FAILED");
        }
    } else if seen.value("Vulnerabilities[0].Id").is_some() {
        seen.set(col::FAMILY, "posture");
        seen.columns.set(col::CLASS_UID, 2002);
    }
    let kind = seen.text("Types[0]").unwrap_or_default();
    let parts: Vec<_> = kind.split('/').collect();
    if let ["TTPs", tactic, ..] = parts.as_slice() {
        seen.set(col::FINDING_ATTACKS, tactic);
    }
}

pub fn google(seen: &mut Seen) {
    seen.columns
        .status(seen.int("protoPayload.status.code").unwrap_or(0) != 0);
    if let Some(permission) = seen.text("protoPayload.authorizationInfo[0].permissionType") {
        let reads = ["ADMIN_READ", "DATA_READ"].contains(&permission.as_str());
        seen.columns.set(col::IS_READ_ONLY, reads);
    }
    let (first, last) = (
        seen.is("operation.first", "true"),
        seen.is("operation.last", "true"),
    );
    if first != last {
        seen.set(col::ACTIVITY, if first { "start" } else { "end" });
    }
    let log = seen.text("logName").unwrap_or_default();
    match log.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", id, ..] => seen.late.push((col::CLOUD_ACCOUNT, (*id).to_owned())),
        ["organizations", id, ..] => seen.late.push((col::CLOUD_ORG, (*id).to_owned())),
        _ => {}
    }
    let principal = seen.text("protoPayload.authenticationInfo.principalEmail");
    let resource = seen.text("protoPayload.resourceName").unwrap_or_default();
    let parts: Vec<_> = resource.split('/').collect();
    if !seen.is("protoPayload.serviceName", "k8s.io") {
        if seen.is("protoPayload.serviceName", "login.googleapis.com") {
            seen.set(col::FAMILY, "identity");
            seen.columns.set(col::CLASS_UID, 3002);
        }
        seen.set(col::RESOURCE_NAME, parts[parts.len() - 1]);
        if let Some(principal) = principal {
            let machine = principal.ends_with(".gserviceaccount.com");
            seen.set(
                col::ACTOR_TYPE,
                if machine { "ServiceAccount" } else { "User" },
            );
        }
        return;
    }
    seen.set(col::FAMILY, "k8s_audit");
    let method = seen.text("protoPayload.methodName").unwrap_or_default();
    seen.set(
        col::API_OPERATION,
        &method[method.rfind('.').map_or(0, |at| at + 1)..],
    );
    seen.set(col::API_SERVICE, parts[0]);
    // Group, version, perhaps a namespace, kind, name, subresource.
    let rest = match parts.as_slice() {
        [_, _, "namespaces", namespace] => {
            seen.set(col::K8S_NAMESPACE, namespace);
            vec!["namespaces", namespace]
        }
        [_, _, "namespaces", namespace, rest @ ..] => {
            seen.set(col::K8S_NAMESPACE, namespace);
            rest.to_vec()
        }
        _ => parts.iter().skip(2).copied().collect(),
    };
    let at = |index: usize| rest.get(index).copied().unwrap_or_default();
    seen.set(col::RESOURCE_TYPE, at(0));
    seen.set(col::RESOURCE_NAME, at(1));
    if at(0) == "pods" {
        seen.set(col::K8S_POD, at(1));
    }
    seen.set(col::K8S_SUBRESOURCE, at(2));
    if let Some(name) = principal {
        let kind = match name.as_str() {
            "system:anonymous" => "Anonymous",
            name if name.starts_with("system:serviceaccount:") => "ServiceAccount",
            name if name.starts_with("system:node:") => "Node",
            _ => "User",
        };
        seen.set(col::ACTOR_TYPE, kind);
    }
}

pub fn google_flow(seen: &mut Seen) {
    let reporter = seen.text("jsonPayload.reporter").unwrap_or_default();
    let own = if reporter.starts_with("DEST") {
        "dest"
    } else {
        "src"
    };
    for (column, path) in [
        (col::HOSTNAME, "instance.vm_name"),
        (col::CLOUD_REGION, "instance.region"),
        (col::DEVICE_VPC, "vpc.vpc_name"),
        (col::K8S_POD, "gke_details.pod.pod_name"),
        (col::K8S_NAMESPACE, "gke_details.pod.pod_namespace"),
        (col::K8S_CLUSTER, "gke_details.cluster.cluster_name"),
    ] {
        let value = seen.text(&format!("jsonPayload.{own}_{path}"));
        seen.set(column, &value.unwrap_or_default());
    }
}
