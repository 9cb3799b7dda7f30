//! Comments on incidents.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::incidents::{find, merged};
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::view::CommentView;

/// Longest comment, in characters.
const MAX_COMMENT: usize = 10_000;

#[derive(Debug, Serialize, ToSchema)]
pub struct Comments {
    items: Vec<CommentView>,
}

/// All comments, oldest first, with those of incidents that joined this one.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/comments", tag = "incidents",
    params(("id" = String, Path)),
    responses((status = 200, body = Comments, description = "The comments")))]
pub async fn list(State(state): State<ApiState>, Id(id): Id) -> Result<Json<Comments>, Problem> {
    find(&state, &id).await?;
    let comments = state.store.comments(&id).await?;
    let items = comments.into_iter().map(CommentView::from).collect();
    Ok(Json(Comments { items }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewComment {
    /// 1 to 10,000 characters.
    #[schema(min_length = 1, max_length = 10_000)]
    text: String,
}

/// Adds a comment. An incident that was merged is 409 and names the one to comment on.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/comments", tag = "incidents",
    params(("id" = String, Path)), request_body = NewComment,
    responses((status = 201, body = CommentView, description = "The new comment")))]
pub async fn add(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    Body(new): Body<NewComment>,
) -> Result<(StatusCode, Json<CommentView>), Problem> {
    let length = new.text.chars().count();
    if new.text.trim().is_empty() || length > MAX_COMMENT {
        return Err(Problem::bad_request(format!(
            "text has {length} characters; give 1 to {MAX_COMMENT}"
        )));
    }
    if let Some(survivor) = find(&state, &id).await?.merged_into {
        return Err(merged(&id, &survivor));
    }
    let added = state
        .store
        .add_comment(&id, &caller.name, &new.text)
        .await?;
    let comment = added.ok_or_else(|| Problem::not_found("incident", &id))?;
    Ok((StatusCode::CREATED, Json(comment.into())))
}
