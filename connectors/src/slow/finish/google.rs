//! Hooks of what Google Cloud writes.

use serde_json::Value;
use sha2::Digest;
use weir_engine::schema::col;

use super::Seen;
use crate::slow::Json;

/// Whether every authorization that tells it was not granted.
fn refused(seen: &Seen) -> bool {
    let all = seen.list("protoPayload.authorizationInfo");
    let granted = all.iter().filter_map(|one| match &one["granted"] {
        Value::Bool(granted) => Some(*granted),
        Value::String(word) => match word.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    });
    let granted: Vec<_> = granted.collect();
    !granted.is_empty() && !granted.contains(&true)
}

/// False for an entry that is left out.
pub fn google(seen: &mut Seen) -> bool {
    let service = seen.text("protoPayload.serviceName").unwrap_or_default();
    let method = seen.text("protoPayload.methodName").unwrap_or_default();
    let last = method.rsplit('.').next().unwrap_or_default().to_owned();
    let code = seen.int("protoPayload.status.code");
    let first = seen.is("operation.first", "true");
    let last_one = seen.is("operation.last", "true");
    let accepted = first && !last_one && seen.value("protoPayload.status").is_none();
    let failed = if code.unwrap_or(0) != 0 || refused(seen) {
        Some(true)
    } else if service == "k8s.io" {
        Some(false)
    } else if service != "login.googleapis.com" {
        (!accepted).then_some(false)
    } else {
        match last.as_str() {
            "loginFailure" | "riskySensitiveActionBlocked" => Some(true),
            "loginSuccess" | "logout" | "riskySensitiveActionAllowed" => Some(false),
            _ if last.ends_with("Edit") || last.ends_with("Disable") => Some(false),
            _ if last.ends_with("Enroll") || last.ends_with("Unenroll") => Some(false),
            _ => None,
        }
    };
    if let Some(failed) = failed {
        seen.columns.status(failed);
    }
    if let Some(code) = code {
        seen.columns.set(col::STATUS_CODE, code.to_string());
    }
    if let Some(permission) = seen.text("protoPayload.authorizationInfo[0].permissionType") {
        let reads = ["ADMIN_READ", "DATA_READ"].contains(&permission.as_str());
        seen.columns.set(col::IS_READ_ONLY, reads);
    }
    if first != last_one {
        seen.set(col::ACTIVITY, if first { "start" } else { "end" });
    }
    let log = seen.text("logName").unwrap_or_default();
    match log.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", id, ..] => seen.late.push((col::CLOUD_ACCOUNT, (*id).to_owned())),
        ["organizations", id, ..] => seen.late.push((col::CLOUD_ORG, (*id).to_owned())),
        _ => {}
    }
    let info = "protoPayload.authenticationInfo";
    let known = ["principalEmail", "principalSubject", "authoritySelector"]
        .iter()
        .find_map(|key| seen.text(&format!("{info}.{key}")));
    let who = match known {
        Some(who) => who,
        None => {
            let who = third_party(seen, &format!("{info}.thirdPartyPrincipal"));
            seen.late.push((col::ACTOR_UID, who.clone()));
            seen.late.push((col::ACTOR_NAME, who.clone()));
            who
        }
    };
    if let Some((kind, name)) = who.split_once(':')
        && ["user", "serviceAccount", "group"].contains(&kind)
    {
        seen.set(col::ACTOR_UID, name);
        seen.set(col::ACTOR_NAME, name);
    }
    let mail = who.split(':').next_back().unwrap_or_default();
    if mail.contains('@') && !who.contains("//") {
        seen.set(col::ACTOR_EMAIL, mail);
    }
    let resource = seen.text("protoPayload.resourceName").unwrap_or_default();
    if service != "k8s.io" {
        if service == "login.googleapis.com" {
            seen.set(col::FAMILY, "identity");
            seen.columns.set(col::CLASS_UID, 3002);
        }
        seen.set(
            col::RESOURCE_NAME,
            resource.split('/').next_back().unwrap_or_default(),
        );
        if !who.is_empty() {
            let machine = who.ends_with(".gserviceaccount.com");
            seen.set(
                col::ACTOR_TYPE,
                if machine { "ServiceAccount" } else { "User" },
            );
        }
        return true;
    }
    let half = first != last_one;
    let is_end = half && last_one;
    gke(seen, &method, &resource, &who, half, is_end)
}

/// The first text under a name that claims commonly have, in claims of their own or beside them.
fn third_party(seen: &Seen, path: &str) -> String {
    let principal = seen.value(path).map(Json::raw).unwrap_or("null");
    let principal: Value = serde_json::from_str(principal).unwrap_or_default();
    if let Value::String(text) = principal {
        return text;
    }
    let places = [
        principal["thirdPartyClaims"].clone(),
        principal["claims"].clone(),
        principal,
    ];
    for place in places {
        for name in [
            "principalEmail",
            "email",
            "principalSubject",
            "subject",
            "sub",
            "principal",
            "username",
            "userName",
            "user",
            "arn",
            "name",
            "id",
        ] {
            match place[name].as_str() {
                None | Some("") => {}
                Some(text) => return text.to_owned(),
            }
        }
    }
    String::new()
}

/// `half` is one of two entries of an operation, `is_end` the second one. False for an entry that is left out.
fn gke(seen: &mut Seen, method: &str, resource: &str, who: &str, half: bool, is_end: bool) -> bool {
    let versioned = |part: &str| {
        let mut characters = part.chars();
        characters.next() == Some('v') && characters.next().is_some_and(|one| one.is_ascii_digit())
    };
    let parts: Vec<_> = resource.split('/').collect();
    let is_resource = method.split('.').any(versioned)
        && parts.len() > 1
        && versioned(parts[1])
        && !parts[0].is_empty();
    let verb = &method[method.rfind('.').map_or(0, |at| at + 1)..];
    let mut namespace = "";
    // Kind, name, subresource.
    let rest = match parts.as_slice() {
        _ if !is_resource => vec![],
        [_, _, "namespaces", name] | [_, _, "namespaces", name, "status" | "finalize"] => {
            namespace = name;
            parts[2..].to_vec()
        }
        [_, _, "namespaces", name, rest @ ..] => {
            namespace = name;
            rest.to_vec()
        }
        _ => parts[2..].to_vec(),
    };
    let at = |index: usize| rest.get(index).copied().unwrap_or_default();
    let streams = ["exec", "attach", "portforward"].contains(&at(2));
    let code = seen.int("protoPayload.status.code").unwrap_or(0);
    if is_end && verb == "watch" && code == 0 && !refused(seen) {
        return false;
    }
    let lasts = streams || verb == "watch" || at(2) == "proxy" || at(2) == "log";
    seen.set(col::FAMILY, "k8s_audit");
    seen.set(col::API_OPERATION, verb);
    seen.set(col::K8S_NAMESPACE, namespace);
    seen.set(col::RESOURCE_TYPE, at(0));
    seen.set(col::RESOURCE_NAME, at(1));
    if at(0) == "pods" {
        seen.set(col::K8S_POD, at(1));
    }
    seen.set(col::K8S_SUBRESOURCE, at(2));
    let path = match is_resource {
        false => format!("/{}", resource.trim_start_matches('/')),
        true if parts[0] == "core" => format!("/api/{}", parts[1..].join("/")),
        true => format!("/apis/{resource}"),
    };
    if is_resource {
        seen.set(col::API_SERVICE, parts[0]);
    }
    if seen.value("httpRequest.requestUrl").is_none() {
        seen.set(col::URL, &path);
    }
    let real = |code: Option<i64>| code.filter(|code| *code >= 100 && *code < 600);
    let answered = match seen.is("protoPayload.response.kind", "Status") {
        true => real(seen.int("protoPayload.response.code")),
        false => None,
    };
    let derived = match code {
        0 if refused(seen) => 403,
        0 if streams => 101,
        0 if verb == "create" && at(2) != "proxy" => 201,
        0 => 200,
        1 => 499,
        3 => 400,
        4 => 504,
        5 => 404,
        6 => 409,
        7 => 403,
        8 => 429,
        9 => 400,
        10 => 409,
        11 => 400,
        12 => 501,
        14 => 503,
        16 => 401,
        100..600 => code,
        _ => 500,
    };
    let http = real(seen.int("httpRequest.status")).or(answered);
    seen.columns.set(col::HTTP_CODE, http.unwrap_or(derived));
    if !who.is_empty() {
        let kind = match who {
            "system:anonymous" => "Anonymous",
            name if name.starts_with("system:serviceaccount:") => "ServiceAccount",
            name if name.starts_with("system:node:") => "Node",
            _ => "User",
        };
        seen.set(col::ACTOR_TYPE, kind);
    }
    let text = |path: &str| seen.text(path).unwrap_or_default();
    let operation = seen.text("operation.id").filter(|_| lasts && half);
    let both = operation.is_some();
    let (id, timestamp) = match operation {
        Some(operation) => (operation, String::new()),
        None => (text("insertId"), text("timestamp")),
    };
    let micros = crate::slow::time(&timestamp).unwrap_or(0);
    let metadata = "protoPayload.requestMetadata";
    let said = [
        id.clone(),
        who.to_owned(),
        method.to_owned(),
        resource.to_owned(),
        text(&format!("{metadata}.callerIp")),
        text(&format!("{metadata}.callerSuppliedUserAgent")),
        text("resource.labels.project_id"),
        text("resource.labels.location"),
        text("resource.labels.cluster_name"),
    ];
    let mut bytes = vec![];
    for part in said {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend(part.bytes());
    }
    bytes.extend(code.to_le_bytes());
    let hash = if both {
        let digest = sha2::Sha256::digest(&bytes);
        let digits = digest[..16].iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    } else {
        bytes.extend(micros.to_le_bytes());
        let hash = xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, micros as u64);
        format!("{hash:032x}")
    };
    let mut uid = vec![id, timestamp, text("logName"), hash];
    uid.retain(|part| !part.is_empty());
    seen.set(col::EVENT_UID, &uid.join("/"));
    true
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
