//! Who may ask what.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt;
use weir_api::{ApiConfig, ApiState, openapi_json};

use crate::fixture::{ANALYST, HOOK, VIEWER, request, server, tokens, with_config};

const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Every operation of the document, with `x` for its parameters.
fn operations() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    let mut operations = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            operations.push((method, path.replace("{id}", "x")));
        }
    }
    assert!(operations.len() >= 17, "{operations:?}");
    operations
}

#[tokio::test]
async fn every_operation_wants_a_token() {
    let server = server().await;
    for (method, path) in operations() {
        for token in [None, Some("wrong"), Some("")] {
            let answer = server
                .send(request(method.clone(), &path, token, None))
                .await;
            if OPEN.contains(&path.as_str()) {
                assert_ne!(answer.status, 401, "{method} {path}");
                continue;
            }
            answer.problem(401);
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer",
                "{method} {path}"
            );
        }
    }
    // A stranger does not learn what exists.
    let nowhere = request(Method::GET, "/api/v1/nowhere", None, None);
    server.send(nowhere).await.problem(401);
    let wrong_method = request(Method::DELETE, "/api/v1/incidents", None, None);
    server.send(wrong_method).await.problem(401);
}

#[tokio::test]
async fn every_operation_wants_its_role() {
    let server = server().await;
    let mut refused = 0;
    for (method, path) in operations() {
        let reads = method == Method::GET;
        if path.ends_with("/stream") {
            // Its body does not end; the head says enough.
            let request = request(method, &path, Some(VIEWER), None);
            let response = server.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            continue;
        }
        for token in [VIEWER, HOOK] {
            let answer = server
                .send(request(method.clone(), &path, Some(token), Some(json!({}))))
                .await;
            if reads {
                assert_ne!(answer.status, 401, "{path}");
                assert_ne!(answer.status, 403, "{path}");
            } else {
                let problem = answer.problem(403);
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("analyst"), "{detail}");
                refused += 1;
            }
        }
        let answer = server
            .send(request(
                method.clone(),
                &path,
                Some(ANALYST),
                Some(json!({})),
            ))
            .await;
        assert_ne!(answer.status, 403, "{method} {path}");
    }
    assert_eq!(
        refused, 6,
        "PATCH incident, POST comment, POST sql; two roles"
    );
}

fn local(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn without_tokens_pages_from_elsewhere_are_refused() {
    let server = with_config(ApiConfig::default()).await;
    let path = "/api/v1/incidents";
    for host in [
        "localhost",
        "localhost:8470",
        "127.0.0.1:1",
        "127.8.8.8",
        "[::1]:8470",
    ] {
        let answer = server.send(local(path, &[("host", host)])).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    let strangers = [
        "evil.example",
        "127.0.0.1.evil.example:8470",
        "localhost@evil.example",
        "evil.example@localhost",
        "10.0.0.1",
        "[::2]",
        "2130706433",
        "0.0.0.0:8470",
        "",
    ];
    for host in strangers {
        server
            .send(local(path, &[("host", host)]))
            .await
            .problem(403);
        let metrics = server.send(local("/metrics", &[("host", host)])).await;
        metrics.problem(403);
    }
    server.send(local(path, &[])).await.problem(403);
    let twice = [("host", "localhost"), ("host", "evil.example")];
    server.send(local(path, &twice)).await.problem(403);

    let host = ("host", "localhost:8470");
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:3000",
        "http://localhost:8470.evil.example",
    ] {
        let answer = server.send(local(path, &[host, ("origin", origin)])).await;
        answer.problem(403);
    }
    let own = local(path, &[host, ("origin", "http://localhost:8470")]);
    assert_eq!(server.send(own).await.status, 200);
    let cross = local(path, &[host, ("sec-fetch-site", "cross-site")]);
    server.send(cross).await.problem(403);
    assert_eq!(server.send(local("/healthz", &[])).await.status, 200);
    let metrics = server.send(local("/metrics", &[host])).await;
    assert_eq!(metrics.status, 200);
}

#[tokio::test]
async fn with_tokens_the_host_does_not_matter() {
    let server = server().await;
    let headers = [
        ("host", "weir.example"),
        ("authorization", "Bearer viewer-token"),
    ];
    let answer = server.send(local("/api/v1/incidents", &headers)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_state_that_would_be_open_to_the_network_cannot_be_made() {
    let server = server().await;
    let mut config = ApiConfig {
        listen: "0.0.0.0:8470".parse().unwrap(),
        ..ApiConfig::default()
    };
    let make = |config: &ApiConfig| {
        let state = server.state.clone();
        ApiState::new(
            config,
            state.store,
            state.health,
            state.rules,
            state.events,
            state.sql,
        )
    };
    let error = make(&config).err().unwrap().to_string();
    assert!(error.contains("0.0.0.0:8470") && error.contains("loopback"));
    config.tokens = tokens();
    assert!(make(&config).is_ok());
}
