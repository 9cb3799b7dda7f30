//! Rules, SQL, health, metrics, and what the framework refuses.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use weir_api::ApiConfig;
use weir_engine::batch::Counts;
use weir_engine::health::{Intake, RuleHealth, SourceHealth};

use crate::contract::snapshot;
use crate::fixture::{ANALYST, Server, server, tokens, with_config};

#[tokio::test]
async fn rules_come_with_their_health() {
    let server = server().await;
    server.health.update(|health| {
        let rule = RuleHealth {
            kind: "window",
            last_match: Some(1_795_255_200_000_000),
            rows_late: 4,
            errors: 1,
            cost_ns: 1_500_000_000,
            ..RuleHealth::default()
        };
        health.rules.insert("rule-a".into(), rule);
    });
    let answer = server.get("/api/v1/rules").await;
    assert_eq!(answer.ids("id"), ["rule-a", "rule-b"]);
    let rules = answer.json();
    let health = &rules["items"][0]["health"];
    assert_eq!(health["last_match"], "2026-11-21T10:00:00.000000Z");
    assert_eq!(health["rows_late"], 4);
    assert_eq!(health["cost_seconds"], 1.5);
    assert!(rules["items"][1]["health"].is_null());

    let rule = server.get("/api/v1/rules/rule-a").await.json();
    assert_eq!(rule["query"], "SELECT 1");
    assert_eq!(rule["window"]["size_seconds"], 600.0);
    assert_eq!(rule["techniques"], json!(["T1580"]));
    assert_eq!(rule["compliance"]["soc2"][0], "CC6.1");
    server.get("/api/v1/rules/rule-z").await.problem(404);
}

async fn sql(server: &Server, query: &str) -> crate::fixture::Answer {
    let body = json!({ "query": query });
    server.send_json(Method::POST, "/api/v1/sql", body).await
}

#[tokio::test]
async fn sql_answers_and_refusals() {
    let server = server().await;
    let answer = sql(&server, "SELECT 1").await.json();
    assert_eq!(
        answer["columns"],
        json!([{ "name": "n", "type": "integer" }])
    );
    assert_eq!(answer["notes"], json!(["the archive begins later"]));
    assert_eq!(answer["rows"], json!([[1]]));
    let refused = sql(&server, "DROP TABLE events").await.problem(400);
    assert_eq!(refused["type"], "urn:weir:problem:query-refused");
    assert_eq!(refused["detail"], "DDL is not allowed");
    sql(&server, "SELECT heavy").await.problem(422);
    let broken = sql(&server, "SELECT broken").await;
    broken.problem(500);
    assert!(!broken.text.contains("/secret"), "{}", broken.text);
    sql(&server, " ").await.problem(400);
    sql(&server, &"x".repeat(8_193)).await.problem(400);
}

#[tokio::test]
async fn secrets_are_masked_unless_that_is_turned_off() {
    for mask_secrets in [true, false] {
        let config = ApiConfig {
            tokens: tokens(),
            mask_secrets,
            ..ApiConfig::default()
        };
        let server = with_config(config).await;
        let answer = sql(&server, "SELECT raw").await;
        assert_eq!(answer.text.contains("planted-secret"), !mask_secrets);
        let raw = answer.json()["rows"][0][0].clone();
        let password = if mask_secrets {
            "***"
        } else {
            "planted-secret"
        };
        assert_eq!(raw, format!("{{\"password\":\"{password}\",\"n\":1}}"));
    }
}

#[tokio::test]
async fn slow_sql_ends_and_others_wait_only_so_long() {
    let server = with_config(ApiConfig {
        tokens: tokens(),
        sql_concurrency: 1,
        sql_timeout: Duration::from_secs(2),
        sql_queue: Duration::from_millis(100),
        ..ApiConfig::default()
    })
    .await;
    let (slow, queued) = tokio::join!(sql(&server, "SELECT slow"), sql(&server, "SELECT 1"));
    slow.problem(504);
    let problem = queued.problem(503);
    assert_eq!(problem["type"], "urn:weir:problem:busy");
    assert!(!queued.header("retry-after").is_empty());
    // The slot of the one that was cut off is free again.
    assert_eq!(sql(&server, "SELECT 1").await.status, 200);
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_too() {
    let server = server().await;
    server.get("/").await.problem(404);
    server.get("/api/v1/nowhere").await.problem(404);
    let delete = server
        .send_json(Method::DELETE, "/api/v1/incidents", json!({}))
        .await;
    delete.problem(405);
    assert!(
        delete.header("allow").contains("GET"),
        "{:?}",
        delete.headers
    );

    let post = |content: &str, body: Body| {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/sql")
            .header("authorization", format!("Bearer {ANALYST}"))
            .header("content-type", content);
        request.body(body).unwrap()
    };
    let json = "application/json";
    server
        .send(post("text/plain", "{}".into()))
        .await
        .problem(415);
    for bad in [
        "",
        "{",
        "nul\u{0}",
        "{\"query\":1}",
        "{\"query\":\"a\"}{}",
        "[]",
    ] {
        server
            .send(post(json, bad.to_owned().into()))
            .await
            .problem(400);
    }
    let invalid = Body::from(b"{\"query\":\"\xff\"}".to_vec());
    server.send(post(json, invalid)).await.problem(400);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    server.send(post(json, deep.into())).await.problem(400);
    let large = format!("{{\"query\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = server.send(post(json, large.into())).await;
    assert_eq!(answer.problem(413)["type"], "urn:weir:problem:too-large");
}

#[tokio::test]
async fn health_and_readiness() {
    let server = server().await;
    assert_eq!(server.get("/healthz").await.json()["status"], "ok");
    server.get("/readyz").await.problem(503);
    server
        .health
        .update(|health| health.reason = "kafka does not answer".into());
    let problem = server.get("/readyz").await.problem(503);
    assert_eq!(problem["detail"], "kafka does not answer");
    server.health.update(|health| health.ready = true);
    let ready = server.get("/readyz").await.json();
    assert_eq!(ready, serde_json::json!({"status": "ready"}));
    // A source that cannot read goes on trying: that is told, and readiness stays.
    server.health.update(|health| {
        let source = health.sources.entry("audit".into()).or_default();
        source.problem = Some("cannot reach 10.0.0.1:9092".into());
    });
    let ready = server.get("/readyz").await.json();
    let problems = serde_json::json!({"audit": "cannot reach 10.0.0.1:9092"});
    assert_eq!(
        (&ready["status"], &ready["problems"]),
        (&"ready".into(), &problems)
    );
}

#[tokio::test]
async fn metrics_have_these_names_and_labels() {
    let server = server().await;
    server.health.update(|health| {
        let source = SourceHealth {
            counts: Counts {
                read: 19,
                processed: 6,
                duplicates: 1,
                unchanged: 5,
                waiting: 4,
                dead_lettered: 2,
                filtered: 1,
                late: 3,
                bytes: 99,
            },
            dead_letter_reasons: [("invalid_json".to_owned(), 1)].into(),
            lag: [("topic/0".to_owned(), 5)].into(),
            watermarks: [("topic/0".to_owned(), 1_000_000)].into(),
            idle: [("topic/0".to_owned(), false)].into(),
            future: 1,
            problem: Some("cannot reach the broker".into()),
            intake: Some(Intake {
                requests: [(202, 7), (429, 1)].into(),
                bytes: 1234,
                spool_bytes: 16,
            }),
        };
        health.sources.insert("audit\"\n".into(), source);
        health.rules.insert("rule-a".into(), RuleHealth::default());
        health.guard_trips.insert("entity_cardinality".into(), 2);
        health.watermark = Some(1_000_000);
        health.enrichment.indicators = 7;
        health.enrichment.unused = [("revoked".to_owned(), 3)].into();
        health.enrichment.broken = vec!["indicators".into()];
        health.last_commit = Some(1);
    });
    let answer = server.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let text = answer.text;
    for line in [
        "weir_events_read_total{source=\"audit\\\"\\n\"} 19",
        "weir_events_unchanged_total{source=\"audit\\\"\\n\"} 5",
        "weir_events_waiting{source=\"audit\\\"\\n\"} 4",
        "weir_events_dead_lettered_total{source=\"audit\\\"\\n\",reason=\"invalid_json\"} 1",
        "weir_events_dead_lettered_total{source=\"audit\\\"\\n\",reason=\"unknown\"} 1",
        "weir_kafka_lag_messages{source=\"audit\\\"\\n\",partition=\"topic/0\"} 5",
        "weir_correlation_guard_trips_total{guard=\"entity_cardinality\"} 2",
        "weir_enrichment_entries{kind=\"indicators\"} 7",
        "weir_enrichment_unused_entries{reason=\"revoked\"} 3",
        "weir_enrichment_broken{part=\"indicators\"} 1",
        "weir_push_requests_total{source=\"audit\\\"\\n\",status=\"429\"} 1",
        "weir_push_spool_bytes{source=\"audit\\\"\\n\"} 16",
        "weir_ready 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    // Names, types and labels, without values.
    let mut names = String::new();
    for line in text.lines().filter(|line| !line.starts_with("# HELP")) {
        match line.strip_prefix("# TYPE ") {
            Some(family) => names.push_str(family),
            None => {
                let line = line.replace("\\\"", "");
                let labels = line.split('"').step_by(2).collect::<String>();
                let labels = labels.rsplit_once(' ').map_or("", |(name, _)| name);
                names.push_str("  ");
                names.push_str(labels);
            }
        }
        names.push('\n');
    }
    snapshot("tests/it/metrics.txt", &names);
}
