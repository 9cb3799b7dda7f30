#![allow(clippy::unwrap_used)]

use datafusion::arrow::buffer::Buffer;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_engine::builder::EventBuilder;

use super::*;
use crate::decode::{Decoder, DecoderConfig, Record};
use crate::enrich::{EnrichConfig, Enricher};
use weir_engine::batch::Partition;
use weir_engine::enrich::Enrich;

fn audit(second: u32, verb: &str, subresource: Option<&str>, name: &str, more: Value) -> Value {
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": format!("a-{second}-{verb}-{name}"), "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods", "verb": verb,
        "user": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "objectRef": {"resource": "pods", "namespace": "shop", "name": name, "apiVersion": "v1"},
        "responseStatus": {"code": 201},
        "stageTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
    });
    if let Some(subresource) = subresource {
        event["objectRef"]["subresource"] = subresource.into();
    }
    for (key, value) in more.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

fn pod(name: &str, image: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "shop",
            "labels": {"app": "web", "pod-template-hash": "7d4b9c"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d4b9c", "controller": true}]},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "c", "image": image}]}})
}

fn decode(events: &[Value]) -> RecordBatch {
    let mut bytes = vec![];
    let mut records = vec![];
    for event in events {
        let line = event.to_string();
        records.push(Record {
            range: bytes.len()..bytes.len() + line.len(),
            position: 0,
        });
        bytes.extend_from_slice(line.as_bytes());
    }
    let mut config = DecoderConfig::new("audit");
    config.cluster = Some("prod".into());
    let partition = Partition::new("audit", "p");
    let mut decoder = Decoder::new(config);
    let batch = decoder
        .decode(&partition, Buffer::from_vec(bytes), &records, 0)
        .unwrap();
    assert_eq!(
        batch.events.num_rows(),
        events.len(),
        "{:?}",
        batch.dead_letters
    );
    batch.events
}

/// An agent's alert on a pod, at a second.
fn alert(cluster: &str, name: &str, second: i64) -> RecordBatch {
    let mut builder = EventBuilder::new(Buffer::from(b"" as &[u8]));
    builder.begin();
    builder.int(col::TIME, 1_767_225_600_000_000 + second * 1_000_000);
    for required in [
        col::EVENT_UID,
        col::FAMILY,
        col::PRODUCT,
        col::LOG_NAME,
        col::RAW,
    ] {
        builder.text(required, "x");
    }
    builder.text(col::K8S_CLUSTER, cluster);
    builder.text(col::K8S_NAMESPACE, "shop");
    builder.text(col::K8S_POD, name);
    builder.keep();
    builder.finish().unwrap()
}

fn told(enricher: &Enricher, events: RecordBatch) -> Vec<Option<String>> {
    let rows = enricher.enrich(events).unwrap();
    let value = |column: usize| {
        let column = rows.column(column).as_string_view();
        (!column.is_null(0)).then(|| column.value(0).to_owned())
    };
    KINDS.into_iter().map(value).collect()
}

fn enricher() -> Enricher {
    Enricher::open(&EnrichConfig::default()).0
}

#[test]
fn an_alert_on_a_pod_that_is_gone_names_its_workload_node_and_image() {
    let binding = json!({"requestObject": {"kind": "Binding", "metadata": {"name": "web-1"}, "target": {"kind": "Node", "name": "node-7"}}});
    let events = decode(&[
        audit(
            1,
            "create",
            None,
            "web-1",
            json!({"responseObject": pod("web-1", "shop/web:1")}),
        ),
        audit(2, "create", Some("binding"), "web-1", binding),
        audit(
            9,
            "delete",
            None,
            "web-1",
            json!({"responseObject": {"kind": "Status"}}),
        ),
    ]);
    let enricher = enricher();
    enricher.enrich(events).unwrap();
    let expected = [
        "Deployment",
        "web",
        "node-7",
        "[\"shop/web:1\"]",
        "web",
        "{\"app\":\"web\",\"pod-template-hash\":\"7d4b9c\"}",
    ];
    assert_eq!(
        told(&enricher, alert("prod", "web-1", 20)),
        expected.map(|t| Some(t.to_owned()))
    );
    for (cluster, name) in [("test", "web-1"), ("prod", "web-2")] {
        assert_eq!(told(&enricher, alert(cluster, name, 20)), vec![None; 6]);
    }
    // After a restart, and a reload of files, it is still known.
    let state = enricher.take_state();
    assert!(enricher.take_state().is_empty());
    let again = self::enricher();
    for write in &state {
        again.restore(&write.owner, write.key, write.value.as_deref().unwrap());
        again.restore("rule/x", 1, b"not ours");
    }
    let (again, _) = again.reopen(&EnrichConfig::default());
    assert_eq!(
        told(&again, alert("prod", "web-1", 20)),
        expected.map(|t| Some(t.to_owned()))
    );
    assert_eq!(again.health().pods, 1);
}

#[test]
fn a_name_that_comes_back_is_told_by_the_events_time() {
    let create = |second, image| {
        audit(
            second,
            "create",
            None,
            "db-0",
            json!({"responseObject": pod("db-0", image)}),
        )
    };
    let enricher = enricher();
    enricher
        .enrich(decode(&[create(30, "db:2"), create(10, "db:1")]))
        .unwrap();
    let image = |second| {
        told(&enricher, alert("prod", "db-0", second))[3]
            .clone()
            .unwrap()
    };
    assert_eq!(
        (image(20), image(40), image(5)),
        (
            "[\"db:1\"]".into(),
            "[\"db:2\"]".into(),
            "[\"db:1\"]".into()
        )
    );
}

#[test]
fn requests_serve_where_answers_are_not_logged_and_refusals_teach_nothing() {
    let enricher = enricher();
    let refused = json!({"requestObject": pod("bad", "evil:1"), "responseStatus": {"code": 403}});
    enricher
        .enrich(decode(&[
            audit(
                1,
                "create",
                None,
                "good",
                json!({"requestObject": pod("good", "shop:1"), "responseObject": "text"}),
            ),
            audit(
                2,
                "patch",
                None,
                "good",
                json!({"requestObject": [{"op": "add"}], "responseObject": null}),
            ),
            audit(3, "create", None, "bad", refused),
            audit(
                4,
                "patch",
                Some("status"),
                "other",
                json!({"responseObject": pod("other", "x:1")}),
            ),
        ]))
        .unwrap();
    assert_eq!(
        told(&enricher, alert("prod", "good", 9))[3].as_deref(),
        Some("[\"shop:1\"]")
    );
    assert_eq!(enricher.health().pods, 1);
}

#[test]
fn cron_jobs_stand_behind_jobs_and_bare_pods_belong_to_nothing() {
    let owned = |kind: &str, name: &str| {
        let mut pod = pod("p", "i");
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": kind, "name": name, "controller": true}]);
        let enricher = enricher();
        enricher
            .enrich(decode(&[audit(
                1,
                "create",
                None,
                "p",
                json!({"responseObject": pod}),
            )]))
            .unwrap();
        let told = told(&enricher, alert("prod", "p", 2));
        (told[0].clone().unwrap(), told[1].clone().unwrap())
    };
    for (kind, name, expected) in [
        ("Job", "backup-28391020", ("CronJob", "backup")),
        ("Job", "once-1", ("Job", "once-1")),
        ("ReplicaSet", "web-000", ("ReplicaSet", "web-000")),
        ("StatefulSet", "db", ("StatefulSet", "db")),
    ] {
        assert_eq!(
            owned(kind, name),
            (expected.0.to_owned(), expected.1.to_owned())
        );
    }
}

proptest! {
    #[test]
    fn the_order_of_events_does_not_matter(
        told in prop::collection::vec((0usize..3, 0u8..3, 0i64..50), 1..30).prop_shuffle(),
        swap in any::<prop::sample::Index>(),
    ) {
        let memory = |told: &[(usize, u8, i64)]| {
            let mut pod = Pod::default();
            for (kind, value, time) in told {
                pod.see(*kind, &value.to_string(), *time);
            }
            pod
        };
        let mut other = told.clone();
        other.rotate_left(swap.index(told.len()));
        other.reverse();
        prop_assert_eq!(memory(&told), memory(&other));
    }
}
