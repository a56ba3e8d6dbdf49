//! The views are made of the journal and of nothing else: whatever happens to their folder, the daemon starts, is ready as
//! soon, and they say again what the journal says.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::processes::{Daemon, Feed, Settings, accounts, json, stat, until};
use super::raw_upstream::{Manner, RawUpstream};
use super::support::Workplace;

const TOPICS: [&str; 3] = ["btcusdt@trade", "ethusdt@trade", "solusdt@trade"];

fn start(place: &Workplace) -> (Daemon, Feed) {
    let arguments =
        ["--dialect", "binance", "--rate", "400", "--seed", "5", "--repeats", "0.05", "--bad-frames", "0.02"];
    let feed = Feed::start(place, &arguments);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &TOPICS[..2], "")
        .monitor("solana", "spot", "feed", &TOPICS[2..], "");
    (Daemon::start(place, &settings), feed)
}

/// The answer once the view has come as far as the journal, which must stand still.
fn caught_up(daemon: &Daemon, path: &str, far: &str, end: u64) -> Value {
    until("the view has caught up", || {
        let (status, body) = daemon.get(path);
        let body: Value = serde_json::from_str(&body).ok()?;
        (status == 200 && body[far].as_u64()? >= end).then_some(body)
    })
}

/// The newest event of each monitor and key, as the journal has it: offset and payload.
fn newest(place: &Workplace) -> BTreeMap<(String, String), (u64, String)> {
    let mut newest = BTreeMap::new();
    for line in json(place, &["query"]).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = |field: &str| event[field].as_str().unwrap_or("none").to_owned();
        newest
            .insert((name("monitor"), name("key")), (event["offset"].as_u64().unwrap(), event["payload"].to_string()));
    }
    newest
}

/// Both views against the journal, which must stand still but for what the daemon journals of itself.
fn agree(place: &Workplace, daemon: &Daemon) {
    let end = stat(place)["durable_offset"].as_u64().unwrap();
    let statistics = caught_up(daemon, "/api/v1/statistics?history=true", "counted_to", end);
    let monitors = statistics["monitors"].as_array().unwrap();
    let accounts = accounts(place);
    for monitor in monitors {
        let name = monitor["monitor"].as_str().unwrap();
        let Some(account) = accounts.get(name).filter(|_| monitor["domain"] != "_sluice") else { continue };
        let count = |field: &str| monitor[field].as_u64().unwrap();
        assert_eq!(
            [count("messages"), count("events"), count("duplicates"), count("control"), count("quarantined")],
            [account.messages, account.events, account.repeats, account.control, account.quarantined],
            "{name}: {monitor}"
        );
        for history in ["hours", "days"] {
            let buckets = monitor[history].as_array().unwrap();
            let sum: u64 = buckets.iter().map(|bucket| bucket["events"].as_u64().unwrap()).sum();
            assert_eq!(sum, account.events, "{name}: {history}");
        }
    }
    let named = |name: &str| monitors.iter().any(|monitor| monitor["monitor"] == name);
    assert!(named("trades") && named("solana"), "{statistics}");

    let last = caught_up(daemon, "/api/v1/latest", "up_to", end);
    let values: BTreeMap<(String, String), (u64, String)> = last["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| {
            let name = |field: &str| value[field].as_str().unwrap_or("none").to_owned();
            ((name("monitor"), name("key")), (value["offset"].as_u64().unwrap(), value["payload"].to_string()))
        })
        .collect();
    assert_eq!(values, newest(place));
    assert_eq!(last["complete_from"], 0);
}

fn rebuilds(daemon: &Daemon) -> u64 {
    daemon.metrics().value("sluice_view_rebuilds_total", &[])
}

fn files(place: &Workplace) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![place.path("data/views")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// A daemon over a journal in which something is, and no feed any more.
fn with_events(place: &Workplace) -> Daemon {
    let (daemon, feed) = start(place);
    until("events are journaled", || {
        let accounts = accounts(place);
        (accounts.values().map(|account| account.events).sum::<u64>() >= 1000).then_some(())
    });
    feed.kill();
    daemon.stop();
    Daemon::again(place)
}

#[test]
fn views_say_what_the_journal_says_and_go_on_from_where_they_stood() {
    let place = Workplace::new();
    let daemon = with_events(&place);
    agree(&place, &daemon);
    assert_eq!(rebuilds(&daemon), 0, "a folder that was left in order is gone on with");
    let (_, one) = daemon.get("/api/v1/last-values?monitor=trades&key=BTCUSDT");
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["values"].as_array().unwrap().len(), 1, "{one}");
    let listen = format!("server.listen={}", daemon.address());
    let said = place.run(["--config", "sluice.toml", "--set", &listen, "latest", "--monitor", "solana"]);
    assert!(said.code == Some(0) && said.stdout.contains("SOLUSDT"), "{said:?}");
    let as_before = place.run(["--config", "sluice.toml", "--set", &listen, "last", "--monitor", "solana"]);
    assert_eq!(as_before.stdout, said.stdout);
    // What was asked for once is at hand.
    let cache = || {
        let (_, body) = daemon.get("/api/v1/statistics");
        serde_json::from_str::<Value>(&body).unwrap()["caches"]["latest"].clone()
    };
    let before = cache();
    assert!(before["misses"].as_u64() > Some(0) && before["hits"].as_u64() > Some(0), "{before}");
    daemon.get("/api/v1/latest?monitor=trades&key=BTCUSDT");
    assert_eq!(cache()["hits"].as_u64().unwrap(), before["hits"].as_u64().unwrap() + 1);
    assert_eq!(cache()["misses"], before["misses"]);
    let hits = || daemon.metrics().value("sluice_cache_hits_total", &[("cache", "latest")]);
    until("metrics say so", || (hits() > before["hits"].as_u64()?).then_some(()));
    let said = place.run(["--config", "sluice.toml", "--set", &listen, "stats"]);
    assert!(said.code == Some(0) && said.stdout.contains("trades"), "{said:?}");
    // Killed in mid-work again and again: what the folder lacks is made up for out of the journal.
    let mut daemon = daemon;
    for _ in 0..4 {
        daemon.kill();
        daemon = Daemon::again(&place);
        agree(&place, &daemon);
    }
    daemon.stop();
}

#[test]
fn a_folder_that_was_damaged_or_deleted_is_built_anew_and_said_so() {
    let place = Workplace::new();
    let daemon = with_events(&place);
    agree(&place, &daemon);
    daemon.stop();
    let all = files(&place);
    let kept: Vec<_> = all.iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let restore = || {
        std::fs::remove_dir_all(place.path("data/views")).ok();
        for (path, bytes) in &kept {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    };
    let database = all.iter().find(|path| path.ends_with("db")).expect("sled's file");
    let length = std::fs::metadata(database).unwrap().len();
    let flip = |at: u64, bytes: u64| {
        let file = std::fs::File::options().read(true).write(true).open(database).unwrap();
        for at in at..(at + bytes).min(length) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
        }
    };
    let truncate = |to: u64| std::fs::File::options().write(true).open(database).unwrap().set_len(to).unwrap();
    let mut noticed = 0;
    let mut try_it = |what: &str| {
        let daemon = Daemon::again(&place);
        assert_eq!(daemon.get("/v1/health/live").0, 200, "{what}");
        agree(&place, &daemon);
        noticed += rebuilds(&daemon);
        let log = daemon.stop();
        if !log.contains("the views are built anew") {
            // Where nothing was that matters.
            assert!(!what.contains("all of it"), "{what}: {log}");
        }
        restore();
    };
    for part in 0..8 {
        flip(length * part / 8 + 17, 600);
        try_it(&format!("600 bytes flipped in eighth {part}"));
    }
    flip(0, length);
    try_it("all of it flipped");
    for part in [0, 1, 2] {
        truncate(length * part / 3);
        try_it(&format!("cut to {part} thirds"));
    }
    for path in &all {
        std::fs::remove_file(path).unwrap();
        try_it(&format!("{} removed", path.display()));
    }
    assert!(noticed >= 4, "hardly any of it was noticed: {noticed}");

    // Under a daemon that runs.
    let daemon = Daemon::again(&place);
    agree(&place, &daemon);
    std::fs::remove_dir_all(place.path("data/views")).unwrap();
    until("it is built anew", || (rebuilds(&daemon) == 1).then_some(()));
    agree(&place, &daemon);
    assert!(place.path("data/views/db").exists());
    let log = daemon.stop();
    assert!(log.contains("its files are gone"), "{log}");
}

#[test]
fn a_latest_value_that_is_too_long_for_the_folder_comes_whole_out_of_the_journal_and_is_kept_compressed() {
    let place = Workplace::new();
    let long = "ab".repeat(40_000);
    let frame = format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1700000000000,"m":true,"note":"{long}"}}}}"#
    );
    let sent = frame.clone();
    let upstream = RawUpstream::start(Manner::Acknowledges, move |_| vec![Message::text(sent.clone())]);
    let settings = Settings::new().upstream("feed", "binance", &upstream.url()).monitor(
        "trades",
        "spot",
        "feed",
        &TOPICS[..1],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    for _ in 0..2 {
        let body = until("it is there", || {
            let (_, body) = daemon.get("/api/v1/latest?monitor=trades&key=BTCUSDT");
            body.contains("note").then_some(body)
        });
        assert!(body.contains(&frame), "whole, to the byte");
        assert!(!body.contains("\"cut\""));
    }
    let (_, body) = daemon.get("/api/v1/statistics");
    let cache = serde_json::from_str::<Value>(&body).unwrap()["caches"]["latest"].clone();
    assert!(
        cache["entries"] == 1 && cache["hits"].as_u64() >= Some(1) && cache["bytes"].as_u64() < Some(8000),
        "{cache}"
    );
    daemon.stop();
}
