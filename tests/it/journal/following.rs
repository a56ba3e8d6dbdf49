//! Readers: where they begin, what they see, and when.

use std::sync::Arc;

use sluice::clock::UnixNanos;
use sluice::config::ByteSize;
use sluice::journal::{BlockFilter, Journal, JournalError, JournalOptions, JournalReader, Offset, TimeRange};

use super::sim_storage::SimStorage;
use super::support::{Feed, START, append, assert_events, payload, read_all, settings, wait_for};

fn open(storage: &SimStorage, segment_size: u64) -> Journal {
    let mut settings = settings();
    settings.segment_size = ByteSize(segment_size);
    settings.sync_interval = std::time::Duration::ZERO;
    Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings)).unwrap().0
}

fn follow(reader: &mut JournalReader, until: u64) {
    let mut next = 0;
    while next < until {
        match reader.next_block(&BlockFilter::all()) {
            Ok(Some(block)) => {
                for event in block.events() {
                    assert_eq!((event.offset, event.payload), (Offset(next), payload(next).as_bytes()));
                    next += 1;
                }
            }
            Ok(None) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(reader.next_block(&BlockFilter::all()).unwrap().is_none());
}

#[test]
fn a_reader_at_the_tail_gets_each_event_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.segment_size = ByteSize(20_000);
    settings.sync_interval = std::time::Duration::ZERO;
    let journal = Journal::open(dir.path(), JournalOptions::new(settings)).unwrap().0;
    let total = 20_000;
    std::thread::scope(|scope| {
        let mut near = journal.reader();
        scope.spawn(move || follow(&mut near, total));
        let mut far = JournalReader::open(dir.path()).unwrap();
        scope.spawn(move || follow(&mut far, total));
        // To others a segment that is just being begun is never one that is missing.
        let account = JournalReader::open(dir.path()).unwrap();
        scope.spawn(move || while account.stat().unwrap().durable_offset < Offset(total) {});
        let mut feed = Feed::new(5);
        while feed.next < total {
            let mut block = feed.block((feed.next % 90 + 10).min(total - feed.next));
            while let Err(back) = journal.try_submit(block) {
                block = back;
                std::thread::yield_now();
            }
        }
    });
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 10, "the reader went over many segments");
}

#[test]
fn readers_never_see_what_is_written_but_not_synced() {
    let storage = SimStorage::new();
    let journal = open(&storage, 1 << 20);
    let mut feed = Feed::new(2);
    append(&journal, feed.block(10));
    let mut near = journal.reader();
    let mut far = JournalReader::open_on(Arc::new(storage.clone())).unwrap();
    for reader in [&mut near, &mut far] {
        assert_events(&read_all(reader), 0, 10);
    }
    let before = storage.bytes_of_segments();
    storage.hold_syncs(true);
    journal.try_submit(feed.block(10)).unwrap();
    wait_for(|| storage.bytes_of_segments() > before);
    for reader in [&mut near, &mut far, &mut JournalReader::open_on(Arc::new(storage.clone())).unwrap()] {
        let from = if reader.position() == Offset(0) { 0 } else { 10 };
        assert_events(&read_all(reader), from, 10);
        assert_eq!(reader.stat().unwrap().events, 10);
        assert_eq!(reader.durable().unwrap(), Offset(10));
    }
    storage.hold_syncs(false);
    wait_for(|| journal.durable() == Offset(20));
    for reader in [&mut near, &mut far] {
        assert_events(&read_all(reader), 10, 20);
    }
}

#[test]
fn a_seek_finds_any_offset_and_any_time() {
    let storage = SimStorage::new();
    let journal = open(&storage, 1200);
    let mut feed = Feed::new(3);
    for size in [7, 1, 30, 2, 19, 5, 40, 11] {
        append(&journal, feed.block(size));
    }
    let total = feed.next;
    let check = |mut reader: JournalReader| {
        for from in 0..total {
            reader.seek(Offset(from));
            assert_events(&read_all(&mut reader), from, total);
            reader.seek_received(UnixNanos(START + i64::try_from(from).unwrap() * 1000)).unwrap();
            let block = reader.next_block(&BlockFilter::all()).unwrap().unwrap();
            let offsets: Vec<_> = block.events().map(|event| event.offset.0).collect();
            assert!(offsets.contains(&from), "event {from} is in the first block found: {offsets:?}");
        }
        reader.seek(Offset(total));
        assert!(reader.next_block(&BlockFilter::all()).unwrap().is_none());
        reader.seek_received(UnixNanos(i64::MAX)).unwrap();
        assert!(reader.next_block(&BlockFilter::all()).unwrap().is_none());
        reader.seek_received(UnixNanos(0)).unwrap();
        assert_events(&read_all(&mut reader), 0, total);
    };
    check(journal.reader());
    check(JournalReader::open_on(Arc::new(storage.clone())).unwrap());
    journal.close().unwrap();
    check(JournalReader::open_on(Arc::new(storage)).unwrap());
}

#[test]
fn a_filter_passes_over_blocks_without_losing_any_event() {
    let storage = SimStorage::new();
    let journal = open(&storage, 2000);
    let mut feed = Feed::new(4);
    for _ in 0..60 {
        append(&journal, feed.block(1));
    }
    let received = TimeRange { least: UnixNanos(START + 20_000), greatest: UnixNanos(START + 29_000) };
    let filters = [
        BlockFilter { monitors: vec!["monitor-1".into()], ..BlockFilter::all() },
        BlockFilter { domains: vec!["trading".into()], ..BlockFilter::all() },
        BlockFilter { received: Some(received), ..BlockFilter::all() },
        BlockFilter {
            event_time: Some(TimeRange {
                least: received.least.saturating_sub(std::time::Duration::from_millis(50)),
                greatest: received.greatest.saturating_sub(std::time::Duration::from_millis(50)),
            }),
            monitors: vec!["monitor-3".into(), "monitor-2".into()],
            ..BlockFilter::all()
        },
        BlockFilter { monitors: vec!["nobody".into()], ..BlockFilter::all() },
    ];
    let mut all = journal.reader();
    let blocks = read_all(&mut all);
    for filter in filters {
        let wanted: Vec<_> = blocks
            .iter()
            .flat_map(sluice::journal::Block::events)
            .filter(|event| filter.admits(event))
            .map(|event| event.offset)
            .collect();
        let mut reader = journal.reader();
        let (mut found, mut read) = (Vec::new(), 0);
        while let Some(block) = reader.next_block(&filter).unwrap() {
            read += 1;
            found.extend(block.events().filter(|event| filter.admits(event)).map(|event| event.offset));
        }
        assert_eq!(found, wanted);
        assert_eq!(read, wanted.len(), "{filter:?} reads no block for nothing");
    }
}

#[test]
fn a_reader_left_behind_by_retention_is_told_where_to_go_on() {
    let storage = SimStorage::new();
    let mut settings = settings();
    settings.segment_size = ByteSize(600);
    settings.max_size = ByteSize(3000);
    settings.sync_interval = std::time::Duration::ZERO;
    let journal = Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings)).unwrap().0;
    let mut feed = Feed::new(2);
    let hold = journal.hold("a reader", Offset(8));
    for _ in 0..12 {
        append(&journal, feed.block(8));
    }
    let earliest = || journal.reader().position();
    wait_for(|| earliest() == Offset(8));
    let mut behind = journal.reader();
    assert_eq!(behind.next_block(&BlockFilter::all()).unwrap().unwrap().header().base(), Offset(8));
    drop(hold);
    append(&journal, feed.block(8));
    wait_for(|| earliest() > Offset(40));
    assert!(storage.bytes_of_segments() < 4000);
    behind.seek(Offset(8));
    let error = behind.next_block(&BlockFilter::all()).unwrap_err();
    let JournalError::OffsetGone { asked: Offset(8), earliest } = error else { panic!("{error}") };
    behind.seek(earliest);
    assert_events(&read_all(&mut behind), earliest.0, feed.next);
}
