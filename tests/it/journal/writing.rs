//! From submission to a reader.

use sluice::journal::{JournalError, JournalReader, Offset};

use super::support::{Feed, append, assert_events, open, read_all};

#[test]
fn what_is_durable_is_read_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(3);
    for round in 1..=4_u64 {
        let journal = open(dir.path());
        assert_eq!(journal.durable(), Offset((round - 1) * 100));
        append(&journal, feed.block(60));
        append(&journal, feed.block(40));
        assert_eq!(journal.close().unwrap(), Offset(round * 100));
    }
    let mut reader = JournalReader::open(dir.path()).unwrap();
    assert_events(&read_all(&mut reader), 0, 400);
    let journal = open(dir.path());
    assert_events(&read_all(&mut journal.reader()), 0, 400);
}

#[test]
fn a_second_process_is_told_who_has_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let options = sluice::journal::JournalOptions::new(super::support::settings());
    let error = sluice::journal::Journal::open(dir.path(), options).unwrap_err();
    assert!(matches!(error, JournalError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert_eq!(error.exit_code(), 73);
    drop(journal);
    open(dir.path());
}
