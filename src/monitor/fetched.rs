//! Which events were fetched and did not come over a link: what the journal says of it.
//!
//! A record stands in the same block as the events that it is about, directly behind them: so neither is ever durable without
//! the other, and the format needs no mark of its own.

use serde::{Deserialize, Serialize};

/// The topic of these records in the journal, under the domain `_sluice`.
pub const FETCHED_TOPIC: &str = "fetched";

/// Why something was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchedBy {
    /// To fill a gap.
    Backfill,
    /// In the place of what a link would bring.
    Poll,
}

impl FetchedBy {
    /// As records, metrics and people have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Poll => "poll",
        }
    }
}

/// That events were fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedRecord {
    /// Why.
    pub by: FetchedBy,
    /// The gap that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<u64>,
    /// Whose events they are.
    pub monitor: String,
    /// Of which upstream.
    pub upstream: String,
    /// Of which topic.
    pub topic: String,
    /// How many.
    pub events: u32,
    /// How many more there were that the journal had already.
    pub repeats: u32,
    /// So many events directly before this one, in its block, were fetched.
    pub marks: u32,
}

impl FetchedRecord {
    /// The journal's payload.
    pub fn to_payload(&self) -> Vec<u8> {
        // Strings and numbers only: serialization has nothing to refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
