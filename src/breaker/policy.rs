//! When a breaker opens, and for how long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failsafe::FailurePolicy;

use crate::backoff::Backoff;

/// So many failures in a row open it. Source: a guess; with the waits between attempts it is some seconds.
pub(super) const FAILURES_IN_A_ROW: u32 = 5;

/// Of so many calls, half must have succeeded. Source: a guess.
const CALLS: u32 = 20;

/// How long it stays open: at first, and at most. Source: a guess.
const OPEN_MIN: Duration = Duration::from_secs(1);
pub(super) const OPEN_MAX: Duration = Duration::from_secs(30);

/// Opens after failures in a row, or when of the last calls too few succeeded, which a store that fails every other time would
/// else never bring about.
#[derive(Debug)]
pub(super) struct Policy {
    in_a_row: u32,
    /// The last calls, the newest in the lowest bit; 1 is a failure.
    calls: u32,
    counted: u32,
    /// Of ours: failsafe's counts whole seconds, and may begin with none.
    waits: Backoff,
    /// A breaker that was open must show itself a while before it gets the shortest wait again.
    since_open: u32,
    open_for: Arc<Mutex<Option<Duration>>>,
}

impl Policy {
    pub(super) fn new(open_for: Arc<Mutex<Option<Duration>>>) -> Self {
        Self { in_a_row: 0, calls: 0, counted: 0, waits: Backoff::new(OPEN_MIN, OPEN_MAX), since_open: CALLS, open_for }
    }

    fn note(&mut self, failure: bool) {
        self.calls = self.calls << 1 | u32::from(failure);
        self.counted = (self.counted + 1).min(CALLS);
        self.since_open = (self.since_open + 1).min(CALLS);
    }

    fn failures(&self) -> u32 {
        (self.calls & ((1 << CALLS) - 1)).count_ones()
    }
}

impl FailurePolicy for Policy {
    fn record_success(&mut self) {
        self.in_a_row = 0;
        self.note(false);
        if self.since_open == CALLS && self.failures() * 2 < CALLS {
            self.waits.reset();
        }
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.in_a_row += 1;
        self.note(true);
        let flapping = self.counted == CALLS && self.failures() * 2 >= CALLS;
        // Right after it was open, one failure is enough: nothing has been proved yet.
        let half_open = self.counted == 1 && self.since_open == 1;
        if self.in_a_row < FAILURES_IN_A_ROW && !flapping && !half_open {
            return None;
        }
        let wait = self.waits.next(None);
        *self.open_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(wait);
        self.counted = 0;
        self.calls = 0;
        self.since_open = 0;
        // By failsafe's own clock it is over at once; ours decides.
        Some(Duration::ZERO)
    }

    fn revived(&mut self) {
        self.in_a_row = 0;
    }
}
