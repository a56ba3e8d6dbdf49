//! Consecutive events of the journal on their way into a store: those that the sink's filter takes, the span of offsets that
//! they came from, and what was put aside.

use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::journal::{Block, Event, Offset, payload_text};

/// A span of the journal, as a sink sees it. Cheap to cut into halves: blocks are shared.
#[derive(Debug, Clone)]
pub struct Batch {
    from: Offset,
    to: Offset,
    blocks: Arc<[Arc<Block>]>,
    rows: Arc<[Row]>,
    /// Of `rows`, those of this batch.
    taken: std::ops::Range<usize>,
    /// What is known beside the payload, by row; none where nothing was looked up.
    enriched: Option<Arc<[Option<Box<str>>]>>,
    parked: Vec<Parked>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    block: u32,
    event: u32,
    offset: Offset,
    bytes: u32,
}

/// An event that the store refuses for ever, kept with its payload and the reason in the sink's own state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Parked {
    /// Its offset.
    pub offset: u64,
    /// The monitor.
    pub monitor: String,
    /// The domain.
    pub domain: String,
    /// When it was put aside, RFC 3339.
    pub parked_time: String,
    /// In the store's words.
    pub reason: String,
    /// Its payload, as [`payload_text`] has it.
    pub payload: String,
}

impl Batch {
    /// The first offset that it speaks of: where the cursor stands before it.
    pub fn from(&self) -> Offset {
        self.from
    }

    /// The offset after the last that it speaks of: where the cursor stands behind it.
    pub fn to(&self) -> Offset {
        self.to
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether there is no event in it. The cursor moves all the same.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Bytes of payload.
    pub fn bytes(&self) -> usize {
        self.rows[self.taken.clone()].iter().map(|row| row.bytes as usize).sum()
    }

    /// The events, in order.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Event<'_>> + ExactSizeIterator {
        self.rows[self.taken.clone()].iter().map(|row| self.blocks[row.block as usize].event(row.event as usize))
    }

    /// The events, each with what is known beside its payload: a JSON object.
    pub fn enriched_events(&self) -> impl DoubleEndedIterator<Item = (Event<'_>, Option<&str>)> + ExactSizeIterator {
        let first = self.taken.start;
        self.events().enumerate().map(move |(place, event)| {
            let enriched = self.enriched.as_ref().and_then(|enriched| enriched[first + place].as_deref());
            (event, enriched)
        })
    }

    /// Whether it was seen to what is known beside the payloads.
    pub fn is_enriched(&self) -> bool {
        self.enriched.is_some()
    }

    /// The same with what is known beside the payloads, one for each event.
    ///
    /// # Panics
    /// If it is for another number of events.
    #[must_use]
    pub fn enriched_with(self, known: Vec<Option<Box<str>>>) -> Self {
        assert_eq!(known.len(), self.len(), "one for each event");
        let (before, behind) = (self.taken.start, self.rows.len() - self.taken.end);
        let nothing = |count| std::iter::repeat_with(|| None).take(count);
        let enriched = nothing(before).chain(known).chain(nothing(behind)).collect();
        Self { enriched: Some(enriched), ..self }
    }

    /// Events of this span that were put aside.
    pub fn parked(&self) -> &[Parked] {
        &self.parked
    }

    /// Its first part, with so many events, and the rest. The parts' spans adjoin.
    ///
    /// # Panics
    /// If there are fewer than `events + 1`.
    #[must_use]
    pub fn split_at(&self, events: usize) -> (Self, Self) {
        assert!(events < self.len(), "both parts of a batch have something to be about");
        let middle = self.taken.start + events;
        let border = self.rows[middle].offset;
        let (before, behind) = self.parked.iter().cloned().partition(|parked: &Parked| parked.offset < border.0);
        let first = Self { to: border, taken: self.taken.start..middle, parked: before, ..self.clone() };
        let second = Self { from: border, taken: middle..self.taken.end, parked: behind, ..self.clone() };
        (first, second)
    }

    /// The same span without its only event, which is put aside.
    ///
    /// # Panics
    /// If there is not exactly one.
    #[must_use]
    pub fn park(&self, reason: &str) -> Self {
        assert_eq!(self.len(), 1, "one row is put aside at a time");
        let mut parked = self.parked.clone();
        parked.extend(self.events().map(|event| Parked {
            offset: event.offset.0,
            monitor: event.monitor.to_owned(),
            domain: event.domain.to_owned(),
            parked_time: UnixNanos::now().to_string(),
            reason: reason.to_owned(),
            payload: payload_text(event.payload).into_owned(),
        }));
        Self { taken: self.taken.start..self.taken.start, parked, ..self.clone() }
    }
}

/// Puts a [`Batch`] together.
#[derive(Debug)]
pub struct BatchBuilder {
    from: Offset,
    to: Offset,
    /// Nothing at or behind this is taken, nor spoken of.
    end: Offset,
    blocks: Vec<Arc<Block>>,
    rows: Vec<Row>,
    bytes: usize,
}

/// The most that a batch takes.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Events.
    pub rows: usize,
    /// Bytes of payload. A larger event is alone.
    pub bytes: usize,
}

impl BatchBuilder {
    /// A batch that begins where the cursor stands.
    pub fn new(from: Offset) -> Self {
        Self { from, to: from, end: Offset(u64::MAX), blocks: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    /// The same, which ends before `end` whatever it is given.
    #[must_use]
    pub fn ending_at(self, end: Offset) -> Self {
        Self { end, ..self }
    }

    /// Takes those events of a block that `wanted` says yes to. Blocks come in the order of the journal.
    pub fn add(&mut self, block: impl Into<Arc<Block>>, wanted: impl Fn(&Event<'_>) -> bool) {
        self.fill(&block.into(), wanted, BatchLimits { rows: usize::MAX, bytes: usize::MAX });
    }

    /// As [`BatchBuilder::add`], as far as `limits` allow. False when it is full before the block's end: the next batch, which
    /// begins where this one ends, takes the rest of the same block.
    ///
    /// # Panics
    /// After 2^32 blocks.
    pub fn fill(&mut self, block: &Arc<Block>, wanted: impl Fn(&Event<'_>) -> bool, limits: BatchLimits) -> bool {
        let number = u32::try_from(self.blocks.len()).expect("a batch has fewer than 2^32 blocks");
        let before = self.rows.len();
        let mut whole = true;
        for (event, index) in block.numbered_events_from(self.to) {
            if event.offset >= self.end || !wanted(&event) {
                continue;
            }
            let more = event.payload.len();
            let room = self.rows.len() < limits.rows && self.bytes.saturating_add(more) <= limits.bytes;
            if !room && !self.rows.is_empty() {
                self.to = event.offset;
                whole = false;
                break;
            }
            let bytes = u32::try_from(more).unwrap_or(u32::MAX);
            self.bytes += more;
            let event_index = u32::try_from(index).expect("a block has fewer than 2^32 events");
            self.rows.push(Row { block: number, event: event_index, offset: event.offset, bytes });
        }
        if self.rows.len() > before {
            self.blocks.push(Arc::clone(block));
        }
        if whole {
            self.reach(block.header().end());
        }
        whole
    }

    /// Nothing up to `to` is wanted.
    pub fn reach(&mut self, to: Offset) {
        self.to = self.to.max(to.min(self.end));
    }

    /// How far it reaches so far.
    pub fn to(&self) -> Offset {
        self.to
    }

    /// How many events so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no event so far.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of payload so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The whole.
    pub fn finish(self) -> Batch {
        let taken = 0..self.rows.len();
        let (blocks, rows) = (self.blocks.into(), self.rows.into());
        Batch { from: self.from, to: self.to, blocks, rows, taken, enriched: None, parked: Vec::new() }
    }
}
