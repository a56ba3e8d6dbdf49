//! The types of alerts, and how bad each is.

use serde::{Deserialize, Serialize};

/// How bad something is; the order is that of its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at in working hours.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $severity:ident;)*) => {
        /// A type of alert. Its name outside is what users and rules know it by.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum AlertKind {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl AlertKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name outside.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The one of that name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
            }

            /// How bad it is where settings say nothing else.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),* }
            }
        }
    };
}

kinds! {
    /// The business counter `orders` of a monitor counts more in an hour than is usual.
    HighOrderCreationRate = "HIGH_ORDER_CREATION_RATE", Warning;
    /// Operations fail.
    JobFailures = "JOB_FAILURES", Warning;
    /// Notifications fail.
    NotificationFailures = "NOTIFICATION_FAILURES", Warning;
    /// Requests to the HTTP port are answered with 5xx.
    ApiErrors = "API_ERRORS", Warning;
    /// A sink's transactions take long.
    DatabaseLatency = "DATABASE_LATENCY", Warning;
    /// The host's CPUs are busy.
    HighCpu = "HIGH_CPU", Warning;
    /// The host's memory, or the control group's, is used up.
    HighMemory = "HIGH_MEMORY", Warning;
    /// The disk of the journal fills.
    HighDisk = "HIGH_DISK", Critical;
    /// A monitor's messages cannot be read.
    ParseRateLow = "PARSE_RATE_LOW", Warning;
    /// An upstream's connections are lost.
    ConnectionFailures = "CONNECTION_FAILURES", Warning;
    /// A circuit breaker is open.
    CircuitOpen = "CIRCUIT_OPEN", Warning;
    /// A pool has nearly no room for further topics.
    PoolNearlyFull = "POOL_NEARLY_FULL", Warning;
    /// A monitor brings nothing.
    NoEvents = "NO_EVENTS", Warning;
    /// The HTTP port has nearly as many streaming clients as it takes.
    StreamClientsHigh = "STREAM_CLIENTS_HIGH", Warning;
    /// A sink is behind.
    SinkLagging = "SINK_LAGGING", Warning;
    /// A sink cannot be reached, or refuses.
    SinkDown = "SINK_DOWN", Critical;
    /// A span of a topic was not seen.
    GapOpened = "GAP_OPENED", Warning;
    /// Frames that cannot be read gather.
    QuarantineGrowing = "QUARANTINE_GROWING", Warning;
    /// No checkpoint was written for long.
    CheckpointStale = "CHECKPOINT_STALE", Warning;
    /// The journal has nearly the size it may have.
    JournalNearlyFull = "JOURNAL_NEARLY_FULL", Critical;
    /// The process needs more and more memory.
    MemoryGrowth = "MEMORY_GROWTH", Warning;
    /// Events take long to become durable.
    LatencyHigh = "LATENCY_HIGH", Warning;
    /// A monitor's rate is far from its own usual one.
    RateAnomaly = "RATE_ANOMALY", Info;
    /// Monitors were taken back from the smart path.
    CanaryRolledBack = "CANARY_ROLLED_BACK", Critical;
    /// A certificate ends soon.
    CertificateExpiring = "CERTIFICATE_EXPIRING", Warning;
    /// A rule of the operator's own, `[alerts.custom.NAME]`.
    Custom = "CUSTOM", Warning;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_and_read_by_the_name_that_it_says() {
        for kind in AlertKind::ALL {
            let text = serde_json::to_string(kind).unwrap();
            assert_eq!(text, format!("\"{}\"", kind.as_str()));
            assert_eq!(serde_json::from_str::<AlertKind>(&text).unwrap(), *kind);
        }
    }
}
