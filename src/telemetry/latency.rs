//! The histogram of the time from socket to durable.
//!
//! It counts every event, a million a second at times, and the exporter's own histograms keep each value until they are next
//! tended (measured: 3 % of the whole way's CPU). Here an event adds to a bucket together with all of its burst.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::SECONDS;

/// Counts of events by how long they took.
#[derive(Debug, Default)]
pub(super) struct LatencyHistogram {
    /// One for each bound, and one for what is beyond the last.
    buckets: [AtomicU64; SECONDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl LatencyHistogram {
    /// Counts `events` that took this long.
    pub(super) fn record(&self, took: Duration, events: u32) {
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.buckets[bucket].fetch_add(events.into(), Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).saturating_mul(events.into());
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Appends it in the text format of Prometheus.
    pub(super) fn render(&self, name: &str, help: &str, text: &mut String) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_its_bucket_and_in_all_above() {
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::from_millis(25), 10);
        histogram.record(Duration::from_millis(26), 5);
        histogram.record(Duration::from_secs(60), 1);
        let mut text = String::new();
        histogram.render("x_seconds", "How long", &mut text);
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
}
