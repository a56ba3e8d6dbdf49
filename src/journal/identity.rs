//! Who an event belongs to, and which way it came.

use std::sync::Arc;

/// The domain of the daemon's own events: gaps, quarantined frames, snapshots of its state, the history of its figures.
pub const OWN_DOMAIN: &str = "_sluice";

/// Begins the domain of a monitor's events that came over the other path, to be compared.
pub const SHADOW_DOMAINS: &str = "_shadow.";

/// The monitor name, in [`OWN_DOMAIN`], under which recorded gaps are journaled, one event a gap.
pub const GAPS_MONITOR: &str = "gaps";

/// The monitor name, in [`OWN_DOMAIN`], under which is journaled what else the gap ledger is made of: since when topics are
/// watched, and gaps that open.
pub const COVERAGE_MONITOR: &str = "coverage";

/// The monitor name, in [`OWN_DOMAIN`], under which frames that could not be read are journaled.
pub const QUARANTINE_MONITOR: &str = "quarantine";

/// The monitor name, in [`OWN_DOMAIN`], under which it is journaled that a quarantined frame was parsed again.
pub const RETRIES_MONITOR: &str = "retries";

/// The monitor name, in [`OWN_DOMAIN`], under which it is journaled which events were fetched, and did not come over a link.
pub const FETCHED_MONITOR: &str = "fetched";

/// The monitor name, in [`OWN_DOMAIN`], under which it is journaled when a monitor is polled, and when no longer.
pub const POLLING_MONITOR: &str = "polling";

/// The monitor name, in [`OWN_DOMAIN`], under which every segment begins with a snapshot of live state.
pub const STATE_MONITOR: &str = "state";

/// The monitor name, in [`OWN_DOMAIN`], under which the history of the daemon's figures is journaled.
pub const METRICS_MONITOR: &str = "metrics";

/// The monitor name, in [`OWN_DOMAIN`], under which spans that a sink lost are journaled.
pub const SINKS_MONITOR: &str = "sinks";

/// The monitor name, in [`OWN_DOMAIN`], under which settings that an operator made at run time are journaled.
pub const SETTINGS_MONITOR: &str = "settings";

/// The monitor name, in [`OWN_DOMAIN`], under which is journaled what a full disk made the journal delete.
pub const JOURNAL_MONITOR: &str = "journal";

/// The monitor name, in [`OWN_DOMAIN`], under which answers of look-ups are journaled.
pub const ENRICHMENTS_MONITOR: &str = "enrichments";

/// The monitor name, in [`OWN_DOMAIN`], under which is journaled what was decided about the share of monitors on the smart path.
pub const CANARY_MONITOR: &str = "canary";

/// The monitor name, in [`OWN_DOMAIN`], under which alerts are journaled.
pub const ALERTS_MONITOR: &str = "alerts";

/// The monitor name, in [`OWN_DOMAIN`], under which take-overs from another process are journaled.
pub const TAKE_OVERS_MONITOR: &str = "take_overs";

/// The monitor name, in [`OWN_DOMAIN`], under which it is journaled that a monitor has changed paths.
pub const PATHS_MONITOR: &str = "paths";

/// The monitor name, in [`OWN_DOMAIN`], under which is journaled how far programs have come that read by a name.
pub const CONSUMERS_MONITOR: &str = "consumers";

/// The monitor name, in [`OWN_DOMAIN`], under which is journaled what is done once: its begin and its end.
pub const OPERATIONS_MONITOR: &str = "operations";

/// The monitor name, in [`OWN_DOMAIN`], under which is journaled that a rule's figure went over its threshold, or came back.
pub const THRESHOLDS_MONITOR: &str = "thresholds";

/// The monitor name, in [`OWN_DOMAIN`], under which it is journaled what was changed over HTTP, and by whom.
pub const AUDIT_MONITOR: &str = "audit";

/// The monitor name, in [`OWN_DOMAIN`], under which it is journaled what became of notices of alerts.
pub const NOTIFICATIONS_MONITOR: &str = "notifications";

/// Every monitor of [`OWN_DOMAIN`].
pub const OWN_MONITORS: [&str; 21] = [
    GAPS_MONITOR,
    COVERAGE_MONITOR,
    QUARANTINE_MONITOR,
    RETRIES_MONITOR,
    FETCHED_MONITOR,
    POLLING_MONITOR,
    STATE_MONITOR,
    METRICS_MONITOR,
    SINKS_MONITOR,
    SETTINGS_MONITOR,
    JOURNAL_MONITOR,
    ENRICHMENTS_MONITOR,
    CANARY_MONITOR,
    ALERTS_MONITOR,
    TAKE_OVERS_MONITOR,
    PATHS_MONITOR,
    CONSUMERS_MONITOR,
    OPERATIONS_MONITOR,
    THRESHOLDS_MONITOR,
    AUDIT_MONITOR,
    NOTIFICATIONS_MONITOR,
];

/// A monitor, as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorIdentity {
    /// Where the journal is written: dense from 0 and never reused in the life of the process, so that tables can be
    /// indexed by it. In what is read back: its number in the segment, of no meaning elsewhere.
    pub index: u32,
    /// `spot-trades`
    pub name: Arc<str>,
    /// `trading`
    pub domain: Arc<str>,
}

/// Which way an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// Pool, dedupe, batches.
    #[default]
    Smart,
    /// One connection a monitor, one write a message.
    Legacy,
}

impl Path {
    /// `smart` or `legacy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Legacy => "legacy",
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Smart => 0,
            Self::Legacy => 1,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Smart),
            1 => Some(Self::Legacy),
            _ => None,
        }
    }
}
