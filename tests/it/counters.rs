//! Business counters say what the journal says, whatever becomes of the daemon, of the views' folder, and of old segments.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::processes::{Daemon, Feed, Settings, query, stat, until};
use super::support::Workplace;

const COUNTERS: &str = "counters = { trades = { pointer = \"/data/e\", equals = \"trade\" }, \
    makers = { pointer = \"/data/m\", equals = true }, symbols = { first_seen = \"/data/s\" }, ids = { first_seen = \"/data/t\" } }";

fn settings(feed: &Feed, counters: &str) -> Settings {
    Settings::new().upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade", "ethusdt@trade"],
        counters,
    )
}

fn statistics(daemon: &Daemon) -> Value {
    let (status, body) = daemon.get("/api/v1/statistics");
    if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::Null }
}

/// Totals by counter, once all are as far as the journal, which must stand still but for what the daemon journals of itself.
fn totals(place: &Workplace, daemon: &Daemon) -> BTreeMap<String, u64> {
    let end = stat(place)["durable_offset"].as_u64().unwrap();
    until("counters have caught up", || {
        let body = statistics(daemon);
        let counters = body["counters"].as_array()?;
        let caught_up = counters.iter().all(|counter| counter["up_to"].as_u64().unwrap() >= end);
        let total = |counter: &Value| {
            assert!(counter["missed"].is_null(), "{counter}");
            (counter["counter"].as_str().unwrap().to_owned(), counter["total"].as_u64().unwrap())
        };
        (caught_up && !counters.is_empty()).then(|| counters.iter().map(total).collect())
    })
}

/// The same out of the events that the journal has.
fn journaled(place: &Workplace) -> BTreeMap<String, u64> {
    let payloads: Vec<Value> = query(place, &["--monitor", "trades"])
        .iter()
        .map(|event| serde_json::from_str(event.payload.get()).unwrap())
        .collect();
    let equal = |pointer: &str, value: Value| payloads.iter().filter(|of| of.pointer(pointer) == Some(&value)).count();
    let distinct = |pointer: &str| {
        payloads.iter().filter_map(|of| Some(of.pointer(pointer)?.to_string())).collect::<BTreeSet<_>>()
    };
    let counted = [
        ("trades", equal("/data/e", "trade".into())),
        ("makers", equal("/data/m", true.into())),
        ("symbols", distinct("/data/s").len()),
        ("ids", distinct("/data/t").len()),
    ];
    counted.into_iter().map(|(name, count)| (name.to_owned(), count as u64)).collect()
}

fn events(place: &Workplace) -> u64 {
    stat(place)["durable_offset"].as_u64().unwrap()
}

#[test]
fn counters_are_what_was_journaled_however_often_the_daemon_is_killed_and_the_folder_lost() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "1500", "--seed", "11"]);
    let mut daemon = Daemon::start(&place, &settings(&feed, COUNTERS));
    let mut chance = fastrand::Rng::with_seed(7);
    for round in 0..5 {
        let goal = events(&place) + chance.u64(300..3000);
        until("more is journaled", || (events(&place) >= goal).then_some(()));
        daemon.kill();
        if round == 3 {
            std::fs::remove_dir_all(place.path("data/views")).unwrap();
        }
        daemon = Daemon::again(&place);
    }
    let goal = events(&place) + 500;
    until("more is journaled", || (events(&place) >= goal).then_some(()));
    let made = feed.stop();
    let counted = totals(&place, &daemon);
    assert_eq!(counted, journaled(&place), "{made}");
    assert!(counted["ids"] > 2000 && counted["symbols"] == 2 && counted["makers"] > 100, "{counted:?}");

    // Shown everywhere the same.
    let row = &daemon.monitors()["trades"];
    assert_eq!(row["counters"]["orders"], Value::Null);
    assert_eq!(row["counters"]["ids"], counted["ids"]);
    let labels = [("monitor", "trades"), ("counter", "makers")];
    assert_eq!(daemon.metrics().value("sluice_business_events_total", &labels), counted["makers"]);
    assert_eq!(daemon.metrics().value("sluice_business_events_last_hour", &labels), counted["makers"]);
    let listen = format!("server.listen={}", daemon.address());
    for command in ["stats", "monitors"] {
        let said = place.run(["--config", "sluice.toml", "--set", &listen, command]);
        assert!(said.code == Some(0) && said.stdout.contains(&counted["ids"].to_string()), "{said:?}");
    }
    daemon.stop();
    std::fs::remove_dir_all(place.path("data/views")).unwrap();
    let daemon = Daemon::again(&place);
    assert_eq!(totals(&place, &daemon), counted, "without the folder");
    daemon.stop();
}

#[test]
fn what_retention_has_deleted_stays_counted_when_the_folder_is_lost() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "1200", "--seed", "12"]);
    let small = "[batch]\nmax_bytes = \"16KiB\"\n[journal]\nsegment_size = \"64KiB\"\nmax_size = \"256KiB\"\n";
    let daemon = Daemon::start(&place, &settings(&feed, COUNTERS).with(small));
    let earliest = || {
        let events = query(&place, &["--limit", "1"]);
        events.first().map_or(0, |event| event.offset)
    };
    until("retention has deleted most of it", || (earliest() > 4000).then_some(()));
    feed.stop();
    let counted = totals(&place, &daemon);
    let row = &daemon.monitors()["trades"];
    assert_eq!(row["events"], counted["trades"], "all of this run");
    daemon.kill();
    std::fs::remove_dir_all(place.path("data/views")).unwrap();
    let daemon = Daemon::again(&place);
    assert_eq!(totals(&place, &daemon), counted);
    daemon.stop();
}

#[test]
fn a_reload_adds_and_removes_counters_and_a_new_one_counts_from_the_beginning() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500", "--seed", "13"]);
    let one = "counters = { trades = { pointer = \"/data/e\", equals = \"trade\" } }";
    let daemon = Daemon::start(&place, &settings(&feed, one));
    until("something is journaled", || (events(&place) > 500).then_some(()));
    let other = "counters = { ids = { first_seen = \"/data/t\" } }";
    settings(&feed, other).write(&place);
    let listen = format!("server.listen={}", daemon.address());
    let said = place.run(["--config", "sluice.toml", "--set", &listen, "reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    feed.stop();
    until("the old counter is gone", || {
        let body = statistics(&daemon);
        let counters = body["counters"].as_array()?;
        (counters.len() == 1 && counters[0]["counter"] == "ids").then_some(())
    });
    assert_eq!(totals(&place, &daemon)["ids"], journaled(&place)["ids"]);
    daemon.stop();
}

#[test]
fn a_counter_that_cannot_count_is_refused_with_what_to_write() {
    let place = Workplace::new();
    place.write(
        "sluice.toml",
        "[smart_streaming]\nenabled = true\n[upstreams.u]\nurl = \"ws://127.0.0.1:1\"\ndialect = \"binance\"\n\
         [monitors.m]\ndomain = \"d\"\nupstream = \"u\"\ntopics = [\"btcusdt@trade\"]\n[monitors.m.counters]\n\
         a = { pointer = \"/e\" }\nb = { first_seen = \"mint\" }\nc = { pointer = \"/data/e\", equals = [] }\n",
    );
    let said = place.run(["--config", "sluice.toml", "config", "check"]);
    assert_eq!(said.code, Some(78), "{said:?}");
    let all = format!("{}{}", said.stdout, said.stderr);
    for part in [
        "monitors.m.counters.a",
        "`pointer` and `equals`, or `first_seen` alone",
        "monitors.m.counters.b.first_seen",
        "counters.c.equals",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
}
