//! An event's number, and the identity of the journal it counts in.

use std::fmt;

use uuid::Uuid;

/// An event's number in the journal: dense from 0 but for recorded holes, strictly increasing, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The first event's.
    pub const ZERO: Self = Self(0);

    /// The offset `events` further on.
    ///
    /// # Panics
    /// After 2^64 events.
    #[must_use]
    pub fn plus(self, events: u64) -> Self {
        Self(self.0.checked_add(events).expect("fewer than 2^64 events in a journal's life"))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A journal's identity, in every segment, checkpoint, cursor and outgoing message id, so that an offset is never taken
/// for one of another journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalId(pub Uuid);

impl JournalId {
    /// A new journal's.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// What each block's header carries of it, so that a block cut from another journal is not taken for ours.
    pub(crate) fn check(self) -> u32 {
        crc32c::crc32c(self.0.as_bytes())
    }
}

/// A journal that this one was restored from: what it had below `end` is the same here, under the same offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    /// Which.
    pub journal: JournalId,
    /// The offset after the last event that was restored.
    pub end: Offset,
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
