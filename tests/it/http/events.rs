//! Events over HTTP are those of the journal: each once, in every form.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ask, get};
use crate::processes::{Daemon, Feed, Settings, query, until};
use crate::support::Workplace;

const TOPICS: [&str; 2] = ["btcusdt@trade", "ethusdt@trade"];

fn fed(place: &Workplace, more: &str) -> (Feed, Daemon) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", "1500", "--seed", "7"]);
    let settings = Settings::new()
        .with("[batch]\ntimeout = \"20ms\"")
        .with(more)
        .upstream("feed", "binance", feed.url())
        .monitor("bitcoin", "spot", "feed", &TOPICS[..1], "")
        .monitor("ether", "spot", "feed", &TOPICS[1..], "");
    (feed, Daemon::start(place, &settings))
}

#[test]
fn pages_have_each_event_once_while_more_are_written() {
    let place = Workplace::new();
    let (feed, daemon) = fed(&place, "");
    let mut offsets: Vec<u64> = Vec::new();
    let mut cursor: Option<String> = None;
    let mut feed = Some(feed);
    // Until the feed has ended, and a page had nothing more.
    loop {
        let from = cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let answer = get(&daemon, &format!("/api/v1/events?monitor=bitcoin&limit=37{from}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        let events = page["events"].as_array().unwrap();
        assert!(events.len() <= 37 && events.iter().all(|event| event["monitor"] == "bitcoin"));
        offsets.extend(events.iter().map(|event| event["offset"].as_u64().unwrap()));
        cursor = Some(page["next"].as_str().unwrap().to_owned());
        let more = page["more"].as_bool().unwrap();
        match feed.take() {
            Some(running) if offsets.len() < 2000 => feed = Some(running),
            Some(running) => {
                running.stop();
                until("the link is lost, and all is written", || {
                    let links = daemon.metrics().value("sluice_links", &[("state", "open")]);
                    (links == 0).then_some(())
                });
            }
            None if more || !events.is_empty() => {}
            None => break,
        }
    }
    let expected: Vec<u64> = query(&place, &["--monitor", "bitcoin"]).iter().map(|event| event.offset).collect();
    assert!(expected.len() >= 2000 && offsets == expected, "{} of {}", offsets.len(), expected.len());
    let other = get(&daemon, &format!("/api/v1/events?monitor=ether&cursor={}", cursor.unwrap()));
    assert_eq!((other.status, &other.json()["parameter"]), (400, &"cursor".into()));
    daemon.stop();
}

#[test]
fn lines_and_tables_say_what_query_says() {
    let place = Workplace::new();
    let (feed, daemon) = fed(&place, "");
    until("there are some", || (daemon.frames("feed") > 1000).then_some(()));
    feed.stop();
    until("the link is lost, and all is written", || {
        (daemon.metrics().value("sluice_links", &[("state", "open")]) == 0).then_some(())
    });
    let expected = query(&place, &[]);
    let lines = ask(&daemon, "GET", "/api/v1/events", &[("Accept", "application/x-ndjson")], b"");
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(lines.body.lines().count(), expected.len());
    for (line, event) in lines.body.lines().zip(&expected) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((line["offset"].as_u64(), line["id"].as_str()), (Some(event.offset), event.id.as_deref()));
    }
    let table = ask(&daemon, "GET", "/api/v1/events", &[("Accept", "text/csv")], b"");
    assert!(table.header("content-type").unwrap().starts_with("text/csv"));
    let mut read = csv::Reader::from_reader(table.body.as_bytes());
    let columns = read.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = read.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), expected.len());
    for (row, event) in rows.iter().zip(&expected) {
        let cell = |name: &str| &row[columns.iter().position(|column| column == name).unwrap()];
        assert_eq!(cell("offset"), event.offset.to_string());
        assert_eq!(
            [cell("monitor"), cell("topic"), cell("key"), cell("received_time"), cell("payload")],
            [
                event.monitor.as_str(),
                &event.topic,
                event.key.as_deref().unwrap_or_default(),
                &event.received_time,
                event.payload.get()
            ]
        );
    }
    // Filters are those of `query`.
    let middle = expected[expected.len() / 2].offset;
    for (parameters, arguments) in [
        ("monitor=ether".to_owned(), vec!["--monitor".to_owned(), "ether".to_owned()]),
        ("topic=btcusdt@trade".to_owned(), vec!["--topic".into(), "btcusdt@trade".into()]),
        (format!("from={middle}"), vec!["--from".into(), middle.to_string()]),
        (
            format!("to={middle}&monitor=ether"),
            vec!["--to".into(), middle.to_string(), "--monitor".into(), "ether".into()],
        ),
        (
            "domain=_sluice&monitor=coverage".to_owned(),
            ["--domain", "_sluice", "--monitor", "coverage"].map(str::to_owned).to_vec(),
        ),
        (
            "since=1h&event_time=true&path=smart".to_owned(),
            ["--since", "1h", "--event-time", "--path", "smart"].map(str::to_owned).to_vec(),
        ),
    ] {
        let answer = get(&daemon, &format!("/api/v1/events?format=jsonl&{parameters}"));
        let offset = |line: &str| serde_json::from_str::<Value>(line).unwrap()["offset"].as_u64().unwrap();
        let told: BTreeSet<u64> = answer.body.lines().map(offset).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let expected: BTreeSet<u64> = query(&place, &arguments).iter().map(|event| event.offset).collect();
        assert!(!told.is_empty() && told == expected, "{parameters}: {} of {}", told.len(), expected.len());
    }
    daemon.stop();
}

#[test]
fn what_retention_has_deleted_is_said_to_be_gone() {
    let place = Workplace::new();
    let small = "[batch]\nmax_bytes = \"16KiB\"\ntimeout = \"20ms\"\n[journal]\nsegment_size = \"64KiB\"\nmax_size = \"256KiB\"";
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "4000", "--seed", "7"]);
    let settings = Settings::new().with(small).upstream("feed", "binance", feed.url()).monitor(
        "bitcoin",
        "spot",
        "feed",
        &TOPICS[..1],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("retention has deleted something", || {
        (daemon.metrics().value("sluice_journal_deleted_segments_total", &[]) > 0).then_some(())
    });
    let gone = get(&daemon, "/api/v1/events?from=0");
    assert_eq!(gone.status, 410, "{gone:?}");
    assert!(gone.problem().contains("retention"));
    let earliest = gone.json()["earliest"].as_u64().unwrap();
    assert!(earliest > 0);
    assert_eq!(
        get(&daemon, "/api/v1/events?limit=1").status,
        200,
        "without an offset it begins where there is something"
    );
    feed.stop();
    daemon.stop();
}
