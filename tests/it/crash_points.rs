//! What was durable stays, whatever step the process dies in. The points are those that the source names with
//! `crash_point!`; at each the daemon is killed when it comes by for the first, the second and the third time, and started again.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use rustix::process::Signal;

use super::ledger::{assert_first_ones_of_each_connection, ledger, mark_of};
use super::processes::{Daemon, Event, Feed, Metrics, Process, Settings, get, json, until};
use super::support::Workplace;
use super::torture::account::Account;
use super::torture::stores::Stores;

const HITS: u32 = 3;

/// The points of a room, as the source names them: `journal.appended` is one of `journal`.
fn points_of(room: &str) -> BTreeSet<String> {
    let room = format!("{room}.");
    let points: BTreeSet<String> = all_points().into_iter().filter(|point| point.starts_with(&room)).collect();
    assert!(!points.is_empty(), "{room} has no points");
    points
}

fn all_points() -> BTreeSet<String> {
    fn gather(folder: &Path, points: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                gather(&path, points);
            } else {
                let text = fs::read_to_string(&path).expect("source is text");
                let named = text.split("crash_point!(\"").skip(1).filter_map(|rest| rest.split_once("\")"));
                points.extend(named.map(|(name, _)| name.to_owned()));
            }
        }
    }
    let mut points = BTreeSet::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut points);
    points
}

/// Rooms whose points a test tries: here, and those of a take-over and of stages that hang beside their other tests.
const ROOMS: [&str; 10] =
    ["journal", "recovery", "checkpoint", "sink", "jsonl", "sqlite", "postgres", "nats", "take_over", "stage"];

#[test]
fn every_point_is_tried() {
    for point in all_points() {
        let room = point.split('.').next().unwrap_or_default();
        assert!(ROOMS.contains(&room), "no test here tries {point}");
    }
}

/// Small batches and segments, so that each step comes often.
fn settings(feed: &Feed, more: &str) -> Settings {
    let journal = format!("[journal]\nsegment_size = \"4KiB\"\nsync_interval = \"1ms\"\n{more}");
    Settings::new()
        .with("[batch]\nmin_size = 1\nmax_size = 20\nmax_bytes = \"2KiB\"\ntimeout = \"20ms\"")
        .with(&journal)
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "")
}

fn feed(place: &Workplace) -> Feed {
    Feed::start(place, &["--dialect", "binance", "--rate", "2000", "--seed", "5", "--ledger", "ledger.jsonl"])
}

/// A daemon that is to die at a point, and the durable offset that it was last heard to tell.
struct Doomed {
    process: Process,
    durable: u64,
}

impl Doomed {
    fn start(place: &Workplace, point: &str, hit: u32) -> Self {
        let mut command = place.command(["run", "--config", "sluice.toml"]);
        command.env("FAILPOINTS", format!("{point}={hit}*off->return"));
        Self { process: Process::of(command), durable: 0 }
    }

    fn address(&self) -> Option<String> {
        let said = self.process.stderr();
        let line = said.lines().find(|line| line.contains("/v1/health/ready"))?;
        Some(line.split_once("http://")?.1.split_once('/')?.0.to_owned())
    }

    /// Listens to it until it dies. None: it serves, and `until_serving` says that this is as far as it goes.
    fn watch(&mut self, point: &str, until_serving: bool) -> Option<ExitStatus> {
        until(&format!("the daemon comes by {point}"), || {
            if self.process.has_ended() {
                return Some(Some(self.process.end()));
            }
            let address = self.address()?;
            if let Ok((200, text)) = get(&address, "/metrics") {
                self.durable = self.durable.max(Metrics(text).value("sluice_journal_durable_offset", &[]));
            }
            until_serving.then_some(None)
        })
    }
}

/// Every event that the journal has, also the daemon's own.
fn everything(place: &Workplace, more: &[&str]) -> String {
    json(place, &[&["query", "--domain", "spot", "--domain", "_sluice"], more].concat())
}

fn events(text: &str) -> Vec<Event> {
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// Starts it once more, unharmed, stops it after some new events, and settles the account.
fn settle(place: &Workplace, feed: Feed, known: &[String], context: &str) {
    let daemon = Daemon::again(place);
    let durable = |daemon: &Daemon| daemon.metrics().value("sluice_journal_durable_offset", &[]);
    let found = durable(&daemon);
    until("new events become durable", || (durable(&daemon) > found + 50).then_some(()));
    daemon.stop();
    feed.stop();
    let all = everything(place, &[]);
    let found = events(&all);
    let first = found.first().expect("there are events").offset;
    for (place, event) in found.iter().enumerate() {
        assert_eq!(event.offset, first + place as u64, "{context}: offsets are dense");
    }
    for known in known {
        let known = known.lines().filter(|line| serde_json::from_str::<Event>(line).expect("an event").offset >= first);
        for (before, now) in known.zip(all.lines()) {
            assert_eq!(before, now, "{context}: what was durable stays as it was");
        }
    }
    let marks: Vec<_> = found.iter().filter(|event| event.domain == "spot").map(mark_of).collect();
    let sent = ledger(place);
    if first == 0 {
        assert_first_ones_of_each_connection(&marks, &sent, context);
    } else {
        let sent: std::collections::HashSet<_> = sent.iter().map(super::ledger::Sent::mark).collect();
        let distinct: std::collections::HashSet<_> = marks.iter().collect();
        assert_eq!(distinct.len(), marks.len(), "{context}: none twice");
        assert!(marks.iter().all(|mark| sent.contains(mark)), "{context}: only what was sent");
    }
}

/// Dies at `point` under load, again and again.
fn die_under_load(point: &str, more: &str) {
    let place = Workplace::new();
    let feed = feed(&place);
    settings(&feed, more).write(&place);
    let mut known = Vec::new();
    for hit in 0..HITS {
        let mut doomed = Doomed::start(&place, point, hit);
        let status = doomed.watch(point, false).expect("it is watched to its end");
        let log = doomed.process.stderr();
        assert_eq!(status.signal(), Some(9), "{point}: {log}");
        let promised = doomed.durable.to_string();
        let now = everything(&place, &["--to", &promised]);
        let last = events(&now).last().map_or(0, |event| event.offset + 1);
        assert_eq!(last, doomed.durable, "{point}, hit {hit}: what it told to be durable is there");
        known.push(now);
    }
    settle(&place, feed, &known, point);
}

#[test]
fn nothing_durable_is_lost_by_dying_at_any_step_of_the_writer() {
    for point in points_of("journal") {
        // What is deleted because there is too much of it is no loss; the other points are tried on a journal that keeps all.
        let deletes = ["journal.segment_deleted", "journal.deletion_synced"].contains(&point.as_str());
        die_under_load(&point, if deletes { "max_size = \"32KiB\"" } else { "" });
    }
}

/// The newest segment of a journal.
fn newest_segment(place: &Workplace) -> std::path::PathBuf {
    let entries = fs::read_dir(place.path("data/journal")).expect("a journal").map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).max().expect("a segment")
}

#[test]
fn nothing_durable_is_lost_by_dying_at_any_step_of_recovery() {
    for point in points_of("recovery") {
        let place = Workplace::new();
        let feed = feed(&place);
        settings(&feed, "").write(&place);
        let mut known = Vec::new();
        for hit in 0..HITS {
            // Whole blocks above the watermark, and a torn one behind them: every step is needed.
            let mut doomed = Doomed::start(&place, "journal.appended", 10);
            let status = doomed.watch("journal.appended", false).expect("it is watched to its end");
            assert_eq!(status.signal(), Some(9), "{}", doomed.process.stderr());
            let mut torn = fs::File::options().append(true).open(newest_segment(&place)).unwrap();
            torn.write_all(b"SLBK torn").unwrap();
            known.push(everything(&place, &["--to", &doomed.durable.to_string()]));

            let mut doomed = Doomed::start(&place, &point, hit);
            let died = doomed.watch(&point, true);
            if let Some(status) = died {
                assert_eq!(status.signal(), Some(9), "{point}: {}", doomed.process.stderr());
            } else {
                // A step that is there but once.
                assert_ne!(hit, 0, "{point} is never come by");
                doomed.process.signal(Signal::KILL);
                doomed.process.end();
            }
        }
        settle(&place, feed, &known, &point);
    }
}

/// Dies at `point` on the way into stores, again and again; in the end each store has every event once.
fn die_on_the_way(point: &str, stores: &Stores) {
    // Waits for what comes by but once end when this much was taken behind it.
    const ENOUGH: u64 = 500;
    let place = Workplace::new();
    let feed = feed(&place);
    settings(&feed, "").with("[checkpoint]\ninterval = \"1s\"").with(&stores.settings()).write(&place);
    let journal = place.path("data/journal");
    let mut account = Account::new(5);
    for hit in 0..HITS {
        let mut doomed = Doomed::start(&place, point, hit);
        let status = until(&format!("the daemon comes by {point}"), || {
            if doomed.process.has_ended() {
                return Some(Some(doomed.process.end()));
            }
            let (_, text) = get(&doomed.address()?, "/api/v1/sinks").ok()?;
            let sinks: Vec<serde_json::Value> = serde_json::from_str(&text).ok()?;
            let taken = sinks.iter().all(|sink| sink["rows"].as_u64() > Some(ENOUGH));
            (hit > 0 && taken).then_some(None)
        });
        if let Some(status) = status {
            assert_eq!(status.signal(), Some(9), "{point}: {}", doomed.process.stderr());
        } else {
            doomed.process.signal(Signal::KILL);
            doomed.process.end();
        }
        account.read_on(&journal);
    }
    account.settle(&place, feed, stores, &journal);
}

#[test]
fn nothing_is_lost_or_doubled_by_dying_at_any_step_of_a_checkpoint_or_between_store_and_cursor() {
    for point in points_of("checkpoint").into_iter().chain(points_of("sink")) {
        let files = tempfile::tempdir().unwrap();
        die_on_the_way(&point, &Stores::of_files(files.path()));
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_dying_at_any_step_into_files() {
    for point in points_of("jsonl").into_iter().chain(points_of("sqlite")) {
        let files = tempfile::tempdir().unwrap();
        die_on_the_way(&point, &Stores::of_files(files.path()));
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_dying_at_any_step_into_postgres() {
    for point in points_of("postgres") {
        die_on_the_way(&point, &Stores::of_postgres());
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_dying_at_any_step_into_nats() {
    for point in points_of("nats") {
        die_on_the_way(&point, &Stores::of_nats());
    }
}
