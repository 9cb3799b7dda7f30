//! Parameters and bodies whose rejections are problem details.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::problem::Problem;

/// Items of a page where the caller does not say, and at most.
pub const DEFAULT_LIMIT: u32 = 50;
pub const MAX_LIMIT: u32 = 1000;

/// The query string.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match query {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::bad_request(lower_first(&rejection.body_text()))),
        }
    }
}

/// The one parameter in the path.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        match path {
            Ok(Path(id)) => Ok(Self(id)),
            Err(rejection) => Err(Problem::bad_request(lower_first(&rejection.body_text()))),
        }
    }
}

/// The body, as JSON.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let rejection = match Json::from_request(request, state).await {
            Ok(Json(body)) => return Ok(Self(body)),
            Err(rejection) => rejection,
        };
        let detail = lower_first(&rejection.body_text());
        Err(match (&rejection, rejection.status()) {
            (JsonRejection::MissingJsonContentType(_), status) => {
                Problem::new(status, "unsupported-media-type", detail)
            }
            (_, StatusCode::PAYLOAD_TOO_LARGE) => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the body is larger than 1 MiB",
            ),
            _ => Problem::bad_request(detail),
        })
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// More than the maximum is the maximum; nothing at all is a mistake.
pub fn page_size(limit: Option<u64>, default: u32, max: u32) -> Result<u32, Problem> {
    match limit {
        None => Ok(default),
        Some(0) => Err(Problem::bad_request(format!("limit is 0; give 1 to {max}"))),
        Some(limit) => Ok(u32::try_from(limit).unwrap_or(max).min(max)),
    }
}

/// An RFC 3339 time as µs since the epoch.
pub fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(Some(time.as_microsecond())),
        Err(_) => Err(D::Error::custom(format!(
            "{text:?} is not a time; write it as 2026-11-21T10:00:00Z (a + must be sent as %2B)"
        ))),
    }
}

/// `Some(None)` for a field that is there and null.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
