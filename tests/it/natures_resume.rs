//! Feeds that can be taken up again are, link after link and after a crash: nothing is lost and nothing twice. Those that cannot
//! say so in the ledger.

use std::collections::HashSet;

use serde_json::Value;
use sluice::simulator::{Running, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::processes::{Daemon, Settings, json, until};
use super::support::Workplace;

struct Feed {
    runtime: Runtime,
    running: Running,
}

impl Feed {
    /// Makes events of `topic`, if there is one, whether or not anybody listens.
    fn start(dialect: SimulatedDialect, topic: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let settings = SimulatorSettings { rate: 200, made_max: 100_000, ..SimulatorSettings::synthetic(dialect) };
        let topics = Some(topic.to_owned()).filter(|topic| !topic.is_empty()).into_iter().collect();
        let settings = SimulatorSettings { topics, ..settings };
        let running = runtime.block_on(Simulator::start(settings)).unwrap();
        Self { runtime, running }
    }

    /// Ids of the events of a topic, in the order in which they were made.
    fn made(&self, topic: &str) -> Vec<String> {
        self.running.made().into_iter().filter(|made| &*made.topic == topic).map(|made| made.id).collect()
    }

    fn accepted(&self) -> u64 {
        self.running.figures().accepted
    }

    fn stop(self) {
        self.runtime.block_on(self.running.stop()).unwrap();
    }
}

/// Ids in the journal, without what stands before and behind the feed's own.
fn journaled(place: &Workplace, own: fn(&str) -> &str) -> Vec<String> {
    let text = json(place, &["query", "--monitor", "m"]);
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        own(event["id"].as_str().expect("an id")).to_owned()
    };
    text.lines().map(id).collect()
}

/// Whether a dialect goes on from a place that it was told, or is sent again what it has not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    ByReceipts,
}

/// A feed that is to be taken up again: what the daemon and the simulator call its dialect and its topic.
struct Resumed {
    dialect: SimulatedDialect,
    preset: &'static str,
    topic: &'static str,
    made_topic: &'static str,
    event: &'static str,
    own: fn(&str) -> &str,
    goes: Goes,
}

impl Resumed {
    fn new(dialect: SimulatedDialect, topic: &'static str) -> Self {
        let (preset, made_topic, own) = (dialect.name(), topic, (|id| id) as fn(&str) -> &str);
        Self { dialect, preset, topic, made_topic, event: "", own, goes: Goes::On }
    }
}

/// Links are broken again and again, and the daemon dies once; then all that was made since the first event is there, once.
fn nothing_is_lost_or_doubled(resumed: &Resumed) {
    let Resumed { dialect, preset, topic, made_topic, event, own, goes } = *resumed;
    let place = Workplace::new();
    let feed = Feed::start(dialect, made_topic);
    let settings = Settings::new().upstream("feed", preset, &feed.running.url());
    settings.monitor("m", "d", "feed", &[topic], event).write(&place);
    let mut daemon = Daemon::again(&place);
    for round in 0..4 {
        let before = journaled(&place, own).len();
        until("events are durable", || (journaled(&place, own).len() > before + 40).then_some(()));
        let accepted = feed.accepted();
        if round == 2 {
            daemon.kill();
            // What comes while nobody is there.
            let made = feed.made(made_topic).len();
            until("more is made", || (feed.made(made_topic).len() > made + 40).then_some(()));
            daemon = Daemon::again(&place);
        } else {
            feed.running.break_connections();
        }
        until("it is there again", || (feed.accepted() > accepted).then_some(()));
    }
    let before = journaled(&place, own).len();
    until("it goes on", || (journaled(&place, own).len() > before + 40).then_some(()));
    feed.running.pause(true);
    let made = feed.made(made_topic);
    let newest = made.last().unwrap().clone();
    until("the last event is durable", || journaled(&place, own).contains(&newest).then_some(()));
    daemon.stop();
    let journaled = journaled(&place, own);
    let distinct: HashSet<&String> = journaled.iter().collect();
    assert_eq!(distinct.len(), journaled.len(), "an event is there twice");
    let first = made.iter().position(|id| *id == journaled[0]).expect("an event that was made");
    let lost: Vec<&String> = made[first..].iter().filter(|id| !distinct.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {:?}", lost.len(), made.len() - first, &lost[..lost.len().min(5)]);
    let gaps: Vec<Value> = serde_json::from_str(&json(&place, &["gaps"])).unwrap();
    let over: Vec<&Value> = gaps.iter().filter(|gap| !gap["end"].is_null()).collect();
    assert!(over.len() >= 4, "{gaps:?}");
    assert!(goes == Goes::ByReceipts || over.iter().all(|gap| gap["filled"] == "resumed"), "{gaps:?}");
    feed.stop();
}

#[test]
fn a_nostr_relay_goes_on_from_the_newest_event_less_an_overlap() {
    let made_topic = r#"{"kinds":[1]}"#;
    nothing_is_lost_or_doubled(&Resumed { made_topic, ..Resumed::new(SimulatedDialect::Nostr, "kinds=1") });
}

#[test]
fn jetstream_goes_on_from_its_cursor_less_an_overlap() {
    fn own(id: &str) -> &str {
        id.rsplit(':').nth(1).unwrap()
    }
    nothing_is_lost_or_doubled(&Resumed { own, ..Resumed::new(SimulatedDialect::Jetstream, "app.bsky.feed.post") });
}

#[test]
fn a_binary_stream_of_the_at_protocol_goes_on_from_its_sequence() {
    nothing_is_lost_or_doubled(&Resumed::new(SimulatedDialect::Atproto, "*"));
}

#[test]
fn server_sent_events_go_on_behind_the_last_id() {
    let made_topic = "v2/stream/recentchange";
    nothing_is_lost_or_doubled(&Resumed {
        preset: "wikimedia",
        made_topic,
        ..Resumed::new(SimulatedDialect::Sse, "recentchange")
    });
}

#[test]
fn an_mqtt_broker_sends_again_what_was_not_acknowledged_and_what_came_meanwhile() {
    let event = "event = { payload = \"/payload\", id = \"/payload/n\" }";
    let goes = Goes::ByReceipts;
    nothing_is_lost_or_doubled(&Resumed { event, goes, ..Resumed::new(SimulatedDialect::Mqtt, "plant/#") });
}

#[test]
fn a_consumer_of_nats_delivers_again_what_was_not_acknowledged_and_what_came_meanwhile() {
    let event = "event = { payload = \"/payload\", id = \"/sequence\" }";
    let goes = Goes::ByReceipts;
    nothing_is_lost_or_doubled(&Resumed { event, goes, ..Resumed::new(SimulatedDialect::Nats, "deliver.plant") });
}

#[test]
fn what_cannot_be_taken_up_again_is_asked_for_anew_and_its_gap_stays_open() {
    for (dialect, topic, event) in [
        (SimulatedDialect::Graphql, "subscription { tick { i } }", "event = { id = \"/payload/data/tick/i\" }"),
        (SimulatedDialect::Mastodon, "hashtag:rust", ""),
    ] {
        let place = Workplace::new();
        let feed = Feed::start(dialect, topic);
        let settings = Settings::new().upstream("feed", dialect.name(), &feed.running.url()).monitor(
            "m",
            "d",
            "feed",
            &[topic],
            event,
        );
        let daemon = Daemon::start(&place, &settings);
        let count = || json(&place, &["query", "--monitor", "m"]).lines().count();
        until("events are durable", || (count() > 20).then_some(()));
        feed.running.break_connections();
        until("it is there again", || (feed.accepted() > 1).then_some(()));
        let before = count();
        until("it goes on", || (count() > before + 20).then_some(()));
        let gaps: Vec<Value> = serde_json::from_str(&json(&place, &["gaps", "--cause", "disconnect"])).unwrap();
        assert_eq!(gaps.len(), 1, "{dialect}: {gaps:?}");
        assert!(!gaps[0]["end"].is_null() && gaps[0]["filled"].is_null(), "{dialect}: {gaps:?}");
        assert_eq!(daemon.metrics().value("sluice_conflicts_total", &[]), 0);
        daemon.stop();
        feed.stop();
    }
}

/// Quiet topics are in force all the same, where the upstream gives a sign of it.
#[test]
fn topics_that_bring_nothing_are_known_to_be_in_force() {
    for (dialect, topics) in [
        (SimulatedDialect::Nostr, ["kinds=1", "kinds=7"]),
        (SimulatedDialect::Jetstream, ["app.bsky.feed.post", "app.bsky.feed.like"]),
        (SimulatedDialect::Graphql, ["subscription { a { i } }", "subscription { b { i } }"]),
        (SimulatedDialect::Atproto, ["#commit", "#sync"]),
    ] {
        let place = Workplace::new();
        let feed = Feed::start(dialect, "");
        feed.running.pause(true);
        let settings = Settings::new()
            .with("[upstreams.feed.pool]\nconfirm_timeout = \"10m\"")
            .upstream("feed", dialect.name(), &feed.running.url())
            .monitor("m", "d", "feed", &topics, "event = { key = \"/id\" }");
        let daemon = Daemon::start(&place, &settings);
        until("both are in force", || (daemon.monitors()["m"]["topics"] == "2/2").then_some(()));
        daemon.stop();
        feed.stop();
    }
}
