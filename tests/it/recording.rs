//! `sluice record`: what an upstream sends is kept to the byte, and can be served again.

use std::io::Read as _;

use serde_json::Value;

use super::processes::{Daemon, Feed, Process, Settings, query, until};
use super::support::Workplace;

fn lines(place: &Workplace, name: &str) -> Vec<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(place.path(name)).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value], direction: &str) -> Vec<String> {
    let fitting = lines.iter().filter(|line| line["dir"] == direction);
    fitting.map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
}

const TOPICS: [&str; 2] = ["trade:BTC/USD", "trade:ETH/USD"];

fn settings(url: &str) -> Settings {
    Settings::new().upstream("feed", "kraken", url).monitor("trades", "crypto", "feed", &TOPICS, "")
}

#[test]
fn what_is_recorded_and_served_again_gives_the_same_events_to_the_byte() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "2000"]);
    settings(feed.url()).write(&place);
    let recorded =
        place.run(["record", "feed", "--config", "sluice.toml", "--frames", "500", "--out", "r.session.jsonl.gz"]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    feed.stop();
    for topic in TOPICS {
        assert!(recorded.stderr.contains(&format!("{topic}: ")), "{}", recorded.stderr);
    }
    assert!(recorded.stderr.contains("500 frames"), "{}", recorded.stderr);
    let lines = lines(&place, "r.session.jsonl.gz");
    assert_eq!((&lines[0]["dir"], &lines[lines.len() - 1]["dir"]), (&"open".into(), &"close".into()));
    assert_eq!(texts(&lines, "out").len(), 1, "one request names both topics");
    let received = texts(&lines, "in");
    assert_eq!(received.len(), 500);

    let feed = Feed::start(&place, &["--recording", "r.session.jsonl.gz", "--dialect", "kraken", "--pace", "1000x"]);
    let daemon = Daemon::start(&place, &settings(feed.url()));
    until("every frame is read", || (daemon.frames("feed") >= 500).then_some(()));
    daemon.stop();
    let trades = received.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let trades = trades.filter(|message| message["channel"] == "trade");
    let expected: Vec<Value> = trades.flat_map(|message| message["data"].as_array().unwrap().clone()).collect();
    let journaled = query(&place, &["--domain", "crypto"]);
    let payloads: Vec<Value> =
        journaled.iter().map(|event| serde_json::from_str(event.payload.get()).unwrap()).collect();
    assert!(payloads.len() > 400);
    assert_eq!(payloads, expected);
    feed.stop();
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_had() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "200"]);
    settings(feed.url()).write(&place);
    let mut recorder =
        Process::start(&place, &["record", "feed", "--config", "sluice.toml", "--out", "r.session.jsonl.gz"]);
    let path = place.path("r.session.jsonl.gz");
    until("something is written", || (std::fs::metadata(&path).ok()?.len() > 0).then_some(()));
    recorder.signal(rustix::process::Signal::KILL);
    recorder.end();
    feed.stop();
    assert!(!texts(&lines(&place, "r.session.jsonl.gz"), "in").is_empty());
}

#[test]
fn a_feed_that_nobody_has_described_is_recorded_by_its_address() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "500"]);
    let said = r#"{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD"]},"req_id":7}"#;
    let out = ["--out", "r.session.jsonl.gz"];
    let recorded = place.run(["record", "--url", feed.url(), "--send", said, "--frames", "20", out[0], out[1]]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    feed.stop();
    let lines = lines(&place, "r.session.jsonl.gz");
    assert_eq!(texts(&lines, "out"), [said]);
    assert_eq!(texts(&lines, "in").len(), 20);
    let again = place.run(["record", "--url", "ws://127.0.0.1:9", out[0], out[1]]);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
}

#[test]
fn a_recording_holds_no_secret_of_a_login() {
    let place = Workplace::new().with_variable("FEED_KEY", "correct-horse-battery");
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "500"]);
    settings(feed.url())
        .with("[upstreams.feed.auth]\nsecrets = { key = { env = \"FEED_KEY\" } }\nlogin = { send = '{\"method\":\"ping\",\"token\":\"{key}\"}' }")
        .write(&place);
    let recorded =
        place.run(["record", "feed", "--config", "sluice.toml", "--frames", "20", "--out", "r.session.jsonl.gz"]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    feed.stop();
    let lines = lines(&place, "r.session.jsonl.gz");
    assert_eq!(texts(&lines, "out")[0], r#"{"method":"ping","token":"{key}"}"#);
    assert!(lines.iter().all(|line| !line.to_string().contains("correct-horse")));
}

#[test]
fn a_connection_that_never_came_leaves_no_file_behind() {
    let place = Workplace::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("ws://{nobody}/");
    let outcome = place.run(["record", "--url", &url, "--out", "none.session.jsonl.gz"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot connect"), "{}", outcome.stderr);
    assert!(!place.path("none.session.jsonl.gz").exists());
}
