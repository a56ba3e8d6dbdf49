//! `/api/v1/circuits`: every circuit breaker as it stands; holding one, and letting it go.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};

use super::problem::Problem;
use super::serve::Shown;
use crate::breaker::CircuitKind;
use crate::circuits::{CircuitChange, CircuitHold, CircuitRefusal, CircuitRow};

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/circuits", get(circuits)).route("/api/v1/circuits/{kind}/{name}", put(change))
}

async fn circuits(State(shown): State<Shown>) -> Json<Vec<CircuitRow>> {
    Json(shown.view.circuits())
}

async fn change(State(shown): State<Shown>, Path((kind, name)): Path<(String, String)>, body: Bytes) -> Response {
    let Some(kind) = CircuitKind::ALL.into_iter().find(|known| known.as_str() == kind) else {
        let known = CircuitKind::ALL.map(|kind| format!("`{}`", kind.as_str())).join(", ");
        let error = format!("there are no circuits of kind `{kind}`; the kinds are {known}");
        return refused(StatusCode::NOT_FOUND, &error);
    };
    let change: CircuitChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => {
            let expected = r#"expected {"action": "open", "close" or "reset"}"#;
            return refused(StatusCode::BAD_REQUEST, &format!("{expected}: {error}"));
        }
    };
    let hold = CircuitHold::new(kind, &name, change.action);
    // Off the thread that serves everybody: it waits until the change is durable.
    match tokio::task::spawn_blocking(move || shown.view.change_circuit(&hold)).await {
        Ok(Ok(row)) => Json(row).into_response(),
        Ok(Err(refusal)) => {
            let status = match refusal {
                CircuitRefusal::Unknown { .. } => StatusCode::NOT_FOUND,
                CircuitRefusal::Disabled => StatusCode::CONFLICT,
                CircuitRefusal::NotRecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            refused(status, &refusal.to_string())
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug of Sluice: {error}")),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    Problem::new(status, error).into_response()
}
