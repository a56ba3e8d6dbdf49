//! What happened to the bytes is found, refused or cut, and never served.

use std::sync::Arc;
use std::time::Duration;

use sluice::journal::{
    BlockFilter, Journal, JournalError, JournalId, JournalOptions, JournalReader, KnownDurable, Offset,
};

use super::sim_storage::{Crash, SimStorage};
use super::support::{Feed, append, assert_events, payload, read_all, settings, wait_for};

fn open(storage: &SimStorage) -> Result<(Journal, sluice::journal::RecoverySummary), JournalError> {
    let mut settings = settings();
    settings.sync_interval = std::time::Duration::ZERO;
    Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings))
}

fn only_segment(storage: &SimStorage) -> String {
    let names = storage.segments();
    let [name] = &names[..] else { panic!("there is one segment: {names:?}") };
    name.clone()
}

/// A journal killed with two durable blocks and a third that was written but not synced: storage, segment, where its
/// blocks end.
fn killed() -> (SimStorage, String, [usize; 3]) {
    let storage = SimStorage::new();
    let (journal, _) = open(&storage).unwrap();
    let mut feed = Feed::new(2);
    let mut ends = [0; 3];
    append(&journal, feed.block(4));
    ends[0] = storage.bytes_of_segments();
    append(&journal, feed.block(4));
    ends[1] = storage.bytes_of_segments();
    storage.hold_syncs(true);
    journal.try_submit(feed.block(4)).unwrap();
    wait_for(|| storage.bytes_of_segments() > ends[1]);
    ends[2] = storage.bytes_of_segments();
    let after = storage.after(Crash::Kill);
    let name = only_segment(&after);
    (after, name, ends)
}

/// Reads until the end or an error. Whatever is served must be what was written.
fn read_to_error(storage: &SimStorage) -> (u64, Option<JournalError>) {
    let mut reader = match JournalReader::open_on(Arc::new(storage.clone())) {
        Ok(reader) => reader,
        Err(error) => return (0, Some(error)),
    };
    let mut next = 0;
    loop {
        match reader.next_block(&BlockFilter::all()) {
            Ok(Some(block)) => {
                for event in block.events() {
                    assert_eq!((event.offset, event.payload), (Offset(next), payload(next).as_bytes()));
                    next += 1;
                }
            }
            Ok(None) => return (next, None),
            Err(error) => return (next, Some(error)),
        }
    }
}

#[test]
fn a_torn_tail_is_cut_and_reported_at_whatever_byte_it_tears() {
    let (killed, name, [_, durable_end, end]) = killed();
    let whole = killed.content(&name);
    for len in 0..end {
        let storage = killed.after(Crash::Kill);
        storage.set_content(&name, whole[..len].to_vec());
        match open(&storage) {
            Ok((journal, summary)) => {
                assert!(len >= durable_end, "{len} bytes lack durable events");
                assert_eq!(summary.durable, Offset(8));
                assert_eq!(summary.cut.as_ref().map_or(0, |cut| cut.bytes), (len - durable_end) as u64);
                if let Some(cut) = summary.cut {
                    let kept = format!("cut/{}", cut.kept_at.file_name().unwrap().to_str().unwrap());
                    assert_eq!(storage.content(&kept), whole[durable_end..len]);
                }
                assert_events(&read_all(&mut journal.reader()), 0, 8);
            }
            Err(error) => {
                assert!(len < durable_end, "{len}: {error}");
                assert_eq!(error.exit_code(), 65, "{error}");
                assert_eq!(storage.content(&name), whole[..len], "nothing was changed");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_what_is_durable_stops_the_opening_and_above_it_is_cut() {
    let (killed, name, [_, durable_end, end]) = killed();
    let whole = killed.content(&name);
    for at in 0..end {
        let storage = killed.after(Crash::Kill);
        let mut content = whole.clone();
        content[at] ^= 1 << (at % 8);
        storage.set_content(&name, content.clone());
        let (served, _) = read_to_error(&storage);
        assert!(served <= 8);
        match open(&storage) {
            Ok((journal, summary)) => {
                assert!(at >= durable_end, "byte {at} was durable");
                assert!(summary.cut.is_some(), "byte {at} was cut silently");
                assert_events(&read_all(&mut journal.reader()), 0, 8);
            }
            Err(error) => {
                assert!(at < durable_end, "byte {at}: {error}");
                assert_eq!(error.exit_code(), 65, "{error}");
                assert_eq!(storage.content(&name), content, "nothing was changed");
            }
        }
    }
}

#[test]
fn later_blocks_betray_damage_when_the_watermark_file_is_lost() {
    let (killed, name, [first_end, durable_end, _]) = killed();
    let whole = killed.content(&name);
    for at in 96..durable_end {
        let storage = killed.after(Crash::Kill);
        let mut content = whole.clone();
        content[at] ^= 0x10;
        storage.set_content(&name, content);
        storage.forget("watermark");
        // The third block was written when the first two were durable, and says so.
        let error = open(&storage).unwrap_err();
        let JournalError::Damaged { position, .. } = error else { panic!("byte {at}: {error}") };
        assert_eq!(position, if at < first_end { 96 } else { first_end as u64 }, "byte {at}");
    }
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_never_served() {
    let storage = SimStorage::new();
    let (journal, _) = open(&storage).unwrap();
    let mut feed = Feed::new(2);
    append(&journal, feed.block(4));
    append(&journal, feed.block(4));
    let blocks_end = storage.bytes_of_segments();
    journal.close().unwrap();
    let name = only_segment(&storage);
    let whole = storage.content(&name);
    for at in 0..whole.len() {
        let storage = storage.after(Crash::Kill);
        let mut content = whole.clone();
        content[at] ^= 1 << (at % 8);
        storage.set_content(&name, content);
        let (served, error) = read_to_error(&storage);
        if at < blocks_end {
            let error = error.unwrap_or_else(|| panic!("byte {at} was not noticed"));
            assert!(matches!(error.exit_code(), 65), "byte {at}: {error}");
        } else {
            // The seal repeats what the blocks say; without it they are walked over.
            assert_eq!((served, error.map(|error| error.to_string())), (8, None), "byte {at}");
            let (journal, summary) = open(&storage).unwrap();
            assert_eq!(summary.durable, Offset(8));
            assert_events(&read_all(&mut journal.reader()), 0, 8);
        }
    }
}

/// Four segments of eight events each, the daemon stopped.
fn four_segments() -> (SimStorage, Vec<String>) {
    let storage = SimStorage::new();
    let mut feed = Feed::new(2);
    for _ in 0..4 {
        let (journal, _) = open(&storage).unwrap();
        append(&journal, feed.block(8));
        journal.close().unwrap();
    }
    let names = storage.segments();
    assert_eq!(names.len(), 4);
    (storage, names)
}

#[test]
fn missing_swapped_and_doubled_segments_are_refused() {
    let (storage, names) = four_segments();
    for (number, missing) in names.iter().enumerate().skip(1) {
        let storage = storage.after(Crash::Kill);
        storage.forget(missing);
        let error = open(&storage).unwrap_err();
        assert_eq!(error.exit_code(), 65, "segment {number}: {error}");
    }
    for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        let storage = storage.after(Crash::Kill);
        let (first, second) = (storage.content(&names[a]), storage.content(&names[b]));
        storage.set_content(&names[a], second);
        storage.set_content(&names[b], first);
        let (served, error) = read_to_error(&storage);
        assert_eq!(served, a as u64 * 8);
        assert_eq!(error.unwrap().exit_code(), 65);
    }
    for (from, to) in [(1, "00000000000000000032-0000000004.seg"), (1, "00000000000000000008-0000000002.seg")] {
        let storage = storage.after(Crash::Kill);
        storage.set_content(to, storage.content(&names[from]));
        let error = open(&storage).unwrap_err();
        assert_eq!(error.exit_code(), 65, "{to}: {error}");
    }
    // A segment of another journal in our place.
    let (other, _) = four_segments();
    for name in &names {
        let storage = storage.after(Crash::Kill);
        storage.set_content(name, other.content(name));
        assert_eq!(read_to_error(&storage).1.unwrap().exit_code(), 65);
    }
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let (storage, names) = four_segments();
    let mut content = storage.content(&names[3]);
    content[8] = 3;
    storage.set_content(&names[3], content.clone());
    let error = open(&storage).unwrap_err();
    assert!(matches!(error, JournalError::Version { found: 3, .. }), "{error}");
    assert_eq!(storage.content(&names[3]), content);
}

#[test]
fn a_cursor_of_another_journal_or_ahead_of_this_one_stops_the_opening() {
    let (storage, _) = four_segments();
    let id = open(&storage).unwrap().0.id();
    let open_with = |journal, offset| {
        let mut options = JournalOptions::new(settings());
        options.known_durable.push(KnownDurable { who: "sink warehouse".into(), journal, offset });
        Journal::open_on(Arc::new(storage.clone()), options)
    };
    assert!(matches!(open_with(JournalId::random(), Offset(1)), Err(JournalError::Foreign { .. })));
    let error = open_with(id, Offset(33)).unwrap_err();
    assert!(matches!(error, JournalError::Ahead { end: Offset(32), .. }), "{error}");
    assert!(error.to_string().contains("sink warehouse"));
    assert!(open_with(id, Offset(32)).is_ok());
    // A deleted journal is not begun anew under a sink that remembers it.
    let empty = SimStorage::new();
    let mut options = JournalOptions::new(settings());
    options.known_durable.push(KnownDurable { who: "sink warehouse".into(), journal: id, offset: Offset(3) });
    assert!(matches!(Journal::open_on(Arc::new(empty), options), Err(JournalError::Ahead { .. })));
}

/// What the dedupe window is filled with: the hashes read, or why they cannot be.
fn hashes_of(storage: &SimStorage, ttl: Duration) -> Result<Vec<u64>, JournalError> {
    let (journal, _) = open(storage)?;
    journal
        .recent_hashes(ttl)?
        .map(|recent| recent.map(|(hash, _)| u64::try_from(hash.hash >> 64).expect("a feed counts")))
        .collect()
}

#[test]
fn damage_within_the_dedupe_window_stops_the_start_and_outside_of_it_is_not_met() {
    let (storage, names) = four_segments();
    let all: Vec<_> = (0..32).collect();
    let (forever, short) = (Duration::from_hours(1), Duration::from_micros(12));
    for (number, name) in names.iter().enumerate().take(3) {
        let whole = storage.content(name);
        let blocks_end = usize::try_from(u64::from_le_bytes(
            whole[whole.len() - 64..][..8].try_into().expect("eight bytes are asked for"),
        ))
        .expect("a small file");
        let check = |content: Vec<u8>, may_be_whole: bool, what: &str| {
            let storage = storage.after(Crash::Kill);
            storage.set_content(name, content);
            match hashes_of(&storage, forever) {
                Ok(found) => assert!(may_be_whole && found == all, "segment {number}, {what}: silently {found:?}"),
                Err(error) => {
                    assert!(!may_be_whole, "segment {number}, {what}: {error}");
                    assert_eq!(error.exit_code(), 65, "segment {number}, {what}: {error}");
                    assert!(error.to_string().contains(name), "segment {number}, {what}: {error}");
                }
            }
            // The last 12 microseconds begin in the third segment.
            if number < 2 {
                let found = hashes_of(&storage, short);
                assert_eq!(found.expect("it is too old to matter"), (16..32).collect::<Vec<_>>(), "{what}");
            }
        };
        for len in 0..whole.len() {
            // The seal repeats what the blocks say.
            check(whole[..len].to_vec(), len >= blocks_end, &format!("cut at {len}"));
        }
        // Payloads are not looked at: 96 bytes of the segment, then the header and the hashes of its one block.
        let header_len = u32::from_le_bytes(whole[100..104].try_into().expect("four bytes are asked for"));
        let hashes_end = 96 + header_len as usize + 8 * 20;
        for at in 0..whole.len() {
            let mut content = whole.clone();
            content[at] ^= 1 << (at % 8);
            check(content, at >= hashes_end, &format!("flipped at {at}"));
        }
    }
}

fn assert_missing(error: &JournalError, from: u64, to: u64, what: &str) {
    assert!(matches!(error, JournalError::Incomplete { .. }), "{what}: {error}");
    assert_eq!(error.exit_code(), 65, "{what}: {error}");
    let said = format!("events from {from} up to {to} were durable");
    assert!(error.to_string().contains(&said), "{what}: {error}");
}

#[test]
fn a_reader_names_the_durable_events_that_no_file_has() {
    let (storage, names) = four_segments();
    for left in 0..4 {
        let (all, what) = (storage.after(Crash::Kill), format!("{left} segments are left"));
        let storage = all.after(Crash::Kill);
        for name in &names[left..] {
            storage.forget(name);
        }
        let end = left as u64 * 8;
        let (served, error) = read_to_error(&storage);
        assert_eq!(served, end, "{what}");
        assert_missing(&error.expect("events are missing"), end, 32, &what);
        let mut reader = JournalReader::open_on(Arc::new(storage.clone())).unwrap();
        assert_missing(&reader.stat().unwrap_err(), end, 32, &what);
        for offset in end..=32 {
            reader.seek(Offset(offset));
            assert_missing(&reader.next_block(&BlockFilter::all()).unwrap_err(), end, 32, &what);
            assert_missing(&reader.next_header().unwrap_err(), end, 32, &what);
        }
        reader.seek_received(sluice::clock::UnixNanos(super::support::START + 31_000)).unwrap();
        assert_missing(&reader.next_block(&BlockFilter::all()).unwrap_err(), end, 32, &what);
        // Without the watermark nobody knows.
        storage.forget("watermark");
        if left > 0 {
            let (served, error) = read_to_error(&storage);
            assert_eq!((served, error.map(|error| error.to_string())), (end, None), "{what}");
        }
        // The oldest may go: that is retention.
        let storage = all.after(Crash::Kill);
        for name in &names[..left] {
            storage.forget(name);
        }
        let mut reader = JournalReader::open_on(Arc::new(storage)).unwrap();
        assert_events(&read_all(&mut reader), end, 32);
        assert_eq!(reader.stat().unwrap().events, 32 - end);
        reader.seek(Offset(0));
        let gone = reader.next_block(&BlockFilter::all());
        assert!(left == 0 || matches!(gone, Err(JournalError::OffsetGone { asked: Offset(0), .. })));
    }
}

#[test]
fn a_reader_beside_the_writer_misses_its_file_too() {
    let (storage, names) = four_segments();
    let (journal, _) = open(&storage).unwrap();
    let mut feed = Feed::new(2);
    feed.next = 32;
    append(&journal, feed.block(8));
    let newest = storage.segments().pop().expect("there are some");
    storage.forget(&newest);
    let before = storage.content(&names[3]);
    // Without its seal a segment's end is told by the one behind it, which is not there.
    let unsealed = before[..before.len() - 1].to_vec();
    let header_len = u32::from_le_bytes(before[100..104].try_into().unwrap()) as usize;
    let body_len = u32::from_le_bytes(before[104..108].try_into().unwrap()) as usize;
    let bare = before[..96 + header_len + body_len].to_vec();
    for (content, missing) in [(before, true), (unsealed, false), (bare, true)] {
        storage.set_content(&names[3], content);
        for mut reader in [journal.reader(), JournalReader::open_on(Arc::new(storage.clone())).unwrap()] {
            for block in 0..4 {
                let found = reader.next_block(&BlockFilter::all()).unwrap().expect("it is there");
                assert_eq!(found.header().base(), Offset(block * 8));
            }
            let error = reader.next_block(&BlockFilter::all()).unwrap_err();
            if missing {
                assert_missing(&error, 32, 40, "a reader");
            }
            assert_eq!(error.exit_code(), 65, "{error}");
            assert_missing(&reader.stat().unwrap_err(), 32, 40, "an account");
        }
    }
}
