//! Whatever happens to a journal, in whatever order, agrees with a model of a few lines: what was promised is there, in order
//! and to the byte; nothing is there that was not written; and what retention takes is the oldest.
//!
//! `PROPTEST_CASES` says how many histories are tried; a failure prints the shortest that fails.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sluice::config::{ByteSize, JournalSettings};
use sluice::journal::{
    Block, Journal, JournalOptions, JournalReader, JournalState, KnownDurable, Offset, check, repair,
};

use super::sim_storage::{Crash, SimStorage};
use super::support::{Feed, payload, read_all, settings, wait_for};

#[derive(Debug, Clone)]
enum Step {
    /// Append blocks of so many events, each synced before the next.
    Append(Vec<u64>),
    /// Append blocks of so many events, all at once.
    Gather(Vec<u64>),
    /// Close and open again.
    Reopen,
    /// Die at this step of the storage, counted from now, while blocks of so many events are appended; then a crash.
    Crash { after: u64, events: Vec<u64>, crash: Crash },
    /// The next sync fails.
    FailedSync { after: u64, events: u64 },
    /// Open with little room for segments: the oldest go.
    Retain { held: Option<u64> },
    /// Flip a byte of a sealed segment, and repair.
    Damage { segment: usize, at: usize },
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![Just(Crash::Kill), any::<u64>().prop_map(Crash::PowerCut)]
}

fn step() -> impl Strategy<Value = Step> {
    let blocks = || prop::collection::vec(1..12_u64, 1..5);
    prop_oneof![
        4 => blocks().prop_map(Step::Append),
        3 => blocks().prop_map(Step::Gather),
        2 => Just(Step::Reopen),
        4 => (1..40_u64, blocks(), crash()).prop_map(|(after, events, crash)| Step::Crash { after, events, crash }),
        1 => (1..10_u64, 1..8_u64).prop_map(|(after, events)| Step::FailedSync { after, events }),
        1 => prop::option::of(0..60_u64).prop_map(|held| Step::Retain { held }),
        1 => any::<(usize, usize)>().prop_map(|(segment, at)| Step::Damage { segment, at }),
    ]
}

/// What must be so.
#[derive(Debug, Default)]
struct Model {
    /// Events below this were promised.
    promised: u64,
    /// Events below this were written; those from `promised` on may be there or not.
    written: u64,
    /// Events below this may be gone: retention was allowed to take them.
    may_be_gone: u64,
    /// Events that a repair said are lost.
    lost: Vec<u64>,
}

impl Model {
    /// Reads everything and compares. What is found durable is promised from now on.
    fn agrees(&mut self, reader: &mut JournalReader) -> Result<u64, TestCaseError> {
        let earliest = reader.earliest().map_err(fail)?.0;
        prop_assert!(earliest <= self.may_be_gone, "{earliest} is the first, {} may be gone", self.may_be_gone);
        reader.seek(Offset(earliest));
        let blocks = read_all(reader);
        let mut next = earliest;
        for event in blocks.iter().flat_map(Block::events) {
            while next < event.offset.0 {
                prop_assert!(self.lost.contains(&next), "event {next} is missing and was never said to be lost");
                next += 1;
            }
            prop_assert_eq!(event.offset.0, next);
            let expected = payload(next);
            prop_assert_eq!(event.payload, expected.as_bytes());
            next += 1;
        }
        let end = reader.position().0;
        prop_assert!((next..end).all(|offset| self.lost.contains(&offset)), "{next} to {end}");
        prop_assert!(end >= self.promised, "{} were promised, {end} are there", self.promised);
        prop_assert!(end <= self.written, "{} were written, {end} are there", self.written);
        (self.promised, self.written) = (end, end);
        Ok(end)
    }
}

fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

struct World {
    storage: SimStorage,
    feed: Feed,
    model: Model,
    journal: Option<Journal>,
}

fn small() -> JournalSettings {
    JournalSettings { segment_size: ByteSize(900), sync_interval: std::time::Duration::ZERO, ..settings() }
}

impl World {
    fn open(&mut self, settings: JournalSettings) -> Result<(), TestCaseError> {
        let opened = Journal::open_on(Arc::new(self.storage.clone()), JournalOptions::new(settings));
        let (journal, _) = opened.map_err(fail)?;
        self.feed.next = self.model.agrees(&mut journal.reader())?;
        prop_assert_eq!(journal.durable(), Offset(self.feed.next));
        self.journal = Some(journal);
        Ok(())
    }

    /// Submits blocks; `each` waits for each to be durable, or for the end of the process.
    fn append(&mut self, events: &[u64], each: bool) {
        let Some(journal) = &self.journal else { return };
        for &events in events {
            let block = self.feed.block(events);
            self.model.written = self.feed.next;
            if journal.try_submit(block).is_err() {
                break;
            }
            if each {
                settle(journal, &self.storage, self.feed.next);
            }
        }
        settle(journal, &self.storage, self.feed.next);
        self.model.promised = self.model.promised.max(journal.durable().0);
    }

    fn close(&mut self) {
        if let Some(journal) = self.journal.take() {
            // How it ends is part of what is tried.
            drop(journal.close());
            self.model.promised = self.model.promised.max(journal.durable().0);
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(events) => self.append(events, true),
            Step::Gather(events) => self.append(events, false),
            Step::Reopen => {
                self.close();
                prop_assert_eq!(self.model.promised, self.model.written, "a stop in order loses nothing");
                self.open(small())?;
            }
            Step::Crash { after, events, crash } => {
                self.storage.die_at(self.storage.steps() + after);
                self.append(events, true);
                let after = self.storage.after(*crash);
                self.close();
                self.storage = after;
                self.open(small())?;
            }
            Step::FailedSync { after, events } => {
                self.storage.fail_sync_at(self.storage.steps() + after);
                self.append(&[*events], true);
                let after = self.storage.after(Crash::Kill);
                self.close();
                self.storage = after;
                self.open(small())?;
            }
            Step::Retain { held } => {
                self.close();
                // All is promised when it is reopened: it was read.
                let held = held.map(|held| held.min(self.model.promised));
                self.model.may_be_gone = held.unwrap_or(self.model.promised).max(self.model.may_be_gone);
                let mut options = JournalOptions::new(JournalSettings { max_size: ByteSize(2000), ..small() });
                options.retention_waits = held.is_some();
                let (journal, _) = Journal::open_on(Arc::new(self.storage.clone()), options).map_err(fail)?;
                let reader = held.map(|held| journal.hold("a sink", Offset(held)));
                journal.begin_retention();
                self.feed.next = journal.durable().0;
                self.journal = Some(journal);
                if reader.is_some() {
                    // Retention looks at each seal.
                    self.append(&[11, 11], true);
                }
                let Some(journal) = &self.journal else { unreachable!("it was opened") };
                wait_for(|| journal.retention().last_run.is_some());
                self.feed.next = self.model.agrees(&mut journal.reader())?;
                let (bytes, segments) = (self.storage.bytes_of_segments(), self.storage.segments().len());
                prop_assert!(reader.is_some() || bytes <= 2000 || segments < 2, "{bytes} bytes in {segments} segments");
                drop(reader);
                self.close();
                self.open(small())?;
            }
            Step::Damage { segment, at } => {
                self.close();
                let names = self.storage.segments();
                // Of all but the newest: above the watermark it is cut, as other tests say.
                let Some(older) = names.len().checked_sub(1).filter(|older| *older > 0) else {
                    return self.open(small());
                };
                let name = &names[segment % older];
                let mut content = self.storage.content(name);
                let at = at % content.len();
                content[at] ^= 0x20;
                self.storage.set_content(name, content);
                let known: [KnownDurable; 0] = [];
                let report = check(&self.storage, &known, |_| {}).map_err(fail)?;
                prop_assert!(!report.is_whole(), "byte {at} of {name} is not noticed");
                let repaired = repair(&self.storage, &known).map_err(fail)?;
                prop_assert_eq!(repaired.lost(), report.lost());
                prop_assert!(repaired.lost() < 12, "more than a block is lost: {:?}", repaired.holes);
                self.model.lost.extend(repaired.holes.iter().flat_map(|hole| hole.from.0..hole.to.0));
                let after = check(&self.storage, &known, |_| {}).map_err(fail)?;
                prop_assert!(after.is_whole(), "{:?}", after.flaws);
                self.open(small())?;
            }
        }
        Ok(())
    }
}

/// Waits until all below `until` is durable, or nothing more will be.
fn settle(journal: &Journal, storage: &SimStorage, until: u64) {
    wait_for(|| {
        journal.durable().0 >= until || storage.is_dead() || matches!(journal.state(), JournalState::Failed(_))
    });
}

fn cases() -> ProptestConfig {
    // More by PROPTEST_CASES, which the default reads.
    let by_default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { by_default.cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..by_default }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_agrees_with_a_simple_model(steps in prop::collection::vec(step(), 1..14)) {
        let storage = SimStorage::new();
        let mut world = World { storage, feed: Feed::new(2), model: Model::default(), journal: None };
        world.open(small())?;
        for step in &steps {
            world.take(step)?;
        }
        world.close();
        world.open(small())?;
        world.close();
    }
}
