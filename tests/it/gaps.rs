//! Every span that was not seen is in the gap ledger, whatever became of the daemon meanwhile, and what share was seen is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::processes::{Daemon, Feed, Settings, json, query, stat, until};
use super::support::Workplace;

const TOPICS: [&str; 2] = ["btcusdt@trade", "ethusdt@trade"];

/// `sluice gaps` with more arguments.
fn gaps(place: &Workplace, more: &[&str]) -> Vec<Value> {
    serde_json::from_str(&json(place, &[&["gaps"], more].concat())).expect("a JSON array")
}

fn completeness(place: &Workplace, more: &[&str]) -> Value {
    serde_json::from_str(&json(place, &[&["gaps", "completeness"], more].concat())).expect("JSON")
}

fn text<'a>(gap: &'a Value, field: &str) -> &'a str {
    gap[field].as_str().unwrap_or_else(|| panic!("no {field} in {gap}"))
}

/// The topics of these.
fn topics(gaps: &[Value]) -> BTreeSet<&str> {
    gaps.iter().map(|gap| text(gap, "topic")).collect()
}

fn time(text: &str) -> i128 {
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_nanosecond()
}

/// A monitor `m` of both topics of `feed`.
fn watching(feed: &Feed) -> Settings {
    Settings::new().upstream("feed", "binance", feed.url()).monitor("m", "trading", "feed", &TOPICS, "")
}

fn live(daemon: &Daemon, monitor: &str) {
    until("it is live", || (daemon.monitors()[monitor]["state"] == "live").then_some(()));
}

/// That topics are watched is durable.
fn watched(place: &Workplace, count: usize) {
    until("that they are watched is durable", || {
        let watched = query(place, &["--domain", "_sluice", "--monitor", "coverage"]);
        let topics = watched.iter().filter_map(|event| {
            let record: Value = serde_json::from_str(event.payload.get()).unwrap();
            (record["record"] == "watched").then(|| record["topics"].as_array().unwrap().len())
        });
        (topics.sum::<usize>() >= count).then_some(())
    });
}

/// The port of a feed that is to come back.
fn port(feed: &Feed) -> String {
    feed.url().trim_start_matches("ws://").split('/').next().unwrap().to_owned()
}

fn back(place: &Workplace, port: &str) -> Feed {
    Feed::start(place, &["--dialect", "binance", "--rate", "200", "--listen", port])
}

#[test]
fn a_lost_feed_is_open_in_the_ledger_until_it_is_back() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let daemon = Daemon::start(&place, &watching(&feed));
    live(&daemon, "m");
    let port = port(&feed);
    feed.kill();
    let open = until("the gaps are durable", || {
        let open = gaps(&place, &["--open"]);
        (open.len() == 2).then_some(open)
    });
    assert_eq!(topics(&open), BTreeSet::from(TOPICS));
    assert!(open.iter().all(|gap| gap["cause"] == "disconnect" && gap["end"].is_null()), "{open:?}");
    assert!(gaps(&place, &["--open", "--topic", "another"]).is_empty());
    assert_eq!(gaps(&place, &["--topic", TOPICS[0], "--cause", "disconnect"]).len(), 1);
    let (status, body) = daemon.get("/api/v1/gaps?open=true&upstream=feed");
    let answer: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!((status, topics(&answer)), (200, BTreeSet::from(TOPICS)), "{body}");
    until("the metric says so", || {
        (daemon.metrics().value("sluice_gaps_open", &[("upstream", "feed")]) == 2).then_some(())
    });
    assert_eq!(stat(&place)["gaps"], 0, "none is over");

    let feed = back(&place, &port);
    until("the gaps are over", || (gaps(&place, &["--open"]).is_empty() && gaps(&place, &[]).len() == 2).then_some(()));
    let closed = gaps(&place, &["--unfilled"]);
    for gap in &closed {
        let same = open.iter().find(|before| before["topic"] == gap["topic"]).unwrap();
        assert_eq!((&same["id"], &same["start"]), (&gap["id"], &gap["start"]), "it is the same gap");
        assert!(time(text(gap, "end")) > time(text(gap, "start")), "{gap}");
    }
    until("the metric goes back", || {
        (daemon.metrics().value("sluice_gaps_open", &[("upstream", "feed")]) == 0).then_some(())
    });
    assert!(daemon.metrics().0.contains("sluice_gap_seconds_total{upstream=\"feed\",cause=\"disconnect\"}"));
    daemon.stop();
    feed.stop();
    assert_eq!(stat(&place)["gaps"], 2);
    assert!(gaps(&place, &["--unfilled", "--since", text(&closed[0], "end")]).len() >= 3, "and those of the stop");
    assert!(gaps(&place, &["--until", text(&closed[0], "start")]).is_empty());
}

#[test]
fn a_stop_opens_a_gap_of_what_was_in_force_and_the_next_start_ends_it() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let daemon = Daemon::start(&place, &watching(&feed));
    live(&daemon, "m");
    let before = jiff::Timestamp::now().as_nanosecond();
    daemon.stop();
    let after = jiff::Timestamp::now().as_nanosecond();
    let open = gaps(&place, &["--open"]);
    assert_eq!(topics(&open), BTreeSet::from(TOPICS), "durable before the process was gone");
    for gap in &open {
        assert_eq!(gap["cause"], "downtime");
        let start = time(text(gap, "start"));
        assert!(before <= start && start <= after, "{gap} between {before} and {after}");
    }
    let restarted = jiff::Timestamp::now().as_nanosecond();
    let daemon = Daemon::again(&place);
    until("the gaps are over", || gaps(&place, &["--open"]).is_empty().then_some(()));
    daemon.stop();
    let closed = gaps(&place, &["--cause", "downtime"]);
    let closed: Vec<&Value> = closed.iter().filter(|gap| !gap["end"].is_null()).collect();
    assert_eq!(closed.len(), 2, "{closed:?}");
    for gap in closed {
        assert!(time(text(gap, "end")) >= restarted, "{gap}");
        assert!(open.iter().any(|before| before["id"] == gap["id"] && before["start"] == gap["start"]), "{gap}");
    }
}

#[test]
fn after_kill_9_what_was_in_force_was_down_and_what_was_lost_before_goes_on() {
    let place = Workplace::new();
    let gone = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let stays = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let settings = watching(&gone).upstream("other", "binance", stays.url()).monitor(
        "other",
        "trading",
        "other",
        &["solusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    live(&daemon, "m");
    live(&daemon, "other");
    let port = port(&gone);
    gone.kill();
    let before = until("the gaps are durable", || {
        let open = gaps(&place, &["--open"]);
        (open.len() == 2).then_some(open)
    });
    daemon.kill();
    let events = query(&place, &["--monitor", "other"]);
    let last = time(&events.last().unwrap().received_time);

    let daemon = Daemon::again(&place);
    until("the other feed is back", || {
        gaps(&place, &["--monitor", "other", "--cause", "downtime"])
            .iter()
            .any(|gap| !gap["end"].is_null())
            .then_some(())
    });
    let down = &gaps(&place, &["--monitor", "other"])[0];
    assert!(time(text(down, "start")) <= last, "nothing that was durable last is claimed for seen: {down}");
    let still = gaps(&place, &["--open"]);
    let same = |one: &Value, other: &Value| {
        ["id", "monitor", "upstream", "topic", "cause", "start"].iter().all(|field| one[field] == other[field])
    };
    assert!(still.len() == 2 && before.iter().zip(&still).all(|(one, other)| same(one, other)), "{before:?} {still:?}");

    // The same again, and twice in a row: killed before anything was in force.
    daemon.kill();
    stays.kill();
    let daemon = Daemon::again(&place);
    let open = until("what was in force is down", || {
        let open = gaps(&place, &["--open"]);
        (open.len() == 3).then_some(open)
    });
    daemon.kill();
    let daemon = Daemon::again(&place);
    let feed = back(&place, &port);
    until("the first feed is back", || (gaps(&place, &["--open"]).len() == 1).then_some(()));
    daemon.stop();
    feed.stop();
    let all = gaps(&place, &["--monitor", "m"]);
    for gap in &before {
        let closed = all.iter().find(|other| other["id"] == gap["id"]).unwrap();
        assert!(same(gap, closed) && !closed["end"].is_null(), "over three starts it is one gap: {gap} {closed}");
    }
    let other = gaps(&place, &["--monitor", "other", "--open"]);
    assert!(other.len() == 1 && open.iter().any(|gap| same(gap, &other[0])), "{open:?} {other:?}");
    let ids: Vec<u64> = gaps(&place, &[]).iter().map(|gap| gap["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no number comes twice: {ids:?}");
}

#[test]
fn a_refused_topic_is_a_gap_that_goes_on_over_restarts() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "200", "--refuse", "trade:ETH/USD"]);
    let settings = Settings::new().upstream("feed", "kraken", feed.url()).monitor(
        "m",
        "trading",
        "feed",
        &["trade:BTC/USD", "trade:ETH/USD"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    let refused = until("the gap is durable", || gaps(&place, &["--open"]).first().cloned());
    assert_eq!((text(&refused, "topic"), text(&refused, "cause")), ("trade:ETH/USD", "refused"));
    until("the other is live", || (daemon.monitors()["m"]["topics"] == "1/2").then_some(()));
    daemon.stop();
    let daemon = Daemon::again(&place);
    until("the other is live again", || (gaps(&place, &["--open"]).len() == 1).then_some(()));
    let still = &gaps(&place, &["--open"])[0];
    assert_eq!(
        (&still["id"], &still["start"], &still["cause"]),
        (&refused["id"], &refused["start"], &refused["cause"])
    );
    daemon.stop();
}

#[test]
fn a_monitor_that_is_no_longer_in_the_settings_has_no_open_gap() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let settings = watching(&feed).monitor("leaves", "trading", "feed", &["solusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    live(&daemon, "m");
    live(&daemon, "leaves");
    daemon.stop();
    assert_eq!(gaps(&place, &["--open"]).len(), 3);
    let daemon = Daemon::start(&place, &watching(&feed));
    until("the gaps are over", || gaps(&place, &["--open"]).is_empty().then_some(()));
    daemon.stop();
    assert!(gaps(&place, &["--monitor", "leaves"]).is_empty(), "nobody wanted it while nobody read");
    let rows = completeness(&place, &["--monitor", "leaves"]);
    assert_eq!(rows["topics"][0]["completeness"], 1.0, "{rows}");
}

#[test]
fn completeness_is_the_time_seen_of_the_time_watched_and_the_sum_is_the_sum() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300", "--disconnect-every", "500ms"]);
    let daemon = Daemon::start(&place, &watching(&feed));
    until("there are gaps", || (gaps(&place, &[]).len() >= 6).then_some(()));
    daemon.stop();
    let daemon = Daemon::again(&place);
    until("it goes on", || gaps(&place, &["--open"]).is_empty().then_some(()));
    daemon.kill();
    feed.stop();

    let found = completeness(&place, &[]);
    let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
    for gap in gaps(&place, &[]) {
        *seconds.entry(text(&gap, "topic").to_owned()).or_default() += gap["seconds"].as_f64().unwrap();
    }
    let number = |row: &Value, field: &str| row[field].as_f64().unwrap_or_else(|| panic!("no {field} in {row}"));
    let near = |one: f64, other: f64| (one - other).abs() < 1e-6;
    let rows = found["topics"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{found}");
    for row in rows {
        let (watched, missed) = (number(row, "watched_seconds"), number(row, "gap_seconds"));
        assert!(0.0 < missed && missed < watched, "{row}");
        assert!(near(missed, seconds[text(row, "topic")]), "{row} {seconds:?}");
        assert!(near(number(row, "completeness"), (watched - missed) / watched), "{row}");
        assert!(near(number(row, "filled_seconds"), 0.0), "{row}");
    }
    let sum = |field: &str| rows.iter().map(|row| number(row, field)).sum::<f64>();
    let total = &found["total"];
    for field in ["watched_seconds", "gap_seconds", "gaps"] {
        assert!(near(number(total, field), sum(field)), "{field}: {found}");
    }
    assert!(near(number(total, "completeness"), 1.0 - sum("gap_seconds") / sum("watched_seconds")), "{found}");

    // The time of one gap alone, and nobody's.
    let gap = &gaps(&place, &[])[0];
    let within = completeness(
        &place,
        &["--since", text(gap, "start"), "--until", text(gap, "end"), "--topic", text(gap, "topic")],
    );
    assert!(number(&within["total"], "completeness") < 1e-6, "nothing was seen in a gap: {within}");
    assert_eq!(completeness(&place, &["--monitor", "nobody"])["topics"], Value::Array(Vec::new()));
}

#[test]
fn what_the_daemon_tells_of_gaps_is_what_the_journal_has() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200", "--disconnect-every", "400ms"]);
    let daemon = Daemon::start(&place, &watching(&feed));
    until("there are gaps", || (gaps(&place, &[]).len() >= 4).then_some(()));
    watched(&place, 2);
    let get = |path: &str| -> Value {
        let (status, body) = daemon.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let first = gaps(&place, &["--limit", "1000"]).remove(0);
    let told = get(&format!("/api/v1/gaps?topic={}", text(&first, "topic").replace('@', "%40")));
    assert!(told.as_array().unwrap().contains(&first), "{first} in {told}");
    assert_eq!(get("/api/v1/gaps?limit=1").as_array().unwrap().len(), 1);
    let share = get("/api/v1/gaps/completeness?monitor=m");
    assert!(
        share["topics"].as_array().unwrap().len() == 2 && share["total"]["completeness"].as_f64() < Some(1.0),
        "{share}"
    );
    let (status, body) = daemon.get("/api/v1/gaps?causes=disconnect");
    assert!(status == 400 && body.contains("`causes`") && body.contains("unfilled"), "{body}");
    daemon.stop();
}
