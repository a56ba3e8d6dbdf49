//! A new process takes over from the one that runs: nothing is lost or comes twice, HTTP answers all the while, and when it fails, the
//! old one goes on.

mod failing;
mod paths;
mod served;
mod succeeding;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use sluice::simulator::{Made, Running, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::processes::{Account, Daemon, Event, Settings, accounts, get, json, query, until};
use super::support::Workplace;

const TOPICS: [&str; 2] = ["btcusdt@trade", "ethusdt@trade"];

/// Each event has an id.
const WITH_IDS: &str = "event = { id = [\"/stream\", \"/data/t\"], time = \"/data/E\" }";

/// None has.
const WITHOUT_IDS: &str = "event = { time = \"/data/E\" }";

/// A feed under way, and settings that watch it.
struct Provider {
    runtime: Runtime,
    feed: Running,
}

impl Provider {
    fn start() -> Self {
        Self::at_rate(500)
    }

    /// With so many trades a second of each topic.
    fn at_rate(rate: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let settings =
            SimulatorSettings { rate, made_max: 1_000_000, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
        let feed = runtime.block_on(Simulator::start(settings)).unwrap();
        Self { runtime, feed }
    }

    fn settings(&self, event: &str) -> Settings {
        Settings::new()
            .upstream("feed", "binance", &self.feed.url())
            .with("[upstreams.feed.pool]\nmin_connections = 2\nmax_connections = 2")
            .monitor("m", "trading", "feed", &TOPICS, event)
    }

    /// Everything that was made, by topic, in order: its number, and when.
    fn made(&self) -> BTreeMap<String, Vec<(u64, i64)>> {
        let mut made: BTreeMap<String, Vec<(u64, i64)>> = BTreeMap::new();
        for Made { topic, id, at, .. } in self.feed.made() {
            made.entry(topic.to_string()).or_default().push((id.parse().unwrap(), at));
        }
        made
    }

    fn stop(self) {
        self.runtime.block_on(self.feed.stop()).unwrap();
    }
}

/// The number of a trade.
fn trade_of(event: &Event) -> u64 {
    let payload: Value = serde_json::from_str(event.payload.get()).unwrap();
    payload["data"]["t"].as_u64().unwrap_or_else(|| panic!("no trade: {payload}"))
}

/// The trades of monitor `m` in the journal's order, by topic.
fn journaled(place: &Workplace) -> BTreeMap<String, Vec<u64>> {
    let mut journaled: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in query(place, &["--monitor", "m"]) {
        journaled.entry(event.topic.clone()).or_default().push(trade_of(&event));
    }
    journaled
}

/// Waits until so many more trades of each topic are durable.
fn goes_on(place: &Workplace) {
    let durable = || journaled(place).values().map(Vec::len).min().unwrap_or(0);
    let before = durable();
    until("topics go on", || (durable() > before + 100).then_some(()));
}

fn no_trade_twice(place: &Workplace) {
    for (topic, trades) in journaled(place) {
        let once: BTreeSet<u64> = trades.iter().copied().collect();
        assert_eq!(once.len(), trades.len(), "{topic}: none comes twice");
    }
}

/// Of what the provider has made since the first connection, what is not in the journal: topic, number, when.
fn missing(place: &Workplace, made: &BTreeMap<String, Vec<(u64, i64)>>) -> Vec<(String, u64, i64)> {
    let journaled = journaled(place);
    assert_eq!(journaled.keys().collect::<Vec<_>>(), TOPICS);
    let mut missing = Vec::new();
    for (topic, trades) in journaled {
        let trades: BTreeSet<u64> = trades.into_iter().collect();
        let last = *trades.last().unwrap();
        let absent = made[&topic].iter().filter(|(trade, _)| *trade <= last && !trades.contains(trade));
        missing.extend(absent.map(|(trade, at)| (topic.clone(), *trade, *at)));
        assert!(trades.iter().all(|trade| made[&topic].iter().any(|(made, _)| made == trade)), "{topic}");
    }
    missing
}

fn gaps(place: &Workplace) -> Vec<Value> {
    serde_json::from_str(&json(place, &["gaps"])).expect("a JSON array")
}

fn adds_up(place: &Workplace) {
    let accounts = accounts(place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
}

fn take_over_command(place: &Workplace) -> Command {
    place.command(["run", "--config", "sluice.toml", "--take-over"])
}

/// A new process takes over; the old one has ended well, and its log is given too.
fn take_over(place: &Workplace, mut old: Daemon) -> (Daemon, String) {
    let new = Daemon::of(take_over_command(place));
    let status = old.end();
    let log = old.log();
    assert!(status.success(), "{status}: {log}\n{}", new.log());
    assert!(log.contains(&format!("process {} has taken over", new.id())), "{log}");
    assert!(!log.contains("panicked") && !new.log().contains("panicked"), "{log}\n{}", new.log());
    assert_eq!(new.address(), old.address(), "the same socket");
    (new, log)
}

/// Asks for health in a loop, until it is stopped.
struct Poller {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Poller {
    fn start(daemon: &Daemon) -> Self {
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (address, until, count) = (daemon.address().to_owned(), Arc::clone(&over), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut failed = Vec::new();
            while !until.load(Ordering::SeqCst) {
                match get(&address, "/v1/health/live") {
                    Ok((200, _)) => {}
                    Ok((status, body)) => failed.push(format!("{status}: {body}")),
                    Err(error) => failed.push(error.to_string()),
                }
                count.fetch_add(1, Ordering::SeqCst);
            }
            failed
        });
        Self { over, asked, thread }
    }

    /// Every request was answered.
    fn stop(self) {
        let before = self.asked.load(Ordering::SeqCst);
        until("it is asked still", || (self.asked.load(Ordering::SeqCst) > before + 3).then_some(()));
        self.over.store(true, Ordering::SeqCst);
        let failed = self.thread.join().unwrap();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// What the journal holds of take-overs, oldest first.
fn on_record(place: &Workplace) -> Vec<Value> {
    let events = query(place, &["--domain", "_sluice", "--monitor", "take_overs"]);
    events.iter().map(|event| serde_json::from_str(event.payload.get()).unwrap()).collect()
}
