//! What a client asks for in its address and headers.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::desk::{Carrier, StreamDesk};
use super::session::{Begin, Session};
use crate::journal::Offset;
use crate::live::{Asked, CatchUpError, ConsumerError, Form, Wanted};
use crate::server::problem::Problem;
use std::sync::Arc;
use std::time::Duration;

/// A client that found no seat may try again after this. Source: a guess.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// The parameters of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// `all`, a domain, `monitor:NAME`, `alerts`, `canary`, `gaps`, `operations`, `thresholds`; several with commas between.
    events: Option<String>,
    monitor: Option<String>,
    domain: Option<String>,
    topic: Option<String>,
    key: Option<String>,
    /// The first event.
    from: Option<u64>,
    /// A named consumer.
    consumer: Option<String>,
    /// `plain` or `cloudevents`.
    format: Option<String>,
    /// Of a browser; looked at before.
    #[expect(dead_code, reason = "the door has read it")]
    ticket: Option<String>,
}

/// A session for what is asked for.
pub(super) fn session(
    desk: &Arc<StreamDesk>,
    carrier: Carrier,
    query: Result<Query<StreamQuery>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<Session, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let settings = desk.settings();
    let on = settings.enabled
        && match carrier {
            Carrier::WebSocket => settings.websocket,
            Carrier::Sse => settings.sse,
        };
    if !on {
        let detail = format!("streams over {} are off; see `server.streams` in the settings", carrier.as_str());
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let form = match query.format.as_deref() {
        None | Some("plain") => Form::Plain,
        Some("cloudevents") => Form::CloudEvents,
        Some(other) => {
            let detail = format!("`format` is `{other}`; `plain` and `cloudevents` are known");
            return Err(Problem::parameter("format", detail));
        }
    };
    let wanted = Wanted::new(&Asked {
        events: query.events.as_deref(),
        domain: query.domain.as_deref(),
        monitor: query.monitor.as_deref(),
        topic: query.topic.as_deref(),
        key: query.key.as_deref(),
    })
    .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    // Whoever comes back by itself says so in the header; its address still has where it once began.
    let from = match headers.get("last-event-id") {
        None => query.from.map(Offset),
        Some(last) => {
            let last = last.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
            let last = last.ok_or_else(|| Problem::parameter("Last-Event-ID", "`Last-Event-ID` is not an offset"))?;
            Some(Offset(last).plus(1))
        }
    };
    let durable = desk.durable();
    if let Some(from) = from.filter(|from| *from > durable) {
        let detail = format!("event {from} is ahead of the journal: {durable} is the next one; was it restored?");
        return Err(Problem::parameter("from", detail).with("durable_offset", durable.0));
    }
    let Some(seat) = desk.seat(carrier) else {
        let detail = format!("{} clients listen already, and there may be no more", settings.clients_max);
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(FULL_RETRY));
    };
    let begin = match (query.consumer, from) {
        (Some(name), from) => {
            let max = settings.consumers_max as usize;
            let lease = desk.consumers().claim(&name, from.unwrap_or(durable), max)?;
            Begin::Consumer(lease)
        }
        (None, Some(from)) => Begin::At(from),
        (None, None) => Begin::Now,
    };
    let first = match &begin {
        Begin::Now => durable,
        Begin::At(offset) => *offset,
        Begin::Consumer(lease) => lease.next,
    };
    gone(desk, first)?;
    Ok(Session::new(Arc::clone(desk), wanted, form, seat, begin))
}

/// A status says it better than a stream that ends at once.
fn gone(desk: &StreamDesk, first: Offset) -> Result<(), Problem> {
    // What cannot be told now is told by the reading.
    let Ok(earliest) = desk.catch_up().earliest() else { return Ok(()) };
    if first >= earliest {
        return Ok(());
    }
    let error = CatchUpError::Gone { asked: first, earliest };
    Err(Problem::new(StatusCode::GONE, error.to_string()).with("earliest_offset", earliest.0))
}

impl From<ConsumerError> for Problem {
    fn from(error: ConsumerError) -> Self {
        let status = match &error {
            ConsumerError::Name(_) | ConsumerError::Ahead { .. } => StatusCode::BAD_REQUEST,
            ConsumerError::TooMany(_) => StatusCode::SERVICE_UNAVAILABLE,
            ConsumerError::Unknown(_) => StatusCode::NOT_FOUND,
        };
        Self::new(status, error.to_string())
    }
}
