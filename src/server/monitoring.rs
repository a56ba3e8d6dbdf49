//! `/api/v1/monitoring/…`: what boards show, gathered from the other resources.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::canary::CanaryStatus;
use super::health::Health;
use super::operations::OperationRow;
use super::pool::PoolRow;
use super::problem::Problem;
use super::serve::Shown;
use super::views::{OperationCounts, Running};
use crate::circuits::CircuitRow;
use crate::clock::UnixNanos;
use crate::sink::SinkRow;
use crate::telemetry::HostSample;
use crate::views::ViewError;

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/monitoring/metrics", get(metrics))
        .route("/api/v1/monitoring/system-metrics", get(system))
        .route("/api/v1/monitoring/dashboard", get(dashboard))
}

/// Requests since the start.
#[derive(Debug, Serialize)]
struct RequestsBody {
    requests: u64,
    server_errors: u64,
}

#[derive(Debug, Serialize)]
struct MetricsBody {
    timestamp: String,
    events_total: u64,
    events_today: u64,
    #[serde(flatten)]
    running: Running,
    operations: OperationCounts,
    http: RequestsBody,
    system: HostSample,
}

async fn system(State(shown): State<Shown>) -> Json<HostSample> {
    Json(shown.view.host())
}

async fn metrics(State(shown): State<Shown>) -> Response {
    answer(move || metrics_now(&shown)).await
}

fn metrics_now(shown: &Shown) -> Result<MetricsBody, ViewError> {
    let (statistics, running) = shown.view.statistics(false)?;
    Ok(MetricsBody {
        timestamp: UnixNanos::now().to_string(),
        events_total: statistics.monitors.iter().map(|monitor| monitor.counted.events).sum(),
        events_today: statistics.monitors.iter().map(|monitor| monitor.today.events).sum(),
        running,
        operations: OperationCounts::of(&shown.view.operations()),
        http: RequestsBody { requests: shown.requests.requests(), server_errors: shown.requests.server_errors() },
        system: shown.view.host(),
    })
}

#[derive(Debug, Serialize)]
struct DashboardBody {
    health: Health,
    metrics: MetricsBody,
    pool: Vec<PoolRow>,
    sinks: Vec<SinkRow>,
    circuits: Vec<CircuitRow>,
    canary: CanaryStatus,
    operations: Vec<OperationRow>,
}

async fn dashboard(State(shown): State<Shown>) -> Response {
    answer(move || {
        Ok(DashboardBody {
            health: shown.view.health(),
            metrics: metrics_now(&shown)?,
            pool: shown.view.pool(None, false),
            sinks: shown.view.sinks(),
            circuits: shown.view.circuits(),
            canary: shown.view.canary(),
            operations: shown.view.operations(),
        })
    })
    .await
}

/// Off the server's thread, since views may be asked.
async fn answer<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, ViewError> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(body)) => Json(body).into_response(),
        Ok(Err(error)) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
        Err(error) => Problem::bug(error).into_response(),
    }
}
