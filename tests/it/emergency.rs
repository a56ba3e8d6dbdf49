//! Emergencies: everything stands still at a word and stays so over restarts, one path can be stopped alone, and a line in a file and a
//! reload put everything back on the legacy path.

use serde_json::Value;
use sluice::simulator::{Running, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::paths::ask;
use super::processes::{Daemon, Settings, accounts, query, until};
use super::support::Workplace;

const EVENT: &str = "event = { id = [\"/stream\", \"/data/t\"], time = \"/data/E\" }";

fn feed(runtime: &Runtime) -> Running {
    let settings = SimulatorSettings { rate: 200, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    runtime.block_on(Simulator::start(settings)).unwrap()
}

/// `a` on the smart path, `b` on the legacy path.
fn settings(url: &str) -> Settings {
    Settings::new()
        .upstream("feed", "binance", url)
        .monitor("a", "spot", "feed", &["btcusdt@trade"], &format!("path = \"smart\"\n{EVENT}"))
        .monitor("b", "spot", "feed", &["ethusdt@trade"], &format!("path = \"legacy\"\n{EVENT}"))
}

fn events(place: &Workplace) -> [u64; 2] {
    let accounts = accounts(place);
    ["a", "b"].map(|name| accounts.get(name).map_or(0, |account| account.events))
}

fn go_on(place: &Workplace) {
    let [a, b] = events(place);
    until("events of both go on", || {
        events(place).iter().zip([a, b]).all(|(now, before)| *now > before + 10).then_some(())
    });
}

#[test]
fn an_emergency_stop_makes_durable_what_was_taken_and_lasts_over_a_restart_until_start() {
    let runtime = Runtime::new().unwrap();
    let feed = feed(&runtime);
    let place = Workplace::new();
    let mut daemon = Daemon::start(&place, &settings(&feed.url()));
    go_on(&place);
    let outcome = ask(&place, &daemon, &["emergency-stop", "--reason", "a drill", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(said["stopped"] == true && said["drained"] == true && said["reason"] == "a drill", "{said}");
    let frames = daemon.frames("feed");
    let stopped = events(&place);
    let behind = query(&place, &["--domain", "spot", "--from", &said["durable_offset"].to_string()]);
    assert!(behind.is_empty(), "all that was taken was durable when it said so, and nothing more is taken");
    let (code, health) = daemon.get("/api/v1/monitoring/health");
    let health = if code == 404 { ask(&place, &daemon, &["health", "--output", "json"]).stdout } else { health };
    assert!(health.contains("a drill") && health.contains("sluice start"), "{health}");
    let states = daemon.monitors();
    assert!(states.values().all(|row| row["state"] == "stopped"), "{states:?}");
    daemon.kill();
    daemon = Daemon::again(&place);
    until("it says that it stands still", || {
        daemon.monitors().values().all(|row| row["state"] == "stopped").then_some(())
    });
    assert_eq!(events(&place), stopped);
    assert!(frames > 0 && daemon.frames("feed") == 0, "nothing came after the restart");
    assert!(daemon.log().contains("stopped in an emergency"), "{}", daemon.log());
    let outcome = ask(&place, &daemon, &["canary"]);
    assert!(outcome.stdout.contains("sluice start"), "{}", outcome.stdout);
    let outcome = ask(&place, &daemon, &["start"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    go_on(&place);
    let outcome = ask(&place, &daemon, &["start"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("nothing was stopped"), "{}", outcome.stderr);
    daemon.stop();
    let gaps = ask_gaps(&place);
    assert!(gaps.iter().any(|gap| gap["cause"] == "stopped" && gap["end"].is_string()), "{gaps:?}");
    runtime.block_on(feed.stop()).unwrap();
}

fn ask_gaps(place: &Workplace) -> Vec<Value> {
    serde_json::from_str(&super::processes::json(place, &["gaps"])).unwrap()
}

#[test]
fn the_monitors_of_one_path_can_be_stopped_alone() {
    let runtime = Runtime::new().unwrap();
    let feed = feed(&runtime);
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &settings(&feed.url()));
    go_on(&place);
    let outcome = ask(&place, &daemon, &["monitors", "stop", "--path", "legacy"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("b is stopped") && !outcome.stdout.contains("a is"), "{}", outcome.stdout);
    let [a, _] = events(&place);
    until("the smart path goes on", || (events(&place)[0] > a + 10).then_some(()));
    let monitors = daemon.monitors();
    assert!(monitors["a"]["state"] == "live" && monitors["b"]["state"] == "stopped", "{monitors:?}");
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn a_file_and_a_reload_put_everything_on_the_legacy_path_whatever_was_decided_at_run_time() {
    let runtime = Runtime::new().unwrap();
    let feed = feed(&runtime);
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("feed", "binance", &feed.url())
        .monitor("a", "spot", "feed", &["btcusdt@trade"], EVENT)
        .monitor("b", "spot", "feed", &["ethusdt@trade"], EVENT);
    let daemon = Daemon::start(&place, &settings);
    go_on(&place);
    let outcome = ask(&place, &daemon, &["canary", "set", "1.0"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let outcome = ask(&place, &daemon, &["config", "set", "smart_streaming.enabled", "true"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("USE_SMART_STREAMING=false"), "{}", outcome.stderr);
    place.write(".env", "USE_SMART_STREAMING=false\n");
    let outcome = ask(&place, &daemon, &["reload", "--dry-run"]);
    let would = ["smart_streaming.enabled", "to legacy", "links opened: 2, links closed: 1"];
    assert!(would.iter().all(|words| outcome.stdout.contains(words)), "{}", outcome.stdout);
    let outcome = ask(&place, &daemon, &["reload"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    until("everything is on the legacy path", || {
        let monitors = daemon.monitors();
        let there = |row: &Value| row["path"] == "legacy" && row.get("crossing_to").is_none() && row["state"] == "live";
        monitors.values().all(there).then_some(())
    });
    go_on(&place);
    daemon.stop();
    assert!(query(&place, &["--monitor", "a", "--path", "legacy"]).len() > 10);
    let gaps = ask_gaps(&place);
    assert!(gaps.iter().all(|gap| gap["cause"] == "downtime"), "nothing was missed before the stop: {gaps:?}");
    runtime.block_on(feed.stop()).unwrap();
}
