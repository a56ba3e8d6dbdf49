//! Monitors on the legacy path, and on their way between the two: what each message costs, and that none is lost or taken twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use sluice::rollout::choice::place as place_of;
use sluice::simulator::{Faults, Made, Running, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::ledger::mark_of;
use super::processes::{Account, Daemon, Settings, accounts, json as printed, query, until, until_within};
use super::support::{Outcome, Workplace};

/// Each event has an id, so that both paths may take a monitor while it changes.
pub(crate) const WITH_IDS: &str = "event = { id = [\"/stream\", \"/data/t\"], time = \"/data/E\" }";
/// None has.
const WITHOUT_IDS: &str = "event = { time = \"/data/E\" }";

/// Changing paths goes at the machine's pace: some builds of others may be going on beside.
const PATIENCE: Duration = Duration::from_mins(1);

const SYMBOLS: [&str; 8] = ["btcusdt", "ethusdt", "solusdt", "bnbusdt", "xrpusdt", "adausdt", "dogeusdt", "ltcusdt"];

/// Settings that say nothing of paths.
fn silent() -> Settings {
    Settings::of("[server]\nlisten = \"127.0.0.1:0\"\n".to_owned())
}

/// Settings with a monitor for each symbol, which begin with so much of them on the smart path.
pub(crate) fn monitors(url: &str, canary: f64, event: &str) -> Settings {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[smart_streaming]\nenabled = true\ncanary = {canary:?}\n\
         [pool]\nmin_connections = 1\nmax_connections = 2\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\n"
    );
    let settings = Settings::of(text).upstream("feed", "binance", url).with(
        "[upstreams.feed.limits]\nmessages = { count = 1000, per = \"1s\" }\nconnects = { count = 1000, per = \"1s\" }\nsend_interval = \"1ms\"",
    );
    SYMBOLS.iter().fold(settings, |settings, symbol| {
        settings.monitor(symbol, "spot", "feed", &[&format!("{symbol}@trade")], event)
    })
}

/// Who is on the smart path with a fraction.
fn chosen(fraction: f64) -> BTreeSet<String> {
    SYMBOLS.iter().filter(|symbol| place_of(symbol) < fraction).map(|symbol| (*symbol).to_owned()).collect()
}

/// Runs a command that asks the daemon.
pub(crate) fn ask(place: &Workplace, daemon: &Daemon, command: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(command.iter().copied().chain(["--config", "sluice.toml", "--set", &listen]))
}

fn set_canary(place: &Workplace, daemon: &Daemon, fraction: f64) {
    let outcome = ask(place, daemon, &["canary", "set", &fraction.to_string()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// Monitors by path, when none is on its way any more.
fn settled(daemon: &Daemon) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, row) in daemon.monitors() {
        if row.get("crossing_to").is_some() || row["state"] != "live" {
            return None;
        }
        paths.entry(row["path"].as_str()?.to_owned()).or_default().insert(name);
    }
    Some(paths)
}

/// Waits until the monitors of a fraction are on the smart path, and no others, and events go on to come of each.
pub(crate) fn wait_for(place: &Workplace, daemon: &Daemon, fraction: f64) {
    let wanted = chosen(fraction);
    until_within(PATIENCE, "monitors are on their paths", || {
        let paths = settled(daemon)?;
        (paths.get("smart").cloned().unwrap_or_default() == wanted).then_some(())
    });
    let counts = |place: &Workplace| -> BTreeMap<String, u64> {
        accounts(place).into_iter().map(|(name, account)| (name, account.events)).collect()
    };
    let before = counts(place);
    until_within(PATIENCE, "events of each go on", || {
        let now = counts(place);
        let count = |counts: &BTreeMap<String, u64>, symbol: &str| counts.get(symbol).copied().unwrap_or_default();
        SYMBOLS.iter().all(|symbol| count(&now, symbol) > count(&before, symbol) + 5).then_some(())
    });
}

pub(crate) fn simulator(runtime: &Runtime, rate: u64) -> Running {
    let settings =
        SimulatorSettings { rate, made_max: 1_000_000, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    runtime.block_on(Simulator::start(settings)).unwrap()
}

/// The ids of each monitor's events in the journal's order.
pub(crate) fn journaled(place: &Workplace) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in query(place, &["--domain", "spot"]) {
        let (topic, id, _) = mark_of(&event);
        ids.entry(topic).or_default().push(id);
    }
    ids
}

pub(crate) fn made(feed: &Running) -> BTreeMap<String, Vec<String>> {
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Made { topic, id, .. } in feed.made() {
        made.entry(topic.to_string()).or_default().push(id);
    }
    made
}

/// Of each topic every event from the first to the last that is in the journal is there, once.
pub(crate) fn assert_every_one_once(made: &BTreeMap<String, Vec<String>>, journaled: &BTreeMap<String, Vec<String>>) {
    assert_eq!(journaled.len(), SYMBOLS.len());
    for (topic, journaled) in journaled {
        let made = &made[topic];
        let places: BTreeMap<&String, usize> = made.iter().zip(0..).collect();
        let once: BTreeSet<usize> = journaled.iter().map(|id| places[id]).collect();
        assert_eq!(once.len(), journaled.len(), "{topic}: none comes twice");
        let (first, last) = (*once.first().unwrap(), *once.last().unwrap());
        let missing: Vec<&String> =
            (first..=last).filter(|place| !once.contains(place)).map(|place| &made[place]).collect();
        assert!(missing.is_empty(), "{topic}: from {first} to {last} there is not: {missing:?}");
    }
}

#[test]
fn where_nothing_is_said_each_monitor_has_a_connection_of_its_own_and_each_message_a_block() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, 200);
    let place = Workplace::new();
    let settings = silent()
        .upstream("feed", "binance", &feed.url())
        .monitor("a", "spot", "feed", &["btcusdt@trade"], WITH_IDS)
        .monitor("b", "spot", "feed", &["ethusdt@trade"], WITH_IDS)
        .monitor("c", "spot", "feed", &["btcusdt@trade"], WITH_IDS);
    let daemon = Daemon::start(&place, &settings);
    until("events of each", || {
        let accounts = accounts(&place);
        ["a", "b", "c"].iter().all(|name| accounts.get(*name).is_some_and(|account| account.events > 20)).then_some(())
    });
    let monitors = daemon.monitors();
    assert!(monitors.values().all(|row| row["path"] == "legacy"), "{monitors:?}");
    let pool: Value = serde_json::from_str(&daemon.get("/api/v1/pool").1).unwrap();
    let links: Vec<(&str, &str, u64)> = pool
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (row["path"].as_str().unwrap(), row["monitor"].as_str().unwrap(), row["links_open"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(links, [("legacy", "a", 1), ("legacy", "b", 1), ("legacy", "c", 1)]);
    let metrics = daemon.metrics();
    daemon.stop();
    let events = query(&place, &["--domain", "spot"]);
    assert!(events.iter().all(|event| event.path == "legacy"), "each event says its path");
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    // Links of the legacy path sync each message by itself, but those of several monitors may share a sync.
    let blocks = metrics.value("sluice_journal_blocks_total", &[]);
    let taken: u64 =
        ["a", "b", "c"].iter().map(|name| metrics.value("sluice_events_total", &[("monitor", name)])).sum();
    assert!(blocks >= taken.saturating_sub(3), "{blocks} blocks for {taken} messages");
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn the_legacy_path_journals_what_comes_again_and_keeps_blocks_uncompressed() {
    let runtime = Runtime::new().unwrap();
    let faults = Faults { repeats: 0.2, ..Faults::default() };
    let settings = SimulatorSettings { rate: 300, faults, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(settings)).unwrap();
    let place = Workplace::new();
    let settings =
        silent().upstream("feed", "binance", &feed.url()).monitor("a", "spot", "feed", &["btcusdt@trade"], WITH_IDS);
    let daemon = Daemon::start(&place, &settings);
    until("events", || (accounts(&place).get("a")?.events > 200).then_some(()));
    daemon.stop();
    let account = &accounts(&place)["a"];
    assert_eq!(account.repeats, 0, "{account:?}");
    let ids = &journaled(&place)["btcusdt@trade"];
    let once: BTreeSet<&String> = ids.iter().collect();
    assert!(once.len() + 10 < ids.len(), "{} of {} are new", once.len(), ids.len());
    let folder = place.path("data/journal");
    let text = std::fs::read_dir(folder).unwrap().filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
    let needle = b"\"stream\":\"btcusdt@trade\"";
    let found = text.map(|bytes| bytes.windows(needle.len()).filter(|window| window == needle).count()).sum::<usize>();
    assert!(found >= ids.len(), "{found} payloads of {} stand there as they came", ids.len());
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn monitors_go_to_the_smart_path_step_by_step_and_back_and_every_event_is_journaled_once() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, 400);
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &monitors(&feed.url(), 0.0, WITH_IDS));
    wait_for(&place, &daemon, 0.0);
    for fraction in [0.25, 0.5, 0.75, 1.0, 0.0] {
        set_canary(&place, &daemon, fraction);
        wait_for(&place, &daemon, fraction);
    }
    assert_eq!(printed(&place, &["gaps"]).trim(), "[]", "nothing was missed");
    daemon.stop();
    assert_every_one_once(&made(&feed), &journaled(&place));
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    let events = query(&place, &["--domain", "spot"]);
    for symbol in SYMBOLS {
        let paths: BTreeSet<&str> =
            events.iter().filter(|event| event.monitor == symbol).map(|event| &*event.path).collect();
        assert_eq!(paths, BTreeSet::from(["legacy", "smart"]), "{symbol} was on both");
    }
    let report = place.run(["--config", "sluice.toml", "canary", "report", "--output", "json"]);
    // Whether the smart path is so much quicker is no promise of this test.
    assert!(matches!(report.code, Some(0 | 1)), "{}", report.stderr);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let targets = report["targets"].as_array().expect("rows");
    assert!(targets.iter().any(|row| row["verdict"] == "met"), "{report}");
    assert!(targets.iter().all(|row| row["verdict"] != "not_met" || row["value"].is_string()), "{report}");
    let switched = query(&place, &["--domain", "_sluice", "--monitor", "paths"]);
    assert_eq!(switched.len(), 2 * SYMBOLS.len(), "each went there and back");
    for event in switched {
        let record: Value = serde_json::from_str(event.payload.get()).unwrap();
        assert!(record["handover"] == "overlap" && record["offset"].as_u64().is_some(), "{record}");
    }
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn events_without_ids_never_come_twice_over_a_change_of_paths_and_what_is_missed_is_a_gap() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, 400);
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &monitors(&feed.url(), 0.0, WITHOUT_IDS));
    wait_for(&place, &daemon, 0.0);
    for fraction in [0.5, 1.0, 0.0] {
        set_canary(&place, &daemon, fraction);
        wait_for(&place, &daemon, fraction);
    }
    daemon.stop();
    let gaps: Vec<Value> = serde_json::from_str(&printed(&place, &["gaps"])).unwrap();
    let handovers = gaps.iter().filter(|gap| gap["cause"] == "handover");
    let mut by_monitor: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for gap in handovers {
        let span = (gap["start"].as_str().unwrap(), gap["end"].as_str().expect("it is over"));
        by_monitor.entry(gap["monitor"].as_str().unwrap()).or_default().push(span);
    }
    assert_eq!(by_monitor.len(), SYMBOLS.len(), "{gaps:?}");
    assert!(by_monitor.values().all(|spans| spans.len() == 2), "there and back: {by_monitor:?}");
    let made = made(&feed);
    let mut received: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for event in query(&place, &["--domain", "spot"]) {
        let trade: Value = serde_json::from_str(event.payload.get()).unwrap();
        received
            .entry(event.topic.clone())
            .or_default()
            .push((trade["data"]["t"].to_string(), event.received_time.clone()));
    }
    for symbol in SYMBOLS {
        let topic = format!("{symbol}@trade");
        let (made, received) = (&made[&topic], &received[&topic]);
        let places: BTreeMap<&String, usize> = made.iter().zip(0..).collect();
        let mut last: Option<(usize, &String)> = None;
        for (id, at) in received {
            let place = places[id];
            if let Some((before, seen)) = last {
                assert!(place > before, "{topic}: {id} came twice, or behind what was made later");
                let missed = place > before + 1;
                let in_gap =
                    by_monitor[symbol].iter().any(|(start, end)| *start <= at.as_str() && *end >= seen.as_str());
                assert!(!missed || in_gap, "{topic}: between {seen} and {at} something is missing, and no gap says so");
            }
            last = Some((place, at));
        }
    }
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn a_daemon_that_dies_while_monitors_change_paths_goes_on_where_they_are_wanted_and_takes_nothing_twice() {
    let runtime = Runtime::new().unwrap();
    let feed = simulator(&runtime, 400);
    let place = Workplace::new();
    let mut daemon = Daemon::start(&place, &monitors(&feed.url(), 0.0, WITH_IDS));
    wait_for(&place, &daemon, 0.0);
    for fraction in [1.0, 0.5, 0.0, 0.75] {
        set_canary(&place, &daemon, fraction);
        // Wherever they are on their way.
        daemon.kill();
        daemon = Daemon::again(&place);
        wait_for(&place, &daemon, fraction);
    }
    daemon.stop();
    for (topic, ids) in journaled(&place) {
        let once: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(once.len(), ids.len(), "{topic}: none comes twice");
    }
    runtime.block_on(feed.stop()).unwrap();
}
