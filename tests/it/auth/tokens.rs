//! Tokens: asked for once for all links, anew before they end, and never too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA512, digest};
use serde_json::json;

use super::handshake::live;
use super::login::whole;
use super::servers::{Answer, Asked, Guarded, HttpServer, Shake, acknowledged, hmac};
use crate::processes::{Daemon, Settings, until};
use crate::support::Workplace;

/// Tokens `token-1`, `token-2` …, each for some seconds.
fn tokens(seconds: u64) -> HttpServer {
    HttpServer::start(move |number, asked| {
        let fits = asked.body == r#"{"client_id":"me","client_secret":"s\"3cret"}"#
            && asked.headers.get("content-type").map(String::as_str) == Some("application/json");
        let token = json!({ "access_token": format!("token-{number}"), "expires_in": seconds });
        if fits { (200, token.to_string()) } else { (401, json!({ "error": "invalid_client" }).to_string()) }
    })
}

fn place() -> Workplace {
    Workplace::new().with_variable("SECRET", "s\"3cret")
}

fn auth(server: &HttpServer, more: &str) -> String {
    format!(
        "[upstreams.feed.auth]
        secrets.secret = {{ env = 'SECRET' }}
        token.url = '{}'
        token.body = '{{\"client_id\":\"me\",\"client_secret\":\"{{secret}}\"}}'
        token.value = '/access_token'
        token.lifetime_at = '/expires_in'
        {more}",
        server.url("/token")
    )
}

/// Whose only monitor's topic comes over at most so many links.
fn settings(url: &str, auth: &str, links: usize) -> Settings {
    Settings::new()
        .upstream("feed", "binance", url)
        .with(auth)
        .with(&format!(
            "[upstreams.feed.pool]\nmin_connections = {links}\nmax_connections = {}\nrefused_wait = '1s'",
            links + 1
        ))
        .monitor("m", "d", "feed", &["x@trade"], "")
}

fn bearer(shake: &Shake) -> Option<String> {
    Some(shake.headers.get("authorization")?.strip_prefix("Bearer ")?.to_owned())
}

#[test]
fn all_links_share_one_token() {
    let (place, server) = (place(), tokens(3600));
    let upstream =
        Guarded::start(|shake| (bearer(shake)? != "token-1").then_some(401), |_, request| acknowledged(request));
    let more = "headers = { Authorization = 'Bearer {token}' }";
    let daemon = Daemon::start(&place, &settings(&upstream.url(), &auth(&server, more), 3));
    until("three links are open", || {
        (daemon.metrics().value("sluice_links", &[("upstream", "feed"), ("state", "open")]) == 3).then_some(())
    });
    live(&daemon);
    assert!(upstream.shakes().iter().all(|shake| bearer(shake).as_deref() == Some("token-1")));
    assert_eq!(server.asked().len(), 1);
    daemon.stop();
}

#[test]
fn a_token_is_refreshed_before_it_ends_and_its_links_log_in_again_without_a_gap() {
    let (place, server) = (place(), tokens(3));
    let upstream = Guarded::start(
        |_| None,
        |_, request| match request["op"].as_str() {
            Some("login") => Answer::Text(json!({ "event": "login", "of": request["token"] }).to_string()),
            _ => acknowledged(request),
        },
    );
    let more = "login.send = '{\"op\":\"login\",\"token\":\"{token}\"}'\nlogin.accepted = { '/event' = 'login' }";
    let daemon = Daemon::start(&place, &settings(&upstream.url(), &auth(&server, more), 1));
    let logins = || -> Vec<String> {
        let said = upstream.said().into_iter().filter(|said| said.text.contains("login"));
        said.map(|said| said.text.split('"').nth_back(1).unwrap().to_owned()).collect()
    };
    until("it has logged in with three tokens", || (logins().len() >= 3).then_some(()));
    daemon.stop();
    assert_eq!(logins()[..3], ["token-1", "token-2", "token-3"]);
    assert_eq!(upstream.shakes().len(), 1, "over one connection");
    let asked = server.asked();
    assert!(asked[1].at - asked[0].at < Duration::from_secs(3), "before it ended");
    assert!(asked[1].at - asked[0].at > Duration::from_millis(1500), "and not long before");
    whole(&place);
}

#[test]
fn links_whose_token_is_in_the_handshake_are_replaced_before_it_ends_and_nothing_is_missed() {
    let (place, server) = (place(), tokens(6));
    let upstream = Guarded::start(|shake| bearer(shake).is_none().then_some(401), |_, request| acknowledged(request));
    let more = "headers = { Authorization = 'Bearer {token}' }\ntoken.refresh_before = '4s'";
    let daemon = Daemon::start(&place, &settings(&upstream.url(), &auth(&server, more), 1));
    let different = || upstream.shakes().iter().filter_map(bearer).collect::<std::collections::BTreeSet<_>>().len();
    until("links have had three tokens", || (different() >= 3).then_some(()));
    let before = daemon.monitors()["m"]["events"].as_u64().unwrap();
    until("events come", || (daemon.monitors()["m"]["events"].as_u64().unwrap() > before + 20).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("link is replaced: its token is about to end") && !log.contains("link lost"), "{log}");
    whole(&place);
}

#[test]
fn a_token_that_is_in_the_path_is_kept_alive_by_asking_for_that() {
    let place = Workplace::new().with_variable("KEY", "the-key");
    let server = HttpServer::start(|_, asked: &Asked| match (asked.method.as_str(), asked.target.as_str()) {
        ("POST", "/listen") if asked.headers.get("x-mbx-apikey").map(String::as_str) == Some("the-key") => (
            200,
            json!({ "listenKey": "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1" }).to_string(),
        ),
        ("PUT", target) if target.starts_with("/listen?listenKey=pqia91ma") => (200, "{}".to_owned()),
        _ => (400, json!({ "code": -1125, "msg": "This listenKey does not exist." }).to_string()),
    });
    let upstream = Guarded::start(
        |shake| (!shake.path.starts_with("/stream/pqia91ma19a5")).then_some(404),
        |_, request| acknowledged(request),
    );
    let auth = format!(
        "[upstreams.feed.auth]
        secrets.key = {{ env = 'KEY' }}
        token.url = '{}'
        token.headers = {{ X-MBX-APIKEY = '{{key}}' }}
        token.value = '/listenKey'
        token.lifetime = '2s'
        token.extend = {{ headers = {{ X-MBX-APIKEY = '{{key}}' }}, query = {{ listenKey = '{{token}}' }} }}",
        server.url("/listen")
    );
    let daemon = Daemon::start(&place, &settings(&format!("{}/{{token}}", upstream.url()), &auth, 1));
    live(&daemon);
    let puts = || server.asked().iter().filter(|asked| asked.method == "PUT").count();
    until("it was extended twice", || (puts() >= 2).then_some(()));
    let log = daemon.stop();
    assert_eq!(server.asked().len() - puts(), 1, "one key");
    assert_eq!(upstream.shakes().len(), 1, "which one link goes on with");
    assert!(!log.contains("pqia91ma"), "{log}");
    whole(&place);
}

#[test]
fn a_signed_call_for_a_token_is_as_kraken_describes_it() {
    let secret = STANDARD.encode(b"a secret of kraken");
    let place = Workplace::new().with_variable("KEY", "the-key").with_variable("SECRET", &secret);
    let nonces = Arc::new(AtomicUsize::new(0));
    let server = HttpServer::start(move |_, asked: &Asked| {
        let nonce = asked.body.strip_prefix("nonce=").unwrap();
        let hashed = digest(&SHA256, format!("{nonce}{}", asked.body).as_bytes());
        let message = [asked.target.as_bytes(), hashed.as_ref()].concat();
        let grows = nonces.fetch_max(nonce.parse().unwrap(), Ordering::Relaxed) < nonce.parse().unwrap();
        let fits = asked.headers.get("api-key").map(String::as_str) == Some("the-key")
            && asked.headers.get("api-sign") == Some(&STANDARD.encode(hmac(&SHA512, b"a secret of kraken", &message)))
            && grows;
        let answer = if fits {
            json!({ "error": [], "result": { "token": "1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw", "expires": 900 } })
        } else {
            json!({ "error": ["EAPI:Invalid signature"] })
        };
        (200, answer.to_string())
    });
    let upstream = Guarded::start(
        |_| None,
        |_, request| match request["token"].as_str() {
            Some("1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw") => acknowledged(request),
            _ => Answer::Close("no token"),
        },
    );
    let settings = Settings::new()
        .with(
            "[dialects.tokened]
            extends = 'binance'
            topics = [{ form = '{topic}', subscribe = '{\"method\":\"SUBSCRIBE\",\"params\":{topics},\"id\":{id},\"token\":\"{auth.token}\"}' }]",
        )
        .upstream("feed", "tokened", &upstream.url())
        .with(&format!(
            "[upstreams.feed.auth]
            secrets = {{ key = {{ env = 'KEY' }}, secret = {{ env = 'SECRET' }} }}
            signatures.sign = {{ algorithm = 'sha512', key = 'secret', key_encoding = 'base64', encoding = 'base64', message = ['{{path}}', {{ sha256 = '{{nonce}}{{body}}' }}] }}
            [upstreams.feed.auth.token]
            url = '{}'
            headers = {{ API-Key = '{{key}}', API-Sign = '{{sign}}' }}
            body = 'nonce={{nonce}}'
            value = '/result/token'
            lifetime_at = '/result/expires'
            on_refresh = 'keep'
            reason = '/error'",
            server.url("/0/private/GetWebSocketsToken")
        ))
        .monitor("m", "d", "feed", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    live(&daemon);
    let log = daemon.stop();
    assert!(!log.contains("1Dwc4lzSw"), "{log}");
}

/// Three links that try again every few milliseconds.
fn impatient(url: &str, auth: &str) -> Settings {
    let pool =
        "min_connections = 3\nmax_connections = 3\nbackoff_min = '20ms'\nbackoff_max = '600ms'\nrefused_wait = '600ms'";
    Settings::new().upstream("feed", "binance", url).with(auth).with(&format!("[upstreams.feed.pool]\n{pool}")).monitor(
        "m",
        "d",
        "feed",
        &["x@trade"],
        "",
    )
}

const BEARER: &str = "headers = { Authorization = 'Bearer {token}' }";

#[test]
fn a_server_that_gives_no_token_is_not_hammered_and_its_breaker_opens() {
    let place = place();
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = HttpServer::start(move |number, _| {
        let token = json!({ "access_token": format!("token-{number}"), "expires_in": 3600 });
        let away = json!({ "error": "the database is away" });
        if is_well.load(Ordering::Relaxed) { (200, token.to_string()) } else { (500, away.to_string()) }
    });
    let upstream = Guarded::start(|shake| bearer(shake).is_none().then_some(401), |_, request| acknowledged(request));
    let daemon = Daemon::start(&place, &impatient(&upstream.url(), &auth(&server, BEARER)));
    let circuits = || {
        let (status, body) = daemon.get("/api/v1/circuits");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Vec<serde_json::Value>>(&body).expect("JSON")
    };
    let of_token = || circuits().into_iter().find(|row| row["kind"] == "token" && row["name"] == "feed").unwrap();
    until("the breaker opens", || (of_token()["openings"].as_u64() > Some(0)).then_some(()));
    let asked = server.asked();
    assert_eq!(asked.len() as u64, of_token()["failures_total"].as_u64().unwrap(), "one call at a time");
    assert!((5..=6).contains(&asked.len()), "{}", asked.len());
    let error = of_token()["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("HTTP 500: the database is away"), "{error}");
    well.store(true, Ordering::Relaxed);
    live(&daemon);
    assert!(upstream.shakes().iter().all(|shake| bearer(shake).is_some()), "nobody comes without one");
    let one = upstream.shakes().iter().filter_map(bearer).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(one.len(), 1, "one token for all");
    daemon.stop();
}

#[test]
fn refused_credentials_for_a_token_are_told_and_tried_ever_less_often() {
    let place = Workplace::new().with_variable("SECRET", "a wrong one");
    let server = tokens(3600);
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    let daemon = Daemon::start(&place, &impatient(&upstream.url(), &auth(&server, BEARER)));
    until("it was asked for four times", || (server.asked().len() >= 4).then_some(()));
    let error = until("it is told", || daemon.monitors()["m"]["error"].as_str().map(str::to_owned));
    assert!(error.contains("no token for upstream `feed`") && error.contains("HTTP 401: invalid_client"), "{error}");
    let at: Vec<_> = server.asked().iter().map(|asked| asked.at).collect();
    // At least half of `refused_wait`, however many links want it.
    assert!(at.windows(2).all(|two| two[1] - two[0] > Duration::from_millis(280)), "{at:?}");
    let log = daemon.stop();
    assert!(!log.contains("a wrong one") && upstream.shakes().is_empty(), "{log}");
}

#[test]
fn a_token_that_the_upstream_does_not_take_is_not_used_again() {
    let (place, server) = (place(), tokens(3600));
    let upstream =
        Guarded::start(|shake| (bearer(shake)? == "token-1").then_some(401), |_, request| acknowledged(request));
    let daemon = Daemon::start(&place, &impatient(&upstream.url(), &auth(&server, BEARER)));
    live(&daemon);
    assert_eq!(server.asked().len(), 2);
    daemon.stop();
}

#[test]
fn an_answer_without_a_token_is_told_by_its_keys_and_never_by_their_values() {
    let place = place();
    let server = HttpServer::start(|_, _| (200, json!({ "accessToken": "the-token-itself", "ttl": 5 }).to_string()));
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    let daemon = Daemon::start(&place, &impatient(&upstream.url(), &auth(&server, BEARER)));
    let error = until("it is told", || daemon.monitors()["m"]["error"].as_str().map(str::to_owned));
    assert!(error.contains("has no text at `/access_token`; it has `accessToken`, `ttl`"), "{error}");
    let log = daemon.stop();
    assert!(!log.contains("the-token-itself"), "{log}");
}
