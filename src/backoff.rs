//! How long to wait before the next attempt at something that failed.

use std::time::Duration;

/// A connection that stayed up for so many of the shortest wait, and for as long as was waited for it, has proved itself: the next
/// failure starts from the shortest wait again, so that one that is cut every quarter of a minute is not waited for longer
/// and longer. One that is accepted and closed at once never has. Source: a guess.
const STABLE_AFTER: u32 = 10;

/// Doubling waits with full jitter, so that many that were lost together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    /// Of these, in a row, how often our credentials or rights were refused.
    refusals: u32,
    last_wait: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0, refusals: 0, last_wait: Duration::ZERO, random: fastrand::Rng::new() }
    }

    /// The next failure starts from the shortest wait again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.last_wait = Duration::ZERO;
    }

    /// Notes that a connection was up for `lasted` before it was lost.
    pub(crate) fn was_up(&mut self, lasted: Duration) {
        if lasted >= self.min.saturating_mul(STABLE_AFTER).max(self.last_wait) {
            self.reset();
        }
    }

    /// The wait before the next attempt; at least `at_least`, where the other side asked for that.
    pub(crate) fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let wait = self.spread(doubled(self.min, self.failures, self.max));
        self.failures = self.failures.saturating_add(1);
        let more = self.min.mul_f64(self.random.f64());
        self.last_wait = at_least.map_or(wait, |least| wait.max(least.saturating_add(more)));
        self.last_wait
    }

    /// The wait after credentials or rights were refused, which trying again soon does not mend: from what is the longest wait
    /// otherwise up to `longest`.
    pub(crate) fn refused(&mut self, longest: Duration) -> Duration {
        self.last_wait = self.spread(doubled(self.max, self.refusals, longest.max(self.max)));
        self.refusals = self.refusals.saturating_add(1);
        self.last_wait
    }

    /// From half to the whole: a wait of nothing would hammer, as full jitter down to zero does.
    fn spread(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

fn doubled(least: Duration, times: u32, most: Duration) -> Duration {
    least.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
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
    fn a_link_that_is_cut_every_quarter_of_a_minute_is_not_waited_for_longer_and_longer() {
        let mut backoff = backoff();
        for cut in 0..1000 {
            backoff.was_up(Duration::from_secs(15));
            let wait = backoff.next(None);
            assert!(wait <= Duration::from_millis(250), "after {cut} cuts: {wait:?}");
        }
    }

    #[test]
    fn a_link_that_was_up_for_less_than_it_was_waited_for_has_proved_nothing() {
        let mut backoff = backoff();
        for _ in 0..10 {
            backoff.next(None);
        }
        backoff.was_up(Duration::from_secs(10));
        assert!(backoff.next(None) >= Duration::from_secs(15), "it was waited for at least 15 s");
        backoff.was_up(Duration::from_secs(30));
        assert!(backoff.next(None) < Duration::from_secs(1));
    }

    #[test]
    fn refused_credentials_are_tried_ever_more_seldom() {
        let mut backoff = backoff();
        let longest = Duration::from_mins(5);
        let waits: Vec<u64> = (0..20).map(|_| backoff.refused(longest).as_secs()).collect();
        assert!((15..=30).contains(&waits[0]) && (30..=60).contains(&waits[1]), "{waits:?}");
        assert!(waits[5..].iter().all(|wait| (150..=300).contains(wait)), "{waits:?}");
        backoff.reset();
        assert!(backoff.refused(longest) <= Duration::from_secs(30));
    }

    #[test]
    fn what_the_upstream_asks_for_is_obeyed() {
        assert!(backoff().next(Some(Duration::from_secs(90))) >= Duration::from_secs(90));
    }
}
