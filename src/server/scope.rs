//! What a route asks of whoever calls it.

use axum::http::Method;

use crate::config::Scope;

/// What is open to everybody: how the daemon is, its figures, and the web page, which holds no data of its own.
const OPEN: [&str; 7] = [
    "/",
    "/page/{file}",
    "/metrics",
    "/v1/health/live",
    "/v1/health/ready",
    "/v1/health/streaming",
    "/api/v1/monitoring/health",
];

/// Routes that change what is set; whatever else changes something changes what runs.
const SETTINGS: [&str; 6] = [
    "/api/v1/monitors",
    "/api/v1/monitors/{name}",
    "/api/v1/upstreams",
    "/api/v1/upstreams/{name}",
    "/api/v1/settings/{key}",
    "/api/v1/reload",
];

/// Routes that are asked by other methods than GET and change nothing of the daemon: a question that is long, and what a reader needs to
/// read: a ticket, and an offset that it commits.
const QUESTIONS: [&str; 3] = ["/api/v1/plan", "/v1/stream-tickets", "/v1/consumers/{name}"];

/// Whether a request may change something that others see.
pub(super) fn may_change(method: &Method, route: &str) -> bool {
    !only_looks(method) && (!QUESTIONS.contains(&route) || *method == Method::DELETE)
}

/// Whether a method only looks.
fn only_looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The scope that a route wants; none: it is open.
pub(super) fn required(method: &Method, route: &str) -> Option<Scope> {
    if OPEN.contains(&route) {
        None
    } else if !may_change(method, route) {
        Some(Scope::Read)
    } else if SETTINGS.contains(&route) {
        Some(Scope::Admin)
    } else {
        Some(Scope::Operate)
    }
}
