//! Files of other releases: an older one's are read, a newer one's refused and left as they were. `tests/data/format-1` was written
//! by the first release that had journal and checkpoints of format version 1, and is never written anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::processes::{Daemon, Settings, json};
use super::support::{Workplace, project_file};

const FIXTURE: &str = "tests/data/format-1";

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

/// A folder as that release left it, with settings that ask nobody for anything.
fn left_behind() -> Workplace {
    let place = Workplace::new();
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
    copy(&fixture.join("journal"), &place.path("data/journal"));
    copy(&fixture.join("checkpoints"), &place.path("checkpoints"));
    Settings::new()
        .with("[journal]\nretention = \"36500d\"")
        .upstream("feed", "binance", "ws://127.0.0.1:9/")
        .monitor("trades", "spot", "feed", &["btcusdt@trade"], "")
        .write(&place);
    place
}

/// Every file of a folder with its content, but for locks.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "lock"));
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_journal_and_a_checkpoint_of_format_version_1_are_read_and_gone_on_with() {
    let place = left_behind();
    let expected = project_file(&format!("{FIXTURE}/events.jsonl"));
    let events = || json(&place, &["query", "--domain", "spot", "--domain", "social"]);
    assert_eq!(events(), expected);
    let shown: Value = serde_json::from_str(&json(&place, &["checkpoint", "show"])).unwrap();
    assert_eq!(shown["version"], 1);
    assert_eq!(shown, serde_json::from_str::<Value>(&project_file(&format!("{FIXTURE}/checkpoint.json"))).unwrap());

    let log = Daemon::again(&place).stop();
    assert!(log.contains("(shutdown); cursors of sinks: 1, resume tokens: 1"), "{log}");
    let durable = &shown["durable_offset"];
    assert!(log.contains(&format!("durable up to offset {durable}, closed cleanly before")), "{log}");
    assert_eq!(events(), expected);
    let outcome = place.run(["journal", "check", "--config", "sluice.toml"]);
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn a_journal_of_a_newer_format_is_refused_and_left_as_it_was() {
    let place = left_behind();
    for segment in fs::read_dir(place.path("data/journal")).unwrap().map(|entry| entry.unwrap().path()) {
        if segment.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = fs::read(&segment).unwrap();
            bytes[8] = 3; // 2 is that of journals with holes.
            fs::write(segment, bytes).unwrap();
        }
    }
    let (journal, checkpoints) = (content(&place.path("data/journal")), content(&place.path("checkpoints")));
    for command in [&["run"][..], &["query"], &["journal", "stat"]] {
        let outcome = place.run(command.iter().chain(&["--config", "sluice.toml"]));
        assert_eq!(outcome.code, Some(65), "{command:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("has format version 3, newer than this release reads"), "{}", outcome.stderr);
    }
    assert!(content(&place.path("data/journal")) == journal && content(&place.path("checkpoints")) == checkpoints);
}
