//! `/api/v1/logs`: the last lines of the daemon's log, without secrets.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
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

async fn logs(State(shown): State<Shown>, Query(selection): Query<Selection>) -> Result<Json<LogLines>, Problem> {
    let support = shown.view.support();
    let limit = selection.limit.unwrap_or(LINES);
    // Secrets are read from their files, to be known.
    let lines = tokio::task::spawn_blocking(move || support.logs(limit)).await.map_err(Problem::bug)?;
    Ok(Json(LogLines { lines }))
}
