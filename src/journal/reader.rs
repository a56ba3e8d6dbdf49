//! Reads the journal from an offset or a time on, and follows its tail. Needs no lock and no daemon.
//!
//! A reader sees only what is durable. In the writer's process the writer tells it how far that is; in any other the
//! watermark file does, or, where that was lost, what the blocks themselves say.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use zstd::bulk::Decompressor;

use super::block::{Block, BlockHeader};
use super::error::JournalError;
use super::filter::BlockFilter;
use super::hole::Hole;
use super::offset::{Ancestor, JournalId, Offset};
use super::scan::BlockCursor;
use super::segment::{OpenSegment, SEGMENT_HEADER_BYTES, SegmentName, list_segments};
use super::storage::{DiskStorage, Storage};
use super::varint::Malformed;
use super::watermark::{self, Watermark};
use crate::clock::UnixNanos;

/// Reads events in order. Blocking: it reads files.
pub struct JournalReader {
    storage: Arc<dyn Storage>,
    tail: Tail,
    journal: Option<JournalId>,
    next: Offset,
    at: Option<At>,
    holes: Vec<Hole>,
    zstd: Decompressor<'static>,
}

/// What a reader went by.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Passage {
    /// A block with events that may be wanted.
    Block(Block),
    /// A block without any; the offset after it.
    Passed(Offset),
}

/// Who says how far is durable.
#[derive(Debug, Clone)]
enum Tail {
    Writer(watch::Receiver<Watermark>),
    File,
}

/// A place in a segment.
#[derive(Debug)]
struct At {
    segment: OpenSegment,
    cursor: BlockCursor,
    limit: Limit,
}

/// Up to where a segment may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// It ends here.
    Ends(u64),
    /// It is not sealed, but the next one says where it ends: at this offset, behind the block with this checksum.
    EndsBefore { base: Offset, chain: u32 },
    /// So far for now.
    Durable(u64),
    /// So far for now; found by what the blocks say.
    DurableOffset(Offset),
}

enum Step {
    Block(BlockHeader),
    EndOfSegment,
    NothingYet,
}

impl std::fmt::Debug for JournalReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalReader").field("next", &self.next).field("tail", &self.tail).finish_non_exhaustive()
    }
}

impl JournalReader {
    /// A reader of the journal in the folder `dir`, at its first event.
    ///
    /// # Errors
    /// [`JournalError::NoJournal`], or what the system refused.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        if !dir.is_dir() {
            return Err(JournalError::NoJournal { dir: dir.to_owned() });
        }
        Self::open_on(Arc::new(DiskStorage::new(dir)))
    }

    /// As [`JournalReader::open`], on any storage.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(storage: Arc<dyn Storage>) -> Result<Self, JournalError> {
        let segments = list_segments(storage.as_ref())?;
        let hint = watermark::read(storage.as_ref())?;
        if segments.is_empty() && hint.is_none() {
            return Err(JournalError::NoJournal { dir: storage.path("") });
        }
        let mut reader = Self::new(storage, Tail::File, hint.map(|(journal, _)| journal));
        reader.next = segments.first().map_or(Offset::ZERO, |first| first.base);
        Ok(reader)
    }

    pub(crate) fn following(
        storage: Arc<dyn Storage>,
        journal: JournalId,
        watermark: watch::Receiver<Watermark>,
    ) -> Self {
        let mut reader = Self::new(storage, Tail::Writer(watermark), Some(journal));
        // What cannot be listed now is reported when it is read.
        if let Ok(segments) = list_segments(reader.storage.as_ref()) {
            reader.next = segments.first().map_or(Offset::ZERO, |first| first.base);
        }
        reader
    }

    fn new(storage: Arc<dyn Storage>, tail: Tail, journal: Option<JournalId>) -> Self {
        let zstd = Decompressor::new().expect("there is memory for zstd's tables");
        Self { storage, tail, journal, next: Offset::ZERO, at: None, holes: Vec::new(), zstd }
    }

    /// Whose events these are.
    ///
    /// # Errors
    /// What the system refused, or damage in the newest segment's header.
    pub fn journal_id(&self) -> Result<JournalId, JournalError> {
        if let Some(journal) = self.journal {
            return Ok(journal);
        }
        match list_segments(self.storage.as_ref())?.last() {
            Some(&newest) => Ok(OpenSegment::open(self.storage.as_ref(), newest)?.header.journal),
            None => Err(JournalError::NoJournal { dir: self.storage.path("") }),
        }
    }

    /// Holes that were passed over since this was last asked: offsets between what was read that no event has. What a seek
    /// leaps over is not in it.
    pub fn take_holes(&mut self) -> Vec<Hole> {
        std::mem::take(&mut self.holes)
    }

    /// The next event that will be read.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Journals that this one was restored from, whose cursors are good here up to their ends.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ancestors(&self) -> Result<Vec<Ancestor>, JournalError> {
        super::ancestors::read(self.storage.as_ref())
    }

    /// The first event that is kept.
    ///
    /// # Errors
    /// What the system refused.
    pub fn earliest(&self) -> Result<Offset, JournalError> {
        Ok(list_segments(self.storage.as_ref())?.first().map_or(Offset::ZERO, |first| first.base))
    }

    /// The first event of each segment that is kept.
    ///
    /// # Errors
    /// What the system refused.
    pub fn segment_bases(&self) -> Result<Vec<Offset>, JournalError> {
        Ok(list_segments(self.storage.as_ref())?.iter().map(|segment| segment.base).collect())
    }

    /// The offset after the last durable event, as far as can be told.
    ///
    /// # Errors
    /// What the system refused, or damage found on the way.
    pub fn durable(&self) -> Result<Offset, JournalError> {
        let watermark = self.watermark()?;
        let segments = list_segments(self.storage.as_ref())?;
        let Some(&last) = segments.last() else { return Ok(watermark.offset) };
        if watermark.sequence >= last.sequence {
            return Ok(watermark.offset);
        }
        let segment = OpenSegment::open(self.storage.as_ref(), last)?;
        let offset = match &segment.seal {
            Some(seal) => seal.end,
            None => durable_by_blocks(&segment),
        };
        Ok(offset.max(watermark.offset))
    }

    /// Goes to an event. That it is still kept is only seen when it is read.
    pub fn seek(&mut self, offset: Offset) {
        self.next = offset;
        self.at = None;
    }

    /// Goes to the first event before which none was received at or after `time`. Events received earlier may still follow,
    /// because links overlap.
    ///
    /// # Errors
    /// What the system refused, or damage found on the way.
    pub fn seek_received(&mut self, time: UnixNanos) -> Result<(), JournalError> {
        let segments = list_segments(self.storage.as_ref())?;
        // `received_before` never decreases: the last segment with a lower one holds the place, or it is that one's end.
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if OpenSegment::open(self.storage.as_ref(), segments[middle])?.header.received_before < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(&name) = segments.get(low.saturating_sub(1)) else {
            self.seek(Offset::ZERO);
            return Ok(());
        };
        self.at = Some(self.enter(name)?);
        self.next = name.base;
        loop {
            match self.step()? {
                Step::Block(header) if header.count > 0 && header.received.greatest >= time => {
                    self.next = header.base;
                    return Ok(());
                }
                Step::Block(header) => {
                    self.next = header.end();
                    self.pass(&header);
                }
                Step::EndOfSegment | Step::NothingYet => return Ok(()),
            }
        }
    }

    /// The next block in which `filter` may find something, if it is durable. None at the tail: ask again later. Blocks
    /// without events are passed over. After an error the reader stands where it stood.
    ///
    /// # Errors
    /// [`JournalError::OffsetGone`] when retention was faster; [`JournalError::Damaged`]; [`JournalError::Incomplete`] where
    /// events were durable that no file has; what the system refused.
    pub fn next_block(&mut self, filter: &BlockFilter) -> Result<Option<Block>, JournalError> {
        loop {
            match self.next_passage(|header| filter.may_admit(header))? {
                Some(Passage::Block(block)) => return Ok(Some(block)),
                Some(Passage::Passed(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// As [`JournalReader::next_block`], but tells of each block that `wanted` has no use for, so that whoever reads a journal in
    /// which little is wanted hears of progress all the same.
    ///
    /// # Errors
    /// As there.
    pub fn next_passage(&mut self, wanted: impl Fn(&BlockHeader) -> bool) -> Result<Option<Passage>, JournalError> {
        let Some(header) = self.find(|header| header.count > 0)? else { return Ok(None) };
        if !wanted(&header) {
            self.next = header.end();
            self.pass(&header);
            return Ok(Some(Passage::Passed(self.next)));
        }
        let Some(at) = &mut self.at else { unreachable!("a header was found somewhere") };
        let position = at.cursor.position;
        let body = at.cursor.body(&at.segment, &header)?;
        let base = header.base;
        let block =
            Block::decode(header, body, &mut self.zstd).map_err(|reason| at.segment.damaged(position, base, reason))?;
        let block = block.starting_at(self.next);
        self.next = block.header().end();
        at.cursor.pass(block.header());
        Ok(Some(Passage::Block(block)))
    }

    /// The next block's header, without its events being read: for accounts and resume tokens, which blocks without events
    /// have too.
    ///
    /// # Errors
    /// As for [`JournalReader::next_block`].
    pub fn next_header(&mut self) -> Result<Option<BlockHeader>, JournalError> {
        let found = self.find(|_| true)?;
        if let Some(header) = &found {
            self.next = header.end();
            self.pass(header);
        }
        Ok(found)
    }

    /// Walks to the next block that is not wholly before the place that was sought. The cursor stays before it.
    fn find(&mut self, wanted: impl Fn(&BlockHeader) -> bool) -> Result<Option<BlockHeader>, JournalError> {
        loop {
            if self.at.is_none() {
                let Some(name) = self.segment_of(self.next)? else { return Ok(None) };
                self.at = Some(self.enter_at(name, self.next)?);
            }
            match self.step()? {
                Step::NothingYet => {
                    self.reach();
                    return Ok(None);
                }
                Step::Block(header) => {
                    self.reach();
                    let before = header.base < self.next && header.end() <= self.next;
                    if !before && wanted(&header) {
                        return Ok(Some(header));
                    }
                    self.pass(&header);
                }
                Step::EndOfSegment => {
                    self.reach();
                    if !self.enter_following()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The cursor stands behind all that was read: what lies between the next event and it is a hole.
    fn reach(&mut self) {
        let Some(at) = &self.at else { return };
        if at.cursor.offset > self.next {
            self.holes.push(Hole { from: self.next, to: at.cursor.offset });
            self.next = at.cursor.offset;
        }
    }

    fn pass(&mut self, header: &BlockHeader) {
        if let Some(at) = &mut self.at {
            at.cursor.pass(header);
        }
    }

    /// The next header of the segment we are in, if it is durable.
    fn step(&mut self) -> Result<Step, JournalError> {
        loop {
            let Some(at) = &mut self.at else { unreachable!("the caller has entered a segment") };
            let holes_end = match at.limit {
                Limit::Ends(end) | Limit::Durable(end) => end,
                Limit::EndsBefore { .. } | Limit::DurableOffset(_) => at.segment.len,
            };
            at.cursor.pass_holes(&at.segment, holes_end)?;
            let limit = match at.limit {
                Limit::Ends(end) if at.cursor.position >= end => return Ok(Step::EndOfSegment),
                Limit::EndsBefore { base, chain } if at.cursor.offset == base && at.cursor.chain == chain => {
                    return Ok(Step::EndOfSegment);
                }
                // What is durable goes on in another file.
                Limit::DurableOffset(end) if at.cursor.offset < end && at.cursor.position >= at.segment.len => {
                    return Ok(Step::EndOfSegment);
                }
                Limit::Ends(end) => end,
                Limit::EndsBefore { .. } => at.segment.len,
                Limit::Durable(end) if at.cursor.position < end => end,
                Limit::DurableOffset(end) if at.cursor.offset < end => at.segment.len,
                Limit::Durable(_) | Limit::DurableOffset(_) => {
                    if self.look_again()? {
                        continue;
                    }
                    return Ok(Step::NothingYet);
                }
            };
            return at.cursor.header(&at.segment, limit).map(Step::Block);
        }
    }

    /// At the durable end of an unsealed segment: whether there is more by now.
    fn look_again(&mut self) -> Result<bool, JournalError> {
        let watermark = self.watermark()?;
        let Some(at) = &mut self.at else { unreachable!("the caller has entered a segment") };
        let name = at.segment.header.name;
        if watermark.sequence < name.sequence {
            return Ok(false);
        }
        if watermark.sequence == name.sequence && watermark.position <= at.cursor.position {
            return Ok(false);
        }
        at.segment.reload()?;
        let Some(at) = &self.at else { unreachable!("the caller has entered a segment") };
        let limit = self.limit_for(&at.segment, name, watermark)?;
        let Some(at) = &mut self.at else { unreachable!("the caller has entered a segment") };
        let changed = at.limit != limit;
        at.limit = limit;
        Ok(changed)
    }

    /// The limit of a segment whose length and seal were just read.
    fn limit_for(&self, segment: &OpenSegment, name: SegmentName, watermark: Watermark) -> Result<Limit, JournalError> {
        if let Some(seal) = &segment.seal {
            return Ok(Limit::Ends(seal.blocks_end));
        }
        if watermark.sequence == name.sequence && watermark.position >= SEGMENT_HEADER_BYTES as u64 {
            return Ok(Limit::Durable(watermark.position));
        }
        // Not sealed, and the writer is elsewhere: a later segment says where this one ends.
        let segments = list_segments(self.storage.as_ref())?;
        if let Some(&next) = segments.iter().find(|next| next.sequence == name.sequence + 1) {
            let next = OpenSegment::open(self.storage.as_ref(), next)?;
            return Ok(Limit::EndsBefore { base: next.header.name.base, chain: next.header.chain });
        }
        // Where what is behind this one is missing, all of this one is durable: it is read to its end, where that is found.
        let elsewhere = watermark.sequence > name.sequence;
        Ok(match &self.tail {
            Tail::Writer(_) if !elsewhere => Limit::Durable(SEGMENT_HEADER_BYTES as u64),
            Tail::Writer(_) | Tail::File => Limit::DurableOffset(durable_by_blocks(segment).max(watermark.offset)),
        })
    }

    fn watermark(&self) -> Result<Watermark, JournalError> {
        match &self.tail {
            Tail::Writer(watermark) => Ok(*watermark.borrow()),
            Tail::File => {
                let found = watermark::read(self.storage.as_ref())?;
                let ours = found.filter(|(journal, _)| self.journal.is_none_or(|ours| ours == *journal));
                Ok(ours.map(|(_, watermark)| watermark).unwrap_or_default())
            }
        }
    }

    /// The segment in which an event is, or will be.
    fn segment_of(&self, offset: Offset) -> Result<Option<SegmentName>, JournalError> {
        let mut segments = list_segments(self.storage.as_ref())?;
        if segments.is_empty() {
            segments = self.list_after(None, Offset::ZERO)?;
        }
        let Some(first) = segments.first() else { return Ok(None) };
        if offset < first.base {
            return Err(JournalError::OffsetGone { asked: offset, earliest: first.base });
        }
        let after = segments.partition_point(|segment| segment.base <= offset);
        Ok(segments[..after].last().copied())
    }

    /// Looks again where no segment behind the one with this sequence number was found, which ends at `end`. If what is
    /// durable lies behind it, that is missing.
    ///
    /// The watermark is published after the segment in which it lies has its name, and retention leaves the newest segment:
    /// so the watermark is asked first, and a listing made after that which lacks the segment is no matter of timing.
    fn list_after(&self, sequence: Option<u64>, end: Offset) -> Result<Vec<SegmentName>, JournalError> {
        let watermark = self.watermark()?;
        let segments = list_segments(self.storage.as_ref())?;
        if segments.last().map(|last| last.sequence) > sequence {
            return Ok(segments);
        }
        // The sequence number tells of blocks without events too.
        let behind = match sequence {
            Some(sequence) => watermark.sequence > sequence || watermark.offset > end,
            None => watermark.position > 0 || watermark.offset > end,
        };
        if behind {
            return Err(self.missing(end, watermark));
        }
        Ok(segments)
    }

    fn missing(&self, from: Offset, durable: Watermark) -> JournalError {
        let reason = if durable.offset > from {
            format!("events from {from} up to {} were durable, but no segment has them", durable.offset)
        } else {
            format!("segment number {}, which held no events, was durable, but is not there", durable.sequence)
        };
        JournalError::Incomplete { dir: self.storage.path(""), reason }
    }

    /// What is durable must lie in a segment that is there: for accounts, which do not walk to the end.
    pub(crate) fn check_end(&self) -> Result<(), JournalError> {
        let watermark = self.watermark()?;
        let segments = list_segments(self.storage.as_ref())?;
        let Some(&last) = segments.last() else { return self.list_after(None, Offset::ZERO).map(drop) };
        if last.sequence >= watermark.sequence {
            return Ok(());
        }
        let segment = OpenSegment::open(self.storage.as_ref(), last)?;
        let end = segment.seal.as_ref().map_or_else(|| end_by_blocks(&segment), |seal| seal.end);
        Err(self.missing(end, watermark))
    }

    fn enter(&self, name: SegmentName) -> Result<At, JournalError> {
        // Asked before the file is measured: what was durable by then is within its length.
        let watermark = self.watermark()?;
        let segment = OpenSegment::open(self.storage.as_ref(), name)?;
        if let Some(journal) = self.journal
            && journal != segment.header.journal
        {
            let who = segment.path.display().to_string();
            return Err(JournalError::Foreign { who, found: segment.header.journal, journal });
        }
        let limit = self.limit_for(&segment, name, watermark)?;
        Ok(At { cursor: BlockCursor::start(&segment), segment, limit })
    }

    /// Enters a segment at the block of an event; a sealed one by its index.
    fn enter_at(&self, name: SegmentName, offset: Offset) -> Result<At, JournalError> {
        let mut at = match self.enter(name) {
            Err(JournalError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(JournalError::OffsetGone { asked: offset, earliest: self.earliest()? });
            }
            entered => entered?,
        };
        if offset > name.base
            && let Some(index) = at.segment.index()?
        {
            let found = index.blocks.partition_point(|(_, header)| header.end() <= offset);
            if let Some((position, header)) = index.blocks.get(found) {
                at.cursor = BlockCursor::at(*position, header.base, header.chain, index.dictionary);
            }
        }
        Ok(at)
    }

    /// At the end of a segment: goes to the next, which must be its successor. False when there is none yet.
    fn enter_following(&mut self) -> Result<bool, JournalError> {
        let Some(at) = &self.at else { unreachable!("the caller has entered a segment") };
        let (sequence, end, chain) = (at.segment.header.name.sequence, at.cursor.offset, at.cursor.chain);
        let newer = |segments: &[SegmentName]| segments.iter().copied().find(|next| next.sequence > sequence);
        let next = match newer(&list_segments(self.storage.as_ref())?) {
            Some(next) => next,
            None => match newer(&self.list_after(Some(sequence), end)?) {
                Some(next) => next,
                None => return Ok(false),
            },
        };
        if next.sequence != sequence + 1 {
            return Err(JournalError::OffsetGone { asked: self.next, earliest: next.base });
        }
        let entered = match self.enter(next) {
            Err(JournalError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(JournalError::OffsetGone { asked: self.next, earliest: self.earliest()? });
            }
            entered => entered?,
        };
        let header = &entered.segment.header;
        if header.name.base != end || header.chain != chain {
            return Err(entered.segment.damaged(0, end, Malformed("the segment does not follow the one before it")));
        }
        self.next = self.next.max(end);
        self.at = Some(entered);
        Ok(true)
    }

    /// Headers of the durable blocks of one segment, and its holes.
    pub(crate) fn headers_of(&self, name: SegmentName) -> Result<(Vec<BlockHeader>, Vec<Hole>), JournalError> {
        let mut walk = Self::new(Arc::clone(&self.storage), self.tail.clone(), self.journal);
        walk.at = Some(walk.enter(name)?);
        let mut headers = Vec::new();
        while let Step::Block(header) = walk.step()? {
            walk.pass(&header);
            headers.push(header);
        }
        let holes = walk.at.iter().flat_map(|at| &at.cursor.holes).map(|(_, record)| record.hole).collect();
        Ok((headers, holes))
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }
}

/// Where a segment ends that should have been sealed. Stops at the first block that cannot be read.
fn end_by_blocks(segment: &OpenSegment) -> Offset {
    let mut cursor = BlockCursor::start(segment);
    while cursor.pass_holes(segment, segment.len).is_ok()
        && cursor.position < segment.len
        && let Ok(header) = cursor.header(segment, segment.len)
    {
        cursor.pass(&header);
    }
    cursor.offset
}

/// What the blocks of an unsealed segment say of the durable offset. Stops at the first that cannot be read.
fn durable_by_blocks(segment: &OpenSegment) -> Offset {
    let mut durable = segment.header.durable_before.max(segment.header.whole_to.unwrap_or_default());
    let mut cursor = BlockCursor::start(segment);
    while cursor.pass_holes(segment, segment.len).is_ok()
        && cursor.position < segment.len
        && let Ok(header) = cursor.header(segment, segment.len)
    {
        durable = durable.max(header.durable_before);
        cursor.pass(&header);
    }
    durable
}
