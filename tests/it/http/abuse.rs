//! What means ill is refused, and health still answers.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::time::Instant;

use super::{answer, ask, ask_from, bearer, connect_from, get, quiet};
use crate::processes::{Daemon, until};
use crate::support::Workplace;

fn is_well(daemon: &Daemon) {
    let health = get(daemon, "/v1/health/live");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
}

#[test]
fn guessing_tokens_is_slowed_while_health_and_others_are_answered() {
    const TOKEN: &str = "a-token-that-nobody-guesses";
    let place = Workplace::new().with_file("token", TOKEN);
    let daemon = quiet(&place, "token_file = \"token\"");
    let guess = |token: &str| {
        ask_from(2, daemon.address(), "GET", "/api/v1/journal", &[("Authorization", &bearer(token))], b"")
    };
    for number in 0..5 {
        let refused = guess(&format!("wrong-{number}-wrong-wrong"));
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")));
        assert!(!refused.problem().contains(TOKEN));
    }
    let slowed = guess(TOKEN);
    assert_eq!(slowed.status, 429, "a good one too, or else guessing costs nothing: {slowed:?}");
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(slowed.problem().contains("too many wrong tokens"));
    is_well(&daemon);
    // Whoever comes from elsewhere does not wait, and the guesser only for a while.
    let other = ask_from(3, daemon.address(), "GET", "/api/v1/journal", &[("Authorization", &bearer(TOKEN))], b"");
    assert_eq!(other.status, 200, "{other:?}");
    until("the guesser may try again", || (guess(TOKEN).status == 200).then_some(()));
    assert!(!daemon.stop().contains(TOKEN));
}

#[test]
fn bodies_that_are_too_large_packed_or_not_are_refused() {
    let place = Workplace::new();
    let daemon = quiet(&place, "body_max = \"64KiB\"");
    let post = |headers: &[(&str, &str)], body: &[u8]| ask(&daemon, "POST", "/api/v1/plan", headers, body);
    let large = vec![b' '; 100_000];
    let refused = post(&[], &large);
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(refused.problem().contains("server.body_max"));

    // Without a length that could tell before.
    let mut stream = connect_from(1, daemon.address());
    let head = format!(
        "POST /api/v1/plan HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        daemon.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..20 {
        if stream.write_all(format!("{:x}\r\n{}\r\n", 8192, " ".repeat(8192)).as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(answer(stream).status, 413);

    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 20 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 60_000, "small as it comes: {}", bomb.len());
    let refused = post(&[("Content-Encoding", "gzip")], &bomb);
    assert_eq!(refused.status, 413, "{refused:?}");
    refused.problem();

    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(br#"{"file": "x", "text": ""}"#).unwrap();
    let taken = post(&[("Content-Encoding", "gzip")], &packed.finish().unwrap());
    assert!(!matches!(taken.status, 400 | 413 | 415), "what is packed and small is read: {taken:?}");
    for (headers, body, status) in [
        (&[("Content-Encoding", "gzip")][..], &b"no gzip"[..], 400),
        (&[("Content-Encoding", "br")], b"{}", 415),
        (&[("Content-Type", "text/xml")], b"<x/>", 415),
        (&[("Content-Type", "application/x-www-form-urlencoded")], b"a=b", 415),
    ] {
        let refused = post(headers, body);
        assert_eq!(refused.status, status, "{headers:?}: {refused:?}");
        refused.problem();
    }
    is_well(&daemon);
    daemon.stop();
}

#[test]
fn heads_and_bodies_that_do_not_come_are_not_waited_for() {
    let place = Workplace::new();
    let daemon = quiet(&place, "head_timeout = \"1s\"\nbody_timeout = \"1s\"");
    let began = Instant::now();
    // A byte at a time does not help.
    let mut slow = connect_from(2, daemon.address());
    slow.write_all(b"GET /v1/health/live HT").unwrap();
    let mut idle = connect_from(2, daemon.address());
    let mut stalled = connect_from(2, daemon.address());
    let head = format!("POST /api/v1/plan HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n{{", daemon.address());
    stalled.write_all(head.as_bytes()).unwrap();
    is_well(&daemon);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).ok();
    idle.read_to_end(&mut rest).ok();
    assert!(!String::from_utf8_lossy(&rest).contains("200"), "{rest:?}");
    let refused = answer(stalled);
    assert_eq!(refused.status, 408, "{refused:?}");
    assert!(refused.problem().contains("server.body_timeout"));
    assert!(began.elapsed() >= Duration::from_secs(1));
    is_well(&daemon);
    daemon.stop();
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    let large = "x".repeat(40_000);
    let refused = ask(&daemon, "GET", "/api/v1/journal", &[("X-Large", &large)], b"");
    assert_eq!(refused.status, 431, "{refused:?}");
    let many: Vec<(String, String)> = (0..200).map(|number| (format!("X-{number}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(ask(&daemon, "GET", "/api/v1/journal", &many, b"").status, 431);
    is_well(&daemon);
    daemon.stop();
}

#[test]
fn one_peer_cannot_have_all_connections() {
    let place = Workplace::new();
    let daemon = quiet(&place, "connections_max = 12\nconnections_per_peer = 4");
    let held: Vec<_> = (0..4).map(|_| connect_from(2, daemon.address())).collect();
    // Taken when the server has seen them, not when they are connected.
    let refused = until("the peer has all that it may have", || {
        let answer = ask_from(2, daemon.address(), "GET", "/v1/health/live", &[], b"");
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.body.contains("connections_per_peer") && refused.header("retry-after").is_some(), "{refused:?}");
    is_well(&daemon);
    drop(held);
    until("its places are free again", || {
        (ask_from(2, daemon.address(), "GET", "/v1/health/live", &[], b"").status == 200).then_some(())
    });
    daemon.stop();
}

#[test]
fn names_that_are_paths_statements_or_lines_are_names_or_refused() {
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    for path in [
        "/../../etc/passwd",
        "/api/v1/../../../etc/passwd",
        "/api/v1/sinks/..%2f..%2fetc%2fpasswd/parked",
        "/api/v1/operations/..%2f..%2f..%2fetc%2fpasswd",
        "/api/v1/monitors/%2e%2e%2fsluice.toml",
        "/api/v1/monitors/%00",
        "/api/v1/monitors/a'%20OR%20'1'='1",
        "/api/v1/operations/1;DROP%20TABLE%20events",
    ] {
        let refused = get(&daemon, path);
        assert!(matches!(refused.status, 400 | 404), "{path}: {refused:?}");
        assert!(!refused.body.contains("root:"), "{path}: {refused:?}");
        refused.problem();
    }
    for query in ["monitor='%20OR%201%3D1--", "key=%22;DROP%20TABLE%20events;--", "topic=..%2F..%2Fetc", "domain=%00"] {
        let none = get(&daemon, &format!("/api/v1/events?{query}"));
        assert_eq!((none.status, &none.json()["events"]), (200, &Value::Array(vec![])), "{query}: {none:?}");
    }
    let name = r#"{"name": "m'; DROP TABLE events;--", "upstream": "feed", "domain": "spot", "topics": ["a"]}"#;
    let refused = ask(&daemon, "POST", "/api/v1/monitors", &[], name.as_bytes());
    assert!(matches!(refused.status, 400 | 422), "{refused:?}");

    // What would begin a line of its own in a log does not.
    let forged = "FORGED ERROR all data is lost";
    let reason = format!(r#"{{"reason": "why\r\n{forged}"}}"#);
    assert_eq!(ask(&daemon, "POST", "/api/v1/emergency-stop", &[], reason.as_bytes()).status, 200);
    assert_eq!(ask(&daemon, "POST", "/api/v1/start", &[], b"").status, 200);
    let escaped = "FORGED%20ERROR%20all%20data%20is%20lost";
    ask(&daemon, "PUT", &format!("/api/v1/sinks/x%0d%0a{escaped}"), &[], br#"{"enabled": false}"#);
    for id in ["a%0d%0aFORGED", "two words", &"x".repeat(500), "<script>"] {
        let answer = ask(&daemon, "GET", "/v1/health/live", &[("X-Request-Id", id)], b"");
        assert_ne!(answer.header("x-request-id"), Some(id), "{answer:?}");
    }
    let kept = ask(&daemon, "GET", "/v1/health/live", &[("X-Request-Id", "deploy-7.1")], b"");
    assert_eq!(kept.header("x-request-id"), Some("deploy-7.1"));
    is_well(&daemon);
    let log = daemon.stop();
    assert!(!log.lines().any(|line| line.starts_with("FORGED")), "{log}");
}

#[test]
fn pages_of_other_origins_and_names_that_are_not_ours_are_refused() {
    const TOKEN: &str = "a-token-that-nobody-guesses";
    let place = Workplace::new().with_file("token", TOKEN);
    let daemon = quiet(
        &place,
        "token_file = \"token\"\ncors_origins = [\"https://board.example\"]\nhosts = [\"sluice.example\"]",
    );
    let token = bearer(TOKEN);
    let with = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([("Authorization", token.as_str())]).collect();
        ask(&daemon, "GET", "/api/v1/journal", &headers, b"")
    };
    for headers in [
        &[("Host", "rebound.example")][..],
        &[("Origin", "https://page.example")],
        &[("Origin", "null")],
        &[("Origin", "https://board.example.evil")],
    ] {
        let refused = with(headers);
        assert_eq!(refused.status, 403, "a token does not help: {headers:?}: {refused:?}");
        assert!(refused.header("access-control-allow-origin").is_none(), "{refused:?}");
        refused.problem();
    }
    assert_eq!(with(&[("Host", "sluice.example:9464")]).status, 200);
    let allowed = with(&[("Origin", "https://board.example")]);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some("https://board.example")));
    let asked = [
        ("Origin", "https://board.example"),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let before = ask(&daemon, "OPTIONS", "/api/v1/circuits/upstream/feed", &asked, b"");
    assert_eq!(before.status, 200, "{before:?}");
    assert!(before.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")), "{before:?}");
    let foreign = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "PUT")];
    let before = ask(&daemon, "OPTIONS", "/api/v1/circuits/upstream/feed", &foreign, b"");
    assert!(before.header("access-control-allow-origin").is_none(), "{before:?}");
    daemon.stop();
}
