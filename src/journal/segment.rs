//! A segment: one file of the journal. Its name says where it belongs, so that a listing of the folder is the index; its
//! header says whose it is and what came before; its footer, once it is sealed, what is in it.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::block::{BlockHeader, Dictionary, MonitorRow};
use super::checksum;
use super::error::JournalError;
use super::hole::{Hole, HoleRecord};
use super::offset::{JournalId, Offset};
use super::storage::{Access, Storage, StorageFile};
use super::varint::{Input, Malformed, len32, put, put_bytes};
use crate::clock::UnixNanos;

const SEGMENT_MAGIC: [u8; 8] = *b"SLUICEJ\n";
const SEAL_MAGIC: [u8; 8] = *b"SLUICES\n";
/// What the writer writes.
const FORMAT_VERSION: u32 = 1;
/// What a repair writes that records a hole: a release that does not know holes refuses such a segment.
const FORMAT_VERSION_WITH_HOLES: u32 = 2;

/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 96;
/// Length of a seal's last part, which says where the others are.
pub(crate) const TRAILER_BYTES: usize = 64;

/// The most that a footer's parts may be; bounds what a reader allocates for a trailer that lies.
const FOOTER_PART_BYTES_MAX: u64 = 1 << 30;

/// A segment's place: its first event, and its number among all segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentName {
    pub(crate) sequence: u64,
    pub(crate) base: Offset,
}

impl SegmentName {
    /// `00000000000000001234-0000000007.seg`
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (base, sequence) = name.strip_suffix(".seg")?.split_once('-')?;
        let digits = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(base, 20) || !digits(sequence, 10) {
            return None;
        }
        Some(Self { sequence: sequence.parse().ok()?, base: Offset(base.parse().ok()?) })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}.seg", self.base.0, self.sequence)
    }
}

/// All segments in order. Missing, doubled and misplaced ones are seen from the names alone.
pub(crate) fn list_segments(storage: &dyn Storage) -> Result<Vec<SegmentName>, JournalError> {
    let names =
        storage.names().map_err(|source| JournalError::Io { action: "list", path: storage.path(""), source })?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    segments.sort_unstable();
    for pair in segments.windows(2) {
        let [before, after] = pair else { continue };
        let reason = if after.sequence == before.sequence {
            format!("{before} and {after} have the same sequence number")
        } else if after.sequence != before.sequence + 1 {
            format!("between {before} and {after}, {} segments are missing", after.sequence - before.sequence - 1)
        } else if after.base < before.base {
            format!("{after} follows {before} but begins before it")
        } else {
            continue;
        };
        return Err(JournalError::Incomplete { dir: storage.path(""), reason });
    }
    Ok(segments)
}

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) journal: JournalId,
    pub(crate) name: SegmentName,
    pub(crate) durable_before: Offset,
    pub(crate) created: UnixNanos,
    /// The greatest received time of all events before this segment. It never decreases from segment to segment, which the
    /// least and greatest of a segment may, because blocks of several links overlap: so it is what a seek by time searches.
    pub(crate) received_before: UnixNanos,
    /// The header checksum of the last block before this segment; 0 for the first.
    pub(crate) chain: u32,
    /// Of a segment that a repair made and that may have holes: the offset after its last event or hole. All of it was durable
    /// before it got its name.
    pub(crate) whole_to: Option<Offset>,
}

impl SegmentHeader {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&SEGMENT_MAGIC);
        let version = if self.whole_to.is_some() { FORMAT_VERSION_WITH_HOLES } else { FORMAT_VERSION };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&len32(SEGMENT_HEADER_BYTES).to_le_bytes());
        out.extend_from_slice(self.journal.0.as_bytes());
        for word in [self.name.sequence, self.name.base.0, self.durable_before.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.created.0.to_le_bytes());
        out.extend_from_slice(&self.received_before.0.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        if let Some(whole_to) = self.whole_to {
            out.extend_from_slice(&whole_to.0.to_le_bytes());
        }
        out.resize(SEGMENT_HEADER_BYTES - 4, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let mut input = Input::new(bytes);
        if input.take(8)? != SEGMENT_MAGIC {
            return Err(HeaderFault::Malformed(Malformed("this is no segment of a journal")));
        }
        // The version stands before anything whose meaning may change with it. Its checksum may be elsewhere in another
        // version, so that a flipped bit here and a newer release cannot be told apart; both are refused.
        let version = input.u32()?;
        if version > FORMAT_VERSION_WITH_HOLES {
            return Err(HeaderFault::Version(version));
        }
        let (content, crc) = bytes.split_at_checked(SEGMENT_HEADER_BYTES - 4).ok_or(Malformed("it is cut short"))?;
        if !checksum::fits(content, Input::new(crc).u32()?) || version < FORMAT_VERSION {
            return Err(HeaderFault::Malformed(Malformed("the checksum of the segment's header does not fit")));
        }
        input.u32()?;
        let journal = JournalId(Uuid::from_slice(input.take(16)?).map_err(|_| Malformed("it is cut short"))?);
        Ok(Self {
            journal,
            name: SegmentName { sequence: input.u64()?, base: Offset(input.u64()?) },
            durable_before: Offset(input.u64()?),
            created: UnixNanos(input.i64()?),
            received_before: UnixNanos(input.i64()?),
            chain: input.u32()?,
            whole_to: if version == FORMAT_VERSION_WITH_HOLES { Some(Offset(input.u64()?)) } else { None },
        })
    }
}

#[derive(Debug)]
enum HeaderFault {
    Malformed(Malformed),
    Version(u32),
}

impl From<Malformed> for HeaderFault {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

/// What the first bytes of a file are.
#[derive(Debug)]
pub(crate) enum HeaderFound {
    Whole(SegmentHeader),
    /// A newer release wrote it.
    Newer(u32),
    Damaged(&'static str),
}

/// Looks at a header more closely than a reader does: a newer format version is told from a damaged number.
pub(crate) fn look_at_header(bytes: &[u8]) -> HeaderFound {
    match SegmentHeader::read(bytes) {
        Ok(header) => HeaderFound::Whole(header),
        Err(HeaderFault::Malformed(Malformed(reason))) => HeaderFound::Damaged(reason),
        Err(HeaderFault::Version(found)) => {
            for version in [FORMAT_VERSION, FORMAT_VERSION_WITH_HOLES] {
                let mut as_ours = bytes.to_vec();
                as_ours[8..12].copy_from_slice(&version.to_le_bytes());
                if SegmentHeader::read(&as_ours).is_ok() {
                    return HeaderFound::Damaged("the format version does not fit the header's checksum");
                }
            }
            HeaderFound::Newer(found)
        }
    }
}

/// What a sealed segment says of itself, without its blocks being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Where the blocks end in the file.
    pub(crate) blocks_end: u64,
    /// The offset after the last event.
    pub(crate) end: Offset,
    pub(crate) blocks: u64,
    /// The header checksum of the last block; the segment's own chain value if it has none.
    pub(crate) chain: u32,
    /// The greatest received time of all events up to here, those of earlier segments included.
    pub(crate) received_up_to: UnixNanos,
    /// Per monitor, in the order of the segment's dictionary.
    pub(crate) rows: Vec<MonitorRow>,
    index_at: u64,
    index_len: u64,
    index_crc: u32,
}

/// What is gathered while blocks are appended, to be written as the footer.
#[derive(Debug, Default)]
pub(crate) struct FooterBuilder {
    blocks: u64,
    /// Position and header of each block.
    index: Vec<u8>,
    rows: Vec<MonitorRow>,
}

impl FooterBuilder {
    /// Adds a block whose header stands at `position`. `rows` are the block's, `dictionary` the segment's after it.
    pub(crate) fn add(&mut self, position: u64, header: &[u8], rows: &[MonitorRow], dictionary: &Dictionary) {
        self.blocks += 1;
        put(&mut self.index, position);
        put_bytes(&mut self.index, header);
        for row in rows {
            let number = dictionary.number_of(&row.monitor).expect("the header named the monitor") as usize;
            // One after the other, but for names that only a hole has told.
            while let Some(next) = dictionary.get(len32(self.rows.len())).filter(|_| self.rows.len() <= number) {
                self.rows.push(MonitorRow::new(Arc::clone(next)));
            }
            self.rows[number].join(row);
        }
    }

    /// Adds a hole whose record stands at `position`.
    pub(crate) fn add_hole(&mut self, position: u64, record: &[u8]) {
        put(&mut self.index, position);
        put_bytes(&mut self.index, record);
    }

    /// The footer's bytes.
    pub(crate) fn write(&self, end: FooterEnd) -> Vec<u8> {
        let mut out = self.index.clone();
        let index_crc = crc32c::crc32c(&out);
        let summary_start = out.len();
        for word in [end.offset.0, self.blocks, end.received_up_to.0.cast_unsigned(), u64::from(end.chain)] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        put(&mut out, self.rows.len() as u64);
        for row in &self.rows {
            put_bytes(&mut out, row.monitor.name.as_bytes());
            put_bytes(&mut out, row.monitor.domain.as_bytes());
            row.write(UnixNanos(0), &mut out);
        }
        let summary_len = out.len() - summary_start;
        let summary_crc = crc32c::crc32c(&out[summary_start..]);
        let trailer_start = out.len();
        for word in [end.position, summary_start as u64, summary_len as u64] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [index_crc, summary_crc, end.journal.check(), 0, 0, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        let crc = crc32c::crc32c(&out[trailer_start..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&SEAL_MAGIC);
        debug_assert_eq!(out.len() - trailer_start, TRAILER_BYTES);
        out
    }
}

/// What the writer knows at the end of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FooterEnd {
    pub(crate) journal: JournalId,
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    pub(crate) received_up_to: UnixNanos,
    pub(crate) chain: u32,
}

/// What the index of a sealed segment says.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Position and header of each block.
    pub(crate) blocks: Vec<(u64, BlockHeader)>,
    pub(crate) holes: Vec<Hole>,
    /// Names of the segment's monitors.
    pub(crate) dictionary: Dictionary,
}

/// Position and bytes of each header of a segment, of blocks and of holes.
pub(crate) type RawIndex = Vec<(u64, Vec<u8>)>;

/// A segment whose header was read, and its seal, if it has one.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Box<dyn StorageFile>,
    pub(crate) path: std::path::PathBuf,
    pub(crate) len: u64,
    pub(crate) seal: Option<Seal>,
}

impl OpenSegment {
    /// Opens a segment and reads its header and its seal's summary: a few reads, however large it is.
    pub(crate) fn open(storage: &dyn Storage, name: SegmentName) -> Result<Self, JournalError> {
        let text = name.to_string();
        let path = storage.path(&text);
        let io = |source| JournalError::Io { action: "open", path: path.clone(), source };
        let file = storage.open(&text, Access::Read).map_err(io)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(io)?;
        let damaged = |reason: Malformed| JournalError::Damaged {
            segment: path.clone(),
            position: 0,
            offset: name.base,
            reason: reason.to_string(),
        };
        let header = SegmentHeader::read(&bytes[..read]).map_err(|fault| match fault {
            HeaderFault::Malformed(reason) => damaged(reason),
            HeaderFault::Version(found) => JournalError::Version { file: path.clone(), found },
        })?;
        if header.name != name {
            return Err(damaged(Malformed("the file's name is another segment's: it was renamed or copied")));
        }
        let mut segment = Self { header, file, path, len: 0, seal: None };
        segment.reload()?;
        Ok(segment)
    }

    /// A segment whose header is known from elsewhere: its own may be damaged, or its file have another name.
    pub(crate) fn with_header(
        storage: &dyn Storage,
        file_name: &str,
        header: SegmentHeader,
    ) -> Result<Self, JournalError> {
        let path = storage.path(file_name);
        let io = |source| JournalError::Io { action: "open", path: path.clone(), source };
        let file = storage.open(file_name, Access::Read).map_err(io)?;
        let mut segment = Self { header, file, path, len: 0, seal: None };
        segment.reload()?;
        Ok(segment)
    }

    /// Looks again how long the file is and whether it has been sealed.
    pub(crate) fn reload(&mut self) -> Result<(), JournalError> {
        self.len = self.file.len().map_err(|source| self.io("read", source))?;
        self.seal = self.read_seal()?;
        Ok(())
    }

    pub(crate) fn io(&self, action: &'static str, source: std::io::Error) -> JournalError {
        JournalError::Io { action, path: self.path.clone(), source }
    }

    pub(crate) fn damaged(&self, position: u64, offset: Offset, reason: Malformed) -> JournalError {
        JournalError::Damaged { segment: self.path.clone(), position, offset, reason: reason.to_string() }
    }

    /// A seal that cannot be read counts as none: everything in it is in the blocks too.
    fn read_seal(&self) -> Result<Option<Seal>, JournalError> {
        let least = (SEGMENT_HEADER_BYTES + TRAILER_BYTES) as u64;
        if self.len < least {
            return Ok(None);
        }
        let trailer_at = self.len - TRAILER_BYTES as u64;
        let mut trailer = [0; TRAILER_BYTES];
        let read = self.file.read_at(trailer_at, &mut trailer).map_err(|source| self.io("read", source))?;
        let Ok(place) = read_trailer(&trailer[..read], trailer_at, self.header.journal) else { return Ok(None) };
        let mut summary = vec![0; usize::try_from(place.summary_len).unwrap_or(0)];
        let read = self
            .file
            .read_at(place.blocks_end + place.index_len, &mut summary)
            .map_err(|source| self.io("read", source))?;
        if read != summary.len() || !checksum::fits(&summary, place.summary_crc) {
            return Ok(None);
        }
        Ok(read_summary(&summary, &place).ok())
    }

    /// Position and header of each block of a sealed segment, its holes, and the dictionary. None when the index cannot be read.
    pub(crate) fn index(&self) -> Result<Option<Index>, JournalError> {
        let Some(bytes) = self.index_bytes()? else { return Ok(None) };
        Ok(read_index(&bytes, self.header.journal).ok())
    }

    /// Position and bytes of each header, of blocks and of holes. None when the index cannot be read.
    pub(crate) fn raw_index(&self) -> Result<Option<RawIndex>, JournalError> {
        let Some(bytes) = self.index_bytes()? else { return Ok(None) };
        let mut input = Input::new(&bytes);
        let mut entries = Vec::new();
        while !input.is_empty() {
            let (Ok(position), Ok(entry)) = (input.varint(), input.bytes()) else { return Ok(None) };
            entries.push((position, entry.to_vec()));
        }
        Ok(Some(entries))
    }

    fn index_bytes(&self) -> Result<Option<Vec<u8>>, JournalError> {
        let Some(seal) = &self.seal else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(seal.index_len).unwrap_or(0)];
        let read = self.file.read_at(seal.index_at, &mut bytes).map_err(|source| self.io("read", source))?;
        if read != bytes.len() || !checksum::fits(&bytes, seal.index_crc) {
            return Ok(None);
        }
        Ok(Some(bytes))
    }
}

struct TrailerPlace {
    blocks_end: u64,
    index_len: u64,
    summary_len: u64,
    index_crc: u32,
    summary_crc: u32,
}

fn read_trailer(bytes: &[u8], trailer_at: u64, journal: JournalId) -> Result<TrailerPlace, Malformed> {
    const NONE: Malformed = Malformed("there is no seal");
    let (content, end) = bytes.split_at_checked(TRAILER_BYTES - 12).ok_or(NONE)?;
    let mut end = Input::new(end);
    if !checksum::fits(content, end.u32()?) || end.take(8)? != SEAL_MAGIC {
        return Err(NONE);
    }
    let mut input = Input::new(content);
    let (blocks_end, index_len, summary_len) = (input.u64()?, input.u64()?, input.u64()?);
    let (index_crc, summary_crc, check) = (input.u32()?, input.u32()?, input.u32()?);
    let adds_up = blocks_end.checked_add(index_len).and_then(|at| at.checked_add(summary_len)) == Some(trailer_at);
    if !adds_up || index_len.max(summary_len) > FOOTER_PART_BYTES_MAX || check != journal.check() {
        return Err(NONE);
    }
    Ok(TrailerPlace { blocks_end, index_len, summary_len, index_crc, summary_crc })
}

fn read_summary(bytes: &[u8], place: &TrailerPlace) -> Result<Seal, Malformed> {
    let mut input = Input::new(bytes);
    let (end, blocks, received, chain) = (input.u64()?, input.u64()?, input.i64()?, input.u64()?);
    let mut dictionary = Dictionary::default();
    let count = input.count(7)?;
    let mut rows = Vec::with_capacity(count);
    for number in 0..count {
        let (name, domain) = (input.text()?, input.text()?);
        dictionary.learn(len32(number), name, domain)?;
        let monitor = dictionary.get(len32(number)).ok_or(Malformed("a monitor is not named"))?;
        rows.push(MonitorRow::read(Arc::clone(monitor), UnixNanos(0), &mut input)?);
    }
    Ok(Seal {
        blocks_end: place.blocks_end,
        end: Offset(end),
        blocks,
        chain: u32::try_from(chain).map_err(|_| Malformed("the chain value is absurd"))?,
        received_up_to: UnixNanos(received),
        rows,
        index_at: place.blocks_end,
        index_len: place.index_len,
        index_crc: place.index_crc,
    })
}

fn read_index(bytes: &[u8], journal: JournalId) -> Result<Index, Malformed> {
    let mut input = Input::new(bytes);
    let mut index = Index::default();
    while !input.is_empty() {
        let position = input.varint()?;
        let entry = input.bytes()?;
        if HoleRecord::len_of(entry).is_some() {
            let record = HoleRecord::read(entry, journal)?;
            record.teach(&mut index.dictionary)?;
            index.holes.push(record.hole);
        } else {
            index.blocks.push((position, BlockHeader::read(entry, &mut index.dictionary)?));
        }
    }
    Ok(index)
}
