//! All circuit breakers of a daemon: listed, and held by operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::breaker::{Breaker, BreakerNow, BreakerState, CircuitKind, Forced};

/// A circuit breaker as it stands, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitRow {
    /// Of the upstream or the sink.
    pub name: String,
    /// What it stands before.
    pub kind: CircuitKind,
    /// `closed`, `open`, `half_open`.
    pub state: BreakerState,
    /// False where `fault_tolerance.enabled` is: it never opens then, and is not held either.
    pub enabled: bool,
    /// What an operator holds it in.
    pub forced: Option<Forced>,
    /// Since when it is in its state, RFC 3339.
    pub since: String,
    /// Calls that failed since the last one that did not.
    pub failures: u64,
    /// Calls that failed since the start.
    pub failures_total: u64,
    /// How often it opened by itself since the start.
    pub openings: u64,
    /// Why the last call failed that did.
    pub last_error: Option<String>,
}

impl CircuitRow {
    /// Why it is not closed, in a sentence; none where it is.
    pub fn complaint(&self) -> Option<String> {
        let Self { name, kind, state, .. } = self;
        let what = format!("circuit of {} `{name}` is {}", kind.as_str(), state.as_str());
        match (state, self.forced, &self.last_error) {
            (BreakerState::Closed, ..) => None,
            (_, Some(_), _) => Some(format!("{what}: an operator holds it; `sluice circuits reset {name}` lets it go")),
            (_, None, Some(error)) => Some(format!("{what} after {} failures: {error}", self.failures)),
            (_, None, None) => Some(what),
        }
    }
}

/// What an operator wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitAction {
    /// No call passes, until it is reset.
    Open,
    /// Every call passes, whatever comes of it, until it is reset.
    Close,
    /// It is let go: closed, with no failures behind it.
    Reset,
}

/// The same, as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitChange {
    /// What to do.
    pub action: CircuitAction,
}

/// What a breaker is held in, or that it is not any longer; it outlives restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitHold {
    /// What it stands before.
    pub kind: CircuitKind,
    /// Of which.
    pub name: String,
    /// None: it is let go.
    pub forced: Option<Forced>,
}

impl CircuitHold {
    /// What `action` comes to.
    pub fn new(kind: CircuitKind, name: &str, action: CircuitAction) -> Self {
        let forced = match action {
            CircuitAction::Open => Some(Forced::Open),
            CircuitAction::Close => Some(Forced::Closed),
            CircuitAction::Reset => None,
        };
        Self { kind, name: name.to_owned(), forced }
    }
}

/// Why a breaker is not held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CircuitRefusal {
    /// There is none of this name.
    #[error("there is no circuit of a {} `{name}`; `sluice circuits` lists them", .kind.as_str())]
    Unknown {
        /// What it should stand before.
        kind: CircuitKind,
        /// Of which.
        name: String,
    },
    /// Breakers are switched off.
    #[error("circuit breakers are switched off: `fault_tolerance.enabled` is false (FAULT_TOLERANCE_ENABLED)")]
    Disabled,
    /// The journal does not take the change, so it would be forgotten.
    #[error("{0}")]
    NotRecorded(&'static str),
}

/// All breakers. They come and go with upstreams and sinks.
#[derive(Debug)]
pub struct Circuits {
    /// See [`Circuits::set_enabled`].
    enabled: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    breakers: BTreeMap<(CircuitKind, String), Breaker>,
    /// What operators hold, of those that are not there yet too.
    held: BTreeMap<(CircuitKind, String), Forced>,
}

impl Circuits {
    /// None yet. `enabled` false: none of them ever opens. `held` is what operators held before the start.
    pub fn new(enabled: bool, held: Vec<CircuitHold>) -> Self {
        let held = held.into_iter().filter_map(|hold| Some(((hold.kind, hold.name), hold.forced?))).collect();
        let enabled = AtomicBool::new(enabled);
        Self { enabled, known: Mutex::new(Known { breakers: BTreeMap::new(), held }) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether breakers open at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Switches all of them off, each closed then, or on: as operators held them, else closed with no failures behind it.
    pub fn set_enabled(&self, enabled: bool) {
        let known = self.lock();
        if self.enabled.swap(enabled, Ordering::Relaxed) == enabled {
            return;
        }
        tracing::warn!(
            "circuit breakers are switched {} (fault_tolerance.enabled)",
            if enabled { "on" } else { "off" }
        );
        for (key, breaker) in &known.breakers {
            breaker.set_enabled(enabled);
            if let Some(forced) = known.held.get(key).filter(|_| enabled) {
                breaker.force(*forced, "an operator, before breakers were switched off");
            }
        }
    }

    /// The breaker before an upstream or a sink: the one that is there, with all that it knows, or a new one, held as operators
    /// held it.
    pub fn register(&self, kind: CircuitKind, name: &str) -> Breaker {
        let key = (kind, name.to_owned());
        let mut known = self.lock();
        if let Some(breaker) = known.breakers.get(&key) {
            return breaker.clone();
        }
        let breaker = if self.is_enabled() { Breaker::new(kind, name) } else { Breaker::disabled(kind, name) };
        if let Some(forced) = known.held.get(&key)
            && self.is_enabled()
        {
            breaker.force(*forced, "an operator, before the start");
        }
        known.breakers.insert(key, breaker.clone());
        breaker
    }

    /// What it stood before is no more.
    pub fn remove(&self, kind: CircuitKind, name: &str) {
        let mut known = self.lock();
        let key = (kind, name.to_owned());
        known.breakers.remove(&key);
        known.held.remove(&key);
    }

    /// Whether there is one.
    pub fn is_known(&self, kind: CircuitKind, name: &str) -> bool {
        self.lock().breakers.contains_key(&(kind, name.to_owned()))
    }

    /// What one is doing; none where there is none.
    pub fn state(&self, kind: CircuitKind, name: &str) -> Option<BreakerState> {
        self.lock().breakers.get(&(kind, name.to_owned())).map(Breaker::state)
    }

    /// Every one as it stands.
    pub fn rows(&self) -> Vec<CircuitRow> {
        self.lock().breakers.iter().map(|((kind, name), breaker)| row(*kind, name, &breaker.now())).collect()
    }

    /// Whether a change can be made; it is to be remembered before it is [made](Self::hold).
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self, hold: &CircuitHold) -> Result<(), CircuitRefusal> {
        if !self.is_known(hold.kind, &hold.name) {
            return Err(CircuitRefusal::Unknown { kind: hold.kind, name: hold.name.clone() });
        }
        if self.is_enabled() { Ok(()) } else { Err(CircuitRefusal::Disabled) }
    }

    /// Holds a breaker, or lets it go, and says how it stands then.
    ///
    /// # Errors
    /// As [`Circuits::check`].
    pub fn hold(&self, hold: &CircuitHold, by: &str) -> Result<CircuitRow, CircuitRefusal> {
        self.check(hold)?;
        let key = (hold.kind, hold.name.clone());
        let mut known = self.lock();
        match hold.forced {
            Some(forced) => known.held.insert(key.clone(), forced),
            None => known.held.remove(&key),
        };
        let Some(breaker) = known.breakers.get(&key) else {
            return Err(CircuitRefusal::Unknown { kind: hold.kind, name: hold.name.clone() });
        };
        match hold.forced {
            Some(forced) => breaker.force(forced, by),
            None => breaker.reset(by),
        }
        Ok(row(hold.kind, &hold.name, &breaker.now()))
    }
}

fn row(kind: CircuitKind, name: &str, now: &BreakerNow) -> CircuitRow {
    CircuitRow {
        name: name.to_owned(),
        kind,
        state: now.state,
        enabled: now.enabled,
        forced: now.forced,
        since: now.since.to_string(),
        failures: now.failures_in_a_row,
        failures_total: now.failures,
        openings: now.openings,
        last_error: now.last_error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(name: &str, forced: Option<Forced>) -> CircuitHold {
        CircuitHold { kind: CircuitKind::Sink, name: name.to_owned(), forced }
    }

    #[test]
    fn one_that_comes_back_is_held_as_before_and_one_that_is_there_keeps_what_it_knows() {
        let circuits = Circuits::new(true, vec![hold("a", Some(Forced::Open))]);
        assert_eq!(circuits.register(CircuitKind::Sink, "a").state(), BreakerState::Open);
        assert_eq!(circuits.register(CircuitKind::Upstream, "a").state(), BreakerState::Closed, "another kind's");
        let upstream = circuits.register(CircuitKind::Upstream, "a");
        upstream.permit().unwrap().failed("no route");
        assert_eq!(circuits.register(CircuitKind::Upstream, "a").now().failures, 1, "the same one");
        circuits.remove(CircuitKind::Sink, "a");
        assert_eq!(
            circuits.register(CircuitKind::Sink, "a").state(),
            BreakerState::Closed,
            "another sink of that name"
        );
    }

    #[test]
    fn a_complaint_tells_why_and_what_to_do() {
        let circuits = Circuits::new(true, Vec::new());
        let breaker = circuits.register(CircuitKind::Sink, "a");
        assert_eq!(circuits.rows()[0].complaint(), None);
        circuits.hold(&hold("a", Some(Forced::Open)), "a test").unwrap();
        let complaint = circuits.rows()[0].complaint().unwrap();
        assert!(complaint.contains("sluice circuits reset a"), "{complaint}");
        circuits.hold(&hold("a", None), "a test").unwrap();
        for _ in 0..5 {
            breaker.permit().unwrap().failed("no route");
        }
        let complaint = circuits.rows()[0].complaint();
        assert_eq!(complaint.as_deref(), Some("circuit of sink `a` is open after 5 failures: no route"));
    }

    #[test]
    fn breakers_switched_off_while_they_run_close_and_switched_on_are_held_as_before() {
        let circuits = Circuits::new(true, vec![hold("a", Some(Forced::Open))]);
        let (held, other) = (circuits.register(CircuitKind::Sink, "a"), circuits.register(CircuitKind::Sink, "b"));
        for _ in 0..5 {
            other.permit().unwrap().failed("no route");
        }
        let states = || [held.state(), other.state()];
        assert_eq!(states(), [BreakerState::Open; 2]);
        let mut changes = other.changes();
        circuits.set_enabled(false);
        assert_eq!(states(), [BreakerState::Closed; 2]);
        assert!(changes.has_changed().unwrap(), "who waits for it is told");
        changes.mark_unchanged();
        assert!(held.permit().is_ok() && other.permit().is_ok());
        assert_eq!(circuits.hold(&hold("a", None), "a test"), Err(CircuitRefusal::Disabled));
        circuits.set_enabled(true);
        assert_eq!(states(), [BreakerState::Open, BreakerState::Closed]);
    }

    #[test]
    fn breakers_that_are_switched_off_are_shown_and_not_held() {
        let circuits = Circuits::new(false, vec![hold("a", Some(Forced::Open))]);
        let breaker = circuits.register(CircuitKind::Sink, "a");
        let row = circuits.rows().remove(0);
        assert_eq!((row.state, row.enabled, row.forced), (BreakerState::Closed, false, None));
        assert!(breaker.permit().is_ok());
        assert_eq!(circuits.hold(&hold("a", Some(Forced::Open)), "a test"), Err(CircuitRefusal::Disabled));
        let unknown = circuits.hold(&hold("b", None), "a test").unwrap_err();
        assert_eq!(unknown.to_string(), "there is no circuit of a sink `b`; `sluice circuits` lists them");
    }
}
