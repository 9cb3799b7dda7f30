//! Listens, and takes what is pushed: 202 means that it is durable.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Inbox;
use super::body;
use super::refusal::Refused;
use super::spool::Refusal;

/// Bytes of bodies that are in memory at a time, over all sources of a listener.
const IN_FLIGHT: usize = 256 << 20;
/// Bodies that are unpacked and looked at side by side.
const UNPACKING: usize = 4;
/// A body must have come whole after this.
const BODY_TIME: Duration = Duration::from_secs(30);
/// What is still read of a refused body, and for how long.
const DRAINED: usize = 8 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How long requests may go on after the stop.
const GRACE: Duration = Duration::from_secs(10);
/// When to come back: the engine reads many MiB in this time.
const RETRY_FULL: u32 = 5;
const RETRY_DISK: u32 = 10;
const RETRY_BUSY: u32 = 1;

struct Shared {
    inboxes: BTreeMap<String, Arc<Inbox>>,
    in_flight: AtomicUsize,
    /// Turns to unpack and look at a body: nobody knows before how long it will be.
    unpacking: Semaphore,
}

/// Serves `POST /push/NAME` for these sources until `shutdown` resolves.
pub async fn serve(
    listener: TcpListener,
    inboxes: Vec<Arc<Inbox>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let named = inboxes.into_iter();
    let shared = Arc::new(Shared {
        inboxes: named
            .map(|inbox| (inbox.config.name.clone(), inbox))
            .collect(),
        in_flight: AtomicUsize::new(0),
        unpacking: Semaphore::new(UNPACKING),
    });
    let router = Router::new()
        .route("/push/{name}", post(push))
        .fallback(|| async {
            Refused::new(
                StatusCode::NOT_FOUND,
                "there is nothing here: POST to /push/NAME of a source",
            )
        })
        .method_not_allowed_fallback(|method: Method| async move {
            let detail = format!("{method} does not work here: POST events");
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        // Bounded where it is read.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared);
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        drop(stopping);
    });
    let out_of_patience = async {
        let _ = stopped.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = out_of_patience => {
            tracing::warn!("pushes were cut off: they went on for more than 10 s after the stop; their senders got no answer");
            Ok(())
        }
    }
}

async fn push(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(inbox) = shared.inboxes.get(&name) else {
        let detail = format!(
            "there is no source {name:?} here: the path is /push/NAME, and NAME is that of [source.NAME] in the configuration"
        );
        return Refused::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    let mut body = body.into_data_stream();
    match take(&shared, inbox, &headers, &mut body).await {
        Ok(taken) => {
            inbox.count(StatusCode::ACCEPTED, taken.bytes);
            let answer = serde_json::json!({
                "events": taken.events,
                "dead_letters": taken.dead_letters,
            });
            (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
        }
        Err(refused) => {
            if inbox.count(refused.status, 0) {
                tracing::warn!(source = %name, status = refused.status.as_u16(), "a push was refused: {}", refused.detail);
            }
            drain(body).await;
            refused.into_response()
        }
    }
}

/// Reads on for a moment: a client that still sends when the connection closes never sees the answer.
async fn drain(mut body: BodyDataStream) {
    let rest = async {
        let mut left = DRAINED;
        while let Some(Ok(chunk)) = body.next().await {
            match left.checked_sub(chunk.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
}

/// A body that is on the disk.
struct Taken {
    /// Its length as it was sent.
    bytes: u64,
    /// Events in it, those that cannot be used among them.
    events: u64,
    dead_letters: u64,
}

/// Takes the body.
async fn take(
    shared: &Shared,
    inbox: &Arc<Inbox>,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Taken, Refused> {
    admit(&inbox.hashes, headers)?;
    let media = body::media(headers)?;
    body::check_encoding(headers)?;
    let limit = inbox.config.max_body_bytes;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if announced
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > limit as u64)
    {
        return Err(Refused::too_large(limit));
    }
    let mut held = Held { shared, bytes: 0 };
    let sent = match tokio::time::timeout(BODY_TIME, receive(body, limit, &mut held)).await {
        Ok(sent) => sent?,
        Err(_) => {
            let detail = format!("the body did not come within {} s", BODY_TIME.as_secs());
            return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    let bytes = sent.len() as u64;
    // The semaphore is never closed.
    let turn = shared.unpacking.acquire().await.ok();
    let judge = inbox.clone();
    let judged = tokio::task::spawn_blocking(move || {
        let body = body::text(sent, limit)?;
        let parts = body::parts(&body, media)?;
        let counts = super::source::judge(&judge.config, &body, &parts);
        Ok((body, parts, counts))
    });
    let ended = |_| {
        Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed; its log says why",
        )
    };
    let (body, parts, counts) = judged.await.map_err(ended)??;
    held.more(body.len().saturating_sub(held.bytes))?;
    drop(turn);
    let spooled = inbox.spool.append(body, parts).await;
    spooled.map_err(|refusal| match refusal {
        Refusal::Full => {
            let detail = "the spool is full, as the engine is behind: send it again later; spool_mb of the source is its size";
            Refused::later(StatusCode::TOO_MANY_REQUESTS, RETRY_FULL, detail)
        }
        Refusal::Disk(error) => {
            let detail = format!("the body could not be stored: {error}; send it again later");
            Refused::later(StatusCode::SERVICE_UNAVAILABLE, RETRY_DISK, detail)
        }
    })?;
    Ok(Taken {
        bytes,
        events: counts.read,
        dead_letters: counts.dead_lettered,
    })
}

async fn receive(
    body: &mut BodyDataStream,
    limit: usize,
    held: &mut Held<'_>,
) -> Result<Vec<u8>, Refused> {
    let mut bytes = vec![];
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            let detail = format!("the body ended early: {error}");
            Refused::new(StatusCode::BAD_REQUEST, detail)
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(Refused::too_large(limit));
        }
        held.more(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Memory that a request holds.
struct Held<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl Held<'_> {
    fn more(&mut self, bytes: usize) -> Result<(), Refused> {
        let before = self.shared.in_flight.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > IN_FLIGHT {
            let detail = "too many large bodies are coming in at once: send it again later";
            return Err(Refused::later(
                StatusCode::SERVICE_UNAVAILABLE,
                RETRY_BUSY,
                detail,
            ));
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared
            .in_flight
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Lets holders of a token in; without tokens, all but pages in browsers, which this machine's user may have
/// open without knowing what they send.
fn admit(hashes: &[[u8; 32]], headers: &HeaderMap) -> Result<(), Refused> {
    if hashes.is_empty() {
        if headers.contains_key(ORIGIN) {
            let detail = "requests from web pages are refused; set a token for the source";
            return Err(Refused::new(StatusCode::FORBIDDEN, detail));
        }
        return Ok(());
    }
    let hash: Option<[u8; 32]> = secret(headers).map(|token| Sha256::digest(token).into());
    // Every hash is compared whole: time tells nothing about the tokens.
    let known = hash.map(|hash| {
        let equal = hashes.iter().map(|known| known.ct_eq(&hash));
        equal.fold(subtle::Choice::from(0), |any, one| any | one)
    });
    if known.is_some_and(bool::from) {
        return Ok(());
    }
    let detail = "send the source's token: `Authorization: Bearer …`, or as password of the URL, http://weir:TOKEN@host/push/NAME";
    Err(Refused::new(StatusCode::UNAUTHORIZED, detail))
}

/// A bearer token, or the password of Basic, which is what becomes of one in a URL.
fn secret(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(rest).ok()?;
    let colon = memchr::memchr(b':', &pair)?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
