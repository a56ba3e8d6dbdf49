//! The daemon with sinks that write files: killed, locked out, with damage; exactly once all the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use crate::processes::{Daemon, Feed, Settings, query, until};
use crate::support::Workplace;

const BOTH: &str = "[sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"\nflush_interval = \"10ms\"\n\
                    [sinks.lines]\nkind = \"jsonl\"\nfolder = \"lines\"\nrotate_size = \"64KiB\"\ncompression = \"zstd\"\n";

fn settings(feed: &Feed, sinks: &str) -> Settings {
    Settings::new()
        .with("[batch]\nmin_size = 1\ntimeout = \"20ms\"\n[journal]\nsync_interval = \"2ms\"")
        .with(sinks)
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "")
}

fn sink(daemon: &Daemon, name: &str) -> Value {
    let (status, body) = daemon.get("/api/v1/sinks");
    assert_eq!(status, 200, "{body}");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    rows.into_iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no sink {name} in {body}"))
}

/// Offsets and payloads that people expect in a store: what `query` prints.
fn journaled(place: &Workplace) -> BTreeMap<u64, String> {
    let events = query(place, &["--monitor", "trades"]);
    events.into_iter().map(|event| (event.offset, event.payload.get().to_owned())).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths
}

/// Rows of all day files; two of one offset are a failure.
fn rows(folder: &Path) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for path in files(folder, ".db") {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection.prepare("SELECT offset, payload FROM events").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).unwrap();
        for row in rows {
            let (offset, payload) = row.unwrap();
            assert_eq!(all.insert(offset.cast_unsigned(), payload), None, "{offset} is there twice");
        }
    }
    all
}

/// Lines of all files; two of one offset, or out of order, are a failure.
fn lines(folder: &Path) -> BTreeMap<u64, String> {
    #[derive(serde::Deserialize)]
    struct Line {
        offset: u64,
        payload: Box<serde_json::value::RawValue>,
    }
    let mut all = BTreeMap::new();
    for path in files(folder, "").into_iter().filter(|path| path.to_string_lossy().contains("events-")) {
        let bytes = fs::read(&path).unwrap();
        let text = if path.extension().is_some_and(|ending| ending == "zst") {
            zstd::decode_all(&bytes[..]).unwrap()
        } else {
            bytes
        };
        for line in String::from_utf8(text).unwrap().lines() {
            let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
            assert!(all.last_key_value().is_none_or(|(last, _)| *last < line.offset), "{} after {all:?}", line.offset);
            all.insert(line.offset, line.payload.get().to_owned());
        }
    }
    all
}

#[test]
fn kill_9_over_and_over_leaves_each_event_once_in_both() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "3000"]);
    let settings = settings(&feed, BOTH);
    settings.write(&place);
    for _ in 0..6 {
        let daemon = Daemon::again(&place);
        let before = sink(&daemon, "days")["cursor"].as_u64().unwrap_or(0);
        until("both sinks have more", || {
            let more = |name| sink(&daemon, name)["cursor"].as_u64().is_some_and(|cursor| cursor > before + 300);
            (more("days") && more("lines")).then_some(())
        });
        daemon.kill();
    }
    let daemon = Daemon::again(&place);
    until("new events after the last kill", || (daemon.frames("feed") > 100).then_some(()));
    daemon.stop();
    let expected = journaled(&place);
    assert!(expected.len() > 1800, "{}", expected.len());
    assert_eq!(rows(&place.path("days")), expected);
    assert_eq!(lines(&place.path("lines")), expected);
    assert!(files(&place.path("lines"), ".jsonl.open").is_empty());
    assert!(files(&place.path("lines"), ".jsonl.zst").len() > 3);
    feed.kill();
}

#[test]
fn a_locked_database_is_waited_for_and_a_damaged_one_stops_its_sink_alone_until_it_is_moved_away() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "1000"]);
    let settings = settings(&feed, BOTH);
    let daemon = Daemon::start(&place, &settings);
    let cursor = |daemon: &Daemon, name| sink(daemon, name)["cursor"].as_u64().unwrap_or(0);
    until("rows", || (cursor(&daemon, "days") > 500).then_some(()));

    let file = files(&place.path("days"), ".db").remove(0);
    let other = Connection::open(&file).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let at = cursor(&daemon, "lines");
    let error = until("the sink says what is locked", || {
        sink(&daemon, "days")["error"].as_str().filter(|error| error.contains("locked")).map(str::to_owned)
    });
    assert!(error.contains(".db is locked by another program"), "{error}");
    assert!(cursor(&daemon, "lines") > at, "the other sink goes on");
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    let held = cursor(&daemon, "days");
    until("it goes on by itself", || (cursor(&daemon, "days") > held + 500).then_some(()));
    daemon.stop();

    // A bit of the tree flips while the daemon is down.
    let mut bytes = fs::read(&file).unwrap();
    let page = bytes.len() / 4096 / 2 * 4096;
    bytes[page] ^= 0x08;
    fs::write(&file, &bytes).unwrap();
    let daemon = Daemon::again(&place);
    let error = until("the sink says what is damaged", || {
        let row = sink(&daemon, "days");
        (row["state"] == "refused").then(|| row["error"].as_str().unwrap().to_owned())
    });
    assert!(error.contains("is damaged") && error.contains("Move it out of its folder"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "it was touched");
    let at = cursor(&daemon, "lines");
    until("the other sink goes on", || (cursor(&daemon, "lines") > at + 200).then_some(()));
    fs::rename(&file, place.path("damaged.db")).unwrap();
    for ending in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{ending}", file.display())).ok();
    }
    let enabled = place.run([
        "--config",
        "sluice.toml",
        "--set",
        &format!("server.listen={}", daemon.address()),
        "sinks",
        "enable",
        "days",
        "--catch-up",
    ]);
    assert_eq!(enabled.code, Some(0), "{enabled:?}");
    until("it has all anew", || (cursor(&daemon, "days") > at).then_some(()));
    daemon.stop();
    assert_eq!(rows(&place.path("days")), journaled(&place));
    assert_eq!(lines(&place.path("lines")), journaled(&place));
    feed.kill();
}

#[test]
fn the_sink_events_is_switched_on_by_its_variable_alone() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let daemon = Daemon::start(&place, &settings(&feed, ""));
    let (_, listed) = daemon.get("/api/v1/sinks");
    assert_eq!(listed, "[]");
    daemon.stop();
    let place =
        place.with_variable("EVENT_MONITORING_ENABLED", "true").with_variable("EVENT_MONITORING_DB_PATH", "seen");
    let daemon = Daemon::again(&place);
    until("rows", || (sink(&daemon, "events")["cursor"].as_u64()? > 100).then_some(()));
    daemon.stop();
    assert_eq!(rows(&place.path("seen")), journaled(&place));
    feed.kill();
}

/// A file system of a test.
struct Mounted<'p>(&'p Path);
impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}

#[test]
fn a_full_disk_of_a_sink_is_waited_out_and_costs_the_others_nothing() {
    let place = Workplace::new();
    let small = place.path("small");
    fs::create_dir_all(&small).unwrap();
    let mount =
        |arguments: &[&str]| std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(&small).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=400k", "sluice-test"]).is_ok_and(|status| status.success()) {
        eprintln!("passed over: only root mounts a file system");
        return;
    }
    let mounted = Mounted(&small);
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
    let sinks = BOTH
        .replace("\"days\"\nflush", "\"small/days\"\nflush")
        .replace("\"lines\"\nrotate", "\"small/lines\"\nrotate");
    let sinks = sinks + "[sinks.elsewhere]\nkind = \"jsonl\"\nfolder = \"elsewhere\"\n";
    let daemon = Daemon::start(&place, &settings(&feed, &sinks));
    for name in ["days", "lines"] {
        until("the sink says that its disk is full", || {
            let row = sink(&daemon, name);
            row["error"].as_str().filter(|error| error.contains("free some")).map(|_| ())
        });
    }
    let at = sink(&daemon, "elsewhere")["cursor"].as_u64().unwrap();
    until("another sink goes on", || (sink(&daemon, "elsewhere")["cursor"].as_u64()? > at + 500).then_some(()));
    let grown = mount(&["mount", "-o", "remount,size=200m"]);
    assert!(grown.unwrap().success());
    let durable = sink(&daemon, "elsewhere")["cursor"].as_u64().unwrap();
    for name in ["days", "lines"] {
        until("it goes on by itself", || (sink(&daemon, name)["cursor"].as_u64()? > durable).then_some(()));
    }
    daemon.stop();
    let expected = journaled(&place);
    assert_eq!(rows(&small.join("days")), expected);
    assert_eq!(lines(&small.join("lines")), expected);
    assert_eq!(lines(&place.path("elsewhere")), expected);
    feed.kill();
    drop(mounted);
}
