//! One incident: reading it, changing it, talking about it.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use weir_engine::store::{Commit, IncidentWrite};

use crate::fixture::{ANALYST, Answer, Server, pair, server};

async fn patch(server: &Server, id: &str, if_match: Option<&str>, body: Value) -> Answer {
    let mut request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/api/v1/incidents/{id}"))
        .header("authorization", format!("Bearer {ANALYST}"))
        .header("content-type", "application/json");
    if let Some(etag) = if_match {
        request = request.header("if-match", etag);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    server.send(request).await
}

/// A server with one incident.
async fn with_one() -> (Server, String) {
    let server = server().await;
    let (alert, incident) = pair("rule-a", "alice", 0);
    let id = incident.incident_id.clone();
    server.commit(vec![(alert, incident)]).await;
    (server, id)
}

#[tokio::test]
async fn one_incident_has_alerts_timeline_and_evidence() {
    let (server, id) = with_one().await;
    let answer = server.get(&format!("/api/v1/incidents/{id}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("etag"), "\"1\"");
    let incident = answer.json();
    assert_eq!(incident["incident_id"], *id);
    assert_eq!(incident["status"], "new");
    assert_eq!(incident["level"], "high");
    assert_eq!(incident["first_time"], "2026-11-21T10:00:00.000000Z");
    assert_eq!(incident["entity_count"], 2);
    assert_eq!(
        incident["alerts"][0]["key"],
        json!({ "actor_user_uid": "alice" })
    );
    assert_eq!(incident["alerts"][0]["row"]["denied"], 12);
    assert_eq!(incident["timeline"][0]["type"], "alert");
    assert_eq!(
        incident["timeline"][0]["time"],
        "2026-11-21T10:00:00.000000Z"
    );
    assert_eq!(incident["timeline"][1]["type"], "change");
    assert_eq!(incident["timeline"][1]["kind"], "created");
    assert_eq!(incident["evidence"][0]["event_uid"], "event-0");
    assert_eq!(incident["evidence_count"], 7);
    assert_eq!(incident["truncated"], false);
    server
        .get("/api/v1/incidents/inc_nobody")
        .await
        .problem(404);
}

#[tokio::test]
async fn evidence_events_come_with_raw_and_the_lost_ones_are_named() {
    let (server, id) = with_one().await;
    let path = format!("/api/v1/incidents/{id}/events");
    let page = server.get(&path).await.json();
    assert_eq!(page["items"][0]["event_uid"], "event-0");
    assert_eq!(
        page["items"][0]["raw"],
        "{\"a\":\"\u{1b}\",\"password\":\"***\"}"
    );
    assert_eq!(page["missing"][0]["event_uid"], "lost-0");
    assert_eq!(page["next_cursor"], Value::Null);

    let first = server.get(&format!("{path}?limit=1")).await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 1);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = server
        .get(&format!("{path}?limit=1&cursor={cursor}"))
        .await
        .json();
    assert_eq!(second["missing"][0]["event_uid"], "lost-0");
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn triage_with_and_without_a_revision() {
    let (server, id) = with_one().await;
    let body = json!({ "status": "in_progress", "assignee": "ann" });
    let answer = patch(&server, &id, Some("\"1\""), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("etag"), "\"2\"");
    assert_eq!(answer.json()["assignee"], "ann");

    let stale = patch(&server, &id, Some("\"1\""), json!({ "status": "closed" })).await;
    let problem = stale.problem(412);
    assert_eq!(problem["revision"], 2);

    let cleared = patch(&server, &id, None, json!({ "assignee": null })).await;
    assert_eq!(cleared.json()["assignee"], Value::Null);
    assert_eq!(cleared.json()["status"], "in_progress", "left as it is");
    let body = json!({ "status": "closed", "verdict": "false_positive" });
    let closed = patch(&server, &id, Some("*"), body).await.json();
    assert_eq!(closed["verdict"], "false_positive");

    let illegal = patch(&server, &id, None, json!({ "status": "on_hold" })).await;
    let problem = illegal.problem(409);
    assert_eq!(problem["type"], "urn:weir:problem:illegal-transition");
    assert_eq!(
        (&problem["from"], &problem["to"]),
        (&json!("closed"), &json!("on_hold"))
    );

    let timeline = server
        .get(&format!("/api/v1/incidents/{id}/timeline"))
        .await
        .json();
    let last = timeline["items"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last["kind"], "triaged");
    assert_eq!(last["author"], "ann");
    assert_eq!(
        last["detail"]["status"],
        json!({ "from": "in_progress", "to": "closed" })
    );
}

#[tokio::test]
async fn two_analysts_at_once_lose_nothing() {
    let (server, id) = with_one().await;
    let status = patch(&server, &id, None, json!({ "status": "in_progress" }));
    let assignee = patch(&server, &id, None, json!({ "assignee": "bob" }));
    let verdict = patch(&server, &id, None, json!({ "verdict": "benign" }));
    let (one, two, three) = tokio::join!(status, assignee, verdict);
    for answer in [one, two, three] {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let incident = server.get(&format!("/api/v1/incidents/{id}")).await.json();
    assert_eq!(incident["status"], "in_progress");
    assert_eq!(incident["assignee"], "bob");
    assert_eq!(incident["verdict"], "benign");
    assert_eq!(incident["revision"], 4);
}

#[tokio::test]
async fn bad_changes_are_explained() {
    let (server, id) = with_one().await;
    let cases = [
        (json!({}), "nothing to change"),
        (json!({ "status": "done" }), "unknown variant"),
        (json!({ "severity": "low" }), "unknown field"),
        (json!({ "assignee": "" }), "assignee"),
        (json!({ "assignee": "x".repeat(201) }), "201 characters"),
        (json!("closed"), "invalid type"),
    ];
    for (body, expected) in cases {
        let problem = patch(&server, &id, None, body).await.problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
    }
    for etag in ["1", "W/\"1\"", "\"x\"", "\"1\", \"2\""] {
        let answer = patch(&server, &id, Some(etag), json!({ "status": "closed" })).await;
        answer.problem(400);
    }
    patch(&server, "inc_nobody", None, json!({ "status": "closed" }))
        .await
        .problem(404);
}

#[tokio::test]
async fn comments_are_kept_in_order_with_their_author() {
    let (server, id) = with_one().await;
    let path = format!("/api/v1/incidents/{id}/comments");
    let hostile = "<script>alert(1)</script> \u{1b}[31m ü";
    for text in ["first", hostile] {
        let answer = server
            .send_json(Method::POST, &path, json!({ "text": text }))
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(
            !answer.text.contains('\u{1b}'),
            "control characters are escaped"
        );
    }
    let comments = server.get(&path).await.json();
    assert_eq!(comments["items"][0]["text"], "first");
    assert_eq!(comments["items"][1]["text"], hostile);
    assert_eq!(comments["items"][1]["author"], "ann");
    let incident = server.get(&format!("/api/v1/incidents/{id}")).await.json();
    assert_eq!(incident["comment_count"], 2);
    let last = incident["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(last["detail"]["text"], hostile);

    for text in ["", "  \n", &"x".repeat(10_001)] {
        let answer = server
            .send_json(Method::POST, &path, json!({ "text": text }))
            .await;
        answer.problem(400);
    }
    let nobody = "/api/v1/incidents/inc_nobody/comments";
    server.get(nobody).await.problem(404);
    let answer = server
        .send_json(Method::POST, nobody, json!({ "text": "x" }))
        .await;
    answer.problem(404);
}

#[tokio::test]
async fn a_merged_incident_points_to_its_survivor() {
    let (server, gone) = with_one().await;
    let (alert, incident) = pair("rule-a", "alice", -60);
    let survivor = incident.incident_id.clone();
    let commit = Commit {
        alerts: vec![alert],
        incidents: vec![IncidentWrite::whole(&incident)],
        merged: vec![(gone.clone(), survivor.clone())],
        ..Commit::default()
    };
    server.store.commit(&commit).await.unwrap();
    let old = server
        .get(&format!("/api/v1/incidents/{gone}"))
        .await
        .json();
    assert_eq!(old["merged_into"], *survivor);
    let problem = patch(&server, &gone, None, json!({ "status": "closed" })).await;
    assert_eq!(problem.problem(409)["merged_into"], *survivor);
    let path = format!("/api/v1/incidents/{gone}/comments");
    let comment = server
        .send_json(Method::POST, &path, json!({ "text": "x" }))
        .await;
    assert_eq!(comment.problem(409)["merged_into"], *survivor);
    let list = server.get("/api/v1/incidents").await;
    assert_eq!(list.ids("incident_id"), [survivor]);
}

#[tokio::test]
async fn a_long_timeline_comes_in_pages() {
    let (server, id) = with_one().await;
    let path = format!("/api/v1/incidents/{id}/comments");
    for number in 0..7 {
        server
            .send_json(Method::POST, &path, json!({ "text": number.to_string() }))
            .await;
    }
    let mut kinds = vec![];
    let mut query = "limit=3".to_owned();
    loop {
        let path = format!("/api/v1/incidents/{id}/timeline?{query}");
        let page = server.get(&path).await.json();
        for item in page["items"].as_array().unwrap() {
            let text = &item["detail"]["text"];
            kinds.push(
                text.as_str()
                    .unwrap_or(item["type"].as_str().unwrap())
                    .to_owned(),
            );
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("limit=3&cursor={cursor}");
    }
    assert_eq!(
        kinds,
        ["alert", "change", "0", "1", "2", "3", "4", "5", "6"]
    );
}
