//! Gets into the journal what the gap ledger says when no link does: at the start, at the stop, and when an operator or a
//! keeper changes something.
//!
//! The queue of the daemon's own events is small and may refuse. Nothing of the ledger is dropped for that: what was refused
//! waits here and is tried again each second, and at the stop until it is taken or the time is over.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::own_events::ledger_block;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::journal::{Journal, JournalState, MonitorIdentity};
use crate::monitor::gap::LedgerRecord;
use crate::monitor::ledger::GapLedger;
use crate::monitor::sequence::book::{Leap, SequenceBook};

/// The most records of a block, and the most topics of them together: a block then fits the queue of the daemon's own.
/// Source: a guess; 4,096 names of 100 bytes are 400 KiB before they are compressed.
const BLOCK_RECORDS_MAX: usize = 1024;

/// How often a full queue is tried again at the stop.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// What the journal calls the ledger's events.
#[derive(Clone)]
pub(super) struct LedgerIdentities {
    /// Gaps that are over.
    pub(super) gaps: Arc<MonitorIdentity>,
    /// Everything else.
    pub(super) coverage: Arc<MonitorIdentity>,
}

/// Journals what the ledger left to be journaled.
pub(super) struct GapLog {
    ledger: Arc<GapLedger>,
    sequences: Arc<SequenceBook>,
    journal: Arc<Journal>,
    clock: Arc<ReceivedClock>,
    identities: LedgerIdentities,
    waiting: Mutex<VecDeque<LedgerRecord>>,
}

impl GapLog {
    /// Of this ledger.
    pub(super) fn new(
        ledger: Arc<GapLedger>,
        sequences: Arc<SequenceBook>,
        journal: Arc<Journal>,
        clock: Arc<ReceivedClock>,
        identities: LedgerIdentities,
    ) -> Self {
        Self { ledger, sequences, journal, clock, identities, waiting: Mutex::default() }
    }

    /// The daemon stops: whatever is lost from now on is lost to downtime. This moment, as the ledger counts.
    pub(super) fn stopping(&self) -> UnixNanos {
        self.ledger.stopping();
        self.clock.stamp()
    }

    /// The daemon hands over to another process, which goes on with what is in force. This moment, as the ledger counts.
    pub(super) fn handing_over(&self) -> UnixNanos {
        self.ledger.handing_over();
        self.clock.stamp()
    }

    /// The daemon has stopped reading, and another process goes on. Blocking, as [`GapLog::down`].
    pub(super) fn hand_over(&self, deadline: Instant) {
        // Nothing more comes here of what is still waited for.
        self.tell(self.sequences.take_all());
        self.flush_until(deadline);
    }

    /// Hands over what the journal takes now. True when nothing is left.
    pub(super) fn flush(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(self.ledger.take_outbox());
        while !waiting.is_empty() {
            let count = waiting.len().min(BLOCK_RECORDS_MAX);
            let block = ledger_block(waiting.iter().take(count), &self.identities, self.clock.stamp());
            if self.journal.try_submit_own(block).is_err() {
                return false;
            }
            waiting.drain(..count);
        }
        true
    }

    /// Hands over what waits, and then what sequences have lost for good: not before that, so that no more than one leap a topic
    /// waits while the journal is full.
    pub(super) fn tend(&self) {
        if self.flush() {
            self.tell(self.sequences.take_settled(Instant::now()));
            self.flush();
        }
    }

    fn tell(&self, leaps: Vec<Leap>) {
        for Leap { upstream, monitor, topic, missed } in leaps {
            self.ledger.later(self.ledger.missed(&upstream, &monitor, &topic, missed));
        }
    }

    /// The daemon has stopped reading at `start`: whatever was in force is down from then on. Blocking, at most until `deadline`;
    /// what was handed over is durable when the journal has been closed.
    pub(super) fn down(&self, start: UnixNanos, deadline: Instant) {
        // Nothing more comes of what is still waited for.
        self.tell(self.sequences.take_all());
        self.ledger.later(self.ledger.down(|_, _| start));
        self.flush_until(deadline);
    }

    fn flush_until(&self, deadline: Instant) {
        while !self.flush() {
            let over = matches!(self.journal.state(), JournalState::Failed(_) | JournalState::Closed);
            if over || Instant::now() >= deadline {
                // The next start finds the topics in force, and so takes the end of the journal for that of the reading.
                tracing::warn!("the journal did not take that the daemon stopped; the next start counts it as a crash");
                return;
            }
            std::thread::sleep(TRY_AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::own_events::event_block;
    use super::super::watching::watching;
    use super::*;
    use crate::config::JournalSettings;
    use crate::dialect::TopicId;
    use crate::journal::{COVERAGE_MONITOR, GAPS_MONITOR, JournalOptions, Notice, OWN_DOMAIN};
    use crate::monitor::roster::Identities;
    use crate::recovery::gaps::{last_received, read_standing};

    #[test]
    fn what_a_full_queue_refuses_is_in_the_journal_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (go_on, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let journal = Journal::open(
            dir.path(),
            JournalOptions {
                // The writer stands still after its first group.
                observer: Box::new(move |notice| {
                    if matches!(notice, Notice::Committed(_)) {
                        held.lock().unwrap().recv().ok();
                    }
                }),
                ..JournalOptions::new(JournalSettings::default())
            },
        );
        let journal = Arc::new(journal.unwrap().0);
        let (watched, own) = watching();
        let clock = Arc::new(ReceivedClock::default());
        let mut identities = Identities::default();
        let identities = LedgerIdentities {
            gaps: identities.of(GAPS_MONITOR, OWN_DOMAIN),
            coverage: identities.of(COVERAGE_MONITOR, OWN_DOMAIN),
        };
        let ledger = Arc::new(GapLedger::default());
        let log =
            GapLog::new(Arc::clone(&ledger), Arc::default(), Arc::clone(&journal), Arc::clone(&clock), identities);
        let give = || journal.try_submit_own(event_block(&own, "t", &1, clock.stamp()));
        give().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while journal.durable().0 == 0 {
            assert!(Instant::now() < deadline, "the writer takes the first block");
            std::thread::sleep(Duration::from_millis(1));
        }
        while give().is_ok() {}

        let topics = || [TopicId(0), TopicId(1)];
        ledger.later(ledger.covered(&watched.now()[0].roster, topics(), clock.stamp(), None));
        assert!(!log.flush(), "there is no room");
        let after_that = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| log.down(clock.stamp(), deadline));
            drop(go_on);
            stopping.join().unwrap();
            ledger.standing()
        });
        assert!(log.flush(), "nothing is left");
        journal.close().unwrap();
        assert_eq!(after_that.topics.iter().filter(|topic| topic.open.len() == 1).count(), 3);
        let mut reader = journal.reader();
        let end = last_received(&mut reader).unwrap().unwrap();
        assert_eq!(read_standing(&mut reader, end).unwrap(), after_that, "and is read back as it was");
    }
}
