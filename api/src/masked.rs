//! Secrets in answers: every JSON body that tells of events, alerts or incidents is masked on its way out.

use std::borrow::Cow;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use weir_engine::mask;

use crate::problem::Problem;

/// What has no events in it: rules say what they look for, and that is no secret.
const PLAIN: [&str; 1] = ["/api/v1/rules"];

pub async fn masked(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let shown = path.starts_with("/api/v1/") && !PLAIN.iter().any(|plain| path.starts_with(plain));
    let response = next.run(request).await;
    let kind = response.headers().get(CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !shown || !json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return Problem::internal(&error.to_string()).into_response(),
    };
    match mask::bytes(&body) {
        Cow::Borrowed(_) => Response::from_parts(parts, Body::from(body)),
        Cow::Owned(masked) => {
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(masked))
        }
    }
}
