//! What the daemon tells of itself: metrics and logs.

mod alert_metrics;
mod host;
mod host_load;
mod latency;
mod logging;
mod memory_limit;
mod metrics;
mod requests;

pub use alert_metrics::AlertMetrics;
pub use host::Memory;
pub use host_load::{HostFigures, HostLoad};
pub use latency::{LatencyCounts, LatencyHistogram};
pub use logging::{init as init_logging, init_to as init_logging_to, set_level as set_log_level};
pub use memory_limit::memory_limit;
pub use metrics::{
    BackfillMetrics, CacheMetrics, CanaryMetrics, CheckpointMetrics, CircuitMetrics, GapMetrics, JournalMetrics,
    LookUpMetrics, MetricsHandle, MonitorMetrics, PollMetrics, RaceMetrics, SequenceMetrics, SinkMetrics,
    UpstreamMetrics, ViewMetrics, WindowMetrics, install, own_event_refused,
};
pub use requests::{DeliveryCounts, RequestCounts, StreamClients};
