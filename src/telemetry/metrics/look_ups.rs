//! Look-ups of enrichment, and caches.

use metrics::{Counter, counter, gauge};

use crate::value_cache::CacheFigures;

super::metrics! {
    LOOK_UPS = Counter "sluice_lookups_total" ["monitor", "lookup", "outcome"]
        "Look-ups of enrichment: found, nothing, failed, and skipped where they were not asked for",
        "with a look-up";
    LOOK_UP_SUCCESS = Gauge "sluice_lookup_success_ratio" ["monitor", "lookup"]
        "Of the look-ups that were asked for, the share that was answered, since the start",
        "with a look-up, once one was asked for";
    CACHE_HITS = Counter "sluice_cache_hits_total" ["cache"]
        "Questions that a cache answered";
    CACHE_MISSES = Counter "sluice_cache_misses_total" ["cache"]
        "Questions that a cache could not answer";
    CACHE_BYTES = Gauge "sluice_cache_bytes" ["cache"]
        "Bytes of a cache's values, as they are kept";
}

/// How a look-up goes. Nothing of it is on the way of a message.
#[derive(Debug)]
pub struct LookUpMetrics {
    labels: [(&'static str, String); 2],
}

impl LookUpMetrics {
    /// Of a monitor's look-up.
    pub fn new(monitor: &str, look_up: &str) -> Self {
        let metrics = Self { labels: [("monitor", monitor.to_owned()), ("lookup", look_up.to_owned())] };
        for outcome in ["found", "nothing", "failed", "skipped"] {
            metrics.counter(outcome).increment(0);
        }
        metrics
    }

    fn counter(&self, outcome: &'static str) -> Counter {
        let [(monitor_key, monitor), (name_key, name)] = &self.labels;
        counter!(LOOK_UPS, *monitor_key => monitor.clone(), *name_key => name.clone(), "outcome" => outcome)
    }

    /// It was answered with fields.
    pub fn found(&self) {
        self.counter("found").increment(1);
    }

    /// It was answered that there is nothing.
    pub fn nothing(&self) {
        self.counter("nothing").increment(1);
    }

    /// It was not answered.
    pub fn failed(&self) {
        self.counter("failed").increment(1);
    }

    /// It was not asked for.
    pub fn skipped(&self) {
        self.counter("skipped").increment(1);
    }

    /// The share that was answered.
    pub fn set_success(&self, rate: Option<f64>) {
        if let Some(rate) = rate {
            gauge!(LOOK_UP_SUCCESS, &self.labels).set(rate);
        }
    }
}

/// How caches are used.
pub struct CacheMetrics(());

impl CacheMetrics {
    /// Of one. Once a second.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(cache: &str, figures: &CacheFigures) {
        counter!(CACHE_HITS, "cache" => cache.to_owned()).absolute(figures.hits);
        counter!(CACHE_MISSES, "cache" => cache.to_owned()).absolute(figures.misses);
        gauge!(CACHE_BYTES, "cache" => cache.to_owned()).set(figures.bytes as f64);
    }
}
