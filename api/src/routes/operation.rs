//! What operators and their machines ask.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics;
use crate::problem::Problem;
use crate::router::openapi_json;
use crate::state::ApiState;

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operation",
    responses((status = 200, body = Object, description = "OpenAPI 3.1")))]
pub async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], openapi_json())
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    #[schema(example = "ok")]
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    #[schema(example = "ready")]
    status: &'static str,
    /// What keeps a source from reading, by source. It goes on trying, so this does not end readiness.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    problems: BTreeMap<String, String>,
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "operation",
    responses((status = 200, body = Alive, description = "Alive")))]
pub async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// The engine processes events: rules loaded, store open, sources running, last commit good. Else 503 with
/// the reason.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, body = Ready, description = "Ready")))]
pub async fn readyz(State(state): State<ApiState>) -> Result<Json<Ready>, Problem> {
    let health = state.health.snapshot();
    if health.ready {
        let problems = health.sources.into_iter();
        let problems = problems.filter_map(|(name, source)| Some((name, source.problem?)));
        return Ok(Json(Ready {
            status: "ready",
            problems: problems.collect(),
        }));
    }
    let reason = if health.reason.is_empty() {
        "starting".to_owned()
    } else {
        health.reason
    };
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        reason,
    ))
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, body = String, content_type = "text/plain", description = "Text format 0.0.4")))]
pub async fn metrics(State(state): State<ApiState>) -> Response {
    let now = jiff::Timestamp::now().as_microsecond();
    let text = metrics::render(&state.health.snapshot(), now, metrics::resident_memory());
    ([(CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response()
}
