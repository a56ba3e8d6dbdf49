//! Switching sinks off and on at run time: what may be asked for, and what is remembered of it.

use serde::{Deserialize, Serialize};

use crate::journal::Offset;

/// What an operator wants of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkChange {
    /// Whether it is to run.
    pub enabled: bool,
    /// Where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Where a sink goes on that was off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// At its cursor.
    CatchUp,
    /// At the journal's end; the span between is lost to it, and recorded.
    StartNow,
    /// Wherever its store now is: what was known of it counts no more, and what is missing there is created.
    Anew,
}

/// How an operator switched a sink; it outlives restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSwitch {
    /// Which.
    pub sink: String,
    /// Whether it is to run.
    pub enabled: bool,
    /// What is before this offset is not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<u64>,
}

impl SinkSwitch {
    pub(super) fn start_at(&self) -> Offset {
        Offset(self.start_at.unwrap_or(0))
    }
}

/// Why a sink is not switched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchRefusal {
    /// There is none of this name.
    #[error("there is no sink `{0}`; `sluice sinks` lists them")]
    Unknown(String),
    /// It is behind, and nobody said what is to become of the span.
    #[error(
        "sink `{sink}` is {behind} behind: say `catch_up` (`--catch-up`), so that it takes them, or `start_now` (`--start-now`), so that it \
         goes on with new events only and the span is recorded as lost to it"
    )]
    AsksResume {
        /// Which.
        sink: String,
        /// `1234 events`
        behind: String,
    },
    /// It runs.
    #[error("sink `{0}` is on; switch it off first (`sluice sinks disable {0}`), then on again with `start_now`")]
    IsOn(String),
    /// The journal does not take the change, so it would be forgotten.
    #[error("{0}")]
    NotRecorded(&'static str),
    /// A store does not say what was asked of it.
    #[error("{0}")]
    NoAnswer(String),
}

/// A sink that was switched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwitchedSink {
    /// As it stands now.
    #[serde(flatten)]
    pub row: super::SinkRow,
    /// What an operator should know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
