//! The host's clock jumps while the daemon runs, and nothing that it promises depends on it.

use std::collections::BTreeSet;
use std::fs;

use super::processes::{Daemon, Feed, Settings, accounts, query, until};
use super::support::Workplace;

#[test]
fn a_clock_that_jumps_on_and_back_leaves_offsets_dense_received_times_in_order_and_timers_running() {
    let place = Workplace::new();
    let clock = place.path("clock");
    let place = place.with_variable("TEST_CLOCK", clock.to_str().unwrap());
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "1000"]);
    let settings = Settings::new()
        .with("[checkpoint]\ninterval = \"50ms\"\n[sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"\nflush_interval = \"10ms\"")
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let durable = || daemon.metrics().value("sluice_journal_durable_offset", &[]);
    let goes_on = |what: &str| {
        let (before, checkpoints) = (durable(), daemon.metrics().value("sluice_checkpoints_written_total", &[]));
        until(what, || (durable() > before + 200).then_some(()));
        until("timers run", || {
            (daemon.metrics().value("sluice_checkpoints_written_total", &[]) > checkpoints + 2).then_some(())
        });
    };
    goes_on("events become durable");
    for jump in ["3600", "-3600", "0", "90000", "-90000"] {
        // Put in place whole: the daemon looks at any moment.
        fs::write(place.path("clock.new"), jump).unwrap();
        fs::rename(place.path("clock.new"), &clock).unwrap();
        goes_on(&format!("events become durable after a jump to {jump}"));
    }
    until("the sink has followed", || {
        let (_, sinks) = daemon.get("/api/v1/sinks");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&sinks).unwrap();
        let row = rows.iter().find(|row| row["name"] == "days").unwrap();
        (row["state"] == "connected" && row["cursor"].as_u64() > Some(1000)).then_some(())
    });
    daemon.stop();
    let events = query(&place, &["--domain", "spot", "--domain", "_sluice"]);
    let offsets: Vec<u64> = events.iter().map(|event| event.offset).collect();
    assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
    let times: Vec<jiff::Timestamp> = events.iter().map(|event| event.received_time.parse().unwrap()).collect();
    // Links overlap by what a batch gathers; a jump back of an hour would show.
    let mut greatest = times[0];
    for time in times {
        assert!(greatest.duration_since(time).as_secs() < 5, "{time} after {greatest}");
        greatest = greatest.max(time);
    }
    let events = query(&place, &["--monitor", "trades"]);
    let spread =
        |event: &super::processes::Event| -> jiff::Timestamp { event.event_time.as_ref().unwrap().parse().unwrap() };
    let (first, last) = (spread(&events[0]), spread(events.last().unwrap()));
    assert!(last.duration_since(first).as_secs() < 60, "event times are the provider's, whatever our clock says");
    assert!(accounts(&place).values().all(super::processes::Account::adds_up));

    // Of each day a file, and no event in the file of a day before that of an earlier event.
    let mut days: Vec<_> = fs::read_dir(place.path("days"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect();
    days.sort();
    assert!(days.len() >= 2, "{days:?}");
    let (mut next, mut seen) = (0, BTreeSet::new());
    for day in &days {
        let file = rusqlite::Connection::open(day).unwrap();
        let mut rows = file.prepare("SELECT offset FROM events ORDER BY offset").unwrap();
        let offsets: Vec<u64> =
            rows.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|row| row.unwrap().cast_unsigned()).collect();
        assert!(offsets.first().is_none_or(|first| *first >= next), "{day:?} begins before the day before it ends");
        next = offsets.last().map_or(next, |last| last + 1);
        seen.extend(offsets);
    }
    let wanted: BTreeSet<u64> = events.iter().map(|event| event.offset).collect();
    assert!(seen == wanted, "{} rows of {} events", seen.len(), wanted.len());
}
