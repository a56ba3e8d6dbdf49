//! What the two paths of an upstream did, as the guard and people compare them.

use serde::{Deserialize, Serialize};

use crate::journal::Path;

/// What one path of an upstream did since the start of the process. Counts never go down, also where links or monitors go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathFigures {
    /// The upstream.
    pub upstream: String,
    /// Which of its paths.
    pub path: Path,
    /// Monitors whose events count that are on it now.
    pub monitors: usize,
    /// Links that there are to be.
    pub links: usize,
    /// Links that are open.
    pub open: usize,
    /// Messages of any kind.
    pub messages: u64,
    /// Of these, events.
    pub events: u64,
    /// Of these, unreadable ones.
    pub quarantined: u64,
    /// Of these, dropped repeats.
    pub repeats: u64,
    /// Of these, acknowledgements, heartbeats and what a rule ignores.
    pub control: u64,
    /// Connections that were lost, or could not be had.
    pub connection_failures: u64,
    /// Subscriptions that were refused.
    pub refused: u64,
}

/// A monitor that is on its way from one path to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossingRow {
    /// Which.
    pub monitor: String,
    /// Where it was.
    pub from: Path,
    /// Where it will be.
    pub to: Path,
    /// Since when, RFC 3339.
    pub since: String,
    /// Whether both paths take it meanwhile.
    pub overlap: bool,
    /// What is waited for, in words.
    pub waits_for: String,
}
