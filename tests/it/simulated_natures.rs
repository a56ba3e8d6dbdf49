//! The simulator as a provider that is no plain WebSocket feed of texts: whatever it says that it sent arrives once, through the
//! binaries on both sides, though it repeats, drops, changes the order and sends what cannot be read.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::processes::{Account, Daemon, Feed, Settings, accounts, figure, json, query, until};
use super::support::Workplace;

/// What a provider is asked to do wrong. Bad frames are not of those that can be read, but for their id.
const FAULTS: [&str; 8] = ["--repeats", "0.05", "--disorder", "0.05", "--drop", "0.03", "--bad-frames", "0.02"];
const ENOUGH: usize = 400;

/// What came of a run.
struct Run {
    /// Ids of what was sent as it should be, repeats among it.
    sent: HashSet<String>,
    /// Ids of what was not sent.
    dropped: HashSet<String>,
    /// Bad frames by kind.
    bad: BTreeMap<String, u64>,
    account: Account,
    /// What could not be read and has no monitor.
    strange: Account,
    place: Workplace,
}

/// Lets a daemon read a simulator with faults, until enough is durable; then the simulator ends, and what it has sent is waited for.
fn run(dialect: &str, monitor: impl Fn(Settings, &str) -> Settings) -> Run {
    let place = Workplace::new();
    let common = ["--dialect", dialect, "--rate", "400", "--seed", "11", "--ledger", "ledger.jsonl"];
    let feed = Feed::start(&place, &[&common[..], &FAULTS].concat());
    let daemon = Daemon::start(&place, &monitor(Settings::new(), feed.url()));
    until("enough is durable", || (query(&place, &["--monitor", "m"]).len() >= ENOUGH).then_some(()));
    let figures = feed.stop();
    assert_eq!(figure(&figures, "events not written to the ledger"), 0, "{figures}");
    let ledger = std::fs::read_to_string(place.path("ledger.jsonl")).unwrap();
    let (mut sent, mut dropped, mut bad) = (HashSet::new(), HashSet::new(), BTreeMap::new());
    for line in ledger.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let id = entry["id"].as_str().unwrap().to_owned();
        match entry["fault"].as_str() {
            None | Some("repeat" | "disorder") => _ = sent.insert(id),
            Some("dropped") => _ = dropped.insert(id),
            Some(kind) => *bad.entry(kind.to_owned()).or_insert(0) += 1,
        }
    }
    assert!(!dropped.is_empty() && !bad.is_empty(), "{figures}");
    let ids = || -> Vec<String> {
        query(&place, &["--monitor", "m"]).into_iter().map(|event| event.id.unwrap_or_default()).collect()
    };
    until("what was sent is durable", || {
        let there: HashSet<String> = ids().into_iter().collect();
        sent.is_subset(&there).then_some(())
    });
    daemon.stop();
    let mut times = BTreeMap::new();
    for id in ids() {
        *times.entry(id).or_insert(0) += 1;
    }
    for id in &sent {
        assert_eq!(times.get(id), Some(&1), "{dialect}: {id}");
    }
    let of = accounts(&place);
    let gaps: Vec<Value> = serde_json::from_str(&json(&place, &["gaps"])).unwrap();
    assert!(gaps.iter().all(|gap| gap["cause"] != "silence"), "{gaps:?}");
    Run { sent, dropped, bad, account: of["m"], strange: of.get("upstream:feed").copied().unwrap_or_default(), place }
}

impl Run {
    /// What was dropped is not there, but where a provider sends again what is not acknowledged.
    fn assert_dropped_is_missing(&self) {
        let ids = query(&self.place, &["--monitor", "m"]).into_iter().filter_map(|event| event.id);
        let there: HashSet<String> = ids.collect();
        let only_dropped: Vec<&String> = self.dropped.difference(&self.sent).filter(|id| there.contains(*id)).collect();
        assert!(only_dropped.is_empty(), "{only_dropped:?}");
    }
}

impl Run {
    /// What a broker carries need not be JSON: it is an event all the same. What is JSON must fit the rule.
    fn assert_any_payload_is_kept(&self) {
        let bad: u64 = self.bad.values().sum();
        let odd = self.bad.get("changed_id").copied().unwrap_or(0);
        assert_eq!(self.account.events, self.sent.len() as u64 + bad - odd, "{:?} {:?}", self.account, self.bad);
        assert_eq!((self.account.quarantined, self.strange.quarantined), (odd, 0), "{:?}", self.account);
    }
}

/// Stands in ids that are objects.
const ODD: &str = "was";

/// Ids that are objects are ids too, with the object's text.
fn odd_ids(run: &Run) -> u64 {
    let odd = query(&run.place, &["--monitor", "m"]).into_iter().filter(|event| {
        let id = event.id.as_deref().unwrap_or_default();
        id.is_empty() || id.contains(ODD)
    });
    odd.count() as u64
}

#[test]
fn all_that_a_simulated_stream_of_server_sent_events_has_arrives_once() {
    let run = run("sse", |settings, url| {
        settings.upstream("feed", "wikimedia", url).monitor("m", "d", "feed", &["recentchange"], "")
    });
    run.assert_dropped_is_missing();
    let unreadable: u64 = run.bad.values().sum();
    assert_eq!(run.account.quarantined + odd_ids(&run), unreadable, "{:?} {:?}", run.account, run.bad);
    assert_eq!(run.account.events, run.sent.len() as u64 + odd_ids(&run), "{:?}", run.account);
    assert_eq!(run.strange.quarantined, 0);
}

#[test]
fn all_that_a_simulated_endpoint_shows_to_polls_arrives_once() {
    let run = run("poll", |settings, url| {
        settings.with("[dialects.list]\nkind = \"poll\"\ninterval = \"100ms\"").upstream("feed", "list", url).monitor(
            "m",
            "d",
            "feed",
            &["trades?symbol=X"],
            "event = { each = \"/items\", id = \"/id\", time = \"/time\" }",
        )
    });
    run.assert_dropped_is_missing();
    assert!(run.account.repeats > 0 && run.account.quarantined > 0, "{:?}", run.account);
    assert_eq!(run.account.events, run.sent.len() as u64 + odd_ids(&run), "{:?}", run.account);
}

#[test]
fn all_changes_of_a_simulated_core_arrive_once_over_tcp_over_websocket_and_when_polled() {
    for (scheme, dialect) in [("tcp", "qsys"), ("ws", "qsys"), ("tcp", "asked")] {
        let run = run("qsys", |settings, url| {
            settings
                .with("[dialects.asked]\nkind = \"qsys\"\npoll = true\nrate = \"100ms\"\nlimits = { send_interval = \"0s\" }")
                .upstream("feed", dialect, &url.replace("tcp:", &format!("{scheme}:")))
                .monitor("m", "d", "feed", &["Main Gain", "Mixer/gain"], "event = { id = [\"/Value\"], key = \"/Name\" }")
        });
        run.assert_dropped_is_missing();
        // A frame that cannot be read is of no control.
        let unreadable: u64 = run.bad.values().sum();
        let kept = run.account.quarantined + run.strange.quarantined;
        assert_eq!(kept + odd_ids(&run), unreadable, "{scheme} {dialect}: {:?} {:?}", run.account, run.bad);
    }
}

#[test]
fn all_that_a_simulated_mqtt_broker_sends_arrives_once() {
    let run = run("mqtt", |settings, url| {
        settings.upstream("feed", "mqtt", url).monitor(
            "m",
            "d",
            "feed",
            &["plant/+/temperature"],
            "event = [{ when = { \"/payload/n\" = true }, payload = \"/payload\", id = \"/payload/n\", key = \"/topic\" }, { key = \"/topic\" }]",
        )
    });
    run.assert_dropped_is_missing();
    run.assert_any_payload_is_kept();
    let keys: HashSet<String> = query(&run.place, &[]).into_iter().filter_map(|event| event.key).collect();
    assert!(
        keys.len() > 1 && keys.iter().all(|key| key.starts_with("plant/") && key.ends_with("/temperature")),
        "{keys:?}"
    );
}

#[test]
fn all_that_a_simulated_nats_server_sends_arrives_once() {
    let run = run("nats", |settings, url| {
        settings.upstream("feed", "nats", url).monitor(
            "m",
            "d",
            "feed",
            &["plant.*.temperature"],
            "event = [{ when = { \"/payload/n\" = true }, payload = \"/payload\", id = \"/payload/n\", key = \"/subject\" }, { key = \"/subject\" }]",
        )
    });
    run.assert_dropped_is_missing();
    run.assert_any_payload_is_kept();
}
