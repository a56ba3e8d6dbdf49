//! A damaged journal is looked at, repaired, exported, backed up and restored from the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sluice::checkpoint::{Cause, Checkpoint, CheckpointFolder};
use sluice::clock::UnixNanos;
use sluice::config::ByteSize;
use sluice::journal::{Journal, JournalOptions, JournalReader, Offset};

use super::journal::support;
use super::processes::{Daemon, Feed, Settings, query, until};
use super::support::{Outcome, Workplace};

/// A folder with settings and a journal of three segments with ten events each, in blocks of five.
fn three_segments() -> Workplace {
    let place = Workplace::new().with_file("sluice.toml", "[daemon]\ndata_dir = \"data\"\n");
    let mut feed = support::Feed::new(2);
    for _ in 0..3 {
        let journal = support::open(&place.path("data/journal"));
        support::append(&journal, feed.block(5));
        support::append(&journal, feed.block(5));
        journal.close().unwrap();
    }
    place
}

fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let sorted: BTreeSet<_> =
        names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "seg")).collect();
    sorted.into_iter().collect()
}

/// Flips the last byte of the first block of the second segment: five events.
fn damage(place: &Workplace) -> String {
    let name = segments(&place.path("data/journal"))[1].clone();
    let path = place.path(&format!("data/journal/{name}"));
    let mut content = std::fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().unwrap()) as usize;
    let end = 96 + word(100) + word(104);
    content[end - 1] ^= 1;
    std::fs::write(&path, content).unwrap();
    name
}

fn run(place: &Workplace, arguments: &[&str]) -> Outcome {
    place.run(["--config", "sluice.toml"].iter().chain(arguments))
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

fn offsets(place: &Workplace, more: &[&str]) -> Vec<u64> {
    query(place, more).iter().map(|event| event.offset).collect()
}

#[test]
fn damage_is_named_and_nothing_is_changed_before_somebody_says_yes() {
    let place = three_segments();
    let whole = run(&place, &["journal", "check"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let name = damage(&place);
    let damaged = std::fs::read(place.path(&format!("data/journal/{name}"))).unwrap();
    let checked = run(&place, &["journal", "check", "--output", "json"]);
    assert_eq!(checked.code, Some(65), "{checked:?}");
    let report = json(&checked);
    let flaw = &report["flaws"][0];
    assert_eq!((report["whole"].as_bool(), report["lost_events"].as_u64()), (Some(false), Some(5)));
    assert_eq!((flaw["file"].as_str(), flaw["position"].as_u64()), (Some(name.as_str()), Some(96)));
    assert_eq!((flaw["lost_from"].as_u64(), flaw["lost_to"].as_u64()), (Some(10), Some(15)));
    let table = run(&place, &["journal", "check"]);
    assert!(table.stdout.contains("10 to 14") && table.stdout.contains("sluice journal repair"), "{table:?}");
    // What reads tells where to look.
    let read = run(&place, &["query", "--from", "10"]);
    assert_eq!(read.code, Some(65));
    assert!(read.stderr.contains("sluice journal check"), "{read:?}");

    let dry = run(&place, &["journal", "repair"]);
    assert_eq!(dry.code, Some(1), "there is something to repair: {dry:?}");
    assert!(dry.stdout.contains("--yes") && dry.stdout.contains("goes on at offset 30"), "{dry:?}");
    assert_eq!(std::fs::read(place.path(&format!("data/journal/{name}"))).unwrap(), damaged);

    let done = run(&place, &["journal", "repair", "--yes", "--output", "json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let kept = json(&done)["kept"][0].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read(place.path(&kept)).unwrap(), damaged, "the damaged file is kept");
    assert_eq!(run(&place, &["journal", "check"]).code, Some(0));
    assert_eq!(run(&place, &["journal", "repair"]).code, Some(0), "nothing is left to repair");

    // Readers pass over the hole, and say so.
    let expected: Vec<u64> = (0..10).chain(15..30).collect();
    assert_eq!(offsets(&place, &[]), expected);
    let read = run(&place, &["query", "--output", "json"]);
    assert!(read.stderr.contains("events 10 to 14 are lost"), "{read:?}");
    assert_eq!(run(&place, &["query", "--to", "10", "--output", "json"]).stderr, "", "it is asked for nothing lost");
    let stat = json(&run(&place, &["journal", "stat", "--output", "json"]));
    assert_eq!((stat["events"].as_u64(), stat["lost"].as_u64()), (Some(25), Some(5)));
    assert_eq!(stat["holes"], serde_json::json!([{"from": 10, "to": 15}]));
    assert!(run(&place, &["tail", "--no-follow", "-n", "18"]).stderr.contains("events 10 to 14 are lost"));
}

#[test]
fn repair_goes_on_where_somebody_says_it_must() {
    let place = three_segments();
    assert_eq!(run(&place, &["journal", "repair", "--resume-after", "40"]).code, Some(1));
    let done = run(&place, &["journal", "repair", "--resume-after", "40", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let journal = support::open(&place.path("data/journal"));
    assert_eq!(journal.durable(), Offset(40));
    // Nor does repair touch what another process has open.
    let locked = run(&place, &["journal", "repair", "--yes"]);
    assert_eq!(locked.code, Some(73), "{locked:?}");
    drop(journal);
    // A checkpoint that was written later says by its name what was durable.
    let id = json(&run(&place, &["journal", "stat", "--output", "json"]))["journal"].as_str().unwrap().to_owned();
    place.write(&format!("checkpoints/{id}-{:020}", 55), "of any form");
    let dry = run(&place, &["journal", "repair", "--output", "json"]);
    assert_eq!((dry.code, json(&dry)["next_offset"].as_u64()), (Some(1), Some(55)), "{dry:?}");
}

#[test]
fn a_daemon_that_refuses_a_damaged_journal_starts_over_the_repaired_one() {
    let place = three_segments();
    let name = segments(&place.path("data/journal"))[1].clone();
    std::fs::remove_file(place.path(&format!("data/journal/{name}"))).unwrap();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let settings = Settings::new().upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "prices",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    settings.write(&place);
    let refused = run(&place, &["run"]);
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert!(refused.stderr.contains("sluice journal check"), "{refused:?}");
    let repaired = run(&place, &["journal", "repair", "--yes"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    let daemon = Daemon::again(&place);
    until("it goes on", || (offsets(&place, &["--from", "30", "--monitor", "trades"]).len() > 10).then_some(()));
    // Beside the daemon the check goes as far as is durable.
    let checked = run(&place, &["journal", "check", "--output", "json"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(json(&checked)["holes"], serde_json::json!([{"from": 10, "to": 20}]));
    daemon.stop();
    let all = offsets(&place, &["--domain", "trading", "--domain", "liquidity"]);
    assert_eq!(all, (0..10).chain(20..30).collect::<Vec<u64>>());
}

#[test]
fn an_export_is_what_query_prints() {
    let place = three_segments();
    let span = ["--from", "3", "--to", "17", "--monitor", "monitor-1"];
    let expected = run(&place, &[&["query", "--output", "json"], &span[..]].concat()).stdout;
    assert_eq!(expected.lines().count(), 7);
    assert_eq!(run(&place, &[&["journal", "export"], &span[..]].concat()).stdout, expected);
    let outcome = run(&place, &[&["journal", "export", "--into", "out", "--zstd"], &span[..]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let packed = std::fs::read(place.path("out/events-00000000000000000003-00000000000000000015.jsonl.zst")).unwrap();
    assert_eq!(String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap(), expected);
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 1, "nothing unfinished is left");
}

#[test]
fn a_backup_of_a_running_daemon_is_whole_up_to_one_offset() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "3000"]);
    let settings = Settings::new()
        .with("[journal]\nsegment_size = \"64KiB\"\nmax_size = \"512KiB\"\n[batch]\nmax_bytes = \"16KiB\"")
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "prices", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    // Retention is at work while the copies are made.
    until("retention deletes", || {
        let first = segments(&place.path("data/journal")).first().cloned()?;
        (!first.starts_with("00000000000000000000-")).then_some(())
    });
    let mut manifests = Vec::new();
    for number in 0..5 {
        let backup = run(&place, &["backup", &format!("backup-{number}"), "--output", "json"]);
        assert_eq!(backup.code, Some(0), "{backup:?}");
        manifests.push(json(&backup));
        // So is a check, while segments come and go under it.
        let checked = run(&place, &["journal", "check"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
    assert!(manifests[0]["linked"].as_u64() > Some(2), "{manifests:?}");
    daemon.stop();
    for (number, manifest) in manifests.iter().enumerate() {
        let data_dir = format!("daemon.data_dir=backup-{number}");
        let (from, to) = (manifest["earliest_offset"].as_u64().unwrap(), manifest["offset"].as_u64().unwrap());
        let reader = JournalReader::open(&place.path(&format!("backup-{number}/journal"))).unwrap();
        assert_eq!(reader.stat().unwrap().events, to - from);
        assert_eq!(reader.durable().unwrap(), Offset(to));
        let checked = run(&place, &["--set", &data_dir, "journal", "check"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
    let refused = run(&place, &["backup", "backup-0"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn a_restored_journal_is_another_one_with_the_same_events() {
    let place = three_segments();
    damage(&place);
    // A damaged journal is no backup.
    let refused = run(&place, &["backup", "damaged"]);
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert!(!place.path("damaged/backup.json").exists());
    let unfinished = run(&place, &["--set", "daemon.data_dir=new", "restore", "damaged"]);
    assert_eq!(unfinished.code, Some(2), "{unfinished:?}");
    // One with a recorded hole is, and its newest segment may be open.
    assert_eq!(run(&place, &["journal", "repair", "--yes"]).code, Some(0));
    let journal = support::open(&place.path("data/journal"));
    let mut feed = support::Feed::new(2);
    feed.next = 30;
    support::append(&journal, feed.block(7));
    // A checkpoint goes along, the newest that speaks of nothing behind the backup's end.
    let checkpoints = CheckpointFolder::open(&place.path("checkpoints")).unwrap();
    for durable in [30, 36, 42] {
        let checkpoint = Checkpoint {
            journal: journal.id(),
            durable: Offset(durable),
            written: UnixNanos(0),
            cause: Cause::Demand,
            program: "a test".into(),
            sinks: Vec::new(),
            tokens: Vec::new(),
            settings: BTreeMap::new(),
        };
        checkpoints.write(&checkpoint, 10).unwrap();
    }
    drop(checkpoints);
    let backup = run(&place, &["backup", "backup", "--output", "json"]);
    assert_eq!(backup.code, Some(0), "{backup:?}");
    let old = journal.id();
    assert_eq!(
        (json(&backup)["offset"].as_u64(), json(&backup)["journal"].as_str()),
        (Some(37), Some(&*old.to_string()))
    );
    support::append(&journal, feed.block(5));
    drop(journal);

    let occupied = run(&place, &["restore", "backup"]);
    assert_eq!(occupied.code, Some(2), "{occupied:?}");
    assert!(occupied.stderr.contains("there is a journal"), "{occupied:?}");
    // What a restore that was killed left behind is in nobody's way.
    place.write("new/journal.restoring/00000000000000000000-0000000000.seg", "half");
    let new = ["--set", "daemon.data_dir=new"];
    let restored = run(&place, &[&new[..], &["restore", "backup", "--output", "json"]].concat());
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let restored = json(&restored);
    let id = restored["journal"].as_str().unwrap();
    assert_ne!(id, old.to_string());
    let checkpoint = restored["checkpoint"].as_str().unwrap();
    assert_eq!(checkpoint, format!("{id}-{:020}", 36));
    let there = sluice::checkpoint::decode(&std::fs::read(place.path(&format!("checkpoints/{checkpoint}"))).unwrap());
    assert_eq!(there.unwrap().journal.to_string(), id);
    assert_eq!(restored["ancestors"], serde_json::json!([{"journal": old.to_string(), "end": 37}]));
    assert!(!place.path("new/journal.restoring").exists());
    let events = |data_dir: &str, more: &[&str]| {
        let set = format!("daemon.data_dir={data_dir}");
        let outcome = run(&place, &[&["--set", &set, "query", "--output", "json"], more].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.stdout
    };
    assert_eq!(events("new", &[]), events("data", &["--to", "37"]));
    assert_eq!(run(&place, &[&new[..], &["journal", "check"]].concat()).code, Some(0));

    // It opens, knows where it comes from, and goes on by itself; a backup of it remembers both.
    let journal = support::open(&place.path("new/journal"));
    assert_eq!((journal.id().to_string().as_str(), journal.durable()), (id, Offset(37)));
    let ancestors = journal.ancestors();
    assert_eq!((ancestors.len(), ancestors[0].journal, ancestors[0].end), (1, old, Offset(37)));
    feed.next = 37;
    support::append(&journal, feed.block(3));
    drop(journal);
    assert_eq!(run(&place, &[&new[..], &["backup", "again"]].concat()).code, Some(0));
    let third = run(&place, &["--set", "daemon.data_dir=third", "restore", "again", "--output", "json"]);
    let ancestors = json(&third)["ancestors"].clone();
    assert_eq!(ancestors, serde_json::json!([{"journal": old.to_string(), "end": 37}, {"journal": id, "end": 40}]));
}

#[test]
fn a_backup_over_a_crashed_journal_waits_for_its_recovery() {
    let place = three_segments();
    // As a power cut leaves it: an unsealed newest segment and no watermark.
    let mut settings = support::settings();
    settings.segment_size = ByteSize::mib(1);
    let journal = Journal::open(&place.path("data/journal"), JournalOptions::new(settings)).unwrap().0;
    let mut feed = support::Feed::new(2);
    feed.next = 30;
    support::append(&journal, feed.block(5));
    let crashed = Workplace::new().with_file("sluice.toml", "[daemon]\ndata_dir = \"data\"\n");
    std::fs::create_dir_all(crashed.path("data/journal")).unwrap();
    for name in segments(&place.path("data/journal")) {
        let name = format!("data/journal/{name}");
        std::fs::copy(place.path(&name), crashed.path(&name)).unwrap();
    }
    let unsettled = run(&crashed, &["backup", "backup"]);
    assert_eq!(unsettled.code, Some(1), "{unsettled:?}");
    assert!(unsettled.stderr.contains("started once"), "{unsettled:?}");
    drop(support::open(&crashed.path("data/journal")));
    assert_eq!(run(&crashed, &["backup", "backup-2"]).code, Some(0));
}
