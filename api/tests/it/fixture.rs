//! A server without a socket: router, store in a temporary folder, and helpers to ask it.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt;
use weir_api::{ApiConfig, ApiState, EventLookup, Role, SqlRunner, Token};
use weir_engine::alert::{Alert, AlertState, Entity, Evidence, alert_id};
use weir_engine::health::Health;
use weir_engine::hunt::{QueryResult, Refusal, ResultColumn};
use weir_engine::incident::Incident;
use weir_engine::rule::{Confidence, Level, Rule, RuleKind, Status, Window};
use weir_engine::store::{Commit, IncidentWrite, SharedStore, SqliteStore};

pub const VIEWER: &str = "viewer-token";
pub const HOOK: &str = "hook-token";
pub const ANALYST: &str = "analyst-token";

pub struct Server {
    pub router: Router,
    pub store: SharedStore,
    pub health: Arc<Health>,
    pub state: ApiState,
    _dir: TempDir,
}

/// Knows every event but those whose id starts with `lost`.
struct Events;

#[async_trait]
impl EventLookup for Events {
    async fn events(&self, wanted: &[Evidence]) -> Result<Vec<Value>, weir_engine::Error> {
        let stored = wanted.iter().filter(|e| !e.event_uid.starts_with("lost"));
        let event = |e: &Evidence| json!({ "event_uid": e.event_uid, "raw": "{\"a\":\"\u{1b}\",\"password\":\"planted-secret\"}" });
        Ok(stored.map(event).collect())
    }
}

/// Answers by what the query is called.
struct Sql;

#[async_trait]
impl SqlRunner for Sql {
    async fn run(&self, query: &str) -> Result<QueryResult, Refusal> {
        match query {
            "DROP TABLE events" => Err(Refusal::refused("DDL is not allowed")),
            "SELECT heavy" => Err(Refusal::memory("more than 256 MiB of memory")),
            "SELECT broken" => Err(Refusal::failed("child died at /secret/path")),
            "SELECT slow" => {
                tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
                Err(Refusal::failed("woke up"))
            }
            "SELECT raw" => Ok(QueryResult {
                columns: vec![ResultColumn {
                    name: "raw".into(),
                    kind: "text".into(),
                }],
                rows: vec![vec![json!("{\"password\":\"planted-secret\",\"n\":1}")]],
                truncated: false,
                elapsed_ms: 2,
                notes: vec![],
            }),
            _ => Ok(QueryResult {
                columns: vec![ResultColumn {
                    name: "n".into(),
                    kind: "integer".into(),
                }],
                rows: vec![vec![json!(1)]],
                truncated: false,
                elapsed_ms: 2,
                notes: vec!["the archive begins later".into()],
            }),
        }
    }
}

pub fn tokens() -> Vec<Token> {
    let token = |name: &str, secret: &str, role| Token {
        name: name.into(),
        sha256_hex: weir_api::auth::sha256_hex(secret),
        role,
    };
    vec![
        token("vera", VIEWER, Role::Viewer),
        token("robot", HOOK, Role::Hook),
        token("ann", ANALYST, Role::Analyst),
    ]
}

pub async fn server() -> Server {
    with_config(ApiConfig {
        tokens: tokens(),
        ..ApiConfig::default()
    })
    .await
}

pub async fn with_config(config: ApiConfig) -> Server {
    let dir = TempDir::new().unwrap();
    let store: SharedStore = Arc::new(SqliteStore::open(dir.path()).await.unwrap());
    let health = Arc::new(Health::default());
    let rules = watch::channel(Arc::new(vec![rule("rule-a"), rule("rule-b")])).1;
    let state = ApiState::new(
        &config,
        store.clone(),
        health.clone(),
        rules,
        Arc::new(Events),
        Arc::new(Sql),
    )
    .unwrap();
    Server {
        router: weir_api::router(state.clone()),
        store,
        health,
        state,
        _dir: dir,
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    /// Checks that this is a problem with that status, and returns it.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(
            problem["type"]
                .as_str()
                .unwrap()
                .starts_with("urn:weir:problem:")
        );
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
    pub fn ids(&self, field: &str) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text);
        let items = self.json()["items"].as_array().unwrap().clone();
        let id = |item: &Value| item[field].as_str().unwrap().to_owned();
        items.iter().map(id).collect()
    }
}

impl Server {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
    /// As the analyst, who may do everything here.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, Some(ANALYST), None))
            .await
    }
    pub async fn send_json(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(request(method, path, Some(ANALYST), Some(body)))
            .await
    }
    pub async fn commit(&self, pairs: Vec<(Alert, Incident)>) {
        let (alerts, incidents): (_, Vec<_>) = pairs.into_iter().unzip();
        let incidents = incidents.iter().map(IncidentWrite::whole).collect();
        let commit = Commit {
            alerts,
            incidents,
            ..Commit::default()
        };
        self.store.commit(&commit).await.unwrap();
    }
}

pub fn request(
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}

fn rule(id: &str) -> Rule {
    Rule {
        id: id.into(),
        title: format!("Title of {id}"),
        status: Status::Stable,
        description: "What it finds.".into(),
        references: vec![],
        author: "Weir".into(),
        date: "2026-11-21".into(),
        tags: vec!["attack.discovery".into(), "attack.t1580".into()],
        level: Level::Medium,
        confidence: Confidence::High,
        query: "SELECT 1".into(),
        kind: RuleKind::Window(Window {
            size: 600_000_000,
            slide: 60_000_000,
        }),
        suppress: None,
        building_block: false,
        tables: Default::default(),
        entities: vec![("user".into(), "actor_user_uid".into())],
        compliance: [("soc2".to_owned(), vec!["CC6.1".to_owned()])].into(),
        falsepositives: vec![],
        runbook: "Look.".into(),
        path: format!("packs/{id}.yml"),
    }
}

/// One alert of a user at a second of 2026-11-21T10:00:00Z, and its incident.
pub fn pair(rule: &str, user: &str, second: i64) -> (Alert, Incident) {
    let time = 1_795_255_200_000_000 + second * 1_000_000;
    let key = vec![("actor_user_uid".to_owned(), user.to_owned())];
    let entity = |kind: &str, value: &str| Entity {
        kind: kind.into(),
        value: value.into(),
    };
    let evidence = |uid: String| Evidence {
        time,
        event_uid: uid,
    };
    let alert = Alert {
        alert_id: alert_id(rule, "v1", &key, time),
        rule_id: rule.into(),
        rule_version: "v1".into(),
        rule_title: format!("Title of {rule}"),
        level: Level::High,
        confidence: Confidence::Medium,
        risk_score: 45,
        key,
        window: None,
        first_time: time,
        last_time: time + 5_000_000,
        entities: vec![entity("user", user), entity("ip", "192.0.2.7")],
        tactics: vec!["discovery".into()],
        techniques: vec!["T1580".into()],
        row: json!({ "denied": 12 }).as_object().unwrap().clone(),
        matches: 3,
        evidence: vec![
            evidence(format!("event-{second}")),
            evidence(format!("lost-{second}")),
        ],
        evidence_count: 7,
        state: AlertState::Final,
        revision: 1,
        watermark: Some(time),
    };
    let incident = Incident {
        incident_id: format!("inc_{}", alert.alert_id),
        title: alert.rule_title.clone(),
        level: alert.level,
        risk_score: 45,
        first_time: alert.first_time,
        last_time: alert.last_time,
        entities: alert.entities.clone(),
        tactics: alert.tactics.clone(),
        techniques: alert.techniques.clone(),
        alert_ids: vec![alert.alert_id.clone()],
        rule_ids: vec![alert.rule_id.clone()],
        open: true,
    };
    (alert, incident)
}
