//! A link that will be closed is replaced before it is, and topics with ids lose nothing and get nothing twice on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sluice::simulator::{Made, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::ledger::mark_of;
use super::processes::{Account, Daemon, Settings, accounts, json as printed, query, until};
use super::support::Workplace;

const TOPICS: [&str; 2] = ["btcusdt@trade", "ethusdt@trade"];

/// Each event has an id, so that topics are asked for on the new link before the old one lets them go.
const EVENT: &str = "event = { id = [\"/stream\", \"/data/t\"], time = \"/data/E\" }";

/// The ids of a monitor's events in the journal's order, by topic.
fn ids(place: &Workplace, monitor: &str) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in query(place, &["--monitor", monitor]) {
        let (topic, id, _) = mark_of(&event);
        ids.entry(topic).or_default().push(id);
    }
    ids
}

fn replaced(daemon: &Daemon, cause: &str) -> u64 {
    daemon.metrics().value("sluice_links_replaced_total", &[("upstream", "feed"), ("cause", cause)])
}

/// Nothing was missed, nothing failed, and the account adds up; then the daemon stops.
fn ends_without_a_loss(place: &Workplace, daemon: Daemon) {
    assert_eq!(printed(place, &["gaps"]).trim(), "[]", "nothing was missed");
    assert_eq!(daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed")]), 0, "{}", daemon.log());
    daemon.stop();
    let accounts = accounts(place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
}

#[test]
fn links_that_grow_too_old_are_replaced_and_every_event_that_was_made_is_journaled_once() {
    const REPLACED: u64 = 4;
    let runtime = Runtime::new().unwrap();
    let settings =
        SimulatorSettings { rate: 500, made_max: 1_000_000, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(settings)).unwrap();
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("feed", "binance", &feed.url())
        .with("[upstreams.feed.limits]\nmax_age = \"3s\"\nmax_age_margin = \"1500ms\"\nmessages = { count = 100, per = \"1s\" }\nsend_interval = \"1ms\"")
        .with("[upstreams.feed.pool]\nmin_connections = 1\nmax_connections = 2")
        .monitor("m", "trading", "feed", &TOPICS, EVENT);
    let daemon = Daemon::start(&place, &settings);
    until("links were replaced", || (replaced(&daemon, "age") >= REPLACED).then_some(()));
    let durable = || ids(&place, "m").values().map(Vec::len).min().unwrap_or(0);
    let before = durable();
    until("topics go on", || (durable() > before + 100).then_some(()));
    assert!(daemon.log().contains("the upstream closes links after 3s"), "{}", daemon.log());
    ends_without_a_loss(&place, daemon);
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Made { topic, id, .. } in feed.made() {
        made.entry(topic.to_string()).or_default().push(id);
    }
    let journaled = ids(&place, "m");
    assert_eq!(journaled.keys().collect::<Vec<_>>(), TOPICS);
    for (topic, journaled) in &journaled {
        let made = &made[topic];
        let once: BTreeSet<&String> = journaled.iter().collect();
        assert_eq!(once.len(), journaled.len(), "{topic}: none comes twice");
        let place_of = |wanted: &&String| made.iter().position(|id| id == *wanted).expect("it was made");
        let places: BTreeSet<usize> = once.iter().map(place_of).collect();
        let (first, last) = (*places.first().unwrap(), *places.last().unwrap());
        let missing: Vec<&String> =
            (first..=last).filter(|place| !places.contains(place)).map(|place| &made[place]).collect();
        assert!(missing.is_empty() && first == 0, "{topic}: from {first} to {last} there is not: {missing:?}");
    }
    runtime.block_on(feed.stop()).unwrap();
}

/// Binance with one stream, `x@trade`, of a thousand trades a second, which come to every connection that is subscribed. When told to
/// it says on the first connection that it will close it.
struct Announcer {
    runtime: Runtime,
    address: SocketAddr,
    announce: broadcast::Sender<()>,
    figures: Arc<Figures>,
}

#[derive(Default)]
struct Figures {
    /// Trades so far; also the last one's number.
    made: AtomicU64,
    connections: AtomicU64,
    /// Connections that the client has closed in order.
    closed: AtomicU64,
}

impl Announcer {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (announce, figures) = (broadcast::Sender::new(1), Arc::<Figures>::default());
        let (announced, counted) = (announce.clone(), Arc::clone(&figures));
        runtime.spawn(async move {
            let trades = broadcast::Sender::new(10_000);
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        // Nobody may be listening.
                        trades.send(counted.made.fetch_add(1, Ordering::SeqCst) + 1).ok();
                    }
                    accepted = listener.accept() => {
                        let is_first = counted.connections.fetch_add(1, Ordering::SeqCst) == 0;
                        let announced = is_first.then(|| announced.subscribe());
                        let connection = (accepted.expect("a connection").0, trades.subscribe(), announced);
                        connections.spawn(serve(connection, Arc::clone(&counted)));
                    }
                }
            }
        });
        Self { runtime, address, announce, figures }
    }

    fn count(&self, of: impl Fn(&Figures) -> &AtomicU64) -> u64 {
        of(&self.figures).load(Ordering::SeqCst)
    }
}

async fn serve(
    (stream, mut trades, mut announced): (TcpStream, broadcast::Receiver<u64>, Option<broadcast::Receiver<()>>),
    figures: Arc<Figures>,
) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let mut subscribed = false;
    loop {
        let announcement = async {
            match &mut announced {
                Some(announced) => announced.recv().await,
                None => std::future::pending().await,
            }
        };
        let sent = tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let request: Value = serde_json::from_str(&text).expect("requests are JSON");
                    subscribed = request["method"] == "SUBSCRIBE";
                    socket.send(Message::text(json!({"result": null, "id": request["id"]}).to_string())).await
                }
                Some(Ok(Message::Close(_))) => {
                    figures.closed.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Some(Ok(_)) => Ok(()),
                _ => return,
            },
            trade = trades.recv() => match trade {
                Ok(trade) if subscribed => socket.send(super::raw_upstream::trade(&trade.to_string())).await,
                Ok(_) => Ok(()),
                Err(error) => panic!("{error}"),
            },
            Ok(()) = announcement => {
                announced = None;
                socket.send(Message::text(r#"{"e":"serverShutdown","E":1770123456789}"#)).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

#[test]
fn a_link_whose_end_the_upstream_announces_is_replaced_before_it_comes_and_nothing_is_lost() {
    let feed = Announcer::start();
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("feed", "binance", &format!("ws://{}/stream", feed.address))
        .with("[upstreams.feed.pool]\nmin_connections = 1\nmax_connections = 2")
        .monitor("m", "trading", "feed", &["x@trade"], EVENT);
    let daemon = Daemon::start(&place, &settings);
    let durable = || ids(&place, "m").values().map(Vec::len).sum::<usize>();
    until("trades come", || (durable() > 100).then_some(()));
    feed.announce.send(()).unwrap();
    // The one in its place is only there until it is open again, and is left too.
    until("the link is left in order", || (feed.count(|of| &of.closed) >= 1).then_some(()));
    assert_eq!(replaced(&daemon, "announced"), 1);
    let before = durable();
    until("trades go on", || (durable() > before + 100).then_some(()));
    ends_without_a_loss(&place, daemon);
    let ids = ids(&place, "m").remove("x@trade").unwrap();
    let mut numbers: Vec<u64> = ids.iter().map(|id| id.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "each once, and none is missing");
    assert!(feed.count(|of| &of.connections) >= 2 && numbers.last() <= Some(&feed.count(|of| &of.made)));
    drop(feed.runtime);
}
