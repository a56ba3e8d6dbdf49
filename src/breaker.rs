//! A circuit breaker: after repeated failures the other side is left alone for a while, then tried by one caller.
//!
//! `failsafe` keeps the state and says when to change it. It lets every caller through while half open, cannot be forced, and
//! goes by a clock of its own; so here it is wrapped: while half open there is one permit, given back by being dropped; a breaker
//! can be held open or closed; and the time that it stays open is counted by tokio's clock.

mod policy;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::StateMachine;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use self::policy::Policy;
use crate::clock::UnixNanos;
use crate::telemetry::CircuitMetrics;

/// An error's text is kept up to here: how long it is, the other side says.
const ERROR_CHARACTERS_MAX: usize = 500;

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forced {
    /// Every call passes, whatever comes of it.
    Closed,
    /// No call passes.
    Open,
}

impl Forced {
    /// What it then shows.
    pub fn state(self) -> BreakerState {
        match self {
            Self::Closed => BreakerState::Closed,
            Self::Open => BreakerState::Open,
        }
    }

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        self.state().as_str()
    }
}

/// What a breaker stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitKind {
    /// Connecting to an upstream.
    Upstream,
    /// Calls of a sink's store.
    Sink,
    /// Asking an upstream's provider over HTTP for what was not seen.
    Backfill,
    /// Polling it over HTTP.
    Poll,
    /// Asking for a look-up; its name is `MONITOR.LOOKUP`.
    LookUp,
    /// Calls for an upstream's token.
    Token,
    /// Telling people of alerts; its name is the channel's.
    Channel,
}

impl CircuitKind {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Upstream, Self::Sink, Self::Backfill, Self::Poll, Self::LookUp, Self::Token, Self::Channel];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Sink => "sink",
            Self::Backfill => "backfill",
            Self::Poll => "poll",
            Self::LookUp => "look_up",
            Self::Token => "token",
            Self::Channel => "channel",
        }
    }
}

/// A breaker. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

struct Shared {
    kind: CircuitKind,
    name: Box<str>,
    /// False: never open, whatever comes.
    enabled: AtomicBool,
    metrics: CircuitMetrics,
    /// What it shows.
    shown: watch::Sender<BreakerState>,
    standing: Mutex<Standing>,
}

struct Standing {
    machine: StateMachine<Policy, ()>,
    /// What the machine was last told to stay open for; it itself believes in no time at all.
    open_for: Arc<Mutex<Option<Duration>>>,
    /// By itself, if nobody held it.
    state: BreakerState,
    open_until: Instant,
    probing: bool,
    forced: Option<Forced>,
    /// Counts resets: a call that began before one says nothing of what is now.
    epoch: u64,
    since: UnixNanos,
    in_a_row: u64,
    failures: u64,
    openings: u64,
    last_error: Option<String>,
}

/// A breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerNow {
    /// What it is doing.
    pub state: BreakerState,
    /// What an operator holds it in.
    pub forced: Option<Forced>,
    /// False where breakers are switched off; it is closed then.
    pub enabled: bool,
    /// Since when it is in its state.
    pub since: UnixNanos,
    /// Calls that failed since the last one that did not.
    pub failures_in_a_row: u64,
    /// Calls that failed since the start.
    pub failures: u64,
    /// How often it opened by itself since the start.
    pub openings: u64,
    /// Why the last call failed that did.
    pub last_error: Option<String>,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { kind, name, .. } = &*self.shared;
        f.debug_struct("Breaker").field("kind", kind).field("name", name).field("state", &self.state()).finish()
    }
}

/// May call, once. Dropped without a word it counts as no call.
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    probe: bool,
    told: bool,
    epoch: u64,
}

/// May not call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Ask again then.
    Until(Instant),
    /// Another's call is to show whether more may pass.
    Probing,
    /// An operator holds it open. [`Breaker::changes`] tells when that is over.
    Forced,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Until(_) => "its breaker is open",
            Self::Probing => "its breaker is half open, and another call is to show whether more may pass",
            Self::Forced => "an operator holds its breaker open",
        })
    }
}

impl Breaker {
    /// A closed one, before what is called `name`.
    pub fn new(kind: CircuitKind, name: &str) -> Self {
        Self::with(kind, name, true)
    }

    /// One that is never open.
    pub fn disabled(kind: CircuitKind, name: &str) -> Self {
        Self::with(kind, name, false)
    }

    fn with(kind: CircuitKind, name: &str, enabled: bool) -> Self {
        let metrics = CircuitMetrics::new(kind.as_str(), name);
        metrics.set_state(BreakerState::Closed);
        let shown = watch::Sender::new(BreakerState::Closed);
        let standing = Mutex::new(Standing::new());
        let enabled = AtomicBool::new(enabled);
        Self { shared: Arc::new(Shared { kind, name: name.into(), enabled, metrics, shown, standing }) }
    }

    fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// From now on it never opens; or it does again, closed and with no failures behind it.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
        self.reset("the settings");
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is doing.
    pub fn state(&self) -> BreakerState {
        *self.shared.shown.borrow()
    }

    /// Tells of each change of [`Breaker::state`]; one that is missed is not told again.
    pub fn changes(&self) -> watch::Receiver<BreakerState> {
        self.shared.shown.subscribe()
    }

    /// How it stands.
    pub fn now(&self) -> BreakerNow {
        let standing = self.lock();
        BreakerNow {
            state: standing.shows(self.is_enabled()),
            forced: standing.forced,
            enabled: self.is_enabled(),
            since: standing.since,
            failures_in_a_row: standing.in_a_row,
            failures: standing.failures,
            openings: standing.openings,
            last_error: standing.last_error.clone(),
        }
    }

    /// Holds it in a state until it is [reset](Self::reset). `by` is for the log.
    pub fn force(&self, forced: Forced, by: &str) {
        let mut standing = self.lock();
        standing.forced = Some(forced);
        self.show(&mut standing);
        let Shared { kind, name, .. } = &*self.shared;
        tracing::warn!(kind = kind.as_str(), circuit = %name, "circuit forced {} by {by}", forced.as_str());
    }

    /// Lets it go, closed and with no failures behind it.
    pub fn reset(&self, by: &str) {
        let mut standing = self.lock();
        standing.forced = None;
        (standing.machine, standing.open_for) = machine();
        standing.state = BreakerState::Closed;
        standing.probing = false;
        standing.epoch += 1;
        standing.in_a_row = 0;
        self.show(&mut standing);
        let Shared { kind, name, .. } = &*self.shared;
        tracing::info!(kind = kind.as_str(), circuit = %name, "circuit reset by {by}: closed");
    }

    /// Asks to call.
    ///
    /// # Errors
    /// When no call may pass now.
    pub fn permit(&self) -> Result<Permit, Refusal> {
        let mut standing = self.lock();
        let epoch = standing.epoch;
        let pass = |probe| Permit { breaker: self.clone(), probe, told: false, epoch };
        if !self.is_enabled() {
            return Ok(pass(false));
        }
        match (standing.forced, standing.state) {
            (Some(Forced::Open), _) => return Err(Refusal::Forced),
            (Some(Forced::Closed), _) | (None, BreakerState::Closed) => return Ok(pass(false)),
            (None, BreakerState::Open) => {
                let now = Instant::now();
                if now < standing.open_until || !standing.machine.is_call_permitted() {
                    return Err(Refusal::Until(standing.open_until.max(now + Duration::from_millis(1))));
                }
                standing.state = BreakerState::HalfOpen;
                self.show(&mut standing);
                let Shared { kind, name, .. } = &*self.shared;
                tracing::info!(kind = kind.as_str(), circuit = %name, "circuit half open: one call is to show");
            }
            (None, BreakerState::HalfOpen) if standing.probing => return Err(Refusal::Probing),
            (None, BreakerState::HalfOpen) => {}
        }
        standing.probing = true;
        Ok(pass(true))
    }

    /// Shows what has changed.
    fn show(&self, standing: &mut Standing) {
        let shows = standing.shows(self.is_enabled());
        if self.shared.shown.send_if_modified(|shown| std::mem::replace(shown, shows) != shows) {
            standing.since = UnixNanos::now();
            self.shared.metrics.set_state(shows);
        }
    }

    /// It opens by itself.
    fn open(&self, standing: &mut Standing, open_for: Duration) {
        let again = standing.state != BreakerState::Closed;
        standing.state = BreakerState::Open;
        standing.open_until = Instant::now() + open_for;
        standing.openings += 1;
        self.shared.metrics.opened();
        self.show(standing);
        let Shared { kind, name, .. } = &*self.shared;
        let (kind, failures) = (kind.as_str(), standing.in_a_row);
        let (error, wait) = (standing.last_error.as_deref().unwrap_or_default(), open_for.as_secs_f64());
        if again {
            tracing::info!(kind, circuit = %name, "circuit open again, tried in {wait:.1} s: {error}");
        } else if failures < u64::from(policy::FAILURES_IN_A_ROW) {
            tracing::warn!(kind, circuit = %name, "circuit open, tried in {wait:.1} s: half of the last calls failed: {error}");
        } else {
            tracing::warn!(kind, circuit = %name, "circuit open after {failures} failures, tried in {wait:.1} s: {error}");
        }
    }
}

impl Standing {
    fn new() -> Self {
        let (machine, open_for) = machine();
        Self {
            machine,
            open_for,
            state: BreakerState::Closed,
            open_until: Instant::now(),
            probing: false,
            forced: None,
            epoch: 0,
            since: UnixNanos::now(),
            in_a_row: 0,
            failures: 0,
            openings: 0,
            last_error: None,
        }
    }

    fn shows(&self, enabled: bool) -> BreakerState {
        match self.forced {
            _ if !enabled => BreakerState::Closed,
            Some(forced) => forced.state(),
            None => self.state,
        }
    }
}

fn machine() -> (StateMachine<Policy, ()>, Arc<Mutex<Option<Duration>>>) {
    let open_for = Arc::new(Mutex::new(None));
    (StateMachine::new(Policy::new(Arc::clone(&open_for)), ()), open_for)
}

impl Permit {
    /// The call did what it should.
    pub fn succeeded(mut self) {
        self.told = true;
        let mut standing = self.breaker.lock();
        standing.in_a_row = 0;
        if self.epoch != standing.epoch {
            return;
        }
        standing.machine.on_success();
        if self.probe {
            standing.probing = false;
            standing.state = BreakerState::Closed;
            self.breaker.show(&mut standing);
            if standing.forced.is_none() {
                let Shared { kind, name, .. } = &*self.breaker.shared;
                tracing::info!(kind = kind.as_str(), circuit = %name, "circuit closed: a call succeeded");
            }
        }
    }

    /// It did not, and why.
    pub fn failed(mut self, reason: &str) {
        self.told = true;
        let mut standing = self.breaker.lock();
        standing.failures += 1;
        standing.last_error = Some(reason.chars().take(ERROR_CHARACTERS_MAX).collect());
        if self.epoch != standing.epoch {
            return;
        }
        standing.in_a_row += 1;
        if self.probe {
            standing.probing = false;
        }
        let held = !self.breaker.is_enabled() || standing.forced == Some(Forced::Closed);
        // A call that began before it opened says nothing new.
        if held || (!self.probe && standing.state != BreakerState::Closed) {
            return;
        }
        standing.machine.on_error();
        let open_for = standing.open_for.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open_for) = open_for {
            self.breaker.open(&mut standing, open_for);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.told {
            let mut standing = self.breaker.lock();
            if self.epoch == standing.epoch {
                standing.probing = false;
            }
        }
    }
}
