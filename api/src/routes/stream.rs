//! Changes of incidents, live, as server-sent events.
//!
//! Every change of the store's change log is sent exactly once per connection, in the order of `seq`. The
//! event id is `seq`, so a client that comes back with `Last-Event-ID` goes on without gap or repetition.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::{IntoParams, ToSchema};
use weir_engine::mask;
use weir_engine::store::{IncidentChange, SharedStore};

use crate::extract::Params;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::view::{ChangeView, IncidentSummary};

/// Changes read from the store at a time.
const BATCH: u32 = 200;
/// How often an idle stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
const RETRY: Duration = Duration::from_secs(3);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamParams {
    /// As the header `Last-Event-ID`, which goes before it. 0 is everything from the first change on.
    after: Option<i64>,
}

/// Data of one event.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamEvent {
    #[serde(flatten)]
    change: ChangeView,
    /// The incident as it is when the event is sent, at least as new as the change.
    incident: Option<IncidentSummary>,
}

/// Changes of incidents after `Last-Event-ID`, or from now on. The event's name is the change's kind. 410
/// when the id is from the future: the store was replaced, and the client must start anew.
#[utoipa::path(get, path = "/api/v1/stream", tag = "stream",
    params(StreamParams, ("Last-Event-ID" = Option<i64>, Header, description = "Id of the last event received")),
    responses((status = 200, content_type = "text/event-stream", body = StreamEvent, description = "The stream")))]
pub async fn stream(
    State(state): State<ApiState>,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let changed = state.store.subscribe();
    let newest = *changed.borrow();
    let after = last_event_id(&headers)?.or(params.after).unwrap_or(newest);
    if after > newest {
        let detail = format!(
            "event {after} is not there yet, the newest is {newest}; the store was replaced, start anew"
        );
        return Err(Problem::new(StatusCode::GONE, "stream-gone", detail));
    }
    let slots = state.stream_slots.clone();
    let Ok(slot) = slots.try_acquire_owned() else {
        return Err(Problem::busy("too many streams are open"));
    };
    let reader = Reader {
        closing: state.closing.subscribe(),
        store: state.store,
        mask_secrets: state.mask_secrets,
        changed,
        after,
        waiting: VecDeque::from([Event::default().retry(RETRY)]),
        _slot: slot,
    };
    let events = futures::stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Problem::bad_request("Last-Event-ID is not a number that this stream sent"))
}

struct Reader {
    store: SharedStore,
    mask_secrets: bool,
    changed: watch::Receiver<i64>,
    closing: watch::Receiver<bool>,
    /// `seq` of the last change read.
    after: i64,
    waiting: VecDeque<Event>,
    _slot: OwnedSemaphorePermit,
}

impl Reader {
    /// None ends the stream; the client comes back and goes on after its last event.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if *self.closing.borrow() {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            // Marked as seen before reading: a change in between is seen in the next round.
            self.changed.mark_unchanged();
            if let Err(error) = self.read().await {
                tracing::error!(%error, "a stream ended: its changes cannot be read");
                return None;
            }
            if self.waiting.is_empty() {
                tokio::select! {
                    changed = self.changed.changed() => changed.ok()?,
                    closed = self.closing.changed() => closed.ok()?,
                }
            }
        }
    }

    async fn read(&mut self) -> weir_engine::Result<()> {
        let changes = self.store.changes(None, self.after, BATCH).await?;
        for change in changes {
            self.after = change.seq;
            let event = event(&self.store, change, self.mask_secrets).await?;
            self.waiting.push_back(event);
        }
        Ok(())
    }
}

async fn event(
    store: &SharedStore,
    change: IncidentChange,
    mask_secrets: bool,
) -> weir_engine::Result<Event> {
    let incident = store.incident(&change.incident_id).await?;
    let event = Event::default()
        .id(change.seq.to_string())
        .event(change.kind.as_str());
    let data = StreamEvent {
        change: change.into(),
        incident: incident.as_ref().map(IncidentSummary::from),
    };
    let wrong = |error: serde_json::Error| weir_engine::Error::Other(error.to_string());
    let text = serde_json::to_string(&data).map_err(wrong)?;
    Ok(event.data(match mask_secrets {
        true => mask::text(&text),
        false => text.into(),
    }))
}
