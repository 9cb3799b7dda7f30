//! Lists: filters, pages, and bad parameters.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fixture::{Server, pair, server};

async fn with_many(count: i64) -> Server {
    let server = server().await;
    for second in 0..count {
        let rule = if second % 2 == 0 { "rule-a" } else { "rule-b" };
        let user = format!("user-{second}");
        server.commit(vec![pair(rule, &user, second * 3600)]).await;
    }
    server
}

#[tokio::test]
async fn pages_have_every_incident_once_newest_change_first() {
    let server = with_many(7).await;
    for (path, field) in [
        ("/api/v1/incidents", "incident_id"),
        ("/api/v1/alerts", "alert_id"),
    ] {
        let all = server.get(path).await;
        assert_eq!(all.json()["next_cursor"], Value::Null);
        let all = all.ids(field);
        assert_eq!(all.len(), 7);
        let mut seen = vec![];
        let mut next = format!("{path}?limit=3");
        let mut pages = 0;
        loop {
            let page = server.get(&next).await;
            seen.extend(page.ids(field));
            pages += 1;
            let page = page.json();
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            next = format!("{path}?limit=3&cursor={cursor}");
        }
        assert_eq!((pages, seen), (3, all));
    }
    // A full last page has no next one.
    let page = server.get("/api/v1/incidents?limit=7").await.json();
    assert_eq!(page["next_cursor"], Value::Null);
}

#[tokio::test]
async fn filters() {
    let server = with_many(4).await;
    let id = server.get("/api/v1/incidents").await.ids("incident_id")[0].clone();
    let body = json!({ "status": "on_hold", "assignee": "ann" });
    let path = format!("/api/v1/incidents/{id}");
    server.send_json(Method::PATCH, &path, body).await;
    let cases = [
        ("incidents", "", 4),
        ("incidents", "status=on_hold", 1),
        ("incidents", "status=new", 3),
        ("incidents", "min_level=high", 4),
        ("incidents", "min_level=critical", 0),
        ("incidents", "entity=user-2", 1),
        ("incidents", "entity=user:user-2", 1),
        ("incidents", "entity=ip:192.0.2.7", 4),
        ("incidents", "entity=%27%20OR%201=1--", 0),
        ("incidents", "entity=%00", 0),
        ("incidents", "tactic=discovery", 4),
        ("incidents", "tactic=impact", 0),
        ("incidents", "rule_id=rule-b", 2),
        ("incidents", "assignee=ann", 1),
        ("incidents", "from=2026-11-21T11:00:00Z", 3),
        ("incidents", "to=2026-11-21T11:00:00Z", 1),
        (
            "incidents",
            "from=2026-11-21T12:00:00%2B01:00&to=2026-11-21T11:30:00Z",
            1,
        ),
        ("incidents", "rule_id=rule-b&status=on_hold", 1),
        ("alerts", "", 4),
        ("alerts", "rule_id=rule-a", 2),
        ("alerts", "state=final", 4),
        ("alerts", "state=retracted", 0),
        ("alerts", "min_level=high&entity=user-1", 1),
        ("alerts", "from=2026-11-21T12:30:00Z", 1),
        ("alerts", "to=2026-11-21T10:00:00Z", 0),
    ];
    for (list, query, expected) in cases {
        let answer = server.get(&format!("/api/v1/{list}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let found = answer.json()["items"].as_array().unwrap().len();
        assert_eq!(found, expected, "{list}?{query}");
    }
}

#[tokio::test]
async fn bad_parameters_are_explained() {
    let server = with_many(1).await;
    let cases = [
        ("limit=0", "limit is 0"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=", "cursor"),
        ("from=yesterday", "\"yesterday\" is not a time"),
        ("from=2026-11-21", "is not a time"),
        ("min_level=severe", "unknown variant `severe`"),
        ("colour=red", "unknown field `colour`"),
        ("limit=1&limit=2", "duplicate field"),
    ];
    for list in ["incidents", "alerts"] {
        for (query, expected) in cases {
            let answer = server.get(&format!("/api/v1/{list}?{query}")).await;
            let problem = answer.problem(400);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(expected), "{list}?{query}: {detail}");
        }
        let huge = server
            .get(&format!("/api/v1/{list}?limit=1000000000"))
            .await;
        assert_eq!(huge.status, 200, "clamped");
        let huge = server
            .get(&format!("/api/v1/{list}?limit=10000000000000"))
            .await;
        assert_eq!(huge.status, 200, "clamped");
    }
    server.get("/api/v1/incidents/%FF").await.problem(400);
    server
        .get("/api/v1/incidents?status=done")
        .await
        .problem(400);
    server.get("/api/v1/alerts?state=open").await.problem(400);
}

#[tokio::test]
async fn one_alert() {
    let server = with_many(1).await;
    let id = server.get("/api/v1/alerts").await.ids("alert_id")[0].clone();
    let alert = server.get(&format!("/api/v1/alerts/{id}")).await.json();
    assert_eq!(alert["rule_id"], "rule-a");
    assert_eq!(alert["evidence"][0]["time"], "2026-11-21T10:00:00.000000Z");
    server.get("/api/v1/alerts/nobody").await.problem(404);
}
