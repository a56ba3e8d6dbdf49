//! `/api/v1/sinks`: every sink as it stands.

use axum::Json;
use axum::extract::State;

use super::serve::Shown;
use crate::sink::SinkRow;

pub(super) async fn sinks(State(shown): State<Shown>) -> Json<Vec<SinkRow>> {
    Json(shown.view.sinks())
}
