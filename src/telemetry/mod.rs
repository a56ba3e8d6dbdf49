//! What the daemon tells of itself: metrics and logs.

mod host;
mod latency;
mod logging;
mod memory_limit;
mod metrics;
mod notifications;

pub use host::Memory;
pub use latency::LatencyHistogram;
pub use logging::{init as init_logging, init_to as init_logging_to, set_level as set_log_level};
pub use memory_limit::memory_limit;
pub use notifications::NotificationMetrics;
pub use metrics::{
    BackfillMetrics, CacheMetrics, CanaryMetrics, CheckpointMetrics, CircuitMetrics, GapMetrics, JournalMetrics,
    LookUpMetrics, MetricsHandle, MonitorMetrics, PollMetrics, RaceMetrics, SequenceMetrics, SinkMetrics,
    UpstreamMetrics, ViewMetrics, WindowMetrics, install, own_event_refused,
};
