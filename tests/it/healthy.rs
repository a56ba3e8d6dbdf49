//! `sluice health` and `/api/v1/monitoring/health`: each state with its words, reasons and codes.

use serde_json::Value;

use crate::processes::{Daemon, Feed, Settings, until};
use crate::support::{Outcome, Workplace};

fn health(place: &Workplace, daemon: &Daemon, output: &str) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(["--config", "sluice.toml", "--set", &listen, "health", "--output", output])
}

/// The status and the body, once it says so.
fn monitored(daemon: &Daemon, status: &str) -> (u16, Value) {
    until(&format!("it is {status}"), || {
        let (code, body) = daemon.get("/api/v1/monitoring/health");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        (body["status"] == status).then_some((code, body))
    })
}

fn settings(feed: &Feed) -> Settings {
    Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("m", "d", "feed", &["btcusdt@trade"], "")
        .with("[sinks.rows]\nkind = 'sqlite'\nfolder = 'rows'")
}

#[test]
fn a_daemon_that_is_well_says_so_with_all_that_belongs_to_it() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let daemon = Daemon::start(&place, &settings(&feed));
    let (code, body) = monitored(&daemon, "healthy");
    assert_eq!(code, 200);
    assert_eq!(body["journal"], "writable");
    assert_eq!(body["upstreams"]["feed"], "connected");
    assert_eq!(body["sinks"]["rows"], "connected");
    assert_eq!(body["reasons"], serde_json::json!([]));
    assert!(body["memory"]["used"].as_u64() > Some(0) && body["memory"]["total"].as_u64() > Some(0), "{body}");
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z') && body["uptime"].is_u64(), "{body}");
    let outcome = health(&place, &daemon, "json");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&printed["sinks"], &printed["upstreams"]), (&body["sinks"], &body["upstreams"]));
    let table = health(&place, &daemon, "table").stdout;
    for words in ["status", "healthy", "memory", "MiB", "sink rows", "upstream feed"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    daemon.stop();
}

#[test]
fn what_is_open_makes_it_degraded_and_is_named() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let daemon = Daemon::start(&place, &settings(&feed));
    monitored(&daemon, "healthy");
    feed.kill();
    let (code, body) = monitored(&daemon, "degraded");
    assert_eq!(code, 200);
    assert_eq!(body["upstreams"]["feed"], "disconnected");
    assert!(body["reasons"][0].as_str().unwrap().contains("`feed`"), "{body}");
    let outcome = health(&place, &daemon, "table");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("degraded") && outcome.stdout.contains("reason"), "{outcome:?}");
    daemon.stop();
}

#[test]
fn a_sink_that_is_not_there_makes_it_degraded_and_is_named() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let sink = "[sinks.bus]\nkind = 'nats'\nurl = 'nats://127.0.0.1:1'";
    let daemon = Daemon::start(&place, &settings(&feed).with(sink));
    let (code, body) = monitored(&daemon, "degraded");
    assert_eq!(code, 200);
    assert_ne!(body["sinks"]["bus"], "connected");
    let (_, body) = monitored(&daemon, "degraded");
    assert!(body["reasons"].to_string().contains("bus"), "{body}");
    daemon.stop();
}

/// Runs the program where the folder `data` is a disk of its own with less room than must stay free.
fn on_a_small_disk(place: &Workplace) -> std::process::Command {
    std::fs::create_dir_all(place.path("data")).unwrap();
    let program = place.command(["run", "--config", "sluice.toml"]);
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=48m tmpfs data && exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(place.path(""))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

#[test]
fn a_disk_without_room_makes_it_unhealthy_and_the_code_says_so() {
    let allowed = std::process::Command::new("unshare").args(["-rm", "true"]).output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped, no disk can be mounted here: {allowed:?}");
        return;
    }
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    settings(&feed).write(&place);
    let daemon = Daemon::of(on_a_small_disk(&place));
    let (code, body) = monitored(&daemon, "unhealthy");
    assert_eq!((code, &body["journal"]), (503, &Value::from("full")));
    assert_eq!(daemon.get("/v1/health/ready").0, 503);
    assert!(body["reasons"][0].as_str().unwrap().contains("nothing becomes durable"), "{body}");
    let outcome = health(&place, &daemon, "table");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("unhealthy") && outcome.stdout.contains("full"), "{outcome:?}");
    daemon.kill();
}

#[test]
fn where_no_daemon_answers_the_code_says_so() {
    let place = Workplace::new();
    Settings::new().write(&place);
    let outcome = place.run(["--config", "sluice.toml", "--set", "server.listen=127.0.0.1:1", "health"]);
    assert!(outcome.code == Some(3) && outcome.stderr.contains("sluice run"), "{outcome:?}");
}
