//! Spans of a topic that were not seen, as the journal holds them.
//!
//! A gap is told when it opens, with what else was lost at that moment, and when it is over. It is over only when a
//! [`GapRecord`] says so: that nothing tells of it any more proves nothing, because the end may not have become durable.
//! That is what ids are for: records of one topic may come from several links, and so in any order.

use serde::{Deserialize, Serialize};

/// The topic of gaps in the journal, under the domain `_sluice`.
pub const GAP_TOPIC: &str = "gap";

/// The topic of [`CoverageRecord`]s in the journal, under the domain `_sluice`.
pub const COVERAGE_TOPIC: &str = "coverage";

/// Why something was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The connection was lost.
    Disconnect,
    /// The connection was lost while we had stopped reading.
    Backpressure,
    /// The daemon did not run.
    Downtime,
    /// The feed was silent for longer than it ever is, and its link was given up.
    Silence,
    /// The upstream refused or ended the subscription.
    Refused,
    /// The upstream's circuit breaker was open.
    CircuitOpen,
    /// The monitor was put to rest.
    Rest,
    /// The monitor was stopped, or deleted.
    Stopped,
    /// No link had room for the topic.
    LeftOut,
    /// The topic was moved, and not asked for on both sides at once.
    Handover,
    /// The feed's own sequence leaps.
    Sequence,
    /// What came could not be read.
    Unreadable,
    /// A cause that a newer release knows.
    #[serde(other)]
    Unknown,
}

impl GapCause {
    /// Every cause that this release writes.
    pub const ALL: [Self; 12] = [
        Self::Disconnect,
        Self::Backpressure,
        Self::Downtime,
        Self::Silence,
        Self::Refused,
        Self::CircuitOpen,
        Self::Rest,
        Self::Stopped,
        Self::LeftOut,
        Self::Handover,
        Self::Sequence,
        Self::Unreadable,
    ];

    /// As records, metrics and people have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Backpressure => "backpressure",
            Self::Downtime => "downtime",
            Self::Silence => "silence",
            Self::Refused => "refused",
            Self::CircuitOpen => "circuit_open",
            Self::Rest => "rest",
            Self::Stopped => "stopped",
            Self::LeftOut => "left_out",
            Self::Handover => "handover",
            Self::Sequence => "sequence",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether an operator wants the topic not to be seen.
    pub fn is_chosen(self) -> bool {
        matches!(self, Self::Rest | Self::Stopped)
    }
}

/// By what a span that was not seen at first was got after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filled {
    /// The upstream went on from before the span.
    Resumed,
    /// It was fetched.
    Backfill,
    /// Another upstream of the monitor had the topic in force for the whole span.
    OtherUpstream,
    /// In a way that a newer release knows.
    #[serde(other)]
    Unknown,
}

impl Filled {
    /// As records and people have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::Backfill => "backfill",
            Self::OtherUpstream => "other_upstream",
            Self::Unknown => "unknown",
        }
    }
}

/// A gap that is over, as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// Whose topic.
    pub monitor: String,
    /// Where it comes from.
    pub upstream: String,
    /// Which topic.
    pub topic: String,
    /// Why.
    pub cause: GapCause,
    /// When it was lost, RFC 3339.
    pub start: String,
    /// When it was back, RFC 3339.
    pub end: String,
    /// Where the upstream was asked to go on from, so that what was missed comes after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<String>,
    /// Its number in the journal. Older releases gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// How many messages were missed, where a sequence tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// By what it was filled, if it was when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Filled>,
}

/// What else the ledger is made of. Topics of one monitor that share all that is told are told together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum CoverageRecord {
    /// Topics were in force for the first time: from now on what is not seen of them is a gap.
    Watched(WatchedRecord),
    /// Topics were lost. They are watched too, if they were not before.
    GapOpen(GapOpenRecord),
    /// Topics are not wanted any more. A gap of theirs ends here.
    Unwatched(UnwatchedRecord),
    /// There is more to say of a gap that is over.
    Amended(AmendedRecord),
}

/// Topics that are watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedRecord {
    /// Whose.
    pub monitor: String,
    /// From where.
    pub upstream: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Which.
    pub topics: Vec<String>,
}

/// Topics that were lost at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapOpenRecord {
    /// The first topic's gap. The others' follow, in the order of `topics`.
    pub id: u64,
    /// Whose.
    pub monitor: String,
    /// From where.
    pub upstream: String,
    /// Why.
    pub cause: GapCause,
    /// When, RFC 3339.
    pub start: String,
    /// Which.
    pub topics: Vec<String>,
}

/// Topics that are not wanted any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwatchedRecord {
    /// Whose.
    pub monitor: String,
    /// From where.
    pub upstream: String,
    /// Since when, RFC 3339.
    pub until: String,
    /// Which.
    pub topics: Vec<String>,
}

/// What is known of a gap since it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmendedRecord {
    /// Which gap.
    pub id: u64,
    /// Whose.
    pub monitor: String,
    /// From where.
    pub upstream: String,
    /// Which topic.
    pub topic: String,
    /// How many messages it missed, where that is news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// By what it was filled, where that is news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Filled>,
    /// It was taken for filled, and is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfilled: bool,
    /// How many events were fetched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<u64>,
    /// From when on something of it is missing all the same, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_from: Option<String>,
    /// Up to when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to: Option<String>,
}

/// Something of the ledger that has to get into the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerRecord {
    /// A gap is over: an event of the monitor `gaps`.
    Gap(GapRecord),
    /// An event of the monitor `coverage`.
    Coverage(CoverageRecord),
}

impl LedgerRecord {
    /// Whose topics it is about.
    pub fn monitor(&self) -> &str {
        match self {
            Self::Gap(record) => &record.monitor,
            Self::Coverage(CoverageRecord::Watched(record)) => &record.monitor,
            Self::Coverage(CoverageRecord::GapOpen(record)) => &record.monitor,
            Self::Coverage(CoverageRecord::Unwatched(record)) => &record.monitor,
            Self::Coverage(CoverageRecord::Amended(record)) => &record.monitor,
        }
    }

    /// The event's payload.
    pub fn to_payload(&self) -> Vec<u8> {
        // Strings and numbers only: serialization has nothing to refuse.
        match self {
            Self::Gap(record) => serde_json::to_vec(record),
            Self::Coverage(record) => serde_json::to_vec(record),
        }
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_older_and_of_newer_releases_are_read() {
        let old = r#"{"monitor":"m","upstream":"u","topic":"t","cause":"backpressure","start":"1970-01-01T00:00:01Z","end":"1970-01-01T00:00:02Z"}"#;
        let read: GapRecord = serde_json::from_str(old).unwrap();
        assert_eq!((read.cause, read.id, read.missing, read.filled), (GapCause::Backpressure, None, None, None));
        assert_eq!(serde_json::to_string(&read).unwrap(), old, "and written as they were");
        let new = old.replace("backpressure", "sunspots").replace('}', r#","filled":"by_magic","more":1}"#);
        let read: GapRecord = serde_json::from_str(&new).unwrap();
        assert_eq!((read.cause, read.filled), (GapCause::Unknown, Some(Filled::Unknown)));
    }

    #[test]
    fn causes_are_written_as_they_are_named() {
        for cause in GapCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
    }
}
