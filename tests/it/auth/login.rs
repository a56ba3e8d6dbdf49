//! Logins: before anything is subscribed, refused, unanswered, and over a link that is open.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use serde_json::{Value, json};

use super::handshake::{live, settings};
use super::servers::{Answer, Guarded, acknowledged, hex, hmac};
use crate::processes::{Account, Daemon, Settings, accounts, query, until};
use crate::support::Workplace;

/// As OKX has it.
const OKX: &str = "
    [upstreams.feed.auth]
    secrets = { key = { env = 'KEY' }, secret = { env = 'SECRET' }, passphrase = { env = 'PASSPHRASE' } }
    signatures.sign = { key = 'secret', message = '{timestamp_s}GET/users/self/verify', encoding = 'base64' }
    login.send = '{\"op\":\"login\",\"args\":[{\"apiKey\":\"{key}\",\"passphrase\":\"{passphrase}\",\"timestamp\":\"{timestamp_s}\",\"sign\":\"{sign}\"}]}'
    login.accepted = { '/event' = 'login', '/code' = '0' }
    login.refused = { '/event' = 'error' }
    login.reason = ['/code', '/msg']";

fn place() -> Workplace {
    Workplace::new()
        .with_variable("KEY", "the-key")
        .with_variable("SECRET", "the-secret")
        .with_variable("PASSPHRASE", "pass\"phrase")
}

fn okx_fits(request: &Value) -> bool {
    let login = &request["args"][0];
    let message = format!("{}GET/users/self/verify", login["timestamp"].as_str().unwrap());
    login["apiKey"] == "the-key"
        && login["passphrase"] == "pass\"phrase"
        && login["sign"] == STANDARD.encode(hmac(&SHA256, b"the-secret", message.as_bytes()))
}

fn okx(request: &Value) -> Answer {
    if request["op"] != "login" {
        return acknowledged(request);
    }
    let accepted = r#"{"event":"login","code":"0","msg":""}"#;
    let refused = r#"{"event":"error","code":"60009","msg":"Login failed for the-secret."}"#;
    Answer::Text(if okx_fits(request) { accepted } else { refused }.to_owned())
}

#[test]
fn nothing_is_subscribed_before_the_login_is_acknowledged() {
    let place = place();
    // Something comes between the login and its answer, and is read like anything else.
    let upstream = Guarded::greeting(Some(r#"{"result":null,"id":77}"#), |_| None, |_, request| okx(request));
    let daemon = Daemon::start(&place, &settings(&upstream.url(), OKX));
    live(&daemon);
    let said = upstream.said();
    assert!(said[0].text.contains("\"login\"") && okx_fits(&serde_json::from_str(&said[0].text).unwrap()));
    assert!(said[1].text.contains("SUBSCRIBE"), "{said:?}");
    until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(5)).then_some(()));
    daemon.stop();
    assert!(accounts(&place).values().all(Account::adds_up));
}

#[test]
fn a_login_that_is_signed_over_its_own_end_is_taken() {
    let place = place();
    let upstream = Guarded::start(
        |_| None,
        |_, request| {
            if request["op"] != "auth" {
                return acknowledged(request);
            }
            let expires = request["args"][1].as_u64().unwrap();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            let ahead = u128::from(expires) - now;
            let signed = hex(&hmac(&SHA256, b"the-secret", format!("GET/realtime{expires}").as_bytes()));
            let fits =
                request["args"][0] == "the-key" && request["args"][2] == signed && (15_000..=30_000).contains(&ahead);
            Answer::Text(json!({ "success": fits, "op": "auth" }).to_string())
        },
    );
    // As Bybit has it.
    let auth = "
        [upstreams.feed.auth]
        expires_in = '30s'
        secrets = { key = { env = 'KEY' }, secret = { env = 'SECRET' } }
        signatures.sign = { key = 'secret', message = 'GET/realtime{expires_ms}' }
        login.send = '{\"op\":\"auth\",\"args\":[\"{key}\",{expires_ms},\"{sign}\"]}'
        login.accepted = { '/op' = 'auth', '/success' = 'true' }
        login.refused = { '/op' = 'auth', '/success' = 'false' }";
    let daemon = Daemon::start(&place, &settings(&upstream.url(), auth));
    live(&daemon);
    daemon.stop();
}

/// Time between one attempt and the next.
fn waits(upstream: &Guarded) -> Vec<Duration> {
    let at: Vec<_> = upstream.shakes().iter().filter_map(|shake| shake.at).collect();
    at.windows(2).map(|two| two[1] - two[0]).collect()
}

#[test]
fn a_refused_login_is_told_with_its_reason_and_not_tried_again_for_long() {
    for refusal in ["answered", "closed"] {
        let place = place();
        let upstream = Guarded::start(
            |_| None,
            move |connection, request| match (connection, refusal) {
                (4.., _) => okx(request),
                (_, "answered") => {
                    Answer::Text(r#"{"event":"error","code":"60009","msg":"Login failed for the-secret."}"#.to_owned())
                }
                _ => Answer::Close("bad key the-secret"),
            },
        );
        let settings = Settings::new()
            .upstream("feed", "binance", &upstream.url())
            .with(OKX)
            .with("[upstreams.feed.pool]\nbackoff_min = '10ms'\nbackoff_max = '600ms'\nrefused_wait = '600ms'")
            .monitor("m", "d", "feed", &["x@trade"], "");
        let daemon = Daemon::start(&place, &settings);
        let error = until("it was refused", || {
            let error = daemon.monitors()["m"]["error"].as_str()?.to_owned();
            error.contains("refused the login").then_some(error)
        });
        let reason = if refusal == "answered" { "60009: Login failed for ***." } else { "4001: bad key ***" };
        assert!(error.contains(reason) && error.contains("check the credentials"), "{error}");
        live(&daemon);
        let waits = waits(&upstream);
        assert_eq!(waits.len(), 3, "three refusals, and then it was let in");
        // At least half of `refused_wait`, though other failures would wait for some milliseconds at first.
        assert!(waits.iter().all(|wait| *wait > Duration::from_millis(280)), "{waits:?}");
        assert_eq!(
            daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", "login")]),
            3
        );
        let log = daemon.stop();
        assert!(!log.contains("the-secret"), "{log}");
        assert!(upstream.said().iter().all(|said| said.connection == 4 || said.text.contains("login")), "only logins");
    }
}

#[test]
fn a_login_that_is_not_answered_is_given_up() {
    let place = place();
    let upstream =
        Guarded::start(|_| None, |connection, request| if connection == 1 { Answer::Nothing } else { okx(request) });
    let auth = format!("{OKX}\nlogin.timeout = '300ms'");
    let daemon = Daemon::start(&place, &settings(&upstream.url(), &auth));
    live(&daemon);
    let log = daemon.stop();
    assert!(log.contains("did not answer: the login took longer than 300ms"), "{log}");
}

#[test]
fn a_login_that_holds_for_a_time_is_made_again_over_the_open_link_and_nothing_is_missed() {
    let place = place();
    let upstream = Guarded::start(
        |_| None,
        |_, request| {
            if request["op"] != "login" {
                return acknowledged(request);
            }
            Answer::Text(r#"{"event":"login","code":"0","expires_in":3}"#.to_owned())
        },
    );
    let auth = format!("{OKX}\nlogin.lifetime_at = '/expires_in'");
    let daemon = Daemon::start(&place, &settings(&upstream.url(), &auth));
    live(&daemon);
    let logins = || upstream.said().iter().filter(|said| said.text.contains("login")).count();
    until("it logs in again, and again", || (logins() >= 3).then_some(()));
    daemon.stop();
    assert_eq!(upstream.shakes().len(), 1, "over one connection");
    whole(&place);
    assert!(accounts(&place).values().all(|account| account.adds_up() && account.quarantined == 0));
}

#[test]
fn a_login_over_an_open_link_that_is_refused_or_not_answered_ends_the_link() {
    for second in ["refused", "silent"] {
        let place = place();
        let logins = std::sync::atomic::AtomicUsize::new(0);
        let upstream = Guarded::start(
            |_| None,
            move |_, request| {
                if request["op"] != "login" {
                    return acknowledged(request);
                }
                let number = logins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match (number, second) {
                    (1, "refused") => Answer::Text(r#"{"event":"error","code":"60009","msg":"no"}"#.to_owned()),
                    (1, _) => Answer::Nothing,
                    _ => okx(request),
                }
            },
        );
        let auth = format!("{OKX}\nlogin.lifetime = '2s'\nlogin.timeout = '500ms'");
        let daemon = Daemon::start(&place, &settings(&upstream.url(), &auth));
        until("it comes again", || (upstream.shakes().len() == 2).then_some(()));
        live(&daemon);
        let log = daemon.stop();
        let reason = if second == "refused" { "the login was refused: 60009: no" } else { "it did not answer a login" };
        assert!(log.contains("link lost") && log.contains(reason), "{log}");
    }
}

/// No trade is missing between the first and the last that were journaled.
pub(super) fn whole(place: &Workplace) {
    let events = query(place, &["--monitor", "m"]);
    let id = |id: &Option<String>| id.as_deref().unwrap().rsplit(':').next().unwrap().parse::<u64>().unwrap();
    let mut ids: Vec<u64> = events.iter().map(|event| id(&event.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() > 20, "{ids:?}");
    let missing: Vec<&[u64]> = ids.windows(2).filter(|two| two[1] != two[0] + 1).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn subscriptions_may_be_signed_too() {
    let place = place();
    let upstream = Guarded::start(
        |_| None,
        |_, request| {
            let moment = request["timestamp"].as_str().unwrap();
            let message = format!("{moment}GET/users/self/verify");
            let signed = STANDARD.encode(hmac(&SHA256, b"the-secret", message.as_bytes()));
            let fits = request["signature"] == signed
                && request["key"] == "the-key"
                && request["passphrase"] == "pass\"phrase"
                && !request.to_string().contains("{auth");
            if fits { acknowledged(request) } else { Answer::Close("not signed") }
        },
    );
    // As Coinbase Exchange has it, in Binance's words.
    let dialect = "
        [dialects.signed]
        extends = 'binance'
        topics = [{ form = '{topic}', subscribe = '{\"method\":\"SUBSCRIBE\",\"params\":{topics},\"id\":{id},\"signature\":\"{auth.sign}\",\"key\":{auth.key},\"passphrase\":\"{auth.passphrase}\",\"timestamp\":\"{auth.timestamp_s}\"}' }]";
    let auth = "
        [upstreams.feed.auth]
        secrets = { key = { env = 'KEY' }, secret = { env = 'SECRET' }, passphrase = { env = 'PASSPHRASE' } }
        signatures.sign = { key = 'secret', message = '{timestamp_s}GET/users/self/verify', encoding = 'base64' }";
    let settings = |auth: &str| {
        Settings::new().with(dialect).upstream("feed", "signed", &upstream.url()).with(auth).monitor(
            "m",
            "d",
            "feed",
            &["x@trade"],
            "",
        )
    };
    let daemon = Daemon::start(&place, &settings(auth));
    live(&daemon);
    until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(5)).then_some(()));
    daemon.stop();
    settings("[upstreams.feed.auth]\nsecrets.key = { env = 'KEY' }").write(&place);
    let outcome = place.run(["--config", "sluice.toml", "config", "check"]);
    assert_eq!(outcome.code, Some(78));
    assert!(outcome.stderr.contains("name `{auth.passphrase}`, and there is no `passphrase`"), "{}", outcome.stderr);
}

#[test]
fn an_upstream_that_has_its_words_repeated_gets_no_secret_by_them() {
    let place = place();
    let greeting = r#"{"ping":"{auth.secret} {auth. {auth.key"}"#;
    let upstream = Guarded::greeting(
        Some(greeting),
        |_| None,
        |_, request| if request["method"] == "SUBSCRIBE" { acknowledged(request) } else { Answer::Nothing },
    );
    let settings = Settings::new()
        .with(
            "[dialects.echoing]
            extends = 'binance'
            controls = [{ when = { '/ping' = true }, answer = '{\"pong\":\"{/ping}\"}' }]
            topics = [{ form = '{topic}', subscribe = '{\"method\":\"SUBSCRIBE\",\"params\":{topics},\"id\":{id},\"key\":\"{auth.key}\"}' }]",
        )
        .upstream("feed", "echoing", &upstream.url())
        .with("[upstreams.feed.auth]\nsecrets = { key = { env = 'KEY' }, secret = { env = 'SECRET' } }")
        .monitor("m", "d", "feed", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    live(&daemon);
    let pong = until("it repeats them", || upstream.said().into_iter().find(|said| said.text.contains("pong")));
    assert_eq!(pong.text, r#"{"pong":"{auth.secret} {auth. {auth.key"}"#);
    assert!(upstream.said().iter().any(|said| said.text.contains("the-key")), "what the dialect names is filled");
    daemon.stop();
}
