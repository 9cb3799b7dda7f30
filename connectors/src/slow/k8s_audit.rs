//! Kubernetes audit events by the book (`audit.k8s.io/v1` Event in the Kubernetes API reference).

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
    let Some(at) = times.into_iter().flatten().next() else {
        return dead("missing_field");
    };
    let Some(at) = time(&at) else {
        return dead("bad_time");
    };
    let stage = text(&["stage"]);
    if stage
        .as_deref()
        .is_some_and(|stage| !["ResponseComplete", "Panic"].contains(&stage))
    {
        return Some(vec![Outcome::Filtered]);
    }
    let mut columns = Columns::default();
    columns.set(col::TIME, at);
    columns.set(col::CLASS_UID, 6003);
    columns.set(
        col::EVENT_UID,
        match stage {
            Some(stage) => format!("{audit_id}/{stage}"),
            None => audit_id.clone(),
        },
    );
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

fn response(status: Json, columns: &mut Columns) {
    let codes = status.under("code").into_iter();
    let code = codes
        .filter_map(|code| int(&code.scalar()?))
        .find(|code| *code > 0);
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
