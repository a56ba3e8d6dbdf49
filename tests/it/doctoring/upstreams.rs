//! Upstreams: each step by itself, up to one subscription.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::{doctor, feed};
use crate::auth::servers::{Answer, Guarded, acknowledged};
use crate::processes::{Feed, Settings};
use crate::support::Workplace;

#[test]
fn an_upstream_that_works_passes_and_nothing_is_left_behind() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("m", "d", "feed", &["btcusdt@trade"], "")
        .write(&place);
    let before: Vec<_> = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let found = doctor(&place, "10s", &[]);
    assert_eq!(found.code, Some(0), "{}", found.text);
    found.assert(("connect", "feed"), "ok", "127.0.0.1:");
    found.assert(("handshake", "feed"), "ok", "done");
    found.assert(("subscription", "feed"), "ok", "btcusdt@trade");
    found.assert(("folder", "data_dir"), "ok", "can be made");
    let after: Vec<_> = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before, after, "it leaves nothing behind");
}

#[test]
fn a_port_where_nobody_listens_is_a_failed_connection_and_the_rest_is_skipped() {
    let place = Workplace::new();
    feed("ws://127.0.0.1:1/stream", "").write(&place);
    let found = doctor(&place, "5s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("connect", "feed"), "failed", "refused");
    found.assert(("handshake", "feed"), "skipped", "");
    found.assert(("subscription", "feed"), "skipped", "");
}

#[test]
fn only_the_upstream_that_was_named_is_looked_at() {
    let place = Workplace::new();
    feed("ws://127.0.0.1:1/stream", "").upstream("other", "binance", "ws://127.0.0.1:1/x").write(&place);
    let found = doctor(&place, "5s", &["--upstream", "other"]);
    assert!(found.rows.iter().all(|row| row["subject"] == "other"), "{}", found.text);
    let outcome = place.run(["--config", "sluice.toml", "config", "doctor", "--upstream", "nobody"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("feed, other"), "{outcome:?}");
}

#[test]
fn a_login_that_is_refused_is_told_without_the_secret_that_was_shown() {
    let upstream = Guarded::start(|_| Some(401), |_, request| acknowledged(request));
    let place = Workplace::new().with_variable("FEED_KEY", "planted-s3cret");
    let auth = "[upstreams.feed.auth]\nsecrets.key = { env = 'FEED_KEY' }\nheaders = { X-Key = '{key}' }";
    feed(&upstream.url(), auth).write(&place);
    let found = doctor(&place, "5s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("login", "feed"), "failed", "401");
    let asked: Vec<_> = upstream.shakes().into_iter().filter(|shake| shake.headers.contains_key("x-key")).collect();
    assert_eq!(asked[0].headers["x-key"], "planted-s3cret");
    assert!(!found.text.contains("planted"), "{}", found.text);
}

#[test]
fn a_subscription_that_is_refused_is_told_with_the_reason_and_without_secrets_that_it_repeats() {
    let upstream = Guarded::start(
        |_| None,
        |_, request| {
            let id = &request["id"];
            let text = format!(r#"{{"error":{{"code":2,"msg":"no right for planted-s3cret"}},"id":{id}}}"#);
            Answer::Text(text)
        },
    );
    let place = Workplace::new().with_variable("FEED_KEY", "planted-s3cret");
    let auth = "[upstreams.feed.auth]\nsecrets.key = { env = 'FEED_KEY' }\nheaders = { X-Key = '{key}' }";
    feed(&upstream.url(), auth).write(&place);
    let found = doctor(&place, "5s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("handshake", "feed"), "ok", "done");
    found.assert(("subscription", "feed"), "failed", "no right for ***");
    assert!(!found.text.contains("planted"), "{}", found.text);
}

#[test]
fn a_silent_upstream_is_told_after_the_timeout() {
    let upstream = Guarded::start(|_| None, |_, _| Answer::Nothing);
    let place = Workplace::new();
    feed(&upstream.url(), "").write(&place);
    let found = doctor(&place, "1s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("handshake", "feed"), "ok", "done");
    found.assert(("subscription", "feed"), "failed", "nothing came within 1s");
}

/// Answers whatever is asked with this date, and takes no handshake.
fn dated(moment: jiff::Timestamp) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let date = moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let date = date.clone();
            thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                // A look whether the port is open asks nothing.
                if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let head = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n";
                    stream.write_all(format!("{head}Date: {date}\r\n\r\n").as_bytes()).ok();
                }
            });
        }
    });
    port
}

#[test]
fn a_clock_that_differs_from_the_server_s_is_told() {
    for (seconds, result, words) in
        [(3600, "failed", "behind"), (-3600, "failed", "ahead of"), (0, "ok", "as the server's")]
    {
        let port = dated(
            jiff::Timestamp::now() + Duration::from_hours(1)
                - Duration::from_secs(u64::try_from(3600 - seconds).unwrap()),
        );
        let place = Workplace::new();
        feed(&format!("ws://127.0.0.1:{port}/stream"), "").write(&place);
        let found = doctor(&place, "5s", &[]);
        found.assert(("clock", "feed"), result, words);
        found.assert(("handshake", "feed"), "failed", "426");
    }
}
