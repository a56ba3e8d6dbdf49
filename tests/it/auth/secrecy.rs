//! Secrets are nowhere but where they are sent, and what is missing is told with its place.

use serde_json::json;

use super::handshake::{live, settings};
use super::servers::{Answer, Guarded, HttpServer, acknowledged};
use crate::changing::command as asking;
use crate::processes::{Daemon, Settings, until};
use crate::support::{Outcome, Workplace};

fn run(place: &Workplace, command: &[&str]) -> Outcome {
    place.run([&["--config", "sluice.toml"], command].concat())
}

#[test]
fn a_secret_that_is_missing_is_told_with_upstream_key_and_place() {
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    for (source, expected) in [
        ("{ env = 'NOWHERE' }", "environment variable `NOWHERE` is not set"),
        ("{ file = 'nowhere.txt' }", "nowhere.txt cannot be read: No such file"),
        ("{ credential = 'feed-key' }", "credential `feed-key`: $CREDENTIALS_DIRECTORY is not set"),
    ] {
        let place = Workplace::new();
        let auth = format!("[upstreams.feed.auth]\nsecrets.key = {source}\nheaders = {{ X-Key = '{{key}}' }}");
        settings(&upstream.url(), &auth).write(&place);
        let outcome = run(&place, &["config", "check"]);
        assert_eq!(outcome.code, Some(78), "{outcome:?}");
        let told = "sluice.toml:";
        assert!(outcome.stderr.contains(told) && outcome.stderr.contains("`feed`"), "{outcome:?}");
        assert!(
            outcome.stderr.contains("`auth.secrets.key` is missing") && outcome.stderr.contains(expected),
            "{outcome:?}"
        );
        // A daemon of several upstreams does not stay down for one: what is missing may come.
        let daemon = Daemon::again(&place);
        let error = until("it is told", || daemon.monitors()["m"]["error"].as_str().map(str::to_owned));
        assert!(error.contains("`auth.secrets.key` is missing") && error.contains(expected), "{error}");
        daemon.stop();
    }
    assert!(upstream.shakes().is_empty(), "nobody comes without it");
}

#[test]
fn a_secret_that_stands_in_settings_is_refused_and_not_repeated() {
    let place = Workplace::new();
    settings("ws://127.0.0.1:1", "[upstreams.feed.auth]\nsecrets.key = 'hunter2hunter2'").write(&place);
    for command in [&["config", "check"][..], &["config", "show"], &["run"]] {
        let outcome = run(&place, command);
        assert_eq!(outcome.code, Some(78), "{outcome:?}");
        let said = outcome.stdout + &outcome.stderr;
        assert!(
            said.contains("upstreams.feed.auth.secrets.key") && said.contains("never stands in settings"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn mistakes_in_templates_are_told_with_what_there_is() {
    for (auth, expected) in [
        (
            "headers = { X = '{kay}' }\nsecrets.key = { env = 'K' }",
            "`auth.headers.X`: knows no `{kay}`; known are `key`, `timestamp_s`",
        ),
        ("headers = { 'a b' = 'x' }", "`auth.headers.a b`: is no header's name"),
        ("query = { a = '{token}' }", "`auth.query.a`: has `{token}`, and there is no `auth.token`"),
        ("secrets.token = { env = 'K' }", "`auth.secrets.token`: `{token}` means something else"),
        ("secrets.Key = { env = 'K' }", "`auth.secrets.Key`: is no name"),
        (
            "secrets.a = { env = 'K' }\nencoded.a = { text = 'x' }",
            "`auth.encoded.a`: is the name of one of `secrets` already",
        ),
        (
            "signatures.s = { key = 'no', message = 'x' }",
            "`auth.signatures.s.key`: `no` is none of `secrets`; there are none",
        ),
        ("encoded.a = { text = '{b}' }\nencoded.b = { text = '{a}' }", "`auth.encoded.a.text`: leads in a circle"),
        ("login = { send = '{\"a\":' }", "`auth.login.send`: is no JSON"),
        ("login = { send = 'x', accepted = { 'event' = 'x' } }", "`auth.login.accepted`: `event` is no JSON Pointer"),
        ("login = { send = 'x', refused = { '/event' = 'x' } }", "`auth.login.accepted`: is missing"),
        ("token = { url = 'http://h/', value = '/t', headers = { A = '{token}' } }", "`auth.token`: needs `{token}`"),
        ("token = { url = 'http://h/', value = 't' }", "`auth.token.value`: `t` is no JSON Pointer"),
        ("token = { url = 'http://h/', value = '/t', on_refresh = 'login' }", "`auth.token.on_refresh`: is \"login\""),
        ("secrets.key = { env = 'K', file = 'k' }", "must name exactly one place"),
        ("signatures.s = { key = 'a', message = 'x', hash = 'md5' }", "no such setting"),
    ] {
        let place = Workplace::new();
        settings("ws://127.0.0.1:1", &format!("[upstreams.feed.auth]\n{auth}")).write(&place);
        let outcome = run(&place, &["config", "check"]);
        assert_eq!(outcome.code, Some(78), "{auth}: {outcome:?}");
        assert!(
            outcome.stderr.contains("sluice.toml:") && outcome.stderr.contains(expected),
            "{auth}: {}",
            outcome.stderr
        );
    }
    let place = Workplace::new().with_variable("K", "not base64!");
    let auth = "secrets.a = { env = 'K' }\nsignatures.s = { key = 'a', key_encoding = 'base64', message = 'x' }";
    settings("ws://127.0.0.1:1", &format!("[upstreams.feed.auth]\n{auth}")).write(&place);
    let outcome = run(&place, &["config", "check"]);
    let expected = "`auth.signatures.s.key_encoding`: says that the secret `a` is base64, which it is not";
    assert!(outcome.stderr.contains(expected) && !outcome.stderr.contains("not base64!"), "{}", outcome.stderr);
}

/// Every secret of the test below, in any of its writings.
const SECRETS: [&str; 9] = [
    "k3y-of-the-feed",
    "passw0rd-of-the-feed",
    "signing-s3cret",
    "t0ken-of-the-feed",
    "literal-s3cret-in-a-header",
    "literal-s3cret-in-the-query",
    "proxy-passw0rd",
    "url-passw0rd",
    "0123456789abcdef0123",
];

#[test]
fn no_command_no_log_and_no_page_shows_a_secret() {
    let place = Workplace::new()
        .with_variable("KEY", SECRETS[0])
        .with_file("password", SECRETS[1])
        .with_variable("SECRET", SECRETS[2])
        .with_variable("RUST_LOG", "trace");
    let server = HttpServer::start(|number, _| match number {
        1 => (401, json!({ "error": format!("bad {}", SECRETS[2]) }).to_string()),
        _ => (200, json!({ "token": SECRETS[3], "expires_in": 3 }).to_string()),
    });
    // It repeats what it was told whenever it says no, and says no now and then.
    let upstream = Guarded::start(
        |_| None,
        |connection, request| match (request["op"].as_str(), connection % 3) {
            (Some("login"), 1) => Answer::Text(
                json!({ "event": "error", "msg": format!("no {} {}", request["password"], request["token"]) })
                    .to_string(),
            ),
            (Some("login"), _) => Answer::Text(json!({ "event": "login" }).to_string()),
            (_, 2) => Answer::Close("go away, k3y-of-the-feed"),
            _ => acknowledged(request),
        },
    );
    let url = upstream.url().replace("ws://", "ws://user:url-passw0rd@");
    let auth = format!(
        "[upstreams.feed.auth]
        secrets = {{ key = {{ env = 'KEY' }}, password = {{ file = 'password' }}, secret = {{ env = 'SECRET' }} }}
        signatures.sign = {{ key = 'secret', message = '{{timestamp_s}}{{path}}' }}
        headers = {{ X-Key = '{{key}}', X-Sign = '{{sign}}', X-Other = 'literal-s3cret-in-a-header' }}
        query = {{ key = '{{key}}', other = 'literal-s3cret-in-the-query' }}
        [upstreams.feed.auth.login]
        send = '{{\"op\":\"login\",\"password\":\"{{password}}\",\"token\":\"{{token}}\"}}'
        accepted = {{ '/event' = 'login' }}
        refused = {{ '/event' = 'error' }}
        reason = '/msg'
        [upstreams.feed.auth.token]
        url = '{}?apikey=0123456789abcdef0123'
        body = 'secret={{secret}}'
        value = '/token'
        lifetime_at = '/expires_in'",
        server.url("/0123456789abcdef0123/token")
    );
    let settings = Settings::new()
        .upstream("feed", "binance", &url)
        .with(&auth)
        .with("[upstreams.feed.pool]\nbackoff_min = '10ms'\nbackoff_max = '50ms'\nrefused_wait = '50ms'")
        .upstream("far", "binance", "ws://127.0.0.1:1/0123456789abcdef0123")
        .with("proxy = 'http://me:proxy-passw0rd@127.0.0.1:1'")
        .with("[log]\nlevel = 'trace'")
        .monitor("m", "d", "feed", &["x@trade"], "")
        .monitor("n", "d", "far", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    live(&daemon);
    until("it was refused in every way", || (upstream.shakes().len() >= 3).then_some(()));
    let mut said = Vec::new();
    for command in [
        &["config", "check"][..],
        &["config", "show"],
        &["config", "show", "--output", "json"],
        &["config", "plan", "sluice.toml"],
        &["config", "set", "upstreams.feed.max_message", "1MiB", "--dry-run"],
        &["monitors"],
        &["monitors", "--output", "json"],
        &["pool"],
        &["pool", "--output", "json"],
        &["circuits"],
        &["circuits", "--output", "json"],
        &["health"],
        &["gaps"],
        &["stats"],
        &["quarantine", "list", "--output", "json"],
        &["query", "--domain", "_sluice", "--output", "json"],
        &["query", "--limit", "100", "--output", "json"],
        &["journal", "stat"],
        &["reload"],
    ] {
        let outcome = asking(&place, &daemon, command);
        assert_ne!(outcome.code, Some(2), "{command:?}: {outcome:?}");
        said.push((command.join(" "), outcome.stdout + &outcome.stderr));
    }
    for path in [
        "/metrics",
        "/v1/health",
        "/api/v1/monitors",
        "/api/v1/pool",
        "/api/v1/circuits",
        "/api/v1/settings",
        "/api/v1/gaps",
    ] {
        said.push((path.to_owned(), daemon.get(path).1));
    }
    said.push(("the log".to_owned(), daemon.stop()));
    for (place, text) in &said {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{place} shows {secret}: {text}");
        }
    }
    let log = &said.last().unwrap().1;
    assert!(log.contains("refused the login") && log.contains("no \"***\" \"***\""), "{log}");
    let files = std::process::Command::new("grep")
        .args(["-rlaE", &SECRETS[..4].join("|")])
        .arg(place.path("data"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&files.stdout), "", "nor is any in the journal");
}

#[test]
fn changed_credentials_reopen_the_links_of_their_upstream_alone() {
    let place = Workplace::new().with_variable("ONE", "the first").with_variable("TWO", "the second");
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    let other = Guarded::start(|_| None, |_, request| acknowledged(request));
    let with = |variable: &str| {
        Settings::new()
            .upstream("feed", "binance", &upstream.url())
            .with(&format!(
                "[upstreams.feed.auth]\nsecrets.key = {{ env = '{variable}' }}\nheaders = {{ X-Key = '{{key}}' }}"
            ))
            .upstream("other", "binance", &other.url())
            .monitor("m", "d", "feed", &["x@trade"], "")
            .monitor("n", "d", "other", &["x@trade"], "")
    };
    let daemon = Daemon::start(&place, &with("ONE"));
    until("both are live", || daemon.monitors().values().all(|row| row["state"] == "live").then_some(()));
    with("TWO").write(&place);
    let plan = asking(&place, &daemon, &["config", "plan", "sluice.toml", "--output", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let changed = plan["upstreams"].as_array().expect("upstreams").clone();
    assert_eq!(changed.len(), 1, "{plan}");
    assert_eq!((&changed[0]["upstream"], &changed[0]["change"]), (&json!("feed"), &json!("restarted")), "{plan}");
    assert!(changed[0]["keys"].to_string().contains("auth"), "{plan}");
    assert_eq!(asking(&place, &daemon, &["reload"]).code, Some(0));
    until("it comes with the other", || {
        (upstream.shakes().last()?.headers.get("x-key").map(String::as_str) == Some("the second")).then_some(())
    });
    assert_eq!(other.shakes().len(), 1);
    daemon.stop();
}
