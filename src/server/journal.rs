//! `/api/v1/journal`: how far it is durable, what retention did, and what holds it back.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::serve::Shown;

/// The journal as its daemon sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRow {
    /// Its id.
    pub journal: String,
    /// The offset after the last durable event.
    pub durable_offset: u64,
    /// `writable`, `full`, `failed` or `closed`.
    pub state: String,
    /// Retention.
    pub retention: RetentionRow,
}

/// What retention did and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRow {
    /// When it last looked, RFC 3339.
    pub last_run: Option<String>,
    /// Segments that it deleted since the daemon's start.
    pub deleted_segments: u64,
    /// Bytes of them.
    pub deleted_bytes: u64,
    /// Who keeps it from deleting more: `sink NAME`.
    pub held_by: Option<String>,
    /// From which event on.
    pub held_from: Option<u64>,
    /// Bytes kept beyond the limits for that.
    pub held_bytes: u64,
    /// Whether they make the journal larger than `journal.max_size`.
    pub above_max_size: bool,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/journal", get(journal))
}

async fn journal(State(shown): State<Shown>) -> Json<JournalRow> {
    Json(shown.view.journal())
}
