//! Looks at every byte of a segment that means something, and finds all that is whole in it, whatever lies between: for `check`
//! and `repair`. Memory holds one block's body and the segment's headers.

use zstd::bulk::Decompressor;

use super::block::{BLOCK_MAGIC, Block, BlockHeader, Dictionary, HEADER_FIXED_BYTES};
use super::error::JournalError;
use super::hole::{HOLE_MAGIC, HOLE_START_BYTES, Hole, HoleRecord};
use super::offset::{JournalId, Offset};
use super::segment::{
    HeaderFound, OpenSegment, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName, TRAILER_BYTES, look_at_header,
};
use super::storage::{Access, Storage};
use super::varint::Malformed;
use crate::clock::UnixNanos;

/// Bytes searched at once for the next block behind a bad place.
const SEARCH_BYTES: usize = 1 << 20;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The file; one that is missing by the name it should have.
    pub file: String,
    /// Where in it.
    pub position: u64,
    /// How many bytes, as far as can be told.
    pub bytes: u64,
    /// The events that are lost by it; empty when only something is that is said elsewhere too.
    pub lost: Hole,
    /// What is wrong.
    pub reason: String,
}

/// What a segment holds that is whole, in order.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) place: SegmentName,
    pub(crate) file: String,
    pub(crate) len: u64,
    /// Bytes behind the limit that was asked for.
    pub(crate) above_limit: u64,
    /// None when it is damaged.
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) sealed: bool,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) names: Vec<(String, String)>,
    pub(crate) flaws: Vec<Flaw>,
    /// Where what is whole, or was recognised as damaged, ends; behind it is a torn tail, or a seal.
    pub(crate) tail: Option<u64>,
    /// The highest durable offset that any header in it speaks of.
    pub(crate) durable: Offset,
}

/// A block or a hole that is whole.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    /// Chain value that it follows, and that what is behind it follows.
    pub(crate) chain: u32,
    pub(crate) chain_after: u32,
    pub(crate) received: Option<UnixNanos>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Block { header: Vec<u8>, body_at: u64, body_len: u32 },
    Hole(HoleRecord),
}

impl Inspected {
    pub(crate) fn events(&self) -> u64 {
        let blocks = self.pieces.iter().filter(|piece| matches!(piece.content, Content::Block { .. }));
        blocks.map(|piece| piece.to.0 - piece.from.0).sum()
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.pieces.iter().filter(|piece| matches!(piece.content, Content::Block { .. })).count() as u64
    }

    pub(crate) fn holes(&self) -> impl Iterator<Item = Hole> {
        self.pieces.iter().filter_map(|piece| match &piece.content {
            Content::Hole(record) => Some(record.hole),
            Content::Block { .. } => None,
        })
    }

    /// Where the last whole piece ends.
    pub(crate) fn end(&self) -> Offset {
        self.pieces.last().map_or(self.place.base, |piece| piece.to)
    }

    /// The chain value that the first block follows, if that is still known.
    pub(crate) fn chain(&self) -> Option<u32> {
        let by_first = || self.pieces.first().filter(|piece| piece.from == self.place.base).map(|piece| piece.chain);
        self.header.map(|header| header.chain).or_else(by_first)
    }

    /// The chain value at the end, if the segment begins with `start`.
    pub(crate) fn chain_after(&self, start: u32) -> u32 {
        self.pieces.last().map_or(start, |piece| piece.chain_after)
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Where the file belongs.
    pub(crate) place: SegmentName,
    /// How it is called now.
    pub(crate) file: &'a str,
    pub(crate) journal: JournalId,
    /// Of a segment that may still be appended to: only so far. One with a seal is looked at to its end.
    pub(crate) limit: Option<u64>,
}

/// Reads a segment's first bytes.
pub(crate) fn header_of(storage: &dyn Storage, file: &str) -> Result<HeaderFound, JournalError> {
    let io = |source| JournalError::Io { action: "read", path: storage.path(file), source };
    let opened = storage.open(file, Access::Read).map_err(io)?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = opened.read_at(0, &mut bytes).map_err(io)?;
    Ok(look_at_header(&bytes[..read]))
}

/// Looks at a whole segment.
///
/// # Errors
/// What the system refused, or that a newer release wrote it; damage is in the answer.
pub(crate) fn inspect(storage: &dyn Storage, subject: Subject<'_>) -> Result<Inspected, JournalError> {
    let mut flaws = Vec::new();
    let flaw = |position, bytes, reason: &str| Flaw {
        file: subject.file.to_owned(),
        position,
        bytes,
        lost: Hole { from: subject.place.base, to: subject.place.base },
        reason: reason.to_owned(),
    };
    let header = match header_of(storage, subject.file)? {
        HeaderFound::Whole(header) => Some(header),
        HeaderFound::Newer(found) => return Err(JournalError::Version { file: storage.path(subject.file), found }),
        HeaderFound::Damaged(reason) => {
            flaws.push(flaw(0, SEGMENT_HEADER_BYTES as u64, reason));
            None
        }
    };
    // Where the file has no header to go by, holes are looked for all the same.
    let assumed = header.unwrap_or(SegmentHeader {
        journal: subject.journal,
        name: subject.place,
        durable_before: Offset::ZERO,
        created: UnixNanos(0),
        received_before: UnixNanos(i64::MIN),
        chain: 0,
        whole_to: Some(subject.place.base),
    });
    let segment = OpenSegment::with_header(storage, subject.file, assumed)?;
    let sealed = segment.seal.is_some();
    let subject = Subject { limit: subject.limit.filter(|_| !sealed), ..subject };
    let index = segment.index()?;
    let raw = if index.is_some() { segment.raw_index()? } else { None };
    let mut dictionary = index.map_or_else(Dictionary::lenient, |index| index.dictionary);
    if raw.is_none()
        && let Some(seal) = &segment.seal
    {
        for (number, row) in seal.rows.iter().enumerate() {
            // Names of one summary, which was read in the order of their numbers.
            let learnt = dictionary.learn(super::varint::len32(number), &row.monitor.name, &row.monitor.domain);
            debug_assert!(learnt.is_ok(), "a dictionary that knows nothing takes any names");
        }
    }
    let durable = header.map_or(Offset::ZERO, |header| header.durable_before.max(header.whole_to.unwrap_or_default()));
    let mut walk = Walk {
        subject,
        segment: &segment,
        dictionary,
        zstd: Decompressor::new().expect("there is memory for zstd's tables"),
        body: Vec::new(),
        position: SEGMENT_HEADER_BYTES as u64,
        offset: subject.place.base,
        pieces: Vec::new(),
        flaws,
        tail: None,
        durable,
    };
    match raw {
        Some(entries) => walk.by_index(entries)?,
        None => walk.by_search()?,
    }
    if let Some(seal) = &segment.seal {
        walk.durable = walk.durable.max(seal.end);
        if !walk.flaws.is_empty() || walk.tail.is_some() {
            // What it says of the whole is looked at when all is whole again.
        } else if walk.pieces.last().is_some_and(|last| (last.to, last.chain_after) != (seal.end, seal.chain))
            || seal.blocks
                != walk.pieces.iter().filter(|piece| matches!(piece.content, Content::Block { .. })).count() as u64
        {
            let len = segment.len - seal.blocks_end;
            walk.flaws.push(flaw(seal.blocks_end, len, "the seal does not say what the blocks do"));
        }
        if segment.index()?.is_none() {
            let len = segment.len - seal.blocks_end - TRAILER_BYTES as u64;
            walk.flaws.push(flaw(seal.blocks_end, len, "the index in the seal cannot be read"));
        }
    }
    let Walk { pieces, mut flaws, tail, durable, dictionary, .. } = walk;
    flaws.sort_by_key(|flaw| flaw.position);
    Ok(Inspected {
        place: subject.place,
        file: subject.file.to_owned(),
        len: subject.limit.unwrap_or(segment.len),
        above_limit: subject.limit.map_or(0, |limit| segment.len.saturating_sub(limit)),
        header,
        sealed,
        pieces,
        names: dictionary.names(),
        flaws,
        tail,
        durable,
    })
}

struct Walk<'a> {
    subject: Subject<'a>,
    segment: &'a OpenSegment,
    dictionary: Dictionary,
    zstd: Decompressor<'static>,
    body: Vec<u8>,
    position: u64,
    offset: Offset,
    pieces: Vec<Piece>,
    flaws: Vec<Flaw>,
    tail: Option<u64>,
    durable: Offset,
}

/// How a block was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Where it must be: a whole header is believed though its body is not.
    InPlace,
    /// By search: only a block that is whole altogether is believed.
    Searched,
}

impl Walk<'_> {
    /// The index says where all blocks are and repeats their headers.
    fn by_index(&mut self, entries: Vec<(u64, Vec<u8>)>) -> Result<(), JournalError> {
        for (position, header) in entries {
            let mut stored = vec![0; header.len()];
            let read = self.read(position, &mut stored)?;
            if stored[..read] != header {
                let reason = "a block's header is damaged; the seal repeats it";
                self.flaw(position, header.len() as u64, self.offset, reason);
            }
            self.position = position;
            if HoleRecord::len_of(&header).is_some() {
                match HoleRecord::read(&header, self.subject.journal) {
                    Ok(record) => self.take_hole(record, header.len() as u64),
                    Err(Malformed(reason)) => self.flaw(position, header.len() as u64, self.offset, reason),
                }
                continue;
            }
            match BlockHeader::read(&header, &mut self.dictionary) {
                Ok(read) => {
                    if let Err(Malformed(reason)) = self.take_block(header, read, Found::InPlace)? {
                        self.flaw(position, 0, self.offset, reason);
                    }
                }
                Err(Malformed(reason)) => self.flaw(position, header.len() as u64, self.offset, reason),
            }
        }
        Ok(())
    }

    /// Nothing says where blocks are but they themselves.
    fn by_search(&mut self) -> Result<(), JournalError> {
        let seal_at = self.segment.seal.as_ref().map(|seal| seal.blocks_end);
        let end = self.subject.limit.or(seal_at).unwrap_or(self.segment.len).min(self.segment.len);
        if self.subject.limit.is_some_and(|limit| limit > self.segment.len) {
            self.flaw(self.segment.len, 0, self.offset, "the segment is cut short");
        }
        while self.position < end {
            let bad = self.position;
            let reason = match self.piece_at(bad, end, Found::InPlace)? {
                Ok(()) => continue,
                Err(Malformed(reason)) => reason,
            };
            let (offset, mut at) = (self.offset, bad + 1);
            loop {
                let Some(next) = self.search(at, end)? else {
                    // Nothing whole behind: a torn tail, a seal that cannot be read, or the last blocks.
                    self.tail = Some(bad);
                    self.flaw(bad, end - bad, offset, reason);
                    return Ok(());
                };
                if self.piece_at(next, end, Found::Searched)?.is_ok() {
                    let behind = self.pieces.last().map_or(offset, |piece| piece.from);
                    self.flaw(bad, next - bad, behind, reason);
                    if let Some(flaw) = self.flaws.last_mut() {
                        flaw.lost = Hole { from: offset, to: behind };
                    }
                    break;
                }
                at = next + 1;
            }
        }
        Ok(())
    }

    fn piece_at(&mut self, position: u64, end: u64, found: Found) -> Result<Result<(), Malformed>, JournalError> {
        let mut start = [0; HEADER_FIXED_BYTES];
        let room = usize::try_from(end - position).unwrap_or(usize::MAX).min(HEADER_FIXED_BYTES);
        let read = self.read(position, &mut start[..room])?;
        let start = &start[..read];
        let hole = start.get(..HOLE_START_BYTES).and_then(HoleRecord::len_of);
        let len = match hole.unwrap_or_else(|| BlockHeader::len_of(start)) {
            Ok(len) if u64::from(len) <= end - position => len,
            Ok(_) => return Ok(Err(Malformed("a block's header is cut short"))),
            Err(fault) => return Ok(Err(fault)),
        };
        let mut bytes = vec![0; len as usize];
        let read = self.read(position, &mut bytes)?;
        bytes.truncate(read);
        if hole.is_some() {
            let record = match HoleRecord::read(&bytes, self.subject.journal) {
                Ok(record) if record.hole.from >= self.offset => record,
                Ok(_) => return Ok(Err(Malformed("the hole does not follow the block before it"))),
                Err(fault) => return Ok(Err(fault)),
            };
            self.position = position;
            self.take_hole(record, u64::from(len));
            return Ok(Ok(()));
        }
        let header = match BlockHeader::read(&bytes, &mut self.dictionary) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        if header.journal_check != self.subject.journal.check() {
            return Ok(Err(Malformed("the block is of another journal")));
        }
        if header.base < self.offset {
            return Ok(Err(Malformed("the block does not follow the one before it")));
        }
        if header.total_len() > end - position {
            return Ok(Err(Malformed("a block's body is cut short")));
        }
        self.position = position;
        self.take_block(bytes, header, found)
    }

    /// Takes the block at `position` if its body is whole, and moves behind it.
    fn take_block(
        &mut self,
        bytes: Vec<u8>,
        header: BlockHeader,
        found: Found,
    ) -> Result<Result<(), Malformed>, JournalError> {
        let (position, header_len, body_len) = (self.position, header.header_len, header.body_len);
        let body_at = position + u64::from(header_len);
        let mut body = std::mem::take(&mut self.body);
        // No longer than the file: a length that lies takes no memory.
        let len = usize::try_from(u64::from(body_len).min(self.segment.len.saturating_sub(body_at))).unwrap_or(0);
        body.resize(len, 0);
        let read = self.read(body_at, &mut body)?;
        body.truncate(read);
        let (from, to, chain, crc) = (header.base, header.end(), header.chain, header.crc);
        let received = (header.count > 0).then_some(header.received.greatest);
        let durable_before = header.durable_before;
        let decoded = Block::decode(header, &body, &mut self.zstd);
        self.body = body;
        match decoded {
            Ok(_) => {
                let content = Content::Block { header: bytes, body_at, body_len };
                self.pieces.push(Piece { from, to, chain, chain_after: crc, received, content });
            }
            Err(fault) if found == Found::Searched => return Ok(Err(fault)),
            Err(Malformed(reason)) => {
                self.flaws.push(Flaw {
                    file: self.subject.file.to_owned(),
                    position,
                    bytes: u64::from(header_len) + u64::from(body_len),
                    lost: Hole { from, to },
                    reason: reason.to_owned(),
                });
            }
        }
        self.durable = self.durable.max(durable_before);
        self.offset = to;
        self.position = body_at + u64::from(body_len);
        Ok(Ok(()))
    }

    fn take_hole(&mut self, record: HoleRecord, len: u64) {
        self.offset = record.hole.to;
        self.position += len;
        self.pieces.push(Piece {
            from: record.hole.from,
            to: record.hole.to,
            chain: record.chain,
            chain_after: record.chain_after,
            received: None,
            content: Content::Hole(record),
        });
    }

    /// The next place, from `at` on, where a block or a hole may begin.
    fn search(&self, mut at: u64, end: u64) -> Result<Option<u64>, JournalError> {
        let mut bytes = vec![0; SEARCH_BYTES];
        while at + 4 <= end {
            let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(SEARCH_BYTES);
            let read = self.read(at, &mut bytes[..room])?;
            let window = &bytes[..read];
            let block = memchr::memmem::find(window, &BLOCK_MAGIC);
            let hole = memchr::memmem::find(window, &HOLE_MAGIC);
            if let Some(found) = block.into_iter().chain(hole).min() {
                return Ok(Some(at + found as u64));
            }
            if read < 4 {
                return Ok(None);
            }
            // A magic number may lie over the border.
            at += read as u64 - 3;
        }
        Ok(None)
    }

    fn flaw(&mut self, position: u64, bytes: u64, offset: Offset, reason: &str) {
        self.flaws.push(Flaw {
            file: self.subject.file.to_owned(),
            position,
            bytes,
            lost: Hole { from: offset, to: offset },
            reason: reason.to_owned(),
        });
    }

    fn read(&self, position: u64, buffer: &mut [u8]) -> Result<usize, JournalError> {
        self.segment.file.read_at(position, buffer).map_err(|source| self.segment.io("read", source))
    }
}
