//! `/v1/health/live`, `/v1/health/ready` and `/api/v1/monitoring/health`: whether the process runs, and whether what comes becomes
//! durable.

use std::collections::BTreeMap;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;

use super::serve::Shown;
use crate::telemetry::Memory;

/// How the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// All is well.
    Healthy,
    /// Something is open or silent; data still becomes durable.
    Degraded,
    /// Data does not become durable.
    Unhealthy,
}

/// The body of health.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// In one word.
    pub status: HealthState,
    /// When it was asked, RFC 3339.
    pub timestamp: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// `writable`, `full` or `failed`.
    pub journal: &'static str,
    /// `connected`, `disconnected`, `polling` or `resting`, by upstream.
    pub upstreams: BTreeMap<String, &'static str>,
    /// As `sluice sinks` says it: `connected`, `lagging`, `disconnected`, …, by sink; empty where there is none.
    pub sinks: BTreeMap<String, &'static str>,
    /// What the process uses.
    pub memory: Memory,
    /// Why it is not healthy.
    pub reasons: Vec<String>,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/v1/health/live", get(live))
        .route("/v1/health/ready", get(ready))
        // The same for who looks for it beside the other figures.
        .route("/api/v1/monitoring/health", get(ready))
}

/// The process answers: it lives.
async fn live() -> &'static str {
    "ok\n"
}

/// Whether the daemon takes events and makes them durable.
async fn ready(State(shown): State<Shown>) -> (StatusCode, Json<Health>) {
    let health = shown.view.health();
    let code = match health.status {
        HealthState::Healthy | HealthState::Degraded => StatusCode::OK,
        HealthState::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(health))
}
