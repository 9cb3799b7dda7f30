//! How it ended and who did it, source by source: the tables under "Outcomes" and "Who did it" of docs/schema.md.

use serde_json::{Value, json};

use crate::decode::DecoderConfig;
use crate::decode::tests::{decode_with, row};

/// The rows of one record.
fn rows(record: &Value) -> Vec<Value> {
    let batch = decode_with(DecoderConfig::new("log"), &[record.to_string().as_bytes()]);
    assert_eq!(batch.dead_letters, [], "{record}");
    (0..batch.events.num_rows())
        .map(|at| row(&batch, at))
        .collect()
}

/// The rows of a fixture.
fn fixture(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/formats/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    records.flat_map(|record: Value| rows(&record)).collect()
}

/// Some columns of each row, null where they are.
fn pick(rows: &[Value], columns: &[&str]) -> Vec<Value> {
    let one = |row: &Value| columns.iter().map(|column| row[*column].clone()).collect();
    rows.iter().map(one).collect()
}

const ANN: &str = "11111111-0000-4000-8000-00000000000a";

#[test]
fn azure_resource_logs() {
    let rows = fixture("azure_activity-resources.ndjson");
    let who = ["actor_user_uid", "actor_user_name", "actor_app_uid"];
    assert_eq!(
        pick(&rows, &who),
        [
            json!([ANN, "ann@example.org", "a1"]),
            json!([ANN, "a1", "a1"]),
            json!([null, null, null]),
            json!(["b2", null, "a2"]),
            json!([ANN, "ann@example.org", "a1"]),
            json!([null, null, null]),
            json!(["ann@example.org", "ann@example.org", null]),
            json!(["ann@example.org", "Ann", null]),
            json!([null, null, null]),
            json!(["robot", "Robot", null]),
            json!(["7", null, null]),
            json!(["a7", "a7", "a7"]),
            json!(["11111111-0000-4000-8000-000000000008", null, null]),
            json!([null, null, null]),
        ]
    );
    let how = ["status", "http_response_code", "status_code"];
    assert_eq!(
        pick(&rows, &how),
        [
            json!(["success", 200, "OK"]),
            json!(["failure", 403, "Forbidden"]),
            json!(["failure", 401, "Unauthorized"]),
            json!(["success", 200, "OK"]),
            json!(["failure", 403, "AuthorizationPermissionMismatch"]),
            json!(["success", 206, "SASSuccess"]),
            json!(["failure", null, null]),
            json!([null, null, null]),
            json!(["failure", 500, null]),
            json!(["failure", 401, null]),
            json!(["success", 200, null]),
            json!(["failure", 409, "Conflict"]),
            json!([null, 201, "Created"]),
            json!([null, null, null]),
        ]
    );
    let storage = &rows[4];
    assert_eq!(storage["src_endpoint_ip"], "203.0.113.7");
    assert_eq!(storage["src_endpoint_port"], 50_123);
    assert_eq!(
        storage["http_request_url"],
        "https://st1.blob.example.net/c/x"
    );
    assert_eq!(rows[13]["time"], 1_767_323_045_000_000i64);
}

#[test]
fn azure_words_and_codes() {
    let status = |changes: Value| {
        let mut record = json!({"time": "2026-01-02T03:04:05Z", "resourceId": "/subscriptions/s1", "operationName": "a/b/write", "category": "Administrative"});
        for (key, value) in changes.as_object().unwrap() {
            record[key] = value.clone();
        }
        rows(&record)[0].get("status").cloned()
    };
    let (success, failure) = (Some(json!("success")), Some(json!("failure")));
    for word in ["Success", "Succeeded", "0", "200", "succeeded"] {
        assert_eq!(status(json!({"resultType": word})), success, "{word}");
    }
    for word in [
        "Failure",
        "Failed",
        "Error",
        "ClientError",
        "50126",
        "403",
        "NotFound",
    ] {
        assert_eq!(status(json!({"resultType": word})), failure, "{word}");
    }
    for word in [
        "Start",
        "Started",
        "Accept",
        "InProgress",
        "None",
        "Whatever",
        "",
        "101",
    ] {
        assert_eq!(status(json!({"resultType": word})), None, "{word}");
    }
    for (signature, outcome) in [
        ("Succeeded.OK", &success),
        ("Failed.", &failure),
        ("Started.", &None),
        ("Forbidden", &failure),
        ("200", &success),
        ("403", &failure),
    ] {
        let found = status(json!({"resultSignature": signature}));
        assert_eq!(found, *outcome, "{signature}");
    }
    for code in [json!(403), json!("403"), json!(403.0)] {
        let said = json!({"resultType": "Success", "properties": {"httpStatusCode": code}});
        assert_eq!(status(said), failure);
    }
    let started = json!({"resultType": "Start", "properties": {"statusCode": "OK"}});
    assert_eq!(status(started), None);
    assert_eq!(status(json!({})), None);
}

#[test]
fn entra_categories() {
    let rows = fixture("entra_id-categories.ndjson");
    let who = ["actor_user_uid", "actor_user_name"];
    assert_eq!(
        pick(&rows, &who),
        [
            json!([ANN, "ann@example.org"]),
            json!([ANN, "ann@example.org"]),
            json!(["22222222-0000-4000-8000-000000000002", "ci"]),
            json!(["22222222-0000-4000-8000-000000000002", "ci"]),
            json!(["22222222-0000-4000-8000-000000000002", "ci"]),
            json!(["33333333-0000-4000-8000-000000000003", "Office"]),
            json!(["ann@example.org", "ann@example.org"]),
            json!([ANN, "ann@example.org"]),
            json!([ANN, null]),
            json!([
                "44444444-0000-4000-8000-000000000004",
                "Azure AD Provisioning Service"
            ]),
            json!(["sp9", "Shop"]),
            json!([ANN, null]),
            json!(["22222222-0000-4000-8000-000000000002", null]),
        ]
    );
    let how = ["status", "family", "class_uid"];
    assert_eq!(
        pick(&rows, &how),
        [
            json!([null, "identity", 2004]),
            json!([null, "identity", 2004]),
            json!([null, "identity", 2004]),
            json!([null, "identity", 2004]),
            json!(["success", "identity", 3002]),
            json!(["failure", "identity", 3002]),
            json!(["success", "identity", 3002]),
            json!(["interrupted", "identity", 3002]),
            json!(["failure", "identity", 3002]),
            json!(["failure", "identity", 3001]),
            json!([null, "identity", 3001]),
            json!(["failure", "cloud_audit", 6003]),
            json!(["success", "cloud_audit", 6003]),
        ]
    );
    assert_eq!(rows[0]["risk_level"], "high");
    assert_eq!(rows[0]["time"], 1_767_323_045_000_000i64);
    assert_eq!(rows[11]["http_response_code"], 403);
}

#[test]
fn entra_interrupts_are_neither_success_nor_failure() {
    let status = |code: Value| {
        let record = json!({"time": "2026-01-02T03:04:05Z", "category": "SignInLogs", "resultType": code, "properties": {"id": "s"}});
        rows(&record)[0].get("status").cloned().unwrap_or_default()
    };
    for code in crate::format::entra::INTERRUPTS {
        assert_eq!(status(json!(code)), "interrupted", "{code}");
        assert_eq!(status(json!(code.to_string())), "interrupted", "{code}");
        assert_eq!(status(json!(*code as f64)), "interrupted", "{code}");
    }
    for (code, expected) in [
        (json!(0), json!("success")),
        (json!("0"), json!("success")),
        (json!(0.0), json!("success")),
        (json!("0.0"), json!("success")),
        (json!(50126), json!("failure")),
        (json!(500121), json!("failure")),
        (json!("odd"), json!(null)),
        (json!(null), json!(null)),
    ] {
        assert_eq!(status(code.clone()), expected, "{code}");
    }
}

#[test]
fn rows_of_log_analytics_are_the_native_events() {
    let rows = fixture("entra_id-rows.ndjson");
    let columns = [
        "family",
        "actor_user_uid",
        "status",
        "metadata_product_name",
    ];
    assert_eq!(
        pick(&rows, &columns),
        [
            json!(["identity", ANN, "failure", "Entra ID"]),
            json!([
                "identity",
                "22222222-0000-4000-8000-000000000002",
                "success",
                "Entra ID"
            ]),
            json!(["identity", "ann@example.org", "interrupted", "Entra ID"]),
            json!(["identity", ANN, "success", "Entra ID"]),
            json!(["identity", ANN, null, "Entra ID"]),
            json!(["cloud_audit", ANN, "success", "Microsoft Graph"]),
        ]
    );
    assert_eq!(rows[0]["src_endpoint_location_city"], "Berlin");
    assert_eq!(rows[0]["device_hostname"], "pc1");
    assert_eq!(rows[3]["user_name"], "bob@example.org");
    assert_eq!(rows[3]["http_request_user_agent"], "PowerShell/7");
    let rows = fixture("azure_activity-rows.ndjson");
    let columns = [
        "actor_user_uid",
        "actor_user_name",
        "status",
        "http_response_code",
    ];
    assert_eq!(
        pick(&rows, &columns),
        [
            json!([ANN, "ann@example.org", "failure", 403]),
            json!([
                "22222222-0000-4000-8000-000000000002",
                "22222222-0000-4000-8000-000000000002",
                null,
                null
            ]),
            json!([ANN, "ann@example.org", "failure", 403]),
            json!([ANN, "ann@example.org", "success", 200]),
        ]
    );
}

#[test]
fn tables_of_advanced_hunting() {
    let batch = |name: &str| fixture(name);
    let rows = batch("defender-hunting.ndjson");
    let columns = [
        "family",
        "class_uid",
        "actor_user_uid",
        "process_name",
        "status",
    ];
    assert_eq!(
        pick(&rows, &columns),
        [
            json!(["agent_alerts", 1007, ANN, "powershell.exe", null]),
            json!(["agent_alerts", 4001, "root", "nc", "failure"]),
            json!(["agent_alerts", 1001, "s-1-5-18", "curl.exe", null]),
            json!(["agent_alerts", 3002, "admin", null, "failure"]),
            json!(["agent_alerts", 2004, null, null, null]),
            json!(["identity", 3002, "ann@example.org", null, "failure"]),
            json!(["cloud_audit", 6003, ANN, null, null]),
            json!(["agent_alerts", 1007, "root", "sh", null]),
        ],
        "an inventory is left out"
    );
    assert_eq!(
        rows[0]["process_file_path"],
        "C:\\Windows\\System32\\powershell.exe"
    );
    assert_eq!(rows[0]["process_parent_process_name"], "winword.exe");
    assert_eq!(rows[1]["dst_endpoint_ip"], "198.51.100.9");
    assert_eq!(rows[1]["process_file_path"], "/usr/bin/nc");
    assert_eq!(rows[2]["file_path"], "C:\\Temp\\x.exe");
    assert_eq!(rows[3]["src_endpoint_ip"], "203.0.113.7");
    assert_eq!(rows[4]["finding_info_title"], "Odd process");
    let incidents = batch("defender-incident.ndjson");
    assert_eq!(
        incidents[0]["finding_info_uid"],
        incidents[1]["finding_info_uid"]
    );
    assert_ne!(incidents[0]["event_uid"], incidents[1]["event_uid"]);
}

#[test]
fn findings_have_no_outcome_but_checks_do() {
    let rows = fixture("guardduty-sequence.ndjson");
    let columns = ["metadata_product_name", "family", "class_uid", "status"];
    assert_eq!(
        pick(&rows, &columns),
        [
            json!(["GuardDuty", "agent_alerts", 2004, null]),
            json!(["Inspector", "posture", 2002, null]),
            json!(["Macie", "agent_alerts", 2004, null]),
            json!(["Config", "posture", 2003, null]),
            json!(["Prisma Cloud Enterprise", "agent_alerts", 2004, null]),
        ]
    );
    let sequence = &rows[0];
    assert_eq!(sequence["actor_user_uid"], "AIDAEXAMPLE");
    assert_eq!(sequence["actor_user_name"], "ann");
    assert_eq!(sequence["actor_session_is_mfa"], false);
    assert_eq!(sequence["src_endpoint_ip"], "203.0.113.7");
    let check = |status: &str| {
        let finding = json!({"Id": "a", "ProductArn": "p", "AwsAccountId": "1", "GeneratorId": "g", "UpdatedAt": "2026-01-02T03:04:05Z", "Compliance": {"Status": status}});
        rows_status(&finding)
    };
    assert_eq!(check("PASSED"), "success");
    assert_eq!(check("FAILED"), "failure");
    assert_eq!(check("NOT_AVAILABLE"), Value::Null);
}

fn rows_status(record: &Value) -> Value {
    rows(record)[0].get("status").cloned().unwrap_or_default()
}

#[test]
fn ocsf_status_by_number_and_actors_of_all_kinds() {
    let rows = fixture("ocsf-outcomes.ndjson");
    let columns = ["status", "finding_info_status", "actor_user_uid"];
    assert_eq!(
        pick(&rows, &columns),
        [
            json!(["success", null, "ann"]),
            json!(["failure", null, "robot"]),
            json!([null, null, "svc.example.org"]),
            json!([null, null, null]),
            json!(["failure", null, "u1"]),
            json!([null, "new", "u2"]),
            json!(["failure", "new", null]),
            json!([null, null, "root"]),
        ]
    );
}

#[test]
fn github_says_it_in_few_entries() {
    let rows = fixture("github-outcomes.ndjson");
    assert_eq!(
        pick(&rows, &["status", "actor_user_uid", "actor_user_name"]),
        [
            json!(["success", "bob", "bob"]),
            json!(["failure", "bob", "bob"]),
            json!(["failure", "bob", "bob"]),
            json!(["failure", "ci", "ci"]),
            json!(["failure", "bob", "bob"]),
            json!([null, "bob", "bob"]),
        ]
    );
}

#[test]
fn okta_results() {
    let status = |result: &str| {
        let event = json!({"uuid": "u", "published": "2026-01-02T03:04:05Z", "eventType": "user.session.start", "actor": {"id": "00u", "alternateId": "ann@example.org"}, "outcome": {"result": result}});
        rows_status(&event)
    };
    for (result, expected) in [
        ("SUCCESS", json!("success")),
        ("ALLOW", json!("success")),
        ("FAILURE", json!("failure")),
        ("DENY", json!("failure")),
        ("SKIPPED", json!(null)),
        ("CHALLENGE", json!(null)),
        ("UNKNOWN", json!(null)),
    ] {
        assert_eq!(status(result), expected, "{result}");
    }
}

#[test]
fn gatekeeper_refuses_or_only_warns() {
    let status = |action: &str, kind: &str| {
        let line = json!({"process": "admission", "event_type": kind, "ts": 1767323045.5, "constraint_action": action, "constraint_kind": "K", "constraint_name": "n", "resource_kind": "Pod", "resource_name": "p", "msg": "m"});
        rows_status(&line)
    };
    assert_eq!(status("deny", "violation"), "failure");
    assert_eq!(status("warn", "violation"), Value::Null);
    assert_eq!(status("dryrun", "violation"), Value::Null);
    assert_eq!(status("dryrun", "violation_audited"), "failure");
}
