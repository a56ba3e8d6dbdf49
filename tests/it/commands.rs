//! What was journaled can be asked for, while the daemon runs and after it, and comes out the same.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::processes::{Daemon, Event, Feed, Process, Settings, json, quarantined, query, stat, until};
use super::support::Workplace;

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/binance-spot/btcusdt_2024-08-08.session.jsonl.gz");

/// A daemon that has journaled the recording: 7,999 events of three monitors in two domains, a quarantined frame, the snapshot
/// that the segment begins with, and that each monitor is watched. When it stops it adds its last figures, and that each is not.
fn recorded() -> (Workplace, Feed, Daemon) {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--recording", RECORDING]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("books", "depth", "feed", &["btcusdt@depth@100ms"], "")
        .monitor("quotes", "prices", "feed", &["btcusdt@bookTicker"], "")
        .monitor("trades", "prices", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("all is durable", || (daemon.metrics().value("sluice_journal_durable_offset", &[]) == 8004).then_some(()));
    (place, feed, daemon)
}

fn moment(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn count(place: &Workplace, filters: &[&str]) -> usize {
    query(place, filters).len()
}

#[test]
fn filters_take_what_they_name_while_the_daemon_runs_and_after() {
    let (place, _feed, daemon) = recorded();
    let check = |own: usize| {
        let all = query(&place, &[]);
        // The daemon's own events, such as the quarantined frame's, show only when they are named.
        assert_eq!(all.len(), 7999);
        assert!(all.windows(2).all(|pair| pair[0].offset < pair[1].offset), "in order of offsets");
        let received = |event: &Event| moment(&event.received_time);
        assert!(all.windows(2).all(|pair| received(&pair[0]) <= received(&pair[1])), "received time never goes back");
        assert_eq!(count(&place, &["--monitor", "books"]), 664);
        assert_eq!(count(&place, &["--monitor", "books", "--monitor", "trades"]), 664 + 1465);
        let prices = query(&place, &["--domain", "prices"]);
        assert!(prices.len() == 5870 + 1465 && prices.iter().all(|event| event.domain == "prices"));
        assert_eq!(count(&place, &["--domain", "prices", "--monitor", "books"]), 0);
        assert_eq!(count(&place, &["--topic", "btcusdt@trade"]), 1465);
        assert_eq!(count(&place, &["--key", "BTCUSDT"]), 7999);
        assert_eq!(count(&place, &["--key", "ETHUSDT"]), 0);
        assert_eq!(count(&place, &["--domain", "_sluice"]), own);
        assert_eq!(count(&place, &["--monitor", "quarantine"]), 1);
        assert_eq!(count(&place, &["--monitor", "nobody"]), 0);
        // Offsets: from is the first, to is not taken. One of them may be the quarantined frame.
        let span = query(&place, &["--from", "100", "--to", "150"]);
        assert!(span.len() >= 49 && span.iter().all(|event| (100..150).contains(&event.offset)), "{}", span.len());
        assert_eq!(count(&place, &["--from", "8004"]), 0);
        assert_eq!(count(&place, &["--limit", "7", "--monitor", "trades"]), 7);
        assert_eq!(count(&place, &["--limit", "0"]), 0);
        // Received times: a moment splits the journal.
        let middle = &all[4000].received_time;
        let before = query(&place, &["--until", middle]);
        let after = query(&place, &["--since", middle]);
        assert_eq!(before.len() + after.len(), 7999);
        assert!(before.iter().all(|event| received(event) < moment(middle)));
        assert!(after.iter().all(|event| received(event) >= moment(middle)));
        assert_eq!(count(&place, &["--since", "1h"]), 7999, "so long ago");
        assert_eq!(count(&place, &["--until", "1h"]), 0);
        // The event's own times, of 2024; quotes have none and do not fit.
        let split = "2024-08-08T23:54:30Z";
        let timed = |event: &&Event| event.event_time.as_deref().is_some_and(|time| moment(time) >= moment(split));
        let late = all.iter().filter(timed).count();
        assert!(late > 0 && late < 664 + 1465, "{late}");
        assert_eq!(count(&place, &["--event-time", "--since", split]), late);
        assert_eq!(count(&place, &["--event-time", "--until", split]), 664 + 1465 - late);
        assert_eq!(count(&place, &["--since", split]), 7999, "which is not when they were received");
        json(&place, &["query"])
    };
    let running = check(5);
    daemon.stop();
    assert_eq!(check(9), running, "the same with and without a daemon");
}

#[test]
fn a_table_shows_the_same_events_for_people() {
    let (place, _feed, daemon) = recorded();
    let table = || place.run(["--config", "sluice.toml", "query", "--monitor", "trades", "--limit", "5"]);
    let running = table();
    daemon.stop();
    let stopped = table();
    assert_eq!((running.code, &running.stdout), (Some(0), &stopped.stdout));
    let lines: Vec<&str> = stopped.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", stopped.stdout);
    for (column, name) in lines[0].split_whitespace().zip(["OFFSET", "RECEIVED", "MONITOR", "KEY", "ID", "PAYLOAD"]) {
        assert_eq!(column, name);
    }
    for (line, event) in lines[1..].iter().zip(query(&place, &["--monitor", "trades"])) {
        let mut cells = line.split_whitespace();
        assert_eq!(cells.next(), Some(event.offset.to_string().as_str()));
        assert!(line.contains(event.id.as_deref().unwrap()) && line.contains("BTCUSDT"), "{line}");
    }
    assert!(stopped.stderr.contains("--limit"), "that there is more is said: {}", stopped.stderr);
    let none = place.run(["--config", "sluice.toml", "query", "--monitor", "nobody"]);
    assert_eq!((none.code, none.stdout.as_str(), none.stderr.trim()), (Some(0), "", "no event fits"));
}

#[test]
fn stat_and_quarantine_say_what_there_is() {
    let (place, _feed, daemon) = recorded();
    daemon.stop();
    let found = stat(&place);
    let domain = |name: &str| {
        let domains = found["domains"].as_array().unwrap();
        domains.iter().find(|domain| domain["domain"] == name).map(|domain| domain["events"].clone()).unwrap()
    };
    assert_eq!((domain("depth"), domain("prices"), domain("_sluice")), (664.into(), 7335.into(), 9.into()));
    assert_eq!(
        (&found["events"], &found["durable_offset"], &found["earliest_offset"]),
        (&8008.into(), &8008.into(), &0.into())
    );
    assert_eq!((&found["quarantined"], &found["duplicates"], &found["gaps"]), (&1.into(), &0.into(), &0.into()));
    assert!(found["segments"].as_u64() == Some(1) && found["bytes"].as_u64() > Some(10_000), "{found}");
    let table = place.run(["--config", "sluice.toml", "journal", "stat"]);
    assert!(table.stdout.contains("quotes") && table.stdout.contains("5870"), "{}", table.stdout);

    let rows = quarantined(&place);
    assert_eq!(rows.len(), 1);
    let raw = rows[0]["frame"].as_str().unwrap();
    assert!(raw.starts_with("{\"lastUpdateId\"") && rows[0]["bytes"] == raw.len(), "{rows:?}");
    let of = |arguments: &[&str]| place.run(["--config", "sluice.toml", "quarantine"].iter().chain(arguments));
    let shown = of(&["show", &rows[0]["offset"].to_string()]);
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), raw), "raw, to the byte");
    let list = of(&["list"]);
    assert!(list.stdout.contains("upstream:feed") && list.stdout.contains("lastUpdateId"), "{}", list.stdout);
    let rows_of = |monitor: &str| -> Vec<Value> {
        serde_json::from_str(&of(&["list", "--monitor", monitor, "--output", "json"]).stdout).unwrap()
    };
    assert_eq!((rows_of("upstream:feed").len(), rows_of("trades").len()), (1, 0));
    let missing = of(&["show", "0"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("there is no quarantined frame at offset 0"), "{}", missing.stderr);
}

#[test]
fn tail_begins_with_the_newest_and_follows_each_event_once_and_in_order() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "300"]);
    let settings = Settings::new()
        .upstream("feed", "kraken", feed.url())
        .monitor("trades", "spot", "feed", &["trade:BTC/USD", "trade:ETH/USD"], "")
        .monitor("books", "depth", "feed", &["book-25:BTC/USD"], "");
    let mut daemon = Daemon::start(&place, &settings);
    until("there is something", || (query(&place, &["--monitor", "trades"]).len() >= 30).then_some(()));
    let tail = Process::start(
        &place,
        &["--config", "sluice.toml", "tail", "-n", "5", "--monitor", "trades", "--output", "json"],
    );
    let lines = |tail: &Process| tail.stdout().lines().count();
    until("it follows", || (lines(&tail) >= 100).then_some(()));
    // Also over the end of a daemon and the next one's beginning, which is a segment's end.
    daemon.signal(Signal::TERM);
    assert!(daemon.end().success());
    let daemon = Daemon::again(&place);
    let so_far = lines(&tail);
    until("it follows the next daemon", || (lines(&tail) >= so_far + 100).then_some(()));
    daemon.stop();
    let all = query(&place, &["--monitor", "trades"]);
    let last = all.last().unwrap().offset;
    let tailed = until("the end", || {
        let text = tail.stdout();
        let events: Vec<Event> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (events.last()?.offset == last).then_some(events)
    });
    let first = all.iter().position(|event| event.offset == tailed[0].offset).expect("a journaled event");
    assert_eq!(tailed.len(), all.len() - first);
    for (tailed, journaled) in tailed.iter().zip(&all[first..]) {
        assert_eq!((tailed.offset, tailed.payload.get()), (journaled.offset, journaled.payload.get()));
    }
    let newest = json(&place, &["tail", "-n", "3", "--no-follow"]);
    let three: Vec<Event> = newest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let offsets: Vec<u64> = query(&place, &[]).iter().rev().take(3).rev().map(|event| event.offset).collect();
    assert_eq!(three.iter().map(|event| event.offset).collect::<Vec<_>>(), offsets);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (place, _feed, daemon) = recorded();
    daemon.stop();
    for (command, newest) in [("query --output json", 1), ("tail -n 7000 --output json", 1), ("query --limit 7000", 2)]
    {
        let mut shell = Command::new("/bin/sh");
        let program = env!("CARGO_BIN_EXE_sluice");
        let script = format!("({program} --config sluice.toml {command}; echo code $? >&2) | head -n {newest}");
        let output = shell.args(["-c", &script]).current_dir(place.path("")).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(out.lines().count(), newest, "{command}: {out}");
        assert_eq!(err.trim(), "code 0", "{command}");
    }
}

#[test]
fn commands_on_a_folder_without_a_journal_say_so() {
    let place = Workplace::new();
    Settings::new().write(&place);
    for command in [&["query"][..], &["tail"], &["journal", "stat"], &["quarantine", "list"]] {
        let outcome = place.run(["--config", "sluice.toml"].iter().chain(command));
        assert_eq!(outcome.code, Some(1), "{command:?}: {outcome:?}");
        assert!(outcome.stderr.contains("there is no journal in"), "{outcome:?}");
        assert!(outcome.stderr.contains("daemon.data_dir"), "{outcome:?}");
    }
}
