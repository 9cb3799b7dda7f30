//! Microsoft Defender for Cloud alerts: flat with capitals (continuous export), nested (REST), and as rows of
//! Sentinel's table `SecurityAlert`, in which other products' alerts stand, too.
//!
//! Traps: in that table `Entities` is JSON in text; `Entities` is a graph in which `$ref` points to the `$id` of another member; an id may come back,
//! and an element may be a bare reference; assessments and scores share the hub and are no alerts.

use std::collections::HashMap;

use serde_json::Value;
use weir_engine::schema::col;

use super::azure::NOTHING;
use super::{Decoded, Stop};
use crate::mapping::{Event, How, LogFormat, SEVERITY, Spelling};

#[rustfmt::skip]
pub static ALERT: LogFormat = LogFormat {
    name: "Defender for Cloud alert",
    source: "defender",
    family: "agent_alerts",
    product: "Defender for Cloud",
    class: 2004,
    needs: &[
        &[("systemAlertId", &[])],
        &[("properties.systemAlertId", &[])],
    ],
    spelling: Spelling::FirstLetter,
    nothing: NOTHING,
    fields: &[
        ("endTimeUtc", col::TIME, How::Utc),
        ("endTime", col::TIME, How::Utc),
        ("timeGenerated", col::TIME, How::Utc),
        ("startTimeUtc", col::TIME, How::Utc),
        ("properties.endTimeUtc", col::TIME, How::Utc),
        ("properties.timeGeneratedUtc", col::TIME, How::Utc),
        ("properties.startTimeUtc", col::TIME, How::Utc),
        ("startTimeUtc", col::START_TIME, How::Utc),
        ("properties.startTimeUtc", col::START_TIME, How::Utc),
        ("startTime", col::START_TIME, How::Utc),
        ("endTimeUtc", col::END_TIME, How::Utc),
        ("endTime", col::END_TIME, How::Utc),
        ("properties.endTimeUtc", col::END_TIME, How::Utc),
        ("correlationKey", col::CORRELATION_UID, How::Text),
        ("properties.correlationKey", col::CORRELATION_UID, How::Text),
        ("severity", col::SEVERITY_ID, SEVERITY),
        ("alertSeverity", col::SEVERITY_ID, SEVERITY),
        ("properties.severity", col::SEVERITY_ID, SEVERITY),
        ("systemAlertId", col::FINDING_UID, How::Text),
        ("properties.systemAlertId", col::FINDING_UID, How::Text),
        ("alertDisplayName", col::FINDING_TITLE, How::Text),
        ("properties.alertDisplayName", col::FINDING_TITLE, How::Text),
        ("displayName", col::FINDING_TITLE, How::Text),
        ("alertName", col::FINDING_TITLE, How::Text),
        ("description", col::FINDING_DESC, How::Text),
        ("properties.description", col::FINDING_DESC, How::Text),
        ("alertType", col::FINDING_TYPE, How::Text),
        ("properties.alertType", col::FINDING_TYPE, How::Text),
        ("status", col::FINDING_STATUS, How::Lower),
        ("properties.status", col::FINDING_STATUS, How::Lower),
        ("intent", col::FINDING_ATTACKS, How::Text),
        ("properties.intent", col::FINDING_ATTACKS, How::Text),
        ("tactics", col::FINDING_ATTACKS, How::Text),
        ("techniques", col::FINDING_TAGS, How::Json),
        ("azureResourceId", col::RESOURCE_UID, How::Lower),
        ("resourceId", col::RESOURCE_UID, How::Lower),
        ("resourceIdentifiers[0].azureResourceId", col::RESOURCE_UID, How::Lower),
        ("properties.resourceIdentifiers[0].azureResourceId", col::RESOURCE_UID, How::Lower),
        ("compromisedEntity", col::RESOURCE_NAME, How::Text),
        ("properties.compromisedEntity", col::RESOURCE_NAME, How::Text),
        ("extendedProperties.resourceType", col::RESOURCE_TYPE, How::Text),
        ("properties.extendedProperties.resourceType", col::RESOURCE_TYPE, How::Text),
        ("workspaceSubscriptionId", col::CLOUD_ACCOUNT, How::Lower),
    ],
    fixed: &[(col::CLOUD_PROVIDER, "Azure")],
    reads: &[
        "entities",
        "properties.entities",
        "systemAlertId",
        "properties.systemAlertId",
        "status",
        "properties.status",
        "processingEndTime",
        "properties.processingEndTimeUtc",
        "endTimeUtc",
        "properties.endTimeUtc",
        "azureResourceId",
        "productName",
        "endTime",
    ],
    finish: Some(finish),
    ..LogFormat::NEW
};

fn finish(event: &mut Event) -> Result<Decoded, Stop> {
    const ENTITIES: [usize; 2] = [0, 1];
    const RESOURCE: usize = 10;
    const PRODUCT: usize = 11;
    const END: usize = 12;
    // Id, status, and when it was worked on: an update of an alert is another event.
    let parts = [[2, 3], [4, 5], [6, 7], [8, 9]];
    let parts = parts.map(|[flat, nested]| event.text(flat).or_else(|| event.text(nested)));
    let [.., end] = &parts;
    let late = if end.is_none() { event.text(END) } else { None };
    let uid: Vec<_> = parts.into_iter().flatten().chain(late).collect();
    event.set(col::EVENT_UID, &uid.join("/"));
    match event.text(PRODUCT).as_deref() {
        Some("Azure Sentinel" | "Microsoft Sentinel") => {
            event.set(col::PRODUCT, "Microsoft Sentinel")
        }
        None | Some("Azure Security Center" | "Microsoft Defender for Cloud") => {}
        Some(_) => event.set(col::PRODUCT, "Defender XDR"),
    }
    if let Some(resource) = event.text(RESOURCE)
        && let Some(rest) = resource.to_lowercase().strip_prefix("/subscriptions/")
    {
        event.set(
            col::CLOUD_ACCOUNT,
            rest.split('/').next().unwrap_or_default(),
        );
    }
    for at in ENTITIES {
        let tree = match event.text(at) {
            Some(text) => serde_json::from_str(&text).unwrap_or_default(),
            None => event.tree(at),
        };
        let entities = Graph::of(tree.as_array().map_or(&[], Vec::as_slice));
        entities.fill(event);
    }
    Ok(Decoded::Row)
}

/// Entities and what each `$id` names; of ids that come back, the first counts.
struct Graph<'a> {
    members: Vec<&'a Value>,
    by_id: HashMap<&'a str, &'a Value>,
}

impl<'a> Graph<'a> {
    fn of(entities: &'a [Value]) -> Self {
        let mut graph = Self {
            members: vec![],
            by_id: HashMap::new(),
        };
        for entity in entities {
            graph.collect(entity, 0);
        }
        for entity in entities {
            if let Some(entity) = graph.resolve(entity) {
                graph.members.push(entity);
            }
        }
        graph
    }

    /// Entities stand inside others, too.
    fn collect(&mut self, entity: &'a Value, depth: usize) {
        if let Some(id) = entity["$id"].as_str() {
            self.by_id.entry(id).or_insert(entity);
        }
        if depth < 8 {
            let inner = entity
                .as_object()
                .into_iter()
                .flat_map(|object| object.values());
            inner.for_each(|inner| self.collect(inner, depth + 1));
        }
    }

    /// The entity itself, or what it refers to.
    fn resolve(&self, entity: &'a Value) -> Option<&'a Value> {
        match entity["$ref"].as_str() {
            Some(id) => self.by_id.get(id).copied(),
            None => Some(entity),
        }
    }

    /// A member of an entity, whatever the case of its first letter.
    fn get(entity: &'a Value, name: &str) -> &'a Value {
        let (first, rest) = name.split_at(1);
        match &entity[name] {
            Value::Null => &entity[format!("{}{rest}", first.to_lowercase())],
            value => value,
        }
    }

    fn text(entity: &'a Value, name: &str) -> &'a str {
        let text = Self::get(entity, name).as_str().unwrap_or_default();
        match NOTHING.contains(&text) {
            true => "",
            false => text,
        }
    }

    fn fill(&self, event: &mut Event) {
        for entity in &self.members {
            let set = |event: &mut Event, column, name| event.set(column, Self::text(entity, name));
            match Self::text(entity, "Type").to_lowercase().as_str() {
                "ip" => {
                    let address = Self::text(entity, "Address").parse::<std::net::IpAddr>();
                    if let Ok(address) = address {
                        event.set(col::SRC_IP, &address.to_canonical().to_string());
                    }
                }
                "account" => {
                    // Ids and names of people are the same in either case.
                    let name = Self::text(entity, "Name").to_lowercase();
                    let upn = match Self::text(entity, "UPNSuffix") {
                        "" => String::new(),
                        suffix => format!("{name}@{suffix}").to_lowercase(),
                    };
                    let id = Self::text(entity, "AadUserId").to_lowercase();
                    event.set(col::ACTOR_UID, &id);
                    let sid = Self::text(entity, "Sid").to_lowercase();
                    event.set(col::ACTOR_UID, &sid);
                    let name = if upn.is_empty() { &name } else { &upn };
                    event.set_late(col::ACTOR_UID, name);
                    event.set(col::ACTOR_EMAIL, &upn);
                    event.set(col::ACTOR_NAME, name);
                    if let Some(host) = self.resolve(Self::get(entity, "Host")) {
                        event.set_late(col::HOSTNAME, Self::text(host, "HostName"));
                    }
                }
                "host" => set(event, col::HOSTNAME, "HostName"),
                "process" => {
                    set(event, col::PROCESS_CMD_LINE, "CommandLine");
                    let number = Self::text(entity, "ProcessId").trim_start_matches("0x");
                    if let Ok(pid) = i64::from_str_radix(number, 16) {
                        event.set_int(col::PROCESS_PID, pid);
                    }
                    if let Some(file) = self.resolve(Self::get(entity, "ImageFile")) {
                        event.set(col::PROCESS_NAME, Self::text(file, "Name"));
                    }
                }
                "file" => set(event, col::FILE_PATH, "Name"),
                "k8s-cluster" => {
                    if let Some(cluster) = self.resolve(Self::get(entity, "CloudResource")) {
                        let name = Self::text(cluster, "ResourceId").rsplit('/').next();
                        event.set(col::K8S_CLUSTER, name.unwrap_or_default());
                    }
                }
                "k8s-namespace" => set(event, col::K8S_NAMESPACE, "Name"),
                "k8s-pod" => set(event, col::K8S_POD, "Name"),
                "container" => set(event, col::CONTAINER_UID, "ContainerId"),
                "container-image" => set(event, col::CONTAINER_IMAGE, "ImageId"),
                _ => {}
            }
        }
    }
}
