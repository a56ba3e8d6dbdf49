//! Offsets whose events are lost for good: what `repair` writes in the place of blocks that cannot be read, so that whoever
//! reads on is told and never mistakes a loss for an end.

use super::block::Dictionary;
use super::checksum;
use super::offset::{JournalId, Offset};
use super::varint::{Input, Malformed, len32, put, put_bytes};
use crate::clock::UnixNanos;

pub(crate) const HOLE_MAGIC: [u8; 4] = *b"SLHO";
/// Magic and length: enough to tell a record from a block and to read it.
pub(crate) const HOLE_START_BYTES: usize = 8;
/// Without names.
const HOLE_BYTES_MIN: u32 = 53;
/// The same bound as that of a block's header: it holds at most as many names.
const HOLE_BYTES_MAX: u32 = 16 << 20;

/// Offsets that no event has, and none ever will: what was there is lost, and a repair has recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// The first lost offset.
    pub from: Offset,
    /// The offset after the last lost one.
    pub to: Offset,
}

impl Hole {
    /// How many events are lost.
    pub fn len(self) -> u64 {
        self.to.0.saturating_sub(self.from.0)
    }

    /// Whether only blocks without events are lost: of some monitor something may be uncounted.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A hole as it stands between two blocks of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HoleRecord {
    pub(crate) hole: Hole,
    /// Chain value of the block before.
    pub(crate) chain: u32,
    /// What the block behind has as its chain value: the checksum of a header that is lost.
    pub(crate) chain_after: u32,
    pub(crate) recorded: UnixNanos,
    /// Names and domains of the segment's monitors from number 0 on, as lost blocks may have been the first to name them.
    pub(crate) names: Vec<(String, String)>,
}

impl HoleRecord {
    pub(crate) fn write(&self, journal: JournalId) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&HOLE_MAGIC);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&journal.check().to_le_bytes());
        out.extend_from_slice(&self.hole.from.0.to_le_bytes());
        out.extend_from_slice(&self.hole.to.0.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&self.chain_after.to_le_bytes());
        out.extend_from_slice(&self.recorded.0.to_le_bytes());
        put(&mut out, self.names.len() as u64);
        for (name, domain) in &self.names {
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, domain.as_bytes());
        }
        let len = len32(out.len() + 4);
        out[4..8].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Whether a hole's record begins with these bytes, and how long it is.
    pub(crate) fn len_of(start: &[u8]) -> Option<Result<u32, Malformed>> {
        let mut input = Input::new(start);
        if input.take(4).ok()? != HOLE_MAGIC {
            return None;
        }
        let len = input.u32().ok()?;
        let sane = (HOLE_BYTES_MIN..=HOLE_BYTES_MAX).contains(&len);
        Some(if sane { Ok(len) } else { Err(Malformed("the length of a hole's record is absurd")) })
    }

    /// Reads a whole record of the journal.
    pub(crate) fn read(bytes: &[u8], journal: JournalId) -> Result<Self, Malformed> {
        let (content, crc) = bytes.split_last_chunk::<4>().ok_or(Malformed("a hole's record is too short"))?;
        if !checksum::fits(content, u32::from_le_bytes(*crc)) {
            return Err(Malformed("the checksum of a hole's record does not fit"));
        }
        let mut input = Input::new(content);
        input.take(4)?;
        if input.u32()? as usize != bytes.len() {
            return Err(Malformed("the length of a hole's record does not fit"));
        }
        input.u32()?;
        if input.u32()? != journal.check() {
            return Err(Malformed("the hole's record is of another journal"));
        }
        let hole = Hole { from: Offset(input.u64()?), to: Offset(input.u64()?) };
        if hole.to < hole.from {
            return Err(Malformed("a hole ends before it begins"));
        }
        let (chain, chain_after, recorded) = (input.u32()?, input.u32()?, UnixNanos(input.i64()?));
        let mut names = Vec::new();
        for _ in 0..input.count(2)? {
            names.push((input.text()?.to_owned(), input.text()?.to_owned()));
        }
        if !input.is_empty() {
            return Err(Malformed("a hole's record has bytes left over"));
        }
        Ok(Self { hole, chain, chain_after, recorded, names })
    }

    /// Tells the names to whoever reads on.
    pub(crate) fn teach(&self, dictionary: &mut Dictionary) -> Result<(), Malformed> {
        for (number, (name, domain)) in self.names.iter().enumerate() {
            dictionary.learn(len32(number), name, domain)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_comes_back_as_it_was_written_and_not_when_a_bit_is_flipped() {
        let journal = JournalId::random();
        for names in [vec![], vec![("spot".to_owned(), "trading".to_owned()), ("books".to_owned(), "depth".to_owned())]]
        {
            let hole = Hole { from: Offset(7), to: Offset(19) };
            let record = HoleRecord { hole, chain: 1, chain_after: 2, recorded: UnixNanos(3), names };
            let bytes = record.write(journal);
            assert_eq!(HoleRecord::len_of(&bytes).unwrap().unwrap() as usize, bytes.len());
            assert_eq!(HoleRecord::read(&bytes, journal), Ok(record));
            assert!(HoleRecord::read(&bytes, JournalId::random()).is_err());
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                assert!(HoleRecord::read(&flipped, journal).is_err(), "byte {at}");
            }
        }
    }
}
