//! Falco by the book ("Output formatting" and "Supported fields" in Falco's documentation).

use weir_engine::schema::col;

use super::columns::int;
use super::{Columns, Json, Outcome, dead, holds_others, row, time};

pub fn decode(event: Json) -> Option<Vec<Outcome>> {
    if holds_others(event) {
        return None;
    }
    let has = |keys: [&str; 2]| keys.iter().any(|key| !event.under(key).is_empty());
    if !has(["output", "Output"]) && !has(["output_fields", "OutputFields"]) {
        return None;
    }
    let rule = either(event, ["rule", "Rule"]);
    let priority = either(event, ["priority", "Priority"]);
    let (rule, priority) = match (rule.first(), priority.first()) {
        (Some(_), Some(priority)) => (said(&rule), priority.clone()),
        (Some(_), None) if has(["priority", "Priority"]) => return dead("wrong_type"),
        (None, Some(_)) if has(["rule", "Rule"]) => return dead("wrong_type"),
        _ => return None,
    };
    let Some(at) = event.any_text(&["time"]) else {
        return dead("missing_field");
    };
    let Some(at) = time(&at) else {
        return dead("bad_time");
    };
    let mut columns = Columns::default();
    columns.set(col::TIME, at);
    columns.set(col::CLASS_UID, 2004);
    columns.text(col::FINDING_TITLE, rule);
    let severity = match priority.to_ascii_lowercase().as_str() {
        "debug" | "info" | "informational" => Some(1),
        "notice" => Some(2),
        "warning" => Some(3),
        "error" => Some(4),
        "critical" | "alert" => Some(5),
        "emergency" => Some(6),
        _ => None,
    };
    if let Some(severity) = severity {
        columns.set(col::SEVERITY_ID, severity);
    }
    columns.text(
        col::FINDING_DESC,
        said(&either(event, ["output", "Output"])),
    );
    columns.text(col::EVENT_UID, event.text(&["uuid"]));
    columns.text(col::HOSTNAME, event.text(&["hostname"]));
    let mut tags = event.under("tags").into_iter();
    if let Some(tags) = tags.find(|tags| tags.is_array() && !tags.is_empty()) {
        columns.set(col::FINDING_TAGS, tags.raw());
    }
    let mut members = event.members().into_iter();
    let fields = members.find(|(key, value)| {
        matches!(key.as_str(), "output_fields" | "OutputFields") && value.is_object()
    });
    let mut flat = vec![];
    if let Some((_, fields)) = fields {
        flatten(fields, "", 0, &mut flat);
    }
    fill(&flat, &mut columns);
    row(columns)
}

/// The strings under either key, in the order of the text.
fn either(event: Json, keys: [&str; 2]) -> Vec<String> {
    let members = event.members().into_iter();
    members
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .filter_map(|(_, value)| value.string())
        .collect()
}

/// The first text that says something.
fn said(texts: &[String]) -> Option<String> {
    texts.iter().find(|text| !text.is_empty()).cloned()
}

/// Fields by their full names, also where a forwarder made objects of the dots.
fn flatten<'a>(object: Json<'a>, before: &str, depth: usize, flat: &mut Vec<(String, Json<'a>)>) {
    for (key, value) in object.members() {
        let name = format!("{before}{key}");
        match value.is_object() && depth < 4 {
            true => flatten(value, &format!("{name}."), depth + 1, flat),
            false => flat.push((name, value)),
        }
    }
}

fn fill(fields: &[(String, Json)], columns: &mut Columns) {
    let text = |names: &[&str]| {
        let named = fields
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        let mut texts = named.filter_map(|(_, value)| value.string());
        texts.find(|text| !matches!(text.as_str(), "" | "<NA>"))
    };
    let number = |name: &str| {
        let named = fields.iter().filter(|(one, _)| one == name);
        named.filter_map(|(_, value)| int(&value.scalar()?)).next()
    };
    columns.text(col::ACTOR_NAME, text(&["user.name", "ka.user.name"]));
    columns.text(col::ACTOR_UID, text(&["ka.user.name"]));
    columns.text(col::PROCESS_NAME, text(&["proc.name"]));
    columns.text(col::PROCESS_CMD_LINE, text(&["proc.cmdline"]));
    columns.text(col::PROCESS_PARENT_NAME, text(&["proc.pname"]));
    columns.text(col::CONTAINER_UID, text(&["container.id"]));
    columns.text(col::CONTAINER_NAME, text(&["container.name"]));
    let tag = text(&["container.image.tag"]);
    let image = text(&["container.image.repository"]).map(|image| match tag {
        Some(tag) => format!("{image}:{tag}"),
        None => image,
    });
    columns.text(col::CONTAINER_IMAGE, image);
    columns.text(
        col::K8S_NAMESPACE,
        text(&["k8s.ns.name", "ka.target.namespace"]),
    );
    columns.text(col::K8S_POD, text(&["k8s.pod.name"]));
    columns.text(col::RESOURCE_NAME, text(&["ka.target.name"]));
    columns.text(col::RESOURCE_TYPE, text(&["ka.target.resource"]));
    columns.text(col::API_OPERATION, text(&["ka.verb"]));
    columns.text(col::HOSTNAME, text(&["evt.hostname"]));
    // Else it holds the two ends of a connection.
    let named = fields.iter().filter(|(name, _)| name == "fd.name");
    let mut paths = named.filter_map(|(_, value)| value.string());
    columns.text(col::FILE_PATH, paths.find(|text| text.starts_with('/')));
    let (address, port) = match text(&["fd.sip"]) {
        Some(server) => (Some(server), number("fd.sport")),
        None => (text(&["fd.rip"]), number("fd.rport").or(number("fd.sport"))),
    };
    columns.address(col::DST_IP, address);
    if let Some(port) = port.filter(|port| (0..=65_535).contains(port)) {
        columns.set(col::DST_PORT, port);
    }
}
