//! What every request goes through: it gets an id, is counted, and a refusal gets the form that all have.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;
use uuid::Uuid;

use super::problem::{self, Problem};
use crate::telemetry::RequestCounts;

/// The header of a request's id, both ways.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// The longest id that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a request is called in logs, events and answers.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

impl RequestId {
    /// The one that was sent along, if it can do no harm in a log; else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let sane = sent.filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain));
        Self(sane.map_or_else(|| Uuid::now_v7().to_string().into(), Into::into))
    }
}

/// The largest head of a request. Tokens and cookies are far below. The HTTP library's own bound is of what it reads at once.
const HEAD_BYTES_MAX: usize = 32 * 1024;

fn head_bytes(request: &Request) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    request.uri().path_and_query().map_or(0, |path| path.as_str().len()) + headers.sum::<usize>()
}

fn too_large(bytes: usize) -> Problem {
    let detail = format!("the head of the request has {bytes} bytes; at most {HEAD_BYTES_MAX} are taken");
    Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
}

pub(super) async fn observe(State(counts): State<Arc<RequestCounts>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answer = match head_bytes(&request) {
        ..=HEAD_BYTES_MAX => next.run(request).await,
        bytes => too_large(bytes).into_response(),
    };
    let mut response = problem::finished(answer, &id.0).await;
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // Labels are of a fixed set, whatever is asked for.
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let (status, took) = (response.status(), began.elapsed());
    counts.record(route, &method, status.as_u16(), took);
    if status.is_server_error() {
        tracing::warn!(request_id = &*id.0, %method, route, status = status.as_u16(), "a request failed");
    } else {
        tracing::debug!(request_id = &*id.0, %method, route, status = status.as_u16(), ?took, "a request");
    }
    response
}
