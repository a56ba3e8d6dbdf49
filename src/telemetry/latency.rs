//! The time from socket to durable, counted into buckets that the writer's thread adds to and anyone may read, without a lock.
//!
//! It counts every event, a million a second at times, and the exporter's own histograms keep each value until they are next
//! tended (measured: 3 % of the whole way's CPU). Here an event adds to a bucket together with all of its burst.

use std::array;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::{Metric, SECONDS};

/// Buckets of each doubling: a bound is at most an eighth above what it stands for.
const STEPS_LOG2: u32 = 3;
/// Enough for 2³² µs, over an hour; what took longer is counted in the last.
const FINE_BUCKETS: usize = 240;

/// Counts of events by how long they took.
#[derive(Debug)]
pub struct LatencyHistogram {
    /// For scrapes: one for each bound, and one for what is beyond the last.
    buckets: [AtomicU64; SECONDS.len() + 1],
    sum_nanos: AtomicU64,
    /// For quantiles: by the microsecond at the low end and by eighths of a doubling above.
    fine: [AtomicU64; FINE_BUCKETS],
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self { buckets: array::from_fn(zero), sum_nanos: AtomicU64::new(0), fine: array::from_fn(zero) }
    }
}

impl LatencyHistogram {
    /// Counts so many, events or transactions, that took this long.
    pub(crate) fn record(&self, took: Duration, events: u32) {
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.buckets[bucket].fetch_add(events.into(), Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.fine[bucket_of(micros)].fetch_add(events.into(), Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).saturating_mul(events.into());
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The time that this fraction of all stays within; none before the first.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let counts: [u64; FINE_BUCKETS] = array::from_fn(|index| self.fine[index].load(Ordering::Relaxed));
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

    /// The steps in which anything was counted: the greatest microsecond of each, and how many.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        let counts =
            self.fine.iter().enumerate().map(|(index, count)| (bound_of(index), count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Appends it in the text format of Prometheus.
    pub(super) fn render(&self, metric: &Metric, text: &mut String) {
        let Metric { name, help, .. } = metric;
        let mut below = 0;
        // A string takes whatever is written to it.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram").ok();
        for (bucket, bound) in self.buckets.iter().zip(SECONDS) {
            below += bucket.load(Ordering::Relaxed);
            writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}").ok();
        }
        below += self.buckets[SECONDS.len()].load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "the text format has floats")]
        let sum = self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9;
        writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {below}\n{name}_sum {sum}\n{name}_count {below}").ok();
    }
}

fn bucket_of(micros: u64) -> usize {
    let log2 = micros.max(1).ilog2();
    if log2 < STEPS_LOG2 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let step = (micros >> (log2 - STEPS_LOG2)) & ((1 << STEPS_LOG2) - 1);
    let index = (u64::from(log2 - STEPS_LOG2 + 1) << STEPS_LOG2) + step;
    usize::try_from(index).map_or(FINE_BUCKETS - 1, |index| index.min(FINE_BUCKETS - 1))
}

/// The greatest microsecond of a bucket.
fn bound_of(index: usize) -> u64 {
    let (octave, step) = (index >> STEPS_LOG2, (index & ((1 << STEPS_LOG2) - 1)) as u64);
    if octave == 0 { step } else { (((1 << STEPS_LOG2) + step + 1) << (octave - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Kind;

    #[test]
    fn every_event_is_in_its_bucket_and_in_all_above() {
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::from_millis(25), 10);
        histogram.record(Duration::from_millis(26), 5);
        histogram.record(Duration::from_mins(1), 1);
        let mut text = String::new();
        let metric = Metric { name: "x_seconds", kind: Kind::Histogram, labels: &[], help: "How long", when: "" };
        histogram.render(&metric, &mut text);
        for line in [
            "# TYPE x_seconds histogram",
            "x_seconds_bucket{le=\"0.02\"} 0",
            "x_seconds_bucket{le=\"0.025\"} 10",
            "x_seconds_bucket{le=\"0.03\"} 15",
            "x_seconds_bucket{le=\"10\"} 15",
            "x_seconds_bucket{le=\"+Inf\"} 16",
            "x_seconds_sum 60.38",
            "x_seconds_count 16",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_bound_is_at_most_an_eighth_above_what_it_stands_for() {
        for micros in (0..2000).chain([12_345, 999_999, 1 << 31, (1 << 32) - 1]) {
            let bound = bound_of(bucket_of(micros));
            assert!(bound >= micros && bound <= micros + micros / 8, "{micros} is counted as {bound}");
        }
        assert_eq!(bucket_of(u64::MAX), FINE_BUCKETS - 1);
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
