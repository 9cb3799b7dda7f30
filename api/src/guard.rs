//! What every request passes first: authentication, authorisation, time limit, safe headers.
//!
//! Closed by default: a route is open only when [`OPEN`] names it; reading needs `viewer`, everything else
//! `analyst`. Running SQL is a POST and so needs `analyst`, since it reads raw events in bulk.

use std::net::Ipv4Addr;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, HeaderMap, HeaderValue, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::auth::{Auth, Caller, Role};
use crate::problem::Problem;
use crate::state::ApiState;

/// Routes for probes, which have no token.
pub const OPEN: [&str; 2] = ["/healthz", "/readyz"];

pub const SQL_PATH: &str = "/api/v1/sql";

/// The role that a method needs.
pub fn needed(method: &Method) -> Role {
    if method == Method::GET || method == Method::HEAD {
        Role::Viewer
    } else {
        Role::Analyst
    }
}

pub async fn guard(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = match authorise(&state, &request) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let limit = if path == SQL_PATH {
                state.sql_timeout
            } else {
                state.request_timeout
            };
            let answer = tokio::time::timeout(limit, next.run(request)).await;
            answer.unwrap_or_else(|_| {
                let detail = format!("no answer within {} s", limit.as_secs_f64());
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
            })
        }
        Err(problem) => problem.into_response(),
    };
    tracing::debug!(%method, path, status = response.status().as_u16(), "request");
    let headers = response.headers_mut();
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn authorise(state: &ApiState, request: &Request) -> Result<Option<Caller>, Problem> {
    if OPEN.contains(&request.uri().path()) {
        return Ok(None);
    }
    let caller = if state.auth.is_local() {
        check_local(request.uri(), request.headers())?;
        Auth::local_caller()
    } else {
        state
            .auth
            .caller(request.headers())
            .ok_or_else(Problem::unauthorized)?
    };
    let needed = needed(request.method());
    if !caller.role.allows(needed) {
        return Err(Problem::forbidden(format!(
            "this needs the role {}, and the token has {}",
            needed.as_str(),
            caller.role.as_str()
        )));
    }
    Ok(Some(caller))
}

/// Without tokens, a web page open on this machine must not be able to ask: neither by a name that it
/// lets resolve to loopback (DNS rebinding), nor from its own origin.
fn check_local(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = one(headers, HOST.as_str())?.or_else(|| uri.authority().map(Authority::as_str));
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host.filter(is_loopback) else {
        return Err(Problem::forbidden(
            "without a token only requests to localhost, 127.0.0.1 or [::1] are answered; check the Host header",
        ));
    };
    if let Some(origin) = one(headers, ORIGIN.as_str())? {
        let same = origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str()));
        if !same {
            return Err(Problem::forbidden(
                "requests from pages of another origin are refused; use a token",
            ));
        }
    }
    match one(headers, "sec-fetch-site")? {
        Some("cross-site" | "same-site") => Err(Problem::forbidden(
            "requests from pages of another site are refused; use a token",
        )),
        _ => Ok(()),
    }
}

/// The header's value; one that is there twice or is no text is refused.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    value
        .map(Some)
        .ok_or_else(|| Problem::forbidden(format!("header {name} is ambiguous")))
}

fn is_loopback(authority: &Authority) -> bool {
    // `user@host` is a trick in a Host header.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}
