//! Circuit breakers behind the whole program: listed, held by an operator, remembered, let go.

use serde_json::Value;

use super::processes::{Daemon, Feed, Settings, json, query, request, until};
use super::support::{Outcome, Workplace};

fn settings(feed: &Feed) -> Settings {
    Settings::new()
        .with("[batch]\ntimeout = \"20ms\"")
        .with("[sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"\n")
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "trading", "feed", &["btcusdt@trade"], "")
}

/// `sluice circuits …` of the daemon.
fn command(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(["--config", "sluice.toml", "--set", &listen, "circuits"].iter().chain(arguments))
}

/// The row of the sink's circuit.
fn circuit(daemon: &Daemon) -> Value {
    let (status, body) = daemon.get("/api/v1/circuits");
    assert_eq!(status, 200, "{body}");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    rows.into_iter().find(|row| row["kind"] == "sink" && row["name"] == "files").expect("the sink has a circuit")
}

/// The row of the sink, once it is in this state.
fn sink(daemon: &Daemon, state: &str) -> Value {
    until(&format!("the sink is {state}"), || {
        let rows: Vec<Value> = serde_json::from_str(&daemon.get("/api/v1/sinks").1).unwrap();
        rows.into_iter().find(|row| row["state"] == state)
    })
}

fn events_come(daemon: &Daemon, more: u64) {
    let durable = || daemon.metrics().value("sluice_journal_durable_offset", &[]);
    let before = durable();
    until("events come", || (durable() >= before + more).then_some(()));
}

fn open_metric(daemon: &Daemon) -> u64 {
    let labels = [("kind", "sink"), ("name", "files"), ("state", "open")];
    daemon.metrics().value("sluice_circuit_state", &labels)
}

#[test]
fn a_circuit_that_an_operator_opens_stays_open_over_a_restart_and_loses_nothing() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300"]);
    let daemon = Daemon::start(&place, &settings(&feed));
    events_come(&daemon, 50);
    let row = circuit(&daemon);
    assert_eq!((&row["state"], &row["forced"], &row["enabled"]), (&"closed".into(), &Value::Null, &true.into()));
    assert_eq!(open_metric(&daemon), 0);

    let opened = command(&place, &daemon, &["open", "files"]);
    assert_eq!((opened.code, opened.stdout.trim()), (Some(0), "circuit of sink files is held open"), "{opened:?}");
    sink(&daemon, "open");
    events_come(&daemon, 100);
    daemon.kill();

    let daemon = Daemon::again(&place);
    let row = circuit(&daemon);
    assert_eq!((&row["state"], &row["forced"]), (&"open".into(), &"open".into()), "{row}");
    let before = sink(&daemon, "open");
    assert!(before["cursor"].is_null(), "nobody has asked the store: {before}");
    events_come(&daemon, 100);
    assert_eq!(sink(&daemon, "open")["rows"], 0, "no call passes");
    assert_eq!(open_metric(&daemon), 1);
    let health: Value = serde_json::from_str(&daemon.get("/v1/health/ready").1).unwrap();
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("circuit of sink `files` is open: an operator holds it"), "{reasons}");
    assert_eq!(health["status"], "degraded");
    let table = command(&place, &daemon, &[]);
    assert!(table.code == Some(0) && table.stdout.contains("files") && table.stdout.contains("open"), "{table:?}");

    let reset = command(&place, &daemon, &["reset", "files", "--output", "json"]);
    let row: Value = serde_json::from_str(&reset.stdout).unwrap_or_else(|error| panic!("{error}: {reset:?}"));
    assert_eq!((&row["state"], &row["forced"]), (&"closed".into(), &Value::Null));
    sink(&daemon, "connected");
    let log = daemon.stop();
    assert!(log.contains("circuit forced open by an operator, before the start"), "{log}");
    assert!(log.contains("circuit reset by an operator"), "{log}");
    let lines: usize = std::fs::read_dir(place.path("files"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events-"))
        .map(|path| std::fs::read_to_string(path).unwrap().lines().count())
        .sum();
    assert_eq!(lines, query(&place, &[]).len(), "each event once");

    let daemon = Daemon::again(&place);
    assert_eq!(circuit(&daemon)["forced"], Value::Null, "letting go is remembered too");
    daemon.stop();
    feed.kill();
}

#[test]
fn what_is_held_is_in_snapshots_and_checkpoints() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let daemon = Daemon::start(&place, &settings(&feed));
    assert_eq!(command(&place, &daemon, &["close", "files"]).code, Some(0));
    // A segment begins with each start, and with it a snapshot.
    daemon.stop();
    let daemon = Daemon::again(&place);
    events_come(&daemon, 1);
    daemon.stop();
    let held = serde_json::json!([{"kind": "sink", "name": "files", "forced": "closed"}]);
    let snapshots = query(&place, &["--monitor", "state"]);
    let snapshot: Value = serde_json::from_str(snapshots.last().unwrap().payload.get()).unwrap();
    assert_eq!(snapshot["settings"]["circuits"], held);
    let shown: Value = serde_json::from_str(&json(&place, &["checkpoint", "show"])).unwrap();
    assert_eq!(shown["settings"]["circuits"], held, "{shown}");
    feed.kill();
}

#[test]
fn breakers_that_are_switched_off_are_shown_so_and_not_held() {
    let place = Workplace::new().with_variable("FAULT_TOLERANCE_ENABLED", "false");
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let daemon = Daemon::start(&place, &settings(&feed));
    assert_eq!(circuit(&daemon)["enabled"], false);
    let table = command(&place, &daemon, &[]);
    assert!(table.stdout.contains("disabled"), "{table:?}");
    let refused = command(&place, &daemon, &["open", "files"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("fault_tolerance.enabled"), "{refused:?}");
    let unknown = command(&place, &daemon, &["open", "fils"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no circuit `fils`"), "{unknown:?}");
    let put = |path: &str, body: &str| {
        let head =
            format!("PUT /api/v1/circuits/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", daemon.address());
        request(daemon.address(), &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).unwrap()
    };
    assert_eq!(put("sink/files", "{\"action\": \"open\"}").0, 409);
    assert_eq!(put("sink/files", "{\"action\": \"melt\"}").0, 400);
    assert_eq!(put("sink/other", "{\"action\": \"open\"}").0, 404);
    assert_eq!(put("monitor/files", "{\"action\": \"open\"}").0, 404);
    daemon.stop();
    feed.kill();
}
