//! What the daemon tells of itself: metrics and logs.

mod exposition;
mod host;
mod host_watch;
mod latency;
mod logging;
mod memory_limit;
pub mod metrics;
mod recent_lines;
mod recorder;
mod requests;

pub use host::Memory;
pub use host_watch::{Following, HostSample, HostWatch};
pub use latency::LatencyHistogram;
pub use logging::{init as init_logging, init_to as init_logging_to, set_level as set_log_level};
pub use memory_limit::memory_limit;
pub use metrics::{
    BackfillMetrics, CacheMetrics, CanaryMetrics, CheckpointMetrics, CircuitMetrics, ExportMetrics, GapMetrics,
    HostMetrics, JournalMetrics, Living, LookUpMetrics, MetricsHandle, MonitorMetrics, OperationMetrics, PollMetrics,
    RaceMetrics, SequenceMetrics, SinkMetrics, TokenMetrics, UpstreamMetrics, ViewMetrics, WindowMetrics, install,
    own_event_refused,
};
pub use recent_lines::recent_lines;
pub use recorder::{Family, Series, Value};
pub use requests::RequestCounts;
