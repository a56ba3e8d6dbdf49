//! `/api/v1/polls`: monitors that have a fall-back over HTTP, and holding one to it, or off it.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde::{Deserialize, Serialize};

use super::operations::Refusal;
use super::problem::Problem;
use super::serve::Shown;

/// What an operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PollAction {
    /// It is polled.
    On,
    /// It is not.
    Off,
    /// It is while its upstream's circuit is open.
    Auto,
}

impl PollAction {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Auto => "auto",
        }
    }
}

/// The same, as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollChange {
    /// What to do.
    pub action: PollAction,
}

/// A monitor that has a fall-back, and one of its upstreams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollRow {
    /// Whose.
    pub monitor: String,
    /// In whose place it is polled.
    pub upstream: String,
    /// `live` or `polling`.
    pub mode: String,
    /// What an operator holds it to.
    pub forced: Option<PollAction>,
    /// When that changed last, RFC 3339.
    pub since: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Polls that succeeded since the start.
    pub polls: u64,
    /// Events that these brought.
    pub events: u64,
    /// Polls that did not.
    pub failures: u64,
    /// Why the last one did not.
    pub last_error: Option<String>,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/polls", get(polls)).route("/api/v1/polls/{monitor}", put(change))
}

async fn polls(State(shown): State<Shown>) -> Json<Vec<PollRow>> {
    Json(shown.view.polls())
}

async fn change(State(shown): State<Shown>, Path(monitor): Path<String>, body: Bytes) -> Response {
    let refused = |status: StatusCode, error: String| Problem::new(status, error).into_response();
    let change: PollChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => {
            let error = format!(r#"expected {{"action": "on", "off" or "auto"}}: {error}"#);
            return refused(StatusCode::BAD_REQUEST, error);
        }
    };
    // Off the thread that serves everybody: it waits until the change is durable.
    match tokio::task::spawn_blocking(move || shown.view.change_poll(&monitor, change.action)).await {
        Ok(Ok(rows)) => Json(rows).into_response(),
        Ok(Err(Refusal { status, error })) => {
            refused(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error)
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug of Sluice: {error}")),
    }
}
