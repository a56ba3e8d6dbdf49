//! What networks do to a connection, one fault at a time, by a proxy of our own: no part of a message becomes an event, nothing
//! hangs, and other links do not notice.

use std::collections::BTreeSet;

use tokio_tungstenite::tungstenite::Message;

use super::fault_proxy::{Door, FaultProxy, Flip, Plan, Way};
use super::processes::{Account, Daemon, Feed, Settings, accounts, json, quarantined, query, until};
use super::raw_upstream::{Manner, RawUpstream};
use super::support::Workplace;

/// As short as pauses and deadlines may be, so that much happens in little time.
const QUICK: &str = "[upstreams.feed.limits]\nconnects = { count = 4096, per = \"1s\" }\nsend_interval = \"10ms\"\n\
    [upstreams.feed.pool]\nbackoff_min = \"1ms\"\nbackoff_max = \"5ms\"\nhealth_check_interval = \"100ms\"\n\
    pong_timeout = \"300ms\"\nconnect_timeout = \"500ms\"\nhandshake_timeout = \"500ms\"";

/// A trade of `x@trade` whose frame has a header of four bytes.
fn trade(id: usize) -> String {
    let pad = "1".repeat(60);
    format!(
        "{{\"stream\":\"x@trade\",\"data\":{{\"e\":\"trade\",\"E\":1700000000000,\"s\":\"X\",\"t\":{id},\"p\":\"{pad}\"}}}}"
    )
}

/// The first and the second trade of a connection; all have ids of seven digits.
fn trades_of(connection: usize) -> [usize; 2] {
    [1_000_000 + connection, 2_000_000 + connection]
}

/// Each connection gets two trades of its own.
fn two_trades_each() -> RawUpstream {
    RawUpstream::start(Manner::Acknowledges, |connection| {
        trades_of(connection).map(|id| Message::text(trade(id))).to_vec()
    })
}

/// A daemon that watches `x@trade` through a proxy.
fn watch(place: &Workplace, proxy: &FaultProxy, server: &str) -> Daemon {
    watch_with(place, proxy, server, QUICK)
}

/// As [`watch`], with these settings of the pool. A breaker would only make hundreds of losses in a row take long.
fn watch_with(place: &Workplace, proxy: &FaultProxy, server: &str, pool: &str) -> Daemon {
    let settings = Settings::new()
        .with("[fault_tolerance]\nenabled = false")
        .upstream("feed", "binance", &proxy.url(server))
        .with(pool)
        .monitor("m", "d", "feed", &["x@trade"], "");
    Daemon::start(place, &settings)
}

fn failures(daemon: &Daemon) -> u64 {
    daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed")])
}

/// The ids in the journal; each payload is what was sent under that id, to the byte, and none is there twice.
fn whole_trades(place: &Workplace) -> BTreeSet<usize> {
    let mut ids = BTreeSet::new();
    for event in query(place, &["--monitor", "m"]) {
        let id: usize = event.id.as_deref().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        assert_eq!(event.payload.get(), trade(id), "as it was sent");
        assert!(ids.insert(id), "{id} is there twice");
    }
    ids
}

#[test]
fn a_reset_at_any_byte_of_a_frame_leaves_no_part_of_an_event_and_the_link_comes_back() {
    let frame = 4 + trade(1_000_000).len();
    let upstream = two_trades_each();
    let proxy = FaultProxy::start(&upstream.url());
    let place = Workplace::new();
    // No pings: their answers would be bytes too.
    let pool = "[upstreams.feed.limits]\nconnects = { count = 4096, per = \"1s\" }\n\
        [upstreams.feed.pool]\nbackoff_min = \"1ms\"\nbackoff_max = \"5ms\"";
    let daemon = watch_with(&place, &proxy, &upstream.url(), pool);
    until("the first connection's trades come", || (daemon.frames("feed") == 3).then_some(()));
    // Every connection gets as much: the answers to the handshake and to the request, and two frames.
    let before_frames = proxy.done().bytes_to_clients - 2 * frame as u64;
    // Behind each byte of a frame, and behind the whole of the next one.
    let points: Vec<usize> = (0..=frame + 1).chain([2 * frame]).collect();
    let resets = points.len();
    for (connection, passed) in (2..).zip(&points) {
        proxy.set_for(connection, Plan::ResetAfter(before_frames + *passed as u64));
    }
    proxy.reset_all();
    until("every connection was reset, and the next one stays", || {
        let monitors = daemon.monitors();
        (failures(&daemon) > resets as u64 && monitors["m"]["state"] == "live").then_some(())
    });
    until("its trades come", || {
        let events = daemon.monitors()["m"]["events"].as_u64().unwrap();
        let whole = 2 + 3 + 1 + 2;
        (events >= whole).then_some(())
    });
    assert_eq!(failures(&daemon), 1 + resets as u64, "one link is lost a reset");
    let log = daemon.stop();
    assert!(log.contains("Connection reset") || log.contains("reset"), "{log}");
    assert_eq!(proxy.done().resets, 1 + resets as u64);
    assert!(quarantined(&place).is_empty(), "half of a frame is none");
    let mut wanted = BTreeSet::from(trades_of(1));
    wanted.extend(trades_of(2 + resets));
    for (connection, passed) in (2..).zip(points) {
        let [first, second] = trades_of(connection);
        wanted.extend((passed >= frame).then_some(first));
        wanted.extend((passed >= 2 * frame).then_some(second));
    }
    assert_eq!(whole_trades(&place), wanted);
    assert!(accounts(&place).values().all(Account::adds_up));
}

#[test]
fn a_flipped_bit_in_a_frame_costs_its_link_and_never_becomes_an_event() {
    // The header's 32 bits one after the other, then the payload.
    const FLIPS: u32 = 33;
    let upstream = two_trades_each();
    let proxy = FaultProxy::start(&upstream.url());
    for number in 0..FLIPS {
        let flip = if number < 32 { Flip::Header(number) } else { Flip::Payload };
        // Behind the acknowledgement, which is the first frame.
        proxy.set_for(u64::from(number) + 1, Plan::CorruptFrame(2, flip));
    }
    let place = Workplace::new();
    let daemon = watch(&place, &proxy, &upstream.url());
    until("the connection after them all brings its trades", || {
        let last = proxy.done().connections > u64::from(FLIPS);
        (last && daemon.monitors()["m"]["events"].as_u64() >= Some(2)).then_some(())
    });
    assert_eq!(failures(&daemon), u64::from(FLIPS), "each costs one link");
    daemon.stop();
    assert_eq!(proxy.done().corrupted, u64::from(FLIPS));
    assert_eq!(whole_trades(&place), BTreeSet::from(trades_of(FLIPS as usize + 1)), "nothing of the spoilt ones");
    assert!(!quarantined(&place).is_empty(), "what could not be read is put aside");
    assert!(accounts(&place).values().all(Account::adds_up));
}

#[test]
fn frames_that_come_twice_are_one_event_each() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let proxy = FaultProxy::start(feed.url());
    proxy.set(Plan::Duplicate(1));
    let daemon = watch(&place, &proxy, feed.url());
    until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(200)).then_some(()));
    daemon.stop();
    let account = accounts(&place)["m"];
    assert!(account.adds_up() && account.quarantined == 0, "{account:?}");
    // The last one's repeat may not have come.
    assert!(account.events - account.repeats <= 1, "{account:?}");
    let ids: Vec<_> = query(&place, &["--monitor", "m"]).into_iter().map(|event| event.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    feed.stop();
}

/// Two links to the same upstream, a topic on each.
fn two_links(proxy: &FaultProxy, server: &str, pool: &str) -> Settings {
    Settings::new()
        .upstream("feed", "binance", &proxy.url(server))
        .with("topics_per_link = 1")
        .with(pool)
        .with("min_connections = 2\nmax_connections = 2")
        .monitor("a", "d", "feed", &["btcusdt@trade"], "")
        .monitor("b", "d", "feed", &["ethusdt@trade"], "")
}

#[test]
fn a_connection_that_stands_still_is_given_up_by_its_ping_and_its_topics_come_back_while_others_flow() {
    for way in [Way::Both, Way::ToClient, Way::ToServer] {
        let place = Workplace::new();
        let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
        let proxy = FaultProxy::start(feed.url());
        let daemon = Daemon::start(&place, &two_links(&proxy, feed.url(), QUICK));
        let live = || daemon.monitors().values().all(|row| row["state"] == "live");
        let events = |monitor: &str| daemon.monitors()[monitor]["events"].as_u64().unwrap();
        until("both topics have events", || (live() && events("a") > 0 && events("b") > 0).then_some(()));
        proxy.set_for(1, Plan::Stall(way));
        until("the ping is missed", || {
            let missed = [("upstream", "feed"), ("cause", "pong")];
            (daemon.metrics().value("sluice_link_failures_total", &missed) >= 1).then_some(())
        });
        let (a, b) = (events("a"), events("b"));
        until("both go on", || (live() && events("a") > a + 50 && events("b") > b + 50).then_some(()));
        assert_eq!(failures(&daemon), 1, "{way:?}: the other link was not touched");
        daemon.stop();
        feed.stop();
        let gaps = json(&place, &["query", "--domain", "_sluice", "--monitor", "gaps"]);
        assert_eq!(gaps.lines().count(), 1, "{way:?}: of the topic that stood still: {gaps}");
        assert!(proxy.done().stalls >= 1);
    }
}

#[test]
fn the_topics_of_a_connection_that_is_given_up_move_to_another_link_though_no_new_one_comes_about() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "500"]);
    let proxy = FaultProxy::start(feed.url());
    let settings = Settings::new()
        .upstream("feed", "kraken", &proxy.url(feed.url()))
        // Pings and requests share what Kraken takes, ten frames a second.
        .with("[upstreams.feed.pool]\nhealth_check_interval = \"200ms\"\npong_timeout = \"1s\"\nbackoff_min = \"50ms\"")
        .with("min_connections = 2\nmax_connections = 2")
        .monitor("a", "d", "feed", &["trade:BTC/USD", "trade:SOL/USD"], "")
        .monitor("b", "d", "feed", &["trade:ETH/USD", "trade:XRP/USD"], "");
    let daemon = Daemon::start(&place, &settings);
    let live = || daemon.monitors().values().all(|row| row["topics"] == "2/2");
    let events = |monitor: &str| daemon.monitors()[monitor]["events"].as_u64().unwrap();
    until("all topics have events", || (live() && events("a") > 20 && events("b") > 20).then_some(()));
    proxy.set_door(Door::Refuses);
    proxy.set_for(1, Plan::Stall(Way::Both));
    until("the ping is missed", || (failures(&daemon) >= 1).then_some(()));
    until("all are in force again", || live().then_some(()));
    let (a, b) = (events("a"), events("b"));
    until("and flow", || (events("a") > a + 100 && events("b") > b + 100).then_some(()));
    assert_eq!(proxy.done().connections - proxy.done().refused, 2, "over the link that is left");
    daemon.stop();
    feed.stop();
}

#[test]
fn a_connection_that_trickles_holds_up_no_other_one() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let proxy = FaultProxy::start(feed.url());
    let daemon = Daemon::start(&place, &two_links(&proxy, feed.url(), "[upstreams.feed.pool]"));
    let events = || ["a", "b"].map(|monitor| daemon.monitors()[monitor]["events"].as_u64().unwrap());
    until("both topics have events", || events().iter().all(|events| *events > 0).then_some(()));
    // Which topic is on this connection, the pool decides. It is a message a second.
    proxy.set_for(1, Plan::Trickle(200));
    let before = events();
    let gained = until("the other link flows", || {
        let now = events();
        let gained = [now[0] - before[0], now[1] - before[1]];
        gained.iter().any(|gained| *gained > 500).then_some(gained)
    });
    assert!(gained.iter().any(|gained| *gained < 250), "a trickle is one: {gained:?}");
    assert!(proxy.done().trickled_bytes > 0);
    proxy.pass();
    until("the slow one catches up", || {
        let now = events();
        (now[0] > before[0] + 500 && now[1] > before[1] + 500).then_some(())
    });
    assert_eq!(failures(&daemon), 0, "slow is not dead");
    daemon.stop();
    feed.stop();
}

#[test]
fn a_connection_that_is_silent_but_answers_pings_holds_up_no_other_one() {
    let place = Workplace::new();
    let silent = Feed::start(&place, &["--dialect", "binance", "--rate", "500", "--silent-after", "20"]);
    let feed = Feed::start(&place, &["--dialect", "okx", "--rate", "500"]);
    let settings = Settings::new()
        .upstream("feed", "binance", silent.url())
        .with(QUICK)
        .monitor("m", "d", "feed", &["x@trade"], "")
        .upstream("good", "okx", feed.url())
        .monitor("fine", "d", "good", &["trades:BTC-USDT"], "");
    let daemon = Daemon::start(&place, &settings);
    let events = |monitor: &str| daemon.monitors()[monitor]["events"].as_u64().unwrap();
    until("it has said all it says", || (events("m") >= 20).then_some(()));
    let before = events("fine");
    until("the other upstream flows", || (events("fine") > before + 500).then_some(()));
    assert_eq!(daemon.metrics().value("sluice_link_failures_total", &[("upstream", "good")]), 0);
    daemon.stop();
}

#[test]
fn messages_that_are_delayed_come_late_whole_and_in_order() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let proxy = FaultProxy::start(feed.url());
    proxy.set(Plan::Delay(std::time::Duration::from_millis(60)));
    let daemon = watch_with(&place, &proxy, feed.url(), "[upstreams.feed.pool]");
    until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(200)).then_some(()));
    assert_eq!(failures(&daemon), 0, "late is not lost");
    daemon.stop();
    feed.stop();
    assert!(proxy.done().delayed_pieces > 3);
    let events = query(&place, &["--monitor", "m"]);
    let ids: Vec<u64> =
        events.iter().map(|event| event.id.as_deref().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a + 1 == *b), "none is missing: {ids:?}");
    for event in &events {
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let late = time(&event.received_time).duration_since(time(event.event_time.as_deref().unwrap()));
        assert!(late.as_millis() >= 58, "{late:?}");
    }
}

#[test]
fn an_upstream_that_accepts_and_never_answers_or_resets_at_once_is_given_up_in_time_and_tried_again() {
    for (door, cause) in [(Door::Blackhole, "timeout"), (Door::Refuses, "connect")] {
        let place = Workplace::new();
        let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
        let proxy = FaultProxy::start(feed.url());
        proxy.set_door(door);
        let daemon = watch(&place, &proxy, feed.url());
        until("it is given up three times", || {
            let of_cause = [("upstream", "feed"), ("cause", cause)];
            (daemon.metrics().value("sluice_link_failures_total", &of_cause) >= 3).then_some(())
        });
        assert!(
            daemon.monitors()["m"]["error"].as_str().is_some_and(|error| !error.is_empty()),
            "{door:?}: it is shown"
        );
        proxy.pass();
        until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(10)).then_some(()));
        let log = daemon.stop();
        assert!(door != Door::Blackhole || log.contains("handshake took longer than 500ms"), "{log}");
        let done = proxy.done();
        assert!(done.refused + done.blackholed >= 3, "{done:?}");
    }
}
