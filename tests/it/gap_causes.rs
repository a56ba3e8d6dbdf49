//! Each cause that a gap may have, brought about through the program: what opens it, and what ends it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use sluice::simulator::{Faults, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::changing::{command, in_state, one_monitor, takes};
use super::processes::{Daemon, Feed, Settings, json, query, until, until_within};
use super::support::Workplace;

/// `sluice gaps` with more arguments.
fn gaps(place: &Workplace, more: &[&str]) -> Vec<Value> {
    serde_json::from_str(&json(place, &[&["gaps"], more].concat())).expect("a JSON array")
}

/// The gap of a monitor that goes on, once it is durable.
fn open(place: &Workplace, monitor: &str) -> Value {
    until(&format!("{monitor} has an open gap"), || gaps(place, &["--open", "--monitor", monitor]).pop())
}

/// The same gap when it is over.
fn over(place: &Workplace, gap: &Value) -> Value {
    until("the gap is over", || {
        gaps(place, &[]).into_iter().find(|other| other["id"] == gap["id"] && other["end"].is_string())
    })
}

fn time(gap: &Value, field: &str) -> jiff::Timestamp {
    gap[field].as_str().unwrap_or_else(|| panic!("no {field} in {gap}")).parse().expect("a time")
}

fn succeeds(place: &Workplace, daemon: &Daemon, arguments: &[&str]) {
    let outcome = command(place, daemon, arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_monitor_that_an_operator_stops_or_puts_to_rest_has_a_gap_until_it_is_started_or_woken() {
    for (cause, state, to_it, back) in [
        ("rest", "resting", ["rest", "one"], ["wake", "one"]),
        ("stopped", "stopped", ["stop", "one"], ["start", "one"]),
    ] {
        let place = Workplace::new();
        let (_feed, settings) = one_monitor(&place);
        // Another one wants the same topic, so that it stays in force all the while.
        let settings = settings.monitor("other", "spot", "feed", &["btcusdt@trade"], "");
        let daemon = Daemon::start(&place, &settings);
        takes(&daemon, "one");
        takes(&daemon, "other");
        let before = jiff::Timestamp::now();
        succeeds(&place, &daemon, &[&["monitors"], &to_it[..]].concat());
        in_state(&daemon, "one", state);
        let opened = open(&place, "one");
        assert_eq!((&opened["cause"], &opened["topic"]), (&cause.into(), &"btcusdt@trade".into()), "{opened}");
        assert!(before <= time(&opened, "start"), "{opened}");
        takes(&daemon, "other");
        // It is chosen, so a kill and a start leave it as it is.
        daemon.kill();
        let daemon = Daemon::again(&place);
        takes(&daemon, "other");
        assert_eq!(open(&place, "one")["id"], opened["id"], "the same over a restart");
        let before = jiff::Timestamp::now();
        succeeds(&place, &daemon, &[&["monitors"], &back[..]].concat());
        let closed = over(&place, &opened);
        assert!(before <= time(&closed, "end") && closed["start"] == opened["start"], "{closed}");
        takes(&daemon, "one");
        assert!(gaps(&place, &["--monitor", "other", "--cause", cause]).is_empty(), "nobody else missed anything");
        daemon.stop();
    }
}

#[test]
fn a_circuit_that_an_operator_holds_open_closes_the_links_until_it_is_reset() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    let metric = |name: &str, labels: &[(&str, &str)]| daemon.metrics().value(name, labels);
    let open_links = || metric("sluice_links", &[("upstream", "feed"), ("state", "open")]);
    takes(&daemon, "one");
    until("the link is counted", || (open_links() == 1).then_some(()));
    succeeds(&place, &daemon, &["circuits", "open", "feed"]);
    let opened = open(&place, "one");
    assert_eq!(opened["cause"], "circuit_open", "{opened}");
    until("its link is closed", || (open_links() == 0).then_some(()));
    assert_eq!(metric("sluice_link_connects_total", &[("upstream", "feed")]), 1, "nobody has asked the upstream again");
    succeeds(&place, &daemon, &["circuits", "reset", "feed"]);
    let closed = over(&place, &opened);
    assert!(time(&closed, "start") < time(&closed, "end"), "{closed}");
    takes(&daemon, "one");
    assert_eq!(metric("sluice_link_connects_total", &[("upstream", "feed")]), 2);
    assert_eq!(metric("sluice_link_failures_total", &[("upstream", "feed")]), 0, "it is no failure");
    assert_eq!(gaps(&place, &[]).len(), 1);
    daemon.stop();
}

#[test]
fn an_upstream_whose_address_changes_is_opened_anew_and_what_that_costs_is_a_gap() {
    let place = Workplace::new();
    let (first, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    let second = Feed::start(&place, &["--dialect", "binance", "--rate", "300"]);
    let text = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    place.write("sluice.toml", text.replace(first.url(), second.url()));
    daemon.signal(Signal::HUP);
    let gap = until("the gap is over", || {
        gaps(&place, &["--cause", "handover"]).into_iter().find(|gap| gap["end"].is_string())
    });
    assert_eq!((&gap["monitor"], &gap["upstream"]), (&"one".into(), &"feed".into()));
    assert!(time(&gap, "start") < time(&gap, "end"), "{gap}");
    takes(&daemon, "one");
    first.stop();
    takes(&daemon, "one");
    assert_eq!(gaps(&place, &[]).len(), 1, "there is no other");
    daemon.stop();
    second.stop();
}

/// What is usual is learned in twenty seconds with messages, and silence is twenty-four times as long: no test can be quicker.
#[test]
fn a_link_that_is_wholly_silent_is_given_up_and_the_gap_of_each_topic_begins_with_what_came_last() {
    const LEARNED: Duration = Duration::from_secs(50);
    const SILENT: Duration = Duration::from_mins(1);
    let runtime = Runtime::new().unwrap();
    let settings = SimulatorSettings { rate: 100, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(settings)).unwrap();
    let place = Workplace::new();
    let topics = ["btcusdt@trade", "ethusdt@trade"];
    let settings = Settings::new()
        .with("silence_min = \"1s\"\nhealth_check_interval = \"1s\"")
        .upstream("feed", "binance", &feed.url())
        .monitor("m", "d", "feed", &topics, "");
    let daemon = Daemon::start(&place, &settings);
    let events = || daemon.monitors()["m"]["events"].as_u64().unwrap();
    until_within(LEARNED, "what is usual is learned", || (events() > 23 * 100).then_some(()));
    assert!(gaps(&place, &[]).is_empty());
    feed.set_faults(Faults { silent_after: Some(0), ..Faults::default() }).unwrap();
    until("it has gone silent", || (feed.figures().silenced > 0).then_some(()));
    // The next connection brings all.
    feed.set_faults(Faults::default()).unwrap();
    let silent = until("the last is durable", || Some(query(&place, &[])).filter(|all| all.len() as u64 == events()));
    let closed = until_within(SILENT, "it is found, and its topics come again", || {
        Some(gaps(&place, &[])).filter(|gaps| gaps.len() == 2 && gaps.iter().all(|gap| gap["end"].is_string()))
    });
    for (topic, gap) in topics.iter().zip(&closed) {
        assert_eq!((&gap["topic"], &gap["cause"]), (&(*topic).into(), &"silence".into()), "{gap}");
        let last = silent.iter().rfind(|event| event.topic == *topic).unwrap();
        let last: jiff::Timestamp = last.received_time.parse().unwrap();
        let early = last.duration_since(time(gap, "start"));
        assert!(early.as_millis() >= 0, "what was missed behind the last message is in the gap: {last} {gap}");
        assert!(early.as_secs() < 10, "and little that was not: {last} {gap}");
    }
    takes(&daemon, "m");
    let failures = daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", "silence")]);
    assert_eq!(failures, 1);
    daemon.stop();
}

#[test]
fn a_monitor_that_changes_upstreams_has_a_gap_until_it_is_in_force_there() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let elsewhere = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let settings = settings.upstream("elsewhere", "binance", elsewhere.url()).monitor(
        "other",
        "spot",
        "elsewhere",
        &["ethusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    let before = jiff::Timestamp::now();
    succeeds(&place, &daemon, &["config", "set", "monitors.one.upstream", "elsewhere"]);
    takes(&daemon, "one");
    let gap = until("the span between is in the ledger", || gaps(&place, &["--monitor", "one"]).pop());
    let gap = over(&place, &gap);
    assert_eq!((&gap["cause"], &gap["upstream"]), (&"handover".into(), &"elsewhere".into()), "{gap}");
    assert!(before <= time(&gap, "start") && time(&gap, "start") <= time(&gap, "end"), "{gap}");
    daemon.stop();
}
