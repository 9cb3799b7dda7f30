//! Every Kubernetes rule on every form in which its events arrive: bare, of EKS, AKS and GKE.

use datafusion::arrow::array::RecordBatch;
use serde_json::{Map, Value, json};
use weir_detections::{Case, embedded, reads_alerts, run_case};
use weir_engine::detect::run_all_with;
use weir_engine::{Rule, Tables};

use crate::packs::decode;

/// What becomes of one event of `audit.k8s.io`; nothing if the form cannot tell it.
type Form = fn(&Value) -> Option<Value>;

const FORMS: [(&str, Form); 3] = [("EKS", eks), ("AKS", aks), ("GKE", gke)];

/// CloudWatch's subscription of `/aws/eks/NAME/cluster`.
fn eks(event: &Value) -> Option<Value> {
    Some(json!({
        "messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "/aws/eks/prod/cluster",
        "logStream": "kube-apiserver-audit-0123456789abcdef", "subscriptionFilters": ["all"],
        "logEvents": [{"id": "3871", "timestamp": 1_767_323_045_000i64, "message": event.to_string()}]
    }))
}

/// The Event Hub's record of category kube-audit.
fn aks(event: &Value) -> Option<Value> {
    Some(json!({"records": [{
        "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
        "category": "kube-audit", "ccpNamespace": "5eb120ce",
        "resourceId": "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/TEST",
        "properties": {"log": format!("{event}\n"), "stream": "stdout", "pod": "kube-apiserver-1"},
        "time": event["stageTimestamp"],
    }]}))
}

/// Google's log entry.
fn gke(event: &Value) -> Option<Value> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let uri = text("/requestURI")?;
    // Google's entries have no URL: what only the query or the path behind a proxy tells is not there.
    if uri.contains("labelSelector=owner%3Dhelm") || uri.contains("/proxy/metrics") {
        return None;
    }
    let verb = text("/verb")?;
    let (method, resource) = match event.get("objectRef") {
        None => {
            let path = uri.split('?').next()?.trim_start_matches('/');
            (format!("io.k8s.{verb}"), path.to_owned())
        }
        Some(_) => named(&text, verb)?,
    };
    let status = match event
        .pointer("/responseStatus/code")
        .and_then(Value::as_i64)
    {
        Some(401) => json!({"code": 16}),
        Some(403) => json!({"code": 7, "message": "Forbidden"}),
        Some(404) => json!({"code": 5}),
        Some(409) => json!({"code": 10}),
        Some(400..500) => json!({"code": 3}),
        Some(500..) => json!({"code": 13}),
        _ => json!({}),
    };
    let mut payload = json!({
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "k8s.io", "methodName": method, "resourceName": resource, "status": status,
        "authenticationInfo": {"principalEmail": text("/user/username")},
        "authorizationInfo": [{"permission": method, "resource": resource, "granted": status == json!({})}],
        "requestMetadata": {
            "callerIp": event["sourceIPs"].as_array()?.last()?,
            "callerSuppliedUserAgent": event["userAgent"],
        },
    });
    for (from, to) in [("requestObject", "request"), ("responseObject", "response")] {
        if let Some(body) = event.get(from) {
            payload[to] = body.clone();
        }
    }
    Some(json!({
        "insertId": event["auditID"], "timestamp": event["stageTimestamp"],
        "receiveTimestamp": event["stageTimestamp"],
        "logName": "projects/example/logs/cloudaudit.googleapis.com%2Factivity",
        "operation": {"id": event["auditID"], "first": true, "last": true, "producer": "k8s.io"},
        "labels": event["annotations"], "protoPayload": payload,
        "resource": {"type": "k8s_cluster", "labels": {
            "cluster_name": "test", "location": "europe-west1", "project_id": "example"}},
    }))
}

/// Method and resource name of a request for a resource.
fn named<'e>(text: &impl Fn(&str) -> Option<&'e str>, verb: &str) -> Option<(String, String)> {
    let part = |key: &str| text(&format!("/objectRef/{key}")).filter(|text| !text.is_empty());
    let group = part("apiGroup").unwrap_or("core");
    let (version, resource) = (part("apiVersion").unwrap_or("v1"), part("resource")?);
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let turned: Vec<_> = short.split('.').rev().collect();
    let mut method = format!("io.k8s.{}.{version}.{resource}", turned.join("."));
    let mut path = format!("{group}/{version}");
    if let Some(namespace) = part("namespace").filter(|_| resource != "namespaces") {
        path += &format!("/namespaces/{namespace}");
    }
    path += &format!("/{resource}");
    if let Some(name) = part("name") {
        path += &format!("/{name}");
    }
    if let Some(subresource) = part("subresource") {
        method += &format!(".{subresource}");
        path += &format!("/{subresource}");
    }
    Some((format!("{method}.{verb}"), path))
}

/// The case with its audit events in the form; others stay. And how many events the form cannot tell.
fn in_form(case: &Case, form: Form) -> (Case, usize) {
    let (mut lines, mut untold) = (vec![], 0);
    for line in case.events.split(|byte| *byte == b'\n') {
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        if event["kind"] != "Event" {
            lines.push(event.to_string());
        } else if let Some(event) = form(&event) {
            lines.push(event.to_string());
        } else {
            untold += 1;
        }
    }
    let mut case = case.clone();
    case.events = lines.join("\n").into_bytes();
    (case, untold)
}

#[tokio::test]
async fn every_kubernetes_rule_alerts_alike_on_every_form() {
    let packs = embedded().unwrap();
    let run = async |rules: &[Rule], events: &[RecordBatch], tables: &Tables| {
        run_all_with(rules, events, tables).await
    };
    let (mut cases, mut failed) = (0, vec![]);
    let mut untold = Map::new();
    for loaded in packs {
        let path = loaded.rule.path.replace('\\', "/");
        if !path.contains("k8s_audit/") || reads_alerts(&loaded.rule.query) {
            continue;
        }
        for case in &loaded.tests {
            for (name, form) in FORMS {
                let (case, left_out) = in_form(case, form);
                if left_out > 0 {
                    untold.insert(format!("{path}: {}", case.name), json!(left_out));
                }
                if case.events.is_empty() {
                    continue;
                }
                let result = run_case(&loaded.rule, &case, &decode, &run).await;
                cases += 1;
                if !result.passed() {
                    failed.push(format!("{name}: {result}"));
                }
            }
        }
    }
    println!("{cases} cases; GKE cannot tell {untold:?}");
    assert!(cases > 150, "{cases}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Only events that must stay silent for what their URL says are left out.
    let silent = untold.keys().all(|name| {
        ["nodes_proxy", "secrets_listed_everywhere"]
            .iter()
            .any(|rule| name.contains(rule))
    });
    assert!(silent, "{untold:?}");
}
