//! One test per trap that the vendors set.

use serde_json::{Value, json};

use super::columns;
use crate::decode::tests::{decode_with, row};
use crate::decode::{DecoderConfig, FormatChoice};

/// Rows of one record, and how many events were left out and how many could not be used.
fn rows(record: &str) -> (Vec<Value>, u64, u64) {
    let batch = decode_with(DecoderConfig::new("log"), &[record.as_bytes()]);
    let rows = (0..batch.events.num_rows())
        .map(|at| row(&batch, at))
        .collect();
    (rows, batch.counts.filtered, batch.counts.dead_lettered)
}

/// The fixture's line, changed at JSON pointers; null takes a member out.
fn fixture(name: &str, line: usize, changes: &[(&str, Value)]) -> Value {
    let path = format!("{}/tests/formats/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut event: Value = serde_json::from_str(text.lines().nth(line).unwrap()).unwrap();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => drop(parent.shift_remove(key)),
            value => drop(parent.insert(key.to_owned(), value.clone())),
        }
    }
    event
}

#[test]
fn guardduty_update_keeps_the_finding_and_is_a_new_event() {
    let first = columns(&fixture("guardduty.ndjson", 0, &[]), &[]);
    let update = fixture(
        "guardduty.ndjson",
        0,
        &[
            ("/updatedAt", json!("2026-01-02T04:00:00Z")),
            ("/service/count", json!(9)),
        ],
    );
    let update = columns(&update, &[]);
    assert_eq!(first["finding_info_uid"], update["finding_info_uid"]);
    assert_ne!(first["event_uid"], update["event_uid"]);
    assert_eq!((&first["count"], &update["count"]), (&json!(3), &json!(9)));
}

#[test]
fn guardduty_capitals_and_small_letters_are_one_format() {
    fn capitals(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let member = |(key, value): (&String, &Value)| {
                    (key[..1].to_uppercase() + &key[1..], capitals(value))
                };
                Value::Object(map.iter().map(member).collect())
            }
            Value::Array(items) => items.iter().map(capitals).collect(),
            other => other.clone(),
        }
    }
    let small = fixture("guardduty.ndjson", 0, &[]);
    assert_eq!(columns(&small, &[]), columns(&capitals(&small), &[]));
}

#[test]
fn guardduty_additional_info_changes_its_type() {
    let expected = columns(&fixture("guardduty.ndjson", 0, &[]), &[]);
    for unusual in [json!({"a": 1}), json!("text"), json!(5), json!([1])] {
        let event = fixture(
            "guardduty.ndjson",
            0,
            &[("/service/additionalInfo/unusual", unusual)],
        );
        assert_eq!(columns(&event, &[]), expected);
    }
}

#[test]
fn guardduty_severity_bands() {
    for (severity, id) in [
        (0.1, 2),
        (3.9, 2),
        (4.0, 3),
        (6.9, 3),
        (7.0, 4),
        (8.9, 4),
        (9.0, 5),
    ] {
        let event = fixture("guardduty.ndjson", 0, &[("/severity", json!(severity))]);
        assert_eq!(columns(&event, &[])["severity_id"], id, "{severity}");
    }
}

#[test]
fn gcp_success_is_an_absent_or_empty_status() {
    let status = |status: Value| {
        let event = fixture("gcp_audit.ndjson", 0, &[("/protoPayload/status", status)]);
        columns(&event, &[])["status"].clone()
    };
    assert_eq!(status(json!(null)), "success");
    assert_eq!(status(json!({})), "success");
    assert_eq!(status(json!({"code": 7})), "failure");
    assert_eq!(status(json!({"code": "7"})), "failure");
}

#[test]
fn gcp_caller_that_is_no_address() {
    for word in ["private", "gce-internal-ip"] {
        let change = [("/protoPayload/requestMetadata/callerIp", json!(word))];
        let row = columns(&fixture("gcp_audit.ndjson", 0, &change), &[]);
        assert_eq!(row["src_endpoint_domain"], word);
        assert!(row.get("src_endpoint_ip").is_none());
    }
}

#[test]
fn gcp_repeated_export_has_one_id_and_split_parts_have_their_own() {
    let uid = |changes: &[(&str, Value)]| {
        columns(&fixture("gcp_audit.ndjson", 0, changes), &[])["event_uid"].clone()
    };
    let later = [("/receiveTimestamp", json!("2026-01-02T04:00:00Z"))];
    assert_eq!(uid(&[]), uid(&later));
    let part = |index: i64| {
        uid(&[(
            "/split",
            json!({"uid": "s", "index": index, "totalSplits": 2}),
        )])
    };
    assert_ne!(part(0), part(1));
}

#[test]
fn gcp_long_call_is_told_twice() {
    let activity = |operation: Value| {
        let event = fixture("gcp_audit.ndjson", 3, &[("/operation", operation)]);
        columns(&event, &[]).get("activity_name").cloned()
    };
    assert_eq!(
        activity(json!({"id": "o", "first": true})),
        Some(json!("start"))
    );
    assert_eq!(
        activity(json!({"id": "o", "last": true})),
        Some(json!("end"))
    );
    assert_eq!(
        activity(json!({"id": "o", "first": true, "last": true})),
        None
    );
}

#[test]
fn gcp_project_from_the_name_of_the_log() {
    let event = fixture("gcp_audit.ndjson", 0, &[("/resource/labels", json!({}))]);
    assert_eq!(columns(&event, &[])["cloud_account_uid"], "p-1");
}

#[test]
fn gcp_response_status_may_be_text_or_object() {
    let expected = columns(&fixture("gcp_audit.ndjson", 0, &[]), &[]);
    for status in [json!("done"), json!({"phase": "x"})] {
        let event = fixture(
            "gcp_audit.ndjson",
            0,
            &[("/protoPayload/response", json!({"status": status}))],
        );
        assert_eq!(columns(&event, &[]), expected);
    }
}

#[test]
fn gcp_entry_that_is_no_audit_log_is_refused() {
    let entry = json!({"logName": "projects/p/logs/app", "timestamp": "2026-01-02T03:04:05Z", "textPayload": "hello"});
    assert_eq!(rows(&entry.to_string()), (vec![], 0, 1));
}

#[test]
fn azure_case_of_names_does_not_matter() {
    let (upper, ..) = rows(&fixture("azure_activity.ndjson", 0, &[]).to_string());
    let mut event = fixture("azure_activity.ndjson", 0, &[]);
    let first = &mut event["records"][0];
    for key in ["resourceId", "operationName"] {
        first[key] = json!(first[key].as_str().unwrap().to_lowercase());
    }
    let (mut lower, ..) = rows(&event.to_string());
    // The event has no id of its own, so its text makes one.
    lower[0]["event_uid"] = upper[0]["event_uid"].clone();
    assert_eq!(upper[0], lower[0]);
    assert_eq!(upper[0]["api_operation"], "microsoft.keyvault/vaults/write");
}

#[test]
fn azure_start_and_end_share_a_correlation_id() {
    let (rows, ..) = rows(&fixture("azure_activity.ndjson", 0, &[]).to_string());
    assert_eq!(
        rows[0]["metadata_correlation_uid"],
        rows[1]["metadata_correlation_uid"]
    );
    assert_eq!(rows[0]["status"], "success");
    assert!(rows[1].get("status").is_none(), "a start has not ended");
    assert_eq!(rows[1]["activity_name"], "start");
    assert_ne!(rows[0]["event_uid"], rows[1]["event_uid"]);
}

#[test]
fn azure_duration_is_a_number_or_text() {
    let (rows, ..) = rows(&fixture("azure_activity.ndjson", 0, &[]).to_string());
    assert_eq!(
        (&rows[0]["duration"], &rows[1]["duration"]),
        (&json!(12), &json!(0))
    );
}

#[test]
fn azure_claims_are_keyed_by_whole_addresses() {
    let (rows, ..) = rows(&fixture("azure_activity.ndjson", 0, &[]).to_string());
    assert_eq!(rows[0]["actor_user_uid"], "o1");
    assert_eq!(rows[0]["actor_user_name"], "ann@example.org");
    assert_eq!(rows[0]["actor_session_is_mfa"], true);
}

#[test]
fn azure_operation_is_text_or_an_object() {
    let (rows, ..) = rows(&fixture("azure_activity.ndjson", 1, &[]).to_string());
    assert_eq!(
        rows[0]["api_operation"],
        "microsoft.storage/storageaccounts/listkeys/action"
    );
    assert_eq!(rows[0]["resource_name"], "store1");
    assert_eq!(rows[0]["event_uid"], "e2");
}

#[test]
fn azure_kubernetes_audit_is_told_from_activity_and_log_lines_are_left_out() {
    let audit = json!({"kind": "Event", "auditID": "a", "stage": "ResponseComplete", "verb": "get",
        "stageTimestamp": "2026-01-02T03:04:05Z"});
    let record = |log: Value| json!({"time": "2026-01-02T03:04:05Z", "resourceId": "/SUBSCRIPTIONS/S1", "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read", "category": "kube-audit", "properties": {"log": log}});
    let event = json!({"records": [record(json!(audit.to_string())), record(json!("I0102 03:04:05 1 main.go:1] started"))]});
    let (rows, filtered, letters) = rows(&event.to_string());
    assert_eq!((rows.len(), filtered, letters), (1, 1, 0));
    assert_eq!(rows[0]["family"], "k8s_audit");
}

#[test]
fn entra_result_type_zero_is_success() {
    let row = columns(
        &fixture("entra_id.ndjson", 0, &[("/resultType", json!("0"))]),
        &[],
    );
    assert_eq!(row["status"], "success");
}

#[test]
fn events_in_base64_and_compressed() {
    use base64::Engine;
    use std::io::Write;
    let event = fixture("gcp_audit.ndjson", 0, &[]).to_string();
    let expected = rows(&event).0;
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(event.as_bytes()).unwrap();
    let compressed = gzip.finish().unwrap();
    for bytes in [event.as_bytes(), &compressed] {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        let push = json!({"message": {"data": data, "messageId": "1"}, "subscription": "s"});
        assert_eq!(rows(&push.to_string()).0, expected);
        let pull = json!({"receivedMessages": [{"ackId": "1", "message": {"data": data}}]});
        assert_eq!(rows(&pull.to_string()).0, expected);
    }
    let batch = decode_with(DecoderConfig::new("log"), &[&compressed]);
    assert_eq!(row(&batch, 0), expected[0]);
    let cut = decode_with(DecoderConfig::new("log"), &[&compressed[..40]]);
    assert_eq!(cut.dead_letters[0].reason, "invalid_gzip");
}

#[test]
fn cloudtrail_through_notification_and_queue() {
    let event = json!({"eventTime": "2026-01-02T03:04:05Z", "eventSource": "iam.amazonaws.com", "eventName": "ListUsers", "eventID": "a"});
    let notification = json!({"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:x", "Message": event.to_string()});
    let queue = json!({"Records": [{"messageId": "q", "body": notification.to_string(), "eventSource": "aws:sqs"}]});
    for record in [&notification, &queue] {
        let (rows, _, letters) = rows(&record.to_string());
        assert_eq!((rows[0]["event_uid"].clone(), letters), (json!("a"), 0));
    }
}

#[test]
fn defender_references_lead_to_their_entities_and_the_first_of_an_id_counts() {
    let row = columns(&fixture("defender.ndjson", 0, &[]), &[]);
    assert_eq!(row["actor_user_name"], "bob");
    assert_eq!(row["device_hostname"], "vm1");
    assert_eq!(row["process_pid"], 31);
    let status = fixture("defender.ndjson", 0, &[("/Status", json!("Dismissed"))]);
    let status = columns(&status, &[]);
    assert_eq!(row["finding_info_uid"], status["finding_info_uid"]);
    assert_ne!(row["event_uid"], status["event_uid"]);
}

#[test]
fn defender_shares_its_hub_with_what_is_no_alert() {
    let assessment = json!({"type": "Microsoft.Security/assessments", "id": "x", "properties": {"status": {}}, "securityEventDataEnrichment": {}});
    assert_eq!(rows(&assessment.to_string()).2, 1);
}

#[test]
fn defender_references_in_circles_end() {
    let entities = json!([{"$id": "1", "Type": "account", "Name": "a", "Host": {"$ref": "2"}}, {"$id": "2", "$ref": "1"}, {"$ref": "9"}, 5, null]);
    let row = columns(
        &fixture("defender.ndjson", 0, &[("/Entities", entities)]),
        &[],
    );
    assert_eq!(row["actor_user_name"], "a");
}

#[test]
fn okta_json_in_a_string_and_zone_null() {
    let row = columns(&fixture("okta.ndjson", 0, &[]), &[]);
    assert_eq!(row["risk_level"], "low");
    assert_eq!(row["class_uid"], 3002);
    assert!(!row.to_string().contains("\"null\""));
}

#[test]
fn okta_targets_are_things_of_any_type() {
    let (rows, ..) = rows(&fixture("okta.ndjson", 1, &[]).to_string());
    assert_eq!(
        (&rows[0]["user_uid"], &rows[0]["risk_level"]),
        (&json!("00g1"), &json!("high"))
    );
    for target in [
        json!(null),
        json!([]),
        json!({}),
        json!(["x", 5]),
        json!("text"),
    ] {
        let event = fixture("okta.ndjson", 0, &[("/target", target)]);
        assert!(columns(&event, &[]).get("user_uid").is_none());
    }
}

#[test]
fn github_repository_under_either_name_and_epoch_in_milliseconds() {
    let row = columns(&fixture("github.ndjson", 0, &[]), &[]);
    assert_eq!(
        (&row["resource_name"], &row["time"]),
        (&json!("acme/app"), &json!(1_767_323_045_123_000i64))
    );
    let (rows, ..) = rows(&fixture("github.ndjson", 1, &[]).to_string());
    assert_eq!(rows[1]["resource_name"], "acme/old");
}

#[test]
fn flow_logs_are_read_by_header_never_by_position() {
    let text = "end start interface-id srcaddr log-status action\n1767322860 1767322800 eni-1 10.0.0.5 OK REJECT";
    let lines: Vec<_> = text.lines().map(str::as_bytes).collect();
    let batch = decode_with(DecoderConfig::new("log"), &lines);
    let first = row(&batch, 0);
    assert_eq!(
        (&first["src_endpoint_ip"], &first["action"]),
        (&json!("10.0.0.5"), &json!("denied"))
    );
    assert_eq!(batch.counts.filtered, 1);
    let config = DecoderConfig {
        columns: Some("start end interface-id dstaddr".into()),
        ..DecoderConfig::new("log")
    };
    let batch = decode_with(config, &[b"1767322800 1767322860 eni-1 203.0.113.7"]);
    assert_eq!(row(&batch, 0)["dst_endpoint_ip"], "203.0.113.7");
}

#[test]
fn flow_logs_without_data_are_left_out_and_gaps_are_kept() {
    let line = |status: &str| format!("2 1 eni-1 - - - - - - - 1767322800 1767322860 - {status}");
    assert_eq!(rows(&line("NODATA")), (vec![], 1, 0));
    let (gap, filtered, letters) = rows(&line("SKIPDATA"));
    assert_eq!(
        (&gap[0]["activity_name"], filtered, letters),
        (&json!("SKIPDATA"), 0, 0)
    );
}

#[test]
fn envoy_nothing_is_null_or_a_dash_and_addresses_have_ports() {
    let row = columns(&fixture("envoy-json.ndjson", 0, &[]), &[]);
    assert_eq!(
        (&row["src_endpoint_ip"], &row["src_endpoint_port"]),
        (&json!("2001:db8::1"), &json!(5000))
    );
    assert_eq!(row["dst_endpoint_ip"], "10.0.0.1");
    assert_eq!(row["action"], "denied");
    assert!(row.get("resource_name").is_none() && row.get("activity_name").is_none());
}

#[test]
fn envoy_messages_are_no_access_lines() {
    let message =
        "[2026-01-02 03:04:05.490][1][warning][runtime] [source/x.cc:31] Unable to use it";
    assert_eq!(rows(message), (vec![], 0, 1));
}

#[test]
fn gatekeeper_tells_a_violation_again_in_each_run() {
    let row = columns(&fixture("gatekeeper.ndjson", 0, &[]), &[]);
    let next = columns(
        &fixture(
            "gatekeeper.ndjson",
            0,
            &[("/audit_id", json!("2026-01-02T03:05:05Z"))],
        ),
        &[],
    );
    assert_eq!(row["finding_info_uid"], next["finding_info_uid"]);
    assert_ne!(row["event_uid"], next["event_uid"]);
}

#[test]
fn gatekeeper_lines_not_meant_to_be_read_are_left_out() {
    let event = fixture("gatekeeper.ndjson", 0, &[("/semantic", json!(false))]);
    assert_eq!(rows(&event.to_string()), (vec![], 1, 0));
    let (rows, ..) = rows(&fixture("gatekeeper.ndjson", 3, &[]).to_string());
    assert_eq!(
        (&rows[0]["policy_name"], &rows[0]["resource_name"]),
        (&json!("must-have-owner"), &json!("prod"))
    );
}

#[test]
fn prisma_status_change_is_an_update_of_the_same_alert() {
    let open = columns(&fixture("prisma_cloud.ndjson", 0, &[]), &[]);
    let changes = [
        ("/status", json!("resolved")),
        ("/lastUpdated", json!(1_767_324_000_000i64)),
    ];
    let resolved = columns(&fixture("prisma_cloud.ndjson", 0, &changes), &[]);
    assert_eq!(open["finding_info_uid"], resolved["finding_info_uid"]);
    assert_ne!(open["event_uid"], resolved["event_uid"]);
    assert_eq!(resolved["finding_info_status"], "resolved");
}

#[test]
fn trivy_findings_keep_their_id_from_scan_to_scan() {
    let (first, ..) = rows(&fixture("trivy.ndjson", 0, &[]).to_string());
    let later = fixture(
        "trivy.ndjson",
        0,
        &[("/CreatedAt", json!("2026-01-03T03:04:05Z"))],
    );
    let (later, ..) = rows(&later.to_string());
    assert_eq!((first.len(), later.len()), (4, 4));
    for (one, other) in first.iter().zip(&later) {
        assert_eq!(one["finding_info_uid"], other["finding_info_uid"]);
        assert_ne!(one["event_uid"], other["event_uid"]);
    }
}

#[test]
fn trivy_report_without_findings_is_left_out() {
    for results in [
        json!(null),
        json!([]),
        json!([{"Target": "x"}]),
        json!([{"Vulnerabilities": null}]),
    ] {
        let event = fixture("trivy.ndjson", 0, &[("/Results", results)]);
        assert_eq!(rows(&event.to_string()), (vec![], 1, 0));
    }
}

#[test]
fn names_of_formats_are_known() {
    for name in FormatChoice::names() {
        assert!(FormatChoice::named(name).is_some(), "{name}");
    }
    assert_eq!(FormatChoice::named("syslog"), None);
}

fn text_rows(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/formats/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().flat_map(|line| rows(line).0).collect()
}

#[test]
fn azure_flows_what_is_sent_is_sent_by_the_side_that_opened_the_flow() {
    let flows = text_rows("azure_flow.ndjson");
    let pick = |row: &Value, columns: &[&str]| -> Vec<Value> {
        columns.iter().map(|column| row[*column].clone()).collect()
    };
    let bytes = [
        "traffic_bytes_in",
        "traffic_bytes_out",
        "traffic_bytes",
        "action",
    ];
    assert_eq!(
        pick(&flows[0], &bytes),
        [json!(1200), json!(9000), json!(10_200), json!("allowed")]
    );
    assert_eq!(
        pick(&flows[4], &bytes),
        [json!(1580), json!(767), json!(2347), json!("allowed")]
    );
    // Seconds in the older form, milliseconds in the newer one; a denied flow is told by decision or by state.
    let denied = ["time", "action", "connection_info_protocol_num"];
    assert_eq!(
        pick(&flows[1], &denied),
        [json!(1_767_323_046_000_000i64), json!("denied"), json!(6)]
    );
    assert_eq!(
        pick(&flows[5], &denied),
        [json!(1_767_323_045_637_000i64), json!("denied"), json!(6)]
    );
    assert_eq!(flows[1]["policy_name"], "UserRule_allow-https");
    assert_ne!(flows[3]["event_uid"], flows[4]["event_uid"]);
    let (none, filtered, letters) = rows(
        &json!({"category": "FlowLogFlowEvent", "flowRecords": {"flows": [{"flowGroups": [{"rule": "r", "flowTuples": [7, {}, "x,y"]}]}]}})
            .to_string(),
    );
    assert_eq!(
        (none.len(), filtered, letters),
        (0, 0, 3),
        "what is no flow is a dead letter"
    );
}

#[test]
fn google_flows_are_reported_by_one_end() {
    let flows = text_rows("gcp_flow.ndjson");
    let ends: Vec<_> = flows
        .iter()
        .map(|row| {
            [
                &row["device_hostname"],
                &row["connection_info_direction"],
                &row["action"],
            ]
        })
        .collect();
    assert_eq!(ends[0], [&json!("web-1"), &json!("egress"), &json!(null)]);
    assert_eq!(
        ends[1],
        [&json!("gke-node-1"), &json!("ingress"), &json!(null)]
    );
    assert_eq!(
        ends[2],
        [&json!("win-1"), &json!("ingress"), &json!("denied")]
    );
    assert_eq!(flows[1]["k8s_pod_name"], "shop-1");
    assert_eq!(flows[3]["connection_info_protocol_name"], "udp");
}

#[test]
fn ztunnel_goes_where_the_tunnel_leads_not_to_the_tunnel() {
    let lines = text_rows("ztunnel.log");
    let target = |row: &Value| {
        [
            "dst_endpoint_ip",
            "dst_endpoint_domain",
            "dst_endpoint_port",
        ]
        .map(|column| row[column].clone())
    };
    assert_eq!(
        target(&lines[0]),
        [json!("10.129.0.43"), json!(null), json!(9080)]
    );
    assert_eq!(
        target(&lines[2]),
        [json!(null), json!("db.vm.svc.cluster.local"), json!(3306)]
    );
    assert_eq!(lines[0]["duration"], 2);
    assert_eq!(lines[0]["activity_name"], "connection complete");
    assert_eq!(
        (&lines[1]["status"], &lines[1]["action"]),
        (&json!("failure"), &json!("denied"))
    );
    assert_eq!(lines[2]["src_endpoint_ip"], "2001:db8::5");
    for no_line in [
        "2026-01-02T03:04:05Z info access",
        "2026-01-02T03:04:05Z info access = == a=\"",
        "",
        "a b access c d",
    ] {
        assert_eq!(rows(no_line).2, 1, "{no_line}");
    }
}

#[test]
fn a_row_of_sentinel_is_of_the_product_that_found_it() {
    let alerts = text_rows("defender-sentinel.ndjson");
    assert_eq!(alerts[0]["metadata_product_name"], "Microsoft Sentinel");
    assert_eq!(alerts[0]["src_endpoint_ip"], "198.51.100.9");
    assert_eq!(alerts[0]["actor_user_uid"], "26be570a");
    assert_eq!(alerts[1]["metadata_product_name"], "Defender XDR");
    let graph = text_rows("defender-graph.ndjson");
    assert_eq!(graph[0]["finding_info_uid"], graph[1]["finding_info_uid"]);
    assert_ne!(graph[0]["event_uid"], graph[1]["event_uid"]);
}

#[test]
fn what_syslog_puts_before_json_is_not_the_event() {
    let entries = text_rows("github-syslog.log");
    let operations: Vec<_> = entries.iter().map(|row| &row["api_operation"]).collect();
    assert_eq!(
        operations,
        ["repo.create", "repo.destroy", "org.add_member"]
    );
    for no_json in [
        "<13>Jan  2 03:04:05 host sshd[1]: Accepted publickey for bob",
        "Jan  2 03:04:05 host app: odd {",
        "<13>Jan  2 03:04:05 host app said {\"action\":\"x\"}",
    ] {
        assert_eq!(rows(no_json).2, 1, "{no_json}");
    }
}

#[test]
fn a_trivy_report_of_a_cluster_needs_a_time() {
    let found = text_rows("trivy-cluster.ndjson");
    let uids: Vec<_> = found.iter().map(|row| &row["finding_info_uid"]).collect();
    assert_eq!(uids[0], uids[2], "the same finding in the next scan");
    assert_eq!(found.len(), 3);
    assert_eq!(found[1]["resource_name"], "web");
}

#[test]
fn lists_of_packages_are_refused_by_name_and_those_with_vulnerabilities_read() {
    let spdx = json!({"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "web", "packages": [], "creationInfo": {"created": "2026-01-02T03:04:05Z"}});
    let batch = decode_with(DecoderConfig::new("log"), &[spdx.to_string().as_bytes()]);
    let letter = &batch.dead_letters[0];
    assert_eq!(letter.reason, "unknown_format");
    assert!(letter.detail.contains("SPDX"), "{}", letter.detail);
    let found = text_rows("trivy-sbom.ndjson");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["severity_id"], 4);
    assert_eq!(found[0]["finding_info_status"], "open");
    assert_eq!(found[1]["finding_info_status"], "not_affected");
    assert_eq!(found[0]["metadata_product_name"], "Trivy");
}

#[test]
fn azure_times_without_a_zone_are_utc_and_others_are_not_guessed_at() {
    let record = |time: &str| {
        json!({"time": time, "resourceId": "/subscriptions/s1", "operationName": "a/b/write", "category": "Administrative"}).to_string()
    };
    for time in [
        "10/14/2026 09:00:00",
        "10/14/2026 9:00:00 AM",
        "10/14/2026 9:00:00 AM +00:00",
        "2026-10-14T09:00:00",
        "2026-10-14T09:00:00.0000000Z",
        "2026-10-14T11:00:00+02:00",
    ] {
        let (found, ..) = rows(&record(time));
        assert_eq!(found[0]["time"], 1_791_968_400_000_000i64, "{time}");
    }
    for time in [
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59.9999999Z",
        "14.10.2026 09:00",
    ] {
        let batch = decode_with(DecoderConfig::new("log"), &[record(time).as_bytes()]);
        assert_eq!(batch.dead_letters[0].reason, "bad_time", "{time}");
        assert!(batch.dead_letters[0].detail.contains(time));
    }
    let okta = fixture(
        "okta.ndjson",
        0,
        &[("/published", json!("2026-10-14T09:00:00"))],
    );
    let batch = decode_with(DecoderConfig::new("log"), &[okta.to_string().as_bytes()]);
    assert_eq!(batch.dead_letters[0].reason, "bad_time");
}
