//! The settings files that README.md shows, each before a server that checks what it describes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA512, digest};
use serde_json::{Value, json};

use super::servers::{Answer, Asked, Guarded, HttpServer, hex, hmac};
use crate::processes::{Daemon, until};
use crate::support::{Workplace, project_file};

fn taken(place: &Workplace, upstream: &str, url: &str, more: &[String]) -> Daemon {
    let set = [vec![format!("upstreams.{upstream}.url={url}"), "server.listen=127.0.0.1:0".to_owned()], more.to_vec()]
        .concat();
    let set = set.iter().flat_map(|set| ["--set", set]);
    let daemon = Daemon::of(place.command(["run", "--config", "s.toml"].into_iter().chain(set)));
    until("an event is taken", || (daemon.monitors()["executions"]["events"] == 1).then_some(()));
    daemon
}

#[test]
fn the_example_of_a_signed_login_is_let_in_and_takes_executions() {
    let place = Workplace::new()
        .with_file("s.toml", project_file("config/examples/signed-login.toml"))
        .with_variable("BYBIT_KEY", "the-key")
        .with_variable("BYBIT_SECRET", "the-secret");
    let upstream = Guarded::start(
        |_| None,
        |_, request: &Value| match request["op"].as_str().unwrap() {
            "auth" => {
                let signed = hmac(&SHA256, b"the-secret", format!("GET/realtime{}", request["args"][1]).as_bytes());
                let fits = request["args"][0] == "the-key" && request["args"][2] == hex(&signed);
                Answer::Text(json!({ "success": fits, "ret_msg": "", "op": "auth", "conn_id": "c" }).to_string())
            }
            "subscribe" if request["args"] == json!(["execution"]) => {
                let data = json!([{ "execId": "e1", "symbol": "BTCUSDT", "execTime": "1716800399334" }]);
                Answer::Text(
                    json!({ "topic": "execution", "id": "1", "creationTime": 1_716_800_399_338_u64, "data": data })
                        .to_string(),
                )
            }
            _ => Answer::Nothing,
        },
    );
    taken(&place, "bybit-private", &upstream.url(), &[]).stop();
}

#[test]
fn the_example_of_a_token_is_given_one_and_takes_executions() {
    let place = Workplace::new()
        .with_file("s.toml", project_file("config/examples/token.toml"))
        .with_file("credentials/kraken-key", "the-key\n")
        .with_file("credentials/kraken-secret", STANDARD.encode("the bytes of the secret"));
    let credentials = place.path("credentials").display().to_string();
    let place = place.with_variable("CREDENTIALS_DIRECTORY", &credentials);
    let server = HttpServer::start(|_, asked: &Asked| {
        let hashed =
            digest(&SHA256, format!("{}{}", asked.body.strip_prefix("nonce=").unwrap(), asked.body).as_bytes());
        let message = [b"/0/private/GetWebSocketsToken", hashed.as_ref()].concat();
        let fits = asked.method == "POST"
            && asked.headers["api-key"] == "the-key"
            && asked.headers["content-type"] == "application/x-www-form-urlencoded"
            && asked.headers["api-sign"] == STANDARD.encode(hmac(&SHA512, b"the bytes of the secret", &message));
        let refused = json!({ "error": ["EAPI:Invalid signature"] });
        (
            200,
            if fits { json!({ "error": [], "result": { "token": "t0k3n", "expires": 900 } }) } else { refused }
                .to_string(),
        )
    });
    let upstream = Guarded::start(
        |_| None,
        |_, request: &Value| match request["method"].as_str().unwrap() {
            "subscribe" if request["params"]["token"] == "t0k3n" => {
                let trade = json!({ "exec_type": "trade", "exec_id": "e1", "symbol": "BTC/USD", "timestamp": "2026-01-31T12:00:00.000001Z" });
                let order = json!({ "exec_type": "filled", "order_id": "o1", "symbol": "BTC/USD" });
                Answer::Text(
                    json!({ "channel": "executions", "type": "update", "data": [trade, order], "sequence": 2 })
                        .to_string(),
                )
            }
            _ => Answer::Nothing,
        },
    );
    let token = format!("upstreams.kraken-private.auth.token.url={}", server.url("/0/private/GetWebSocketsToken"));
    taken(&place, "kraken-private", &upstream.url(), &[token]).stop();
}
