//! Spans of the journal that a sink did not get and will not get.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::journal::Offset;

/// The topic of lost spans in the journal, under the domain `_sluice`.
pub const LOST_TOPIC: &str = "lost";

/// Why a sink did not get a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostCause {
    /// Retention had deleted it: the sink was switched off, or new.
    Retention,
    /// The disk was full, and `journal.when_full` says that the oldest goes.
    DropOldest,
    /// No file has it any longer: a repair of the journal left a hole.
    Damage,
    /// An operator chose to start behind it.
    StartNow,
}

/// A span that a sink did not get, as the journal holds it. After a crash it may be told twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSpan {
    /// Which sink.
    pub sink: String,
    /// Its first offset.
    pub from: u64,
    /// The offset after its last.
    pub to: u64,
    /// Why.
    pub cause: LostCause,
    /// When it was found, RFC 3339.
    pub time: String,
}

/// Puts lost spans on record. False when that is not possible now.
pub type LostLog = Arc<dyn Fn(&LostSpan) -> bool + Send + Sync>;

/// Tells why what was before an offset is gone.
pub type LostWhy = Arc<dyn Fn(Offset) -> LostCause + Send + Sync>;
