//! `/metrics`, in the text format of Prometheus.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::serve::Shown;

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.render())
}
