//! `/api/v1/logs`: the last lines of the daemon's log, without secrets.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::serve::Shown;

/// Lines of an answer that does not say how many: all that are kept.
const LINES: usize = 10_000;

/// What the daemon tells those who look for a fault.
pub trait Support: Send + Sync {
    /// The newest lines of its log, at most so many, oldest first, with secrets as `***`. Blocking.
    fn logs(&self, limit: usize) -> Vec<String>;
}

/// The body of `/api/v1/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// Oldest first.
    pub lines: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    limit: Option<usize>,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/logs", get(logs))
}

async fn logs(State(shown): State<Shown>, Query(selection): Query<Selection>) -> Response {
    let support = shown.view.support();
    let limit = selection.limit.unwrap_or(LINES);
    // Secrets are read from their files, to be known.
    match tokio::task::spawn_blocking(move || support.logs(limit)).await {
        Ok(lines) => Json(LogLines { lines }).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))).into_response(),
    }
}
