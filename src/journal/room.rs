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
    pub(crate) bytes: u64,
}

/// Whether the oldest segment is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Yes,
    No,
    /// It would, but somebody holds it.
    Held,
}

/// Segments that would have been deleted if nobody held them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
}

impl Sealed {
    pub(crate) fn new(names: &[SegmentName]) -> Self {
        Self { segments: names.iter().map(|&name| Entry { name, bytes: None }).collect() }
    }

    pub(crate) fn push(&mut self, name: SegmentName, bytes: u64) {
        self.segments.push_back(Entry { name, bytes: Some(bytes) });
    }

    /// What [`Sealed::delete_oldest`] would delete.
    pub(crate) fn oldest(&self, active: bool, next: Offset) -> Option<(Offset, Offset)> {
        if self.segments.len() < 2 && !(active && self.segments.len() == 1) {
            return None;
        }
        let oldest = self.segments.front()?;
        Some((oldest.name.base, self.segments.get(1).map_or(next, |entry| entry.name.base)))
    }

    /// Deletes the oldest segment. `next` is the base of what follows the newest of these. None when there is but one file
    /// left in all: it says where the journal goes on.
    pub(crate) fn delete_oldest(
        &mut self,
        storage: &dyn Storage,
        active: bool,
        next: Offset,
    ) -> Result<Option<Deleted>, JournalError> {
        let Some((from, to)) = self.oldest(active, next) else { return Ok(None) };
        let Some(oldest) = self.segments.front_mut() else { return Ok(None) };
        let bytes = oldest.bytes(storage)?;
        let name = oldest.name.to_string();
        let io = |source| JournalError::Io { action: "delete", path: storage.path(&name), source };
        storage.remove(&name).map_err(io)?;
        crash_point!("journal.segment_deleted");
        // One after the other: if a power cut brought an older one back after a newer one had gone, one would seem missing.
        storage.sync_folder("").map_err(io)?;
        crash_point!("journal.deletion_synced");
        self.segments.pop_front();
        Ok(Some(Deleted { from, to, bytes }))
    }

    /// Whether the oldest segment is to go: everything in it is older than `retention`, or all segments with `active_bytes` are
    /// more than `bytes_max`; and whether nobody holds it.
    pub(crate) fn oldest_is_due(&mut self, storage: &dyn Storage, limits: Limits) -> Result<Due, JournalError> {
        let total = self.total_bytes(storage)?.saturating_add(limits.active_bytes);
        let Some((to, due)) = self.is_due(0, total, storage, limits)? else { return Ok(Due::No) };
        Ok(match due {
            false => Due::No,
            true if limits.held_from.is_some_and(|held| held < to) => Due::Held,
            true => Due::Yes,
        })
    }

    /// How much more is kept than if nobody held anything. The newest file is never counted.
    pub(crate) fn kept_for_holds(&mut self, storage: &dyn Storage, limits: Limits) -> Result<Kept, JournalError> {
        let mut total = self.total_bytes(storage)?.saturating_add(limits.active_bytes);
        let mut kept = Kept::default();
        let spare = usize::from(limits.active_bytes == 0);
        for number in 0..self.segments.len().saturating_sub(spare) {
            let Some((_, true)) = self.is_due(number, total, storage, limits)? else { break };
            let bytes = self.segments[number].bytes(storage)?;
            kept.segments += 1;
            kept.bytes = kept.bytes.saturating_add(bytes);
            total = total.saturating_sub(bytes);
        }
        Ok(kept)
    }

    /// Where a segment ends, and whether it is too old or there is too much.
    fn is_due(
        &self,
        number: usize,
        total: u64,
        storage: &dyn Storage,
        limits: Limits,
    ) -> Result<Option<(Offset, bool)>, JournalError> {
        let Some(&entry) = self.segments.get(number) else { return Ok(None) };
        let second = self.segments.get(number + 1);
        let to = second.map_or(limits.next, |entry| entry.name.base);
        if total > limits.bytes_max {
            return Ok(Some((to, true)));
        }
        let segment = OpenSegment::open(storage, entry.name)?;
        let last = match &segment.seal {
            Some(seal) => seal.received_up_to,
            None => match second {
                Some(second) => OpenSegment::open(storage, second.name)?.header.received_before,
                None => return Ok(Some((to, false))),
            },
        };
        // Before the first event nothing says how old it is but when it was begun.
        let last = if last == UnixNanos(i64::MIN) { segment.header.created } else { last };
        Ok(Some((to, last < limits.now.saturating_sub(limits.retention))))
    }

    /// Bytes of all that was measured, which is all when anything was asked.
    pub(crate) fn known_bytes(&self) -> u64 {
        self.segments.iter().filter_map(|entry| entry.bytes).fold(0, u64::saturating_add)
    }

    fn total_bytes(&mut self, storage: &dyn Storage) -> Result<u64, JournalError> {
        let mut total: u64 = 0;
        for entry in &mut self.segments {
            let bytes = entry.bytes(storage)?;
            total = total.saturating_add(bytes);
        }
        Ok(total)
    }
}

impl Entry {
    fn bytes(&mut self, storage: &dyn Storage) -> Result<u64, JournalError> {
        if let Some(bytes) = self.bytes {
            return Ok(bytes);
        }
        let name = self.name.to_string();
        let len = storage.open(&name, Access::Read).and_then(|file| file.len());
        let len = len.map_err(|source| JournalError::Io { action: "measure", path: storage.path(&name), source })?;
        Ok(*self.bytes.insert(len))
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
