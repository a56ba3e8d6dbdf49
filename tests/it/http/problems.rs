//! Whatever is refused, and by whom, is refused in the same form.

use super::{ask, get, quiet};
use crate::support::Workplace;

#[test]
fn every_refusal_is_problem_details_with_the_request_s_id() {
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    for (method, path, body, status, says) in [
        ("GET", "/nothing", "", 404, "openapi.json"),
        ("GET", "/api/v1/nothing", "", 404, "openapi.json"),
        ("DELETE", "/api/v1/journal", "", 405, "Allow"),
        ("POST", "/v1/health/live", "", 405, "Allow"),
        ("GET", "/api/v1/operations/none", "", 404, "none"),
        ("GET", "/api/v1/monitors/none", "", 404, "none"),
        ("GET", "/api/v1/pool?upstream=none", "", 404, "sluice pool"),
        ("GET", "/api/v1/pool?topics=perhaps", "", 400, "topics"),
        ("GET", "/api/v1/statistics?mointor=a", "", 400, "mointor"),
        ("GET", "/api/v1/gaps?mointor=a", "", 400, "mointor"),
        ("GET", "/api/v1/events?limit=many", "", 400, "limit"),
        ("GET", "/api/v1/events?from=99&format=xml", "", 400, "format"),
        ("GET", "/api/v1/quarantine?since=later", "", 400, "later"),
        ("PUT", "/api/v1/circuits/upstream/feed", "{", 400, "action"),
        ("PUT", "/api/v1/circuits/none/feed", "{}", 404, "kinds are"),
        ("POST", "/api/v1/replay", "{\"from_ofset\": 1}", 400, "from_ofset"),
        ("POST", "/api/v1/quarantine/retry", "7", 422, ""),
        ("PUT", "/api/v1/settings/server.listen", "{\"value\": \"127.0.0.1:1\"}", 422, "server.listen"),
        ("PUT", "/api/v1/sinks/none", "{\"enabled\": true}", 404, "none"),
        ("GET", "/api/v1/monitors/%ff", "", 400, "UTF-8"),
    ] {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
        let refused = ask(&daemon, method, path, headers, body.as_bytes());
        let detail = refused.problem();
        assert!(refused.status == status && detail.contains(says), "{method} {path}: {refused:?}");
        if status == 405 {
            assert!(refused.header("allow").is_some(), "{refused:?}");
        }
    }
    let refused = get(&daemon, "/api/v1/events?limit=many");
    assert_eq!(refused.json()["parameter"], "limit");
    let ids: Vec<_> = (0..2).map(|_| get(&daemon, "/nothing").json()["request_id"].clone()).collect();
    assert_ne!(ids[0], ids[1]);
    // Health tells by its status how it is, and that is no refusal.
    let health = get(&daemon, "/v1/health/ready").json();
    assert!(health["status"].is_string(), "{health}");
    daemon.stop();
}

#[test]
fn requests_are_counted_by_route_and_never_by_what_is_asked_for() {
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    for number in 0..20 {
        get(&daemon, &format!("/nothing/{number}"));
        get(&daemon, &format!("/api/v1/monitors/none-{number}"));
    }
    let metrics = daemon.metrics();
    let counted = |route: &str, code: &str| {
        metrics.value("sluice_http_requests_total", &[("route", route), ("code", code), ("method", "GET")])
    };
    assert_eq!(counted("unmatched", "404"), 20);
    assert_eq!(counted("/api/v1/monitors/{name}", "404"), 20);
    assert!(!metrics.0.contains("none-7"), "{}", metrics.0);
    assert!(metrics.value("sluice_http_request_seconds_count", &[("route", "unmatched")]) >= 20);
    daemon.stop();
}
