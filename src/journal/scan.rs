//! Walks over the blocks of a segment in file order, checking that each is the next link of the chain.

use super::block::{BLOCK_MAGIC, BlockHeader, Dictionary, HEADER_FIXED_BYTES};
use super::checksum;
use super::error::JournalError;
use super::hole::{HOLE_START_BYTES, HoleRecord};
use super::offset::Offset;
use super::segment::{OpenSegment, SEGMENT_HEADER_BYTES};
use super::varint::Malformed;

/// Bytes read at once. Headers and bodies of ordinary blocks come with one read.
const WINDOW_BYTES: usize = 256 << 10;

/// A place between two blocks of a segment.
#[derive(Debug)]
pub(crate) struct BlockCursor {
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    pub(crate) chain: u32,
    pub(crate) dictionary: Dictionary,
    /// Holes that were passed over, and where their records stand.
    pub(crate) holes: Vec<(u64, HoleRecord)>,
    window: Window,
}

impl BlockCursor {
    /// At the first block.
    pub(crate) fn start(segment: &OpenSegment) -> Self {
        Self {
            position: SEGMENT_HEADER_BYTES as u64,
            offset: segment.header.name.base,
            chain: segment.header.chain,
            dictionary: Dictionary::default(),
            holes: Vec::new(),
            window: Window::default(),
        }
    }

    /// Before the block at `position`, which is the one with offset `offset` and follows one with checksum `chain`.
    pub(crate) fn at(position: u64, offset: Offset, chain: u32, dictionary: Dictionary) -> Self {
        Self { position, offset, chain, dictionary, holes: Vec::new(), window: Window::default() }
    }

    /// Passes over holes that are recorded here, so that a block or the end comes next.
    pub(crate) fn pass_holes(&mut self, segment: &OpenSegment, limit: u64) -> Result<(), JournalError> {
        // Only a segment that a repair made has any: ordinary ones cost no look.
        while segment.header.whole_to.is_some() && self.position < limit {
            let start = self.window.read(segment, self.position, HOLE_START_BYTES, limit)?;
            let Some(len) = HoleRecord::len_of(start) else { return Ok(()) };
            let damaged = |reason| segment.damaged(self.position, self.offset, reason);
            let len = len.map_err(damaged)?;
            let bytes = self.window.read(segment, self.position, len as usize, limit)?;
            let damaged = |reason| segment.damaged(self.position, self.offset, reason);
            let record = HoleRecord::read(bytes, segment.header.journal).map_err(damaged)?;
            if record.hole.from != self.offset || record.chain != self.chain {
                return Err(damaged(Malformed("the hole does not follow the block before it")));
            }
            record.teach(&mut self.dictionary).map_err(|reason| segment.damaged(self.position, self.offset, reason))?;
            let position = self.position;
            self.position += u64::from(len);
            self.offset = record.hole.to;
            self.chain = record.chain_after;
            self.holes.push((position, record));
        }
        Ok(())
    }

    /// Reads the next block's header without moving on. The caller knows that a whole block stands before `limit`.
    pub(crate) fn header(&mut self, segment: &OpenSegment, limit: u64) -> Result<BlockHeader, JournalError> {
        let left = limit.saturating_sub(self.position);
        let damaged = |reason| segment.damaged(self.position, self.offset, reason);
        let fixed = self.window.read(segment, self.position, HEADER_FIXED_BYTES, limit)?;
        let len = BlockHeader::len_of(fixed).map_err(damaged)?;
        if u64::from(len) > left {
            return Err(damaged(Malformed("a block's header is cut short")));
        }
        let bytes = self.window.read(segment, self.position, len as usize, limit)?;
        let header = BlockHeader::read(bytes, &mut self.dictionary).map_err(damaged)?;
        if header.journal_check != segment.header.journal.check() {
            return Err(damaged(Malformed("the block is of another journal")));
        }
        if header.base != self.offset || header.chain != self.chain {
            return Err(damaged(Malformed("the block does not follow the one before it")));
        }
        if header.total_len() > left {
            return Err(damaged(Malformed("a block's body is cut short")));
        }
        Ok(header)
    }

    /// Reads the body of the block at the cursor.
    pub(crate) fn body(&mut self, segment: &OpenSegment, header: &BlockHeader) -> Result<&[u8], JournalError> {
        let at = self.position + u64::from(header.header_len);
        let body = self.window.read(segment, at, header.body_len as usize, self.position + header.total_len())?;
        if body.len() == header.body_len as usize {
            Ok(body)
        } else {
            Err(segment.damaged(self.position, header.base, Malformed("a block's body is cut short")))
        }
    }

    /// Reads only the hashes of the block at the cursor, and checks them.
    pub(crate) fn hashes(&mut self, segment: &OpenSegment, header: &BlockHeader) -> Result<Vec<u8>, JournalError> {
        let mut hashes = vec![0; header.hashes_len()];
        let at = self.position + u64::from(header.header_len);
        let read = segment.file.read_at(at, &mut hashes).map_err(|source| segment.io("read", source))?;
        if read == hashes.len() && checksum::fits(&hashes, header.hashes_crc) {
            Ok(hashes)
        } else {
            Err(segment.damaged(self.position, header.base, Malformed("the checksum of a block's hashes does not fit")))
        }
    }

    /// Moves past the block at the cursor.
    pub(crate) fn pass(&mut self, header: &BlockHeader) {
        self.position += header.total_len();
        self.offset = header.end();
        self.chain = header.crc;
    }
}

/// A stretch of the file, read at once. It never holds bytes beyond the limit it was read under: those may still change.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The `len` bytes at `position`, or fewer where the file or the limit ends.
    fn read(&mut self, segment: &OpenSegment, position: u64, len: usize, limit: u64) -> Result<&[u8], JournalError> {
        let available = limit.min(segment.len).saturating_sub(position);
        let len = len.min(usize::try_from(available).unwrap_or(usize::MAX));
        let within = position
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.checked_add(len).is_some_and(|end| end <= self.bytes.len()));
        let skip = if let Some(skip) = within {
            skip
        } else {
            let ahead = len.max(WINDOW_BYTES).min(usize::try_from(available).unwrap_or(usize::MAX));
            self.bytes.clear();
            self.bytes.resize(ahead, 0);
            self.start = position;
            let read = segment.file.read_at(position, &mut self.bytes).map_err(|source| segment.io("read", source))?;
            self.bytes.truncate(read);
            0
        };
        let end = (skip + len).min(self.bytes.len());
        Ok(&self.bytes[skip.min(end)..end])
    }
}

/// A block that was found whole.
pub(crate) struct WholeBlock {
    pub(crate) position: u64,
    pub(crate) header: BlockHeader,
}

/// Blocks from the beginning of a segment, each whole and following the one before.
pub(crate) struct Scan {
    pub(crate) blocks: Vec<WholeBlock>,
    pub(crate) cursor: BlockCursor,
}

impl Scan {
    pub(crate) fn start(segment: &OpenSegment) -> Self {
        Self { blocks: Vec::new(), cursor: BlockCursor::start(segment) }
    }

    /// Takes the next block, or the holes behind the last one.
    pub(crate) fn step(&mut self, segment: &OpenSegment, limit: u64) -> Result<(), JournalError> {
        if self.ends_with_holes(segment, limit)? {
            return Ok(());
        }
        let header = self.cursor.header(segment, limit)?;
        let position = self.cursor.position;
        self.cursor.pass(&header);
        self.blocks.push(WholeBlock { position, header });
        Ok(())
    }

    fn ends_with_holes(&mut self, segment: &OpenSegment, limit: u64) -> Result<bool, JournalError> {
        let before = self.cursor.position;
        self.cursor.pass_holes(segment, limit)?;
        Ok(self.cursor.position > before && self.cursor.position >= limit)
    }

    /// As `step`, and the body's checksums fit.
    pub(crate) fn step_checked(&mut self, segment: &OpenSegment) -> Result<(), JournalError> {
        if self.ends_with_holes(segment, segment.len)? {
            return Ok(());
        }
        let header = self.cursor.header(segment, segment.len)?;
        let body = self.cursor.body(segment, &header)?;
        let fits = body.split_at_checked(header.hashes_len()).is_some_and(|(hashes, rest)| {
            checksum::fits(hashes, header.hashes_crc) && checksum::fits(rest, header.body_crc)
        });
        if !fits {
            let reason = Malformed("the checksum of a block's body does not fit");
            return Err(segment.damaged(self.cursor.position, header.base, reason));
        }
        let position = self.cursor.position;
        self.cursor.pass(&header);
        self.blocks.push(WholeBlock { position, header });
        Ok(())
    }
}

/// The highest durable offset that any whole header behind a bad place speaks of: what tells damage from a torn tail.
pub(crate) fn durable_offset_spoken_of(segment: &OpenSegment, from: u64) -> Result<Offset, JournalError> {
    let len = usize::try_from(segment.len.saturating_sub(from)).unwrap_or(0);
    let mut bytes = vec![0; len];
    let read = segment.file.read_at(from, &mut bytes).map_err(|source| segment.io("read", source))?;
    bytes.truncate(read);
    let mut highest = Offset::ZERO;
    for at in memchr::memmem::find_iter(&bytes, &BLOCK_MAGIC) {
        let Ok(header_len) = BlockHeader::len_of(&bytes[at..]) else { continue };
        let Some(header) = bytes.get(at..at + header_len as usize) else { continue };
        if let Some(durable) = BlockHeader::durable_offset_of(header, segment.header.journal.check()) {
            highest = highest.max(durable);
        }
    }
    Ok(highest)
}
