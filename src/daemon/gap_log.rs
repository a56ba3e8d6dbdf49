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
    journal: Arc<Journal>,
    clock: Arc<ReceivedClock>,
    identities: LedgerIdentities,
    waiting: Mutex<VecDeque<LedgerRecord>>,
}

impl GapLog {
    /// Of this ledger.
    pub(super) fn new(
        ledger: Arc<GapLedger>,
        journal: Arc<Journal>,
        clock: Arc<ReceivedClock>,
        identities: LedgerIdentities,
    ) -> Self {
        Self { ledger, journal, clock, identities, waiting: Mutex::default() }
    }

    /// This moment, as the ledger counts.
    pub(super) fn now(&self) -> UnixNanos {
        self.clock.stamp()
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

    /// The daemon has stopped reading at `start`: whatever was in force is down from then on. Blocking, at most until `deadline`;
    /// what was handed over is durable when the journal has been closed.
    pub(super) fn down(&self, start: UnixNanos, deadline: Instant) {
        self.ledger.later(self.ledger.down(|_, _| start));
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
