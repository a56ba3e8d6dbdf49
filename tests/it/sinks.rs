//! Sinks behind the whole program: what they get, how they are switched, and what becomes of one that cannot go on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::processes::{Daemon, Event, Feed, Process, Settings, query, request, until};
use super::support::{Outcome, Workplace};

/// `/api/v1/sinks`, by name.
fn sinks(daemon: &Daemon) -> BTreeMap<String, Value> {
    let (status, body) = daemon.get("/api/v1/sinks");
    assert_eq!(status, 200, "{body}");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    rows.into_iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect()
}

fn in_state(daemon: &Daemon, sink: &str, state: &str) -> Value {
    until(&format!("{sink} is {state}"), || Some(sinks(daemon)[sink].clone()).filter(|row| row["state"] == state))
}

/// Lines of a sink of kind `jsonl`, in the order of its files: offset, monitor and payload as it stands.
fn lines(folder: &Path) -> Vec<(u64, String, String)> {
    #[derive(serde::Deserialize)]
    struct Line {
        offset: u64,
        monitor: String,
        payload: Box<serde_json::value::RawValue>,
    }
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events-"));
    paths.sort();
    let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let line = |line| {
        let Line { offset, monitor, payload } = serde_json::from_str(line).unwrap();
        (offset, monitor, payload.get().to_owned())
    };
    text.lines().map(line).collect()
}

fn of_journal(events: &[Event]) -> Vec<(u64, String, String)> {
    events.iter().map(|event| (event.offset, event.monitor.clone(), event.payload.get().to_owned())).collect()
}

/// As `assert_eq!`, but a failure shows where they part and not all of them.
fn assert_same(found: &[(u64, String, String)], expected: &[(u64, String, String)]) {
    let apart = found.iter().zip(expected).position(|(one, other)| one != other);
    if let Some(at) = apart {
        panic!("apart at {at}: {:?} and not {:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "one ends earlier");
}

const TRADES: &[&str] = &["btcusdt@trade", "ethusdt@trade"];

fn settings(feed: &Feed, sinks: &str) -> Settings {
    Settings::new()
        .with("[batch]\ntimeout = \"20ms\"")
        .with(sinks)
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "trading", "feed", TRADES, "")
        .monitor("books", "liquidity", "feed", &["btcusdt@bookTicker"], "")
}

fn feed(place: &Workplace) -> Feed {
    Feed::start(place, &["--dialect", "binance", "--rate", "300"])
}

/// `sluice sinks …` of the daemon.
fn command(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(["--config", "sluice.toml", "--set", &listen, "sinks"].iter().chain(arguments))
}

fn durable(daemon: &Daemon) -> u64 {
    daemon.metrics().value("sluice_journal_durable_offset", &[])
}

fn events_come(daemon: &Daemon, more: u64) {
    let before = durable(daemon);
    until("events come", || (durable(daemon) >= before + more).then_some(()));
}

#[test]
fn each_sink_has_what_its_filter_takes_once_and_in_order_when_the_daemon_has_stopped() {
    let place = Workplace::new();
    let feed = feed(&place);
    let sinks_toml = "[sinks.all]\nkind = \"jsonl\"\nfolder = \"all\"\n\
         [sinks.trades]\nkind = \"jsonl\"\nfolder = \"trades\"\nmonitors = [\"trades\"]\nbatch_max = 7\n\
         [sinks.own]\nkind = \"jsonl\"\nfolder = \"own\"\ndomains = [\"_sluice\"]\n";
    let daemon = Daemon::start(&place, &settings(&feed, sinks_toml));
    events_come(&daemon, 300);
    daemon.kill();
    let daemon = Daemon::again(&place);
    events_come(&daemon, 300);
    let health: Value = serde_json::from_str(&daemon.get("/v1/health/ready").1).unwrap();
    assert_eq!(health["sinks"], json!({"all": "connected", "own": "connected", "trades": "connected"}));
    let row = sinks(&daemon).remove("trades").unwrap();
    for field in [
        "name",
        "kind",
        "state",
        "enabled",
        "cursor",
        "lag_events",
        "lag_seconds",
        "latency_ms",
        "files",
        "bytes",
        "breaker",
        "parked",
        "error",
    ] {
        assert!(row.get(field).is_some(), "{field} is missing in {row}");
    }
    until("metrics tell of rows", || {
        (daemon.metrics().value("sluice_sink_rows_total", &[("sink", "trades")]) > 0).then_some(())
    });
    let table = command(&place, &daemon, &[]);
    assert!(
        table.code == Some(0) && table.stdout.contains("trades") && table.stdout.contains("connected"),
        "{table:?}"
    );
    daemon.stop();
    assert_same(&lines(&place.path("all")), &of_journal(&query(&place, &[])));
    assert_same(&lines(&place.path("trades")), &of_journal(&query(&place, &["--monitor", "trades"])));
    assert_same(&lines(&place.path("own")), &of_journal(&query(&place, &["--domain", "_sluice"])));
    feed.kill();
}

#[test]
fn a_sink_is_switched_off_and_on_at_run_time_and_stays_so_over_a_restart() {
    let place = Workplace::new();
    let feed = feed(&place);
    let daemon = Daemon::start(&place, &settings(&feed, "[sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"\n"));
    events_come(&daemon, 100);
    let off = command(&place, &daemon, &["disable", "files"]);
    assert_eq!((off.code, off.stdout.trim()), (Some(0), "files is off: it stops within one flush"), "{}", off.stderr);
    let row = in_state(&daemon, "files", "off");
    assert_eq!(row["enabled"], false);
    let cursor = row["cursor"].as_u64().unwrap();
    events_come(&daemon, 100);
    let health: Value = serde_json::from_str(&daemon.get("/v1/health/ready").1).unwrap();
    assert_eq!((&health["sinks"]["files"], &health["status"]), (&json!("off"), &json!("healthy")));

    daemon.kill();
    let daemon = Daemon::again(&place);
    let row = in_state(&daemon, "files", "off");
    assert!(row["error"].is_null(), "{row}");
    events_come(&daemon, 100);

    let undecided = command(&place, &daemon, &["enable", "files"]);
    assert_eq!(undecided.code, Some(1), "{undecided:?}");
    assert!(undecided.stderr.contains("--catch-up") && undecided.stderr.contains("--start-now"), "{undecided:?}");
    let body = "{\"enabled\": true}";
    let head = format!("PUT /api/v1/sinks/files HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", daemon.address());
    let put =
        |body: &str| request(daemon.address(), &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).unwrap();
    assert_eq!(put(body).0, 409);
    assert_eq!(put("{\"enabled\": 1}").0, 400);
    assert_eq!(command(&place, &daemon, &["disable", "fils"]).code, Some(1));

    let on = command(&place, &daemon, &["enable", "files", "--start-now"]);
    assert_eq!(on.code, Some(0), "{on:?}");
    until("it has caught up", || sinks(&daemon)["files"]["rows"].as_u64().filter(|rows| *rows > 50));
    daemon.stop();
    let lost = query(&place, &["--monitor", "sinks"]);
    assert_eq!(lost.len(), 1, "{lost:?}");
    let span: Value = serde_json::from_str(lost[0].payload.get()).unwrap();
    assert_eq!(
        (&span["sink"], &span["cause"], span["from"].as_u64()),
        (&json!("files"), &json!("start_now"), Some(cursor))
    );
    let skipped = cursor..span["to"].as_u64().unwrap();
    let expected: Vec<_> = query(&place, &[]).into_iter().filter(|event| !skipped.contains(&event.offset)).collect();
    assert!(expected.len() > 100 && skipped.end > skipped.start + 100);
    assert_same(&lines(&place.path("files")), &of_journal(&expected));

    // On again, over a restart.
    let daemon = Daemon::again(&place);
    in_state(&daemon, "files", "connected");
    let disabled = command(&place, &daemon, &["disable", "files"]);
    assert_eq!(disabled.code, Some(0), "{disabled:?}");
    events_come(&daemon, 50);
    assert_eq!(command(&place, &daemon, &["enable", "files", "--catch-up"]).code, Some(0));
    in_state(&daemon, "files", "connected");
    daemon.stop();
    let all: Vec<_> = query(&place, &[]).into_iter().filter(|event| !skipped.contains(&event.offset)).collect();
    assert_same(&lines(&place.path("files")), &of_journal(&all));
    feed.kill();
}

#[test]
fn a_dead_sink_is_shown_and_neither_another_one_nor_the_stop_waits_for_it() {
    let place = Workplace::new();
    let feed = feed(&place);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sinks_toml = format!(
        "[sinks.dead]\nkind = \"postgres\"\nurl = \"postgres://nobody@127.0.0.1:{port}/nothing\"\n\
         [sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"\n"
    );
    let daemon = Daemon::start(&place, &settings(&feed, &sinks_toml));
    events_come(&daemon, 200);
    until("the live one is up to date", || sinks(&daemon)["files"]["rows"].as_u64().filter(|rows| *rows > 100));
    let row = until("the dead one has failed", || {
        Some(sinks(&daemon).remove("dead").unwrap()).filter(|row| row["retries"].as_u64() > Some(1))
    });
    assert!(row["cursor"].is_null() && row["error"].is_string(), "{row}");
    assert!(["disconnected", "open"].iter().any(|state| row["state"] == *state), "{row}");
    let (status, body) = daemon.get("/v1/health/ready");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    assert!(health["reasons"][0].as_str().unwrap().contains("sink `dead`"), "{health}");
    let parked = command(&place, &daemon, &["parked", "dead"]);
    assert_eq!(parked.code, Some(1), "{parked:?}");
    assert!(parked.stderr.contains("dead"), "{parked:?}");
    let before = tokio::time::Instant::now();
    daemon.stop();
    assert!(before.elapsed() < std::time::Duration::from_secs(8), "{:?}", before.elapsed());
    assert_same(&lines(&place.path("files")), &of_journal(&query(&place, &[])));
    feed.kill();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_journal_that_is_behind_its_sink_does_not_start_and_another_journal_moves_no_cursor() {
    let place = Workplace::new();
    let feed = feed(&place);
    let sinks_toml =
        "[sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"\n[sinks.more]\nkind = \"sqlite\"\nfolder = \"more\"\n";
    let daemon = Daemon::start(&place, &settings(&feed, sinks_toml));
    events_come(&daemon, 100);
    daemon.stop();
    copy(&place.path("data"), &place.path("backup"));
    let daemon = Daemon::again(&place);
    events_come(&daemon, 100);
    daemon.stop();
    let newer = place.path("newer");
    std::fs::rename(place.path("data"), &newer).unwrap();
    std::fs::rename(place.path("backup"), place.path("data")).unwrap();
    let before = lines(&place.path("files"));

    let mut process = Process::start(&place, &["run", "--config", "sluice.toml"]);
    assert_eq!(process.end().code(), Some(65), "{}", process.stderr());
    let said = process.stderr();
    assert!(said.contains("sink files has taken events up to") || said.contains("sink more has taken"), "{said}");
    assert!(said.contains("Put the newer journal back"), "{said}");
    assert_same(&lines(&place.path("files")), &before);

    // Another journal altogether, of which no checkpoint tells either: it goes on, its sinks do not.
    std::fs::remove_dir_all(place.path("data")).unwrap();
    std::fs::rename(place.path("checkpoints"), place.path("checkpoints-before")).unwrap();
    let daemon = Daemon::again(&place);
    for sink in ["files", "more"] {
        let row = in_state(&daemon, sink, "refused");
        assert!(row["error"].as_str().unwrap().contains("journal"), "{row}");
    }
    events_come(&daemon, 50);
    daemon.stop();
    assert_same(&lines(&place.path("files")), &before);

    // Back where it belongs it goes on as if nothing had been.
    std::fs::remove_dir_all(place.path("data")).unwrap();
    std::fs::rename(&newer, place.path("data")).unwrap();
    let daemon = Daemon::again(&place);
    in_state(&daemon, "files", "connected");
    events_come(&daemon, 50);
    daemon.stop();
    assert_same(&lines(&place.path("files")), &of_journal(&query(&place, &[])));
    feed.kill();
}
