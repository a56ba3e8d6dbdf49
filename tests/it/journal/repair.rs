//! What is damaged is found and named; repair keeps every block that is whole, says what is lost, and the journal goes on.

use std::sync::Arc;

use sluice::config::ByteSize;
use sluice::journal::{
    BlockFilter, CheckReport, Hole, Journal, JournalError, JournalId, JournalOptions, JournalReader, KnownDurable,
    Offset, RepairReport, check, repair,
};

use super::sim_storage::{Crash, SimStorage};
use super::support::{Feed, append, payload, settings, wait_for};

/// Events of each block.
const BLOCK: u64 = 2;
/// Blocks of each segment.
const BLOCKS: u64 = 3;

fn open(storage: &SimStorage) -> Result<Journal, JournalError> {
    let mut settings = settings();
    settings.sync_interval = std::time::Duration::ZERO;
    settings.segment_size = ByteSize::mib(1);
    Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings)).map(|(journal, _)| journal)
}

/// Three segments of three blocks of two events each. The last segment is sealed, or ends as a kill left it, with a
/// block above the watermark.
fn three_segments(killed: bool) -> SimStorage {
    let storage = SimStorage::new();
    let mut feed = Feed::new(2);
    for segment in 0..3 {
        let journal = open(&storage).unwrap();
        for _ in 0..BLOCKS {
            append(&journal, feed.block(BLOCK));
        }
        if killed && segment == 2 {
            let before = storage.bytes_of_segments();
            storage.hold_syncs(true);
            journal.try_submit(feed.block(BLOCK)).unwrap();
            wait_for(|| storage.bytes_of_segments() > before);
            return storage.after(Crash::Kill);
        }
        journal.close().unwrap();
    }
    storage.after(Crash::Kill)
}

fn checked(storage: &SimStorage) -> CheckReport {
    check(storage, &[], |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// Repairs, and sees that it is done: whole now, told the same way, nothing to do a second time.
fn repaired(storage: &SimStorage, known: &[KnownDurable], what: &str) -> RepairReport {
    let report = repair(storage, known).unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = check(storage, known, |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(after.flaws, [], "{what}");
    let recorded: Vec<_> = after.holes.iter().copied().filter(|hole| !hole.is_empty()).collect();
    assert!(report.holes.iter().all(|hole| recorded.contains(hole)), "{what}: {report:?}, {recorded:?}");
    let segments: Vec<_> = storage.segments().iter().map(|name| storage.content(name)).collect();
    let again = repair(storage, known).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((again.segments.len(), again.holes.len(), again.end), (0, 0, report.end), "{what}");
    let unchanged: Vec<_> = storage.segments().iter().map(|name| storage.content(name)).collect();
    assert!(segments == unchanged, "{what}: a second run changed something");
    report
}

/// The daemon's own door: opens, reads everything but the holes, told of each, and goes on behind `end`.
fn goes_on(storage: &SimStorage, holes: &[Hole], end: u64, what: &str) {
    let journal = open(storage).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(journal.durable(), Offset(end), "{what}");
    let mut feed = Feed::new(2);
    feed.next = end;
    append(&journal, feed.block(BLOCK));
    let mut far = JournalReader::open_on(Arc::new(storage.clone())).unwrap();
    for reader in [&mut journal.reader(), &mut far] {
        let first = reader.position();
        let mut next = first;
        let mut met = Vec::new();
        while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap_or_else(|error| panic!("{what}: {error}"))
        {
            for hole in reader.take_holes() {
                assert_eq!(hole.from, next, "{what}");
                next = hole.to;
                met.push(hole);
            }
            for event in block.events() {
                assert_eq!(event.offset, next, "{what}");
                assert_eq!(event.payload, payload(next.0).as_bytes(), "{what}");
                next = next.plus(1);
            }
        }
        assert_eq!(next, Offset(end + BLOCK), "{what}");
        assert_eq!(met, holes, "{what}");
        let stat = reader.stat().unwrap_or_else(|error| panic!("{what}: {error}"));
        let lost: u64 = holes.iter().map(|hole| hole.len()).sum();
        assert_eq!(stat.events + lost, end + BLOCK - first.0, "{what}");
        let told: Vec<_> = stat.holes.into_iter().filter(|hole| !hole.is_empty()).collect();
        assert_eq!(told, holes, "{what}");
    }
    journal.recent_hashes(std::time::Duration::from_hours(1)).unwrap().for_each(|hash| assert!(hash.is_ok(), "{what}"));
    journal.close().unwrap();
}

/// From any offset on the next event comes, from one in a hole too.
fn seeks(storage: &SimStorage, holes: &[Hole], end: u64) {
    let mut reader = JournalReader::open_on(Arc::new(storage.clone())).unwrap();
    for from in reader.position().0..end {
        reader.seek(Offset(from));
        let block = reader.next_block(&BlockFilter::all()).unwrap().expect("something comes behind it");
        let found = block.events().next().expect("a block has events").offset;
        let expected = holes.iter().find(|hole| (hole.from.0..hole.to.0).contains(&from));
        assert_eq!(found, expected.map_or(Offset(from), |hole| hole.to), "from {from}");
        reader.take_holes();
    }
}

fn hole(from: u64, to: u64) -> Hole {
    Hole { from: Offset(from), to: Offset(to) }
}

/// Where a segment's blocks begin and end, read from the bytes as documented.
fn blocks_of(content: &[u8]) -> Vec<std::ops::Range<usize>> {
    let word = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().unwrap()) as usize;
    let (mut blocks, mut at) = (Vec::new(), 96);
    while content.get(at..at + 4) == Some(b"SLBK") {
        let end = at + word(at + 4) + word(at + 8);
        blocks.push(at..end);
        at = end;
    }
    blocks
}

#[test]
fn a_whole_journal_is_left_as_it_is() {
    for killed in [false, true] {
        let storage = three_segments(killed);
        let report = checked(&storage);
        assert_eq!((report.flaws.as_slice(), report.holes.as_slice()), (&[][..], &[][..]));
        assert_eq!(report.segments.iter().map(|segment| segment.events).sum::<u64>(), 18);
        let steps = storage.steps();
        let report = repaired(&storage, &[], "nothing is wrong");
        assert_eq!((report.flaws.len(), report.kept.len(), storage.steps()), (0, 0, steps));
    }
}

/// Flips a bit in each byte of each segment.
fn each_flip(killed: bool, segments: std::ops::Range<usize>, check: impl Fn(&SimStorage, usize, &str, usize) + Sync) {
    let storage = three_segments(killed);
    let names = storage.segments();
    std::thread::scope(|scope| {
        for (number, name) in names.iter().enumerate().filter(|(number, _)| segments.contains(number)) {
            let (storage, check) = (&storage, &check);
            scope.spawn(move || {
                let whole = storage.content(name);
                // Every byte of a sealed one in the middle and of an open one; of those that are like them every fourth.
                let each = if number == 1 || killed { 1 } else { 4 };
                for at in (0..whole.len()).step_by(each) {
                    let damaged = storage.after(Crash::Kill);
                    let mut content = whole.clone();
                    content[at] ^= 1 << (at % 8);
                    damaged.set_content(name, content);
                    check(&damaged, number, name, at);
                }
            });
        }
    });
}

#[test]
fn every_flipped_byte_is_named_and_repair_keeps_all_other_blocks() {
    for (killed, segments) in [(false, 0..3), (true, 2..3)] {
        let whole = three_segments(killed);
        let all: Vec<_> = whole.segments().iter().map(|name| blocks_of(&whole.content(name))).collect();
        each_flip(killed, segments, |storage, number, name, at| {
            let what = format!("{name}, byte {at}");
            let hit = all[number].iter().position(|block| block.contains(&at));
            let report = checked(storage);
            if killed && at >= all[2][2].end {
                // Never promised: the next start cuts it.
                assert_eq!(report.flaws, [], "{what}");
                return;
            }
            if number == 2 && at >= all[2][2].end {
                // A seal that is behind all that was durable may have been torn: the next start writes it anew.
                assert!(!report.is_whole() || report.above_durable > 0, "{what}");
                if !report.is_whole() {
                    assert_eq!(repaired(storage, &[], &what).lost(), 0, "{what}");
                }
                goes_on(storage, &[], 18, &what);
                return;
            }
            assert!(report.flaws.iter().any(|flaw| flaw.file == name), "{what}: {report:?}");
            let damaged = storage.content(name);
            // Most of the time goes into seeing that a second run does nothing.
            let once = || repair(storage, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
            let repair = if at % 16 == 0 { repaired(storage, &[], &what) } else { once() };
            assert_eq!(repair.lost(), report.lost(), "{what}: {report:?} {repair:?}");
            // A damaged header is repeated in the seal, where there is one; its block is whole then.
            let base = number as u64 * BLOCK * BLOCKS;
            let lost: Vec<_> = match hit {
                Some(block) if repair.lost() > 0 => {
                    let from = base + block as u64 * BLOCK;
                    vec![hole(from, from + BLOCK)]
                }
                _ => vec![],
            };
            assert_eq!(repair.holes, lost, "{what}");
            let body = hit.is_some_and(|block| {
                let start = all[number][block].start;
                let header = u32::from_le_bytes(damaged[start + 4..start + 8].try_into().unwrap()) as usize;
                at >= start + header
            });
            assert!(!body || !lost.is_empty(), "{what}: the body of a block is nowhere else");
            let kept = repair.kept.iter().map(|path| path.file_name().unwrap().to_str().unwrap());
            let kept: Vec<_> = kept.map(|kept| storage.content(&format!("damaged/{kept}"))).collect();
            assert_eq!(kept, [damaged], "{what}: the damaged file is kept");
            // What was above the watermark was whole, and is kept when its segment is written anew.
            let end = if killed { 20 } else { 18 };
            goes_on(storage, &lost, end, &what);
            if at % 64 == 0 {
                seeks(storage, &lost, end);
            }
        });
    }
}

#[test]
fn missing_swapped_and_doubled_segments_are_put_right_or_recorded_as_holes() {
    let all = three_segments(false);
    let names = all.segments();
    for (number, name) in names.iter().enumerate() {
        let storage = all.after(Crash::Kill);
        storage.forget(name);
        let from = number as u64 * 6;
        if number == 0 {
            // The oldest may go: that is retention.
            assert!(checked(&storage).is_whole());
            goes_on(&storage, &[], 18, name);
            continue;
        }
        let report = checked(&storage);
        assert_eq!((report.lost(), report.flaws[0].lost), (6, hole(from, from + 6)), "{report:?}");
        assert_eq!(repaired(&storage, &[], name).holes, [hole(from, from + 6)]);
        goes_on(&storage, &[hole(from, from + 6)], 18, name);
    }
    // Two in a row, and all.
    let storage = all.after(Crash::Kill);
    storage.forget(&names[1]);
    storage.forget(&names[2]);
    assert_eq!(repaired(&storage, &[], "two are missing").holes, [hole(6, 18)]);
    goes_on(&storage, &[hole(6, 18)], 18, "two are missing");
    seeks(&storage, &[hole(6, 18)], 18);
    let storage = all.after(Crash::Kill);
    for name in &names {
        storage.forget(name);
    }
    assert_eq!(repaired(&storage, &[], "all are missing").holes, [hole(0, 18)]);
    goes_on(&storage, &[hole(0, 18)], 18, "all are missing");

    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let storage = all.after(Crash::Kill);
        let (first, second) = (storage.content(&names[a]), storage.content(&names[b]));
        storage.set_content(&names[a], second);
        storage.set_content(&names[b], first);
        assert!(!checked(&storage).is_whole());
        assert_eq!(repaired(&storage, &[], "swapped").lost(), 0);
        assert_eq!(storage.segments(), names);
        goes_on(&storage, &[], 18, "swapped");
    }
    for (from, to) in [(1, "00000000000000000018-0000000003.seg"), (1, "00000000000000000006-0000000002.seg")] {
        let storage = all.after(Crash::Kill);
        storage.set_content(to, storage.content(&names[from]));
        assert!(!checked(&storage).is_whole());
        assert_eq!(repaired(&storage, &[], to).lost(), 0);
        assert_eq!(storage.segments(), names);
        goes_on(&storage, &[], 18, to);
    }
    // A segment of another journal in the place of ours.
    let other = three_segments(false);
    for (number, name) in names.iter().enumerate().skip(1) {
        let storage = all.after(Crash::Kill);
        storage.set_content(name, other.content(name));
        let from = number as u64 * 6;
        assert_eq!(repaired(&storage, &[], name).holes, [hole(from, from + 6)]);
        goes_on(&storage, &[hole(from, from + 6)], 18, name);
    }
    // A copy of a damaged segment heals it.
    let storage = all.after(Crash::Kill);
    let mut content = storage.content(&names[1]);
    storage.set_content("00000000000000000099-0000000009.seg", content.clone());
    let at = blocks_of(&content)[1].end - 1;
    content[at] ^= 1;
    storage.set_content(&names[1], content);
    assert_eq!(repaired(&storage, &[], "healed").lost(), 0);
    goes_on(&storage, &[], 18, "healed");
}

#[test]
fn repair_goes_on_behind_the_highest_offset_that_anyone_knows() {
    let storage = three_segments(false);
    let journal = open(&storage).unwrap().id();
    let sink = |journal, offset| KnownDurable { who: "sink warehouse".into(), journal, offset: Offset(offset) };
    // Of another journal: nothing of ours.
    assert_eq!(repaired(&storage, &[sink(JournalId::random(), 99)], "foreign").end, Offset(18));
    let known = [sink(journal, 25), sink(journal, 21)];
    let report = check(&storage, &known, |_| {}).unwrap();
    assert_eq!((report.durable, report.lost()), (Offset(25), 7));
    let report = repaired(&storage, &known, "a sink knows more");
    assert_eq!((report.end, report.holes.as_slice()), (Offset(25), &[hole(18, 25)][..]));
    goes_on(&storage, &[hole(18, 25)], 25, "a sink knows more");
    // Of a journal that is gone altogether, too.
    let empty = SimStorage::new();
    assert!(matches!(check(&empty, &[], |_| {}), Err(JournalError::NoJournal { .. })));
    assert_eq!(repaired(&empty, &known, "nothing is left").holes, [hole(0, 25)]);
    goes_on(&empty, &[hole(0, 25)], 25, "nothing is left");
    assert_eq!(open(&empty).unwrap().id(), journal);
}

#[test]
fn names_that_were_lost_with_their_block_are_taken_from_the_seal() {
    let storage = three_segments(false);
    let name = storage.segments()[1].clone();
    let mut content = storage.content(&name);
    // The first block names the monitors; header and body are gone.
    let first = blocks_of(&content)[0].clone();
    content[first.clone()].fill(0);
    storage.set_content(&name, content.clone());
    assert_eq!(repaired(&storage, &[], "the first block").holes, [hole(6, 8)]);
    let mut reader = JournalReader::open_on(Arc::new(storage)).unwrap();
    reader.seek(Offset(8));
    let block = reader.next_block(&BlockFilter::all()).unwrap().unwrap();
    let names: Vec<_> = block.events().map(|event| event.monitor.to_owned()).collect();
    assert_eq!(names, ["monitor-0", "monitor-1"]);
    // Without a seal nobody knows the names: the events are kept all the same.
    let storage = three_segments(true);
    let name = storage.segments()[2].clone();
    let mut content = storage.content(&name);
    let first = blocks_of(&content)[0].clone();
    content[first].fill(0);
    storage.set_content(&name, content);
    assert_eq!(repaired(&storage, &[], "no seal").holes, [hole(12, 14)]);
    goes_on(&storage, &[hole(12, 14)], 20, "no seal");
}

#[test]
fn a_repair_may_be_cut_short_at_every_step() {
    type Damage = fn(&SimStorage, &[String]);
    let all = three_segments(false);
    let names = all.segments();
    let damage: [(&str, Damage, &[Hole]); 3] = [
        (
            "flipped and missing",
            |storage, names| {
                let mut content = storage.content(&names[0]);
                let at = blocks_of(&content)[1].end - 1;
                content[at] ^= 1;
                storage.set_content(&names[0], content);
                storage.forget(&names[1]);
            },
            &[Hole { from: Offset(2), to: Offset(4) }, Hole { from: Offset(6), to: Offset(12) }],
        ),
        (
            "swapped",
            |storage, names| {
                let (first, second) = (storage.content(&names[0]), storage.content(&names[2]));
                storage.set_content(&names[0], second);
                storage.set_content(&names[2], first);
                storage.set_content("00000000000000000018-0000000003.seg", storage.content(&names[1]));
            },
            &[],
        ),
        (
            "the newest are missing",
            |storage, names| {
                storage.forget(&names[1]);
                storage.forget(&names[2]);
            },
            &[Hole { from: Offset(6), to: Offset(18) }],
        ),
    ];
    for (what, damage, holes) in damage {
        for step in 1.. {
            let storage = all.after(Crash::Kill);
            damage(&storage, &names);
            // What it says was on disk long ago.
            storage.set_content("watermark", storage.content("watermark"));
            storage.die_at(step);
            let done = repair(&storage, &[]).is_ok() && !storage.is_dead();
            for crash in [Crash::Kill, Crash::PowerCut(step), Crash::PowerCut(step + 1000)] {
                let what = format!("{what}, step {step}, {crash:?}");
                let after = storage.after(crash);
                repaired(&after, &[], &what);
                goes_on(&after, holes, 18, &what);
            }
            if done {
                assert!(step > 5, "{what}: a repair has several steps");
                break;
            }
        }
    }
}

#[test]
fn a_newer_release_s_segment_is_left_as_it_is() {
    let storage = three_segments(false);
    let name = storage.segments()[1].clone();
    let mut content = storage.content(&name);
    // A header of another form altogether.
    content[8] = 3;
    content[92..96].fill(0);
    storage.set_content(&name, content.clone());
    assert!(matches!(check(&storage, &[], |_| {}), Err(JournalError::Version { found: 3, .. })));
    let steps = storage.steps();
    let error = repair(&storage, &[]).unwrap_err();
    assert!(matches!(error, JournalError::Version { found: 3, .. }), "{error}");
    assert_eq!(error.exit_code(), 65);
    assert_eq!((storage.steps(), storage.content(&name)), (steps, content));
}
