//! What rules look at: figures by subject, taken about once a second.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! figures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $subject:literal, $unit:literal;)*) => {
        /// Something that is measured of a subject.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Figure {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Figure {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name outside.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Of what there is one each.
            pub fn subject(self) -> &'static str {
                match self { $(Self::$variant => $subject),* }
            }

            /// What it is measured in.
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit),* }
            }
        }
    };
}

figures! {
    /// Messages of a monitor, since the start.
    MonitorMessages = "monitor_messages", "monitor", "messages";
    /// Events of a monitor, since the start.
    MonitorEvents = "monitor_events", "monitor", "events";
    /// Messages of a monitor that should have been read, since the start.
    MonitorReadable = "monitor_readable", "monitor, or `upstream:NAME`", "messages";
    /// Of these, those that could be.
    MonitorRead = "monitor_read", "monitor, or `upstream:NAME`", "messages";
    /// Frames that could not be read, since the start.
    QuarantinedFrames = "quarantined_frames", "monitor, or `upstream:NAME`", "frames";
    /// Orders that the business counter `orders` counted in the last 60 minutes.
    OrdersLastHour = "orders_last_hour", "monitor", "orders";
    /// What a business counter counted in the last 60 minutes.
    CounterLastHour = "counter_last_hour", "MONITOR/COUNTER", "events";
    /// Connections lost or not had, since the start.
    ConnectionFailures = "connection_failures", "upstream", "failures";
    /// How much of what a pool can hold it holds: topics, or messages where topics are not limited.
    PoolFill = "pool_fill", "upstream", "%";
    /// Topics with a gap that nobody has chosen, and spans that were missed since the last look.
    GapsOpen = "gaps_open", "upstream", "gaps";
    /// 1 while a circuit breaker is not closed.
    CircuitOpen = "circuit_open", "KIND:NAME", "0 or 1";
    /// 1 while a sink that is switched on takes nothing.
    SinkDown = "sink_down", "sink", "0 or 1";
    /// The age of the oldest event that a sink has not taken.
    SinkLagSeconds = "sink_lag_seconds", "sink", "s";
    /// Events that a sink has not taken.
    SinkLagEvents = "sink_lag_events", "sink", "events";
    /// What 95 of 100 transactions of a sink stayed within, lately.
    SinkLatency = "sink_latency_p95", "sink", "ms";
    /// Events that were gone before a sink took them, since the start.
    SinkLost = "sink_lost", "sink", "events";
    /// Operations that have ended, since the start.
    OperationsEnded = "operations_ended", "process", "operations";
    /// Of these, those that failed.
    OperationsFailed = "operations_failed", "process", "operations";
    /// Notifications that have ended, since the start.
    NotificationsEnded = "notifications_ended", "channel", "notifications";
    /// Of these, those that nobody got.
    NotificationsFailed = "notifications_failed", "channel", "notifications";
    /// Requests that were answered, since the start.
    Requests = "requests", "process", "requests";
    /// Of these, those that were answered with 5xx.
    RequestsFailed = "requests_failed", "process", "requests";
    /// Streaming clients, of those that there may be.
    StreamClients = "stream_clients", "process", "%";
    /// How much longer than its interval ago the last checkpoint was written.
    CheckpointOverdue = "checkpoint_overdue", "process", "s";
    /// How much of the room that the journal may take it has taken.
    JournalFill = "journal_fill", "process", "%";
    /// What 99 of 100 events took from the socket to the disk, lately.
    Latency = "latency_p99", "process", "ms";
    /// The process's resident memory.
    ProcessMemory = "process_memory", "process", "bytes";
    /// How busy the host's CPUs are.
    HostCpu = "host_cpu", "process", "%";
    /// How much of the host's memory, or the control group's, is used.
    HostMemory = "host_memory", "process", "%";
    /// How much of the journal's disk is used.
    HostDisk = "host_disk", "process", "%";
    /// 1 while monitors were taken back from the smart path and none may go there.
    CanaryRolledBack = "canary_rolled_back", "upstream, or `process`", "0 or 1";
    /// Until a certificate ends.
    CertificateDays = "certificate_days", "file", "days";
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A figure of a subject at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which.
    pub figure: Figure,
    /// Of what.
    pub subject: Arc<str>,
    /// How much.
    pub value: f64,
    /// What else is known of it: why a sink is down.
    pub note: Option<String>,
}

impl Sample {
    /// One without a note.
    pub fn new(figure: Figure, subject: impl Into<Arc<str>>, value: f64) -> Self {
        Self { figure, subject: subject.into(), value, note: None }
    }
}
