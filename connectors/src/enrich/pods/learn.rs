//! Pods in audit events. Reads only the events that can hold one, and of those only what is remembered.

use std::collections::BTreeMap;
use std::fmt;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use weir_engine::schema::col;

use super::write_key;

// Places in the list of kinds.
const WORKLOAD_KIND: usize = 0;
const WORKLOAD: usize = 1;
const NODE: usize = 2;
const IMAGES: usize = 3;
const SERVICE_ACCOUNT: usize = 4;
const LABELS: usize = 5;

/// Takes what is learnt: the pod's key, which of the kinds, its value and the event's time.
pub type Learn<'a> = dyn FnMut(&str, usize, &str, i64) + 'a;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    object_ref: Option<Reference>,
    request_object: Lenient,
    response_object: Lenient,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    namespace: Option<String>,
    name: Option<String>,
}

/// An object, if it is one: patches are arrays, answers may be texts.
#[derive(Default)]
struct Lenient(Option<Box<Object>>);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    kind: Option<String>,
    metadata: Metadata,
    spec: Spec,
    target: Option<Target>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    service_account_name: Option<String>,
    init_containers: Vec<Container>,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    image: String,
}

#[derive(Deserialize)]
struct Target {
    name: Option<String>,
}

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Lenient;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Lenient, A::Error> {
                let object = Object::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Lenient(Some(Box::new(object))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lenient, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient::default())
            }
            fn visit_unit<E>(self) -> Result<Lenient, E> {
                Ok(Lenient::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Lenient, E> {
                Ok(Lenient::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Lenient, E> {
                Ok(Lenient::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Lenient, E> {
                Ok(Lenient::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Lenient, E> {
                Ok(Lenient::default())
            }
            fn visit_str<E>(self, _: &str) -> Result<Lenient, E> {
                Ok(Lenient::default())
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Learns from every event of a batch that creates, changes, binds or deletes a pod and was not refused.
pub fn learn(events: &RecordBatch, each: &mut Learn) {
    let types = events.column(col::RESOURCE_TYPE).as_string_view();
    if types.null_count() == types.len() {
        return;
    }
    let text = |column: usize, row: usize| {
        let column = events.column(column).as_string_view();
        (!column.is_null(row)).then(|| column.value(row))
    };
    let codes = events.column(col::HTTP_CODE).as_primitive::<Int64Type>();
    let times = events
        .column(col::TIME)
        .as_primitive::<TimestampMicrosecondType>();
    for row in 0..events.num_rows() {
        let pods = !types.is_null(row) && types.value(row) == "pods";
        if !pods || text(col::FAMILY, row) != Some("k8s_audit") {
            continue;
        }
        // Kubelets tell the status all day long; it holds nothing new.
        let told = match text(col::K8S_SUBRESOURCE, row) {
            None | Some("binding" | "ephemeralcontainers") => matches!(
                text(col::API_OPERATION, row),
                Some("create" | "update" | "patch" | "delete")
            ),
            Some(_) => false,
        };
        if !told || codes.is_valid(row) && codes.value(row) >= 400 {
            continue;
        }
        let raw = text(col::RAW, row).unwrap_or_default();
        if let Ok(event) = serde_json::from_str::<Event>(raw) {
            let cluster = text(col::K8S_CLUSTER, row).unwrap_or_default();
            one(&event, cluster, times.value(row), each);
        }
    }
}

fn one(event: &Event, cluster: &str, time: i64, each: &mut Learn) {
    let named = event.object_ref.as_ref();
    let request = event.request_object.0.as_deref();
    let mut key = String::new();
    let mut set_key = |metadata: Option<&Metadata>| {
        let own = metadata.and_then(|m| m.name.as_deref());
        let name = own.or_else(|| named?.name.as_deref())?;
        let own = metadata.and_then(|m| m.namespace.as_deref());
        let namespace = named.and_then(|n| n.namespace.as_deref()).or(own);
        write_key(&mut key, cluster, namespace.unwrap_or_default(), name);
        Some(key.clone())
    };
    if let Some(binding) = request.filter(|object| object.kind.as_deref() == Some("Binding"))
        && let Some(node) = binding.target.as_ref().and_then(|t| t.name.as_deref())
        && let Some(key) = set_key(Some(&binding.metadata))
    {
        each(&key, NODE, node, time);
        return;
    }
    let is_pod = |object: &&Object| object.kind.as_deref() == Some("Pod");
    let answer = event.response_object.0.as_deref().filter(is_pod);
    let Some(pod) = answer.or(request.filter(is_pod)) else {
        return;
    };
    let Some(key) = set_key(Some(&pod.metadata)) else {
        return;
    };
    let mut see = |kind: usize, value: &str| {
        if !value.is_empty() {
            each(&key, kind, value, time);
        }
    };
    if let Some((kind, name)) = workload(&pod.metadata) {
        see(WORKLOAD_KIND, &kind);
        see(WORKLOAD, &name);
    }
    see(NODE, pod.spec.node_name.as_deref().unwrap_or_default());
    let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let images: Vec<&str> = containers
        .map(|container| container.image.as_str())
        .collect();
    if !images.is_empty() {
        see(IMAGES, &serde_json::to_string(&images).unwrap_or_default());
    }
    let account = pod.spec.service_account_name.as_deref();
    see(SERVICE_ACCOUNT, account.unwrap_or_default());
    if let Some(labels) = &pod.metadata.labels {
        see(LABELS, &serde_json::to_string(labels).unwrap_or_default());
    }
}

/// What a pod belongs to: its controller, or what stands behind it. A ReplicaSet's name is its Deployment's
/// and the hash that the pod is labelled with; a Job's is its CronJob's and a time.
fn workload(metadata: &Metadata) -> Option<(String, String)> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller);
    let owner = owner.or(owners.first())?;
    let label = |name: &str| metadata.labels.as_ref()?.get(name);
    let behind = match owner.kind.as_str() {
        "ReplicaSet" => label("pod-template-hash").and_then(|hash| {
            let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            Some(("Deployment", name))
        }),
        "Job" => owner.name.rsplit_once('-').and_then(|(name, time)| {
            let minutes = time.len() >= 8 && time.bytes().all(|b| b.is_ascii_digit());
            minutes.then_some(("CronJob", name))
        }),
        _ => None,
    };
    let (kind, name) = behind.unwrap_or((&owner.kind, &owner.name));
    Some((kind.to_owned(), name.to_owned()))
}
