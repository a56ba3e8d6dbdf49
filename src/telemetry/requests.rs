//! What is asked of the HTTP server: counted and timed, by route.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::answered;

/// Requests since the start.
#[derive(Debug, Default)]
pub struct RequestCounts {
    requests: AtomicU64,
    server_errors: AtomicU64,
}

impl RequestCounts {
    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Of these, those that were answered with 5xx.
    pub fn server_errors(&self) -> u64 {
        self.server_errors.load(Ordering::Relaxed)
    }

    /// Counts one. `route` is a route's pattern, so that labels stay few.
    pub(crate) fn record(&self, route: &str, method: &axum::http::Method, code: u16, took: Duration) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        self.requests.fetch_add(1, Ordering::Relaxed);
        if code >= 500 {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
        answered(route, method, code, took);
    }
}
