//! A span of a topic that was not seen.

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;

/// The topic of gaps in the journal, under the domain `_sluice`.
pub const GAP_TOPIC: &str = "gap";

/// Why something was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The connection was lost.
    Disconnect,
    /// The connection was lost while we had stopped reading.
    Backpressure,
    /// It changed links, and ended on the one before it began on the other.
    Handover,
    /// No link had room for it, since more important ones came.
    LeftOut,
}

/// A span that was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// When the topic was lost, as received time.
    pub start: UnixNanos,
    /// When it was back.
    pub end: UnixNanos,
    /// Why.
    pub cause: GapCause,
    /// Where the upstream was asked to go on from, so that what was missed comes after all.
    pub resumed_from: Option<String>,
}

/// A gap as the journal holds it.
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
}
