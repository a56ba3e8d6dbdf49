//! A server of the library graphql-ws, which `scripts/test` installs: not ours.

use std::path::Path;
use std::process::Command;

use super::anvil_node::free_port;
use super::processes::{Daemon, Process, Settings, query, until};
use super::support::Workplace;

fn start(port: u16) -> Process {
    let Ok(modules) = std::env::var("GRAPHQL_WS") else {
        panic!(
            "GRAPHQL_WS does not name a folder with graphql-ws; run `scripts/test`, which installs it and sets this"
        );
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/graphql_server.cjs");
    let mut command = Command::new("node");
    command.arg(script).arg(modules).arg(port.to_string());
    let mut process = Process::of(command);
    until("the server listens", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        process.stdout().contains("listening").then_some(())
    });
    process
}

#[test]
fn a_real_graphql_server_agrees_and_is_asked_anew_after_it_was_gone() {
    let place = Workplace::new();
    let port = free_port();
    let server = start(port);
    let event =
        "event = { id = [\"/payload/data/tick/sym\", \"/payload/data/tick/i\"], key = \"/payload/data/tick/sym\" }";
    let settings = Settings::new()
        .upstream("server", "graphql-transport-ws", &format!("ws://127.0.0.1:{port}/graphql"))
        .monitor(
            "ticks",
            "prices",
            "server",
            &[
                r#"subscription { tick(sym: "BTC") { i sym } }"#,
                r#"{"query":"subscription($s: String) { tick(sym: $s) { i sym } }","variables":{"s":"ETH"}}"#,
            ],
            event,
        )
        .monitor("quiet", "prices", "server", &["subscription { never { i } }"], "")
        .monitor("wrong", "prices", "server", &["subscription { nope }"], "");
    let daemon = Daemon::start(&place, &settings);
    let of = |key: &str| query(&place, &["--monitor", "ticks", "--key", key]).len();
    until("both come", || (of("BTC") > 20 && of("ETH") > 20).then_some(()));
    // Nothing comes of it, but the server has answered a ping that was sent behind it.
    until("the quiet one is in force", || (daemon.monitors()["quiet"]["topics"] == "1/1").then_some(()));
    until("the wrong one is refused", || daemon.log().contains("Cannot query field").then_some(()));
    drop(server);
    let server = start(port);
    let before = of("ETH");
    until("it goes on", || (of("ETH") > before + 20).then_some(()));
    let log = daemon.stop();
    assert!(!log.contains("4409") && !log.contains("4429") && !log.contains("4400"), "{log}");
    drop(server);
}
