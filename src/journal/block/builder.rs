//! Fills a block, one event at a time. One builder belongs to one link and is reused for ever.
//!
//! This is the hot path: an event is a handful of pushes to byte columns that keep their memory. Tables by monitor and by
//! source are never cleared but carry the number of the block they were filled for, so that a thousand monitors cost
//! no more than four.

use std::sync::Arc;

use super::encoder::{EncodedBlock, Encoder};
use super::row::{AccountDelta, MonitorRow, TimeRange};
use super::{HASH_BYTES, PAYLOAD_BYTES_MAX, columns};
use crate::clock::UnixNanos;
use crate::journal::identity::{MonitorIdentity, Path};
use crate::journal::varint::{len32, put, put_bytes};

/// A caller's dense number of a (monitor, topic) on its link, so that the look-up is an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceSlot(pub u32);

/// A (monitor, topic) of the block that is being built; good until [`BlockBuilder::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceIndex {
    index: u32,
    epoch: u32,
}

/// What tells an event from others of its monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventId<'a> {
    /// Nothing: it is never deduplicated.
    None,
    /// The hash of its payload, shown in hexadecimal.
    PayloadHash,
    /// These parts.
    Parts(&'a [Part<'a>]),
}

/// A JSON token that is a part of an id, or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A raw token inside the payload, strings with their quotes: the bytes from `start` up to but without `end`.
    Span {
        /// First byte.
        start: u32,
        /// The byte after the last.
        end: u32,
    },
    /// A raw token from elsewhere.
    Literal(&'a [u8]),
}

/// The key of the dedupe window, and a check by which an equal id with another payload is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DedupeHash {
    /// Of the monitor (or topic) and the id.
    pub hash: u128,
    /// Of the payload.
    pub payload_check: u32,
}

/// An event on its way into a block.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// Whose, from [`BlockBuilder::source`].
    pub source: SourceIndex,
    /// When it was read from the socket. Never before the one pushed before; an earlier stamp counts as that one's.
    pub received: UnixNanos,
    /// When it says it happened.
    pub event_time: Option<UnixNanos>,
    /// Its raw text, to the byte.
    pub payload: &'a [u8],
    /// Its id.
    pub id: EventId<'a>,
    /// Its key.
    pub key: Option<Part<'a>>,
    /// Its dedupe hash, where it has an id.
    pub hash: Option<DedupeHash>,
    /// Kept although its id was seen with another payload.
    pub conflict: bool,
    /// Taken from both sides of a hand-over: may be there twice.
    pub handover: bool,
}

/// Where an upstream can be taken up again once the events up to here are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The topics that it is good for.
    pub topics: Vec<Arc<str>>,
    /// In the dialect's own form.
    pub token: Vec<u8>,
}

/// Events that were read from the socket at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedRun {
    /// When.
    pub received: UnixNanos,
    /// How many.
    pub events: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    epoch: u32,
    index: u32,
}

/// What the next event of a source is written relative to.
#[derive(Debug, Clone, Copy)]
struct Source {
    row: u32,
    times: columns::SourceState,
    spans: columns::Spans,
}

/// Fills a block.
#[derive(Debug)]
pub struct BlockBuilder {
    path: Path,
    epoch: u32,
    by_slot: Vec<Entry>,
    by_monitor: Vec<Entry>,
    sources: Vec<Source>,
    rows: Vec<MonitorRow>,
    tokens: Vec<ResumeToken>,
    runs: Vec<ReceivedRun>,
    first: UnixNanos,
    last: UnixNanos,
    count: u32,
    pub(super) columns: columns::Columns,
    pub(super) hashes: Vec<u8>,
    pub(super) payloads: Vec<u8>,
}

impl BlockBuilder {
    /// An empty builder for events that come by `path`.
    pub fn new(path: Path) -> Self {
        Self {
            path,
            epoch: 1,
            by_slot: Vec::new(),
            by_monitor: Vec::new(),
            sources: Vec::new(),
            rows: Vec::new(),
            tokens: Vec::new(),
            runs: Vec::new(),
            first: UnixNanos(0),
            last: UnixNanos(i64::MIN),
            count: 0,
            columns: columns::Columns::default(),
            hashes: Vec::new(),
            payloads: Vec::new(),
        }
    }

    /// The block's number of a (monitor, topic). `slot` is the caller's own and always means the same pair.
    #[inline]
    pub fn source(&mut self, monitor: &Arc<MonitorIdentity>, topic: &str, slot: SourceSlot) -> SourceIndex {
        match self.by_slot.get(slot.0 as usize) {
            Some(entry) if entry.epoch == self.epoch => SourceIndex { index: entry.index, epoch: self.epoch },
            _ => self.new_source(monitor, topic, slot),
        }
    }

    #[cold]
    fn new_source(&mut self, monitor: &Arc<MonitorIdentity>, topic: &str, slot: SourceSlot) -> SourceIndex {
        let row = self.row(monitor);
        let index = len32(self.sources.len());
        self.sources.push(Source { row, times: columns::SourceState::new(), spans: columns::Spans::default() });
        put(&mut self.columns.sources_table, u64::from(row));
        put_bytes(&mut self.columns.sources_table, topic.as_bytes());
        self.columns.sources += 1;
        set(&mut self.by_slot, slot.0, Entry { epoch: self.epoch, index });
        SourceIndex { index, epoch: self.epoch }
    }

    /// The row of a monitor in this block.
    fn row(&mut self, monitor: &Arc<MonitorIdentity>) -> u32 {
        match self.by_monitor.get(monitor.index as usize) {
            Some(entry) if entry.epoch == self.epoch => entry.index,
            _ => {
                let index = len32(self.rows.len());
                self.rows.push(MonitorRow::new(Arc::clone(monitor)));
                set(&mut self.by_monitor, monitor.index, Entry { epoch: self.epoch, index });
                index
            }
        }
    }

    /// Adds an event. The caller keeps a block within the batch's bounds; see [`BlockBuilder::payload_bytes`].
    ///
    /// # Panics
    /// When a span is not inside the payload, a source is of another block, or the payloads exceed
    /// [`PAYLOAD_BYTES_MAX`]: mistakes of ours that must not reach the disk.
    pub fn push(&mut self, event: &NewEvent<'_>) {
        assert!(event.source.epoch == self.epoch, "a source is asked for anew in each block");
        let source = &mut self.sources[event.source.index as usize];
        let received = event.received.max(self.last);
        let run = self.runs.last_mut();
        match run {
            Some(run) if run.received == received => run.events += 1,
            _ => {
                if self.runs.is_empty() {
                    self.first = received;
                }
                self.runs.push(ReceivedRun { received, events: 1 });
            }
        }
        let waited = received.0.wrapping_sub(if self.count == 0 { received.0 } else { self.last.0 });
        self.last = received;
        self.count += 1;
        self.rows[source.row as usize].count(received, event.event_time);

        let columns = &mut self.columns;
        put(&mut columns.source, u64::from(event.source.index));
        put(&mut columns.received, waited.cast_unsigned());
        let mut flags = (u8::from(event.conflict) * columns::CONFLICT) | (u8::from(event.handover) * columns::HANDOVER);
        if let Some(time) = event.event_time {
            flags |= columns.put_event_time(&mut source.times, self.first, time);
        }
        columns.put_length(&mut source.times, event.payload.len());
        if let Some(hash) = event.hash {
            flags |= columns::HASHED;
            let mut entry = [0; HASH_BYTES];
            entry[..16].copy_from_slice(&hash.hash.to_le_bytes());
            entry[16..].copy_from_slice(&hash.payload_check.to_le_bytes());
            self.hashes.extend_from_slice(&entry);
        }
        let parts: &[Part<'_>] = match event.id {
            EventId::None => &[],
            EventId::PayloadHash => {
                assert!(event.hash.is_some(), "an id that is a hash has a hash");
                flags |= columns::ID_IS_HASH;
                &[]
            }
            EventId::Parts(parts) => {
                flags |= columns::ID_HAS_PARTS;
                parts
            }
        };
        if event.key.is_some() {
            flags |= columns::KEYED;
        }
        if flags & (columns::ID_HAS_PARTS | columns::KEYED) != 0 {
            columns.put_parts(&mut source.spans, parts, event.key.as_ref(), event.payload.len());
        }
        columns.flags.push(flags);
        self.payloads.extend_from_slice(event.payload);
        assert!(self.payloads.len() <= PAYLOAD_BYTES_MAX as usize, "a block's payloads are below their bound");
    }

    /// Adds to the account of a monitor.
    pub fn account(&mut self, monitor: &Arc<MonitorIdentity>, delta: AccountDelta) {
        let row = self.row(monitor);
        self.rows[row as usize].account.add(delta);
    }

    /// Records that an upstream can be taken up again after the events pushed so far. A token for the same topics replaces
    /// the one before.
    pub fn resume(&mut self, token: ResumeToken) {
        match self.tokens.iter_mut().find(|known| known.upstream == token.upstream && known.topics == token.topics) {
            Some(known) => *known = token,
            None => self.tokens.push(token),
        }
    }

    /// Events so far.
    pub fn events(&self) -> u32 {
        self.count
    }

    /// Whether there is neither an event nor anything counted nor a token.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.tokens.is_empty()
    }

    /// Bytes of the payloads so far.
    pub fn payload_bytes(&self) -> usize {
        self.payloads.len()
    }

    /// When the first event was received; none without events.
    pub fn oldest(&self) -> Option<UnixNanos> {
        (self.count > 0).then_some(self.first)
    }

    /// Encodes and compresses what is there and leaves the builder empty, with its memory.
    pub fn finish(&mut self, encoder: &mut Encoder) -> EncodedBlock {
        let received = if self.count > 0 {
            TimeRange { least: self.first, greatest: self.last }
        } else {
            TimeRange::of(self.last.max(UnixNanos::now()))
        };
        // What goes with the block is replaced by as much memory as it took: the next block will be like this one.
        let rows = std::mem::take(&mut self.rows);
        self.rows.reserve(rows.len());
        let runs = std::mem::take(&mut self.runs);
        self.runs.reserve(runs.len());
        let tokens = std::mem::take(&mut self.tokens);
        let content = BlockContent { path: self.path, count: self.count, received, rows, runs, tokens };
        let block = encoder.encode(self, content);
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // Entries of 2^32 blocks ago would be taken for this one's.
            self.by_slot.clear();
            self.by_monitor.clear();
            self.epoch = 1;
        }
        self.sources.clear();
        self.count = 0;
        self.columns.clear();
        self.hashes.clear();
        self.payloads.clear();
        block
    }
}

/// What the encoder is told beside the columns.
#[derive(Debug)]
pub(super) struct BlockContent {
    pub(super) path: Path,
    pub(super) count: u32,
    pub(super) received: TimeRange,
    pub(super) rows: Vec<MonitorRow>,
    pub(super) runs: Vec<ReceivedRun>,
    pub(super) tokens: Vec<ResumeToken>,
}

fn set(table: &mut Vec<Entry>, index: u32, entry: Entry) {
    let index = index as usize;
    if index >= table.len() {
        table.resize(index + 1, Entry::default());
    }
    table[index] = entry;
}
