//! How a sink stands: written by its runner, read by health, metrics, the API and checkpoints.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store::StoreFigures;
use crate::breaker::{Breaker, BreakerState};
use crate::clock::UnixNanos;
use crate::config::SinkKind;
use crate::journal::{JournalId, Offset};
use crate::telemetry::LatencyHistogram;

/// A sink lags when the oldest event that it lacks is older. Source: a guess: far more than any healthy store needs.
const LAGGING_AFTER: Duration = Duration::from_secs(30);

/// Up to where a sink has the journal: what checkpoints keep of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkMark {
    /// Its name.
    pub name: String,
    /// Which store.
    pub kind: SinkKind,
    /// The journal it follows.
    pub journal: JournalId,
    /// The offset after the last event that it surely has.
    pub next: Offset,
    /// A message broker's own sequence number of that event.
    pub sequence: Option<u64>,
}

/// A sink as it stands, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// Which store.
    pub kind: String,
    /// In a word.
    pub state: SinkState,
    /// Whether it is switched on.
    pub enabled: bool,
    /// The offset after the last event that it has; none as long as it has not said so.
    pub cursor: Option<u64>,
    /// Events of the journal that it may still have to take.
    pub lag_events: Option<u64>,
    /// The age of the oldest of them.
    pub lag_seconds: Option<f64>,
    /// What half of its transactions stayed within since the start, and 95 of 100.
    pub latency_ms: Option<LatencyMs>,
    /// Files that hold events.
    pub files: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
    /// `closed`, `open`, `half_open`.
    pub breaker: BreakerState,
    /// Rows written since the start.
    pub rows: u64,
    /// Rows put aside since the start.
    pub parked: u64,
    /// Attempts that failed since the start.
    pub retries: u64,
    /// Events that were no longer there for it, since the start.
    pub lost: u64,
    /// What stands in its way.
    pub error: Option<String>,
}

/// How a sink is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// It takes what comes.
    Connected,
    /// Its store does not answer.
    Disconnected,
    /// It failed repeatedly, and is left alone for a while.
    Open,
    /// It takes what comes, and is late.
    Lagging,
    /// Switched off.
    Off,
    /// A person must decide.
    Refused,
}

impl SinkState {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Connected, Self::Disconnected, Self::Open, Self::Lagging, Self::Off, Self::Refused];

    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Open => "open",
            Self::Lagging => "lagging",
            Self::Off => "off",
            Self::Refused => "refused",
        }
    }
}

/// How long transactions take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
}

/// What a runner is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connecting, or waiting to do so again.
    Disconnected,
    /// The store answers.
    Connected,
    /// A person must decide.
    Refused,
    /// Switched off.
    Off,
}

/// What is known of a sink.
#[derive(Debug)]
pub(super) struct SinkStatus {
    pub(super) name: String,
    pub(super) kind: SinkKind,
    pub(super) breaker: Breaker,
    pub(super) latency: LatencyHistogram,
    now: Mutex<StatusNow>,
}

/// The same, of one moment.
#[derive(Debug, Clone)]
pub(super) struct StatusNow {
    pub(super) phase: Phase,
    pub(super) enabled: bool,
    /// What the store said, or has taken since.
    pub(super) cursor: Option<Offset>,
    /// Nothing before this is left to take; at or after `cursor`.
    pub(super) settled: Offset,
    /// When the first event that waits was received.
    pub(super) oldest_waiting: Option<UnixNanos>,
    /// When the last event that was taken was received.
    pub(super) last_taken: Option<UnixNanos>,
    pub(super) rows: u64,
    pub(super) parked: u64,
    pub(super) retries: u64,
    pub(super) lost: u64,
    pub(super) figures: StoreFigures,
    pub(super) error: Option<String>,
}

impl SinkStatus {
    pub(super) fn new(name: &str, kind: SinkKind, breaker: Breaker, enabled: bool) -> Self {
        let now = StatusNow {
            phase: if enabled { Phase::Disconnected } else { Phase::Off },
            enabled,
            cursor: None,
            settled: Offset::ZERO,
            oldest_waiting: None,
            last_taken: None,
            rows: 0,
            parked: 0,
            retries: 0,
            lost: 0,
            figures: StoreFigures::default(),
            error: None,
        };
        Self { name: name.to_owned(), kind, breaker, latency: LatencyHistogram::default(), now: Mutex::new(now) }
    }

    fn lock(&self) -> MutexGuard<'_, StatusNow> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> StatusNow {
        self.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut StatusNow)) {
        change(&mut self.lock());
    }

    /// The sink's mark, where it has said how far it is.
    pub(super) fn mark(&self, journal: JournalId) -> Option<SinkMark> {
        let now = self.lock();
        let (name, kind) = (self.name.clone(), self.kind);
        Some(SinkMark { name, kind, journal, next: now.cursor?, sequence: now.figures.sequence })
    }

    /// The row of a journal that is durable up to `durable`.
    pub(super) fn row(&self, durable: Offset) -> SinkRow {
        let now = self.now();
        let breaker = self.breaker.state();
        let lag_events = now.cursor.map(|_| durable.0.saturating_sub(now.settled.0));
        let oldest = now.oldest_waiting.or(now.last_taken);
        let lag = match lag_events {
            None => None,
            Some(0) => Some(Duration::ZERO),
            Some(_) => oldest.map(|oldest| UnixNanos::now().since(oldest)),
        };
        let state = match now.phase {
            Phase::Off => SinkState::Off,
            Phase::Refused => SinkState::Refused,
            _ if breaker != BreakerState::Closed => SinkState::Open,
            Phase::Disconnected => SinkState::Disconnected,
            Phase::Connected if lag.is_some_and(|lag| lag > LAGGING_AFTER) => SinkState::Lagging,
            Phase::Connected => SinkState::Connected,
        };
        let milliseconds = |fraction| self.latency.quantile(fraction).map(|latency| latency.as_secs_f64() * 1000.0);
        let latency_ms = milliseconds(0.5).zip(milliseconds(0.95)).map(|(p50, p95)| LatencyMs { p50, p95 });
        SinkRow {
            name: self.name.clone(),
            kind: self.kind.as_str().to_owned(),
            state,
            enabled: now.enabled,
            cursor: now.cursor.map(|cursor| cursor.0),
            lag_events,
            lag_seconds: lag.map(|lag| lag.as_secs_f64()),
            latency_ms,
            files: now.figures.files,
            bytes: now.figures.bytes,
            breaker,
            rows: now.rows,
            parked: now.parked,
            retries: now.retries,
            lost: now.lost,
            error: now.error,
        }
    }
}
