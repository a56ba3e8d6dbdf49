//! What the guard finds, with the figures that it found it by.

use serde::{Deserialize, Serialize};

use crate::journal::Path;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// What share of the messages could be read.
    ParseRate,
    /// Connections lost, or not to be had, in an hour.
    ConnectionFailures,
    /// Memory of the process.
    Memory,
    /// What could not be read, subscriptions refused and connections lost, for each message.
    Errors,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ParseRate, Self::ConnectionFailures, Self::Memory, Self::Errors];

    /// For people, programs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ParseRate => "parse_rate",
            Self::ConnectionFailures => "connection_failures",
            Self::Memory => "memory",
            Self::Errors => "errors",
        }
    }
}

/// What the smart path is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The legacy path of the same upstream in the same window.
    Legacy,
    /// The smart path itself, in the last window in which it was well.
    LastGoodWindow,
    /// A limit.
    Limit,
}

/// Figures of one side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Messages within the window, without acknowledgements and heartbeats.
    pub messages: u64,
    /// Of these, unreadable ones.
    pub quarantined: u64,
    /// Subscriptions that were refused.
    pub refused: u64,
    /// Connections lost, or not to be had: within the window, but in the last hour where these are what was found. Those of
    /// an outage of the whole upstream are not in it.
    pub connection_failures: u64,
    /// Links that there are to be.
    pub links: usize,
}

impl Side {
    /// Of all messages, the share that could be read; none without any.
    #[expect(clippy::cast_precision_loss, reason = "a share is a float")]
    pub fn parse_rate(&self) -> Option<f64> {
        (self.messages > 0).then(|| 1.0 - self.quarantined as f64 / self.messages as f64)
    }

    /// Everything that went wrong.
    pub fn errors(&self) -> u64 {
        self.quarantined + self.refused + self.connection_failures
    }
}

/// The smart path is worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In what.
    pub check: Check,
    /// At which upstream; none of what is the process's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// What was measured.
    pub value: f64,
    /// What it is held against, as the settings say.
    pub threshold: f64,
    /// Whose figures these are compared with.
    pub against: Against,
    /// What was measured there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<f64>,
    /// The smart path's figures.
    pub smart: Side,
    /// The legacy path's, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<Side>,
    /// The span that was looked at, in seconds.
    pub window_seconds: f64,
}

impl Verdict {
    /// In a sentence.
    pub fn message(&self) -> String {
        let at = self.upstream.as_ref().map_or_else(String::new, |upstream| format!(" at upstream `{upstream}`"));
        let other = match (self.against, self.other) {
            (Against::Legacy, Some(other)) => format!(", on the legacy path {}", self.figure(other)),
            (Against::LastGoodWindow, Some(other)) => format!(", while it was well {}", self.figure(other)),
            _ => String::new(),
        };
        let value = self.figure(self.value);
        let what = match self.check {
            Check::ParseRate => format!("{value} of {} messages could be read", self.smart.messages),
            Check::ConnectionFailures => format!("{value} connections were lost within an hour"),
            Check::Memory => format!("{value} of the memory limit is used"),
            Check::Errors => format!("{value} of {} messages met an error", self.smart.messages),
        };
        format!("on the smart path{at} {what}{other}")
    }

    fn figure(&self, value: f64) -> String {
        match self.check {
            Check::ConnectionFailures => format!("{}", (value * 10.0).round() / 10.0),
            _ => format!("{} %", (value * 10_000.0).round() / 100.0),
        }
    }
}

/// How the guard finds things, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardState {
    /// It is switched off.
    Off,
    /// Nothing is on the smart path.
    Idle,
    /// Too few messages came to say anything.
    Waiting,
    /// The smart path is no worse.
    Healthy,
    /// An upstream is not to be reached by anybody: nothing can be said of it.
    Outage,
    /// It is worse, but not for long enough yet.
    Suspect,
    /// It is worse.
    Bad,
}

impl GuardState {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Healthy => "healthy",
            Self::Outage => "outage",
            Self::Suspect => "suspect",
            Self::Bad => "bad",
        }
    }

    /// Whether a stage's time counts. Too little to say anything is nothing against it.
    pub fn lets_time_count(self) -> bool {
        !matches!(self, Self::Outage | Self::Suspect | Self::Bad)
    }
}

/// What one path of an upstream did lately, as people compare it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathRates {
    /// The upstream.
    pub upstream: String,
    /// Which of its paths.
    pub path: Path,
    /// Monitors that are on it.
    pub monitors: usize,
    /// Links that there are to be.
    pub links: usize,
    /// Links that are open.
    pub open: usize,
    /// Messages a second within the guard's window.
    pub messages_per_second: f64,
    /// Events a second.
    pub events_per_second: f64,
    /// Of the messages that are to be events, the share that could be read; none without any.
    pub parse_rate: Option<f64>,
    /// Connections lost, or not to be had, in the last hour.
    pub connection_failures: u64,
    /// Subscriptions refused within the window.
    pub refused: u64,
}
