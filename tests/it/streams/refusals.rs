//! What cannot be streamed is refused in words, and who may not listen does not.

use serde_json::Value;

use super::super::processes::{Daemon, request, until};
use super::super::support::Workplace;
use super::{Sse, start, start_with, websocket};

fn refused(daemon: &Daemon, query: &str, headers: &str) -> (u16, String) {
    match Sse::try_open(daemon.address(), query, headers) {
        Err(refused) => refused,
        Ok(_) => panic!("{query} was not refused"),
    }
}

#[test]
fn what_means_nothing_is_refused_with_what_does() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "100", "");
    for (query, status, said) in [
        ("?evnts=all", 400, "evnts"),
        ("?events=a,,b", 400, "empty name"),
        ("?from=99999999", 400, "ahead of the journal"),
        ("?from=x", 400, "from"),
        ("?format=xml", 400, "cloudevents"),
        ("?consumer=a%20b", 400, "cannot name a consumer"),
    ] {
        let (found, body) = refused(&daemon, query, "");
        assert!(found == status && body.contains(said) && body.contains("application/problem+json"), "{query}: {body}");
    }
    let (status, body) = refused(&daemon, "", "Last-Event-ID: abc\r\n");
    assert!(status == 400 && body.contains("not an offset"), "{body}");
    let (status, _) = daemon.get("/v1/ws/events");
    assert_eq!(status, 426);
    drop((daemon, feed));
}

#[test]
fn streams_are_switched_off_and_bounded_by_settings() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "100", "[server.streams]\nwebsocket = false\nclients_max = 2\n");
    let health = |daemon: &Daemon| -> Value { serde_json::from_str(&daemon.get("/v1/health/streaming").1).unwrap() };
    assert_eq!(
        health(&daemon)["event_streaming"],
        serde_json::json!({"enabled": true, "websocket": false, "sse": true})
    );
    assert!(websocket_is_refused(&daemon));
    let clients = [Sse::open(daemon.address(), "", ""), Sse::open(daemon.address(), "", "")];
    let (status, body) = refused(&daemon, "", "");
    assert!(status == 503 && body.to_lowercase().contains("retry-after"), "{body}");
    assert_eq!(health(&daemon)["metrics"]["sse_connections"], 2);
    drop(clients);
    until("seats are free again", || (health(&daemon)["metrics"]["sse_connections"] == 0).then_some(()));
    drop(Sse::open(daemon.address(), "", ""));
    drop((daemon, feed));
}

fn websocket_is_refused(daemon: &Daemon) -> bool {
    let address = daemon.address().to_owned();
    std::panic::catch_unwind(move || websocket(&address, "")).is_err()
}

#[test]
fn a_ticket_opens_one_stream_and_a_stranger_none() {
    let place = Workplace::new().with_file("token", "0123456789abcdef0123");
    let (daemon, feed) = start_with(&place, "100", "", "token_file = \"token\"\n");
    assert_eq!(refused(&daemon, "", "").0, 401);
    assert_eq!(refused(&daemon, "?ticket=x", "").0, 401);
    let address = daemon.address();
    let ask = format!(
        "POST /v1/stream-tickets HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer 0123456789abcdef0123\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let (status, body) = request(address, &ask).unwrap();
    assert_eq!(status, 200, "{body}");
    let ticket: Value = serde_json::from_str(&body).unwrap();
    let query = format!("?ticket={}", ticket["ticket"].as_str().unwrap());
    drop(Sse::open(address, &query, ""));
    assert_eq!(refused(&daemon, &query, "").0, 401);
    let (status, _) =
        refused(&daemon, "", "Authorization: Bearer 0123456789abcdef0123\r\nOrigin: https://page.example\r\n");
    assert_eq!(status, 403);
    drop((daemon, feed));
}

#[test]
fn what_retention_has_deleted_is_gone_and_the_earliest_is_named() {
    let place = Workplace::new();
    let more = "[batch]\nmax_bytes = \"8KiB\"\n[journal]\nsegment_size = \"64KiB\"\nmax_size = \"256KiB\"\n";
    let (daemon, feed) = start(&place, "3000", more);
    let body = until("the first events are gone", || {
        let (status, body) = Sse::try_open(daemon.address(), "?from=0", "").err()?;
        (status == 410).then_some(body)
    });
    let problem: Value = serde_json::from_str(body.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(problem["earliest_offset"].as_u64().unwrap() > 0, "{problem}");
    drop((daemon, feed));
}
