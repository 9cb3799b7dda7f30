//! Read-only SQL. The query runs elsewhere ([`SqlRunner`]); here only its length and the queue are bounded.
//!
//! [`SqlRunner`]: crate::state::SqlRunner

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    Array, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};
use weir_engine::hunt::{QueryResult, RefusalKind};

use crate::extract::Body;
use crate::problem::Problem;
use crate::state::ApiState;

/// Longest query, in bytes: longer ones have been seen to exhaust a planner's stack.
const MAX_QUERY: usize = 8 * 1024;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlQuery {
    /// One SELECT over `events`, its families, `alerts` and `incidents`; at most 8 KiB.
    #[schema(example = "SELECT api_operation, count(*) FROM cloud_audit GROUP BY 1")]
    query: String,
}

/// The engine's answer, described for API users.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct SqlResult(QueryResult);

impl ToSchema for SqlResult {}

impl PartialSchema for SqlResult {
    fn schema() -> RefOr<Schema> {
        let one = |kind: Type, description: &str| {
            ObjectBuilder::new()
                .schema_type(SchemaType::new(kind))
                .description(Some(description))
        };
        let list = |of: RefOr<Schema>, description: &str| -> Array {
            ArrayBuilder::new()
                .items(of)
                .description(Some(description))
                .build()
        };
        let kind = "text, integer, float, boolean, timestamp, date, array, object, json, or the Arrow type";
        let column = ObjectBuilder::new()
            .property("name", one(Type::String, "As the query names it"))
            .required("name")
            .property("type", one(Type::String, kind))
            .required("type");
        let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        let row = list(any.into(), "One value per column");
        let rows = "In the order of the query. Times are RFC 3339 in UTC";
        ObjectBuilder::new()
            .property("columns", list(column.into(), "In the order of the values"))
            .required("columns")
            .property("rows", list(RefOr::T(row.into()), rows))
            .required("rows")
            .property(
                "truncated",
                one(Type::Boolean, "Whether there would have been more rows"),
            )
            .required("truncated")
            .property(
                "elapsed_ms",
                one(Type::Integer, "Time that the query took")
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
                    .minimum(Some(0)),
            )
            .required("elapsed_ms")
            .property(
                "notes",
                list(
                    one(Type::String, "A sentence").into(),
                    "What one should know to read the answer right; left out if there is nothing",
                ),
            )
            .into()
    }
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
        Ok(result) => Ok(Json(SqlResult(result))),
        Err(refusal) => Err(match refusal.kind {
            RefusalKind::Refused | RefusalKind::Invalid => refused(refusal.message),
            RefusalKind::TooLarge | RefusalKind::Timeout | RefusalKind::Memory => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "query-limit",
                refusal.message,
            ),
            RefusalKind::Failed => Problem::internal(&refusal.message),
        }),
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query-refused", detail)
}
