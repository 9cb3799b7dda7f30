//! Why a request is not taken, as RFC 9457 problem details.

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};

#[derive(Debug)]
pub(super) struct Refused {
    pub status: StatusCode,
    pub detail: String,
    /// Seconds after which the sender should try again.
    retry: Option<u32>,
}

impl Refused {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            retry: None,
        }
    }

    pub fn too_large(limit: usize) -> Self {
        let detail = format!(
            "the body has more than {limit} bytes, unpacked; send fewer events at once, or raise max_body_mb of the source"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub fn later(status: StatusCode, seconds: u32, detail: impl Into<String>) -> Self {
        Self {
            retry: Some(seconds),
            ..Self::new(status, detail)
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let kind = match self.status {
            StatusCode::BAD_REQUEST => "bad-request",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not-found",
            StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
            StatusCode::TOO_MANY_REQUESTS => "spool-full",
            _ => "busy",
        };
        let body = serde_json::json!({
            "type": format!("urn:weir:problem:{kind}"),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            _ => {}
        }
        if let Some(seconds) = self.retry {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
