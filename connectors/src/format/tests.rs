#![allow(clippy::unwrap_used)]

mod audits;
pub(crate) mod golden;
mod lines;
mod numbers;
mod outcomes;
mod traps;
mod traps_actors;

use serde_json::{Value, json};

use super::*;
use crate::decode::tests::{decode_with, row};
use crate::decode::{DecoderConfig, FormatChoice};

/// The one row that an event becomes, without the id and the other columns named.
fn columns(event: &Value, without: &[&str]) -> Value {
    let config = DecoderConfig {
        cluster: Some("prod-1".into()),
        ..DecoderConfig::new("log")
    };
    let batch = decode_with(config, &[event.to_string().as_bytes()]);
    assert_eq!(batch.dead_letters, []);
    assert_eq!(batch.events.num_rows(), 1);
    let mut row = row(&batch, 0);
    for column in without {
        row.as_object_mut().unwrap().remove(*column);
    }
    row
}

/// Reason and detail of the dead letter that an event becomes.
fn letter(format: FormatChoice, event: &Value) -> (&'static str, String) {
    let config = DecoderConfig {
        format,
        ..DecoderConfig::new("log")
    };
    let batch = decode_with(config, &[event.to_string().as_bytes()]);
    assert_eq!(batch.events.num_rows(), 0);
    let letter = &batch.dead_letters[0];
    (letter.reason, letter.detail.clone())
}

fn changed(event: &Value, changes: Value) -> Value {
    let mut event = event.clone();
    for (key, value) in changes.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

fn assumed_role() -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole", "principalId": "AROAX:sess",
            "arn": "arn:aws:sts::111122223333:assumed-role/R/sess",
            "accountId": "111122223333", "accessKeyId": "ASIAEXAMPLE",
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "principalId": "AROAX", "arn": "arn:aws:iam::111122223333:role/R", "accountId": "111122223333", "userName": "R"},
                "webIdFederationData": {},
                "attributes": {"creationDate": "2026-01-02T03:00:00Z", "mfaAuthenticated": "false"}
            },
            "invokedBy": "cloudformation.amazonaws.com"
        },
        "eventTime": "2026-01-02T03:04:05Z",
        "eventSource": "iam.amazonaws.com", "eventName": "CreateAccessKey", "awsRegion": "us-east-1",
        "sourceIPAddress": "203.0.113.7", "userAgent": "aws-cli/2 \"quoted\"",
        "errorCode": "AccessDenied", "errorMessage": "User is not authorized",
        "requestParameters": {"policyName": "p", "userName": "bob", "name": {"n": 1}},
        "responseElements": null,
        "requestID": "9b2c", "eventID": "5f1e", "readOnly": false,
        "resources": [
            {"ARN": "arn:aws:iam::111122223333:user/bob", "accountId": "111122223333", "type": "AWS::IAM::User"},
            {"ARN": "arn:aws:iam::111122223333:user/eve", "type": "AWS::IAM::Other"}
        ],
        "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "444455556666",
        "eventCategory": "Management", "tlsDetails": {"tlsVersion": "TLSv1.3"}
    })
}

#[test]
fn cloudtrail_assumed_role() {
    let expected = json!({
        "time": 1_767_323_045_000_000i64, "event_uid": "5f1e", "family": "cloud_audit",
        "metadata_product_name": "CloudTrail", "class_uid": 6003, "cloud_provider": "AWS",
        "status": "failure", "status_code": "AccessDenied", "status_detail": "User is not authorized",
        "api_service_name": "iam.amazonaws.com", "api_operation": "CreateAccessKey",
        "api_request_uid": "9b2c", "api_is_read_only": false,
        "actor_user_uid": "arn:aws:iam::111122223333:role/R", "actor_user_name": "R",
        "actor_user_type": "AssumedRole", "actor_user_account_uid": "111122223333",
        "actor_user_credential_uid": "ASIAEXAMPLE",
        "actor_session_uid": "arn:aws:sts::111122223333:assumed-role/R/sess",
        "actor_session_is_mfa": false, "actor_invoked_by": "cloudformation.amazonaws.com",
        "src_endpoint_ip": "203.0.113.7", "http_request_user_agent": "aws-cli/2 \"quoted\"",
        "cloud_account_uid": "444455556666", "cloud_region": "us-east-1",
        "resource_uid": "arn:aws:iam::111122223333:user/bob", "resource_name": "bob",
        "resource_type": "AWS::IAM::User",
    });
    assert_eq!(columns(&assumed_role(), &[]), expected);
}

#[test]
fn cloudtrail_identities() {
    let actor = |identity: Value| {
        let row = columns(
            &changed(&assumed_role(), json!({"userIdentity": identity})),
            &[],
        );
        let pick = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        [
            pick("actor_user_uid"),
            pick("actor_user_name"),
            pick("actor_user_type"),
            pick("actor_session_uid"),
        ]
        .map(|value| value.unwrap_or_default())
    };
    let user = json!({"type": "IAMUser", "principalId": "AIDA", "arn": "arn:aws:iam::1:user/ann", "userName": "ann"});
    assert_eq!(
        actor(user),
        ["arn:aws:iam::1:user/ann", "ann", "IAMUser", ""]
    );
    let root =
        json!({"type": "Root", "principalId": "1", "arn": "arn:aws:iam::1:root", "accountId": "1"});
    assert_eq!(actor(root), ["arn:aws:iam::1:root", "", "Root", ""]);
    let service = json!({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"});
    assert_eq!(actor(service), ["ec2.amazonaws.com", "", "AWSService", ""]);
    let principal = json!({"type": "AWSAccount", "principalId": "AIDAOTHER", "accountId": "2"});
    assert_eq!(actor(principal), ["AIDAOTHER", "", "AWSAccount", ""]);
    let bare = json!({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/R/s"});
    let session = "arn:aws:sts::1:assumed-role/R/s";
    let role = "arn:aws:iam::1:role/R";
    assert_eq!(actor(bare), [role, "R", "AssumedRole", session]);
    for nothing in [
        json!({}),
        json!(null),
        json!("text"),
        json!({"type": null, "sessionContext": 5}),
    ] {
        assert_eq!(actor(nothing), ["", "", "", ""]);
    }
}

#[test]
fn cloudtrail_source_addresses() {
    let source = |address: &str| {
        let row = columns(
            &changed(&assumed_role(), json!({"sourceIPAddress": address})),
            &[],
        );
        let pick = |name: &str| row.get(name).cloned().unwrap_or_default();
        [pick("src_endpoint_ip"), pick("src_endpoint_domain")]
    };
    for (given, address) in [
        ("203.0.113.7", "203.0.113.7"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ] {
        assert_eq!(source(given), [json!(address), json!(null)], "{given}");
    }
    for name in [
        "AWS Internal",
        "ec2.amazonaws.com",
        "256.44.44.11",
        "1.2.3",
        "01.2.3.4",
        "1.2.3.4.5",
        "1.2.3.",
    ] {
        assert_eq!(source(name), [json!(null), json!(name)], "{name}");
    }
    assert_eq!(source(""), [json!(null), json!(null)]);
}

#[test]
fn cloudtrail_console_login() {
    let login = changed(
        &assumed_role(),
        json!({
            "eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin",
            "userIdentity": {"type": "IAMUser", "userName": "ann"}, "errorCode": null,
            "errorMessage": "Failed authentication",
            "additionalEventData": {"LoginTo": "https://x", "MFAUsed": "Yes"},
            "responseElements": {"ConsoleLogin": "Failure"}
        }),
    );
    let row = columns(&login, &[]);
    assert_eq!(row["class_uid"], 3002);
    assert_eq!(row["status"], "failure");
    assert_eq!(row["status_detail"], "Failed authentication");
    assert_eq!(row["actor_session_is_mfa"], true);
    assert!(row.get("status_code").is_none());
    let success = changed(
        &login,
        json!({"responseElements": {"ConsoleLogin": "Success"}, "additionalEventData": {"MFAUsed": "No"}, "errorMessage": ""}),
    );
    let row = columns(&success, &[]);
    assert_eq!(
        (&row["status"], &row["actor_session_is_mfa"]),
        (&json!("success"), &json!(false))
    );
    assert!(row.get("status_detail").is_none());
}

#[test]
fn cloudtrail_resource_name_is_the_most_telling_string() {
    let name = |parameters: Value| {
        let event = changed(&assumed_role(), json!({"requestParameters": parameters}));
        columns(&event, &[])
            .get("resource_name")
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(
        name(json!({"name": "n", "bucketName": "b", "userName": "u"})),
        "b"
    );
    assert_eq!(
        name(json!({"groupId": "sg-1", "ipPermissions": {"items": []}})),
        "sg-1"
    );
    assert_eq!(name(json!({"bucketName": {"odd": 1}, "name": "n"})), "n");
    assert_eq!(name(json!({"nested": {"bucketName": "b"}})), json!(null));
    assert_eq!(name(json!(["bucketName"])), json!(null));
    assert_eq!(name(json!(null)), json!(null));
}

#[test]
fn cloudtrail_wrong_types_and_missing_fields() {
    let event = assumed_role();
    let bad = |changes: Value| letter(FormatChoice::CloudTrail, &changed(&event, changes));
    assert_eq!(bad(json!({"eventTime": 17})).0, "wrong_type");
    assert_eq!(bad(json!({"eventName": {"a": 1}})).0, "wrong_type");
    assert_eq!(bad(json!({"eventSource": null})).0, "wrong_type");
    let (reason, detail) = bad(json!({"eventTime": "2026-02-30T00:00:00Z"}));
    assert_eq!(reason, "bad_time");
    assert!(detail.contains("2026-02-30"), "{detail}");
    let mut without = event.clone();
    without.as_object_mut().unwrap().remove("eventTime");
    assert_eq!(
        letter(FormatChoice::CloudTrail, &without).0,
        "missing_field"
    );
    // Optional members of a wrong type cost only themselves.
    let odd = json!({
        "eventID": 5, "awsRegion": [], "sourceIPAddress": {}, "userAgent": 1.5, "readOnly": "maybe",
        "errorCode": 404, "errorMessage": {}, "requestParameters": "text", "responseElements": [1],
        "resources": {"ARN": "x"}, "recipientAccountId": true, "requestID": true, "userIdentity": [],
        "additionalEventData": 7
    });
    let row = columns(&changed(&event, odd), &["event_uid"]);
    let expected = json!({
        "time": 1_767_323_045_000_000i64, "family": "cloud_audit", "metadata_product_name": "CloudTrail",
        "class_uid": 6003, "cloud_provider": "AWS", "status": "success",
        "api_service_name": "iam.amazonaws.com", "api_operation": "CreateAccessKey",
    });
    assert_eq!(row, expected);
}

#[test]
fn duplicate_keys_the_first_one_stays() {
    let line = br#"{"eventTime":"2026-01-02T03:04:05Z","eventTime":"x","eventSource":"a","eventSource":"signin.amazonaws.com","eventName":"n","eventName":"m","userIdentity":{"arn":"one","arn":"two"},"userIdentity":{"arn":"three"},"eventID":"i","requestParameters":{"name":"p"},"requestParameters":{"bucketName":"q"}}"#;
    let batch = decode_with(DecoderConfig::new("log"), &[line]);
    let row = row(&batch, 0);
    assert_eq!(row["api_operation"], "n");
    assert_eq!(row["class_uid"], 6003);
    assert_eq!(row["actor_user_uid"], "one");
    assert_eq!(row["resource_name"], "p");
}

fn exec() -> Value {
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
        "auditID": "f47c5a1e-0000-4000-8000-000000000001", "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/prod/pods/app-1/exec?command=sh", "verb": "create",
        "user": {"username": "system:serviceaccount:prod:ci", "uid": "1", "groups": ["system:serviceaccounts", "system:authenticated"], "extra": {"a": ["b"]}},
        "impersonatedUser": {"username": "bob", "groups": []},
        "sourceIPs": ["198.51.100.1", "203.0.113.7"], "userAgent": "kubectl/v1.31",
        "objectRef": {"resource": "pods", "namespace": "prod", "name": "app-1", "subresource": "exec", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "status": "Failure", "message": "pods is forbidden", "reason": "Forbidden", "code": 403},
        "requestReceivedTimestamp": "2026-01-02T03:04:05.123456Z", "stageTimestamp": "2026-01-02T03:04:05.200000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"}
    })
}

#[test]
fn k8s_audit_exec() {
    let expected = json!({
        "time": 1_767_323_045_123_456i64, "family": "k8s_audit", "metadata_product_name": "Kubernetes",
        "class_uid": 6003,
        "api_request_uid": "f47c5a1e-0000-4000-8000-000000000001",
        "status": "failure", "status_code": "403", "status_detail": "pods is forbidden",
        "api_service_name": "core", "api_operation": "create",
        "actor_user_uid": "system:serviceaccount:prod:ci", "actor_user_name": "system:serviceaccount:prod:ci",
        "actor_user_type": "ServiceAccount",
        "actor_user_groups": "[\"system:serviceaccounts\",\"system:authenticated\"]",
        "actor_impersonated_user_name": "bob", "src_endpoint_ip": "203.0.113.7",
        "http_request_user_agent": "kubectl/v1.31",
        "http_request_url": "/api/v1/namespaces/prod/pods/app-1/exec?command=sh", "http_response_code": 403,
        "resource_name": "app-1", "resource_type": "pods", "k8s_cluster_name": "prod-1",
        "k8s_namespace_name": "prod", "k8s_subresource": "exec", "k8s_pod_name": "app-1",
    });
    let row = columns(&exec(), &[]);
    let uid = row["event_uid"].as_str().unwrap().split('/');
    let uid: Vec<_> = uid.collect();
    assert_eq!(
        uid[..2],
        ["f47c5a1e-0000-4000-8000-000000000001", "ResponseStarted"]
    );
    assert_eq!(uid[2].len(), 32);
    assert_eq!(columns(&exec(), &["event_uid"]), expected);
}

#[test]
fn k8s_audit_variants() {
    let row = |changes: Value| columns(&changed(&exec(), changes), &[]);
    let old = row(json!({
        "stageTimestamp": null, "requestReceivedTimestamp": null, "stage": null, "kind": null,
        "timestamp": "2018-10-25T13:58:49Z", "metadata": {"creationTimestamp": "2018-10-25T13:58:48Z"}
    }));
    assert_eq!(old["time"], 1_540_475_929_000_000i64);
    let uid = old["event_uid"].as_str().unwrap();
    assert!(uid.starts_with("f47c5a1e-0000-4000-8000-000000000001/"));
    assert_eq!(uid.split('/').count(), 2);
    let older = row(json!({
        "stageTimestamp": null, "requestReceivedTimestamp": null,
        "metadata": {"creationTimestamp": "2018-10-25T13:58:48Z"}
    }));
    assert_eq!(older["time"], 1_540_475_928_000_000i64);
    let users = [
        ("system:anonymous", "Anonymous"),
        ("system:node:n1", "Node"),
        ("system:serviceaccount:a:b", "ServiceAccount"),
        ("ann@example.org", "User"),
    ];
    for (name, kind) in users {
        let row = row(json!({"user": {"username": name}}));
        assert_eq!(
            (&row["actor_user_uid"], &row["actor_user_type"]),
            (&json!(name), &json!(kind))
        );
    }
    let role = row(
        json!({"objectRef": {"apiGroup": "rbac.authorization.k8s.io", "resource": "clusterroles", "name": "r"}}),
    );
    assert_eq!(role["api_service_name"], "rbac.authorization.k8s.io");
    assert!(role.get("k8s_pod_name").is_none());
    let ok = row(json!({"responseStatus": {"metadata": {}, "code": 101}}));
    assert_eq!(
        (&ok["status"], &ok["status_code"]),
        (&json!("success"), &json!("101"))
    );
    let uncoded = row(json!({"responseStatus": {"status": "Failure", "reason": "Timeout"}}));
    assert_eq!(
        (&uncoded["status"], &uncoded["status_detail"]),
        (&json!("failure"), &json!("Timeout"))
    );
    let odd = row(json!({
        "responseStatus": "text", "objectRef": 5, "sourceIPs": "1.2.3.4", "user": [], "annotations": null,
        "impersonatedUser": "x", "requestURI": 1, "userAgent": {}
    }));
    assert_eq!(odd["api_operation"], "create");
    assert!(odd.get("status").is_none() && odd.get("src_endpoint_ip").is_none());
}

#[test]
fn k8s_audit_events_that_cannot_be_rows() {
    let bad = |changes: Value| letter(FormatChoice::K8sAudit, &changed(&exec(), changes));
    assert_eq!(
        bad(json!({"stageTimestamp": "2026-01-02 25:00:00Z"})).0,
        "bad_time"
    );
    let no_time = json!({"stageTimestamp": null, "requestReceivedTimestamp": null});
    assert_eq!(bad(no_time).0, "missing_field");
    assert_eq!(bad(json!({"auditID": 7})).0, "missing_field");
    assert_eq!(bad(json!({"kind": "Pod"})).0, "missing_field");
    assert_eq!(
        letter(FormatChoice::Auto, &json!({"kind": 0})).0,
        "unknown_format"
    );
}

fn shell() -> Value {
    json!({
        "uuid": "c0ffee", "time": "2026-01-02T03:04:05.123456789Z", "rule": "Terminal shell in container",
        "priority": "Notice", "source": "syscall", "hostname": "node1",
        "output": "03:04:05.123456789: Notice A shell was spawned", "tags": ["container", "T1059"],
        "output_fields": {
            "evt.time": 1767323045123456789i64, "container.id": "3fb7", "container.name": "app",
            "container.image.repository": "acme/app", "container.image.tag": "1.2",
            "k8s.ns.name": "prod", "k8s.pod.name": "app-1", "proc.cmdline": "bash -il", "proc.name": "bash",
            "proc.pname": "runc", "proc.aname[3]": "systemd", "user.name": "root", "user.uid": 0,
            "fd.name": "/etc/shadow", "fd.sip": "198.51.100.9", "fd.sport": "443", "fd.rip": "198.51.100.1"
        }
    })
}

#[test]
fn falco_shell() {
    let expected = json!({
        "time": 1_767_323_045_123_456i64, "event_uid": "c0ffee", "family": "agent_alerts",
        "metadata_product_name": "Falco", "class_uid": 2004, "severity_id": 2,
        "actor_user_uid": "0", "actor_user_name": "root", "dst_endpoint_ip": "198.51.100.9", "dst_endpoint_port": 443,
        "k8s_cluster_name": "prod-1", "k8s_namespace_name": "prod", "k8s_pod_name": "app-1",
        "device_hostname": "node1", "container_uid": "3fb7", "container_name": "app",
        "container_image_name": "acme/app:1.2", "process_name": "bash", "process_cmd_line": "bash -il",
        "process_parent_process_name": "runc", "file_path": "/etc/shadow",
        "finding_info_title": "Terminal shell in container",
        "finding_info_desc": "03:04:05.123456789: Notice A shell was spawned",
        "finding_info_tags": "[\"container\",\"T1059\"]",
    });
    assert_eq!(columns(&shell(), &[]), expected);
}

#[test]
fn falco_keys_that_a_forwarder_nested() {
    let mut nested = shell();
    nested["output_fields"] = json!({
        "container": {"id": "3fb7", "name": "app", "image": {"tag": "1.2", "repository": "acme/app"}},
        "k8s": {"ns": {"name": "prod"}, "pod": {"name": "app-1"}},
        "proc": {"cmdline": "bash -il", "name": "bash", "pname": "runc", "aname[3]": "systemd"},
        "user": {"name": "root", "uid": 0}, "fd": {"name": "/etc/shadow", "sip": "198.51.100.9", "sport": 443},
        "evt": {"time": 1767323045123456789i64}
    });
    assert_eq!(columns(&nested, &[]), columns(&shell(), &[]));
    nested["output_fields"] = json!({"a": {"b": {"c": {"d": {"e": {"f": {"user.name": "x"}}}}}}});
    assert!(columns(&nested, &[]).get("actor_user_name").is_none());
}

#[test]
fn falco_variants() {
    let row = |changes: Value| columns(&changed(&shell(), changes), &[]);
    let capital =
        json!({"Rule": "r", "Priority": "CRITICAL", "time": "2026-01-02T03:04:05Z", "output": "o"});
    let capital = columns(&capital, &["event_uid"]);
    let expected = json!({
        "time": 1_767_323_045_000_000i64, "family": "agent_alerts", "metadata_product_name": "Falco",
        "class_uid": 2004, "severity_id": 5, "finding_info_title": "r", "finding_info_desc": "o",
        "k8s_cluster_name": "prod-1",
    });
    assert_eq!(capital, expected);
    let severities = [
        "debug",
        "Informational",
        "notice",
        "Warning",
        "Error",
        "Critical",
        "ALERT",
        "Emergency",
    ];
    let ids = severities.map(|priority| row(json!({"priority": priority}))["severity_id"].clone());
    assert_eq!(ids, [1, 1, 2, 3, 4, 5, 5, 6]);
    assert!(row(json!({"priority": "odd"})).get("severity_id").is_none());
    let nothing = row(json!({"output_fields": {
        "container.name": "<NA>", "proc.name": null, "user.name": "", "fd.name": "10.0.0.1:1->10.0.0.2:443",
        "fd.rip": "8.8.8.8", "fd.rport": "8888", "container.image.repository": "acme/app", "container.image.tag": "<NA>",
        "k8s.ns.name": 5, "fd.sport": "99999999"
    }}));
    for column in [
        "container_name",
        "process_name",
        "actor_user_name",
        "file_path",
        "k8s_namespace_name",
    ] {
        assert!(nothing.get(column).is_none(), "{column}");
    }
    assert_eq!(nothing["dst_endpoint_ip"], "8.8.8.8");
    assert_eq!(nothing["dst_endpoint_port"], 8888);
    assert_eq!(nothing["container_image_name"], "acme/app");
    let audit = row(json!({"source": "k8s_audit", "output_fields": {
        "ka.user.name": "kubernetes-admin", "ka.target.name": "nginx-1", "ka.target.namespace": "hello",
        "ka.target.resource": "pods", "ka.verb": "create"
    }}));
    assert_eq!(audit["actor_user_uid"], "kubernetes-admin");
    assert_eq!(audit["actor_user_name"], "kubernetes-admin");
    assert_eq!(audit["resource_name"], "nginx-1");
    assert_eq!(audit["k8s_namespace_name"], "hello");
    assert_eq!(audit["api_operation"], "create");
}

#[test]
fn falco_alerts_that_cannot_be_rows() {
    let bad = |changes: Value| letter(FormatChoice::Auto, &changed(&shell(), changes));
    assert_eq!(
        bad(json!({"time": "2021-04-13T20:58:00.746609046Z+2"})).0,
        "bad_time"
    );
    assert_eq!(bad(json!({"time": 5})).0, "missing_field");
    assert_eq!(bad(json!({"rule": 5})).0, "wrong_type");
    assert_eq!(bad(json!({"priority": {}})).0, "wrong_type");
}

#[test]
fn canonical_v4_is_what_the_standard_library_writes() {
    for text in [
        "1.2.3.4",
        "10.0.0.255",
        "0.0.0.0",
        "00.0.0.0",
        "1.2.3.256",
        "1..2.3",
        ".1.2.3",
        "1.2.3.4 ",
        "+1.2.3.4",
        "1.2.3.04",
    ] {
        let parsed = text.parse::<std::net::Ipv4Addr>();
        let expected = parsed.is_ok_and(|address| address.to_string() == text);
        assert_eq!(is_canonical_v4(text.as_bytes()), expected, "{text}");
    }
}
