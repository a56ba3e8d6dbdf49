//! How long things took, counted into buckets that a writer thread may add to and anyone may read, without a lock.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of each doubling: a bound is at most an eighth above what it stands for.
const STEPS_LOG2: u32 = 3;
/// Enough for 2³² µs, over an hour; what took longer is counted in the last.
const BUCKETS: usize = 240;

/// Counts of times, by the microsecond at the low end and by eighths of a doubling above.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl LatencyHistogram {
    /// Adds `count` times of `took`.
    pub fn record(&self, took: Duration, count: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].fetch_add(count, Ordering::Relaxed);
    }

    /// The time that this fraction of all stays within; none before the first.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let counts: [u64; BUCKETS] = array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank of counts is far below 2^52, and not negative"
        )]
        let rank = ((total as f64 * fraction).ceil() as u64).clamp(1, total.max(1));
        let mut passed = 0;
        let index = counts.iter().position(|count| {
            passed += count;
            passed >= rank
        })?;
        Some(Duration::from_micros(bound_of(index)))
    }
}

fn bucket_of(micros: u64) -> usize {
    let log2 = micros.max(1).ilog2();
    if log2 < STEPS_LOG2 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let step = (micros >> (log2 - STEPS_LOG2)) & ((1 << STEPS_LOG2) - 1);
    let index = (u64::from(log2 - STEPS_LOG2 + 1) << STEPS_LOG2) + step;
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The greatest microsecond of a bucket.
fn bound_of(index: usize) -> u64 {
    let (octave, step) = (index >> STEPS_LOG2, (index & ((1 << STEPS_LOG2) - 1)) as u64);
    if octave == 0 { step } else { (((1 << STEPS_LOG2) + step + 1) << (octave - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_at_most_an_eighth_above_what_it_stands_for() {
        for micros in (0..2000).chain([12_345, 999_999, 1 << 31, (1 << 32) - 1]) {
            let bound = bound_of(bucket_of(micros));
            assert!(bound >= micros && bound <= micros + micros / 8, "{micros} is counted as {bound}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.record(Duration::from_micros(5), 99);
        histogram.record(Duration::from_millis(80), 1);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(5)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_micros(5)));
        assert!(histogram.quantile(1.0).unwrap() >= Duration::from_millis(80));
    }
}
