//! Falco by the book ("Output formatting" and "Supported fields" in Falco's documentation).

use weir_engine::schema::col;

use super::columns::{address, int};
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
    columns.text(col::K8S_NAMESPACE, text(&["k8s.ns.name"]));
    columns.text(col::K8S_POD, text(&["k8s.pod.name"]));
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
    plugins(fields, columns);
    let name = text(&["user.name"]).or(text(&["user.loginname"]));
    let uid = number("user.uid").filter(|uid| (0..4_294_967_295).contains(uid));
    columns.text(col::ACTOR_NAME, name.clone());
    columns.text(col::ACTOR_UID, uid.map(|uid| uid.to_string()).or(name));
}

/// What Falco's plugins tell of audit trails.
#[rustfmt::skip]
fn plugins(fields: &[(String, Json)], columns: &mut Columns) {
    // A string before the first of the names that has one; all names but for blanks.
    let said = |name: &str, quoted: bool| {
        let named = fields.iter().filter(|(one, _)| one.trim_matches([' ', '\t', '\n', '\r', '\u{c}']) == name);
        let values = named.filter(|(_, value)| value.scalar().is_some_and(|text| value.is_number() || !matches!(text.as_str(), "" | "<NA>")));
        let first = values.map(|(_, value)| *value).next();
        first.filter(|value| !quoted || value.string().is_some()).and_then(Json::scalar)
    };
    let text = |names: &[&str]| names.iter().find_map(|name| said(name, true));
    let known = |names: &[&str]| names.iter().filter_map(|name| said(name, true)).find(|text| text != "unknown");
    columns.text(col::ACTOR_UID, known(&["ct.user.arn", "ct.user.principalid", "ct.user", "ka.user.name", "okta.actor.id", "okta.actor.alternateid", "okta.actor.name", "github.user", "gcp.user"]));
    columns.text(col::ACTOR_NAME, known(&["ct.user", "ka.user.name", "okta.actor.alternateid", "okta.actor.name", "github.user", "gcp.user"]));
    let mut plain = |column: usize, names: &[&str]| columns.text(column, text(names));
    plain(col::ACTOR_TYPE, &["ct.user.identitytype", "okta.actor.Type", "okta.actor.type"]);
    plain(col::ACTOR_ACCOUNT, &["ct.user.accountid"]);
    plain(col::ACTOR_IMPERSONATED, &["ka.impuser.name"]);
    plain(col::USER_AGENT, &["ct.useragent", "ka.useragent", "okta.useragent.raw", "gcp.userAgent"]);
    plain(col::URL, &["ka.uri", "okta.requesturi"]);
    plain(col::API_SERVICE, &["ct.src", "gcp.serviceName"]);
    plain(col::API_OPERATION, &["ct.name", "ka.verb", "okta.evt.type", "github.action", "github.type", "gcp.methodName"]);
    plain(col::API_REQUEST_UID, &["ct.requestid", "ka.auditid"]);
    plain(col::STATUS_CODE, &["ct.error"]);
    plain(col::STATUS_DETAIL, &["ct.errormessage", "ka.response.reason", "okta.reason"]);
    plain(col::CLOUD_ACCOUNT, &["ct.recipientaccountid", "ct.user.accountid", "gcp.projectId", "github.org", "github.owner"]);
    plain(col::CLOUD_REGION, &["ct.region", "gcp.location"]);
    plain(col::RESOURCE_UID, &["gcp.resourceName"]);
    plain(col::RESOURCE_TYPE, &["ka.target.resource", "gcp.resourceType"]);
    plain(col::RESOURCE_NAME, &["ka.target.name", "s3.bucket", "ec2.name", "ct.request.bucketname", "ct.request.functionname", "ct.request.rolename", "ct.request.username", "ct.request.instanceid", "ct.request.groupname", "ct.request.name", "github.repo.name", "gcp.storage.bucket", "gcp.cloudfunctions.function", "gcp.cloudsql.databaseId", "gcp.compute.instanceId", "gcp.iam.serviceAccount", "gcp.logging.sink", "gcp.dns.zone"]);
    plain(col::USER_UID, &["okta.target.user.id"]);
    plain(col::USER_NAME, &["okta.target.user.alternateid", "okta.target.user.name", "github.collaborator.name"]);
    plain(col::K8S_NAMESPACE, &["ka.target.namespace"]);
    plain(col::K8S_POD, &["ka.target.pod.name"]);
    plain(col::K8S_SUBRESOURCE, &["ka.target.subresource"]);
    plain(col::K8S_CLUSTER, &["ka.cluster.name"]);
    let is_mail = |name: &&str| said(name, true).is_some_and(|text| text.contains('@'));
    let mail = ["okta.actor.alternateid", "gcp.user"].into_iter().find(is_mail);
    columns.text(col::ACTOR_EMAIL, mail.and_then(|name| said(name, true)));
    for name in ["ct.srcip", "ka.sourceips", "okta.client.ip", "gcp.callerIP"] {
        let Some(list) = said(name, true) else { continue };
        let last = list.split(',').next_back().unwrap_or_default();
        let last = last.trim_matches(|one: char| one.is_whitespace() || "()[]\"".contains(one));
        match address(last) {
            Some(address) => columns.set(col::SRC_IP, address),
            None => columns.text(col::SRC_DOMAIN, Some(last.to_owned())),
        }
    }
    match said("ct.readonly", false).as_deref() {
        Some("true") => columns.set(col::IS_READ_ONLY, true),
        Some("false") => columns.set(col::IS_READ_ONLY, false),
        _ => {}
    }
    if said("ct.error", false).is_some() {
        columns.status(true);
    }
    let code = said("ka.response.code", false).and_then(|code| int(&code));
    if let Some(code) = code.filter(|code| *code > 0) {
        columns.set(col::HTTP_CODE, code);
        columns.set(col::STATUS_CODE, code.to_string());
        columns.status(code >= 400);
    }
    match said("okta.result", false).as_deref() {
        Some("SUCCESS" | "ALLOW") => columns.status(false),
        Some("FAILURE" | "DENY") => columns.status(true),
        _ => {}
    }
    let any = |plugin: &str| FIELDS.iter().any(|field| field.starts_with(plugin) && said(field, false).is_some());
    if any("ct.") {
        columns.set(col::CLOUD_PROVIDER, "AWS");
    } else if any("gcp.") {
        columns.set(col::CLOUD_PROVIDER, "GCP");
    }
}

/// The fields of the trails of AWS and Google that fill a column.
#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "ct.error", "ct.errormessage", "ct.name", "ct.readonly", "ct.recipientaccountid", "ct.region", "ct.request.bucketname", "ct.request.functionname", "ct.request.groupname", "ct.request.instanceid", "ct.request.name", "ct.request.rolename", "ct.request.username", "ct.requestid", "ct.src", "ct.srcip", "ct.user", "ct.user.accountid", "ct.user.arn", "ct.user.identitytype", "ct.user.principalid", "ct.useragent", "gcp.callerIP", "gcp.cloudfunctions.function", "gcp.cloudsql.databaseId", "gcp.compute.instanceId", "gcp.dns.zone", "gcp.iam.serviceAccount", "gcp.location", "gcp.logging.sink", "gcp.methodName", "gcp.projectId", "gcp.resourceName", "gcp.resourceType", "gcp.serviceName", "gcp.storage.bucket", "gcp.user", "gcp.userAgent",
];
