//! What the daemon tells of itself: metrics and logs.

mod latency;
mod logging;
mod metrics;

pub use logging::init as init_logging;
pub use metrics::{JournalMetrics, MetricsHandle, MonitorMetrics, UpstreamMetrics, WindowMetrics, install};
