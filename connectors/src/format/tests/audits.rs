//! Who did it, how it ended and which event it is: audit trails of AWS, Kubernetes and Google.

use serde_json::{Value, json};

use super::{changed, columns, exec, letter};
use crate::decode::tests::decode_with;
use crate::decode::{DecoderConfig, FormatChoice};

fn uid(event: &Value) -> Value {
    columns(event, &[])["event_uid"].clone()
}

/// An answered exec, its answer a part of the id's hash.
fn answered() -> Value {
    changed(
        &exec(),
        json!({"responseStatus": {"metadata": {}, "code": 101}}),
    )
}

fn get() -> Value {
    changed(
        &exec(),
        json!({
            "verb": "get", "requestURI": "/api/v1/namespaces/prod/pods/app-1",
            "objectRef": {"resource": "pods", "namespace": "prod", "name": "app-1"},
        }),
    )
}

#[test]
fn an_audit_id_that_the_client_chose_does_not_make_events_one() {
    for event in [get(), answered()] {
        let first = uid(&event);
        for other in [
            json!({"user": {"username": "eve"}}),
            json!({"impersonatedUser": {"username": "eve"}}),
            json!({"verb": "delete"}),
            json!({"requestURI": "/api/v1/namespaces/prod/pods/app-1/exec?command=bash"}),
            json!({"sourceIPs": ["203.0.113.8"]}),
            json!({"userAgent": "curl"}),
            json!({"objectRef": {"resource": "pods", "namespace": "prod", "name": "app-2", "subresource": "exec"}}),
            json!({"responseStatus": {"code": 500}}),
            json!({"requestReceivedTimestamp": "2026-01-02T03:04:06.123456Z"}),
            json!({"auditID": "another"}),
        ] {
            assert_ne!(uid(&changed(&event, other.clone())), first, "{other}");
        }
        let config = DecoderConfig::new("log");
        let batch = decode_with(config, &[event.to_string().as_bytes()]);
        let elsewhere = crate::decode::tests::row(&batch, 0)["event_uid"].clone();
        assert_ne!(elsewhere, first, "another cluster");
    }
    let later = json!({"stageTimestamp": "2026-01-02T03:04:05.200001Z"});
    assert_ne!(uid(&changed(&get(), later)), uid(&get()));
    // One text that goes on in the next is not the same as two.
    let shifted = json!({"verb": "getx", "requestURI": "/"});
    let other = json!({"verb": "get", "requestURI": "x/"});
    assert_ne!(uid(&changed(&get(), shifted)), uid(&changed(&get(), other)));
}

#[test]
fn a_copy_of_an_audit_event_is_the_same_event_however_it_is_written() {
    for event in [get(), answered()] {
        let expected = uid(&event);
        for code in ["CODE", "\"CODE\""] {
            let number = event["responseStatus"]["code"].to_string();
            let text = event.to_string().replace(
                &format!("\"code\":{number}"),
                &format!("\"code\": {}", code.replace("CODE", &number)),
            );
            let text = text.replace("/pods/", "\\/pods\\u002f");
            let text = text
                .replace(".200000Z", ".2Z")
                .replace("\"ResponseC", "\"\\u0052esponseC");
            let config = DecoderConfig {
                cluster: Some("prod-1".into()),
                ..DecoderConfig::new("log")
            };
            let aks = json!({"records": [{"category": "kube-audit", "time": "2026-01-02T03:04:05Z",
                "operationName": "x", "resourceId": "/x", "properties": {"log": text}}]});
            for record in [text.clone(), aks.to_string()] {
                let batch = decode_with(config.clone(), &[record.as_bytes()]);
                let row = crate::decode::tests::row(&batch, 0);
                assert_eq!(row["event_uid"], expected, "{record}");
            }
        }
        let mut reversed: Vec<_> = event.as_object().unwrap().iter().collect();
        reversed.reverse();
        let reversed: serde_json::Map<_, _> = reversed
            .into_iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(uid(&Value::Object(reversed)), expected);
    }
}

#[test]
fn both_stages_of_a_request_that_lasts_are_one_event_at_its_start() {
    let started = changed(
        &answered(),
        json!({"stage": "ResponseStarted", "stageTimestamp": "2026-01-02T03:04:05.300000Z"}),
    );
    let complete = changed(
        &answered(),
        json!({"stageTimestamp": "2026-01-02T09:04:05.300000Z"}),
    );
    let (started, complete) = (columns(&started, &[]), columns(&complete, &[]));
    assert_eq!(started["event_uid"], complete["event_uid"]);
    assert_eq!(started["time"], 1_767_323_045_300_000i64);
    assert_eq!(complete["time"], 1_767_323_045_123_456i64);
    // In one bucket of the deduplication, also where ten minutes end between request and answer.
    let at_the_end = changed(
        &answered(),
        json!({"stage": "ResponseStarted", "requestReceivedTimestamp": "2026-01-02T03:09:59.999Z",
            "stageTimestamp": "2026-01-02T03:10:00.5Z"}),
    );
    assert_eq!(columns(&at_the_end, &[])["time"], 1_767_323_399_999_999i64);
    // A panic ends a session in another way, and is told.
    let panic = columns(
        &changed(
            &answered(),
            json!({"stage": "Panic", "responseStatus": null}),
        ),
        &[],
    );
    assert_eq!(panic["status"], "failure");
    assert_ne!(panic["event_uid"], started["event_uid"]);
}

#[test]
fn a_session_is_one_row_in_any_order_after_hours_and_after_a_restart() {
    use weir_engine::dedup::Dedup;
    const HOUR: i64 = 3_600_000_000;
    let at = |stage: &str, told: &str| {
        changed(
            &answered(),
            json!({"stage": stage, "stageTimestamp": told, "requestReceivedTimestamp": "2026-01-02T03:09:59.9Z"}),
        )
    };
    let started = at("ResponseStarted", "2026-01-02T03:10:00.2Z");
    let complete = at("ResponseComplete", "2026-01-02T09:10:00Z");
    let decoded = |event: &Value| {
        let batch = decode_with(DecoderConfig::new("log"), &[event.to_string().as_bytes()]);
        batch.events
    };
    let begin = 1_767_323_400_000_000i64;
    for (first, second) in [(&started, &complete), (&complete, &started)] {
        let mut dedup = Dedup::new(13 * HOUR, 1 << 20);
        assert_eq!(dedup.filter(decoded(first)).unwrap().1, 0);
        let (writes, _) = dedup.take_state();
        let mut again = Dedup::new(13 * HOUR, 1 << 20);
        for write in &writes {
            let value = write.value.as_deref().unwrap();
            again.restore(&write.owner, write.key, value).unwrap();
        }
        for mut dedup in [dedup, again] {
            dedup.advance(begin + 6 * HOUR);
            assert_eq!(dedup.filter(decoded(second)).unwrap().1, 1);
        }
    }
    // The same command again, under the same id.
    let mut dedup = Dedup::new(13 * HOUR, 1 << 20);
    let later = changed(
        &complete,
        json!({"requestReceivedTimestamp": "2026-01-02T03:09:58.9Z"}),
    );
    for event in [&started, &later] {
        assert_eq!(dedup.filter(decoded(event)).unwrap().1, 0);
    }
}

#[test]
fn only_requests_that_last_are_events_when_their_answer_starts() {
    let rows = |event: &Value| {
        let batch = decode_with(DecoderConfig::new("log"), &[event.to_string().as_bytes()]);
        (batch.events.num_rows(), batch.counts.filtered)
    };
    let started = |changes: Value| {
        let event = changed(&get(), json!({"stage": "ResponseStarted"}));
        rows(&changed(&event, changes))
    };
    assert_eq!(started(json!({})), (0, 1));
    assert_eq!(
        started(json!({"stage": "RequestReceived", "verb": "watch"})),
        (0, 1)
    );
    assert_eq!(started(json!({"verb": "watch"})), (1, 0));
    assert_eq!(
        started(json!({"requestURI": "/debug/pprof/profile", "objectRef": null})),
        (1, 0)
    );
    for subresource in ["exec", "attach", "portforward", "proxy", "log"] {
        let object = json!({"objectRef": {"resource": "pods", "subresource": subresource}});
        assert_eq!(started(object), (1, 0), "{subresource}");
    }
    // Without a time of reception the stage tells when.
    let bare = json!({"verb": "watch", "requestReceivedTimestamp": null});
    assert_eq!(started(bare), (1, 0));
}

fn sign_in(changes: Value) -> Value {
    let event = json!({
        "eventVersion": "1.11", "userIdentity": {"type": "IAMUser", "accountId": "111122223333", "userName": "ann"},
        "eventTime": "2026-01-02T03:04:05Z", "eventSource": "signin.amazonaws.com", "eventName": "CheckMfa",
        "awsRegion": "us-east-1", "eventID": "e", "eventType": "AwsConsoleSignIn", "recipientAccountId": "111122223333"
    });
    columns(&changed(&event, changes), &[])
}

#[test]
fn cloudtrail_outcomes() {
    let status = |changes: Value| {
        let row = sign_in(changes);
        row.get("status").and_then(Value::as_str).map(str::to_owned)
    };
    let (success, failure) = (Some("success".to_owned()), Some("failure".to_owned()));
    let service = |details: Value| {
        status(
            json!({"eventSource": "backup.amazonaws.com", "eventType": "AwsServiceEvent",
            "eventName": "BackupJobCompleted", "serviceEventDetails": details}),
        )
    };
    for (changes, expected) in [
        (
            json!({"responseElements": {"CheckMfa": "Success"}}),
            &success,
        ),
        (
            json!({"responseElements": {"CheckMfa": "Failure"}}),
            &failure,
        ),
        (
            json!({"responseElements": {"Other": "Success", "CheckMfa": "Failure"}}),
            &failure,
        ),
        (
            json!({"responseElements": {"CheckMfa": "Success"}, "errorMessage": "No"}),
            &failure,
        ),
        (
            json!({"responseElements": {"SwitchRole": "Failure"}, "eventName": "SwitchRole"}),
            &failure,
        ),
        (json!({"responseElements": null}), &None),
        (
            json!({"serviceEventDetails": {"UserAuthentication": "Failure"}}),
            &failure,
        ),
        (
            json!({"serviceEventDetails": {"CredentialVerification": "Success"}}),
            &success,
        ),
        (
            json!({"eventType": "AwsApiCall", "eventSource": "s3.amazonaws.com"}),
            &success,
        ),
        (
            json!({"eventType": "AwsApiCall", "eventSource": "s3.amazonaws.com", "responseElements": {"status": "Failure"}}),
            &success,
        ),
        (
            json!({"eventType": "AwsApiCall", "eventSource": "s3.amazonaws.com", "errorCode": "AccessDenied"}),
            &failure,
        ),
    ] {
        assert_eq!(&status(changes.clone()), expected, "{changes}");
    }
    assert_eq!(service(json!({"state": "FAILED"})), failure);
    assert_eq!(service(json!({"state": "COMPLETED"})), success);
    assert_eq!(service(json!({"state": "RUNNING"})), None);
    assert_eq!(service(json!(null)), None);
}

#[test]
fn cloudtrail_one_person_has_one_id_and_hidden_names_are_nobody() {
    let who = |changes: Value| {
        let row = sign_in(changes);
        ["actor_user_uid", "actor_user_name"].map(|name| {
            row.get(name)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        })
    };
    let ann = "arn:aws:iam::111122223333:user/ann";
    assert_eq!(who(json!({})), [ann, "ann"]);
    let known = json!({"userIdentity": {"type": "IAMUser", "principalId": "AIDA", "arn": ann}});
    assert_eq!(who(known), [ann, "ann"]);
    let china = who(json!({"awsRegion": "cn-north-1"}));
    assert_eq!(china, ["arn:aws-cn:iam::111122223333:user/ann", "ann"]);
    let hidden = json!({"type": "IAMUser", "accountId": "111122223333", "userName": "HIDDEN_DUE_TO_SECURITY_REASONS"});
    assert_eq!(who(json!({"userIdentity": hidden})), ["", ""]);
    let beside = json!({"userIdentity": hidden, "additionalEventData": {"UserName": "bob"}});
    assert_eq!(who(beside), ["bob", "bob"]);
    let hidden_beside = json!({"userIdentity": hidden, "additionalEventData": {"UserName": "HIDDEN_DUE_TO_SECURITY_REASONS"},
        "requestParameters": {"userName": "HIDDEN_DUE_TO_SECURITY_REASONS"}});
    assert_eq!(who(hidden_beside), ["", ""]);
    let center = json!({"type": "IdentityCenterUser", "accountId": "1", "onBehalfOf": {"userId": "u-1", "identityStoreArn": "s"}, "credentialId": "c"});
    let row = sign_in(
        json!({"userIdentity": center, "additionalEventData": {"UserName": "bob@example.com"}}),
    );
    assert_eq!(row["actor_user_uid"], "u-1");
    assert_eq!(row["actor_user_name"], "bob@example.com");
    assert_eq!(row["actor_user_credential_uid"], "c");
    assert_eq!(row["actor_session_issuer"], "s");
    for (identity, uid) in [
        (json!({"type": "AWSAccount", "accountId": "42"}), "42"),
        (
            json!({"type": "Unknown", "principalId": "1", "accountId": "1", "userName": "bob"}),
            "bob",
        ),
        (
            json!({"type": "WebIdentityUser", "identityProvider": "accounts.google.com"}),
            "accounts.google.com",
        ),
        (json!({"type": "Directory", "principalId": "d"}), "d"),
    ] {
        assert_eq!(who(json!({"userIdentity": identity}))[0], uid);
    }
}

#[test]
fn another_clouds_trail_is_not_of_aws() {
    let trail = |changes: Value| {
        let event = json!({"eventName": "DeleteInstance", "eventTime": "2026-01-02T03:04:05Z", "eventVersion": "1",
            "eventSource": "ecs.aliyuncs.com", "userIdentity": {"type": "ram-user", "userName": "ann"}});
        letter(FormatChoice::Auto, &changed(&event, changes))
    };
    for (changes, name) in [
        (json!({}), "Alibaba Cloud ActionTrail"),
        (
            json!({"eventSource": "Internal", "acsRegion": "cn-hangzhou"}),
            "Alibaba Cloud ActionTrail",
        ),
        (
            json!({"eventSource": "cvm.tencentcloudapi.com", "eventTime": 1_767_323_045}),
            "Tencent CloudAudit",
        ),
        (
            json!({"eventSource": "trail.example.com"}),
            "trail.example.com",
        ),
        (
            json!({"eventSource": "s3.amazonaws.com.example.com"}),
            "amazonaws.com.example.com",
        ),
    ] {
        let (reason, detail) = trail(changes.clone());
        assert_eq!(reason, "unknown_format", "{changes}");
        assert!(detail.contains(name), "{detail}");
    }
    let own = sign_in(json!({"eventSource": "s3.amazonaws.com"}));
    assert_eq!(own["cloud_provider"], "AWS");
}

#[test]
fn gke_ids_are_of_what_the_entry_says() {
    let entry = |changes: Value| {
        let entry = json!({"insertId": "a", "timestamp": "2026-01-02T03:04:05.123456Z", "logName": "projects/p/logs/l",
            "protoPayload": {"serviceName": "k8s.io", "methodName": "io.k8s.core.v1.pods.get",
                "resourceName": "core/v1/namespaces/prod/pods/a", "authenticationInfo": {"principalEmail": "ann"}}});
        columns(&changed(&entry, changes), &[])
    };
    let payload = |method: &str, who: &str| {
        json!({"protoPayload": {"serviceName": "k8s.io", "methodName": method,
            "resourceName": "core/v1/namespaces/prod/pods/a", "authenticationInfo": {"principalEmail": who}}})
    };
    let first = entry(json!({}));
    let same = entry(payload("io.k8s.core.v1.pods.get", "ann"));
    assert_eq!(first["event_uid"], same["event_uid"]);
    for other in [
        payload("io.k8s.core.v1.pods.delete", "ann"),
        payload("io.k8s.core.v1.pods.get", "eve"),
    ] {
        assert_ne!(entry(other)["event_uid"], first["event_uid"]);
    }
    assert_eq!(first["http_response_code"], 200);
    assert_eq!(first["http_request_url"], "/api/v1/namespaces/prod/pods/a");
    assert_eq!(first["family"], "k8s_audit");
}

#[test]
fn google_outcomes() {
    let status = |payload: Value| {
        let mut event = json!({"insertId": "a", "timestamp": "2026-01-02T03:04:05Z",
            "protoPayload": {"serviceName": "s.googleapis.com", "methodName": "m"}});
        for (key, value) in payload.as_object().unwrap() {
            event["protoPayload"][key] = value.clone();
        }
        let row = columns(&event, &[]);
        let text = |name: &str| {
            row.get(name)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        [text("status"), text("status_code")]
    };
    let login = |method: &str| {
        let method = format!("google.login.LoginService.{method}");
        status(json!({"serviceName": "login.googleapis.com", "methodName": method}))
    };
    let granted = |granted: Value| status(json!({"authorizationInfo": granted}));
    assert_eq!(status(json!({})), ["success", "-"]);
    assert_eq!(status(json!({"status": {"code": 0}})), ["success", "0"]);
    for code in [json!(7), json!("7")] {
        assert_eq!(status(json!({"status": {"code": code}})), ["failure", "7"]);
    }
    assert_eq!(granted(json!([{"granted": false}])), ["failure", "-"]);
    assert_eq!(
        granted(json!([{"granted": false}, {"granted": true}])),
        ["success", "-"]
    );
    assert_eq!(granted(json!([{"permission": "false"}])), ["success", "-"]);
    assert_eq!(login("loginFailure"), ["failure", "-"]);
    assert_eq!(login("loginSuccess"), ["success", "-"]);
    assert_eq!(login("passwordEdit"), ["success", "-"]);
    assert_eq!(login("loginChallenge"), ["-", "-"]);
}

#[test]
fn fields_of_falcos_plugins() {
    let row = |fields: Value| {
        let alert = json!({"rule": "r", "priority": "Notice", "output": "o", "time": "2026-01-02T03:04:05Z",
            "output_fields": fields});
        columns(&alert, &["event_uid", "k8s_cluster_name"])
    };
    let trail = row(
        json!({"ct.user": "ann", "ct.user.arn": "arn:a", "ct.srcip": "203.0.113.7", "ct.name": "N",
        "ct.region": "r", "ct.error": "AccessDenied", "ct.request.bucketname": "b"}),
    );
    for (column, value) in [
        ("actor_user_uid", "arn:a"),
        ("actor_user_name", "ann"),
        ("src_endpoint_ip", "203.0.113.7"),
        ("api_operation", "N"),
        ("cloud_region", "r"),
        ("status", "failure"),
        ("status_code", "AccessDenied"),
        ("resource_name", "b"),
        ("cloud_provider", "AWS"),
    ] {
        assert_eq!(trail[column], value, "{column}");
    }
    let nested = row(json!({"ct": {"user": "ann", "srcip": "cloudformation.amazonaws.com"}}));
    assert_eq!(nested["actor_user_uid"], "ann");
    assert_eq!(
        nested["src_endpoint_domain"],
        "cloudformation.amazonaws.com"
    );
    for code in [json!(403), json!("403")] {
        let audit = row(
            json!({"ka.response.code": code, "ka.user.name": "ann", "ka.sourceips": "(10.0.0.1,203.0.113.7)"}),
        );
        assert_eq!(audit["http_response_code"], 403);
        assert_eq!(audit["status_code"], "403");
        assert_eq!(audit["status"], "failure");
        assert_eq!(audit["src_endpoint_ip"], "203.0.113.7");
    }
    let okta = row(
        json!({"okta.actor.alternateid": "ann@example.org", "okta.actor.id": "00u", "okta.result": "CHALLENGE"}),
    );
    assert_eq!(okta["actor_user_uid"], "00u");
    assert_eq!(okta["actor_user_email_addr"], "ann@example.org");
    assert!(okta.get("status").is_none());
    let nothing = row(json!({"ct.user": "<NA>", "ct.srcip": null, "ka.response.code": "<NA>"}));
    assert!(nothing.get("actor_user_uid").is_none() && nothing.get("http_response_code").is_none());
}
