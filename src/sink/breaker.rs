//! A circuit breaker: after repeated failures a store is left alone for a while, then tried by one caller.
//!
//! `failsafe` keeps the state and says when to change it. It lets every caller through while half open, cannot be forced, and
//! goes by a clock of its own; so here it is wrapped: while half open there is one permit, given back by being dropped; a breaker
//! can be held open or closed; and the time that it stays open is counted by tokio's clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::{FailurePolicy, StateMachine};
use tokio::time::Instant;

use crate::backoff::Backoff;

/// So many failures in a row open it. Source: a guess; with the waits between attempts it is some seconds.
const FAILURES_IN_A_ROW: u32 = 5;

/// Of so many calls, half must have succeeded. Source: a guess.
const CALLS: u32 = 20;

/// How long it stays open: at first, and at most. Source: a guess.
const OPEN_MIN: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(30);

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// One call passes, to see.
    HalfOpen,
}

impl BreakerState {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What an operator holds a breaker in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    /// Every call passes, whatever comes of it.
    Closed,
    /// No call passes.
    Open,
}

/// A breaker. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    machine: StateMachine<Policy, ()>,
    /// What the machine was last told to stay open for; it itself believes in no time at all.
    open_for: Arc<Mutex<Option<Duration>>>,
    state: BreakerState,
    open_until: Instant,
    probing: bool,
    forced: Option<Forced>,
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// May call, once. Dropped without a word it counts as no call.
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    probe: bool,
    told: bool,
}

/// May not call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Ask again then.
    Until(Instant),
    /// Another's call is to show whether more may pass.
    Probing,
    /// An operator holds it open.
    Forced,
}

impl Breaker {
    /// A closed one.
    pub fn new() -> Self {
        let open_for = Arc::new(Mutex::new(None));
        let machine = StateMachine::new(Policy::new(Arc::clone(&open_for)), ());
        Self {
            shared: Arc::new(Mutex::new(Shared {
                machine,
                open_for,
                state: BreakerState::Closed,
                open_until: Instant::now(),
                probing: false,
                forced: None,
            })),
        }
    }

    /// One that is never open.
    pub fn disabled() -> Self {
        let breaker = Self::new();
        breaker.force(Some(Forced::Closed));
        breaker
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is doing.
    pub fn state(&self) -> BreakerState {
        let shared = self.lock();
        match shared.forced {
            Some(Forced::Closed) => BreakerState::Closed,
            Some(Forced::Open) => BreakerState::Open,
            None => shared.state,
        }
    }

    /// Holds it in a state, or lets it go.
    pub fn force(&self, forced: Option<Forced>) {
        self.lock().forced = forced;
    }

    /// Asks to call.
    ///
    /// # Errors
    /// When no call may pass now.
    pub fn permit(&self) -> Result<Permit, Refusal> {
        let mut shared = self.lock();
        let pass = |probe| Permit { breaker: self.clone(), probe, told: false };
        match (shared.forced, shared.state) {
            (Some(Forced::Open), _) => return Err(Refusal::Forced),
            (Some(Forced::Closed), _) | (None, BreakerState::Closed) => return Ok(pass(false)),
            (None, BreakerState::Open) => {
                let now = Instant::now();
                if now < shared.open_until || !shared.machine.is_call_permitted() {
                    return Err(Refusal::Until(shared.open_until.max(now + Duration::from_millis(1))));
                }
                shared.state = BreakerState::HalfOpen;
            }
            (None, BreakerState::HalfOpen) if shared.probing => return Err(Refusal::Probing),
            (None, BreakerState::HalfOpen) => {}
        }
        shared.probing = true;
        Ok(pass(true))
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Permit {
    /// The call did what it should.
    pub fn succeeded(mut self) {
        self.told = true;
        let mut shared = self.breaker.lock();
        shared.machine.on_success();
        if self.probe {
            shared.probing = false;
            shared.state = BreakerState::Closed;
        }
    }

    /// It did not.
    pub fn failed(mut self) {
        self.told = true;
        let mut shared = self.breaker.lock();
        if self.probe {
            shared.probing = false;
        }
        // A call that began before it opened says nothing new.
        if shared.forced == Some(Forced::Closed) || (!self.probe && shared.state != BreakerState::Closed) {
            return;
        }
        shared.machine.on_error();
        let open_for = shared.open_for.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open_for) = open_for {
            shared.state = BreakerState::Open;
            shared.open_until = Instant::now() + open_for;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.told {
            self.breaker.lock().probing = false;
        }
    }
}

/// Opens after failures in a row, or when of the last calls too few succeeded, which a store that fails every other time would
/// else never bring about.
#[derive(Debug)]
struct Policy {
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
    fn new(open_for: Arc<Mutex<Option<Duration>>>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Breaker {
        let breaker = Breaker::new();
        for _ in 0..FAILURES_IN_A_ROW {
            assert_eq!(breaker.state(), BreakerState::Closed);
            breaker.permit().unwrap().failed();
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    async fn half_open(breaker: &Breaker) -> Permit {
        let Err(Refusal::Until(until)) = breaker.permit() else { panic!("it is open") };
        assert!(until <= Instant::now() + OPEN_MAX);
        tokio::time::sleep_until(until).await;
        breaker.permit().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn while_half_open_one_call_passes_and_what_came_of_it_decides() {
        let breaker = opened();
        let probe = half_open(&breaker).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        for _ in 0..10 {
            assert_eq!(breaker.permit().unwrap_err(), Refusal::Probing);
        }
        probe.failed();
        assert_eq!(breaker.state(), BreakerState::Open, "one failure is enough");
        half_open(&breaker).await.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.permit().unwrap().failed();
        assert_eq!(breaker.state(), BreakerState::Closed, "one failure is no reason again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_lets_another_one_pass() {
        let breaker = opened();
        drop(half_open(&breaker).await);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.permit().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_every_other_time_opens_and_stays_open_ever_longer() {
        let breaker = Breaker::new();
        let (mut opened, mut waits) = (0, Vec::new());
        for call in 0_u32..400 {
            let permit = match breaker.permit() {
                Ok(permit) => permit,
                Err(Refusal::Until(until)) => {
                    opened += 1;
                    waits.push(until - Instant::now());
                    tokio::time::sleep_until(until).await;
                    breaker.permit().unwrap()
                }
                Err(other) => panic!("{other:?}"),
            };
            if call % 2 == 0 { permit.failed() } else { permit.succeeded() }
        }
        assert!(opened >= 5, "{opened}");
        assert!(waits.last() > waits.first() && waits.iter().all(|wait| *wait <= OPEN_MAX), "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_holds_it_open_or_closed() {
        let breaker = Breaker::new();
        breaker.force(Some(Forced::Open));
        assert_eq!((breaker.state(), breaker.permit().unwrap_err()), (BreakerState::Open, Refusal::Forced));
        breaker.force(Some(Forced::Closed));
        for _ in 0..100 {
            breaker.permit().unwrap().failed();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.force(None);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
