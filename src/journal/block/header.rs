//! A block's header: everything that can be known of a block without reading its events.
//!
//! The link's task knows what is in the block, the writer alone knows where it goes; so the writer composes the header,
//! and a checksum over all of it makes it one link of the chain.

use std::sync::Arc;

use super::builder::ResumeToken;
use super::encoder::EncodedBlock;
use super::row::{MonitorRow, TimeRange};
use super::{BODY_BYTES_MAX, COLUMN_BYTES_MAX, HASH_BYTES, PAYLOAD_BYTES_MAX};
use crate::clock::UnixNanos;
use crate::journal::checksum;
use crate::journal::identity::{MonitorIdentity, Path};
use crate::journal::offset::Offset;
use crate::journal::varint::{Input, Malformed, len32, put, put_bytes};

pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"SLBK";

/// The part of a header whose length is always the same.
pub(crate) const HEADER_FIXED_BYTES: usize = 84;
const CRC_BYTES: usize = 4;

/// The longest header taken for one: ten thousand monitors with long names stay well below it.
pub(crate) const HEADER_BYTES_MAX: u32 = 16 << 20;

/// Names of the monitors of a segment, in the order of their first appearance in it. Headers refer to them by number.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    monitors: Vec<Arc<MonitorIdentity>>,
    /// By a monitor's process-wide index: its number here plus one. Used by the writer only.
    numbers: Vec<u32>,
    /// Numbers that nobody named get a name of ours: the blocks that named them may be lost.
    lenient: bool,
}

/// The domain of monitors whose names were lost with the blocks that told them.
pub(crate) const UNNAMED_DOMAIN: &str = "_unnamed";
/// The most numbers that are given names for want of others. Far above any number of monitors.
const UNNAMED_MAX: u32 = 1 << 20;

impl Dictionary {
    /// One that makes up the names that it lacks.
    pub(crate) fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// All names and domains, in the order of their numbers.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        self.monitors.iter().map(|monitor| (monitor.name.to_string(), monitor.domain.to_string())).collect()
    }

    /// Makes up what is missing of the first `count` names.
    fn make_up(&mut self, count: u32) -> Result<(), Malformed> {
        if !self.lenient {
            return Ok(());
        }
        if count > UNNAMED_MAX {
            return Err(Malformed("a monitor's number is absurd"));
        }
        while self.monitors.len() < count as usize {
            let number = len32(self.monitors.len());
            self.learn(number, &format!("unnamed-{number}"), UNNAMED_DOMAIN)?;
        }
        Ok(())
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<MonitorIdentity>> {
        self.monitors.get(number as usize)
    }

    /// The number of a monitor that is written, and whether it is new here.
    fn number(&mut self, monitor: &Arc<MonitorIdentity>) -> (u32, bool) {
        let index = monitor.index as usize;
        if index >= self.numbers.len() {
            self.numbers.resize(index + 1, 0);
        }
        if let Some(number) = self.numbers[index].checked_sub(1) {
            let known = &self.monitors[number as usize];
            assert!(Arc::ptr_eq(known, monitor) || known == monitor, "an index of a monitor is never reused");
            return (number, false);
        }
        let number = len32(self.monitors.len());
        self.monitors.push(Arc::clone(monitor));
        self.numbers[index] = number + 1;
        (number, true)
    }

    /// The number of a monitor that was written or learnt before.
    pub(crate) fn number_of(&self, monitor: &MonitorIdentity) -> Option<u32> {
        self.numbers.get(monitor.index as usize)?.checked_sub(1)
    }

    /// Learns a name that was read. To read it again is fine, to read another in its place is not.
    pub(crate) fn learn(&mut self, number: u32, name: &str, domain: &str) -> Result<(), Malformed> {
        match self.get(number) {
            Some(known) if *known.name == *name && *known.domain == *domain => Ok(()),
            None if number as usize == self.monitors.len() => {
                self.monitors.push(Arc::new(MonitorIdentity {
                    index: number,
                    name: name.into(),
                    domain: domain.into(),
                }));
                self.numbers.push(number + 1);
                Ok(())
            }
            _ => Err(Malformed("a monitor's number does not fit the ones before it")),
        }
    }
}

/// Where the writer puts a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderPlace {
    pub(crate) journal_check: u32,
    pub(crate) base: Offset,
    pub(crate) durable_before: Offset,
    pub(crate) chain: u32,
}

/// Appends the header of `block` at `place` to `out` and returns its checksum, the next block's chain value.
pub(crate) fn compose_header(
    block: &EncodedBlock,
    place: HeaderPlace,
    dictionary: &mut Dictionary,
    out: &mut Vec<u8>,
) -> u32 {
    let parts = block.parts();
    let start = out.len();
    out.extend_from_slice(&BLOCK_MAGIC);
    out.extend_from_slice(&[0; 4]);
    for word in [len32(parts.body.len()), place.journal_check] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&place.base.0.to_le_bytes());
    out.extend_from_slice(&place.durable_before.0.to_le_bytes());
    for word in [place.chain, parts.hashes_crc, parts.body_crc, parts.count] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&parts.received.least.0.to_le_bytes());
    out.extend_from_slice(&parts.received.greatest.0.to_le_bytes());
    for word in [parts.hashes, parts.columns_len, parts.columns_raw, parts.payloads_raw] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&[parts.path.to_byte(), 0, 0, 0]);
    debug_assert_eq!(out.len() - start, HEADER_FIXED_BYTES);

    put(out, parts.rows.len() as u64);
    for row in &parts.rows {
        let (number, new) = dictionary.number(&row.monitor);
        put(out, u64::from(number) << 1 | u64::from(new));
        if new {
            put_bytes(out, row.monitor.name.as_bytes());
            put_bytes(out, row.monitor.domain.as_bytes());
        }
        row.write(parts.received.least, out);
    }
    put(out, parts.tokens.len() as u64);
    for token in &parts.tokens {
        put_bytes(out, token.upstream.as_bytes());
        put(out, token.topics.len() as u64);
        for topic in &token.topics {
            put_bytes(out, topic.as_bytes());
        }
        put_bytes(out, &token.token);
    }
    let len = len32(out.len() - start + CRC_BYTES);
    assert!(len <= HEADER_BYTES_MAX, "a block's header is below its bound");
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    crc
}

/// Gives a header that was read another place in the chain, or another journal; nothing in it changes its length. Returns its
/// checksum, the next block's chain value.
///
/// # Panics
/// When it is shorter than any header.
pub(crate) fn replace_header(header: &mut [u8], journal_check: u32, chain: u32) -> u32 {
    assert!(header.len() >= HEADER_FIXED_BYTES + CRC_BYTES, "a header that was read is whole");
    header[12..16].copy_from_slice(&journal_check.to_le_bytes());
    header[32..36].copy_from_slice(&chain.to_le_bytes());
    let end = header.len() - CRC_BYTES;
    let crc = crc32c::crc32c(&header[..end]);
    header[end..].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// A block's header as it was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHeader {
    pub(crate) header_len: u32,
    pub(crate) body_len: u32,
    pub(crate) journal_check: u32,
    pub(crate) base: Offset,
    pub(crate) durable_before: Offset,
    pub(crate) chain: u32,
    pub(crate) hashes_crc: u32,
    pub(crate) body_crc: u32,
    pub(crate) count: u32,
    pub(crate) received: TimeRange,
    pub(crate) hashes: u32,
    pub(crate) columns_len: u32,
    pub(crate) columns_raw: u32,
    pub(crate) payloads_raw: u32,
    pub(crate) path: Path,
    pub(crate) rows: Vec<MonitorRow>,
    pub(crate) tokens: Vec<ResumeToken>,
    pub(crate) crc: u32,
}

impl BlockHeader {
    /// The first event's offset.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// The offset after the last event.
    pub fn end(&self) -> Offset {
        Offset(self.base.0 + u64::from(self.count))
    }

    /// How many events.
    pub fn events(&self) -> u32 {
        self.count
    }

    /// When the events were received; of a block without any, when it was made.
    pub fn received(&self) -> TimeRange {
        self.received
    }

    /// Which way the events came.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The header's checksum, which tells it from every other of its journal.
    pub fn checksum(&self) -> u32 {
        self.crc
    }

    /// The durable offset when the block was written.
    pub fn durable_before(&self) -> Offset {
        self.durable_before
    }

    /// A row for each monitor that has events here or of which something was counted.
    pub fn rows(&self) -> &[MonitorRow] {
        &self.rows
    }

    /// Resume tokens whose last event is here.
    pub fn tokens(&self) -> &[ResumeToken] {
        &self.tokens
    }

    /// Bytes of header and body.
    pub(crate) fn total_len(&self) -> u64 {
        u64::from(self.header_len) + u64::from(self.body_len)
    }

    pub(crate) fn hashes_len(&self) -> usize {
        self.hashes as usize * HASH_BYTES
    }

    /// How long the header is that begins with `fixed`, if that is one.
    pub(crate) fn len_of(fixed: &[u8]) -> Result<u32, Malformed> {
        let mut input = Input::new(fixed);
        if input.take(4)? != BLOCK_MAGIC {
            return Err(Malformed("no block begins here"));
        }
        let len = input.u32()?;
        if (len as usize) < HEADER_FIXED_BYTES + CRC_BYTES || len > HEADER_BYTES_MAX {
            return Err(Malformed("the length of a block's header is absurd"));
        }
        Ok(len)
    }

    /// The durable offset of a header whose checksum fits, whatever its place and its names.
    pub(crate) fn durable_offset_of(bytes: &[u8], journal_check: u32) -> Option<Offset> {
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if !checksum::fits(content, u32::from_le_bytes(*crc)) {
            return None;
        }
        let mut input = Input::new(content.get(12..)?);
        if input.u32().ok()? != journal_check {
            return None;
        }
        input.u64().ok()?;
        input.u64().ok().map(Offset)
    }

    /// Reads a whole header. `bytes` are as long as [`BlockHeader::len_of`] says.
    pub(crate) fn read(bytes: &[u8], dictionary: &mut Dictionary) -> Result<Self, Malformed> {
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(Malformed("a header is too short"))?;
        let crc = u32::from_le_bytes(*crc);
        if !checksum::fits(content, crc) {
            return Err(Malformed("the checksum of a block's header does not fit"));
        }
        let mut input = Input::new(content);
        input.take(4)?;
        let header_len = input.u32()?;
        if header_len as usize != bytes.len() {
            return Err(Malformed("the length of a block's header does not fit"));
        }
        let body_len = input.u32()?;
        let journal_check = input.u32()?;
        let base = Offset(input.u64()?);
        let durable_before = Offset(input.u64()?);
        let (chain, hashes_crc, body_crc, count) = (input.u32()?, input.u32()?, input.u32()?, input.u32()?);
        let received = TimeRange { least: UnixNanos(input.i64()?), greatest: UnixNanos(input.i64()?) };
        let (hashes, columns_len, columns_raw, payloads_raw) = (input.u32()?, input.u32()?, input.u32()?, input.u32()?);
        let [path, 0, 0, 0] = *input.take(4)? else {
            return Err(Malformed("reserved bytes of a block's header are not zero"));
        };
        let path = Path::from_byte(path).ok_or(Malformed("a block came by no known path"))?;

        let sections = u64::from(hashes) * HASH_BYTES as u64 + u64::from(columns_len);
        if body_len > BODY_BYTES_MAX || sections > u64::from(body_len) {
            return Err(Malformed("the sections of a block are longer than its body"));
        }
        if columns_raw > COLUMN_BYTES_MAX || payloads_raw > PAYLOAD_BYTES_MAX {
            return Err(Malformed("the sections of a block are absurdly long"));
        }
        if base.0.checked_add(u64::from(count)).is_none() || hashes > count || received.greatest < received.least {
            return Err(Malformed("the counts of a block do not fit together"));
        }
        let rows = read_rows(&mut input, received.least, dictionary)?;
        if rows.iter().try_fold(0_u64, |sum, row| sum.checked_add(row.events)) != Some(u64::from(count)) {
            return Err(Malformed("the events of a block's monitors do not add up"));
        }
        let tokens = read_tokens(&mut input)?;
        if !input.is_empty() {
            return Err(Malformed("a block's header has bytes left over"));
        }
        Ok(Self {
            header_len,
            body_len,
            journal_check,
            base,
            durable_before,
            chain,
            hashes_crc,
            body_crc,
            count,
            received,
            hashes,
            columns_len,
            columns_raw,
            payloads_raw,
            path,
            rows,
            tokens,
            crc,
        })
    }
}

fn read_rows(
    input: &mut Input<'_>,
    base: UnixNanos,
    dictionary: &mut Dictionary,
) -> Result<Vec<MonitorRow>, Malformed> {
    let count = input.count(6)?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let reference = input.varint()?;
        let number = u32::try_from(reference >> 1).map_err(|_| Malformed("a monitor's number is absurd"))?;
        if reference & 1 == 1 {
            let (name, domain) = (input.text()?, input.text()?);
            dictionary.make_up(number)?;
            dictionary.learn(number, name, domain)?;
        } else {
            dictionary.make_up(number.saturating_add(1))?;
        }
        let monitor = dictionary.get(number).ok_or(Malformed("a monitor was not named before"))?;
        rows.push(MonitorRow::read(Arc::clone(monitor), base, input)?);
    }
    Ok(rows)
}

fn read_tokens(input: &mut Input<'_>) -> Result<Vec<ResumeToken>, Malformed> {
    let count = input.count(3)?;
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let upstream = input.text()?.into();
        let topics = (0..input.count(1)?).map(|_| input.text().map(Arc::from)).collect::<Result<_, _>>()?;
        tokens.push(ResumeToken { upstream, topics, token: input.bytes()?.to_vec() });
    }
    Ok(tokens)
}
