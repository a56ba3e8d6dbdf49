//! What a feed's own numbers say did not come is in the gap ledger, to the message, and nothing else is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ledger::ledger;
use super::processes::{Daemon, Feed, Settings, figure, json, query, until};
use super::support::Workplace;

const TRADES: [&str; 3] = ["btcusdt@trade", "ethusdt@trade", "solusdt@trade"];

fn gaps(place: &Workplace, more: &[&str]) -> Vec<Value> {
    serde_json::from_str(&json(place, &[&["gaps"], more].concat())).expect("a JSON array")
}

/// The ids that a monitor's topics have in the journal, as numbers.
fn journaled(place: &Workplace, monitor: &str) -> BTreeMap<String, Vec<u64>> {
    let mut ids: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in query(place, &["--monitor", monitor]) {
        let id = event.id.as_deref().and_then(|id| id.rsplit(':').next()?.parse().ok()).expect("a trade has a number");
        ids.entry(event.topic).or_default().push(id);
    }
    ids
}

/// What lies behind the first that came, before the greatest, and did not come, by topic.
fn missing(ids: &BTreeMap<String, Vec<u64>>) -> BTreeMap<String, u64> {
    let missing = |ids: &Vec<u64>| {
        let came = ids.iter().filter(|id| **id >= ids[0]).count() as u64;
        ids.iter().max().unwrap() + 1 - ids[0] - came
    };
    ids.iter().map(|(topic, ids)| (topic.clone(), missing(ids))).collect()
}

fn told(gaps: &[Value]) -> BTreeMap<String, u64> {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for gap in gaps {
        *told.entry(gap["topic"].as_str().unwrap().to_owned()).or_default() += gap["missing"].as_u64().unwrap_or(0);
    }
    told
}

/// The feed first, so that all that it sent is read. What it says of itself.
fn stop(place: &Workplace, feed: Feed, daemon: Daemon) -> String {
    let figures = feed.stop();
    until("the link is lost, and all of it read", || (!gaps(place, &["--open"]).is_empty()).then_some(()));
    daemon.stop();
    figures
}

#[test]
fn the_ledger_has_exactly_as_many_messages_as_the_feed_dropped_whatever_the_order_they_came_in() {
    let place = Workplace::new();
    let faults =
        ["--drop", "0.03", "--repeats", "0.05", "--disorder", "0.05", "--seed", "7", "--ledger", "ledger.jsonl"];
    let feed = Feed::start(&place, &[&["--dialect", "binance", "--rate", "3000"][..], &faults].concat());
    let more = "event = { id = [\"/stream\", \"/data/t\"], sequence = \"/data/t\" }";
    let settings = Settings::new().upstream("feed", "binance", feed.url()).monitor("m", "d", "feed", &TRADES, more);
    let daemon = Daemon::start(&place, &settings);
    until("much has come, and some was missed for long enough", || {
        let missed = daemon.metrics().value("sluice_sequence_missing_total", &[("monitor", "m")]);
        (daemon.frames("feed") > 15_000 && missed > 0).then_some(())
    });
    let (status, body) = daemon.get("/api/v1/sequences");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!((status, rows.len()), (200, TRADES.len()), "{body}");
    for row in &rows {
        let [expected, seen, missing] = ["expected", "seen", "missing"].map(|name| row[name].as_u64().unwrap());
        assert!(seen > 1000 && missing > 0 && expected == seen + missing, "{row}");
    }
    let figures = stop(&place, feed, daemon);
    assert!(figure(&figures, "dropped") > 100 && figure(&figures, "out of order") > 100, "{figures}");

    let ids = journaled(&place, "m");
    let missing = missing(&ids);
    let sequence = gaps(&place, &["--cause", "sequence"]);
    assert_eq!(told(&sequence), missing, "by the journal itself");
    let sent = ledger(&place);
    for (topic, ids) in &ids {
        let span = ids[0]..=*ids.iter().max().unwrap();
        let dropped = sent.iter().filter(|sent| sent.topic == *topic && sent.fault.as_deref() == Some("dropped"));
        let dropped = dropped.filter(|sent| span.contains(&sent.id.parse().unwrap())).count();
        assert_eq!(dropped as u64, missing[topic], "{topic}: by the feed's word");
    }
    for gap in &sequence {
        assert!(gap["start"].as_str().unwrap() <= gap["end"].as_str().unwrap(), "{gap}");
    }
}

#[test]
fn a_feed_that_drops_nothing_has_no_gap_of_its_sequence_whatever_the_order_and_however_often_it_comes() {
    let place = Workplace::new();
    let faults = ["--repeats", "0.1", "--disorder", "0.2", "--conflicts", "0.02", "--bad-frames", "0.01"];
    let feed = Feed::start(&place, &[&["--dialect", "binance", "--rate", "3000", "--seed", "3"][..], &faults].concat());
    let topics = ["btcusdt@trade", "btcusdt@depth", "ethusdt@depth@100ms"];
    let settings = Settings::new().upstream("feed", "binance", feed.url()).monitor("m", "d", "feed", &topics, "");
    let daemon = Daemon::start(&place, &settings);
    until("much has come", || (daemon.frames("feed") > 10_000).then_some(()));
    let figures = stop(&place, feed, daemon);
    assert!(figure(&figures, "out of order") > 500, "{figures}");
    let sequence = gaps(&place, &["--cause", "sequence"]);
    assert!(sequence.is_empty(), "bad frames come in addition, and disorder heals: {sequence:?}");
}

#[test]
fn messages_missed_while_a_link_was_lost_are_counted_in_that_gap() {
    let place = Workplace::new();
    let args = ["--dialect", "binance", "--rate", "500", "--disconnect-every", "2s", "--seed", "5"];
    let feed = Feed::start(&place, &args);
    let settings = Settings::new().upstream("feed", "binance", feed.url()).monitor("m", "d", "feed", &TRADES[..1], "");
    // Somebody else listens as well, so that the feed goes on while the link is away.
    let other = Workplace::new();
    let listener = Daemon::start(&other, &settings);
    let daemon = Daemon::start(&place, &settings);
    until("the link was lost and is back some times", || {
        (gaps(&place, &["--cause", "disconnect"]).iter().filter(|gap| !gap["end"].is_null()).count() >= 3).then_some(())
    });
    daemon.stop();
    listener.stop();
    feed.stop();
    let told = told(&gaps(&place, &[]));
    assert_eq!(told.get(TRADES[0]).copied().unwrap_or(0), missing(&journaled(&place, "m"))[TRADES[0]]);
}
