//! What was deduplicated lately. A restart fills its windows from here: headers and hashes are read, events are not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::block::{DedupeHash, HASH_BYTES, read_hash};
use super::error::JournalError;
use super::scan::BlockCursor;
use super::segment::{OpenSegment, SegmentName, list_segments};
use super::storage::Storage;
use crate::clock::UnixNanos;

/// Dedupe hashes of the newest events, in journal order, each with when its block's last event was received.
#[derive(Debug)]
pub struct RecentHashes {
    storage: Arc<dyn Storage>,
    cutoff: UnixNanos,
    /// Still to be read, in order.
    segments: VecDeque<SegmentName>,
    at: Option<(OpenSegment, BlockCursor, u64)>,
    block: Vec<u8>,
    next: usize,
    received: UnixNanos,
    failed: bool,
}

impl RecentHashes {
    pub(crate) fn find(storage: Arc<dyn Storage>, ttl: Duration) -> Result<Self, JournalError> {
        let names = list_segments(storage.as_ref())?;
        let mut segments = VecDeque::new();
        let mut cutoff = UnixNanos(i64::MIN);
        for (number, &name) in names.iter().rev().enumerate() {
            let segment = OpenSegment::open(storage.as_ref(), name)?;
            // The journal's own time counts, so that being down makes nothing older. Opening has sealed all segments.
            let Some(seal) = &segment.seal else { continue };
            if number == 0 {
                cutoff = seal.received_up_to.saturating_sub(ttl);
            } else if seal.received_up_to < cutoff {
                break;
            }
            segments.push_front(name);
        }
        Ok(Self {
            storage,
            cutoff,
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
                let Some(name) = self.segments.pop_front() else { return Ok(false) };
                let segment = OpenSegment::open(self.storage.as_ref(), name)?;
                let end = segment.seal.as_ref().map_or(segment.len, |seal| seal.blocks_end);
                let mut cursor = BlockCursor::start(&segment);
                // By the index only blocks that are young enough are touched; without it their headers are walked over.
                if let Some((index, dictionary)) = segment.index()? {
                    let first = index.iter().find(|(_, header)| header.received.greatest >= self.cutoff);
                    match first {
                        Some((position, header)) => {
                            cursor = BlockCursor::at(*position, header.base, header.chain, dictionary);
                        }
                        None => continue,
                    }
                }
                self.at = Some((segment, cursor, end));
                continue;
            };
            if cursor.position >= *end {
                self.at = None;
                continue;
            }
            let header = cursor.header(segment, *end)?;
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
