//! What a segment begins with, and what the daemon's own events may do on a full disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::ByteSize;
use sluice::journal::{
    AccountDelta, Block, BlockBuilder, EncodedBlock, Encoder, Event, EventId, Journal, JournalOptions, JournalReader,
    JournalState, MonitorIdentity, NewEvent, OWN_DOMAIN, Path as Way, STATE_MONITOR, SourceSlot,
};

use super::sim_storage::{Crash, SimStorage};
use super::support::{Feed, START, payload, read_all, settings, wait_for};

/// An event of the daemon's own.
pub(super) fn own(text: &str) -> EncodedBlock {
    // Apart from those of the feed.
    let monitor = Arc::new(MonitorIdentity { index: 50, name: STATE_MONITOR.into(), domain: OWN_DOMAIN.into() });
    let mut builder = BlockBuilder::new(Way::Smart);
    let source = builder.source(&monitor, "state", SourceSlot(0));
    builder.account(&monitor, AccountDelta { messages: 1, ..AccountDelta::default() });
    builder.push(&NewEvent {
        source,
        received: UnixNanos(START),
        event_time: None,
        payload: text.as_bytes(),
        id: EventId::None,
        key: None,
        hash: None,
        conflict: false,
        handover: false,
    });
    builder.finish(&mut Encoder::new())
}

/// Opens with small segments that begin with a numbered snapshot; `taken` counts them.
fn open(storage: &SimStorage, taken: &Arc<AtomicU64>) -> Option<Journal> {
    let mut settings = settings();
    settings.segment_size = ByteSize(1000);
    settings.sync_interval = Duration::ZERO;
    let taken = Arc::clone(taken);
    let options = JournalOptions {
        snapshot: Some(Box::new(move || Some(own(&format!("snapshot {}", taken.fetch_add(1, Ordering::Relaxed)))))),
        ..JournalOptions::new(settings)
    };
    Journal::open_on(Arc::new(storage.clone()), options).ok().map(|(journal, _)| journal)
}

/// Submits a block, of events of the feed or of own ones, and waits until it is written and synced.
fn append(journal: &Journal, block: EncodedBlock) {
    let before = journal.durable();
    journal.try_submit(block).unwrap();
    wait_for(|| journal.durable() > before && journal.pace().idle && journal.queued().1 == 0);
}

fn is_own(event: &Event<'_>) -> bool {
    event.domain == OWN_DOMAIN
}

/// Checks that the feed's events are there from the first one on, in order, and that offsets are dense. Returns how many.
fn check_feed(blocks: &[Block]) -> u64 {
    let mut number = 0;
    for (offset, event) in blocks.iter().flat_map(Block::events).enumerate() {
        assert_eq!(event.offset.0, offset as u64);
        if !is_own(&event) {
            assert_eq!(event.payload, payload(number).as_bytes());
            number += 1;
        }
    }
    number
}

/// The base offset in a segment's name.
fn base(segment: &str) -> u64 {
    segment[..20].parse().unwrap()
}

#[test]
fn every_segment_begins_with_a_snapshot_and_none_is_begun_for_one() {
    let storage = SimStorage::new();
    let taken = Arc::default();
    for _ in 0..5 {
        drop(open(&storage, &taken));
    }
    assert!(storage.segments().is_empty());
    assert_eq!(taken.load(Ordering::Relaxed), 0);

    let mut feed = Feed::new(3);
    for _ in 0..3 {
        let journal = open(&storage, &taken).unwrap();
        for _ in 0..10 {
            append(&journal, feed.block(8));
        }
    }
    let segments = storage.segments();
    assert!(segments.len() > 6, "{segments:?}");
    let reader = JournalReader::open_on(Arc::new(storage)).unwrap();
    let stat = reader.stat().unwrap();
    let mut reader = reader;
    let blocks = read_all(&mut reader);
    assert_eq!(check_feed(&blocks), feed.next);
    let own: Vec<_> = blocks.iter().flat_map(Block::events).filter(is_own).collect();
    let (mut at, mut begun) = (Vec::new(), Vec::new());
    for (number, event) in own.iter().enumerate() {
        assert_eq!(event.payload, format!("snapshot {number}").as_bytes());
        at.push(event.offset.0);
    }
    begun.extend(segments.iter().map(|segment| base(segment)));
    assert_eq!(at, begun, "the first event of each segment, and no other");
    // They have an account like everybody.
    let counted = &stat.monitors[&(OWN_DOMAIN.to_owned(), STATE_MONITOR.to_owned())];
    assert_eq!((counted.events, counted.account.messages), (own.len() as u64, own.len() as u64));
    assert_eq!((stat.quarantined, stat.gaps), (0, 0));
}

#[test]
fn a_crash_at_every_step_of_a_segment_with_a_snapshot_loses_nothing_promised() {
    // Returns how many events of the feed were promised.
    let work = |storage: &SimStorage| {
        let mut promised = 0;
        let Some(journal) = open(storage, &Arc::default()) else { return promised };
        let mut feed = Feed::new(3);
        for _ in 0..6 {
            let until = journal.durable().0 + 7;
            if journal.try_submit(feed.block(7)).is_err() {
                break;
            }
            wait_for(|| journal.durable().0 >= until || storage.is_dead());
            if journal.durable().0 < until {
                break;
            }
            promised = feed.next;
        }
        // How the stop goes is part of what is tried.
        drop(journal.close());
        promised
    };
    let whole = SimStorage::new();
    assert_eq!(work(&whole), 42);
    for step in 1..=whole.steps() {
        let storage = SimStorage::new();
        storage.die_at(step);
        let promised = work(&storage);
        for crash in [Crash::Kill, Crash::PowerCut(1), Crash::PowerCut(2)] {
            let after = storage.after(crash);
            let taken = Arc::default();
            let journal = open(&after, &taken).expect("what a crash leaves can be opened");
            let there = check_feed(&read_all(&mut journal.reader()));
            assert!(there >= promised, "step {step}: {promised} were promised, {there} are there");
            assert_eq!(taken.load(Ordering::Relaxed), 0, "recovery takes none");
            let mut feed = Feed::new(3);
            feed.next = there;
            append(&journal, feed.block(7));
            assert_eq!(taken.load(Ordering::Relaxed), 1);
            assert_eq!(check_feed(&read_all(&mut journal.reader())), there + 7);
        }
    }
}

#[test]
fn a_full_disk_takes_the_daemons_own_events_while_others_wait() {
    let storage = SimStorage::new();
    let journal = open(&storage, &Arc::default()).unwrap();
    let mut feed = Feed::new(2);
    append(&journal, feed.block(5));
    // Less than the reserve.
    storage.set_free(20 << 20);
    journal.try_submit(feed.block(5)).unwrap();
    wait_for(|| matches!(journal.state(), JournalState::Full { .. }));
    // More than their queue holds, and over the border of segments.
    for number in 0..200 {
        let before = journal.durable();
        journal.try_submit_own(own(&format!("own {number}"))).unwrap();
        wait_for(|| journal.durable() > before);
    }
    let blocks = read_all(&mut journal.reader());
    assert_eq!(check_feed(&blocks), 5, "the feed's wait");
    let texts: Vec<_> =
        blocks.iter().flat_map(Block::events).filter(is_own).map(|event| event.payload.to_vec()).collect();
    assert_eq!(texts.iter().filter(|text| text.starts_with(b"own ")).count(), 200);
    assert!(texts.iter().filter(|text| text.starts_with(b"snapshot ")).count() > 2);
    assert!(matches!(journal.state(), JournalState::Full { .. }));
    storage.set_free(1 << 40);
    wait_for(|| check_feed(&read_all(&mut journal.reader())) == 10);
}

/// The writer took them from their queue at each look, and so they gathered without end where not even the reserve was left.
#[test]
fn without_any_room_the_daemons_own_events_are_refused_and_lost_by_no_stop() {
    let storage = SimStorage::new();
    let journal = open(&storage, &Arc::default()).unwrap();
    append(&journal, Feed::new(1).block(1));
    let durable = journal.durable();
    storage.set_free(0);
    journal.try_submit_own(own("first")).unwrap();
    wait_for(|| journal.queued().1 == 0);
    let mut taken = 1;
    while journal.try_submit_own(own("more")).is_ok() {
        taken += 1;
        assert!(taken < 1000, "their queue is bounded");
    }
    // The writer looks again now and then, and takes no more.
    std::thread::sleep(Duration::from_millis(500));
    assert!(journal.try_submit_own(own("more")).is_err());
    assert_eq!(journal.durable(), durable);
    storage.set_free(1 << 40);
    wait_for(|| journal.durable().0 >= durable.0 + taken);
    storage.set_free(0);
    journal.try_submit_own(own("last")).unwrap();
    // Nothing that was received is lost.
    journal.close().unwrap();
}
