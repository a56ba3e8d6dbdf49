//! The HTTP server.

use std::time::Duration;

use metrics::{counter, histogram};

super::metrics! {
    HTTP_REQUESTS = Counter "sluice_http_requests_total" ["route", "method", "code"]
        "Requests that the HTTP server answered, by route, method and status", "once one was answered";
    HTTP_SECONDS = Histogram "sluice_http_request_seconds" ["route", "method"]
        "Time from a request's head to its answer's, by route and method", "once one was answered";
}

/// Counts and times an answer. `route` is a route's pattern, and `method` one of few, so that series stay few.
pub(in crate::telemetry) fn answered(route: &str, method: &'static str, code: u16, took: Duration) {
    let route = route.to_owned();
    counter!(HTTP_REQUESTS, "route" => route.clone(), "method" => method, "code" => code.to_string()).increment(1);
    histogram!(HTTP_SECONDS, "route" => route, "method" => method).record(took.as_secs_f64());
}
