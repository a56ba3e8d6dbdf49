//! What a route asks of whoever calls it.

use axum::http::Method;

use crate::config::Scope;

/// What is open to everybody: how the daemon is, and its figures.
const OPEN: [&str; 4] = ["/metrics", "/v1/health/live", "/v1/health/ready", "/api/v1/monitoring/health"];

/// Routes that change what is set; whatever else changes something changes what runs.
const SETTINGS: [&str; 6] = [
    "/api/v1/monitors",
    "/api/v1/monitors/{name}",
    "/api/v1/upstreams",
    "/api/v1/upstreams/{name}",
    "/api/v1/settings/{key}",
    "/api/v1/reload",
];

/// Routes that are asked by POST because the question is long, and change nothing.
const QUESTIONS: [&str; 1] = ["/api/v1/plan"];

/// Whether a method only looks.
pub(super) fn only_looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The scope that a route wants; none: it is open.
pub(super) fn required(method: &Method, route: &str) -> Option<Scope> {
    if OPEN.contains(&route) {
        None
    } else if only_looks(method) || QUESTIONS.contains(&route) {
        Some(Scope::Read)
    } else if SETTINGS.contains(&route) {
        Some(Scope::Admin)
    } else {
        Some(Scope::Operate)
    }
}
