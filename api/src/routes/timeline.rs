//! What happened in an incident: its alerts, its history, and the events behind both.

use std::collections::{BTreeSet, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use weir_engine::alert::{Alert, Evidence};
use weir_engine::store::{IncidentChange, StoredIncident};

use super::incidents::find;
use crate::cursor::{self, List};
use crate::extract::{Id, MAX_LIMIT, Params, page_size};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::view::{
    AlertView, EntityView, EventRef, IncidentDetail, IncidentSummary, Page, TimelineEntry, rfc3339,
};

/// Alerts and timeline entries inside `GET /incidents/{id}`.
const INLINE: usize = 200;
/// Evidence references inside it.
const INLINE_EVIDENCE: usize = 1000;
/// Lines of history that one timeline takes into account.
const MAX_CHANGES: u32 = 10_000;
/// Events in one answer; each may be as large as 1 MiB.
const MAX_EVENTS: u32 = 500;
const DEFAULT_EVENTS: u32 = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 1000; more is 1000. Default 200.
    limit: Option<u64>,
}

/// Alerts (at their event time) and changes (at the wall clock's), oldest first.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/timeline", tag = "incidents",
    params(("id" = String, Path), TimelineParams),
    responses((status = 200, body = Page<TimelineEntry>, description = "A page")))]
pub async fn timeline(
    State(state): State<ApiState>,
    Id(id): Id,
    Params(params): Params<TimelineParams>,
) -> Result<Json<Page<TimelineEntry>>, Problem> {
    let limit = page_size(params.limit, INLINE as u32, MAX_LIMIT)? as usize;
    let after = cursor::decode_optional(List::Timeline, params.cursor.as_deref())?;
    let stored = find(&state, &id).await?;
    let alerts = state.store.alerts_by_id(&stored.incident.alert_ids).await?;
    let mut entries = entries(&state, &stored, &alerts).await?;
    if let Some(after) = after {
        entries.retain(|(place, _)| *place > after);
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    let last = entries.last().filter(|_| more);
    Ok(Json(Page {
        next_cursor: last.map(|((time, id), _)| cursor::encode(List::Timeline, *time, id)),
        items: entries.into_iter().map(|(_, entry)| entry).collect(),
    }))
}

/// Time and a tie-breaker: alerts before changes.
type Place = (i64, String);

async fn entries(
    state: &ApiState,
    stored: &StoredIncident,
    alerts: &[Alert],
) -> Result<Vec<(Place, TimelineEntry)>, Problem> {
    let id = &stored.incident.incident_id;
    let changes = state.store.changes(Some(id), 0, MAX_CHANGES).await?;
    let comments = state.store.comments(id).await?;
    let texts: HashMap<i64, String> = comments
        .into_iter()
        .map(|comment| (comment.comment_id, comment.text))
        .collect();
    let alerts = alerts.iter().map(alert_entry);
    let changes = changes
        .into_iter()
        .map(|change| change_entry(change, &texts));
    let mut entries: Vec<_> = alerts.chain(changes).collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entries)
}

fn alert_entry(alert: &Alert) -> (Place, TimelineEntry) {
    let entry = TimelineEntry::Alert {
        time: rfc3339(alert.first_time),
        until: rfc3339(alert.last_time),
        alert_id: alert.alert_id.clone(),
        rule_id: alert.rule_id.clone(),
        title: alert.rule_title.clone(),
        level: alert.level,
        state: alert.state,
        tactics: alert.tactics.clone(),
        techniques: alert.techniques.clone(),
        entities: alert.entities.iter().map(EntityView::from).collect(),
        matches: alert.matches,
    };
    let tie = format!("alert {}", alert.alert_id);
    ((alert.first_time, tie), entry)
}

/// A comment's text is shown where it was made.
fn change_entry(
    mut change: IncidentChange,
    texts: &HashMap<i64, String>,
) -> (Place, TimelineEntry) {
    if change.kind == "commented"
        && let Some(detail) = change.detail.as_object_mut()
        && let Some(number) = detail.get("comment_id").and_then(Value::as_i64)
        && let Some(text) = texts.get(&number)
    {
        detail.insert("text".to_owned(), Value::from(text.clone()));
    }
    let place = (change.time, format!("change {:020}", change.seq));
    (place, TimelineEntry::Change(change.into()))
}

/// Events behind the alerts, each once, in order of time.
fn evidence(alerts: &[Alert]) -> BTreeSet<&Evidence> {
    alerts.iter().flat_map(|alert| &alert.evidence).collect()
}

pub(super) async fn detail(
    state: &ApiState,
    stored: &StoredIncident,
) -> Result<IncidentDetail, Problem> {
    let ids = &stored.incident.alert_ids;
    let inline = &ids[..ids.len().min(INLINE)];
    let alerts = state.store.alerts_by_id(inline).await?;
    let mut entries = entries(state, stored, &alerts).await?;
    let evidence = evidence(&alerts);
    let truncated =
        ids.len() > INLINE || entries.len() > INLINE || evidence.len() > INLINE_EVIDENCE;
    entries.truncate(INLINE);
    let mut incident = IncidentSummary::from(stored);
    incident.entities = stored
        .incident
        .entities
        .iter()
        .map(EntityView::from)
        .collect();
    Ok(IncidentDetail {
        incident,
        alert_ids: ids.clone(),
        evidence_count: alerts.iter().map(|alert| alert.evidence_count).sum(),
        evidence: evidence
            .into_iter()
            .take(INLINE_EVIDENCE)
            .map(EventRef::from)
            .collect(),
        alerts: alerts.iter().map(AlertView::from).collect(),
        timeline: entries.into_iter().map(|(_, entry)| entry).collect(),
        truncated,
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 500; more is 500. Default 100.
    limit: Option<u64>,
}

/// Evidence events of an incident, oldest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventsPage {
    /// Columns of the event schema that are not null, `raw` included.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
    /// Evidence of this page that is not stored (any more).
    pub missing: Vec<EventRef>,
    pub next_cursor: Option<String>,
}

/// The stored events that speak for the incident's alerts, with the original JSON.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/events", tag = "incidents",
    params(("id" = String, Path), EventsParams),
    responses((status = 200, body = EventsPage, description = "A page")))]
pub async fn events(
    State(state): State<ApiState>,
    Id(id): Id,
    Params(params): Params<EventsParams>,
) -> Result<Json<EventsPage>, Problem> {
    let limit = page_size(params.limit, DEFAULT_EVENTS, MAX_EVENTS)? as usize;
    let after = cursor::decode_optional(List::Events, params.cursor.as_deref())?;
    let after = after.map(|(time, event_uid)| Evidence { time, event_uid });
    let stored = find(&state, &id).await?;
    let alerts = state.store.alerts_by_id(&stored.incident.alert_ids).await?;
    let mut wanted: Vec<Evidence> = evidence(&alerts)
        .into_iter()
        .filter(|evidence| after.as_ref().is_none_or(|after| *evidence > after))
        .take(limit + 1)
        .cloned()
        .collect();
    let more = wanted.len() > limit;
    wanted.truncate(limit);
    let items = if wanted.is_empty() {
        vec![]
    } else {
        state.events.events(&wanted).await?
    };
    let found: HashSet<&str> = items
        .iter()
        .filter_map(|event| event.get("event_uid")?.as_str())
        .collect();
    let missing = wanted
        .iter()
        .filter(|evidence| !found.contains(evidence.event_uid.as_str()))
        .map(EventRef::from)
        .collect();
    let last = wanted.last().filter(|_| more);
    Ok(Json(EventsPage {
        missing,
        next_cursor: last.map(|last| cursor::encode(List::Events, last.time, &last.event_uid)),
        items,
    }))
}
