//! `/api/v1/sinks`: every sink as it stands; switching one; what its store has put aside.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde::Deserialize;

use super::problem::Problem;
use super::serve::Shown;
use crate::sink::{SinkChange, SinkRow, SwitchRefusal};

/// Parked rows that are told where nobody asks for another number.
const PARKED_ROWS: usize = 100;
/// At most: each has its payload.
const PARKED_ROWS_MAX: usize = 1000;

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/sinks", get(sinks))
        .route("/api/v1/sinks/{name}", put(change))
        .route("/api/v1/sinks/{name}/parked", get(parked))
}

async fn sinks(State(shown): State<Shown>) -> Json<Vec<SinkRow>> {
    Json(shown.view.sinks())
}

async fn change(State(shown): State<Shown>, Path(name): Path<String>, body: Bytes) -> Response {
    let change: SinkChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => {
            let expected = r#"expected {"enabled": true or false, "resume": "catch_up", "start_now" or "anew"}"#;
            return refused(StatusCode::BAD_REQUEST, &format!("{expected}: {error}"));
        }
    };
    blocking(move || shown.view.change_sink(&name, change)).await
}

#[derive(Deserialize)]
pub(super) struct ParkedQuery {
    limit: Option<usize>,
}

async fn parked(State(shown): State<Shown>, Path(name): Path<String>, Query(query): Query<ParkedQuery>) -> Response {
    let limit = query.limit.unwrap_or(PARKED_ROWS).min(PARKED_ROWS_MAX);
    blocking(move || shown.view.parked(&name, limit)).await
}

/// Off the thread that serves everybody.
async fn blocking<T: serde::Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, SwitchRefusal> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(refusal)) => {
            let status = match refusal {
                SwitchRefusal::Unknown(_) => StatusCode::NOT_FOUND,
                SwitchRefusal::AsksResume { .. } | SwitchRefusal::IsOn(_) => StatusCode::CONFLICT,
                SwitchRefusal::NotRecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
                SwitchRefusal::NoAnswer(_) => StatusCode::BAD_GATEWAY,
            };
            refused(status, &refusal.to_string())
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug of Sluice: {error}")),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    Problem::new(status, error).into_response()
}
