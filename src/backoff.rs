//! How long to wait before the next attempt at something that failed.

use std::time::Duration;

/// A connection that stayed up this long has proved itself: the next failure starts from the shortest wait again. One that is
/// accepted and closed at once never does.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Doubling waits with full jitter, so that many that were lost together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0, random: fastrand::Rng::new() }
    }

    /// The next failure starts from the shortest wait again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Notes that a connection was up for `lasted` before it was lost.
    pub(crate) fn was_up(&mut self, lasted: Duration) {
        if lasted >= STABLE_AFTER {
            self.reset();
        }
    }

    /// The wait before the next attempt; at least `at_least`, where the other side asked for that.
    pub(crate) fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let doubled = self.min.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        // From half to the whole: a wait of nothing would hammer, as full jitter down to zero does.
        let wait = doubled.mul_f64(0.5 + self.random.f64() / 2.0);
        at_least.map_or(wait, |least| wait.max(least + self.min.mul_f64(self.random.f64())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(250), Duration::from_secs(30))
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_spread() {
        let mut backoff = backoff();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next(None)).collect();
        assert!(waits[0] >= Duration::from_millis(125) && waits[0] <= Duration::from_millis(250));
        assert!(waits[3] >= Duration::from_secs(1) && waits[3] <= Duration::from_secs(2));
        let late = &waits[10..];
        assert!(late.iter().all(|wait| (15..=30).contains(&wait.as_secs())), "{late:?}");
        assert!(late.iter().min() != late.iter().max(), "no jitter: {late:?}");
    }

    #[test]
    fn only_a_link_that_stayed_up_starts_over() {
        let mut backoff = backoff();
        for _ in 0..10 {
            backoff.next(None);
        }
        backoff.was_up(Duration::from_secs(1));
        assert!(backoff.next(None) > Duration::from_secs(14), "accept-then-close is no success");
        backoff.was_up(Duration::from_mins(1));
        assert!(backoff.next(None) < Duration::from_secs(1));
    }

    #[test]
    fn what_the_upstream_asks_for_is_obeyed() {
        assert!(backoff().next(Some(Duration::from_secs(90))) >= Duration::from_secs(90));
    }
}
