//! The rules: which figure of each type of alert is held against what, for how long, and how bad that is.
//!
//! [`REFERENCE`] has the built-in ones, from which the documentation is made; [`Rule`] is one as the settings have it in force.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::silence::Pattern;
use super::{AlertKind, Severity};

/// How a figure becomes the value that is held against the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    /// It is the value.
    Threshold,
    /// By how much it has grown within the window.
    Rate,
    /// What share of another figure's growth within the window is its own, in percent.
    Ratio,
    /// For how many seconds it has not changed.
    Absence,
    /// How many deviations its rate, taken over the window, is from the one that is usual for its subject.
    Deviation,
    /// By how many percent it is above what it was a window ago.
    Growth,
}

impl Nature {
    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Rate => "rate",
            Self::Ratio => "ratio",
            Self::Absence => "absence",
            Self::Deviation => "deviation",
            Self::Growth => "growth",
        }
    }

    /// Whether it needs a window.
    pub fn has_window(self) -> bool {
        !matches!(self, Self::Threshold | Self::Absence)
    }
}

/// On which side of the threshold something is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Above it.
    #[default]
    Above,
    /// Below it.
    Below,
}

impl Side {
    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// Whether a value is on it.
    pub fn has(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::Below => value < threshold,
        }
    }
}

/// A built-in rule. Its severity is [`AlertKind::severity`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// The type of its alerts, and its name.
    pub kind: AlertKind,
    /// When it is true, in a sentence.
    pub what: &'static str,
    /// What it looks at.
    pub figure: Figure,
    /// What that is a share of.
    pub of: Option<Figure>,
    /// How it looks at it.
    pub nature: Nature,
    /// On which side of the threshold something is wrong.
    pub side: Side,
    /// The unit of the value and the threshold.
    pub unit: &'static str,
    /// What is still well.
    pub threshold: f64,
    /// How long it must be true before an alert is opened, and untrue before it is over.
    pub lasts: Duration,
    /// The span that the value is of; zero where it is of a moment.
    pub window: Duration,
    /// Of less than so much within the window nothing is said.
    pub least: f64,
    /// The name in the environment that sets the threshold.
    pub environment: Option<&'static str>,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MINUTE: Duration = seconds(60);
const MINUTES: Duration = seconds(300);
const HOUR: Duration = seconds(3600);

/// What most rules have.
const PLAIN: Reference = Reference {
    kind: AlertKind::Custom,
    what: "",
    figure: Figure::HostCpu,
    of: None,
    nature: Nature::Threshold,
    side: Side::Above,
    unit: "",
    threshold: 0.0,
    lasts: Duration::ZERO,
    window: Duration::ZERO,
    least: 0.0,
    environment: None,
};

/// Every built-in rule, in the order of [`AlertKind::ALL`]. Source of the thresholds and names: what users were promised; where
/// nothing was, a guess, marked so.
pub const REFERENCE: &[Reference] = &[
    Reference {
        kind: AlertKind::HighOrderCreationRate,
        what: "the business counter `orders` of a monitor counted more in the last 60 minutes",
        figure: Figure::OrdersLastHour,
        unit: "orders an hour",
        threshold: 100.0,
        environment: Some("MONITORING_ORDER_RATE_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::JobFailures,
        what: "of the operations that ended in the window (replays, backfills, checkpoints, retention, reports), more failed",
        figure: Figure::OperationsFailed,
        of: Some(Figure::OperationsEnded),
        nature: Nature::Ratio,
        unit: "%",
        threshold: 10.0,
        window: HOUR,
        least: 1.0,
        environment: Some("MONITORING_JOB_FAILURE_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::NotificationFailures,
        what: "of the notifications of a channel in the window, more failed",
        figure: Figure::NotificationsFailed,
        of: Some(Figure::NotificationsEnded),
        nature: Nature::Ratio,
        unit: "%",
        threshold: 20.0,
        window: HOUR,
        least: 1.0,
        environment: Some("MONITORING_WHATSAPP_FAILURE_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::ApiErrors,
        what: "of the requests to the HTTP port in the window, more were answered with 5xx",
        figure: Figure::RequestsFailed,
        of: Some(Figure::Requests),
        nature: Nature::Ratio,
        unit: "%",
        threshold: 5.0,
        window: MINUTES,
        // A guess: of fewer requests a single one says little.
        least: 20.0,
        environment: Some("MONITORING_API_ERROR_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::DatabaseLatency,
        what: "95 of 100 transactions of a sink took no longer, in the last minute",
        figure: Figure::SinkLatency,
        unit: "ms",
        threshold: 1000.0,
        lasts: seconds(30),
        environment: Some("MONITORING_DB_LATENCY_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::HighCpu,
        what: "the host's CPUs are busier",
        figure: Figure::HostCpu,
        unit: "%",
        threshold: 80.0,
        lasts: MINUTE,
        environment: Some("MONITORING_CPU_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::HighMemory,
        what: "more of the host's memory, or of the control group's limit, is used",
        figure: Figure::HostMemory,
        unit: "%",
        threshold: 80.0,
        lasts: MINUTE,
        environment: Some("MONITORING_MEMORY_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::HighDisk,
        what: "more of the disk that the journal is on is used",
        figure: Figure::HostDisk,
        unit: "%",
        threshold: 85.0,
        lasts: seconds(10),
        environment: Some("MONITORING_DISK_THRESHOLD"),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::ParseRateLow,
        what: "of a monitor's or an upstream's messages in the window that should be events, fewer could be read",
        figure: Figure::MonitorRead,
        of: Some(Figure::MonitorReadable),
        nature: Nature::Ratio,
        side: Side::Below,
        unit: "%",
        threshold: 90.0,
        window: MINUTES,
        // A guess, as above.
        least: 20.0,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::ConnectionFailures,
        what: "an upstream's connections were lost, or could not be had, more often in the window",
        figure: Figure::ConnectionFailures,
        nature: Nature::Rate,
        unit: "failures",
        threshold: 3.0,
        window: HOUR,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::CircuitOpen,
        what: "a circuit breaker is open or half open",
        figure: Figure::CircuitOpen,
        unit: "0 or 1",
        ..PLAIN
    },
    Reference {
        kind: AlertKind::PoolNearlyFull,
        what: "a pool holds more of the topics, or carries more of the messages, that it can",
        figure: Figure::PoolFill,
        unit: "%",
        threshold: 80.0,
        lasts: seconds(30),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::NoEvents,
        what: "a monitor that is to run has brought no message for longer",
        figure: Figure::MonitorMessages,
        nature: Nature::Absence,
        unit: "s",
        threshold: 300.0,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::StreamClientsHigh,
        what: "of the streaming clients that the HTTP port takes, more are there",
        figure: Figure::StreamClients,
        unit: "%",
        threshold: 80.0,
        lasts: seconds(30),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::SinkLagging,
        what: "the oldest event that a sink has not taken is older",
        figure: Figure::SinkLagSeconds,
        unit: "s",
        // As the state `lagging` of a sink.
        threshold: 30.0,
        lasts: seconds(10),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::SinkDown,
        what: "a sink that is switched on cannot be reached, refuses, or is left alone",
        figure: Figure::SinkDown,
        unit: "0 or 1",
        lasts: seconds(10),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::GapOpened,
        what: "topics of an upstream are not seen that should be, or were not for a while since the last look",
        figure: Figure::GapsOpen,
        unit: "gaps",
        ..PLAIN
    },
    Reference {
        kind: AlertKind::QuarantineGrowing,
        what: "more frames of a monitor or an upstream could not be read in the window",
        figure: Figure::QuarantinedFrames,
        nature: Nature::Rate,
        unit: "frames",
        // A guess.
        threshold: 100.0,
        window: MINUTES,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::CheckpointStale,
        what: "the next periodic checkpoint is overdue by more",
        figure: Figure::CheckpointOverdue,
        unit: "s",
        // A guess: some intervals of 10 s.
        threshold: 60.0,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::JournalNearlyFull,
        what: "the journal has taken more of what the disk has for it, or of `journal.max_size` where a reader keeps retention from deleting",
        figure: Figure::JournalFill,
        unit: "%",
        // A guess: time enough to do something.
        threshold: 90.0,
        lasts: seconds(10),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::MemoryGrowth,
        what: "the process's memory has grown more within the window",
        figure: Figure::ProcessMemory,
        nature: Nature::Growth,
        unit: "%",
        // A guess: caches fill at the start, and less than this after an hour.
        threshold: 50.0,
        lasts: MINUTES,
        window: HOUR,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::LatencyHigh,
        what: "99 of 100 events took no longer from the socket to the disk, in the last minute",
        figure: Figure::Latency,
        unit: "ms",
        threshold: 100.0,
        lasts: seconds(30),
        ..PLAIN
    },
    Reference {
        kind: AlertKind::RateAnomaly,
        what: "the rate of a monitor's messages is further from the one that is usual for it",
        figure: Figure::MonitorMessages,
        nature: Nature::Deviation,
        unit: "deviations",
        // A guess: of a steady feed, one false alarm in years.
        threshold: 6.0,
        lasts: MINUTE,
        window: MINUTE,
        // Messages in the window that are usual at least.
        least: 60.0,
        ..PLAIN
    },
    Reference {
        kind: AlertKind::CanaryRolledBack,
        what: "the guard has taken monitors back from the smart path, and none is put there again yet",
        figure: Figure::CanaryRolledBack,
        unit: "0 or 1",
        ..PLAIN
    },
    Reference {
        kind: AlertKind::CertificateExpiring,
        what: "a certificate of the settings ends sooner",
        figure: Figure::CertificateDays,
        side: Side::Below,
        unit: "days",
        // A guess: time enough to get another one.
        threshold: 14.0,
        ..PLAIN
    },
];

/// The built-in rule of a type; none of [`AlertKind::Custom`].
pub fn reference(kind: AlertKind) -> Option<&'static Reference> {
    REFERENCE.iter().find(|reference| reference.kind == kind)
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The type's name, or that of an own one.
    pub name: Arc<str>,
    /// The type of its alerts.
    pub kind: AlertKind,
    /// When it is true.
    pub what: Arc<str>,
    /// What it looks at.
    pub figure: Figure,
    /// What that is a share of.
    pub of: Option<Figure>,
    /// How it looks at it.
    pub nature: Nature,
    /// On which side of the threshold something is wrong.
    pub side: Side,
    /// The value's unit.
    pub unit: Arc<str>,
    /// What is still well.
    pub threshold: f64,
    /// How long it must be true before an alert is opened, and untrue before it is over.
    pub lasts: Duration,
    /// The span that the value is of.
    pub window: Duration,
    /// Of less than so much within the window nothing is said.
    pub least: f64,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it is looked at.
    pub enabled: bool,
    /// How long nobody is told of the same subject again.
    pub cooldown: Duration,
    /// Of which subjects; none: of all.
    pub subjects: Option<Pattern>,
}

impl Rule {
    /// A built-in one with nothing changed.
    pub fn built_in(reference: &Reference, cooldown: Duration) -> Self {
        let Reference { kind, what, figure, of, nature, side, unit, threshold, lasts, window, least, environment: _ } =
            *reference;
        Self {
            name: kind.as_str().into(),
            kind,
            what: what.into(),
            figure,
            of,
            nature,
            side,
            unit: unit.into(),
            threshold,
            lasts,
            window,
            least,
            severity: kind.severity(),
            enabled: true,
            cooldown,
            subjects: None,
        }
    }

    /// Whether it is about a subject.
    pub fn is_about(&self, subject: &str) -> bool {
        self.subjects.as_ref().is_none_or(|pattern| pattern.fits(subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_but_the_operators_own_has_one_rule_in_the_order_of_the_types() {
        let kinds: Vec<AlertKind> = REFERENCE.iter().map(|reference| reference.kind).collect();
        let built_in: Vec<AlertKind> =
            AlertKind::ALL.iter().copied().filter(|kind| *kind != AlertKind::Custom).collect();
        assert_eq!(kinds, built_in);
        for reference in REFERENCE {
            assert!(!reference.what.is_empty() && !reference.unit.is_empty(), "{reference:?}");
            assert_eq!(reference.of.is_some(), reference.nature == Nature::Ratio, "{reference:?}");
            assert_eq!(reference.window.is_zero(), !reference.nature.has_window(), "{reference:?}");
        }
    }
}
