//! The journal around a gap: where it begins and ends, where that is not a matter of time, and which ids are known. Blocking.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::declaration::Range;
use super::place::Place;
use crate::clock::UnixNanos;
use crate::config::RangeOf;
use crate::journal::{
    BlockFilter, Event, FETCHED_MONITOR, Journal, JournalError, JournalReader, OWN_DOMAIN, Passage, TimeRange,
};
use crate::monitor::event_id::DedupeKey;
use crate::monitor::fetched::FetchedRecord;
use crate::pipeline::dedupe::DedupeWindow;
use crate::scanner::{Fields, PointerSet, Utf8};

/// How far back is looked for the last event before a gap, one after the other. Source: a guess: mostly it is within the first.
const LOOK_BACK: [Option<Duration>; 5] = [
    Some(Duration::from_mins(1)),
    Some(Duration::from_mins(15)),
    Some(Duration::from_hours(3)),
    Some(Duration::from_hours(48)),
    None,
];

/// Ids from so long before what is asked for are remembered too: clocks differ, and events come late. Source: a guess.
const MARGIN_MIN: Duration = Duration::from_mins(1);

/// Behind a block whose events are all later than this, none is earlier. Source: a guess, far above what a block waits.
const BLOCKS_OVERLAP: Duration = Duration::from_mins(1);

/// Whose events, of which topic.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) monitor: Arc<str>,
    pub(super) topic: Arc<str>,
}

/// Where a gap begins: the greatest place before it, and since when everything was received that stands no further back than the
/// overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) place: Place,
    pub(super) since: UnixNanos,
}

/// Reads places out of journaled events.
pub(super) struct Edges<'a> {
    pub(super) subject: &'a Subject,
    pub(super) range: &'a Range,
}

impl Edges<'_> {
    /// The place where an event stands; none where it does not say.
    fn place(&self, at: &PointerSet, event: &Event<'_>, fields: &mut Fields) -> Option<Place> {
        if self.range.of == RangeOf::Topic && *event.topic != *self.subject.topic {
            return None;
        }
        at.scan(event.payload, Utf8::Unchecked, fields).ok()?;
        (0..at.len()).find_map(|slot| self.range.measure.read(fields.get(slot)?.of(event.payload)))
    }

    /// The last place before a gap that begins at `start`; none where there is none in the journal.
    pub(super) fn before(&self, reader: &mut JournalReader, start: UnixNanos) -> Result<Option<Before>, JournalError> {
        let Some(at) = &self.range.at else { return Ok(None) };
        let mut fields = Fields::default();
        for back in LOOK_BACK {
            let least = back.map_or(UnixNanos(i64::MIN), |back| start.saturating_sub(back));
            let mut seen: Vec<(Place, UnixNanos)> = Vec::new();
            let mut greatest: Option<Place> = None;
            let mut reaches_over = false;
            self.each(reader, least, start, |event| {
                let Some(place) = self.place(at, event, &mut fields) else { return ControlFlow::Continue(()) };
                let is_greater = match (place.number(), greatest.as_ref().and_then(Place::number)) {
                    (Some(new), Some(known)) => new > known,
                    // Texts are in no order but that in which they came.
                    _ => true,
                };
                if is_greater {
                    greatest = Some(place.clone());
                    // Only what is within the overlap is kept: it is a handful.
                    let overlap = self.range.overlap;
                    let far = |(other, _): &(Place, UnixNanos)| {
                        place.number().zip(other.number()).is_some_and(|(place, other)| other < place - overlap)
                    };
                    let before = seen.len();
                    seen.retain(|other| !far(other));
                    reaches_over |= seen.len() < before;
                    seen.push((place, event.received));
                }
                ControlFlow::Continue(())
            })?;
            if let Some(place) = greatest
                && (reaches_over || self.range.overlap == 0 || back.is_none())
            {
                let since = seen.iter().map(|(_, received)| *received).min().unwrap_or(start);
                return Ok(Some(Before { place, since }));
            }
        }
        Ok(None)
    }

    /// The first place after a gap that ended at `end`, of what a link has brought since; none yet.
    pub(super) fn after(&self, reader: &mut JournalReader, end: UnixNanos) -> Result<Option<Place>, JournalError> {
        self.first(reader, end, UnixNanos(i64::MAX))
    }

    /// Where a gap begins: behind the last event before it. A topic that has brought nothing before may have done so within: a crash counts
    /// from a little before the end of the journal, and loses what came last.
    pub(super) fn beginning(
        &self,
        reader: &mut JournalReader,
        (start, end): (UnixNanos, UnixNanos),
    ) -> Result<Option<Before>, JournalError> {
        if let Some(before) = self.before(reader, start)? {
            return Ok(Some(before));
        }
        Ok(self.first(reader, start, end)?.map(|place| Before { place, since: start }))
    }

    /// The place of the first event that a link has brought between two moments.
    fn first(
        &self,
        reader: &mut JournalReader,
        least: UnixNanos,
        greatest: UnixNanos,
    ) -> Result<Option<Place>, JournalError> {
        let Some(at) = &self.range.at else { return Ok(None) };
        let (mut fields, mut found) = (Fields::default(), None);
        self.each(reader, least, greatest, |event| {
            // What was fetched for this gap before, or for another, stands further back.
            if !event.block().has_monitor(FETCHED_MONITOR, OWN_DOMAIN) {
                found = self.place(at, event, &mut fields);
            }
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// Every event of the monitor that was received from `least` up to `greatest`.
    fn each(
        &self,
        reader: &mut JournalReader,
        least: UnixNanos,
        greatest: UnixNanos,
        mut take: impl FnMut(&Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        let filter = BlockFilter {
            monitors: vec![self.subject.monitor.to_string()],
            received: Some(TimeRange { least, greatest }),
            ..BlockFilter::all()
        };
        let beyond = Cell::new(false);
        reader.seek_received(least)?;
        while let Some(passage) = reader.next_passage(|header| {
            // Blocks of several links overlap in time by what a batch waits.
            beyond.set(header.received().least > greatest.saturating_add(BLOCKS_OVERLAP));
            filter.may_admit(header)
        })? {
            if let Passage::Block(block) = passage {
                for event in block.events().filter(|event| filter.admits(event) && !event.domain.starts_with('_')) {
                    if take(&event).is_break() {
                        return Ok(());
                    }
                }
            }
            if beyond.get() {
                break;
            }
        }
        Ok(())
    }
}

/// What the journal has of a gap already: its ids in the window, and how many events were fetched for it by an earlier attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Ids that were remembered.
    pub ids: u64,
    /// Events that were fetched before.
    pub fetched: u64,
    /// When it was read.
    pub at: Instant,
}

impl Known {
    /// Reads the ids of everything that a monitor received since `since`, and a little before, back into the window.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn remember(
        journal: &Journal,
        window: &DedupeWindow,
        monitor: &str,
        since: UnixNanos,
        gap: Option<u64>,
    ) -> Result<Self, JournalError> {
        let since = since.saturating_sub(window.ttl().max(MARGIN_MIN));
        let filter = BlockFilter {
            monitors: vec![monitor.to_owned(), FETCHED_MONITOR.to_owned()],
            received: Some(TimeRange { least: since, greatest: UnixNanos(i64::MAX) }),
            ..BlockFilter::all()
        };
        let mut reader = journal.reader();
        reader.seek_received(since)?;
        let now = Instant::now();
        let mut known = Self { ids: 0, fetched: 0, at: now };
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                if event.domain == OWN_DOMAIN {
                    if gap.is_some()
                        && event.monitor == FETCHED_MONITOR
                        && let Ok(record) = serde_json::from_slice::<FetchedRecord>(event.payload)
                        && record.gap == gap
                    {
                        known.fetched += u64::from(record.events);
                    }
                } else if let Some(hash) = event.hash() {
                    let key = DedupeKey { hash: hash.hash, payload_check: hash.payload_check, source: 0 };
                    window.remember_anew(now, key);
                    known.ids += 1;
                }
            }
        }
        Ok(known)
    }
}
