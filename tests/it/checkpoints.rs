//! Checkpoints: written, chosen, kept, and never taken for more than they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use sluice::checkpoint::{
    Cause, Checkpoint, CheckpointFolder, EntryState, Refused, TokenMark, encode as encode_checkpoint, list,
};
use sluice::clock::UnixNanos;
use sluice::config::SinkKind;
use sluice::journal::{JournalId, Offset};
use sluice::sink::SinkMark;

use super::processes::{Daemon, Feed, Process, Settings, json, request, stat, until};
use super::support::{Outcome, Workplace};

fn checkpoint(journal: JournalId, durable: u64) -> Checkpoint {
    Checkpoint {
        journal,
        durable: Offset(durable),
        written: UnixNanos(1_723_161_255_000_000_000),
        cause: Cause::Periodic,
        program: "0.1.0".into(),
        sinks: vec![SinkMark {
            name: "warehouse".into(),
            kind: SinkKind::Postgres,
            journal,
            next: Offset(durable / 2),
            sequence: None,
        }],
        tokens: vec![TokenMark {
            upstream: "sky".into(),
            topics: vec!["posts".into()],
            token: b"1725519626134432".to_vec(),
            offset: Offset(durable),
            received: UnixNanos(1_723_161_254_000_000_000),
        }],
        settings: BTreeMap::new(),
    }
}

fn feed_settings(feed: &Feed, more: &str) -> Settings {
    Settings::new().with(more).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade", "ethusdt@trade"],
        "",
    )
}

/// A daemon with a fast feed.
fn flooded(place: &Workplace, more: &str) -> (Feed, Daemon) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", "5000"]);
    let daemon = Daemon::start(place, &feed_settings(&feed, more));
    until("events are durable", || (daemon.metrics().value("sluice_journal_durable_offset", &[]) > 500).then_some(()));
    (feed, daemon)
}

fn rows(place: &Workplace) -> Vec<Value> {
    serde_json::from_str(&json(place, &["checkpoint", "list"])).unwrap()
}

fn show(place: &Workplace) -> Value {
    serde_json::from_str(&json(place, &["checkpoint", "show"])).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name != "lock"));
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn checkpoints_are_written_from_time_to_time_on_demand_and_at_the_stop_and_the_newest_are_kept() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "[checkpoint]\ninterval = \"50ms\"\nkeep = 3");
    until("three are there, and older ones were removed", || {
        (daemon.metrics().value("sluice_checkpoints_written_total", &[]) > 5 && rows(&place).len() == 3).then_some(())
    });
    let row = &rows(&place)[2];
    assert_eq!((row["state"].as_str(), row["cause"].as_str()), (Some("good"), Some("periodic")), "{row}");
    assert!(daemon.metrics().0.contains("\nsluice_checkpoint_age_seconds "), "the age is measured");

    let address = daemon.address().to_owned();
    let outcome = place.run([
        "checkpoint",
        "create",
        "--config",
        "sluice.toml",
        "--set",
        &format!("server.listen={address}"),
        "--output",
        "json",
    ]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let created: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(created["cause"], "demand");
    let (status, listed) = daemon.get("/api/v1/checkpoints");
    assert!(status == 200 && listed.contains("durable_offset"), "{listed}");
    let (_, operations) = daemon.get("/api/v1/operations");
    let operations: Vec<Value> = serde_json::from_str(&operations).unwrap();
    assert_eq!((&operations[0]["kind"], &operations[0]["state"]), (&"checkpoint".into(), &"done".into()));
    assert_eq!(operations[0]["outcome"]["checkpoint"], created["id"]);

    daemon.stop();
    let newest = show(&place);
    assert_eq!(
        (newest["cause"].as_str(), &newest["durable_offset"]),
        (Some("shutdown"), &stat(&place)["durable_offset"])
    );
    assert_eq!(rows(&place).len(), 3);
    let table = place.run(["checkpoint", "list", "--config", "sluice.toml"]);
    assert!(table.stdout.contains("DURABLE") && table.stdout.contains("shutdown"), "{}", table.stdout);
    let log = Daemon::again(&place).stop();
    assert!(log.contains("(shutdown); cursors of sinks: 0"), "the choice is told: {log}");
}

#[test]
fn without_fault_tolerance_none_are_written_from_time_to_time() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "[fault_tolerance]\nenabled = false\n[checkpoint]\ninterval = \"10ms\"");
    assert!(rows(&place).is_empty());
    let address = daemon.address();
    let post = format!(
        "POST /api/v1/checkpoints HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let (status, body) = request(address, &post).unwrap();
    assert_eq!(status, 201, "{body}");
    assert_eq!(rows(&place).len(), 1);
    daemon.stop();
    assert_eq!(show(&place)["cause"], "shutdown");
}

#[test]
fn sigterm_under_load_drains_and_leaves_a_checkpoint_of_all_that_is_durable() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "[daemon]\nstop_timeout = \"10s\"");
    let asked = tokio::time::Instant::now();
    let log = daemon.stop();
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
    let durable = stat(&place)["durable_offset"].clone();
    assert_eq!((&show(&place)["durable_offset"], show(&place)["cause"].as_str()), (&durable, Some("shutdown")));
    assert!(log.contains(&format!("stopped; {durable} events are durable")), "{log}");
}

#[test]
fn a_second_sigterm_leaves_what_the_next_start_recovers_from() {
    let place = Workplace::new();
    let (_feed, mut daemon) = flooded(&place, "");
    let durable = daemon.metrics().value("sluice_journal_durable_offset", &[]);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::TERM);
    daemon.end();
    let log = Daemon::again(&place).stop();
    assert!(log.contains("durable up to offset"), "{log}");
    assert!(stat(&place)["durable_offset"].as_u64().unwrap() >= durable);
}

#[test]
fn whatever_byte_of_a_checkpoint_is_damaged_the_one_before_is_used() {
    let place = Workplace::new();
    let dir = place.path("checkpoints");
    let journal = JournalId::random();
    let folder = CheckpointFolder::open(&dir).unwrap();
    let (before, newest) = (checkpoint(journal, 1000), checkpoint(journal, 2000));
    folder.write(&before, 10).unwrap();
    let path = dir.join(folder.write(&newest, 10).unwrap().to_string());
    let good = fs::read(&path).unwrap();
    let found = folder.newest(Some(journal)).unwrap();
    assert_eq!((found.newest.as_deref(), found.skipped.len()), (Some(&newest), 0));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let found = folder.newest(Some(journal)).unwrap();
        assert_eq!((found.newest.as_deref(), found.skipped.len()), (Some(&before), 1), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        let found = folder.newest(Some(journal)).unwrap();
        assert_eq!((found.newest.as_deref(), found.skipped.len()), (Some(&before), 1), "cut at {at}");
    }
    // One under another's name is none.
    fs::write(&path, fs::read(dir.join(folder.newest(Some(journal)).unwrap().name().unwrap().to_string())).unwrap())
        .unwrap();
    assert_eq!(folder.newest(Some(journal)).unwrap().newest.as_deref(), Some(&before));
}

#[test]
fn a_damaged_or_missing_checkpoint_does_not_keep_the_daemon_from_starting_and_is_told_of() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "[checkpoint]\ninterval = \"50ms\"");
    until("two are there", || (rows(&place).len() > 2).then_some(()));
    daemon.stop();
    let newest = files(&place.path("checkpoints")).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&newest, bytes).unwrap();
    let durable = stat(&place)["durable_offset"].as_u64().unwrap();
    let log = Daemon::again(&place).stop();
    assert!(log.contains("passed over") && log.contains("its checksum does not fit"), "{log}");
    assert!(log.contains("(periodic); cursors of sinks: 0"), "the one before is used: {log}");
    assert!(stat(&place)["durable_offset"].as_u64().unwrap() >= durable);

    fs::remove_dir_all(place.path("checkpoints")).unwrap();
    let log = Daemon::again(&place).stop();
    assert!(log.contains("none of this journal in"), "{log}");
}

#[test]
fn a_checkpoint_of_a_newer_release_is_refused_and_left_as_it_was() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "[checkpoint]\ninterval = \"50ms\"\nkeep = 2");
    daemon.stop();
    let journal = stat(&place)["journal"].as_str().unwrap().to_owned();
    let name = format!("checkpoints/{journal}-{:020}", 0);
    let text = "sluice checkpoint 2\nin a form that nobody knows yet\n";
    let text = format!("{text}crc32c {:08x}\n", crc32c(text.as_bytes()));
    place.write(&name, &text);
    let daemon = Daemon::again(&place);
    until("older ones are removed", || {
        (daemon.metrics().value("sluice_checkpoints_written_total", &[]) > 4).then_some(())
    });
    let row = rows(&place).remove(0);
    assert_eq!((row["state"].as_str(), &row["version"]), (Some("newer"), &2.into()), "{row}");
    let outcome = place.run(["checkpoint", "show", "0", "--config", "sluice.toml"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("format version 2, newer than this release reads"), "{}", outcome.stderr);
    daemon.stop();
    assert_eq!(fs::read_to_string(place.path(&name)).unwrap(), text);
    assert_eq!(rows(&place).len(), 3, "it does not count among those that are kept");
}

/// As the format has it; the program's own function is not asked.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
        crc
    })
}

#[test]
fn checkpoints_of_another_journal_are_neither_read_nor_removed() {
    let place = Workplace::new();
    let dir = place.path("checkpoints");
    fs::create_dir_all(&dir).unwrap();
    let foreign: Vec<String> = (0..5).map(|number| format!("{}-{number:020}", JournalId::random())).collect();
    let (_feed, daemon) = flooded(&place, "[checkpoint]\ninterval = \"20ms\"\nkeep = 1");
    for name in &foreign {
        fs::write(dir.join(name), "rubbish").unwrap();
    }
    daemon.stop();
    let daemon = Daemon::again(&place);
    until("some are written", || (daemon.metrics().value("sluice_checkpoints_written_total", &[]) > 4).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("5 of other journals"), "{log}");
    for name in &foreign {
        assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), "rubbish");
    }
    let states: Vec<String> = rows(&place).iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states.iter().filter(|state| *state == "foreign").count(), 5);
    assert_eq!(states.len(), 6);
    let kept = list(&dir, None).unwrap();
    assert!(kept.iter().any(|entry| matches!(entry.state, EntryState::Refused(Refused::Damaged(_)))));
}

/// The daemon does not start: its exit code and its last words.
fn refused(place: &Workplace) -> Outcome {
    let mut process = Process::start(place, &["run", "--config", "sluice.toml"]);
    let status = process.end();
    Outcome { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
}

#[test]
fn a_journal_that_is_behind_its_checkpoint_is_not_written_to() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "");
    daemon.stop();
    copy(&place.path("data/journal"), &place.path("older"));
    let daemon = Daemon::again(&place);
    let before = stat(&place)["durable_offset"].as_u64().unwrap();
    until("it goes on", || (stat(&place)["durable_offset"].as_u64().unwrap() > before + 100).then_some(()));
    daemon.stop();
    let durable = stat(&place)["durable_offset"].as_u64().unwrap();

    // Restored from an older copy.
    fs::rename(place.path("data/journal"), place.path("newer")).unwrap();
    copy(&place.path("older"), &place.path("data/journal"));
    let held = files(&place.path("data/journal"));
    let outcome = refused(&place);
    assert_eq!(outcome.code, Some(65), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(&format!("has taken events up to {durable}, but the journal ends at")),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("Put the newer journal back"), "{}", outcome.stderr);
    assert_eq!(files(&place.path("data/journal")), held, "nothing was changed");

    // Deleted.
    fs::remove_dir_all(place.path("data/journal")).unwrap();
    let outcome = refused(&place);
    assert_eq!(outcome.code, Some(65), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("but the journal ends at 0"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("to give up what is missing, move the checkpoints away"), "{}", outcome.stderr);

    // Put back.
    fs::remove_dir_all(place.path("data/journal")).unwrap();
    fs::rename(place.path("newer"), place.path("data/journal")).unwrap();
    Daemon::again(&place).stop();

    // Given up: the checkpoints are moved away, and it begins anew.
    fs::remove_dir_all(place.path("data/journal")).unwrap();
    fs::rename(place.path("checkpoints"), place.path("given-up")).unwrap();
    Daemon::again(&place).stop();
}

#[test]
fn a_folder_that_cannot_be_written_is_told_of_and_stops_nothing() {
    let place = Workplace::new().with_file("in-the-way", "");
    let (_feed, daemon) = flooded(&place, "[checkpoint]\ninterval = \"20ms\"\ndir = \"in-the-way/checkpoints\"");
    until("it is counted", || (daemon.metrics().value("sluice_checkpoint_failures_total", &[]) > 1).then_some(()));
    let (status, health) = daemon.get("/v1/health/ready");
    assert_eq!(status, 200);
    assert!(health.contains("\"degraded\"") && health.contains("no checkpoint could be written"), "{health}");
    // Cleared away, it heals by itself.
    fs::remove_file(place.path("in-the-way")).unwrap();
    until("it is well again", || {
        let (_, health) = daemon.get("/v1/health/ready");
        (!health.contains("no checkpoint")).then_some(())
    });
    let log = daemon.stop();
    assert_eq!(log.matches(" WARN ").count(), 1, "once, and not each time: {log}");
}

#[test]
fn senseless_settings_of_checkpoints_are_refused() {
    for (setting, reason) in [
        ("checkpoint.keep=0", "must be at least 1"),
        ("checkpoint.interval=0s", "must be longer than 0"),
        ("checkpoint.dir=", "must name a folder"),
    ] {
        let outcome = Workplace::new().run(["config", "check", "--set", setting]);
        assert_eq!(outcome.code, Some(78), "{setting}: {}", outcome.stdout);
        assert!(outcome.stderr.contains(reason), "{setting}: {}", outcome.stderr);
    }
}

// --- two daemons ---

/// Starts two at once. The one that runs, and the last words of the other.
fn two(places: [(&Workplace, &str); 2]) -> (Process, Outcome) {
    let mut both = places.map(|(place, file)| Process::start(place, &["run", "--config", file]));
    let loser = until("one of them gives up", || both.iter_mut().position(Process::has_ended));
    let [first, second] = both;
    let (winner, mut loser) = if loser == 0 { (second, first) } else { (first, second) };
    let code = loser.end().code();
    until("the other runs", || winner.stderr().contains("/v1/health/ready").then_some(()));
    let words = Outcome { code, stdout: loser.stdout(), stderr: loser.stderr() };
    (winner, words)
}

fn quiet(more: &str) -> Settings {
    Settings::new().with(more).upstream("feed", "binance", "ws://127.0.0.1:9/").monitor("m", "d", "feed", &["x"], "")
}

#[test]
fn of_two_daemons_on_one_data_folder_exactly_one_runs_and_the_other_names_it() {
    let place = Workplace::new();
    quiet("").write(&place);
    for _ in 0..10 {
        let (mut winner, loser) = two([(&place, "sluice.toml"), (&place, "sluice.toml")]);
        assert_eq!(loser.code, Some(73), "{}", loser.stderr);
        let named = format!("is locked by process {}; stop that one or change `daemon.data_dir`", winner.id());
        assert!(loser.stderr.contains(&named), "{}", loser.stderr);
        winner.signal(Signal::TERM);
        assert!(winner.end().success(), "{}", winner.stderr());
    }
}

#[test]
fn of_two_daemons_on_one_folder_of_checkpoints_exactly_one_runs_and_the_other_names_it() {
    let place = Workplace::new();
    for (file, data) in [("one.toml", "one"), ("two.toml", "two")] {
        quiet(&format!("[daemon]\ndata_dir = \"{data}\"\n[checkpoint]\ndir = \"shared\"")).write(&place);
        fs::rename(place.path("sluice.toml"), place.path(file)).unwrap();
    }
    for _ in 0..10 {
        let (mut winner, loser) = two([(&place, "one.toml"), (&place, "two.toml")]);
        assert_eq!(loser.code, Some(73), "{}", loser.stderr);
        let named = format!("is locked by process {}; stop that one or change `checkpoint.dir`", winner.id());
        assert!(loser.stderr.contains(&named), "{}", loser.stderr);
        winner.signal(Signal::KILL);
        winner.end();
    }
}

#[test]
fn a_start_that_is_killed_again_and_again_ends_in_the_same_journal() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "5000"]);
    feed_settings(&feed, "[checkpoint]\ninterval = \"5ms\"").write(&place);
    let daemon = Daemon::again(&place);
    until("events are durable", || (daemon.metrics().value("sluice_journal_durable_offset", &[]) > 500).then_some(()));
    daemon.kill();
    feed.kill();
    let durable = stat(&place)["durable_offset"].as_u64().unwrap();
    // From before anything was read to after it runs.
    for milliseconds in (0..60).step_by(3) {
        let mut process = Process::start(&place, &["run", "--config", "sluice.toml"]);
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        process.signal(Signal::KILL);
        process.end();
        assert!(stat(&place)["durable_offset"].as_u64().unwrap() >= durable);
    }
    Daemon::again(&place).stop();
    let outcome = place.run(["journal", "check", "--config", "sluice.toml"]);
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
    let trades = super::processes::query(&place, &["--monitor", "trades"]);
    assert!(trades.len() as u64 + 10 >= durable / 2, "{} trades of {durable}", trades.len());
    assert!(trades.windows(2).all(|pair| pair[0].offset < pair[1].offset), "in order, each once");
}

#[test]
fn a_checkpoint_reads_the_same_for_people_and_programs() {
    let place = Workplace::new();
    quiet("").write(&place);
    Daemon::again(&place).stop();
    let journal = JournalId(show(&place)["journal"].as_str().unwrap().parse().unwrap());
    let written = checkpoint(journal, 12);
    let name = format!("{journal}-{:020}", 12);
    place.write(&format!("checkpoints/{name}"), encode_checkpoint(&written));
    let shown: Value = serde_json::from_str(&json(&place, &["checkpoint", "show", "12"])).unwrap();
    assert_eq!(shown["sinks"][0]["next"], 6);
    assert_eq!(shown["resume_tokens"][0]["token"], "1725519626134432");
    assert_eq!(shown["version"], 1);
    let table = place.run(["checkpoint", "show", &name, "--config", "sluice.toml"]).stdout;
    for text in ["durable offset", "warehouse", "postgres", "1725519626134432", "2024-08-08T23:54:15Z"] {
        assert!(table.contains(text), "{text} in {table}");
    }
    let outcome = place.run(["checkpoint", "show", "99", "--config", "sluice.toml"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("there is no checkpoint `99`"), "{}", outcome.stderr);
    let outcome = place.run(["checkpoint", "create", "--config", "sluice.toml", "--set", "server.listen=127.0.0.1:9"]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
}
