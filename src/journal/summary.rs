//! What opening a journal is told, and what it found and did.

use std::path::PathBuf;
use std::time::Duration;

use super::offset::{JournalId, Offset};
use crate::clock::UnixNanos;

/// Somebody outside of the journal who knows that events up to an offset were durable: a sink's cursor, a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDurable {
    /// How to call it: `sink warehouse`.
    pub who: String,
    /// The journal that it speaks of.
    pub journal: JournalId,
    /// The offset after the last event it has taken.
    pub offset: Offset,
}

/// What opening a journal found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySummary {
    /// Whose.
    pub journal: JournalId,
    /// The offset after the last durable event; all that is readable.
    pub durable: Offset,
    /// The first event that is kept.
    pub earliest: Offset,
    /// How many segments.
    pub segments: usize,
    /// The greatest received time in the journal; none if it is empty. A clock that starts from it never goes back.
    pub last_received: Option<UnixNanos>,
    /// What was cut off the end, if anything.
    pub cut: Option<CutTail>,
    /// Whole blocks that may not have reached the disk and were written anew.
    pub rewritten: Option<Rewritten>,
    /// Whether the last stop was a clean one.
    pub clean: bool,
    /// How long it took.
    pub took: Duration,
}

/// Bytes at the end that were never promised and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub segment: PathBuf,
    /// Where they began.
    pub position: u64,
    /// How many.
    pub bytes: u64,
    /// Why they cannot be read.
    pub reason: String,
    /// Where they are kept.
    pub kept_at: PathBuf,
}

/// Blocks above the watermark that are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// How many blocks.
    pub blocks: usize,
    /// How many events are in them.
    pub events: u64,
    /// The segment that now has them.
    pub segment: PathBuf,
}
