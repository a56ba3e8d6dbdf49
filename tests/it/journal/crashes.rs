//! What was durable is there after a kill or a power cut at any step, also one during recovery.

use std::sync::Arc;

use sluice::journal::{Journal, JournalOptions, JournalReader, Offset, RecoverySummary};

use super::sim_storage::{Crash, SimStorage};
use super::support::{Feed, append, assert_events, read_all, settings, wait_for};

const CRASHES: [Crash; 4] = [Crash::Kill, Crash::PowerCut(1), Crash::PowerCut(2), Crash::PowerCut(3)];

fn options() -> JournalOptions {
    let mut settings = settings();
    settings.segment_size = sluice::config::ByteSize(600);
    settings.sync_interval = std::time::Duration::ZERO;
    JournalOptions::new(settings)
}

fn open(storage: &SimStorage) -> (Journal, RecoverySummary) {
    Journal::open_on(Arc::new(storage.clone()), options()).unwrap_or_else(|error| panic!("{error}"))
}

/// Appends blocks, each synced before the next, until done or dead. Returns what was promised.
fn work(storage: &SimStorage, blocks: u64) -> Offset {
    let Ok((journal, _)) = Journal::open_on(Arc::new(storage.clone()), options()) else { return Offset(0) };
    let mut feed = Feed::new(3);
    feed.next = journal.durable().0;
    for _ in 0..blocks {
        let block = feed.block(7);
        let until = Offset(feed.next);
        if journal.try_submit(block).is_err() {
            break;
        }
        wait_for(|| journal.durable() >= until || storage.is_dead());
        if storage.is_dead() {
            break;
        }
    }
    // How the stop goes is part of what is tried: the process may be dead by now.
    drop(journal.close());
    journal.durable()
}

/// Opens what a crash left and checks that nothing promised is missing and nothing else is there.
fn check(storage: &SimStorage, promised: Offset) -> Offset {
    let (journal, summary) = open(storage);
    assert!(summary.durable >= promised, "{} were promised, {} are there", promised, summary.durable);
    assert_events(&read_all(&mut journal.reader()), 0, summary.durable.0);
    let mut reader = JournalReader::open_on(Arc::new(storage.clone())).unwrap();
    assert_events(&read_all(&mut reader), 0, summary.durable.0);
    assert_eq!(reader.stat().unwrap().events, summary.durable.0);
    journal.close().unwrap();
    summary.durable
}

#[test]
fn what_is_durable_survives_a_crash_at_every_step() {
    let whole = SimStorage::new();
    assert_eq!(work(&whole, 6), Offset(42));
    let steps = whole.steps();
    assert!(steps > 40, "the scenario has several segments: {steps} steps");
    for step in 1..=steps {
        let storage = SimStorage::new();
        storage.die_at(step);
        let promised = work(&storage, 6);
        for crash in CRASHES {
            let after = storage.after(crash);
            let durable = check(&after, promised);
            // It goes on as if nothing had happened.
            let promised = work(&after, 2);
            assert_eq!(promised, Offset(durable.0 + 14));
            check(&after.after(Crash::PowerCut(step)), promised);
        }
    }
}

#[test]
fn recovery_may_be_cut_short_at_every_step() {
    // A kill between write and sync leaves whole blocks above the watermark, so that every step of recovery is needed.
    let steps = {
        let whole = SimStorage::new();
        work(&whole, 5);
        whole.steps()
    };
    let mut rewritten = 0;
    for step in 1..=steps {
        let storage = SimStorage::new();
        storage.die_at(step);
        let promised = work(&storage, 5);
        for crash in CRASHES {
            for again in 1.. {
                let after = storage.after(crash);
                after.die_at(again);
                let opened = Journal::open_on(Arc::new(after.clone()), options());
                let done = opened.is_ok() && !after.is_dead();
                if let Ok((journal, summary)) = opened {
                    rewritten += u32::from(summary.rewritten.is_some());
                    drop(journal);
                }
                if done {
                    break;
                }
                for crash in [Crash::Kill, Crash::PowerCut(again)] {
                    check(&after.after(crash), promised);
                }
            }
        }
    }
    assert!(rewritten > 0, "no crash left whole blocks above the watermark");
}

#[test]
fn whole_blocks_above_the_watermark_are_rewritten_before_anyone_reads_them() {
    let storage = SimStorage::new();
    let (journal, _) = open(&storage);
    let mut feed = Feed::new(3);
    journal.try_submit(feed.block(5)).unwrap();
    wait_for(|| journal.durable() == Offset(5));
    let before = storage.bytes_of_segments();
    storage.hold_syncs(true);
    journal.try_submit(feed.block(5)).unwrap();
    wait_for(|| storage.bytes_of_segments() > before);
    let after = storage.after(Crash::Kill);
    drop(journal);

    // Without recovery nobody sees what was not promised.
    let mut reader = JournalReader::open_on(Arc::new(after.clone())).unwrap();
    assert_events(&read_all(&mut reader), 0, 5);
    let (journal, summary) = open(&after);
    let rewritten = summary.rewritten.expect("a whole block was above the watermark");
    assert_eq!((rewritten.blocks, rewritten.events), (1, 5));
    assert!(!summary.clean);
    // A power cut right after the opening: what it showed is on disk.
    let later = after.after(Crash::PowerCut(5));
    drop(journal);
    assert_eq!(check(&later, Offset(10)), Offset(10));
}

#[test]
fn a_failed_sync_is_final_and_nothing_above_it_is_ever_visible() {
    let steps = {
        let whole = SimStorage::new();
        work(&whole, 4);
        whole.steps()
    };
    for step in 1..=steps {
        for write in [false, true] {
            let storage = SimStorage::new();
            if write {
                storage.fail_write_at(step);
            } else {
                storage.fail_sync_at(step);
            }
            let Ok((journal, _)) = Journal::open_on(Arc::new(storage.clone()), options()) else { continue };
            let mut feed = Feed::new(3);
            let mut promised = Offset(0);
            for _ in 0..4 {
                let block = feed.block(7);
                if journal.try_submit(block).is_err() {
                    break;
                }
                let failed = || matches!(journal.state(), sluice::journal::JournalState::Failed(_));
                wait_for(|| journal.durable() == Offset(feed.next) || failed());
                promised = journal.durable();
                if failed() {
                    assert!(journal.try_submit(feed.block(1)).is_err());
                    assert_events(&read_all(&mut journal.reader()), 0, promised.0);
                    break;
                }
            }
            let closed = journal.close();
            if let Err(error) = &closed {
                assert_eq!(error.exit_code(), 74, "{error}");
            }
            assert_eq!(journal.durable(), promised);
            // The page cache still shows what the failed sync lost; recovery must not trust it.
            let restarted = storage.after(Crash::Kill);
            let durable = check(&restarted, promised);
            assert_eq!(check(&restarted.after(Crash::PowerCut(step)), durable), durable);
        }
    }
}

/// Opens with every sync failing from each step on, until none is left to fail. Returns at how many steps it failed.
fn fail_each_sync_of_opening(before: &SimStorage) -> u64 {
    let mut failed = 0;
    for step in 1.. {
        let storage = before.after(Crash::Kill);
        storage.fail_sync_at(step);
        let Err(error) = Journal::open_on(Arc::new(storage), options()) else { break };
        assert!(matches!(error, sluice::journal::JournalError::SyncFailed { .. }), "step {step}: {error}");
        assert_eq!(error.exit_code(), 74, "step {step}: {error}");
        assert!(error.to_string().starts_with("sync of "), "step {step}: {error}");
        failed = step;
    }
    failed
}

#[test]
fn a_failed_sync_at_opening_is_told_as_one_wherever_it_is() {
    // A new journal: the watermark file, the folder.
    assert!(fail_each_sync_of_opening(&SimStorage::new()) >= 3);
    // A sealed one: the seal.
    let sealed = SimStorage::new();
    let (journal, _) = open(&sealed);
    let mut feed = Feed::new(2);
    append(&journal, feed.block(5));
    drop(journal);
    assert!(fail_each_sync_of_opening(&sealed) >= 1);
    // A killed one with a whole block above the watermark and a torn one behind it: what is cut off, what is rewritten,
    // their folders, the seal of the old one.
    let storage = SimStorage::new();
    let (journal, _) = open(&storage);
    append(&journal, feed.block(5));
    let before = storage.bytes_of_segments();
    storage.hold_syncs(true);
    journal.try_submit(feed.block(5)).unwrap();
    wait_for(|| storage.bytes_of_segments() > before);
    let killed = storage.after(Crash::Kill);
    let name = killed.segments().pop().expect("it has a segment");
    let mut content = killed.content(&name);
    content.extend_from_slice(b"SLBK torn");
    killed.set_content(&name, content);
    assert!(fail_each_sync_of_opening(&killed) >= 10);
    // One that was killed before its first block was whole: its segment goes.
    let begun = storage.after(Crash::Kill);
    let mut content = begun.content(&name);
    content.truncate(96);
    begun.set_content(&name, content);
    begun.forget("watermark");
    assert!(fail_each_sync_of_opening(&begun) >= 1);
}
