//! `/api/v1/operations`, `/api/v1/checkpoints`, `/api/v1/replay`: things that are done once, and how far they are.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use super::serve::Shown;
use super::settings::DryRun;
use crate::recovery::replay::{Counted, Plan, ReplayRequest};

/// Something that is done once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRow {
    /// Its id.
    pub id: String,
    /// `replay`, `checkpoint`.
    pub kind: String,
    /// What it is about: a sink's name.
    pub subject: String,
    /// In a word.
    pub state: OperationState,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// How long it took, or takes so far.
    pub duration_seconds: f64,
    /// How much of `total` is done.
    pub done: u64,
    /// The whole; of a replay, offsets.
    pub total: u64,
    /// Events that it has dealt with.
    pub events: u64,
    /// Events a second.
    pub rate: f64,
    /// What it waits for.
    pub waiting: Option<String>,
    /// What it did.
    pub outcome: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
}

/// How something stands that is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It goes on.
    Running,
    /// It is complete.
    Done,
    /// It could not be done.
    Failed,
}

/// What becomes of a replay that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayAnswer {
    /// The span.
    pub plan: Plan,
    /// Whether it was begun before, and goes on.
    pub resumed: bool,
    /// What the store would get, where that was all that was asked.
    pub would_write: Option<Counted>,
    /// What does it.
    pub operation: Option<OperationRow>,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub error: String,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/checkpoints", get(checkpoints).post(create_checkpoint))
        .route("/api/v1/replay", post(replay))
        .route("/api/v1/operations", get(operations))
        .route("/api/v1/operations/{id}", get(operation))
        .route("/api/v1/operations/{id}/events", get(follow))
}

async fn operations(State(shown): State<Shown>) -> Json<Vec<OperationRow>> {
    Json(shown.view.operations())
}

async fn operation(State(shown): State<Shown>, Path(id): Path<String>) -> Response {
    match shown.view.operation(&id) {
        Some(row) => Json(row).into_response(),
        None => refused(StatusCode::NOT_FOUND, &format!("there is no operation `{id}`; it may have been forgotten")),
    }
}

/// How often an operation that is followed is looked at. Source: a guess; a person sees no steps.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// An operation as it goes on, by server-sent events: `progress` whenever something has changed, `end` with its outcome, and the
/// stream is over.
async fn follow(State(shown): State<Shown>, Path(id): Path<String>) -> Response {
    if shown.view.operation(&id).is_none() {
        return refused(StatusCode::NOT_FOUND, &format!("there is no operation `{id}`; it may have been forgotten"));
    }
    let begun: (Option<(u64, u64)>, bool) = (None, false);
    let events = stream::unfold((shown, id, begun), |(shown, id, (mut told, ended))| async move {
        if ended {
            return None;
        }
        loop {
            let row = shown.view.operation(&id)?;
            let ended = row.state != OperationState::Running;
            let now = (row.done, row.events);
            if ended || told != Some(now) {
                told = Some(now);
                let event = Event::default().event(if ended { "end" } else { "progress" });
                let event = event.json_data(&row).ok()?;
                return Some((Ok::<_, Infallible>(event), (shown, id, (told, ended))));
            }
            tokio::select! {
                () = shown.stop.cancelled() => return None,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

async fn checkpoints(State(shown): State<Shown>) -> Response {
    blocking(StatusCode::OK, move || shown.view.checkpoints()).await
}

/// What a checkpoint would hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct WouldWrite {
    /// Always true.
    dry_run: bool,
    /// Events below this are durable.
    durable_offset: u64,
}

async fn create_checkpoint(State(shown): State<Shown>, Query(DryRun { dry_run }): Query<DryRun>) -> Response {
    if dry_run {
        let durable_offset = shown.view.journal().durable_offset;
        return Json(WouldWrite { dry_run, durable_offset }).into_response();
    }
    blocking(StatusCode::CREATED, move || shown.view.create_checkpoint()).await
}

async fn replay(State(shown): State<Shown>, body: Bytes) -> Response {
    let request: ReplayRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("this is no request for a replay: {error}")),
    };
    let status = if request.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    blocking(status, move || shown.view.replay(&request)).await
}

/// Off the thread that serves everybody.
async fn blocking<T: Serialize + Send + 'static>(
    status: StatusCode,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => (status, Json(done)).into_response(),
        Ok(Err(Refusal { status, error })) => {
            refused(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error)
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug of Sluice: {error}")),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    Problem::new(status, error).into_response()
}
