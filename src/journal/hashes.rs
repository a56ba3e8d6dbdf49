//! What was deduplicated lately. A restart fills its windows from here: headers and hashes are read, events are not.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::block::{DedupeHash, HASH_BYTES, read_hash};
use super::error::JournalError;
use super::offset::Offset;
use super::scan::BlockCursor;
use super::segment::{OpenSegment, SegmentHeader, SegmentName, list_segments};
use super::storage::Storage;
use super::varint::Malformed;
use crate::clock::UnixNanos;

/// Dedupe hashes of the newest events, in journal order, each with when its block's last event was received.
#[derive(Debug)]
pub struct RecentHashes {
    storage: Arc<dyn Storage>,
    cutoff: UnixNanos,
    /// Still to be read, in order.
    segments: VecDeque<(SegmentName, BlocksEnd)>,
    at: Option<(OpenSegment, BlockCursor, BlocksEnd)>,
    block: Vec<u8>,
    next: usize,
    received: UnixNanos,
    failed: bool,
}

/// Where a segment's blocks end: before this offset, with the block that has this checksum. The segment behind it knows too,
/// so that one whose seal is lost is read to its end, and one that lacks blocks is told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BlocksEnd {
    offset: Offset,
    chain: u32,
}

impl RecentHashes {
    pub(crate) fn find(storage: Arc<dyn Storage>, ttl: Duration) -> Result<Self, JournalError> {
        let names = list_segments(storage.as_ref())?;
        let mut segments = VecDeque::new();
        let mut cutoff = None;
        let mut after: Option<SegmentHeader> = None;
        for &name in names.iter().rev() {
            // By what the segment behind it says of its age: one that is too old is not touched, and may be in any state.
            if let (Some(cutoff), Some(after)) = (cutoff, &after)
                && after.received_before < cutoff
            {
                break;
            }
            let Some(segment) = open_kept(storage.as_ref(), name)? else { break };
            if let Some(after) = &after
                && after.journal != segment.header.journal
            {
                let who = segment.path.display().to_string();
                let (found, journal) = (segment.header.journal, after.journal);
                return Err(JournalError::Foreign { who, found, journal });
            }
            let end = match (&after, &segment.seal) {
                (Some(after), _) => Some((after.name.base, after.chain, after.received_before)),
                (None, Some(seal)) => Some((seal.end, seal.chain, seal.received_up_to)),
                // Opening has sealed all segments: this one was begun since, and what is in it was never forgotten.
                (None, None) => None,
            };
            if let Some((offset, chain, received_up_to)) = end {
                // The journal's own time counts, so that being down makes nothing older.
                cutoff.get_or_insert_with(|| received_up_to.saturating_sub(ttl));
                segments.push_front((name, BlocksEnd { offset, chain }));
            }
            after = Some(segment.header);
        }
        Ok(Self {
            storage,
            cutoff: cutoff.unwrap_or(UnixNanos(i64::MIN)),
            segments,
            at: None,
            block: Vec::new(),
            next: 0,
            received: UnixNanos(0),
            failed: false,
        })
    }

    /// Reads the hashes of the next block that is not too old. False at the end.
    fn read_block(&mut self) -> Result<bool, JournalError> {
        loop {
            let Some((segment, cursor, end)) = &mut self.at else {
                let Some((name, end)) = self.segments.pop_front() else { return Ok(false) };
                let Some(segment) = open_kept(self.storage.as_ref(), name)? else { continue };
                let mut cursor = BlockCursor::start(&segment);
                // By the index only blocks that are young enough are touched; without it their headers are walked over.
                if let Some(index) = segment.index()? {
                    let first = index.blocks.iter().find(|(_, header)| header.received.greatest >= self.cutoff);
                    match first {
                        Some((position, header)) => {
                            cursor = BlockCursor::at(*position, header.base, header.chain, index.dictionary);
                        }
                        None => continue,
                    }
                }
                self.at = Some((segment, cursor, end));
                continue;
            };
            let limit = segment.seal.as_ref().map_or(segment.len, |seal| seal.blocks_end);
            cursor.pass_holes(segment, limit)?;
            // Not where the file ends: one that lacks its last blocks would seem to be whole, and their repeats new.
            if (BlocksEnd { offset: cursor.offset, chain: cursor.chain }) == *end {
                self.at = None;
                continue;
            }
            if cursor.position >= limit {
                return Err(segment.damaged(cursor.position, cursor.offset, Malformed("the segment lacks blocks")));
            }
            let header = cursor.header(segment, limit)?;
            let wanted = header.hashes > 0 && header.received.greatest >= self.cutoff;
            if wanted {
                self.block = cursor.hashes(segment, &header)?;
                self.next = 0;
                self.received = header.received.greatest;
            }
            cursor.pass(&header);
            if wanted {
                return Ok(true);
            }
        }
    }
}

/// None when retention, which goes on meanwhile, was faster: it takes the oldest first, so that all that is left is newer.
fn open_kept(storage: &dyn Storage, name: SegmentName) -> Result<Option<OpenSegment>, JournalError> {
    match OpenSegment::open(storage, name) {
        Err(JournalError::Io { source, .. })
            if source.kind() == ErrorKind::NotFound
                && list_segments(storage)?.first().is_some_and(|first| first.sequence > name.sequence) =>
        {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

impl Iterator for RecentHashes {
    type Item = Result<(DedupeHash, UnixNanos), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.next >= self.block.len() {
            match self.read_block() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        let entry = self.block.get(self.next..self.next + HASH_BYTES)?;
        self.next += HASH_BYTES;
        read_hash(entry).map(|hash| Ok((hash, self.received)))
    }
}
