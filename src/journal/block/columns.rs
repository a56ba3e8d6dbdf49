//! The columns of a block: what is known of each event beside its payload, a column for each kind of thing.
//!
//! Values are written relative to the event of the same source before, so that the common event is six bytes, nearly all
//! of them alike, and costs next to nothing to compress.

use super::builder::Part;
use crate::clock::UnixNanos;
use crate::journal::varint::{Input, Malformed, len32, put, put_bytes, unzigzag, zigzag};

/// Has an entry in the section of hashes.
pub(super) const HASHED: u8 = 1;
/// Its id is its hash.
pub(super) const ID_IS_HASH: u8 = 2;
/// Its id has parts.
pub(super) const ID_HAS_PARTS: u8 = 4;
/// Has a key.
pub(super) const KEYED: u8 = 8;
/// Has an event time, written in nanoseconds.
pub(super) const TIME_IN_NANOS: u8 = 16;
/// Has an event time, written in milliseconds.
pub(super) const TIME_IN_MILLIS: u8 = 32;
/// See `NewEvent::conflict`.
pub(super) const CONFLICT: u8 = 64;
/// See `NewEvent::handover`.
pub(super) const HANDOVER: u8 = 128;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Spans of a source's event before, as long as there are few enough: most feeds' ids and keys stay in their places.
const SPANS_MAX: usize = 4;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spans {
    places: [(u32, u32); SPANS_MAX],
    len: u8,
}

/// Time and length of a source's event before.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceState {
    time: Option<i64>,
    length: i64,
}

impl SourceState {
    pub(super) fn new() -> Self {
        Self { time: None, length: 0 }
    }

    /// The first time of a source is relative to the block's first receipt, to the millisecond. A header that lies may have any
    /// receipt, so this wraps as all else here does.
    fn time_before(&self, block_first: UnixNanos) -> i64 {
        self.time.unwrap_or(block_first.0.wrapping_sub(block_first.0.rem_euclid(NANOS_PER_MILLI)))
    }

    pub(super) fn read_time(
        &mut self,
        flags: u8,
        block_first: UnixNanos,
        input: &mut Input<'_>,
    ) -> Result<Option<UnixNanos>, Malformed> {
        let delta = match flags & (TIME_IN_NANOS | TIME_IN_MILLIS) {
            0 => return Ok(None),
            TIME_IN_NANOS => unzigzag(input.varint()?),
            TIME_IN_MILLIS => unzigzag(input.varint()?).wrapping_mul(NANOS_PER_MILLI),
            _ => return Err(Malformed("an event has two times")),
        };
        let time = self.time_before(block_first).wrapping_add(delta);
        self.time = Some(time);
        Ok(Some(UnixNanos(time)))
    }

    pub(super) fn read_length(&mut self, input: &mut Input<'_>) -> Result<u32, Malformed> {
        self.length = self.length.wrapping_add(unzigzag(input.varint()?));
        u32::try_from(self.length).map_err(|_| Malformed("the length of a payload is absurd"))
    }
}

/// The columns while a block is built.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) sources: u32,
    pub(super) sources_table: Vec<u8>,
    pub(super) flags: Vec<u8>,
    pub(super) source: Vec<u8>,
    pub(super) received: Vec<u8>,
    time: Vec<u8>,
    length: Vec<u8>,
    parts: Vec<u8>,
    literals: Vec<u8>,
}

impl Columns {
    /// Writes an event time and returns its flag.
    #[inline]
    pub(super) fn put_event_time(&mut self, state: &mut SourceState, block_first: UnixNanos, time: UnixNanos) -> u8 {
        let delta = time.0.wrapping_sub(state.time_before(block_first));
        state.time = Some(time.0);
        if delta % NANOS_PER_MILLI == 0 {
            put(&mut self.time, zigzag(delta / NANOS_PER_MILLI));
            TIME_IN_MILLIS
        } else {
            put(&mut self.time, zigzag(delta));
            TIME_IN_NANOS
        }
    }

    #[inline]
    pub(super) fn put_length(&mut self, state: &mut SourceState, length: usize) {
        let length = i64::from(len32(length));
        put(&mut self.length, zigzag(length - state.length));
        state.length = length;
    }

    /// Writes the parts of an id and the key: zero where they are where they were in the source's event before, else their
    /// number plus one and each of them.
    #[inline]
    pub(super) fn put_parts(
        &mut self,
        before: &mut Spans,
        id: &[Part<'_>],
        key: Option<&Part<'_>>,
        payload_len: usize,
    ) {
        let mut now = Spans::default();
        let mut few = id.len() + usize::from(key.is_some()) <= SPANS_MAX;
        if few {
            for part in id.iter().chain(key) {
                match *part {
                    Part::Span { start, end } => {
                        assert!(start <= end && end as usize <= payload_len, "a part lies inside its payload");
                        now.places[usize::from(now.len)] = (start, end - start);
                        now.len += 1;
                    }
                    Part::Literal(_) => few = false,
                }
            }
        }
        if few && now.len > 0 && now.len == before.len && now.places == before.places {
            self.parts.push(0);
            return;
        }
        *before = if few { now } else { Spans::default() };
        self.put_parts_in_full(id, key, payload_len);
    }

    fn put_parts_in_full(&mut self, id: &[Part<'_>], key: Option<&Part<'_>>, payload_len: usize) {
        put(&mut self.parts, (id.len() + usize::from(key.is_some()) + 1) as u64);
        for part in id.iter().chain(key) {
            match *part {
                Part::Span { start, end } => {
                    assert!(start <= end && end as usize <= payload_len, "a part lies inside its payload");
                    put(&mut self.parts, u64::from(start) << 1);
                    put(&mut self.parts, u64::from(end - start));
                }
                Part::Literal(token) => {
                    put(&mut self.parts, u64::from(len32(token.len())) << 1 | 1);
                    self.literals.extend_from_slice(token);
                }
            }
        }
    }

    /// Appends all columns, one after the other.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.sources));
        out.extend_from_slice(&self.sources_table);
        for column in [&self.flags, &self.source, &self.received, &self.time, &self.length, &self.parts, &self.literals]
        {
            put_bytes(out, column);
        }
    }

    pub(super) fn clear(&mut self) {
        self.sources = 0;
        for column in [
            &mut self.sources_table,
            &mut self.flags,
            &mut self.source,
            &mut self.received,
            &mut self.time,
            &mut self.length,
            &mut self.parts,
            &mut self.literals,
        ] {
            column.clear();
        }
    }
}
