//! Alerts: what rules said, one by one.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use weir_engine::alert::AlertState;
use weir_engine::rule::Level;
use weir_engine::store::AlertQuery;

use crate::cursor::{self, List};
use crate::extract::{DEFAULT_LIMIT, Id, MAX_LIMIT, Params, page_size, rfc3339};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::view::{AlertView, Page, schema};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAlerts {
    rule_id: Option<String>,
    /// This level or above.
    #[param(value_type = Option<schema::LevelText>)]
    min_level: Option<Level>,
    /// Exact value of an entity, or `kind:value`.
    entity: Option<String>,
    #[param(value_type = Option<schema::AlertStateText>)]
    state: Option<AlertState>,
    /// Alerts that overlap `[from, to)`, event time.
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

/// Alerts, the one with the newest first match first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(ListAlerts),
    responses((status = 200, body = Page<AlertView>, description = "A page")))]
pub async fn list(
    State(state): State<ApiState>,
    Params(params): Params<ListAlerts>,
) -> Result<Json<Page<AlertView>>, Problem> {
    let limit = page_size(params.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let query = AlertQuery {
        rule_id: params.rule_id,
        min_level: params.min_level,
        entity: params.entity,
        state: params.state.map(|state| state.as_str().to_owned()),
        from: params.from,
        to: params.to,
        cursor: cursor::decode_optional(List::Alerts, params.cursor.as_deref())?,
        limit: limit + 1,
    };
    let mut found = state.store.alerts(&query).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    Ok(Json(Page {
        next_cursor: last.map(|last| cursor::encode(List::Alerts, last.first_time, &last.alert_id)),
        items: found.iter().map(AlertView::from).collect(),
    }))
}

/// One alert.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", tag = "alerts", params(("id" = String, Path)),
    responses((status = 200, body = AlertView, description = "The alert")))]
pub async fn get(State(state): State<ApiState>, Id(id): Id) -> Result<Json<AlertView>, Problem> {
    let found = state.store.alerts_by_id(std::slice::from_ref(&id)).await?;
    match found.first() {
        Some(alert) => Ok(Json(alert.into())),
        None => Err(Problem::not_found("alert", &id)),
    }
}
