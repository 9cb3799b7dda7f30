//! Kubernetes audit events by the book (`audit.k8s.io/v1` Event in the Kubernetes API reference).

use sha2::Digest;
use weir_engine::schema::col;

use super::columns::{address, int};
use super::{Columns, Json, Outcome, dead, holds_others, row, time};

pub fn decode(event: Json) -> Option<Vec<Outcome>> {
    if holds_others(event) {
        return None;
    }
    let text = |path: &[&str]| event.text(path);
    let has = |key: &str| !event.under(key).is_empty();
    let is_event = match text(&["kind"]) {
        Some(kind) => kind == "Event",
        None => has("requestURI") || has("verb"),
    };
    let audit_id = text(&["auditID"]).filter(|_| is_event)?;
    let times = [
        text(&["stageTimestamp"]),
        text(&["requestReceivedTimestamp"]),
        text(&["timestamp"]),
        text(&["metadata", "creationTimestamp"]),
    ];
    let micros = |text: &Option<String>| text.as_deref().and_then(time);
    let received = micros(&times[1].clone().or(times[2].clone()));
    let Some(told) = times.into_iter().flatten().next() else {
        return dead("missing_field");
    };
    let Some(told) = time(&told) else {
        return dead("bad_time");
    };
    let verb = text(&["verb"]).unwrap_or_default();
    let uri = text(&["requestURI"]).unwrap_or_default();
    let object = event.object("objectRef");
    let part = |key: &str| object.and_then(|object| object.text(&[key]));
    let subresource = part("subresource").unwrap_or_default();
    // What the API server calls long-running: told when the answer starts, and once more when it ends.
    let lasts = ["watch", "watchlist", "proxy"].contains(&verb.as_str())
        || ["exec", "attach", "portforward", "proxy", "log"].contains(&subresource.as_str())
        || uri.starts_with("/debug/pprof/");
    let stage = text(&["stage"]);
    let (at, stage) = match (stage.as_deref(), received) {
        (None, _) => (told, None),
        (Some("Panic"), _) => (told, Some("Panic")),
        (Some("ResponseComplete"), _) if !lasts => (told, Some("ResponseComplete")),
        (Some("ResponseComplete"), received) => (received.unwrap_or(told), Some("ResponseStarted")),
        (Some("ResponseStarted"), Some(received)) if lasts => {
            // Within the ten minutes of the request, in which duplicates are looked for.
            let begin = received.div_euclid(600_000_000) * 600_000_000;
            (
                told.max(begin).min(begin + 599_999_999),
                Some("ResponseStarted"),
            )
        }
        (Some("ResponseStarted"), None) if lasts => (told, Some("ResponseStarted")),
        _ => return Some(vec![Outcome::Filtered]),
    };
    let mut columns = Columns::default();
    columns.set(col::TIME, at);
    columns.set(col::CLASS_UID, 6003);
    let addresses = event.array("sourceIPs").map(Json::elements);
    let address_of = |addresses: Vec<Json>| addresses.last().and_then(|last| last.string());
    let code = event.object("responseStatus").and_then(http_code);
    let said = [
        Some(audit_id.clone()),
        event
            .object("user")
            .and_then(|user| user.text(&["username"])),
        text(&["impersonatedUser", "username"]),
        Some(verb),
        Some(uri),
        addresses.and_then(address_of),
        text(&["userAgent"]),
        part("resource"),
        part("namespace"),
        part("name"),
        part("apiGroup"),
        part("subresource"),
        // No cluster is configured.
        None,
    ];
    let mut bytes = vec![];
    for text in said.map(Option::unwrap_or_default) {
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes.extend(code.unwrap_or(0).to_le_bytes());
    let hash = if stage == Some("ResponseStarted") {
        bytes.extend(received.unwrap_or(told).div_euclid(1_000_000).to_le_bytes());
        let digest = sha2::Sha256::digest(&bytes);
        digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    } else {
        let received = received.unwrap_or(0);
        bytes.extend(received.to_le_bytes());
        bytes.extend(told.to_le_bytes());
        let seed = received.rotate_left(32) ^ told;
        let hash = xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, seed as u64);
        format!("{hash:032x}")
    };
    let parts = [Some(audit_id.as_str()), stage, Some(&hash)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    columns.set(col::EVENT_UID, parts.join("/"));
    columns.set(col::API_REQUEST_UID, audit_id);
    columns.text(col::URL, text(&["requestURI"]));
    columns.text(col::API_OPERATION, text(&["verb"]));
    columns.text(col::USER_AGENT, text(&["userAgent"]));
    columns.text(
        col::ACTOR_IMPERSONATED,
        text(&["impersonatedUser", "username"]),
    );
    if let Some(user) = event.object("user") {
        actor(user, &mut columns);
    }
    // All but the last can be made up by the client.
    if let Some(addresses) = event.array("sourceIPs")
        && let Some(last) = addresses.elements().last().and_then(|last| last.string())
    {
        match address(&last) {
            Some(address) => columns.set(col::SRC_IP, address),
            None => columns.text(col::SRC_DOMAIN, Some(last)),
        }
    }
    if let Some(object) = event.object("objectRef") {
        let resource = object.text(&["resource"]);
        let name = object.text(&["name"]);
        let group = object.text(&["apiGroup"]);
        columns.text(col::API_SERVICE, group.or(Some("core".into())));
        columns.text(col::K8S_NAMESPACE, object.text(&["namespace"]));
        columns.text(col::K8S_SUBRESOURCE, object.text(&["subresource"]));
        if resource.as_deref() == Some("pods") {
            columns.text(col::K8S_POD, name.clone());
        }
        columns.text(col::RESOURCE_TYPE, resource);
        columns.text(col::RESOURCE_NAME, name);
    }
    if let Some(status) = event.object("responseStatus") {
        response(status, &mut columns);
    }
    if stage == Some("Panic") {
        columns.status(true);
    }
    row(columns)
}

fn actor(user: Json, columns: &mut Columns) {
    if let Some(name) = user.text(&["username"]) {
        let kind = match name.as_str() {
            "system:anonymous" => "Anonymous",
            name if name.starts_with("system:serviceaccount:") => "ServiceAccount",
            name if name.starts_with("system:node:") => "Node",
            _ => "User",
        };
        columns.set(col::ACTOR_TYPE, kind);
        columns.set(col::ACTOR_UID, name.clone());
        columns.set(col::ACTOR_NAME, name);
    }
    let mut groups = user.under("groups").into_iter();
    if let Some(groups) = groups.find(|groups| groups.is_array() && !groups.is_empty()) {
        columns.set(col::ACTOR_GROUPS, groups.raw());
    }
}

fn http_code(status: Json) -> Option<i64> {
    let codes = status.under("code").into_iter();
    let mut codes = codes.filter_map(|code| int(&code.scalar()?));
    codes.find(|code| *code > 0)
}

fn response(status: Json, columns: &mut Columns) {
    let code = http_code(status);
    let failed = status.text(&["status"]).as_deref() == Some("Failure");
    if let Some(code) = code {
        columns.set(col::HTTP_CODE, code);
        columns.set(col::STATUS_CODE, code.to_string());
        columns.status(code >= 400);
    } else if failed {
        columns.status(true);
    }
    let detail = status.text(&["message"]).or(status.text(&["reason"]));
    columns.text(col::STATUS_DETAIL, detail);
}
