//! From submission to a reader.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::journal::{
    AccountDelta, BlockBuilder, Encoder, EventId, Journal, JournalError, JournalOptions, JournalReader, JournalState,
    NewEvent, Notice, Offset, Path, SourceSlot,
};

use super::sim_storage::SimStorage;
use super::support::{Feed, START, append, assert_events, open, read_all, settings, wait_for};

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
    let error = Journal::open(dir.path(), JournalOptions::new(settings())).unwrap_err();
    assert!(matches!(error, JournalError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert_eq!(error.exit_code(), 73);
    drop(journal);
    open(dir.path());
}

#[test]
fn dedupe_hashes_of_the_last_minutes_are_read_without_the_events() {
    let storage = SimStorage::new();
    let mut feed = Feed::new(3);
    let mut settings = settings();
    settings.segment_size = sluice::config::ByteSize(1000);
    let open = || Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings.clone())).unwrap().0;
    let journal = open();
    for _ in 0..20 {
        append(&journal, feed.block(10));
    }
    drop(journal);
    // Payloads are not looked at: damage in them does not keep the windows from being filled.
    let name = storage.segments()[5].clone();
    let mut content = storage.content(&name);
    let payloads = content.windows(4).rposition(|window| window == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    content[payloads + 30] ^= 1;
    storage.set_content(&name, content);
    let journal = open();
    let all: Vec<_> = journal.recent_hashes(Duration::from_mins(1)).unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), 200);
    for (number, (hash, _)) in all.iter().enumerate() {
        assert_eq!(hash.hash, (number as u128) << 64 | 7);
    }
    // Event n is of microsecond n: the last 55 and the block they begin in.
    let recent: Vec<_> = journal.recent_hashes(Duration::from_micros(55)).unwrap().map(Result::unwrap).collect();
    assert_eq!(recent.len(), 60);
    assert_eq!(recent[0].0.hash >> 64, 140);
    assert_eq!(recent[59].1, UnixNanos(START + 199_000));
}

#[test]
fn the_account_of_every_monitor_adds_up_from_headers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = BlockBuilder::new(Path::Smart);
    let mut encoder = Encoder::new();
    let mut rng = fastrand::Rng::with_seed(3);
    let monitors: Vec<_> = (0..40).map(super::support::monitor).collect();
    let mut expected = std::collections::BTreeMap::new();
    for _ in 0..5 {
        let journal = open(dir.path());
        for _ in 0..6 {
            for monitor in &monitors {
                let (events, repeats, control, quarantined) = (rng.u64(..4), rng.u64(..3), rng.u64(..3), rng.u64(..2));
                for _ in 0..events {
                    let source = builder.source(monitor, "t", SourceSlot(monitor.index));
                    builder.push(&NewEvent {
                        source,
                        received: UnixNanos::now(),
                        event_time: None,
                        payload: b"{}",
                        id: EventId::None,
                        key: None,
                        hash: None,
                        conflict: false,
                        handover: false,
                    });
                }
                let messages = events + repeats + control + quarantined;
                let delta = AccountDelta { messages, repeats, control, quarantined };
                builder.account(monitor, delta);
                let sum: &mut (u64, AccountDelta) = expected.entry(monitor.name.to_string()).or_default();
                sum.0 += events;
                sum.1.add(delta);
            }
            journal.try_submit(builder.finish(&mut encoder)).unwrap();
        }
        journal.close().unwrap();
    }
    let stat = JournalReader::open(dir.path()).unwrap().stat().unwrap();
    assert_eq!(stat.monitors.len(), 40);
    assert_eq!(stat.segments, 5);
    for ((_, name), counted) in &stat.monitors {
        assert_eq!((counted.events, counted.account), expected[name], "{name}");
        let account = counted.account;
        let sum = counted.events + account.repeats + account.control + account.quarantined;
        assert_eq!(account.messages, sum, "{name}");
    }
    assert_eq!(stat.events, stat.durable_offset.0);
    assert_eq!(stat.domains.values().map(|domain| domain.events).sum::<u64>(), stat.events);
}

#[test]
fn what_waits_while_a_sync_runs_shares_the_next_one() {
    let storage = SimStorage::new();
    let commits = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&commits);
    let mut options = JournalOptions::new(settings());
    options.observer = Box::new(move |notice| {
        if let Notice::Committed(report) = notice {
            let runs: u32 = report.received.iter().map(|run| run.events).sum();
            heard.lock().unwrap().push((report.blocks, report.events, runs));
        }
    });
    let journal = Journal::open_on(Arc::new(storage.clone()), options).unwrap().0;
    let mut feed = Feed::new(2);
    append(&journal, feed.block(1));
    assert!(storage.bytes_of_segments() > 0);
    let before = storage.bytes_of_segments();
    storage.hold_syncs(true);
    journal.try_submit(feed.block(2)).unwrap();
    wait_for(|| storage.bytes_of_segments() > before);
    assert!(!journal.pace().idle);
    for _ in 0..10 {
        journal.try_submit(feed.block(3)).unwrap();
    }
    assert_eq!(journal.queued().1, 10);
    storage.hold_syncs(false);
    wait_for(|| journal.durable().0 == 33);
    assert_eq!(*commits.lock().unwrap(), [(1, 1, 1), (1, 2, 2), (10, 30, 30)]);
    wait_for(|| journal.pace().idle);
}

#[tokio::test]
async fn links_wait_for_room_and_hear_of_a_failure() {
    let storage = SimStorage::new();
    let journal = Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings())).unwrap().0;
    let mut feed = Feed::new(2);
    append(&journal, feed.block(1));
    let before = storage.bytes_of_segments();
    storage.hold_syncs(true);
    journal.try_submit(feed.block(1)).unwrap();
    wait_for(|| storage.bytes_of_segments() > before);
    while journal.try_submit(feed.block(1)).is_ok() {}
    let room = tokio::time::timeout(Duration::from_millis(20), journal.room(0)).await;
    assert!(room.is_err(), "the queue is full");
    storage.hold_syncs(false);
    journal.room(0).await;
    storage.fail_sync_at(storage.steps() + 20);
    while !matches!(journal.state(), JournalState::Failed(_)) {
        if journal.try_submit(feed.block(1)).is_err() {
            journal.room(0).await;
        }
    }
    assert_eq!(journal.failed().await.exit_code(), 74);
    // Nobody waits for room that will never be.
    journal.room(0).await;
    assert!(journal.close().is_err());
}
