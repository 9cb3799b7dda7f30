#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const AWS_KEY: &str = "wJalrXUtnFEMIqK7MDENGbPxRfiCYzEXAMPLE0Ke";
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
const PEM: &str =
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabcd\n-----END RSA PRIVATE KEY-----";

fn hidden(input: &str, secret: &str) -> String {
    let out = text(input).into_owned();
    assert!(!out.contains(secret), "{secret} is still in {out}");
    assert!(out.contains(MASK), "{out}");
    out
}

#[test]
fn members_are_known_by_their_name() {
    for key in [
        "secretAccessKey",
        "SecretAccessKey",
        "sessionToken",
        "password",
        "masterUserPassword",
        "passwd",
        "token",
        "access_token",
        "client_secret",
        "clientSecret",
        "Authorization",
        "aws_secret_access_key",
        "x-amz-security-token",
        "private_key",
        "db-password",
    ] {
        let input = json!({"a": [{key: "hunter2", "other": "kept"}], "n": 1}).to_string();
        let out = hidden(&input, "hunter2");
        let expected = json!({"a": [{key: MASK, "other": "kept"}], "n": 1});
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
    }
}

#[test]
fn what_is_not_secret_stays_byte_for_byte() {
    for input in [
        r#"{ "nextToken" : "abc",  "n":12345678901234567890123, "f": 1.0e5, "passwordLastUsed":"2026-01-01", "u":"\u00e9\/" }"#,
        r#"{"authorization":{"scope":"/subscriptions/1","action":"read"},"secret":{"secretName":"db"}}"#,
        r#"{"kind":"ConfigMap","data":{"a":"b"}}"#,
        r#"{"arn":"arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"}"#,
        r#"{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","password":null,"resetPassword":true}"#,
        "GET /api/v1/namespaces/kube-system/pods?limit=500",
        "token expired",
        "",
        "[",
        "{",
    ] {
        assert!(
            matches!(text(input), Cow::Borrowed(_)),
            "{input} became {}",
            text(input)
        );
    }
}

#[test]
fn kubernetes_secrets_lose_their_data_in_any_order_and_in_annotations() {
    let object = json!({"data": {"user": "YW5h", "n": 7}, "stringData": {"x": "plain-text"}, "kind": "Secret", "metadata": {"name": "db",
        "annotations": {"last-applied": json!({"data": {"user": "YW5h"}, "kind": "Secret"}).to_string()}}});
    let event =
        json!({"verb": "create", "objectRef": {"resource": "secrets"}, "requestObject": object});
    let out = hidden(&event.to_string(), "YW5h");
    assert!(!out.contains("plain-text"), "{out}");
    let read: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        read["requestObject"]["data"],
        json!({"user": MASK, "n": MASK})
    );
    assert_eq!(read["requestObject"]["metadata"]["name"], "db");
    // A patch names no kind.
    let patch = json!({"objectRef": {"resource": "secrets"}, "requestObject": [{"op": "add", "path": "/data/k", "value": "c2Vj"}]});
    hidden(&patch.to_string(), "c2Vj");
    let list = json!({"kind": "SecretList", "items": [{"metadata": {"name": "a"}, "data": {"k": "c2Vj"}}]});
    hidden(&list.to_string(), "c2Vj");
    hidden("{ \"password\" : \"hunter2\" }", "hunter2");
}

#[test]
fn variables_are_known_by_the_name_beside_them() {
    let input = json!({"environment": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "REGION", "value": "eu"}]});
    let out: Value = serde_json::from_str(&hidden(&input.to_string(), "hunter2")).unwrap();
    assert_eq!(out["environment"][1]["value"], "eu");
}

#[test]
fn shapes_are_found_anywhere() {
    for (secret, part) in [(AWS_KEY, AWS_KEY), (JWT, "eyJzdWIi"), (PEM, "MIIEow")] {
        assert_eq!(AWS_KEY.len(), 40);
        hidden(secret, part);
        hidden(&format!("said {secret} and more"), part);
        let out = hidden(
            &json!({"note": format!("x {secret} y"), "after": "kept"}).to_string(),
            part,
        );
        assert_eq!(
            serde_json::from_str::<Value>(&out).unwrap()["after"],
            "kept"
        );
        let inside =
            json!({"policy": json!({"deep": json!({"note": secret}).to_string()}).to_string()});
        let out = hidden(&inside.to_string(), part);
        serde_json::from_str::<Value>(&out).unwrap();
    }
}

#[test]
fn text_is_searched_for_pairs_headers_and_urls() {
    for (input, secret, rest) in [
        (
            "curl -H 'Authorization: Bearer abcdefgh1234' https://x",
            "abcdefgh1234",
            "https://x",
        ),
        ("authorization: Basic YW5hOnB3", "YW5hOnB3", "authorization"),
        ("mysql --password hunter2 -h db", "hunter2", "-h db"),
        ("mysql --password=hunter2 -h db", "hunter2", "-h db"),
        ("export AWS_SECRET_ACCESS_KEY=short; ls", "short", "; ls"),
        ("/login?user=ana&token=abc123&x=1", "abc123", "&x=1"),
        (
            "git clone https://ana:hunter2@git.example/x",
            "hunter2",
            "git.example/x",
        ),
        ("password: hunter2", "hunter2", "password"),
        ("{password=hunter2, user=ana}", "hunter2", "user=ana"),
        ("{'client_secret': 'hunter2', 'a': 1}", "hunter2", "'a': 1"),
    ] {
        let out = hidden(input, secret);
        assert!(out.contains(rest), "{out}");
    }
}

#[test]
fn cut_documents_are_masked_to_their_end() {
    let whole = json!({"user": "ana", "password": "hunter2hunter2", "key": PEM}).to_string();
    for end in 0..whole.len() {
        let out = text(&whole[..end]).into_owned();
        assert!(!out.contains("hunter2") && !out.contains("MIIEow"), "{out}");
    }
    let out = bytes(b"{\"password\":\"hunter2\",\"x\":\"\xff\"}").into_owned();
    assert!(!String::from_utf8_lossy(&out).contains("hunter2"));
    assert!(matches!(bytes(b"\xff\xfe"), Cow::Borrowed(_)));
}

#[test]
fn values_keep_their_shape() {
    let mut row = json!({"raw": json!({"password": "hunter2"}).to_string(), "n": 1, "tags": ["password=hunter2"]});
    value(&mut row);
    assert!(!row.to_string().contains("hunter2"), "{row}");
    assert_eq!(row["n"], 1);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(?s).{0,20}".prop_map(Value::from),
        "[a-z]{0,4}(password|token|eyJ|Bearer |=|:|--)[ -~]{0,30}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z\"\\\\]{0,6}",
        Just("password".into()),
        Just("data".into()),
        Just("kind".into()),
        Just("name".into())
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_stays_valid(json in any_json(), pretty in any::<bool>()) {
        let input = if pretty { serde_json::to_string_pretty(&json).unwrap() } else { json.to_string() };
        let out = text(&input);
        if input.starts_with(['{', '[']) {
            let read = serde_json::from_str::<Value>(&out);
            prop_assert!(read.is_ok(), "{} became {}", input, out);
        }
    }

    #[test]
    fn masking_twice_is_masking_once(json in any_json()) {
        let once = text(&json.to_string()).into_owned();
        prop_assert_eq!(text(&once).into_owned(), once.clone());
    }

    #[test]
    fn no_text_is_too_strange(input in "(?s).{0,100}") {
        let _ = text(&input);
        let _ = bytes(input.as_bytes());
    }
}
