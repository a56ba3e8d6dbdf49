//! The fall-back: what cannot be had over a link is polled over HTTP.

use super::exchange::{Exchange, Fault};
use super::*;

const POLLED: &str = "[monitors.m.poll]\ninterval = \"150ms\"\nback_after = \"600ms\"";

fn mode(daemon: &Daemon) -> String {
    daemon.monitors()["m"]["mode"].as_str().unwrap_or("none").to_owned()
}

fn polling(daemon: &Daemon, wanted: &str) {
    until("the mode changes", || (mode(daemon) == wanted).then_some(()));
}

/// What the journal says of switches.
fn turns(place: &Workplace) -> Vec<(String, String)> {
    let events = query(place, &["--domain", "_sluice", "--monitor", "polling"]);
    let record = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let turn =
        |record: Value| (record["mode"].as_str().unwrap().to_owned(), record["why"].as_str().unwrap().to_owned());
    events.iter().map(|event| turn(record(event.payload.get()))).collect()
}

fn switch(place: &Workplace, daemon: &Daemon, action: &str) {
    let port = format!("server.listen=\"{}\"", daemon.address());
    let outcome = place.run(["--config", "sluice.toml", "--set", &port, "poll", action, "m"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn while_the_circuit_is_open_the_provider_is_polled_and_no_longer_when_it_is_closed() {
    let (place, exchange) = (Workplace::new(), Exchange::start());
    let daemon = Daemon::start(&place, &watching(&exchange, &format!("{BY_ITEM}\n{POLLED}")));
    live(&place, 20);
    polling(&daemon, "live");
    exchange.close();
    polling(&daemon, "polling");
    // Nothing comes over links, and trades are durable soon after they were made.
    for _ in 0..2 {
        let made = exchange.trades() as u64;
        until("what was made is durable", || ids(&place).last().is_some_and(|last| *last >= made).then_some(()));
    }
    let (_, health) = daemon.get("/v1/health/ready");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["upstreams"]["x"], "polling", "{health}");
    let said = health["reasons"].to_string();
    assert!(said.contains("monitor `m` is polled in the place of upstream `x`: its circuit is open"), "{said}");
    let pool: Value = serde_json::from_str(&daemon.get("/api/v1/pool").1).unwrap();
    assert_eq!((&pool[0]["mode"], pool[0]["circuit"] == "closed"), (&"polling".into(), false), "{pool}");
    let labels = [("monitor", "m"), ("upstream", "x")];
    assert_eq!(daemon.metrics().value("sluice_polling", &labels), 1);
    let polls = || daemon.metrics().value("sluice_polls_total", &[("monitor", "m"), ("outcome", "done")]);
    until("it is polled again and again", || (polls() > 1).then_some(()));
    exchange.open();
    polling(&daemon, "live");
    assert_eq!(daemon.metrics().value("sluice_polling", &labels), 0);
    assert_eq!(daemon.metrics().value("sluice_poll_switches_total", &labels), 2);
    filled(&place, "disconnect");
    all_once(&place, &exchange);
    let log = daemon.stop();
    assert!(log.contains("polled over HTTP from now on: its circuit is open"), "{log}");
    let turn = |mode: &str, why: &str| (mode.to_owned(), why.to_owned());
    let expected = [turn("polling", "its circuit is open"), turn("live", "its circuit is closed again")];
    assert_eq!(turns(&place), expected);
}

#[test]
fn what_an_operator_says_of_polling_outlives_a_restart_and_is_undone_by_him() {
    let (place, exchange) = (Workplace::new(), Exchange::start());
    let daemon = Daemon::start(&place, &watching(&exchange, &format!("{BY_ITEM}\n{POLLED}")));
    live(&place, 20);
    switch(&place, &daemon, "on");
    polling(&daemon, "polling");
    until("it is polled beside what links bring", || (exchange.requests().len() > 2).then_some(()));
    daemon.kill();
    let daemon = Daemon::again(&place);
    polling(&daemon, "polling");
    let rows: Value = serde_json::from_str(&daemon.get("/api/v1/polls").1).unwrap();
    assert_eq!((&rows[0]["forced"], &rows[0]["why"]), (&"on".into(), &"an operator says so".into()), "{rows}");
    live(&place, 40);
    switch(&place, &daemon, "auto");
    polling(&daemon, "live");
    filled(&place, "downtime");
    all_once(&place, &exchange);
    // Held off it, it is not polled whatever the circuit does.
    switch(&place, &daemon, "off");
    exchange.close();
    until("the circuit is open", || {
        let circuits: Vec<Value> = serde_json::from_str(&daemon.get("/api/v1/circuits").1).unwrap();
        circuits.iter().any(|row| row["kind"] == "upstream" && row["state"] == "open").then_some(())
    });
    assert_eq!(mode(&daemon), "live");
    let port = format!("server.listen=\"{}\"", daemon.address());
    let outcome = place.run(["--config", "sluice.toml", "--set", &port, "poll", "on", "other"]);
    assert!(outcome.code != Some(0) && outcome.stderr.contains("has no fall-back"), "{}", outcome.stderr);
    daemon.stop();
}

#[test]
fn an_endpoint_that_tells_the_same_again_and_again_brings_it_once() {
    let (place, exchange) = (Workplace::new(), Exchange::start());
    let request = format!(
        "{POLLED}\n[monitors.m.poll.request]\npreset = false\nurl = \"{}\"\npath = \"/recent\"\neach = \"/items\"\nrate = {{ count = 100, per = \"1s\" }}\n\
         message = '{{\"channel\":\"trades\",\"data\":{{\"id\":{{/trade_id}},\"ts\":{{/time}}}}}}'",
        exchange.history_url()
    );
    let settings = watching(&exchange, &format!("{BY_ITEM}\n{request}")).with("[dedupe]\nttl = \"1s\"");
    let daemon = Daemon::start(&place, &settings);
    live(&place, 20);
    exchange.pause();
    switch(&place, &daemon, "on");
    polling(&daemon, "polling");
    exchange.faults([Fault::Status(500, None), Fault::Status(429, Some(0)), Fault::Garbage("?")]);
    // For longer than ids are remembered.
    let asked = exchange.requests().len();
    until("it is polled for a while", || (exchange.requests().len() >= asked + 15).then_some(()));
    let rows: Value = serde_json::from_str(&daemon.get("/api/v1/polls").1).unwrap();
    assert!(rows[0]["polls"].as_u64().unwrap() > 8, "{rows}");
    let last = exchange.trades() as u64 - 1;
    assert_eq!(ids(&place).last(), Some(&last));
    daemon.stop();
}
