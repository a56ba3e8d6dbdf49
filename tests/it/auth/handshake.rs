//! What the handshake carries: headers, parameters, signatures over them, and where their secrets come from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA384, SHA512};

use super::servers::{Guarded, Shake, acknowledged, hex, hmac};
use crate::processes::{Daemon, Settings, until};
use crate::support::Workplace;

pub(super) fn settings(url: &str, auth: &str) -> Settings {
    Settings::new().upstream("feed", "binance", url).with(auth).monitor("m", "d", "feed", &["x@trade"], "")
}

pub(super) fn live(daemon: &Daemon) {
    until("it is let in", || (daemon.monitors()["m"]["state"] == "live").then_some(()));
}

fn seconds_ago(shown: &str, unit: f64) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    now - shown.parse::<f64>().unwrap() / unit
}

#[test]
fn headers_and_parameters_carry_secrets_of_the_environment_of_files_and_of_systemd() {
    let place = Workplace::new()
        .with_file("secrets/user.txt", "alice\n")
        .with_file("credentials/feed-password", "pa:ss wörd")
        .with_variable("FEED_KEY", "k3y&=");
    let credentials = place.path("credentials").display().to_string();
    let place = place.with_variable("CREDENTIALS_DIRECTORY", &credentials);
    let known = |shake: &Shake| {
        let basic = format!("Basic {}", STANDARD.encode("alice:pa:ss wörd"));
        let fits = shake.headers.get("authorization") == Some(&basic)
            && shake.headers.get("x-mixed").map(String::as_str) == Some("key=k3y&=, user=alice")
            && shake.parameter("api_key").as_deref() == Some("k3y&=")
            && shake.parameter("streams").as_deref() == Some("a/b");
        (!fits).then_some(401)
    };
    let upstream = Guarded::start(known, |_, request| acknowledged(request));
    let auth = "
        [upstreams.feed.auth]
        secrets.key = { env = 'FEED_KEY' }
        secrets.user = { file = 'secrets/user.txt' }
        secrets.password = { credential = 'feed-password' }
        encoded.basic = { text = '{user}:{password}' }
        headers = { Authorization = 'Basic {basic}', X-Mixed = 'key={key}, user={user}' }
        query = { api_key = '{key}' }";
    let daemon = Daemon::start(&place, &settings(&format!("{}?streams=a/b", upstream.url()), auth));
    live(&daemon);
    daemon.stop();
}

#[test]
fn a_handshake_is_signed_over_moment_method_and_path_in_any_hash_and_writing() {
    let key = STANDARD.encode(b"the bytes of the key");
    let place = Workplace::new().with_variable("SECRET", &key);
    let known = |shake: &Shake| {
        let header = |name: &str| shake.headers.get(name).cloned().unwrap_or_default();
        let moment = header("cb-access-timestamp");
        let message = format!("{moment}GET/stream");
        let (bytes, text) = (b"the bytes of the key", STANDARD.encode(b"the bytes of the key"));
        let fits = header("cb-access-sign") == STANDARD.encode(hmac(&SHA256, bytes, message.as_bytes()))
            && header("x-sha384") == hex(&hmac(&SHA384, text.as_bytes(), message.as_bytes()))
            && header("x-sha512") == hex(&hmac(&SHA512, bytes, message.as_bytes()))
            && seconds_ago(&moment, 1.0).abs() < 5.0;
        (!fits).then_some(401)
    };
    let upstream = Guarded::start(known, |_, request| acknowledged(request));
    let auth = "
        [upstreams.feed.auth]
        secrets.secret = { env = 'SECRET' }
        signatures.cb = { key = 'secret', key_encoding = 'base64', message = '{timestamp_s}{method}{path}', encoding = 'base64' }
        signatures.other = { algorithm = 'sha384', key = 'secret', message = '{timestamp_s}{method}{path}' }
        signatures.third = { algorithm = 'sha512', key = 'secret', key_encoding = 'base64', message = ['{timestamp_s}', '{method}{path}'] }
        headers = { CB-ACCESS-SIGN = '{cb}', CB-ACCESS-TIMESTAMP = '{timestamp_s}', X-SHA384 = '{other}', X-SHA512 = '{third}' }";
    let daemon = Daemon::start(&place, &settings(&upstream.url(), auth));
    live(&daemon);
    daemon.stop();
}

#[test]
fn a_signed_query_is_signed_as_it_is_sent_and_anew_for_each_connection() {
    let place =
        Workplace::new().with_variable("SECRET", "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP").with_variable("KEY", "a key/+");
    let known = |shake: &Shake| {
        let (signed, signature) = shake.query.rsplit_once("&signature=").unwrap_or_default();
        let expected = hex(&hmac(&SHA256, b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP", signed.as_bytes()));
        let recent = shake.parameter("timestamp").is_some_and(|moment| seconds_ago(&moment, 1000.0).abs() < 5.0);
        (signature != expected || !recent || shake.parameter("apiKey").as_deref() != Some("a key/+")).then_some(401)
    };
    let upstream = Guarded::start(known, |_, request| acknowledged(request));
    let auth = "
        [upstreams.feed.auth]
        secrets = { key = { env = 'KEY' }, secret = { env = 'SECRET' } }
        signatures.sign = { key = 'secret', message = '{query}' }
        query = { apiKey = '{key}', signature = '{sign}', timestamp = '{timestamp_ms}' }";
    let daemon = Daemon::start(&place, &settings(&format!("{}?a=b%20c", upstream.url()), auth));
    live(&daemon);
    upstream.close_all();
    until("it comes again", || (upstream.shakes().len() >= 2).then_some(()));
    live(&daemon);
    let shakes = upstream.shakes();
    assert_ne!(shakes[0].parameter("timestamp"), shakes[1].parameter("timestamp"));
    daemon.stop();
}

#[test]
fn a_secret_that_changes_is_used_from_the_next_connection_on() {
    let place = Workplace::new().with_file("key", "the first");
    let known = |shake: &Shake| {
        let key = shake.headers.get("x-key").map(String::as_str);
        (!matches!(key, Some("the first" | "the second"))).then_some(403)
    };
    let upstream = Guarded::start(known, |_, request| acknowledged(request));
    let auth = "[upstreams.feed.auth]\nsecrets.key = { file = 'key' }\nheaders = { X-Key = '{key}' }";
    let daemon = Daemon::start(&place, &settings(&upstream.url(), auth));
    live(&daemon);
    place.write("key", "the second\n");
    upstream.close_all();
    until("it comes with the new one", || {
        let key = upstream.shakes().last()?.headers.get("x-key").cloned()?;
        (key == "the second").then_some(())
    });
    daemon.stop();
}
