//! What the daemon does about an upstream that keeps failing, and about a feed that says nothing: it is left alone and probed, and
//! it is asked for anew.

use std::time::Duration;

use super::fault_proxy::{Door, FaultProxy, Plan};
use super::processes::{Daemon, Feed, Settings, query, until};
use super::support::Workplace;

const UPSTREAM: [(&str, &str); 2] = [("kind", "upstream"), ("name", "feed")];

/// Three links that come back at once where nothing holds them up.
fn three_links(proxy: &FaultProxy, feed: &Feed) -> Settings {
    Settings::new()
        .upstream("feed", "kraken", &proxy.url(feed.url()))
        .with("topics_per_link = 1")
        .with("[upstreams.feed.pool]\nmin_connections = 3\nmax_connections = 3\nbackoff_min = \"5ms\"\nbackoff_max = \"20ms\"")
        .monitor("m", "d", "feed", &["trade:BTC/USD", "trade:ETH/USD", "trade:SOL/USD"], "")
}

/// Whether all of the monitor's topics are in force.
fn live(daemon: &Daemon) -> bool {
    daemon.monitors()["m"]["topics"] == "3/3"
}

#[test]
fn an_upstream_that_keeps_refusing_is_tried_by_one_probe_at_a_time_ever_less_often_whatever_the_number_of_links() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "500"]);
    let proxy = FaultProxy::start(feed.url());
    let daemon = Daemon::start(&place, &three_links(&proxy, &feed));
    until("all topics are in force", || live(&daemon).then_some(()));
    proxy.set_door(Door::Refuses);
    proxy.reset_all();
    until("the circuit has opened a third time", || daemon.log().matches("circuit open again").nth(1).map(drop));
    let came = proxy.came();
    // Five in a row open it, and those that were under way then; from then on each probe comes by itself.
    let waits: Vec<Duration> = came.windows(2).map(|two| two[1] - two[0]).collect();
    let [.., before_the_first, before_the_second] = waits[..] else { panic!("{waits:?}") };
    // A second with jitter down to half of it, then twice as long; the proxy's clock may be late by a little.
    assert!(before_the_first > Duration::from_millis(450), "{waits:?}");
    assert!(before_the_second > Duration::from_millis(950), "{waits:?}");
    assert!(came.len() <= 3 + 5 + 3 + 2, "{} attempts", came.len());
    proxy.pass();
    until("all topics are in force again", || live(&daemon).then_some(()));
    daemon.stop();
    feed.stop();
}

#[test]
fn an_upstream_of_which_half_of_the_connections_fail_is_left_alone_for_a_while_too() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "500"]);
    let proxy = FaultProxy::start(feed.url());
    // Every other one is reset before it says a word; the others some frames later.
    for connection in 1..200 {
        proxy.set_for(connection, Plan::ResetAfter(if connection % 2 == 0 { 0 } else { 1000 }));
    }
    let daemon = Daemon::start(&place, &three_links(&proxy, &feed));
    until("it opens", || (daemon.metrics().value("sluice_circuit_openings_total", &UPSTREAM) >= 1).then_some(()));
    assert!(daemon.log().contains("half of the last calls failed"), "{}", daemon.log());
    until("it is probed", || daemon.log().contains("circuit half open").then_some(()));
    let waits: Vec<Duration> = proxy.came().windows(2).map(|two| two[1] - two[0]).collect();
    assert!(waits.iter().any(|wait| *wait > Duration::from_millis(450)), "nobody came while it was open: {waits:?}");
    proxy.pass();
    until("all topics are in force", || live(&daemon).then_some(()));
    daemon.stop();
    feed.stop();
}

/// What is usual is learned in twenty seconds with messages, and silence is twenty-four times as long: no test can be quicker.
#[test]
fn a_topic_that_falls_silent_while_others_flow_and_pings_are_answered_is_asked_for_anew_and_the_gap_says_so() {
    let place = Workplace::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut settings = sluice::simulator::SimulatorSettings::synthetic(sluice::simulator::SimulatedDialect::Kraken);
    settings.topics = vec!["trade:BTC/USD".to_owned(), "trade:ETH/USD".to_owned()];
    let running = runtime.block_on(sluice::simulator::Simulator::start(settings)).unwrap();
    let settings = Settings::new()
        .with("silence_min = \"1s\"")
        .upstream("feed", "kraken", &running.url())
        .monitor("loud", "d", "feed", &["trade:BTC/USD"], "")
        .monitor("hushed", "d", "feed", &["trade:ETH/USD"], "");
    let daemon = Daemon::start(&place, &settings);
    let events = |monitor: &str| daemon.monitors()[monitor]["events"].as_u64().unwrap();
    patiently("its pace is learned", || events("hushed") > 22 * 50);
    let mute = vec!["trade:ETH/USD".to_owned()];
    running.set_faults(sluice::simulator::Faults { mute, ..Default::default() }).unwrap();
    until("it is mute", || (running.figures().silenced == 1).then_some(()));
    // Whoever asks anew gets it.
    running.set_faults(sluice::simulator::Faults::default()).unwrap();
    let (hushed, loud) = (events("hushed"), events("loud"));
    patiently("it comes again", || events("hushed") > hushed + 100);
    assert!(events("loud") > loud + 500, "the other topic flowed");
    daemon.stop();
    let gaps = query(&place, &["--domain", "_sluice", "--monitor", "gaps"]);
    let gap = gaps.iter().find(|gap| gap.payload.get().contains("\"silence\"")).expect("a gap of that cause");
    let gap: serde_json::Value = serde_json::from_str(gap.payload.get()).unwrap();
    assert_eq!((&gap["monitor"], &gap["topic"]), (&"hushed".into(), &"trade:ETH/USD".into()), "{gap}");
    let time = |text: &serde_json::Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&gap["end"]).duration_since(time(&gap["start"])).as_secs() >= 10, "from its last message on: {gap}");
    runtime.block_on(running.stop()).unwrap();
}

fn patiently(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited a minute in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
