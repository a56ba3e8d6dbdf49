//! Every metric's name, unit and meaning: a file a stage.
//!
//! Handles are looked up once and kept; nothing here is called for a single message.

mod alerts;
mod canary;
mod checkpoints;
mod circuits;
mod exports;
mod gaps;
mod host;
mod http;
mod journal;
mod living;
mod look_ups;
mod monitors;
mod notifications;
mod operations;
mod process;
mod reference;
mod sinks;
mod stages;
mod upstreams;
mod views;
mod window;

use std::sync::Arc;

use ::metrics::{describe_counter, describe_gauge, describe_histogram};

use super::exposition;
use super::latency::LatencyHistogram;
use super::recorder::{Family, Recorder, Series};

pub use alerts::AlertMetrics;
pub use canary::CanaryMetrics;
pub use checkpoints::CheckpointMetrics;
pub use circuits::CircuitMetrics;
pub use exports::ExportMetrics;
pub use gaps::{BackfillMetrics, GapMetrics, PollMetrics};
pub use host::HostMetrics;
pub(super) use http::answered;
pub use journal::{JournalMetrics, own_event_refused};
pub use living::Living;
pub use look_ups::{CacheMetrics, LookUpMetrics};
pub use monitors::{MonitorMetrics, RaceMetrics, SequenceMetrics};
pub use notifications::NotificationMetrics;
pub use operations::OperationMetrics;
use reference::metrics;
pub use reference::{Kind, Metric};
pub use sinks::SinkMetrics;
pub use stages::StageMetrics;
pub use upstreams::{TokenMetrics, UpstreamMetrics};
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
    alerts::METRICS,
    canary::METRICS,
    circuits::METRICS,
    stages::METRICS,
    operations::METRICS,
    exports::METRICS,
    process::METRICS,
    host::METRICS,
    http::METRICS,
    notifications::METRICS,
];

/// Bounds of times: one at the latency promised (25 ms), finer where a good disk is.
pub(super) const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What was measured in this process.
#[derive(Debug, Clone)]
pub struct MetricsHandle {
    recorder: Recorder,
    latency: Arc<LatencyHistogram>,
}

impl MetricsHandle {
    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        exposition::render(&self.snapshot())
    }

    /// Every series as it is now, by name and labels.
    pub fn snapshot(&self) -> Vec<Family> {
        let mut families = self.recorder.snapshot();
        let Metric { name, kind, help, .. } = *journal::LATENCY_METRIC;
        let series = vec![Series { labels: Vec::new(), value: self.latency.value() }];
        let at = families.partition_point(|family| family.name.as_str() < name);
        families.insert(at, Family { name: name.to_owned(), kind, help: help.to_owned(), series });
        families
    }

    /// Lets go of the series of what is no more.
    pub fn keep(&self, living: &Living) {
        self.recorder.retain(|key| living.has(key));
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

/// This process measures already.
#[derive(Debug, thiserror::Error)]
#[error("metrics are recorded in this process already")]
pub struct AlreadyInstalled;

/// Begins measuring in this process.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> Result<MetricsHandle, AlreadyInstalled> {
    let recorder = Recorder::default();
    ::metrics::set_global_recorder(recorder.clone()).map_err(|_| AlreadyInstalled)?;
    for metric in REFERENCE.iter().copied().flatten() {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
    process::begin();
    Ok(MetricsHandle { recorder, latency: Arc::default() })
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
