//! How the upstreams of a monitor that has several do against each other: whose delivery of an event came first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::telemetry::LatencyHistogram;

/// One upstream's deliveries for a monitor.
#[derive(Debug, Default)]
pub struct Race {
    wins: AtomicU64,
    losses: AtomicU64,
    lag_ms: AtomicU64,
    lags: LatencyHistogram,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RaceNow {
    /// Events that it brought first, also those that no other upstream brought.
    pub wins: u64,
    /// Events that another upstream had brought before.
    pub losses: u64,
    /// By how much it came later then, on average.
    pub lag_mean: Option<Duration>,
    /// The lag that half of these stayed within.
    pub lag_median: Option<Duration>,
}

impl Race {
    /// It brought an event first.
    pub fn won(&self) {
        self.wins.fetch_add(1, Ordering::Relaxed);
    }

    /// Another upstream was faster by this much.
    pub fn lost(&self, lag: Duration) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.lag_ms.fetch_add(u64::try_from(lag.as_millis()).unwrap_or(0), Ordering::Relaxed);
        self.lags.record(lag, 1);
    }

    /// How it stands.
    pub fn now(&self) -> RaceNow {
        let losses = self.losses.load(Ordering::Relaxed);
        let lag_ms = self.lag_ms.load(Ordering::Relaxed);
        RaceNow {
            wins: self.wins.load(Ordering::Relaxed),
            losses,
            lag_mean: lag_ms.checked_div(losses).map(Duration::from_millis),
            lag_median: self.lags.quantile(0.5),
        }
    }
}

impl RaceNow {
    /// Events that it brought, first or not.
    pub fn deliveries(&self) -> u64 {
        self.wins + self.losses
    }

    /// The share of them that it brought first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
    pub fn win_rate(&self) -> Option<f64> {
        (self.deliveries() > 0).then(|| self.wins as f64 / self.deliveries() as f64)
    }
}

/// The upstreams of a monitor, for the life of the daemon.
#[derive(Debug, Default)]
pub struct Races(Mutex<BTreeMap<String, Arc<Race>>>);

impl Races {
    /// An upstream's.
    pub fn of(&self, upstream: &str) -> Arc<Race> {
        let mut races = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(races.entry(upstream.to_owned()).or_default())
    }
}
