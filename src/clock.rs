//! Time as events carry it: nanoseconds since 1970, and the clock that stamps what is received.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment as nanoseconds since 1970-01-01T00:00:00Z. Covers the years 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// The wall clock's time now. May go backwards when the host's clock is set; see [`ReceivedClock`].
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        #[cfg(feature = "failpoints")]
        let now = Self(now.0.saturating_add(set_off()));
        now
    }

    /// This moment moved back by `span`, at the earliest the first representable moment.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// This moment moved on by `span`, at the latest the last representable moment.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// By how much tests have the host's clock wrong: so many seconds as the file says that `TEST_CLOCK` names. Looked at each
/// time, so that it jumps while the process runs.
#[cfg(feature = "failpoints")]
fn set_off() -> i64 {
    let Some(file) = std::env::var_os("TEST_CLOCK") else { return 0 };
    let seconds: i64 = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000)
}

/// RFC 3339 in UTC, with as many fractional digits as the moment has.
impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ns since 1970", self.0),
        }
    }
}

/// What [`UnixNanos`]' own text is read back from; none for anything else.
impl std::str::FromStr for UnixNanos {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| ())?;
        i64::try_from(timestamp.as_nanosecond()).map(Self).map_err(|_| ())
    }
}

/// Stamps received events. Received time never decreases (the greater of the host's clock and the stamp before),
/// also across restarts when it is started from the journal's last stamp, so that queries may search by it.
#[derive(Debug, Default)]
pub struct ReceivedClock {
    last: AtomicI64,
}

impl ReceivedClock {
    /// A clock that never stamps earlier than `last`.
    pub fn starting_after(last: UnixNanos) -> Self {
        Self { last: AtomicI64::new(last.0) }
    }

    /// The last stamp, or what the clock was started from.
    pub fn last(&self) -> UnixNanos {
        UnixNanos(self.last.load(Ordering::Relaxed))
    }

    /// The stamp for what is received now.
    pub fn stamp(&self) -> UnixNanos {
        self.stamp_at(UnixNanos::now())
    }

    /// The stamp for what is received when the host's clock says `now`.
    pub fn stamp_at(&self, now: UnixNanos) -> UnixNanos {
        let before = self.last.fetch_max(now.0, Ordering::Relaxed);
        UnixNanos(before.max(now.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_time_never_decreases_when_the_clock_jumps_back() {
        let clock = ReceivedClock::starting_after(UnixNanos(50));
        assert_eq!(clock.stamp_at(UnixNanos(40)), UnixNanos(50));
        assert_eq!(clock.stamp_at(UnixNanos(60)), UnixNanos(60));
        assert_eq!(clock.stamp_at(UnixNanos(10)), UnixNanos(60));
    }

    #[test]
    fn a_moment_reads_as_rfc_3339() {
        assert_eq!(UnixNanos(1_723_161_255_342_000_000).to_string(), "2024-08-08T23:54:15.342Z");
    }
}
