//! Every metric's name, unit and meaning: a file a stage.
//!
//! Handles are looked up once and kept; nothing here is called for a single message.

mod canary;
mod checkpoints;
mod circuits;
mod gaps;
mod host;
mod http;
mod journal;
mod look_ups;
mod monitors;
mod process;
mod reference;
mod sinks;
mod upstreams;
mod views;
mod window;

use std::sync::Arc;

use ::metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::latency::LatencyHistogram;

pub use canary::CanaryMetrics;
pub use checkpoints::CheckpointMetrics;
pub use circuits::CircuitMetrics;
pub use gaps::{BackfillMetrics, GapMetrics, PollMetrics};
pub use host::HostMetrics;
pub(super) use http::answered;
pub use journal::{JournalMetrics, own_event_refused};
pub use look_ups::{CacheMetrics, LookUpMetrics};
pub use monitors::{MonitorMetrics, RaceMetrics, SequenceMetrics};
use reference::metrics;
pub use reference::{Kind, Metric};
pub use sinks::SinkMetrics;
pub use upstreams::UpstreamMetrics;
pub use views::ViewMetrics;
pub use window::WindowMetrics;

/// Every metric, by stage.
pub const REFERENCE: &[&[Metric]] = &[
    upstreams::METRICS,
    monitors::METRICS,
    window::METRICS,
    journal::METRICS,
    gaps::METRICS,
    sinks::METRICS,
    views::METRICS,
    look_ups::METRICS,
    checkpoints::METRICS,
    canary::METRICS,
    circuits::METRICS,
    process::METRICS,
    host::METRICS,
    http::METRICS,
];

/// Bounds of times: one at the latency promised (25 ms), finer where a good disk is.
pub(super) const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Renders what was measured.
#[derive(Clone)]
pub struct MetricsHandle {
    exporter: PrometheusHandle,
    latency: Arc<LatencyHistogram>,
}

impl MetricsHandle {
    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let mut text = self.exporter.render();
        self.latency.render(journal::LATENCY_METRIC, &mut text);
        text
    }

    /// Moves what histograms gathered on; called now and then, so that they do not grow between scrapes.
    pub fn tend(&self) {
        self.exporter.run_upkeep();
    }

    /// How long events take to become durable.
    pub fn latency(&self) -> Arc<LatencyHistogram> {
        Arc::clone(&self.latency)
    }

    /// The handles of the journal.
    pub fn journal(&self) -> JournalMetrics {
        JournalMetrics::new(Arc::clone(&self.latency))
    }
}

/// Begins measuring in this process.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> Result<MetricsHandle, BuildError> {
    let exporter = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    for metric in REFERENCE.iter().copied().flatten() {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
    process::begin();
    Ok(MetricsHandle { exporter, latency: Arc::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_kind_and_unit_as_prometheus_has_it() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in REFERENCE.iter().copied().flatten() {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert!(metric.name.starts_with("sluice_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{}", metric.name);
            assert!(!metric.labels.contains(&"le"), "{}", metric.name);
        }
    }
}
