//! Promises of placement that moves: what becomes of the topics of a lost link, of a pool that grows and shrinks, and what is
//! missed meanwhile. What the simulator sent is compared with what the journal has, event by event.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use rustix::process::Signal;
use serde_json::Value;

use super::ledger::{ledger, mark_of};
use super::processes::{Daemon, Event, Feed, Settings, json, query, until};
use super::support::{Outcome, Workplace};

/// Between the daemon and a feed: connections can be cut, and new ones refused.
struct Relay {
    port: u16,
    doors: Arc<Mutex<Doors>>,
}

struct Doors {
    open: bool,
    /// In the order they came; both sides of each.
    connections: Vec<[TcpStream; 2]>,
}

impl Relay {
    fn start(feed: &Feed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let doors = Arc::new(Mutex::new(Doors { open: true, connections: Vec::new() }));
        let behind = feed.url().trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let shared = Arc::clone(&doors);
        thread::spawn(move || {
            for front in listener.incoming() {
                let front = front.unwrap();
                let mut doors = shared.lock().unwrap();
                if !doors.open {
                    continue;
                }
                let back = TcpStream::connect(&behind).unwrap();
                for (from, to) in [(&front, &back), (&back, &front)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        // Either side may be cut at any moment.
                        io::copy(&mut from, &mut to).ok();
                        to.shutdown(Shutdown::Both).ok();
                    });
                }
                doors.connections.push([front, back]);
            }
        });
        Self { port, doors }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/stream", self.port)
    }

    /// Cuts the connection with this number, from 0, and lets nobody in until [`Relay::open`].
    fn cut(&self, connection: usize) {
        let mut doors = self.doors.lock().unwrap();
        doors.open = false;
        for side in &doors.connections[connection] {
            // One side may have gone already.
            side.shutdown(Shutdown::Both).ok();
        }
    }

    fn open(&self) {
        self.doors.lock().unwrap().open = true;
    }
}

/// `sluice pool …` of the daemon.
fn command(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(["--config", "sluice.toml", "--set", &listen, "pool"].iter().chain(arguments))
}

/// The only pool there is, with its topics.
fn pool(daemon: &Daemon) -> Value {
    let (status, body) = daemon.get("/api/v1/pool?topics=true");
    assert_eq!(status, 200, "{body}");
    let mut rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(rows.len(), 1, "{body}");
    rows.remove(0)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

/// By topic the link that it is live on; none while one of them is not.
fn homes(pool: &Value) -> Option<BTreeMap<String, u64>> {
    let home = |topic: &Value| {
        (topic["state"] == "live").then_some((topic["topic"].as_str()?.to_owned(), topic["link"].as_u64()?))
    };
    array(&pool["topics"]).iter().map(home).collect()
}

/// Until all topics are live, and where they are is as wanted.
fn until_homes(daemon: &Daemon, what: &str, wanted: impl Fn(&BTreeMap<String, u64>) -> bool) -> BTreeMap<String, u64> {
    until(what, || homes(&pool(daemon)).filter(&wanted))
}

fn links_used(homes: &BTreeMap<String, u64>) -> usize {
    homes.values().collect::<HashSet<_>>().len()
}

/// Events of each of these go on coming.
fn events_come(daemon: &Daemon, topics: &[String]) {
    let counts = || -> HashMap<String, u64> {
        let pool = pool(daemon);
        let count = |topic: &Value| (topic["topic"].as_str().unwrap().to_owned(), topic["messages"].as_u64().unwrap());
        array(&pool["topics"]).iter().map(count).collect()
    };
    let before = counts();
    until("events of every topic come", || {
        let now = counts();
        topics.iter().all(|topic| now[topic] > before[topic] + 5).then_some(())
    });
}

fn topics(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}{number}usdt@trade")).collect()
}

fn as_strs(topics: &[String]) -> Vec<&str> {
    topics.iter().map(String::as_str).collect()
}

/// A span that was missed.
#[derive(Debug)]
struct Missed {
    cause: String,
    start: String,
    end: String,
}

fn gaps(place: &Workplace) -> HashMap<String, Vec<Missed>> {
    let mut gaps: HashMap<String, Vec<Missed>> = HashMap::new();
    for event in query(place, &["--domain", "_sluice", "--monitor", "gaps"]) {
        let gap: Value = serde_json::from_str(event.payload.get()).unwrap();
        let text = |field: &str| gap[field].as_str().unwrap_or_else(|| panic!("{field} of {gap}")).to_owned();
        let missed = Missed { cause: text("cause"), start: text("start"), end: text("end") };
        gaps.entry(text("topic")).or_default().push(missed);
    }
    gaps
}

/// Everything that was sent of a topic, up to the last event that the journal has, is there once, or falls into a gap.
fn assert_accounted_for(place: &Workplace, topics: &[String]) {
    let (sent, gaps) = (ledger(place), gaps(place));
    let events = query(place, &["--domain", "trading"]);
    for topic in topics {
        let mut have: HashMap<u32, &Event> = HashMap::new();
        for event in events.iter().filter(|event| event.topic == *topic) {
            let before = have.insert(mark_of(event).2, event);
            assert!(before.is_none(), "twice: {before:?} and {event:?}");
        }
        let mut known = HashSet::new();
        // The same event goes to every connection that is subscribed; the first of them made it.
        let sent: Vec<u32> =
            sent.iter().filter(|sent| sent.topic == *topic && known.insert(sent.crc)).map(|s| s.crc).collect();
        assert!(have.keys().all(|crc| known.contains(crc)), "{topic}: what was never sent");
        let last = sent.iter().rposition(|crc| have.contains_key(crc)).expect("events of each topic");
        let spans = gaps.get(topic).map(Vec::as_slice).unwrap_or_default();
        let mut before: Option<&Event> = None;
        let mut missing = false;
        for crc in &sent[..=last] {
            let Some(event) = have.get(crc) else {
                missing = true;
                continue;
            };
            if std::mem::take(&mut missing) {
                let after = |time: &str| before.is_none_or(|before| *before.received_time <= *time);
                let told = spans.iter().any(|gap| after(&gap.start) && gap.end <= event.received_time);
                assert!(told, "{topic}: missing between {before:?} and {event:?}, and no gap tells: {spans:?}");
            }
            before = Some(event);
        }
    }
}

fn causes(gaps: &HashMap<String, Vec<Missed>>, topic: &str) -> Vec<String> {
    gaps.get(topic).into_iter().flatten().map(|gap| gap.cause.clone()).collect()
}

#[test]
fn the_topics_of_a_lost_link_go_to_the_other_though_the_lost_one_cannot_come_back() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500", "--ledger", "ledger.jsonl"]);
    let relay = Relay::start(&feed);
    let watched = topics("s", 10);
    let settings = Settings::new()
        .upstream("feed", "binance", &relay.url())
        .with("[upstreams.feed.pool]\nmin_connections = 2\nmax_connections = 2")
        .monitor("m", "trading", "feed", &as_strs(&watched), "");
    let daemon = Daemon::start(&place, &settings);
    let before = until_homes(&daemon, "topics are on both links", |homes| homes.len() == 10 && links_used(homes) == 2);
    events_come(&daemon, &watched);

    relay.cut(0);
    let after = until_homes(&daemon, "all topics are live on one link", |homes| links_used(homes) == 1);
    let stayed = after.values().next().unwrap();
    let lost = 1 - stayed;
    events_come(&daemon, &watched);
    let row = until("the loss is shown", || {
        let row = pool(&daemon);
        (!row["links"][usize::try_from(lost).unwrap()]["last_error"].is_null()).then_some(row)
    });
    let link = |number: u64| &row["links"][usize::try_from(number).unwrap()];
    assert_eq!((&row["links_open"], &row["links_wanted"], &row["topics_placed"]), (&1.into(), &2.into(), &10.into()));
    assert_eq!((&link(*stayed)["state"], &link(*stayed)["topics"]), (&"open".into(), &10.into()));
    assert!(link(lost)["age_seconds"].is_null() && link(lost)["topics"] == 0, "{row}");

    let shown = command(&place, &daemon, &["--topics", "--upstream", "feed"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown.stdout.contains("s9usdt@trade") && shown.stdout.contains(&format!("feed link {lost}: ")),
        "{shown:?}"
    );
    let table = shown.stdout.lines().filter(|line| !line.contains(": "));
    assert!(table.clone().all(|line| line.chars().count() <= 100), "{}", shown.stdout);
    let told: Value = serde_json::from_str(&command(&place, &daemon, &["--output", "json"]).stdout).unwrap();
    assert_eq!(told[0]["links"].as_array().unwrap().len(), 2);
    assert!(told[0].get("topics").is_none(), "they were not asked for");
    let unknown = command(&place, &daemon, &["--upstream", "fed"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("no monitor watches an upstream `fed`"), "{unknown:?}");
    let metrics = daemon.metrics();
    let topics_of =
        |link: u64| metrics.value("sluice_link_topics", &[("upstream", "feed"), ("link", &link.to_string())]);
    until("metrics tell the same", || (topics_of(*stayed) + topics_of(lost) >= 10).then_some(()));

    relay.open();
    until_homes(&daemon, "the link that is back gets topics again", |homes| links_used(homes) == 2);
    daemon.stop();
    feed.stop();
    assert_accounted_for(&place, &watched);
    let gaps = gaps(&place);
    for (topic, home) in &before {
        let expected: &[&str] = if *home == lost { &["disconnect"] } else { &[] };
        assert_eq!(causes(&gaps, topic), expected, "{topic}; coming back is no gap");
    }
}

/// What makes a pool of at most two links grow soon, and shrink soon after nothing comes any more: a link's rate is a mean over some
/// ten seconds. Pings are far between, so that a feed that stands still for a while is not given up.
const LIVELY: &str = "[upstreams.feed.pool]\nmin_connections = 1\nmax_connections = 2\nlink_rate_max = 400\nshrink_after = \"1s\"\n\
                      health_check_interval = \"10m\"\npong_timeout = \"1m\"";

/// Acknowledgements come late, so that a topic is in force when its first event has come: each hand-over has one at least that
/// came over both links.
const LIVELY_FEED: [&str; 6] = ["--rate", "1000", "--ack-delay", "30s", "--ledger", "ledger.jsonl"];

/// Nothing comes until the pool shrinks; then it goes on.
fn pause_until_it_shrinks(feed: &Feed, daemon: &Daemon) {
    feed.signal(Signal::STOP);
    until("the pool shrinks", || daemon.log().contains("the pool shrinks").then_some(()));
    feed.signal(Signal::CONT);
}

#[test]
fn a_pool_grows_under_load_and_shrinks_again_and_topics_with_ids_lose_nothing_and_come_once() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &[&["--dialect", "binance"][..], &LIVELY_FEED].concat());
    let watched = topics("s", 8);
    let settings = Settings::new().upstream("feed", "binance", feed.url()).with(LIVELY).monitor(
        "m",
        "trading",
        "feed",
        &as_strs(&watched),
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until_homes(&daemon, "all are on the one link", |homes| homes.len() == 8 && links_used(homes) == 1);
    let grown = until_homes(&daemon, "the pool has grown", |homes| links_used(homes) == 2);
    assert_eq!((&pool(&daemon)["links_wanted"], &pool(&daemon)["links_max"]), (&2.into(), &2.into()));
    let moved = grown.values().filter(|link| **link == 1).count() as u64;
    events_come(&daemon, &watched);
    assert!(daemon.monitors()["m"]["repeats"].as_u64().unwrap() >= moved, "each came over both links for a while");

    pause_until_it_shrinks(&feed, &daemon);
    until("one link is left, with all topics", || {
        let pool = pool(&daemon);
        let alone = homes(&pool)?.values().all(|link| *link == 0);
        (alone && pool["links"][1]["state"] == "idle").then_some(())
    });
    events_come(&daemon, &watched);
    daemon.stop();
    feed.stop();
    assert_accounted_for(&place, &watched);
    assert!(gaps(&place).is_empty(), "{:?}", gaps(&place));
}

#[test]
fn topics_without_ids_change_links_with_a_recorded_gap_and_nothing_comes_twice() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &[&["--dialect", "binance"][..], &LIVELY_FEED].concat());
    let relay = Relay::start(&feed);
    let (plain, with_ids) = (topics("p", 2), topics("s", 6));
    let settings = Settings::new()
        .upstream("feed", "binance", &relay.url())
        .with(LIVELY)
        .monitor("plain", "trading", "feed", &as_strs(&plain), "event = { key = \"/stream\" }")
        .monitor("m", "trading", "feed", &as_strs(&with_ids), "");
    let daemon = Daemon::start(&place, &settings);
    let on = |homes: &BTreeMap<String, u64>, link: u64| plain.iter().all(|topic| homes[topic] == link);
    until_homes(&daemon, "the pool has grown", |homes| links_used(homes) == 2 && on(homes, 0));
    // Balance is not worth a gap; a loss brings them to the other link.
    relay.cut(0);
    until_homes(&daemon, "all topics are on the other link", |homes| homes.values().all(|link| *link == 1));
    relay.open();
    until_homes(&daemon, "the first link has topics again", |homes| links_used(homes) == 2 && on(homes, 1));

    pause_until_it_shrinks(&feed, &daemon);
    until_homes(&daemon, "all topics are on the first link", |homes| homes.values().all(|link| *link == 0));
    events_come(&daemon, &plain);
    daemon.stop();
    feed.stop();
    assert_accounted_for(&place, &[plain.clone(), with_ids.clone()].concat());
    let gaps = gaps(&place);
    for topic in &plain {
        assert_eq!(causes(&gaps, topic), ["disconnect", "handover"]);
    }
    assert!(with_ids.iter().all(|topic| !causes(&gaps, topic).contains(&"handover".to_owned())), "{gaps:?}");
}

#[test]
fn topics_without_ids_overlap_where_that_is_asked_for_and_their_events_are_marked() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &[&["--dialect", "binance"][..], &LIVELY_FEED].concat());
    let watched = topics("p", 4);
    let more = "event = { key = \"/stream\" }\nhandover = \"overlap\"";
    let settings = Settings::new().upstream("feed", "binance", feed.url()).with(LIVELY).monitor(
        "m",
        "trading",
        "feed",
        &as_strs(&watched),
        more,
    );
    let daemon = Daemon::start(&place, &settings);
    let grown = until_homes(&daemon, "the pool has grown", |homes| links_used(homes) == 2);
    events_come(&daemon, &watched);
    daemon.stop();
    feed.stop();
    assert!(gaps(&place).is_empty(), "{:?}", gaps(&place));

    let lines = json(&place, &["query", "--domain", "trading"]);
    let mut have: HashMap<(String, u32), Vec<bool>> = HashMap::new();
    for line in lines.lines() {
        let event: Event = serde_json::from_str(line).unwrap();
        let marked = serde_json::from_str::<Value>(line).unwrap()["handover"] == true;
        let (topic, _, crc) = mark_of(&event);
        have.entry((topic, crc)).or_default().push(marked);
    }
    for (event, marks) in &have {
        let twice = marks.len() == 2 && marks.contains(&true);
        assert!(marks.len() == 1 || twice, "what comes twice is marked: {event:?} {marks:?}");
    }
    let sent = ledger(&place);
    for (topic, link) in &grown {
        let marked = have.iter().filter(|((of, _), marks)| of == topic && marks.contains(&true)).count();
        assert_eq!(marked > 0, *link == 1, "{topic} on {link}: {marked} marked events");
        let of_topic: Vec<u32> = sent.iter().filter(|sent| sent.topic == *topic).map(|sent| sent.crc).collect();
        let is_there = |crc: &u32| have.contains_key(&(topic.clone(), *crc));
        let last = of_topic.iter().rposition(is_there).expect("events of each topic");
        assert!(of_topic[..=last].iter().all(is_there), "{topic}: something is missing");
    }
}

#[test]
fn an_emptied_link_of_an_upstream_that_closes_idle_links_is_closed() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &[&["--dialect", "coinbase"][..], &LIVELY_FEED].concat());
    let watched: Vec<String> = ["BTC", "ETH", "SOL", "ADA"].map(|coin| format!("matches:{coin}-USD")).into();
    let settings = Settings::new().upstream("feed", "coinbase", feed.url()).with(LIVELY).monitor(
        "m",
        "trading",
        "feed",
        &as_strs(&watched),
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until_homes(&daemon, "the pool has grown", |homes| links_used(homes) == 2);
    pause_until_it_shrinks(&feed, &daemon);
    let row = until("the emptied link is closed", || {
        let row = pool(&daemon);
        (row["links"][1]["state"] == "idle" && row["links"][1]["topics"] == 0).then_some(row)
    });
    assert!(row["links"][1]["last_error"].is_null(), "by us, not by the upstream: {row}");
    until_homes(&daemon, "all topics are on the first link", |homes| homes.values().all(|link| *link == 0));
    daemon.stop();
    feed.stop();
    assert!(gaps(&place).is_empty(), "{:?}", gaps(&place));
}
