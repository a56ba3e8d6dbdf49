//! A block that was read: checksums checked, decompressed, and every length in it looked at once, so that its events can be
//! walked without errors.

use std::sync::Arc;

use zstd::bulk::Decompressor;

use super::HASH_BYTES;
use super::builder::DedupeHash;
use super::columns::{self, SourceState};
use super::event::{Event, StoredPart};
use super::header::BlockHeader;
use crate::clock::UnixNanos;
use crate::journal::checksum;
use crate::journal::identity::MonitorIdentity;
use crate::journal::offset::Offset;
use crate::journal::varint::{Input, Malformed};

/// The events of a block.
#[derive(Debug, Clone)]
pub struct Block {
    header: BlockHeader,
    pub(super) sources: Vec<Source>,
    pub(super) rows: Vec<EventRow>,
    pub(super) parts: Vec<StoredPart>,
    pub(super) literals: Vec<u8>,
    pub(super) payloads: Vec<u8>,
    pub(super) hashes: Vec<u8>,
    from: Offset,
}

/// A (monitor, topic) of the block.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) monitor: Arc<MonitorIdentity>,
    pub(super) topic: Box<str>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct EventRow {
    pub(super) source: u32,
    pub(super) flags: u8,
    pub(super) parts: u32,
    pub(super) parts_len: u16,
    pub(super) payload: u32,
    pub(super) payload_len: u32,
    /// Its number among the hashes, when it has one.
    pub(super) hash: u32,
    pub(super) received: UnixNanos,
    pub(super) event_time: Option<UnixNanos>,
}

impl Block {
    /// Decodes the body that belongs to `header`.
    pub(crate) fn decode(header: BlockHeader, body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Self, Malformed> {
        if body.len() != header.body_len as usize {
            return Err(Malformed("a block's body is cut short"));
        }
        let (hashes, rest) = body
            .split_at_checked(header.hashes_len())
            .ok_or(Malformed("the sections of a block are longer than its body"))?;
        if !checksum::fits(hashes, header.hashes_crc) || !checksum::fits(rest, header.body_crc) {
            return Err(Malformed("the checksum of a block's body does not fit"));
        }
        let from = header.base;
        let mut block = Self {
            header,
            sources: Vec::new(),
            rows: Vec::new(),
            parts: Vec::new(),
            literals: Vec::new(),
            payloads: Vec::new(),
            hashes: hashes.to_vec(),
            from,
        };
        if block.header.count == 0 {
            let empty = block.header.columns_raw == 0 && block.header.payloads_raw == 0;
            return if empty { Ok(block) } else { Err(Malformed("a block without events has a body")) };
        }
        let (packed, payloads) = rest
            .split_at_checked(block.header.columns_len as usize)
            .ok_or(Malformed("the sections of a block are longer than its body"))?;
        block.payloads = decompress(zstd, payloads, block.header.payloads_raw)?;
        let raw = decompress(zstd, packed, block.header.columns_raw)?;
        block.read_columns(&raw)?;
        Ok(block)
    }

    fn read_columns(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        let mut input = Input::new(raw);
        let sources = input.count(2)?;
        self.sources.reserve_exact(sources);
        for _ in 0..sources {
            let row = input.varint32()?;
            let row =
                self.header.rows.get(row as usize).ok_or(Malformed("a topic belongs to no monitor of the block"))?;
            self.sources.push(Source { monitor: Arc::clone(&row.monitor), topic: input.text()?.into() });
        }
        let flags = input.bytes()?;
        let (mut source, mut received, mut time) =
            (Input::new(input.bytes()?), Input::new(input.bytes()?), Input::new(input.bytes()?));
        let (mut length, mut parts) = (Input::new(input.bytes()?), Input::new(input.bytes()?));
        self.literals = input.bytes()?.to_vec();
        if flags.len() != self.header.count as usize || !input.is_empty() {
            return Err(Malformed("the columns of a block do not fit its events"));
        }

        let mut states = vec![(SourceState::new(), 0..0_usize); self.sources.len()];
        let first = self.header.received.least;
        let (mut stamp, mut payload, mut hash, mut literal) = (first, 0_u32, 0_u32, 0_u32);
        self.rows.reserve_exact(flags.len());
        for &flags in flags {
            let index = source.varint32()?;
            let (state, before) =
                states.get_mut(index as usize).ok_or(Malformed("an event belongs to no topic of the block"))?;
            stamp = UnixNanos(stamp.0.wrapping_add(received.varint()?.cast_signed()));
            let event_time = state.read_time(flags, first, &mut time)?;
            let payload_len = state.read_length(&mut length)?;
            if flags & (columns::ID_HAS_PARTS | columns::KEYED) != 0 {
                match parts.varint()? {
                    0 if before.start == before.end => {
                        return Err(Malformed("an event's parts are as before, but none were"));
                    }
                    0 => {}
                    more => {
                        let count = u16::try_from(more - 1).ok().map(usize::from);
                        let count = count
                            .filter(|&count| count <= parts.remaining())
                            .ok_or(Malformed("an event has more parts than there are"))?;
                        let start = self.parts.len();
                        for _ in 0..count {
                            self.parts.push(read_part(&mut parts, &mut literal, self.literals.len())?);
                        }
                        *before = start..self.parts.len();
                    }
                }
                let keyed = usize::from(flags & columns::KEYED != 0);
                if before.len() < keyed {
                    return Err(Malformed("an event lacks its key"));
                }
                let inside = |part: &StoredPart| match *part {
                    StoredPart::Payload { start, len } => start.checked_add(len).is_some_and(|end| end <= payload_len),
                    StoredPart::Literal { .. } => true,
                };
                if !self.parts[before.clone()].iter().all(inside) {
                    return Err(Malformed("a part of an id lies outside of its payload"));
                }
            }
            let (parts, parts_len) = if flags & (columns::ID_HAS_PARTS | columns::KEYED) == 0 {
                (0, 0)
            } else {
                let number = |value| u32::try_from(value).map_err(|_| Malformed("a block has too many parts"));
                (number(before.start)?, u16::try_from(before.len()).map_err(|_| Malformed("an id has too many parts"))?)
            };
            let end = payload.checked_add(payload_len).ok_or(Malformed("payloads are longer than their section"))?;
            if end as usize > self.payloads.len() {
                return Err(Malformed("payloads are longer than their section"));
            }
            self.rows.push(EventRow {
                source: index,
                flags,
                parts,
                parts_len,
                payload,
                payload_len,
                hash,
                received: stamp,
                event_time,
            });
            payload = end;
            hash += u32::from(flags & columns::HASHED != 0);
            if flags & columns::ID_IS_HASH != 0 && flags & columns::HASHED == 0 {
                return Err(Malformed("an id that is a hash has none"));
            }
        }
        let consumed = source.is_empty() && received.is_empty() && time.is_empty() && length.is_empty();
        let consumed = consumed && parts.is_empty() && literal as usize == self.literals.len();
        if !consumed || payload as usize != self.payloads.len() || hash != self.header.hashes {
            return Err(Malformed("the columns of a block do not fit its events"));
        }
        Ok(())
    }

    /// What was known before the events were read.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Leaves out events before `from`: the block was found by a seek into its middle.
    pub(crate) fn starting_at(mut self, from: Offset) -> Self {
        self.from = from.max(self.header.base);
        self
    }

    /// The events in order, beginning with the one that was sought.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Event<'_>> + ExactSizeIterator {
        let skipped = usize::try_from(self.from.0 - self.header.base.0).unwrap_or(usize::MAX).min(self.rows.len());
        (skipped..self.rows.len()).map(|index| Event::new(self, index))
    }

    /// The events from `from` on, each with its number in the whole block, by which [`Block::event`] finds it.
    pub fn numbered_events_from(&self, from: Offset) -> impl Iterator<Item = (Event<'_>, usize)> {
        let from = from.max(self.from);
        let first = usize::try_from(from.0.saturating_sub(self.header.base.0)).unwrap_or(usize::MAX);
        (first.min(self.rows.len())..self.rows.len()).map(|index| (Event::new(self, index), index))
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.payloads.len()
            + self.literals.len()
            + self.hashes.len()
            + size_of_val(self.rows.as_slice())
            + size_of_val(self.parts.as_slice())
    }

    /// Whether a monitor of this domain has an event in it, without looking at the events.
    pub fn has_monitor(&self, name: &str, domain: &str) -> bool {
        self.sources.iter().any(|source| *source.monitor.name == *name && *source.monitor.domain == *domain)
    }

    /// An event by its number in the whole block.
    ///
    /// # Panics
    /// If there is none.
    pub fn event(&self, number: usize) -> Event<'_> {
        Event::new(self, number)
    }

    pub(super) fn hash(&self, row: &EventRow) -> Option<DedupeHash> {
        if row.flags & columns::HASHED == 0 {
            return None;
        }
        read_hash(self.hashes.chunks_exact(HASH_BYTES).nth(row.hash as usize)?)
    }
}

/// One entry of the section of hashes.
pub(crate) fn read_hash(entry: &[u8]) -> Option<DedupeHash> {
    let mut input = Input::new(entry);
    Some(DedupeHash { hash: input.u128().ok()?, payload_check: input.u32().ok()? })
}

fn read_part(parts: &mut Input<'_>, literal: &mut u32, literals: usize) -> Result<StoredPart, Malformed> {
    let head = parts.varint()?;
    let number = u32::try_from(head >> 1).map_err(|_| Malformed("a part of an id is absurd"))?;
    if head & 1 == 0 {
        return Ok(StoredPart::Payload { start: number, len: parts.varint32()? });
    }
    let start = *literal;
    *literal = start
        .checked_add(number)
        .filter(|&end| end as usize <= literals)
        .ok_or(Malformed("a part of an id lies outside of its section"))?;
    Ok(StoredPart::Literal { start, len: number })
}

/// Decompresses a section. Nothing is allocated unless zstd's own frame says the same length as the header.
fn decompress(zstd: &mut Decompressor<'_>, packed: &[u8], raw: u32) -> Result<Vec<u8>, Malformed> {
    // A fuzzer changes what compression would have hidden from it.
    if cfg!(feature = "fuzzing") && packed.len() == raw as usize {
        return Ok(packed.to_vec());
    }
    let said = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    if said != Some(u64::from(raw)) {
        return Err(Malformed("a section is not as long as its block says"));
    }
    let mut out = Vec::with_capacity(raw as usize);
    match zstd.decompress_to_buffer(packed, &mut out) {
        Ok(len) if len == raw as usize => Ok(out),
        _ => Err(Malformed("a section cannot be decompressed")),
    }
}
