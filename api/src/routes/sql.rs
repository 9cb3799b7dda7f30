//! Read-only SQL. The query runs elsewhere ([`SqlRunner`]); here only its length and the queue are bounded.
//!
//! [`SqlRunner`]: crate::state::SqlRunner

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::extract::Body;
use crate::problem::Problem;
use crate::state::{ApiState, SqlError, SqlResult};

/// Longest query, in bytes: longer ones have been seen to exhaust a planner's stack.
const MAX_QUERY: usize = 8 * 1024;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlQuery {
    /// One SELECT over `events`, its families, `alerts` and `incidents`; at most 8 KiB.
    #[schema(example = "SELECT api_operation, count(*) FROM cloud_audit GROUP BY 1")]
    query: String,
}

/// Runs one read-only query. 400: refused or wrong; 422: it ran into a limit of time, memory or size.
#[utoipa::path(post, path = "/api/v1/sql", tag = "sql", request_body = SqlQuery,
    responses((status = 200, body = SqlResult, description = "The answer")))]
pub async fn run(
    State(state): State<ApiState>,
    Body(sql): Body<SqlQuery>,
) -> Result<Json<SqlResult>, Problem> {
    let length = sql.query.len();
    if sql.query.trim().is_empty() || length > MAX_QUERY {
        let detail = format!("the query has {length} bytes; give 1 to {MAX_QUERY}");
        return Err(refused(detail));
    }
    let slot = tokio::time::timeout(state.sql_queue, state.sql_slots.acquire()).await;
    let Ok(Ok(_slot)) = slot else {
        return Err(Problem::busy("all query slots are taken; try again later"));
    };
    match state.sql.run(&sql.query).await {
        Ok(result) => Ok(Json(result)),
        Err(SqlError::Refused(reason)) => Err(refused(reason)),
        Err(SqlError::Limit(reason)) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "query-limit",
            reason,
        )),
        Err(SqlError::Internal(reason)) => Err(Problem::internal(&reason)),
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query-refused", detail)
}
