//! Full disks, retention, and what opening costs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice::config::{ByteSize, JournalSettings, WhenFull};
use sluice::journal::{Journal, JournalOptions, JournalReader, JournalState, Notice, Offset};

use super::sim_storage::SimStorage;
use super::support::{Feed, append, assert_events, read_all, settings, wait_for};

type Notices = Arc<Mutex<Vec<String>>>;

fn open(storage: &SimStorage, settings: JournalSettings) -> (Journal, Notices) {
    let notices = Notices::default();
    let heard = Arc::clone(&notices);
    let mut options = JournalOptions::new(settings);
    options.observer = Box::new(move |notice| match notice {
        Notice::Dropped { from, to, .. } => heard.lock().unwrap().push(format!("dropped {from} {to}")),
        Notice::Retired { from, to, .. } => heard.lock().unwrap().push(format!("retired {from} {to}")),
        Notice::Full { .. } => heard.lock().unwrap().push("full".into()),
        Notice::Room => heard.lock().unwrap().push("room".into()),
        _ => {}
    });
    (Journal::open_on(Arc::new(storage.clone()), options).unwrap().0, notices)
}

fn small_segments() -> JournalSettings {
    JournalSettings { segment_size: ByteSize(600), sync_interval: Duration::ZERO, ..settings() }
}

#[test]
fn a_full_disk_stops_the_taking_and_room_resumes_it() {
    let storage = SimStorage::new();
    let (journal, notices) = open(&storage, small_segments());
    let mut feed = Feed::new(2);
    append(&journal, feed.block(5));
    storage.set_free(64 << 20);
    journal.try_submit(feed.block(5)).unwrap();
    wait_for(|| matches!(journal.state(), JournalState::Full { .. }));
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(block) = journal.try_submit(feed.block(5)) {
            refused = Some(block);
            break;
        }
    }
    let refused = refused.expect("a queue before a full disk is bounded");
    assert_eq!(journal.durable(), Offset(5));

    // The daemon's own events have the reserve.
    let mut own = Feed::new(1);
    let block = own.block(3);
    journal.try_submit_own(block).unwrap();
    wait_for(|| journal.durable() == Offset(8));

    storage.set_free(1 << 40);
    wait_for(|| matches!(journal.state(), JournalState::Writable));
    wait_for(|| journal.try_submit(feed.block(0)).is_ok());
    wait_for(|| journal.queued().1 == 0);
    journal.try_submit(refused).unwrap();
    assert_eq!(journal.close().unwrap(), Offset(feed.next + 3));
    assert_eq!(*notices.lock().unwrap(), ["full", "room"]);
}

#[test]
fn a_stop_on_a_full_disk_says_what_was_lost() {
    let storage = SimStorage::new();
    let (journal, _) = open(&storage, small_segments());
    storage.set_free(0);
    journal.try_submit(Feed::new(1).block(5)).unwrap();
    let error = journal.close().unwrap_err();
    assert!(error.to_string().contains("5 events"), "{error}");
}

#[test]
fn drop_oldest_makes_room_and_names_what_is_lost() {
    let storage = SimStorage::new();
    let (journal, notices) = open(&storage, JournalSettings { when_full: WhenFull::DropOldest, ..small_segments() });
    let mut feed = Feed::new(2);
    for _ in 0..6 {
        append(&journal, feed.block(8));
    }
    let mut behind = journal.reader();
    assert_eq!(behind.position(), Offset(0));
    storage.set_free(0);
    journal.try_submit(feed.block(8)).unwrap();
    // All but the last file go, and then the disk is full as with `block`.
    wait_for(|| matches!(journal.state(), JournalState::Full { .. }));
    storage.set_free(1 << 40);
    wait_for(|| journal.durable() == Offset(56));
    let notices = notices.lock().unwrap().clone();
    assert_eq!(notices[..2], ["dropped 0 8", "dropped 8 16"]);
    assert!(notices.contains(&"full".to_owned()));
    let error = behind.next_block(&sluice::journal::BlockFilter::all()).unwrap_err();
    assert!(matches!(error, sluice::journal::JournalError::OffsetGone { .. }), "{error}");
    let mut reader = journal.reader();
    let earliest = reader.position().0;
    assert!(earliest >= 32);
    assert_events(&read_all(&mut reader), earliest, 56);
}

#[test]
fn segments_older_than_retention_go_and_the_newest_stays() {
    let storage = SimStorage::new();
    let mut feed = Feed::new(2);
    let (journal, _) = open(&storage, small_segments());
    for _ in 0..4 {
        append(&journal, feed.block(8));
    }
    journal.close().unwrap();
    drop(journal);
    // These events are of the year's beginning.
    let (journal, notices) = open(&storage, JournalSettings { retention: Duration::from_secs(1), ..small_segments() });
    wait_for(|| notices.lock().unwrap().len() == 3);
    assert_eq!(*notices.lock().unwrap(), ["retired 0 8", "retired 8 16", "retired 16 24"]);
    assert_eq!(journal.durable(), Offset(32));
    journal.close().unwrap();
    let (journal, _) = open(&storage, small_segments());
    append(&journal, feed.block(8));
    assert_events(&read_all(&mut journal.reader()), 24, 40);
}

#[test]
fn opening_a_large_journal_takes_no_more_than_opening_a_small_one() {
    let cost = |segments: u64| {
        let storage = SimStorage::new();
        let mut feed = Feed::new(2);
        let (journal, _) = open(&storage, small_segments());
        for _ in 0..segments {
            append(&journal, feed.block(8));
        }
        journal.close().unwrap();
        drop(journal);
        let storage = storage.after(super::sim_storage::Crash::Kill);
        let (_journal, _) = open(&storage, small_segments());
        storage.reads_and_lists()
    };
    assert_eq!(cost(3), cost(300));
}

#[test]
fn restarts_without_events_leave_no_segments_behind() {
    let storage = SimStorage::new();
    for _ in 0..50 {
        drop(open(&storage, small_segments()));
    }
    assert!(storage.segments().is_empty());
    let (journal, _) = open(&storage, small_segments());
    let id = journal.id();
    append(&journal, Feed::new(1).block(3));
    drop(journal);
    for _ in 0..50 {
        let (journal, _) = open(&storage, small_segments());
        assert_eq!((journal.id(), journal.durable()), (id, Offset(3)));
    }
    assert_eq!(storage.segments().len(), 1);
    let reader = JournalReader::open_on(Arc::new(storage)).unwrap();
    assert_eq!(reader.stat().unwrap().events, 3);
}

#[test]
fn drop_oldest_says_which_sink_loses_what_before_it_does_and_records_it() {
    let storage = SimStorage::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let mut options = JournalOptions::new(JournalSettings { when_full: WhenFull::DropOldest, ..small_segments() });
    let disk = storage.clone();
    options.observer = Box::new(move |notice| {
        if let Notice::Dropping(span) = notice {
            // It is still there when it is said.
            let oldest = disk.segments().first().cloned().unwrap();
            assert!(oldest.starts_with(&format!("{:020}-", span.from.0)), "{oldest}");
            heard.lock().unwrap().push((**span).clone());
        }
    });
    options.drop_record = Some(Box::new(|span| {
        let text = format!("{} {} {:?}", span.from, span.to, span.holders);
        Some(super::snapshots::own(&text))
    }));
    let journal = Journal::open_on(Arc::new(storage.clone()), options).unwrap().0;
    let mut feed = Feed::new(2);
    for _ in 0..4 {
        append(&journal, feed.block(8));
    }
    let behind = journal.hold("sink warehouse", Offset(5));
    let _far = journal.hold("sink events", Offset(16));
    // Room for the daemon's own events, and no more.
    storage.set_free(32 << 20);
    journal.try_submit(feed.block(8)).unwrap();
    wait_for(|| matches!(journal.state(), JournalState::Full { .. }));
    storage.set_free(1 << 40);
    wait_for(|| journal.durable() == Offset(41));
    let told = told.lock().unwrap().clone();
    let spans: Vec<_> = told.iter().map(|span| (span.from.0, span.to.0)).collect();
    assert_eq!(spans[..2], [(0, 8), (8, 16)]);
    assert_eq!(told[0].holders, [("sink warehouse".into(), Offset(5))]);
    assert_eq!(told[2].holders, [("sink warehouse".into(), Offset(5)), ("sink events".into(), Offset(16))]);
    // One record of all is in the journal, ahead of what the room was for.
    let blocks = read_all(&mut journal.reader());
    let events: Vec<_> = blocks.iter().flat_map(sluice::journal::Block::events).collect();
    let is_own = |event: &&sluice::journal::Event<'_>| event.domain == sluice::journal::OWN_DOMAIN;
    let records: Vec<_> = events.iter().filter(|event| is_own(event)).collect();
    assert_eq!(records.len(), 1);
    let to = told.last().unwrap().to;
    assert_eq!(String::from_utf8_lossy(records[0].payload), format!("0 {to} {:?}", told[2].holders));
    assert_eq!(events.last().unwrap().offset, Offset(records[0].offset.0 + 8), "the feed's block comes behind it");
    let status = journal.retention();
    assert_eq!(status.deleted_segments, told.len() as u64);
    assert!(status.deleted_bytes > 500 * told.len() as u64, "{status:?}");
    drop(behind);
}

#[test]
fn retention_says_who_holds_it_back_and_how_much_is_kept_for_that() {
    let storage = SimStorage::new();
    let settings = JournalSettings { max_size: ByteSize(3000), ..small_segments() };
    let (journal, _) = open(&storage, settings);
    let reader = journal.hold("sink warehouse", Offset(12));
    let mut feed = Feed::new(2);
    for _ in 0..12 {
        append(&journal, feed.block(8));
    }
    wait_for(|| journal.retention().held.is_some_and(|held| held.segments > 5));
    let status = journal.retention();
    let held = status.held.clone().unwrap();
    assert_eq!((&*held.who, held.from, held.above_max_size), ("sink warehouse", Offset(12), true));
    assert_eq!((status.deleted_segments, status.last_run.is_some()), (1, true), "{status:?}");
    let size = storage.bytes_of_segments() as u64;
    assert!(size - held.bytes <= 3000 && size > 5000, "{held:?} of {size}");
    drop(reader);
    append(&journal, feed.block(8));
    wait_for(|| journal.retention().held.is_none());
    assert!(journal.retention().deleted_segments > 5);
    assert!(storage.bytes_of_segments() < 4000);
}
