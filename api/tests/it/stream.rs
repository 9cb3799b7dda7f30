//! The live stream, over a real socket where stopping matters.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, StatusCode};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use weir_api::ApiConfig;

use crate::fixture::{Server, VIEWER, pair, request, server, tokens, with_config};

#[derive(Debug)]
struct Event {
    id: i64,
    kind: String,
    data: Value,
}

struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    async fn next(&mut self) -> Event {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let lines = block.lines();
                    let mut values = lines.filter_map(|line| line.strip_prefix(name));
                    values.next().map(|value| value.trim().to_owned())
                };
                let event = field("data:").map(|data| Event {
                    id: field("id:").unwrap().parse().unwrap(),
                    kind: field("event:").unwrap(),
                    data: serde_json::from_str(&data).unwrap(),
                });
                self.text = rest.to_owned();
                if let Some(event) = event {
                    return event;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.body.next());
            let chunk = chunk.await.expect("an event in time").unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
    async fn take(&mut self, count: usize) -> Vec<i64> {
        let mut ids = vec![];
        for _ in 0..count {
            ids.push(self.next().await.id);
        }
        ids
    }
}

async fn open(server: &Server, query: &str, last: Option<&str>) -> Stream {
    let mut request = request(
        Method::GET,
        &format!("/api/v1/stream{query}"),
        Some(VIEWER),
        None,
    );
    if let Some(last) = last {
        request
            .headers_mut()
            .insert("last-event-id", last.parse().unwrap());
    }
    let response = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Stream {
        body: response.into_body().into_data_stream(),
        text: String::new(),
    }
}

#[tokio::test]
async fn a_stream_starts_now_and_tells_every_change() {
    let server = server().await;
    server.commit(vec![pair("rule-a", "before", 0)]).await;
    let mut stream = open(&server, "", None).await;
    let (alert, incident) = pair("rule-a", "alice", 1);
    let id = incident.incident_id.clone();
    server.commit(vec![(alert, incident)]).await;
    let event = stream.next().await;
    assert_eq!((event.id, &*event.kind), (2, "created"));
    assert_eq!(event.data["incident_id"], *id);
    assert_eq!(event.data["incident"]["status"], "new");

    let path = format!("/api/v1/incidents/{id}");
    server
        .send_json(Method::PATCH, &path, json!({ "status": "closed" }))
        .await;
    let event = stream.next().await;
    assert_eq!((event.id, &*event.kind), (3, "triaged"));
    assert_eq!(event.data["author"], "ann");
    assert_eq!(event.data["incident"]["status"], "closed");
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let server = server().await;
    for second in 0..5 {
        server
            .commit(vec![pair("rule-a", &format!("user-{second}"), second)])
            .await;
    }
    assert_eq!(
        open(&server, "?after=0", None).await.take(5).await,
        [1, 2, 3, 4, 5]
    );
    let mut stream = open(&server, "", Some("3")).await;
    assert_eq!(stream.take(2).await, [4, 5]);
    server.commit(vec![pair("rule-a", "late", 9)]).await;
    assert_eq!(stream.next().await.id, 6);
    // The header goes before the parameter: a browser sends it again with the address it knows.
    let mut stream = open(&server, "?after=0", Some("5")).await;
    assert_eq!(stream.next().await.id, 6);

    // More than one batch, while others write.
    let pairs = (100..700)
        .map(|n| pair("rule-b", &format!("user-{n}"), n))
        .collect();
    server.commit(pairs).await;
    let mut stream = open(&server, "", Some("6")).await;
    let ids = stream.take(600).await;
    assert_eq!(ids, (7..607).collect::<Vec<_>>());
}

#[tokio::test]
async fn bad_positions_are_refused() {
    let server = server().await;
    let ask = |query: &str, last: &str| {
        let path = format!("/api/v1/stream{query}");
        let mut request = request(Method::GET, &path, Some(VIEWER), None);
        request
            .headers_mut()
            .insert("last-event-id", last.parse().unwrap());
        request
    };
    server.send(ask("", "abc")).await.problem(400);
    server.send(ask("", "7")).await.problem(410);
    server.get("/api/v1/stream?after=x").await.problem(400);
}

#[tokio::test]
async fn streams_are_bounded_and_a_closed_one_makes_room() {
    let server = with_config(ApiConfig {
        tokens: tokens(),
        max_streams: 1,
        ..ApiConfig::default()
    })
    .await;
    let stream = open(&server, "", None).await;
    server.get("/api/v1/stream").await.problem(503);
    drop(stream);
    open(&server, "", None).await;
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_stop() {
    let server = server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(weir_api::serve(listener, server.state.clone(), async {
        stopped.await.ok();
    }));
    let mut client = TcpStream::connect(address).await.unwrap();
    let head =
        format!("GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {VIEWER}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut received = String::new();
    let mut read = async |until: &str| {
        let mut buffer = [0; 4096];
        while !received.contains(until) {
            let read = client.read(&mut buffer);
            let read = tokio::time::timeout(Duration::from_secs(10), read).await;
            let count = read.expect("something in time").unwrap();
            assert!(count > 0, "closed before {until}: {received}");
            received.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    read("retry:").await;
    server.commit(vec![pair("rule-a", "alice", 0)]).await;
    read("event: created").await;

    stop.send(()).unwrap();
    // Sooner than the grace for those who do not hang up.
    let served = tokio::time::timeout(Duration::from_secs(9), serving).await;
    served.expect("the server stops").unwrap().unwrap();
}

#[tokio::test]
async fn without_tokens_only_a_loopback_socket_is_served() {
    let server = with_config(ApiConfig::default()).await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let served = weir_api::serve(listener, server.state.clone(), std::future::pending()).await;
    assert!(served.unwrap_err().to_string().contains("loopback"));
    let ok = Request::builder()
        .uri("/healthz")
        .body(Body::empty())
        .unwrap();
    assert_eq!(server.send(ok).await.status, 200);
}
