//! Incidents: the list, one of them, and its triage.

use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use weir_engine::incident::{IncidentStatus, Verdict};
use weir_engine::rule::Level;
use weir_engine::store::{ChangeOutcome, IncidentQuery, StoredIncident, TriageChange};

use super::timeline;
use crate::auth::Caller;
use crate::cursor::{self, List};
use crate::extract::{Body, DEFAULT_LIMIT, Id, MAX_LIMIT, Params, nullable, page_size, rfc3339};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::view::{EntityView, IncidentDetail, IncidentSummary, Page, schema};

/// Longest assignee, in characters.
const MAX_ASSIGNEE: usize = 200;
/// How often a change is tried again when the engine was faster and the caller gave no revision.
const ATTEMPTS: usize = 5;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListIncidents {
    #[param(value_type = Option<schema::IncidentStatusText>)]
    status: Option<IncidentStatus>,
    /// This level or above.
    #[param(value_type = Option<schema::LevelText>)]
    min_level: Option<Level>,
    /// Exact value of an entity, or `kind:value`.
    entity: Option<String>,
    /// ATT&CK tactic, as `credential-access`.
    tactic: Option<String>,
    rule_id: Option<String>,
    assignee: Option<String>,
    /// Incidents that overlap `[from, to)`, event time.
    #[serde(default, deserialize_with = "rfc3339")]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<i64>,
    #[serde(default, deserialize_with = "rfc3339")]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 1000; more is 1000. Default 50.
    limit: Option<u64>,
}

/// Incidents, the one that changed last first. Those that were merged or withdrawn are left out.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", params(ListIncidents),
    responses((status = 200, body = Page<IncidentSummary>, description = "A page")))]
pub async fn list(
    State(state): State<ApiState>,
    Params(params): Params<ListIncidents>,
) -> Result<Json<Page<IncidentSummary>>, Problem> {
    let limit = page_size(params.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let query = IncidentQuery {
        status: params.status,
        min_level: params.min_level,
        entity: params.entity,
        tactic: params.tactic,
        rule_id: params.rule_id,
        assignee: params.assignee,
        from: params.from,
        to: params.to,
        cursor: cursor::decode_optional(List::Incidents, params.cursor.as_deref())?,
        limit: limit + 1,
    };
    let mut found = state.store.incidents(&query).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    Ok(Json(Page {
        next_cursor: last
            .map(|last| cursor::encode(List::Incidents, last.updated, &last.incident.incident_id)),
        items: found.iter().map(IncidentSummary::from).collect(),
    }))
}

pub(super) async fn find(state: &ApiState, id: &str) -> Result<StoredIncident, Problem> {
    let found = state.store.incident(id).await?;
    found.ok_or_else(|| Problem::not_found("incident", id))
}

fn etag(revision: i64) -> [(HeaderName, String); 1] {
    [(ETAG, format!("\"{revision}\""))]
}

/// One incident with its alerts, timeline and references to its evidence; also one that was merged or
/// withdrawn.
#[utoipa::path(get, path = "/api/v1/incidents/{id}", tag = "incidents",
    params(("id" = String, Path)),
    responses((status = 200, body = IncidentDetail, description = "The incident; its revision as ETag")))]
pub async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Response, Problem> {
    let stored = find(&state, &id).await?;
    let detail = timeline::detail(&state, &stored).await?;
    Ok((etag(stored.revision), Json(detail)).into_response())
}

/// Fields that are left out stay as they are; null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchIncident {
    #[schema(value_type = Option<schema::IncidentStatusText>)]
    status: Option<IncidentStatus>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    assignee: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<schema::VerdictText>)]
    verdict: Option<Option<Verdict>>,
}

/// Changes status, assignee or verdict. With `If-Match` (the ETag that was read), a change that somebody
/// made since is not written over: 412. A transition that the lifecycle does not have, or an incident that
/// was merged, is 409.
#[utoipa::path(patch, path = "/api/v1/incidents/{id}", tag = "incidents",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    request_body = PatchIncident,
    responses((status = 200, body = IncidentSummary, description = "The changed incident")))]
pub async fn patch(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    headers: HeaderMap,
    Body(patch): Body<PatchIncident>,
) -> Result<Response, Problem> {
    let wanted = if_match(&headers)?;
    check(&patch)?;
    for _ in 0..ATTEMPTS {
        let stored = find(&state, &id).await?;
        if let Some(survivor) = &stored.merged_into {
            return Err(merged(&id, survivor));
        }
        if wanted.is_some_and(|wanted| wanted != stored.revision) {
            return Err(precondition_failed(stored.revision));
        }
        let status = stored.triage.status;
        if let Some(next) = patch.status.filter(|next| !status.may_become(*next)) {
            let (from, to) = (status.as_str(), next.as_str());
            let detail = format!("an incident that is {from} cannot become {to}");
            let problem = Problem::new(StatusCode::CONFLICT, "illegal-transition", detail);
            return Err(problem.member("from", from).member("to", to));
        }
        let change = TriageChange {
            status: patch.status,
            assignee: patch.assignee.clone(),
            verdict: patch.verdict,
            // So that the transition checked above is the one that happens.
            expected_revision: Some(stored.revision),
            author: caller.name.to_string(),
        };
        match state.store.triage(&id, &change).await? {
            ChangeOutcome::Changed(stored) => {
                let summary = IncidentSummary {
                    entities: stored
                        .incident
                        .entities
                        .iter()
                        .map(EntityView::from)
                        .collect(),
                    ..IncidentSummary::from(&*stored)
                };
                return Ok((etag(stored.revision), Json(summary)).into_response());
            }
            ChangeOutcome::NotFound => return Err(Problem::not_found("incident", &id)),
            ChangeOutcome::Merged(survivor) => return Err(merged(&id, &survivor)),
            ChangeOutcome::Conflict(revision) if wanted.is_some() => {
                return Err(precondition_failed(revision));
            }
            ChangeOutcome::Conflict(_) => {}
        }
    }
    Err(Problem::busy("the incident changes too fast; try again"))
}

fn check(patch: &PatchIncident) -> Result<(), Problem> {
    if patch.status.is_none() && patch.assignee.is_none() && patch.verdict.is_none() {
        let detail = "nothing to change; give status, assignee or verdict";
        return Err(Problem::bad_request(detail));
    }
    if let Some(Some(assignee)) = &patch.assignee {
        let length = assignee.chars().count();
        if assignee.trim().is_empty() || length > MAX_ASSIGNEE {
            return Err(Problem::bad_request(format!(
                "assignee has {length} characters; give 1 to {MAX_ASSIGNEE}, or null for nobody"
            )));
        }
    }
    Ok(())
}

/// The revision in `If-Match`; none without the header or with `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let number = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    let number = number.and_then(|number| number.parse().ok());
    number.map(Some).ok_or_else(|| {
        Problem::bad_request("If-Match must be one ETag as it was read, such as \"3\" in quotes")
    })
}

fn precondition_failed(revision: i64) -> Problem {
    let detail = format!("the incident has changed and is at revision {revision}; read it again");
    Problem::new(StatusCode::PRECONDITION_FAILED, "conflict", detail).member("revision", revision)
}

pub(super) fn merged(id: &str, survivor: &str) -> Problem {
    let detail = format!("incident {id} has joined {survivor}; change that one");
    Problem::new(StatusCode::CONFLICT, "merged", detail).member("merged_into", survivor)
}
