//! A monitor of two upstreams has each event once, from whichever brings it first, and goes on when one of them is gone.

use std::collections::BTreeSet;

use serde_json::Value;

use super::processes::{Daemon, Feed, Settings, accounts, json, query, until};
use super::support::Workplace;

const EVENT: &str = "event = { id = [\"/stream\", \"/data/t\"], sequence = \"/data/t\" }";

/// Two feeds that number their trades alike.
fn feeds(place: &Workplace) -> [Feed; 2] {
    [(); 2]
        .map(|()| Feed::start(place, &["--dialect", "binance", "--rate", "1000", "--first-id", "1000", "--seed", "9"]))
}

fn redundant([one, other]: &[Feed; 2], event: &str) -> Settings {
    Settings::new().upstream("one", "binance", one.url()).upstream("other", "binance", other.url()).with(&format!(
        "[monitors.m]\ndomain = \"d\"\nupstream = [\"one\", \"other\"]\ntopics = [\"btcusdt@trade\"]\n{event}"
    ))
}

/// Deliveries and wins of an upstream.
fn race(daemon: &Daemon, upstream: &str) -> [u64; 2] {
    let (status, body) = daemon.get("/api/v1/monitors");
    assert_eq!(status, 200, "{body}");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    let row = rows.iter().find(|row| row["name"] == "m" && row["upstream"] == upstream).expect("a row an upstream");
    ["deliveries", "wins"].map(|name| row["race"][name].as_u64().expect("a number"))
}

#[test]
fn what_two_upstreams_bring_is_journaled_once_and_when_one_is_killed_the_other_goes_on() {
    let place = Workplace::new();
    let both = feeds(&place);
    let daemon = Daemon::start(&place, &redundant(&both, EVENT));
    until("both bring the same, and one of them late", || {
        let [one, other] = ["one", "other"].map(|upstream| race(&daemon, upstream));
        (one[0] > 1000 && other[0] > 1000 && one[0] + other[0] > one[1] + other[1] + 500).then_some(())
    });
    let [one, other] = both;
    one.kill();
    let before = race(&daemon, "other");
    until("the other one goes on and wins", || (race(&daemon, "other")[1] > before[1] + 1000).then_some(()));
    let metrics = daemon.metrics();
    for upstream in ["one", "other"] {
        let labels = [("monitor", "m"), ("upstream", upstream)];
        assert!(metrics.0.contains("sluice_upstream_wins_total{"), "{}", metrics.0);
        assert!(metrics.value("sluice_upstream_wins_total", &labels) <= race(&daemon, upstream)[1]);
    }
    daemon.stop();
    other.stop();

    let ids: Vec<u64> = query(&place, &["--monitor", "m"])
        .iter()
        .map(|event| event.id.as_deref().unwrap().rsplit(':').next().unwrap().parse().unwrap())
        .collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "nothing twice");
    let (first, last) = (ids[0], distinct.last().unwrap());
    let missing: Vec<u64> = (first..*last).filter(|id| !distinct.contains(id)).collect();
    let gaps: Vec<Value> = serde_json::from_str(&json(&place, &["gaps", "--cause", "sequence"])).unwrap();
    assert!(missing.is_empty() && gaps.is_empty(), "nothing lost: {missing:?} {gaps:?}");
    let account = accounts(&place)["m"];
    assert!(account.adds_up() && account.repeats > 500, "{account:?}");
}

#[test]
fn a_monitor_without_ids_cannot_have_two_upstreams_and_is_told_why() {
    let place = Workplace::new();
    let feeds = ["one", "other"]
        .into_iter()
        .fold(Settings::new(), |settings, name| settings.upstream(name, "binance", "ws://127.0.0.1:9/stream"));
    let monitor = "[monitors.m]\ndomain = \"d\"\nupstream = [\"one\", \"other\"]\ntopics = [\"btcusdt@trade\"]";
    let settings = feeds.with(monitor).with("event = { key = \"/data/s\" }");
    settings.write(&place);
    let outcome = place.run(["config", "check", "--config", "sluice.toml"]);
    assert_ne!(outcome.code, Some(0), "{}", outcome.stdout);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("several upstreams") && said.contains("no `id`"), "{said}");
}
