//! Tokens: what each may do, that they can change while the daemon runs, and that who did what is on record.

use serde_json::Value;

use super::{ask, bearer, get, quiet};
use crate::processes::{Daemon, json, until};
use crate::support::Workplace;

/// A new token: itself, and its line for the file.
fn create(place: &Workplace, scope: &str, name: &str) -> (String, String) {
    let made = place.run(["token", "create", "--scope", scope, "--name", name]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let line = |what: &str| {
        let line = made.stdout.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("{}", made.stdout)).trim().to_owned()
    };
    (line("token:"), line("hash:"))
}

fn status(daemon: &Daemon, token: &str, method: &str, path: &str, body: &str) -> u16 {
    let headers = [("Authorization", bearer(token))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ask(daemon, method, path, &headers, body.as_bytes()).status
}

#[test]
fn every_route_wants_its_scope() {
    let place = Workplace::new();
    let tokens = ["read", "operate", "admin"].map(|scope| create(&place, scope, scope));
    place.write("tokens", tokens.each_ref().map(|(_, line)| line.as_str()).join("\n"));
    let daemon = quiet(&place, "tokens_file = \"tokens\"");
    let headers = [("Authorization", bearer(&tokens[0].0))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let document = ask(&daemon, "GET", "/api/openapi.json", &headers, b"").json();
    let (mut routes, mut open) = (0, Vec::new());
    for (path, methods) in document["paths"].as_object().unwrap() {
        // A name that nothing has.
        let concrete: String =
            path.split('/').map(|part| if part.starts_with('{') { "none" } else { part }).collect::<Vec<_>>().join("/");
        for (method, operation) in methods.as_object().unwrap() {
            routes += 1;
            let method = method.to_uppercase();
            let wanted = operation["security"].as_array().unwrap().first().map(|scheme| scheme["bearer"][0].clone());
            let Some(wanted) = wanted else {
                open.push(path.clone());
                assert_ne!(ask(&daemon, &method, &concrete, &[], b"").status, 401, "{method} {path}");
                continue;
            };
            let wanted = ["read", "operate", "admin"].iter().position(|scope| *scope == wanted).unwrap();
            let expected = match (method.as_str(), path.as_str()) {
                ("GET", _) | (_, "/api/v1/plan" | "/v1/stream-tickets") | ("PUT", "/v1/consumers/{name}") => 0,
                ("PUT" | "DELETE", "/api/v1/settings/{key}")
                | (
                    _,
                    "/api/v1/reload"
                    | "/api/v1/monitors"
                    | "/api/v1/monitors/{name}"
                    | "/api/v1/upstreams"
                    | "/api/v1/upstreams/{name}",
                ) => 2,
                _ => 1,
            };
            assert_eq!(wanted, expected, "{method} {path}");
            let refused = ask(&daemon, &method, &concrete, &[], b"");
            assert_eq!(refused.status, 401, "without a token: {method} {path}");
            refused.problem();
            for (token, _) in &tokens[..wanted] {
                assert_eq!(status(&daemon, token, &method, &concrete, ""), 403, "{method} {path}");
            }
            // Whoever may is heard; what changes something has no sense without a body, or no such name.
            if method == "GET" {
                assert!(!matches!(status(&daemon, &tokens[wanted].0, "GET", &concrete, ""), 401 | 403 | 500), "{path}");
            } else if concrete.contains("none") {
                let heard = status(&daemon, &tokens[wanted].0, &method, &concrete, "{}");
                assert!(!matches!(heard, 401 | 403), "{method} {path}: {heard}");
            }
        }
    }
    assert!(routes > 40, "{routes}");
    assert_eq!(
        open,
        ["/api/v1/monitoring/health", "/metrics", "/v1/health/live", "/v1/health/ready", "/v1/health/streaming"]
    );
    daemon.stop();
}

#[test]
fn two_tokens_are_in_force_at_once_and_change_without_a_restart() {
    let place = Workplace::new();
    let (first, second) = (create(&place, "operate", "deploy"), create(&place, "operate", "deploy"));
    let by_hash = create(&place, "read", "board");
    let hash = by_hash.1.split(' ').nth(2).unwrap();
    place.write("tokens", format!("# who deploys\n{}\n", first.1));
    let daemon =
        quiet(&place, &format!("tokens_file = \"tokens\"\n[server.tokens.board]\nscope = \"read\"\nhash = \"{hash}\""));
    let reads = |token: &str| status(&daemon, token, "GET", "/api/v1/journal", "");
    assert_eq!([reads(&first.0), reads(&by_hash.0)], [200, 200]);
    place.write("tokens", format!("{}\n{}\n", first.1, second.1));
    until("both are in force", || (reads(&second.0) == 200).then_some(()));
    assert_eq!(reads(&first.0), 200);
    place.write("tokens", format!("{}\n", second.1));
    until("the first is not any more", || (reads(&first.0) == 401).then_some(()));
    assert_eq!([reads(&second.0), reads(&by_hash.0)], [200, 200]);
    // A mistake in the file takes nobody's token away.
    place.write("tokens", "deploy everything sha256:0\n");
    until("the mistake is told", || {
        assert_eq!(reads(&second.0), 200);
        daemon.log().contains("tokens stay as they were").then_some(())
    });
    assert_eq!(reads(&second.0), 200);
    let log = daemon.stop();
    for (token, line) in [&first, &second, &by_hash] {
        assert!(!line.contains(token.as_str()), "only the hash is in the file");
        assert!(!log.contains(token.as_str()) && !log.contains(line.split(' ').nth(2).unwrap()), "{log}");
    }
}

#[test]
fn commands_find_a_token_and_say_plainly_that_they_have_none() {
    let place = Workplace::new();
    let (token, line) = create(&place, "read", "me");
    place.write("tokens", format!("{line}\n"));
    let daemon = quiet(&place, "tokens_file = \"tokens\"");
    let listen = format!("server.listen={}", daemon.address());
    let arguments = ["--config", "sluice.toml", "--set", &listen, "monitors", "--output", "json"];
    let refused = place.run(arguments);
    assert!(refused.code == Some(1) && refused.stderr.contains("SLUICE_TOKEN"), "{}", refused.stderr);
    let asked = place.command(arguments).env("SLUICE_TOKEN", &token).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let stop = ["--config", "sluice.toml", "--set", &listen, "emergency-stop"];
    let refused = place.command(stop).env("SLUICE_TOKEN", &token).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("scope `read`") && said.contains("operate"), "{said}");
    daemon.stop();
}

#[test]
fn who_changed_what_is_an_event_that_outlives_the_daemon() {
    let place = Workplace::new();
    let (token, line) = create(&place, "operate", "night-shift");
    place.write("tokens", format!("{line}\n"));
    let daemon = quiet(&place, "tokens_file = \"tokens\"");
    let headers = [("Authorization", bearer(&token)), ("X-Request-Id", "ticket-42".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = br#"{"action": "open"}"#;
    let done = ask(&daemon, "PUT", "/api/v1/circuits/upstream/feed", &headers, body);
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(status(&daemon, &token, "PUT", "/api/v1/circuits/upstream/none", r#"{"action": "open"}"#), 404);
    assert_eq!(status(&daemon, &token, "GET", "/api/v1/circuits", ""), 200);
    let log = daemon.stop();
    assert!(log.contains("ticket-42") && log.contains("night-shift"), "{log}");
    let events = json(&place, &["query", "--domain", "_sluice", "--monitor", "audit"]);
    let records: Vec<Value> =
        events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["payload"].clone()).collect();
    assert_eq!(records.len(), 2, "looking is no change: {records:?}");
    let field = |name: &str| records[0][name].as_str().unwrap_or_else(|| panic!("{name}: {}", records[0]));
    assert_eq!(
        [field("method"), field("route"), field("path"), field("by"), field("scope"), field("request_id")],
        [
            "PUT",
            "/api/v1/circuits/{kind}/{name}",
            "/api/v1/circuits/upstream/feed",
            "night-shift",
            "operate",
            "ticket-42"
        ]
    );
    assert!(field("peer").starts_with("127.0.0.1:"));
    assert_eq!((&records[0]["status"], field("outcome")), (&200.into(), "done"));
    assert_eq!((&records[1]["status"], &records[1]["outcome"]), (&404.into(), &"refused".into()));
}

#[test]
fn without_a_token_other_hosts_are_not_served_and_mistakes_are_named() {
    for (server, says) in [
        ("listen = \"0.0.0.0:0\"", "server.token_file"),
        ("[server.tokens.x]\nscope = \"root\"\nhash = \"sha256:0\"", "root"),
        ("[server.tokens.x]\nscope = \"read\"", "either `hash` or `file`"),
        ("[server.tokens.x]\nscope = \"read\"\nhash = \"sha256:0\"", "64 digits"),
        ("tokens_file = \"none\"", "server.tokens_file"),
        ("cors_origins = [\"board.example/x\"]", "https://board.example"),
        ("[server.tls]\ncertificate = \"a.pem\"", "both `certificate` and `key`"),
        ("connections_max = 0", "at least 1"),
    ] {
        let place = Workplace::new().with_file(
            "sluice.toml",
            format!(
                "[server]\n{server}\n[upstreams.feed]\nurl = \"ws://127.0.0.1:1/\"\ndialect = \"binance\"\n\
                 [monitors.m]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"btcusdt@trade\"]\n"
            ),
        );
        let refused = place.run(["--config", "sluice.toml", "config", "check"]);
        assert_eq!(refused.code, Some(78), "{server}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{server}: {}", refused.stderr);
    }
    let place = Workplace::new();
    let daemon = quiet(&place, "");
    assert_eq!(get(&daemon, "/api/v1/journal").status, 200);
    daemon.stop();
}
