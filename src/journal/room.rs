//! Room on the disk: what must stay free, and which segments go when they are old, too many, or in the way.

use std::collections::VecDeque;
use std::time::Duration;

use super::error::JournalError;
use super::offset::Offset;
use super::segment::{OpenSegment, SegmentName};
use super::storage::{Access, Storage};
use crate::clock::UnixNanos;
use crate::crash_point::crash_point;

/// Left free by ordinary blocks, so that the daemon's own events, seals and recovery have room on a full disk.
pub(crate) const RESERVE_BYTES: u64 = 64 << 20;
/// Left free by the daemon's own blocks: for seals.
pub(crate) const OWN_RESERVE_BYTES: u64 = 1 << 20;

/// Sealed segments, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    segments: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: SegmentName,
    /// Not known until somebody asks: opening a journal does not touch its old segments.
    bytes: Option<u64>,
}

/// A segment that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) from: Offset,
    pub(crate) to: Offset,
}

impl Sealed {
    pub(crate) fn new(names: &[SegmentName]) -> Self {
        Self { segments: names.iter().map(|&name| Entry { name, bytes: None }).collect() }
    }

    pub(crate) fn push(&mut self, name: SegmentName, bytes: u64) {
        self.segments.push_back(Entry { name, bytes: Some(bytes) });
    }

    /// Deletes the oldest segment. `next` is the base of what follows the newest of these. None when there is but one file
    /// left in all: it says where the journal goes on.
    pub(crate) fn delete_oldest(
        &mut self,
        storage: &dyn Storage,
        active: bool,
        next: Offset,
    ) -> Result<Option<Deleted>, JournalError> {
        if self.segments.len() < 2 && !(active && self.segments.len() == 1) {
            return Ok(None);
        }
        let Some(oldest) = self.segments.front().copied() else { return Ok(None) };
        let name = oldest.name.to_string();
        let io = |source| JournalError::Io { action: "delete", path: storage.path(&name), source };
        storage.remove(&name).map_err(io)?;
        crash_point!("journal.segment_deleted");
        // One after the other: if a power cut brought an older one back after a newer one had gone, one would seem missing.
        storage.sync_folder("").map_err(io)?;
        crash_point!("journal.deletion_synced");
        self.segments.pop_front();
        let to = self.segments.front().map_or(next, |entry| entry.name.base);
        Ok(Some(Deleted { from: oldest.name.base, to }))
    }

    /// Whether the oldest segment is to go: everything in it is older than `retention`, or all segments with `active_bytes` are
    /// more than `bytes_max`, and nobody holds it.
    pub(crate) fn oldest_is_due(&mut self, storage: &dyn Storage, limits: Limits) -> Result<bool, JournalError> {
        let [oldest, second] = match (self.segments.front(), self.segments.get(1)) {
            (Some(oldest), second) => [Some(*oldest), second.copied()],
            (None, _) => return Ok(false),
        };
        let Some(oldest) = oldest else { return Ok(false) };
        let to = second.map_or(limits.next, |entry| entry.name.base);
        if limits.held_from.is_some_and(|held| held < to) {
            return Ok(false);
        }
        if self.total_bytes(storage)?.saturating_add(limits.active_bytes) > limits.bytes_max {
            return Ok(true);
        }
        let segment = OpenSegment::open(storage, oldest.name)?;
        let last = match &segment.seal {
            Some(seal) => seal.received_up_to,
            None => match second {
                Some(second) => OpenSegment::open(storage, second.name)?.header.received_before,
                None => return Ok(false),
            },
        };
        Ok(last < limits.now.saturating_sub(limits.retention))
    }

    fn total_bytes(&mut self, storage: &dyn Storage) -> Result<u64, JournalError> {
        let mut total: u64 = 0;
        for entry in &mut self.segments {
            let bytes = if let Some(bytes) = entry.bytes {
                bytes
            } else {
                let name = entry.name.to_string();
                let len = storage.open(&name, Access::Read).and_then(|file| file.len());
                let len =
                    len.map_err(|source| JournalError::Io { action: "measure", path: storage.path(&name), source })?;
                *entry.bytes.insert(len)
            };
            total = total.saturating_add(bytes);
        }
        Ok(total)
    }
}

/// What retention goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) now: UnixNanos,
    pub(crate) retention: Duration,
    pub(crate) bytes_max: u64,
    pub(crate) active_bytes: u64,
    /// The base of what follows the newest sealed segment.
    pub(crate) next: Offset,
    pub(crate) held_from: Option<Offset>,
}
