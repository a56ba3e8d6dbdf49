//! The guard: a smart path that is worse is left again by itself, soon, and what both paths suffer is left alone.

use std::time::Duration;

use serde_json::{Value, json};
use sluice::rollout::choice::place as place_of;
use sluice::simulator::{Faults, Running, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::canary::{canary, history, rows, status, try_canary};
use super::processes::{Daemon, Settings, query, until_within};
use super::support::Workplace;

/// From the trigger to all monitors back, as it is promised.
const BACK_WITHIN: f64 = 30.0;

/// Changing paths and windows go at the machine's pace.
const PATIENCE: Duration = Duration::from_mins(1);

const SYMBOLS: [&str; 8] = ["btcusdt", "ethusdt", "solusdt", "bnbusdt", "xrpusdt", "adausdt", "dogeusdt", "ltcusdt"];

/// Faults that only a connection with several topics meets: that of the smart path.
fn only_smart(faults: Faults) -> Faults {
    Faults { from_topics: 2, ..faults }
}

fn simulator(runtime: &Runtime, faults: Faults) -> Running {
    let settings = SimulatorSettings { rate: 400, faults, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    runtime.block_on(Simulator::start(settings)).unwrap()
}

/// A monitor for each symbol, with ids; `guard` are lines of its section, `canary` the settings' own fraction.
fn settings(url: &str, canary: f64, guard: &str) -> Settings {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[smart_streaming]\nenabled = true\ncanary = {canary:?}\n[batch]\ntimeout = \"20ms\"\n\
         [pool]\nmin_connections = 1\nmax_connections = 1\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\n\
         [guard]\nwindow = \"4s\"\nmin_samples = 50\n{guard}\n"
    );
    let limits = "[upstreams.feed.limits]\nmessages = { count = 1000, per = \"1s\" }\n\
                  connects = { count = 1000, per = \"1s\" }\nsend_interval = \"1ms\"";
    let settings = Settings::of(text).upstream("feed", "binance", url).with(limits);
    let event = "event = { id = [\"/stream\", \"/data/t\"], time = \"/data/E\" }";
    SYMBOLS.iter().fold(settings, |settings, symbol| {
        settings.monitor(symbol, "spot", "feed", &[&format!("{symbol}@trade")], event)
    })
}

fn chosen(fraction: f64) -> u64 {
    SYMBOLS.iter().filter(|symbol| place_of(symbol) < fraction).count() as u64
}

/// Waits until so many monitors are on the smart path, and none is on its way.
fn settled(daemon: &Daemon, smart: u64) {
    until_within(PATIENCE, &format!("{smart} monitors are on the smart path"), || {
        let now = status(daemon);
        let none = now["crossings"].as_array().unwrap().is_empty();
        (none && now["paths"][0]["now"] == smart && now["paths"][1]["now"] == 8 - smart).then_some(())
    });
}

/// Waits until the guard has judged the smart path, and finds it well.
fn healthy(daemon: &Daemon) {
    until_within(PATIENCE, "the guard finds it healthy", || {
        (status(daemon)["guard"]["state"] == "healthy").then_some(())
    });
}

/// Waits until the guard has taken monitors back and all of them are; the decision and its effect.
fn rolled_back(place: &Workplace, daemon: &Daemon) -> (Value, Value) {
    let of = |what: &str| rows(place).into_iter().find(|row| row["what"] == what);
    let decided = until_within(PATIENCE, "the guard takes monitors back", || of("rolled_back"));
    let effect = until_within(PATIENCE, "all are back", || of("roll_back_completed"));
    assert_eq!((&decided["by"], &decided["from"], &decided["to"]), (&json!("guard"), &effect["from"], &effect["to"]));
    let seconds = effect["evidence"]["seconds"].as_f64().unwrap();
    println!("all were back {seconds:.2} s after the trigger by {}", effect["evidence"]["reason"]);
    assert!(seconds < BACK_WITHIN, "{effect}");
    assert_eq!(
        daemon
            .metrics()
            .value("sluice_canary_rollbacks_total", &[("reason", effect["evidence"]["reason"].as_str().unwrap())]),
        1
    );
    (decided, effect)
}

/// A daemon of which half of the monitors were put on the smart path, and that finds it healthy.
fn half_on_smart(place: &Workplace, feed: &Running, guard: &str) -> Daemon {
    let daemon = Daemon::start(place, &settings(&feed.url(), 0.0, guard));
    settled(&daemon, 0);
    canary(place, &daemon, &["set", "0.5"]);
    assert!((2..7).contains(&chosen(0.5)), "the names are of both kinds");
    settled(&daemon, chosen(0.5));
    healthy(&daemon);
    daemon
}

#[test]
fn garbage_on_the_smart_path_alone_is_found_and_monitors_are_back_within_half_a_minute() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults::default());
    let place = Workplace::new();
    let daemon = half_on_smart(&place, &feed, "errors = 1000.0");
    feed.set_faults(only_smart(Faults { bad_frames: 1.0, ..Faults::default() })).unwrap();
    let (decided, _) = rolled_back(&place, &daemon);
    assert_eq!((&decided["from"], &decided["to"]), (&json!(0.5), &json!(0.0)), "{decided}");
    let verdict = &decided["evidence"]["verdict"];
    assert_eq!((&verdict["check"], &verdict["against"]), (&json!("parse_rate"), &json!("legacy")), "{decided}");
    assert!(verdict["value"].as_f64().unwrap() < 0.9 && verdict["other"].as_f64().unwrap() > 0.9, "{verdict}");
    assert!(verdict["smart"]["quarantined"].as_u64().unwrap() > 0, "{verdict}");
    assert!(verdict["legacy"]["messages"].as_u64().unwrap() >= 50, "{verdict}");
    settled(&daemon, 0);

    // Whoever has to know is told.
    let alerts = query(&place, &["--domain", "_sluice", "--monitor", "alerts"]).into_iter();
    let alerts = alerts.map(|event| serde_json::from_str::<Value>(event.payload.get()).unwrap());
    let alerts: Vec<Value> = alerts.filter(|alert| alert["type"] == "CANARY_ROLLED_BACK").collect();
    let [alert] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((&alert["status"], &alert["severity"]), (&json!("OPEN"), &json!("critical")), "{alert}");
    assert_eq!((&alert["subject"], &alert["threshold"]), (&json!("feed"), &json!(0.9)), "{alert}");
    let log = daemon.log();
    assert!(log.contains("the guard takes monitors back from the smart path") && log.contains("are back"), "{log}");
    let metrics = daemon.metrics();
    assert_eq!((metrics.value("sluice_canary_cooling", &[]), metrics.value("sluice_canary_fraction", &[])), (1, 0));
    assert_eq!(metrics.value("sluice_canary_monitors", &[("path", "legacy")]), 8);

    // For a while nothing is put there again, over a restart too.
    let until = status(&daemon)["guard"]["cooling_until"].as_str().unwrap().to_owned();
    daemon.kill();
    let daemon = Daemon::again(&place);
    assert_eq!(status(&daemon)["guard"]["cooling_until"], until.as_str());
    let refused = try_canary(&place, &daemon, &["set", "0.5"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains(&until) && refused.stderr.contains("--force"),
        "{refused:?}"
    );
    let said = canary(&place, &daemon, &["status"]);
    assert!(said.contains("decided by guard") && said.contains(&until), "{said}");
    feed.set_faults(Faults::default()).unwrap();
    canary(&place, &daemon, &["set", "0.5", "--force"]);
    settled(&daemon, chosen(0.5));
    assert_eq!(status(&daemon)["guard"]["cooling_until"], Value::Null);
    // It has one life with all other alerts: open over the restart, and over with what it was about.
    until_within(PATIENCE, "its alert is over", || {
        let path = format!("/api/v1/monitoring/alerts/{}", alert["id"].as_str().unwrap());
        let now: Value = serde_json::from_str(&daemon.get(&path).1).unwrap();
        (now["status"] == "RESOLVED" && now["resolved_by"] == "sluice").then_some(())
    });
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn monitors_go_back_to_the_last_good_fraction_and_the_plan_waits() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults::default());
    let place = Workplace::new();
    let stages =
        "[rollout]\nstages = [{ fraction = 0.4, for = \"10s\" }, { fraction = 0.8, for = \"1h\" }, { fraction = 1.0 }]";
    let daemon = Daemon::start(&place, &settings(&feed.url(), 0.0, "").with(stages));
    settled(&daemon, 0);
    assert!(0 < chosen(0.4) && chosen(0.4) < chosen(0.8), "the names are of both kinds");
    canary(&place, &daemon, &["plan", "start"]);
    settled(&daemon, chosen(0.8));
    until_within(PATIENCE, "the first stage is known to be good", || {
        (status(&daemon)["guard"]["good"] == json!([0.4])).then_some(())
    });
    feed.set_faults(only_smart(Faults { bad_frames: 1.0, ..Faults::default() })).unwrap();
    until_within(PATIENCE, "the guard takes monitors back", || {
        rows(&place).into_iter().any(|row| row["what"] == "rolled_back").then_some(())
    });
    feed.set_faults(Faults::default()).unwrap();
    let (decided, _) = rolled_back(&place, &daemon);
    assert_eq!((&decided["from"], &decided["to"]), (&json!(0.8), &json!(0.4)), "{decided}");
    settled(&daemon, chosen(0.4));
    let now = status(&daemon);
    assert_eq!((&now["plan"]["state"], &now["plan"]["stage"]), (&json!("entering"), &json!(2)), "{now}");
    let waits_for = now["plan"]["waits_for"].as_str().unwrap();
    assert!(waits_for.starts_with("the guard, until "), "{waits_for}");
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn errors_on_the_smart_path_alone_are_found() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults { bad_frames: 0.02, ..Faults::default() });
    let place = Workplace::new();
    let daemon = half_on_smart(&place, &feed, "parse_rate = 0.0");
    feed.set_faults(only_smart(Faults { bad_frames: 0.3, ..Faults::default() })).unwrap();
    let (decided, _) = rolled_back(&place, &daemon);
    assert_eq!(decided["evidence"]["verdict"]["check"], "errors", "{decided}");
    settled(&daemon, 0);
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn connections_that_only_the_smart_path_loses_are_found() {
    let runtime = Runtime::new().unwrap();
    let faults = Faults { disconnect_every: Some(Duration::from_secs(2)), ..Faults::default() };
    let feed = simulator(&runtime, only_smart(faults));
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &settings(&feed.url(), 0.0, "parse_rate = 0.0\nerrors = 1000.0"));
    settled(&daemon, 0);
    canary(&place, &daemon, &["set", "0.5"]);
    let (decided, _) = rolled_back(&place, &daemon);
    let verdict = &decided["evidence"]["verdict"];
    assert_eq!((&verdict["check"], &verdict["threshold"]), (&json!("connection_failures"), &json!(3.0)), "{decided}");
    assert!(verdict["value"].as_f64().unwrap() > 3.0, "{verdict}");
    settled(&daemon, 0);
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn memory_above_its_limit_is_found() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults::default());
    let place = Workplace::new();
    // Any process has more.
    let daemon = Daemon::start(&place, &settings(&feed.url(), 0.5, "memory = 0.000001"));
    let (decided, _) = rolled_back(&place, &daemon);
    assert_eq!(decided["evidence"]["verdict"]["check"], "memory", "{decided}");
    settled(&daemon, 0);
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn garbage_on_both_paths_and_an_upstream_that_is_gone_take_nobody_back() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults::default());
    let place = Workplace::new();
    let daemon = half_on_smart(&place, &feed, "");
    let decided = history(&place);
    feed.set_faults(Faults { bad_frames: 1.0, ..Faults::default() }).unwrap();
    let parse_rate = |path: &str| {
        let figures = status(&daemon)["figures"].clone();
        let row = figures.as_array().unwrap().iter().find(|row| row["path"] == path).cloned();
        row.and_then(|row| row["parse_rate"].as_f64()).unwrap_or(1.0)
    };
    // The whole window is of garbage on both.
    until_within(PATIENCE, "both paths read garbage", || {
        (parse_rate("smart") < 0.55 && parse_rate("legacy") < 0.55).then_some(())
    });
    assert_ne!(status(&daemon)["guard"]["state"], "bad");
    let address = feed.url();
    let listen = address.trim_start_matches("ws://").split('/').next().unwrap().parse().unwrap();
    runtime.block_on(feed.stop()).unwrap();
    until_within(PATIENCE, "the guard takes it for an outage", || {
        (status(&daemon)["guard"]["state"] == "outage").then_some(())
    });
    // Attempts go on in vain.
    let failures = || {
        let figures = status(&daemon)["figures"].clone();
        let lost = |path: &str| {
            let row = figures.as_array().unwrap().iter().find(|row| row["path"] == path).cloned();
            row.and_then(|row| row["connection_failures"].as_u64()).unwrap_or(0)
        };
        (lost("smart"), lost("legacy"))
    };
    until_within(PATIENCE, "each path fails to connect more often than would be found", || {
        let (smart, legacy) = failures();
        (smart > 5 && legacy > 5).then_some(())
    });
    let again = SimulatorSettings { rate: 400, listen, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(again)).unwrap();
    until_within(PATIENCE, "both paths are well again", || {
        (parse_rate("smart") > 0.99 && parse_rate("legacy") > 0.99).then_some(())
    });
    healthy(&daemon);
    assert_eq!(history(&place), decided, "nobody was taken back");
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn without_fault_tolerance_the_guard_is_off() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults::default());
    let place = Workplace::new();
    let settings = settings(&feed.url(), 0.5, "memory = 0.000001").with("[fault_tolerance]\nenabled = false");
    let daemon = Daemon::start(&place, &settings);
    settled(&daemon, chosen(0.5));
    until_within(PATIENCE, "it has looked often enough", || {
        let figures = status(&daemon)["figures"].clone();
        (figures[0]["messages_per_second"].as_f64()? > 50.0).then_some(())
    });
    assert_eq!(status(&daemon)["guard"]["state"], "off");
    assert!(history(&place).is_empty());
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn the_switch_of_the_environment_beats_what_was_decided_at_run_time() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, Faults::default());
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &settings(&feed.url(), 0.0, ""));
    canary(&place, &daemon, &["set", "1"]);
    settled(&daemon, 8);
    daemon.stop();
    let place = place.with_variable("USE_SMART_STREAMING", "false");
    let daemon = Daemon::again(&place);
    settled(&daemon, 0);
    let now = status(&daemon);
    assert_eq!((&now["fraction"], &now["settings"]["enabled"]), (&json!(1.0), &json!(false)));
    let said = canary(&place, &daemon, &["status"]);
    assert!(said.contains("`smart_streaming.enabled` is false (environment variable USE_SMART_STREAMING)"), "{said}");
    let refused = try_canary(&place, &daemon, &["plan", "start"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("`smart_streaming.enabled` is false"), "{refused:?}");
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}
