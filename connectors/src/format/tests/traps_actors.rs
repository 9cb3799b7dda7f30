//! Who did it and how it ended where vendors spell it in unusual places: one test per kind.

use serde_json::{Value, json};

use super::columns;
use crate::decode::DecoderConfig;
use crate::decode::tests::{decode_with, row};

/// Rows of some records, and how many events were left out and how many could not be used.
fn read(records: &[Value]) -> (Vec<Value>, u64, u64) {
    let texts: Vec<_> = records.iter().map(Value::to_string).collect();
    let lines: Vec<_> = texts.iter().map(String::as_bytes).collect();
    let batch = decode_with(DecoderConfig::new("log"), &lines);
    let rows = (0..batch.events.num_rows())
        .map(|at| row(&batch, at))
        .collect();
    (rows, batch.counts.filtered, batch.counts.dead_lettered)
}

/// Some columns of the one row that a record becomes, null where they are.
fn pick(record: &Value, wanted: &[&str]) -> Value {
    let row = columns(record, &[]);
    wanted.iter().map(|column| row[*column].clone()).collect()
}

/// The object with members changed or added.
fn with(event: &Value, changes: Value) -> Value {
    let mut event = event.clone();
    for (key, value) in changes.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

const WHO: [&str; 2] = ["actor_user_uid", "actor_user_name"];
const WHO_AND_MAIL: [&str; 3] = ["actor_user_uid", "actor_user_name", "actor_user_email_addr"];

#[test]
fn okta_a_user_who_is_not_found_is_known_by_the_name_that_was_typed() {
    let sign_in = |actor: Value| {
        pick(
            &json!({"uuid": "u", "published": "2026-01-02T03:04:05Z", "eventType": "user.session.start",
                "outcome": {"result": "FAILURE", "reason": "VERIFICATION_ERROR"}, "actor": actor}),
            &[WHO[0], "status"],
        )
    };
    for (actor, uid) in [
        (
            json!({"id": "unknown", "alternateId": "bob@example.com"}),
            "bob@example.com",
        ),
        (
            json!({"id": null, "alternateId": "bob@example.com", "displayName": "unknown"}),
            "bob@example.com",
        ),
        (
            json!({"id": "unknown", "alternateId": "unknown", "displayName": "Bob"}),
            "Bob",
        ),
        (json!({"alternateId": null, "displayName": "Bob"}), "Bob"),
        (
            json!({"id": "00u", "alternateId": "bob@example.com"}),
            "00u",
        ),
    ] {
        assert_eq!(sign_in(actor.clone()), json!([uid, "failure"]), "{actor}");
    }
    let nobody = json!({"id": "unknown", "alternateId": "unknown", "displayName": "unknown"});
    assert_eq!(sign_in(nobody), json!([null, "failure"]));
}

#[test]
fn entra_an_application_is_the_same_in_all_three_forms() {
    let forms = |by: Value| {
        let graph = json!({"id": "a", "activityDateTime": "2026-01-02T03:04:05Z", "activityDisplayName": "Update user",
            "initiatedBy": by});
        let settings = json!({"time": "2026-01-02T03:04:05Z", "category": "AuditLogs",
            "properties": {"id": "a", "initiatedBy": by}});
        let row = json!({"TimeGenerated": "2026-01-02T03:04:05Z", "Type": "AuditLogs", "Id": "a",
            "InitiatedBy": by.to_string()});
        [graph, settings, row].map(|event| pick(&event, &WHO))
    };
    let substrate = json!({"app": {"appId": null, "displayName": "Microsoft Substrate Management", "servicePrincipalId": null,
        "servicePrincipalName": null}});
    let expected = json!([
        "microsoft substrate management",
        "Microsoft Substrate Management"
    ]);
    assert_eq!(forms(substrate), [(); 3].map(|()| expected.clone()));
    let named = json!({"app": {"appId": null, "displayName": null, "servicePrincipalId": null, "servicePrincipalName": "Sync"}});
    assert_eq!(forms(named), [(); 3].map(|()| json!(["sync", "Sync"])));
    let by_id = json!({"app": {"appId": "A1", "displayName": "Sync", "servicePrincipalId": null}});
    assert_eq!(forms(by_id), [(); 3].map(|()| json!(["a1", "Sync"])));
    let shown = json!({"user": {"id": null, "userPrincipalName": null, "displayName": "Ann"}});
    assert_eq!(forms(shown), [(); 3].map(|()| json!(["ann", "Ann"])));
}

#[test]
fn graph_sign_ins_of_what_is_no_user() {
    let sign_in = json!({"id": "s", "createdDateTime": "2026-01-02T03:04:05Z", "appId": "A1", "conditionalAccessStatus": "notApplied",
        "status": {"errorCode": 0}, "userPrincipalName": null, "servicePrincipalId": "SP1", "servicePrincipalName": "ci"});
    assert_eq!(pick(&sign_in, &WHO), json!(["sp1", "ci"]));
    let unnamed = with(&sign_in, json!({"servicePrincipalId": ""}));
    assert_eq!(pick(&unnamed, &WHO), json!(["a1", "ci"]));
    let deleted = with(
        &sign_in,
        json!({"servicePrincipalId": null, "servicePrincipalName": null, "userId": "U1"}),
    );
    assert_eq!(pick(&deleted, &WHO), json!(["u1", null]));
}

#[test]
fn entra_demands_on_the_way_are_no_failures_and_refusals_are() {
    let status = |code: i64| {
        let record = json!({"time": "2026-01-02T03:04:05Z", "category": "SignInLogs", "resultType": code, "properties": {"id": "s"}});
        columns(&record, &[])["status"].clone()
    };
    for code in [50158, 50078, 9002341, 50155, 50168, 50097, 50074] {
        assert_eq!(status(code), "interrupted", "{code}");
    }
    for code in [
        50126, 50053, 50057, 50034, 53003, 53000, 53001, 500121, 50105, 65004, 50173, 700082,
    ] {
        assert_eq!(status(code), "failure", "{code}");
    }
}

fn azure() -> Value {
    json!({"time": "2026-01-02T03:04:05Z", "resourceId": "/subscriptions/s1/resourceGroups/r/providers/Microsoft.KeyVault/vaults/v",
        "operationName": "CertificateCreate", "category": "AuditEvent"})
}

#[test]
fn azure_a_code_of_zero_says_nothing() {
    let how = ["status", "http_response_code"];
    for changes in [
        json!({"properties": {"httpStatusCode": "0", "errorInfo": "OriginConnectionAborted"}}),
        json!({"properties": {"httpStatus": 0}}),
        json!({"statusCode": 0}),
        json!({"properties": {"ResponseCode": 0}}),
        json!({"properties": "{\"httpStatusCode\":0}"}),
        json!({"resultType": "HttpStatusCode", "resultDescription": "0"}),
    ] {
        assert_eq!(
            pick(&with(&azure(), changes.clone()), &how),
            json!([null, null]),
            "{changes}"
        );
    }
    let told = json!({"resultType": "Success", "properties": {"httpStatusCode": 0}});
    assert_eq!(pick(&with(&azure(), told), &how), json!(["success", null]));
    for column in ["httpStatusCode_d", "HttpStatusCode", "StatusCode"] {
        let row =
            json!({"TimeGenerated": "2026-01-02T03:04:05Z", "Type": "AzureDiagnostics", column: 0});
        assert_eq!(pick(&row, &how), json!([null, null]), "{column}");
    }
}

#[test]
fn azure_accepted_is_a_code_unless_it_is_the_result() {
    let status = |changes: Value| pick(&with(&azure(), changes), &["status"])[0].clone();
    for changes in [
        json!({"resultType": "Success", "resultSignature": "Accepted", "properties": {"httpStatusCode": 202}}),
        json!({"resultType": "Success", "resultSignature": "Succeeded.Accepted"}),
        json!({"resultSignature": "Succeeded.Accepted"}),
        json!({"resultType": "Success", "properties": {"statusCode": "Accepted"}}),
    ] {
        assert_eq!(status(changes.clone()), "success", "{changes}");
    }
    for changes in [
        json!({"resultType": "Accept", "resultSignature": "Accepted.Created"}),
        json!({"resultType": "Accepted", "properties": {"statusCode": "Accepted"}}),
        json!({"resultSignature": "Accepted.Created"}),
        json!({"resultType": "Start", "resultSignature": "Started."}),
        json!({"resultType": "InProgress", "statusCode": 202}),
    ] {
        assert_eq!(status(changes.clone()), json!(null), "{changes}");
    }
    let rest = |state: &str, code: &str| {
        let event = json!({"eventTimestamp": "2026-01-02T03:04:05Z", "operationName": {"value": "a/b/write"},
            "status": {"value": state}, "subStatus": {"value": code}});
        columns(&event, &[])["status"].clone()
    };
    assert_eq!(rest("Succeeded", "Accepted"), "success");
    assert_eq!(rest("Accepted", "Accepted"), json!(null));
    assert_eq!(rest("Started", ""), json!(null));
    let activity = |state: &str, code: &str| {
        let row = json!({"TimeGenerated": "2026-01-02T03:04:05Z", "Type": "AzureActivity",
            "ActivityStatusValue": state, "ActivitySubstatusValue": code});
        columns(&row, &[])["status"].clone()
    };
    assert_eq!(activity("Success", "Accepted"), "success");
    assert_eq!(activity("Accept", "Accepted"), json!(null));
    assert_eq!(activity("Start", ""), json!(null));
}

#[test]
fn azure_properties_in_text_say_what_properties_say() {
    let how = [
        "status",
        "http_response_code",
        "actor_user_uid",
        "src_endpoint_ip",
        "http_request_user_agent",
    ];
    let properties = json!({"httpStatusCode": 403, "objectId": "O1", "clientIP": "203.0.113.7:443", "clientInfo": "sdk"});
    let expected = json!(["failure", 403, "o1", "203.0.113.7", "sdk"]);
    for properties in [properties.clone(), json!(properties.to_string())] {
        let event = with(
            &azure(),
            json!({"resultType": "Success", "properties": properties}),
        );
        assert_eq!(pick(&event, &how), expected, "{event}");
    }
    for name in [
        "httpStatusCode",
        "statusCode",
        "httpStatus",
        "responseCode",
        "scStatus",
        "ScStatus",
        "ResponseCode",
    ] {
        for code in [json!(403), json!("403"), json!("Forbidden")] {
            let text = json!({name: code}).to_string();
            let event = with(
                &azure(),
                json!({"resultType": "Success", "properties": text}),
            );
            assert_eq!(pick(&event, &how[..2]), json!(["failure", 403]), "{text}");
        }
    }
}

#[test]
fn azure_the_caller_under_any_name() {
    let ann = json!(["ann@example.org", "ann@example.org", "ann@example.org"]);
    let o1 = json!(["o1", "ann@example.org", "ann@example.org"]);
    for (changes, expected) in [
        (
            json!({"identity": "{\"email\":\"Ann@example.org\",\"subjectName\":null}"}),
            &ann,
        ),
        (
            json!({"identity": {"email": "Ann@example.org", "subjectName": null}}),
            &ann,
        ),
        (
            json!({"identity": {"upn": "ann@example.org", "oid": "O1"}}),
            &o1,
        ),
        (
            json!({"identity": "{\"upn\":\"ann@example.org\",\"oid\":\"O1\"}"}),
            &o1,
        ),
        (
            json!({"identity": "{\"claim\":{\"upn\":\"ann@example.org\",\"appid\":\"a1\"}}"}),
            &ann,
        ),
        (
            json!({"identity": {"claim": {"upn": "ann@example.org", "appid": "a1"}}}),
            &ann,
        ),
        (
            json!({"properties": {"AADObjectId": "O1", "AADEmail": "Ann@example.org", "ResponseCode": 403}}),
            &o1,
        ),
        (
            json!({"properties": "{\"AADObjectId\":\"O1\",\"AADEmail\":\"ann@example.org\"}"}),
            &o1,
        ),
        (
            json!({"properties": {"objectId": "O1"}}),
            &json!(["o1", null, null]),
        ),
        (
            json!({"identity": {"subjectName": "Robot"}}),
            &json!(["robot", "robot", null]),
        ),
        (
            json!({"identity": "{\"name\":\"Robot\"}"}),
            &json!(["robot", "robot", null]),
        ),
    ] {
        let event = with(&azure(), changes);
        assert_eq!(pick(&event, &WHO_AND_MAIL), *expected, "{event}");
    }
    for key in ["callerIpAddress", "callerIPAddress", "CallerIPAddress"] {
        let event = with(&azure(), json!({key: "203.0.113.7:5000"}));
        assert_eq!(
            pick(&event, &["src_endpoint_ip", "src_endpoint_port"]),
            json!(["203.0.113.7", 5000])
        );
    }
    let audit = with(&azure(), json!({"properties": {"ResponseCode": 403}}));
    assert_eq!(
        pick(&audit, &["status", "http_response_code"]),
        json!(["failure", 403])
    );
}

#[test]
fn log_analytics_the_identity_of_a_key_vault_row() {
    let claims = json!({"claim": {"oid": "O1", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "A@b.c", "appid": "a1"}});
    for identity in [claims.clone(), json!(claims.to_string())] {
        let row = json!({"TimeGenerated": "2026-01-02T03:04:05Z", "Type": "AZKVAuditLogs", "OperationName": "SecretGet",
            "ResultType": "Success", "Identity": identity});
        let expected = json!(["o1", "a@b.c", "a@b.c", "a1", "success"]);
        let wanted = [&WHO_AND_MAIL[..], &["actor_app_uid", "status"]].concat();
        assert_eq!(pick(&row, &wanted), expected, "{row}");
    }
    let query = json!({"TimeGenerated": "2026-01-02T03:04:05Z", "Type": "LAQueryLogs", "AADObjectId": "O1",
        "AADEmail": "ann@example.org", "ResponseCode": 403});
    assert_eq!(
        pick(&query, &[WHO[0], WHO[1], "status"]),
        json!(["o1", "ann@example.org", "failure"])
    );
}

fn gke(method: &str, resource: &str, changes: Value) -> Value {
    let entry = json!({"insertId": "i1", "timestamp": "2026-01-02T03:04:05.1Z", "logName": "projects/p/logs/l",
        "protoPayload": {"serviceName": "k8s.io", "methodName": format!("io.k8s.core.v1.{method}"),
            "resourceName": format!("core/v1/namespaces/prod/pods/a/{resource}"), "authenticationInfo": {"principalEmail": "ann"}}});
    with(&entry, changes)
}

#[test]
fn gke_both_entries_of_a_session_are_one_event_and_either_alone_is_enough() {
    let half = |half: &str, insert: &str| {
        let time = format!("2026-01-02T03:0{insert}:05.1Z");
        json!({"operation": {"id": "op", half: true}, "insertId": insert, "timestamp": time})
    };
    for (method, resource) in [
        ("pods.exec.create", "exec"),
        ("pods.attach.create", "attach"),
        ("pods.log.get", "log"),
    ] {
        let [first, last] = [half("first", "1"), half("last", "9")]
            .map(|half| columns(&gke(method, resource, half), &[]));
        assert_eq!(first["event_uid"], last["event_uid"], "{method}");
        assert_eq!(last["k8s_subresource"], resource);
        assert_eq!([&first["status"], &last["status"]], ["success", "success"]);
    }
    let other = with(
        &half("last", "9"),
        json!({"operation": {"id": "other", "last": true}}),
    );
    let [one, other] = [half("first", "1"), other]
        .map(|half| columns(&gke("pods.exec.create", "exec", half), &[]));
    assert_ne!(one["event_uid"], other["event_uid"]);
    // Whole entries are told apart by their own ids.
    let whole = |insert: &str| {
        let whole =
            json!({"operation": {"id": "op", "first": true, "last": true}, "insertId": insert});
        columns(&gke("pods.exec.create", "exec", whole), &[])["event_uid"].clone()
    };
    assert_ne!(whole("1"), whole("2"));
    for (method, resource) in [
        ("pods.exec.create", "exec"),
        ("pods.log.get", "log"),
        ("pods.watch", ""),
    ] {
        let mut refused = gke(method, resource, half("last", "1"));
        refused["protoPayload"]["status"] = json!({"code": 7, "message": "forbidden"});
        assert_eq!(
            pick(&refused, &["status", "http_response_code"]),
            json!(["failure", 403]),
            "{method}"
        );
    }
    let (rows, filtered, _) = read(&[gke("pods.watch", "", half("last", "1"))]);
    assert_eq!(
        (rows.len(), filtered),
        (0, 1),
        "the end of a watch says nothing"
    );
}

#[test]
fn google_an_operation_that_was_accepted_has_not_ended() {
    let status = |operation: Value, status: Value| {
        let entry = json!({"insertId": "i", "timestamp": "2026-01-02T03:04:05Z", "logName": "projects/p/logs/l", "operation": operation,
            "protoPayload": {"serviceName": "compute.googleapis.com", "methodName": "v1.compute.instances.insert", "status": status}});
        columns(&entry, &[])["status"].clone()
    };
    let (first, last) = (
        json!({"id": "o", "first": true}),
        json!({"id": "o", "last": true}),
    );
    assert_eq!(status(first.clone(), json!(null)), json!(null));
    assert_eq!(status(first.clone(), json!({"code": 7})), "failure");
    assert_eq!(status(first, json!({"code": 0})), "success");
    assert_eq!(status(last, json!(null)), "success");
    let both = json!({"id": "o", "first": true, "last": true});
    assert_eq!(status(both, json!(null)), "success");
}

#[test]
fn google_somebody_of_another_identity_provider() {
    let who = |principal: Value| {
        pick(
            &json!({"insertId": "i", "timestamp": "2026-01-02T03:04:05Z", "logName": "projects/p/logs/l",
                "protoPayload": {"serviceName": "s.googleapis.com", "methodName": "m", "authenticationInfo": {"thirdPartyPrincipal": principal}}}),
            &WHO,
        )
    };
    assert_eq!(
        who(json!({"@type": "t", "thirdPartyClaims": {"sub": "00u1"}})),
        json!(["00u1", "00u1"])
    );
    assert_eq!(
        who(json!({"email": "ann@example.org"})),
        json!(["ann@example.org", "ann@example.org"])
    );
    assert_eq!(who(json!("ann")), json!(["ann", "ann"]));
    assert_eq!(who(json!({})), json!([null, null]));
}

#[test]
fn flow_logs_as_objects_in_all_spellings() {
    let names = [
        (
            "account_id",
            "account-id",
            "ACCOUNT_ID",
            "accountId",
            json!("111122223333"),
        ),
        (
            "interface_id",
            "interface-id",
            "INTERFACE_ID",
            "interfaceId",
            json!("eni-1"),
        ),
        (
            "srcaddr",
            "srcaddr",
            "SRCADDR",
            "srcAddr",
            json!("10.0.0.5"),
        ),
        (
            "dstaddr",
            "dstaddr",
            "DSTADDR",
            "dstAddr",
            json!("203.0.113.7"),
        ),
        ("srcport", "srcport", "SRCPORT", "srcPort", json!(49152)),
        ("dstport", "dstport", "DSTPORT", "dstPort", json!(443)),
        ("protocol", "protocol", "PROTOCOL", "protocol", json!(6)),
        ("bytes", "bytes", "BYTES", "bytes", json!(4000)),
        ("start", "start", "START", "start", json!(1_767_322_800)),
        ("end", "end", "END", "end", json!(1_767_322_860)),
        ("action", "action", "ACTION", "action", json!("REJECT")),
        (
            "log_status",
            "log-status",
            "LOG_STATUS",
            "logStatus",
            json!("OK"),
        ),
    ];
    let object = |spelling: usize, without: &[&str], status: &str| -> Value {
        let members = names.iter().filter(|name| !without.contains(&name.0));
        let member = |(small, dash, capital, camel, value): &(&str, &str, &str, &str, Value)| {
            let value = if *small == "log_status" {
                json!(status)
            } else {
                value.clone()
            };
            (
                [*small, *dash, *capital, *camel][spelling].to_owned(),
                value,
            )
        };
        Value::Object(members.map(member).collect())
    };
    let expected = columns(&object(0, &[], "OK"), &["event_uid"]);
    assert_eq!(expected["resource_uid"], "eni-1");
    assert_eq!(expected["action"], "denied");
    let ends = [
        "srcaddr", "dstaddr", "srcport", "dstport", "action", "protocol", "bytes",
    ];
    for spelling in 0..4 {
        assert_eq!(
            columns(&object(spelling, &[], "OK"), &["event_uid"]),
            expected,
            "{spelling}"
        );
        let gap = object(spelling, &ends, "SKIPDATA");
        let row = columns(&gap, &[]);
        assert_eq!(
            [&row["activity_name"], &row["cloud_account_uid"]],
            ["SKIPDATA", "111122223333"]
        );
        let nothing = object(spelling, &ends, "NODATA");
        assert_eq!(read(&[nothing]), (vec![], 1, 0));
    }
    let title = json!({"SrcAddr": "10.0.0.5", "DstAddr": "203.0.113.7", "Start": 1_767_322_800, "AccountID": "1"});
    assert_eq!(
        pick(&title, &["src_endpoint_ip", "cloud_account_uid"]),
        json!(["10.0.0.5", "1"])
    );
}

#[test]
fn defender_names_and_security_ids_are_in_small_letters() {
    let alert = |account: Value| {
        let entities = json!([account]);
        pick(
            &json!({"SystemAlertId": "a", "EndTimeUtc": "2026-01-02T03:04:05Z", "Status": "New", "Entities": entities}),
            &WHO,
        )
    };
    assert_eq!(
        alert(json!({"Type": "account", "Name": "Bob", "Sid": "S-1-5-21-7"})),
        json!(["s-1-5-21-7", "bob"])
    );
    assert_eq!(
        alert(json!({"Type": "account", "Name": "Bob"})),
        json!(["bob", "bob"])
    );
    assert_eq!(
        alert(json!({"Type": "account", "Name": "Bob", "UPNSuffix": "Example.org"})),
        json!(["bob@example.org", "bob@example.org"])
    );
}

#[test]
fn graph_alerts_name_accounts_in_any_evidence() {
    let alert = |evidence: Value| {
        pick(
            &json!({"id": "a", "serviceSource": "s", "detectionSource": "d", "lastUpdateDateTime": "2026-01-02T03:04:05Z",
                "createdDateTime": "2026-01-02T03:04:05Z", "evidence": evidence}),
            &WHO_AND_MAIL,
        )
    };
    let kind = |name: &str| format!("#microsoft.graph.security.{name}Evidence");
    let ann = json!({"azureAdUserId": "O1", "userPrincipalName": "Ann@example.org"});
    let expected = json!(["o1", "ann@example.org", "ann@example.org"]);
    for name in ["process", "mailbox", "user", "fileHash"] {
        let evidence = json!([{"@odata.type": kind("ip"), "ipAddress": "203.0.113.7"}, {"@odata.type": kind(name), "userAccount": ann}]);
        assert_eq!(alert(evidence), expected, "{name}");
    }
    let device = json!([{"@odata.type": kind("device"), "loggedOnUsers": [{"accountName": "Bob", "domainName": "D"}]}]);
    assert_eq!(alert(device), json!(["bob", "bob", null]));
    let all = json!([
        {"@odata.type": kind("device"), "loggedOnUsers": [{"accountName": "Bob"}]},
        {"@odata.type": kind("process"), "userAccount": {"accountName": "system"}},
        {"@odata.type": kind("user"), "userAccount": {"accountName": ""}},
        {"@odata.type": kind("user"), "userAccount": ann},
    ]);
    assert_eq!(alert(all), expected, "the user's own evidence counts first");
}

#[test]
fn guardduty_the_first_actor_that_is_a_user() {
    let finding = |sequence: Value| {
        pick(
            &json!({"id": "f", "type": "AttackSequence:IAM/CompromisedCredentials", "severity": 9, "accountId": "1",
                "updatedAt": "2026-01-02T03:04:05Z", "service": {"serviceName": "guardduty", "detection": {"sequence": sequence}}}),
            &[WHO[0], WHO[1], "actor_session_is_mfa", "src_endpoint_ip"],
        )
    };
    let process = json!({"id": "p", "process": {"name": "sh"}});
    let user = json!({"id": "u", "user": {"uid": "AIDA", "name": "ann"}, "session": {"mfaStatus": "ENABLED"}});
    let expected = json!(["AIDA", "ann", true, "203.0.113.7"]);
    let endpoints = json!([{"domain": "d"}, {"ip": "203.0.113.7"}]);
    for actors in [
        json!([user, process]),
        json!([process, user]),
        json!([{}, process, user]),
    ] {
        assert_eq!(
            finding(json!({"actors": actors, "endpoints": endpoints})),
            expected,
            "{actors}"
        );
    }
    assert_eq!(
        finding(json!({"actors": [process]})),
        json!([null, null, null, null])
    );
}

#[test]
fn ocsf_users_of_any_evidence_and_under_any_name() {
    let event = |class: i64, changes: Value| {
        let event =
            json!({"class_uid": class, "metadata": {"uid": "u"}, "time": 1_767_323_045_000i64});
        pick(&with(&event, changes), &WHO)
    };
    for (changes, expected) in [
        (
            json!({"evidences": [{"process": {}}, {"actor": {"user": {"email_addr": "a@b.c"}}}]}),
            json!(["a@b.c", null]),
        ),
        (
            json!({"evidences": [{"actor": {"user": {"uid": "u1", "name": "ann"}}}]}),
            json!(["u1", "ann"]),
        ),
        (
            json!({"evidences": [{"actor": {"process": {"user": {"uid": 7}}}}]}),
            json!(["7", null]),
        ),
        (
            json!({"actor": {"process": {"user": {"email_addr": "a@b.c", "full_name": "Ann"}}}}),
            json!(["a@b.c", "Ann"]),
        ),
        (
            json!({"actor": {"process": {"user": {"uid_alt": "x"}}}}),
            json!(["x", null]),
        ),
    ] {
        assert_eq!(event(2004, changes.clone()), expected, "{changes}");
    }
    assert_eq!(
        event(3002, json!({"user": {"uid_alt": "x", "full_name": "Ann"}})),
        json!(["x", "Ann"])
    );
    assert_eq!(
        event(3002, json!({"user": {"full_name": "Ann"}})),
        json!(["Ann", "Ann"])
    );
    assert_eq!(
        event(3001, json!({"user": {"full_name": "Ann"}})),
        json!([null, null])
    );
}

#[test]
fn falco_the_user_at_the_host() {
    let who = |fields: Value| {
        pick(
            &json!({"rule": "r", "priority": "Notice", "output": "o", "time": "2026-01-02T03:04:05Z", "output_fields": fields}),
            &WHO,
        )
    };
    assert_eq!(
        who(json!({"user.name": "root", "user.uid": 0})),
        json!(["0", "root"])
    );
    assert_eq!(
        who(json!({"user.name": "ann", "user.uid": "1000"})),
        json!(["1000", "ann"])
    );
    assert_eq!(
        who(json!({"user": {"name": "ann", "uid": 1000}})),
        json!(["1000", "ann"])
    );
    assert_eq!(who(json!({"user.name": "ann"})), json!(["ann", "ann"]));
    assert_eq!(
        who(json!({"user.name": "<NA>", "user.loginname": "bob"})),
        json!(["bob", "bob"])
    );
    assert_eq!(
        who(json!({"user.name": "ann", "user.uid": 4294967295u32})),
        json!(["ann", "ann"])
    );
    assert_eq!(who(json!({"user.uid": -1})), json!([null, null]));
    assert_eq!(
        who(json!({"ka.user.name": "admin", "user.name": "root", "user.uid": 0})),
        json!(["admin", "admin"])
    );
    assert_eq!(
        who(json!({"okta.actor.id": "unknown", "okta.actor.alternateid": "bob@example.com"})),
        json!(["bob@example.com", "bob@example.com"])
    );
}

#[test]
fn github_a_failed_sign_in_names_the_user_alone() {
    for time in ["@timestamp", "created_at"] {
        let entry = json!({"action": "user.failed_login", time: 1_767_323_045_000i64, "user": "bob", "org": "acme"});
        assert_eq!(
            pick(&entry, &[WHO[0], WHO[1], "status"]),
            json!(["bob", "bob", "failure"])
        );
    }
    let entry = json!({"action": "org.add_member", "@timestamp": 1_767_323_045_000i64, "_document_id": "d", "user": "bob"});
    assert_eq!(
        pick(&entry, &WHO),
        json!([null, null]),
        "the user is acted upon"
    );
}

#[test]
fn cloudtrail_members_that_a_forwarder_made_text() {
    let event = json!({"eventVersion": "1.08", "eventTime": "2026-01-02T03:04:05Z", "eventSource": "signin.amazonaws.com",
        "eventName": "ConsoleLogin", "eventID": "e", "awsRegion": "us-east-1", "eventType": "AwsConsoleSignIn",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ann", "userName": "ann"},
        "responseElements": {"ConsoleLogin": "Failure"}, "additionalEventData": {"MFAUsed": "Yes"},
        "requestParameters": {"username": "ann", "name": "n"}});
    let expected = columns(&event, &[]);
    assert_eq!(expected["status"], "failure");
    let members = [
        "userIdentity",
        "responseElements",
        "additionalEventData",
        "requestParameters",
    ];
    for some in [&members[..], &members[..1], &members[1..2], &members[2..]] {
        let mut texts = event.clone();
        for member in some {
            texts[*member] = json!(event[*member].to_string());
        }
        assert_eq!(columns(&texts, &[]), expected, "{texts}");
        let lambda = json!({"Records": [texts]});
        assert_eq!(columns(&lambda, &[]), expected);
    }
    // What is no object in text is left as it is.
    let odd = with(
        &event,
        json!({"userIdentity": "{odd", "responseElements": "null"}),
    );
    let row = columns(&odd, &[]);
    assert!(
        row.get("actor_user_uid").is_none() || row["actor_user_uid"] == "ann",
        "{row}"
    );
    assert!(row.get("status").is_none());
}

#[test]
fn cloudtrail_sessions_are_of_their_role_and_the_root_user_of_the_account() {
    let who = |identity: Value, region: &str| {
        pick(
            &json!({"eventTime": "2026-01-02T03:04:05Z", "eventSource": "s3.amazonaws.com", "eventName": "GetObject",
                "awsRegion": region, "userIdentity": identity}),
            &[WHO[0], WHO[1], "actor_session_uid"],
        )
    };
    let session = "arn:aws:sts::111122223333:assumed-role/R/sess";
    let assumed = json!({"type": "AssumedRole", "principalId": "AROA:sess", "arn": session});
    assert_eq!(
        who(assumed, "us-east-1"),
        json!(["arn:aws:iam::111122223333:role/R", "R", session])
    );
    let china = "arn:aws-cn:sts::1:assumed-role/R/sess";
    assert_eq!(
        who(json!({"type": "AssumedRole", "arn": china}), "cn-north-1"),
        json!(["arn:aws-cn:iam::1:role/R", "R", china])
    );
    assert_eq!(
        who(
            json!({"type": "AssumedRole", "principalId": "AROA:sess"}),
            ""
        ),
        json!(["AROA", null, null])
    );
    let root = json!({"type": "Root", "principalId": "111122223333", "accountId": "111122223333"});
    assert_eq!(
        who(root.clone(), "us-east-1")[0],
        "arn:aws:iam::111122223333:root"
    );
    assert_eq!(
        who(root, "us-gov-west-1")[0],
        "arn:aws-us-gov:iam::111122223333:root"
    );
}

#[test]
fn azure_flows_with_words_missing_are_refused_by_number() {
    let flow = |category: &str, tuple: &str| {
        let record = match category {
            "NetworkSecurityGroupFlowEvent" => json!({"category": category, "resourceId": "r",
                "properties": {"flows": [{"rule": "x", "flows": [{"mac": "m", "flowTuples": [tuple]}]}]}}),
            _ => {
                json!({"category": category, "flowRecords": {"flows": [{"aclID": "a", "flowGroups": [{"rule": "x", "flowTuples": [tuple]}]}]}})
            }
        };
        let batch = decode_with(DecoderConfig::new("log"), &[record.to_string().as_bytes()]);
        let rows: Vec<_> = (0..batch.events.num_rows())
            .map(|at| row(&batch, at))
            .collect();
        let letter = batch
            .dead_letters
            .first()
            .map(|one| (one.reason, one.detail.clone()));
        (rows.first().map(|row| row["action"].clone()), letter)
    };
    const GROUP: &str = "NetworkSecurityGroupFlowEvent";
    const NETWORK: &str = "FlowLogFlowEvent";
    let eight = "1767323045,10.0.0.4,203.0.113.7,44931,443,T,O,A";
    assert_eq!(flow(GROUP, eight), (Some(json!("allowed")), None));
    assert_eq!(
        flow(GROUP, &eight.replace(",A", ",D")),
        (Some(json!("denied")), None)
    );
    assert_eq!(
        flow(GROUP, &format!("{eight},B,,,,")),
        (Some(json!("allowed")), None)
    );
    // Without a decision nothing says that it was let through.
    assert_eq!(
        flow(GROUP, &format!("{},,B,,,,", &eight[..eight.len() - 2])),
        (Some(json!(null)), None)
    );
    let seven = &eight[..eight.len() - 2];
    for (category, tuple, reason, count) in [
        (GROUP, seven.to_owned(), "missing_field", "7 words"),
        (GROUP, format!("{eight},B"), "missing_field", "9 words"),
        (
            GROUP,
            format!("{eight},B,,,,,"),
            "unknown_format",
            "14 words",
        ),
        (NETWORK, eight.to_owned(), "missing_field", "8 words"),
    ] {
        let (row, letter) = flow(category, &tuple);
        let (actual, detail) = letter.unwrap();
        assert_eq!((row, actual), (None, reason), "{tuple}");
        assert!(detail.contains(count), "{detail}");
    }
    let network = |state: &str| {
        flow(
            NETWORK,
            &format!("1767323045637,10.0.0.4,203.0.113.7,44931,443,6,O,{state},NX,0,0,0,0"),
        )
    };
    assert_eq!(network("B"), (Some(json!("allowed")), None));
    assert_eq!(network("D"), (Some(json!("denied")), None));
    assert_eq!(network(""), (Some(json!(null)), None));
}
