//! How many events a transaction takes: as many as the store swallows within a tenth of a second.

use std::time::Duration;

/// What a transaction should take. Source: a choice. Long enough that a transaction's fixed costs are small beside its rows, short
/// enough that switching off, a stop and a retry wait for little.
const TARGET: f64 = 0.1;

/// The size to begin with. Source: a guess; a few quick transactions lead from here to any size that makes sense.
const SIZE_AT_FIRST: usize = 500;

/// Steers the size of transactions by what they took.
#[derive(Debug)]
pub(super) struct Pacing {
    size: usize,
    max: usize,
    /// Seconds that a transaction takes without any rows, as far as two of different size have told.
    fixed: f64,
    /// What is held against a transaction of another size: rows and seconds.
    reference: Option<(f64, f64)>,
}

impl Pacing {
    pub(super) fn new(max: usize) -> Self {
        Self { size: SIZE_AT_FIRST.min(max).max(1), max: max.max(1), fixed: 0.0, reference: None }
    }

    /// How many events the next transaction takes at most.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A transaction with so many events took this long.
    pub(super) fn took(&mut self, rows: usize, latency: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "rows of a transaction are few")]
        let (count, seconds) = (rows as f64, latency.as_secs_f64());
        self.learn(count, seconds);
        // Over a far network the round trip is most of a transaction, and smaller ones would only be more of them.
        let target = TARGET.max(self.fixed * 4.0);
        if seconds > target {
            // Never less than a quarter: a single transaction may be slow by chance.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not more than `rows`")]
            let fits = (count * target / seconds) as usize;
            self.size = self.size.min(fits.max(self.size / 4)).max(1);
        } else if seconds < target / 2.0 && rows >= self.size {
            self.size = (self.size * 2).min(self.max);
        }
    }

    /// Two transactions of different size tell what of them is fixed.
    fn learn(&mut self, count: f64, seconds: f64) {
        // What was learnt is believed less and less, so that it is put to the test again.
        self.fixed *= 63.0 / 64.0;
        let Some((other, took)) = self.reference else {
            self.reference = Some((count, seconds));
            return;
        };
        if count * 2.0 <= other || other * 2.0 <= count {
            let row = ((took - seconds) / (other - count)).max(0.0);
            self.fixed = (seconds - row * count).min(took - row * other).max(0.0);
            self.reference = Some((count, seconds));
        } else if count >= other * 0.9 {
            // A size that creeps downwards keeps what it came from to compare with.
            self.reference = Some((count, seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that a store with fixed costs and costs a row is given in the end.
    fn settle(fixed: Duration, row: Duration) -> std::ops::RangeInclusive<usize> {
        let mut pacing = Pacing::new(5000);
        let mut sizes = Vec::new();
        for _ in 0..2000 {
            sizes.push(pacing.size());
            pacing.took(pacing.size(), fixed + row * u32::try_from(pacing.size()).unwrap());
        }
        let settled = &sizes[100..];
        *settled.iter().min().unwrap()..=*settled.iter().max().unwrap()
    }

    #[test]
    fn a_quick_store_gets_the_most_and_a_slow_one_what_it_swallows_in_time() {
        assert_eq!(settle(Duration::from_millis(1), Duration::from_micros(5)), 5000..=5000);
        let slow = settle(Duration::from_millis(1), Duration::from_millis(1));
        assert!(*slow.start() >= 25 && *slow.end() <= 100, "{slow:?}");
        assert_eq!(settle(Duration::ZERO, Duration::from_secs(1)), 1..=1);
    }

    #[test]
    fn a_far_store_is_not_given_less_for_its_round_trip() {
        let far = settle(Duration::from_millis(300), Duration::from_micros(5));
        // Now and then it is put to the test whether the round trip is still as long.
        assert!(*far.start() >= 1000 && *far.end() == 5000, "{far:?}");
    }

    #[test]
    fn a_transaction_that_was_not_full_says_nothing_of_larger_ones() {
        let mut pacing = Pacing::new(5000);
        for _ in 0..50 {
            pacing.took(3, Duration::from_millis(1));
        }
        assert_eq!(pacing.size(), SIZE_AT_FIRST);
    }
}
