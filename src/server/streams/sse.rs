//! `/v1/sse/events`: an event a message, its offset as id, so that a browser that comes back by itself loses nothing.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use serde_json::json;

use super::asked::{StreamQuery, session};
use super::desk::Carrier;
use super::session::{Ended, Out, Session};
use crate::live::server_sent;
use crate::server::accept::KeptPlace;
use crate::server::problem::Problem;
use crate::server::serve::Shown;

pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/v1/sse/events", get(events))
}

async fn events(
    State(shown): State<Shown>,
    headers: HeaderMap,
    place: Option<Extension<KeptPlace>>,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let session = session(&shown.view.streams(), Carrier::Sse, query, &headers)?;
    // It has a seat among the streams, and is no longer counted among those that ask.
    if let Some(Extension(place)) = place {
        place.give_back();
    }
    let body = stream::unfold(Some(session), |session| async move {
        let mut session = session?;
        let (bytes, goes_on) = next(&mut session).await;
        Some((Ok::<_, std::convert::Infallible>(bytes), goes_on.then_some(session)))
    });
    let mut response = Body::from_stream(body).into_response();
    let to_client = response.headers_mut();
    to_client.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    to_client.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // For nginx, which would gather events otherwise.
    to_client.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What is written next, and whether there is more.
async fn next(session: &mut Session) -> (Bytes, bool) {
    match session.next().await {
        Out::Messages(messages) => {
            if let [message] = messages.as_slice() {
                return (message.server_sent(session.form).clone(), true);
            }
            let length = messages.iter().map(|message| message.server_sent(session.form).len()).sum();
            let mut bytes = BytesMut::with_capacity(length);
            for message in &messages {
                bytes.put_slice(message.server_sent(session.form));
            }
            (bytes.freeze(), true)
        }
        Out::Note(kind, text) => (server_sent(None, kind, text.as_bytes()), true),
        Out::End(ended) => {
            if let Ended::Cut(reason) = &ended {
                session.seat.cut_off(reason);
            }
            let note = json!({"type": "closed", "kind": ended.kind(), "reason": ended.reason()});
            (server_sent(None, "closed", note.to_string().as_bytes()), false)
        }
    }
}
