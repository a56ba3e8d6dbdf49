//! Parses quarantined frames again, by the rules and through the dedupe window of the running daemon.
//!
//! What comes of a frame counts as messages anew, so that each monitor's account goes on adding up: the frame itself stays
//! counted as quarantined. A record in the same block says which frame it was, and keeps it from being parsed a third time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use tokio::time::Instant;

use super::units::UnitKey;
use super::watched::WatchedList;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::{BatchSettings, ByteSize};
use crate::dialect::{Frame, Session};
use crate::journal::{
    BlockFilter, EncodedBlock, Event, Journal, JournalError, JournalReader, JournalState, OWN_DOMAIN, Offset, Path,
    QUARANTINE_MONITOR, RETRIES_MONITOR,
};
use crate::monitor::quarantine::Quarantined;
use crate::monitor::reading::Reading;
use crate::monitor::retry::{RetryMarks, RetryRecord};
use crate::monitor::roster::Roster;
use crate::pipeline::batcher::{Batcher, OwnIdentities};
use crate::pipeline::dedupe::DedupeWindow;
use crate::server::{RetryOutcome, RetryRefusal, RetryReport, RetryRequest, RetryRow};
use crate::upstream::UpstreamControl;

/// The most frames of one request where it does not say. Source: a guess; some seconds of work.
const FRAMES_DEFAULT: usize = 10_000;

/// The most frames of one request: the answer holds a row for each.
const FRAMES_MAX: usize = 100_000;

/// Payload bytes of a batch here. A frame's events share a block with the record of the retry, so it is not cut where a link's
/// would be; the bound is for frames that a thousand monitors want.
const BATCH_BYTES_MAX: ByteSize = ByteSize(256 << 20);

/// The longest an answer waits for what it tells of to be durable.
const DURABLE_WAIT: Duration = Duration::from_secs(10);

/// Time between two looks. Source: a guess, half of what a sync takes.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What is needed to parse frames again.
pub(super) struct Retrier {
    pub(super) journal: Arc<Journal>,
    pub(super) window: Arc<DedupeWindow>,
    pub(super) clock: Arc<ReceivedClock>,
    pub(super) own: OwnIdentities,
    pub(super) batch: BatchSettings,
    pub(super) upstreams: Arc<WatchedList>,
    /// One at a time, so that none is parsed twice.
    pub(super) at_work: Mutex<()>,
}

/// Frames to be parsed.
#[derive(Debug, Default)]
struct Selected {
    offsets: BTreeSet<u64>,
    /// Of those asked for by offset, the ones there is nothing to do for.
    settled: Vec<RetryRow>,
    more: bool,
}

/// An upstream's frames being parsed.
struct Bench {
    roster: Arc<Roster>,
    reading: Reading,
    /// A conversation with nobody: what it wants to say is dropped.
    session: Box<dyn Session>,
    batcher: Batcher,
}

impl From<JournalError> for RetryRefusal {
    fn from(error: JournalError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Retrier {
    /// Parses frames again. Blocking.
    pub(super) fn run(&self, request: &RetryRequest) -> Result<RetryReport, RetryRefusal> {
        let _at_work = match self.at_work.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => return Err(RetryRefusal::Busy),
            // It guards no state.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let end = self.journal.durable();
        let mut reader = self.journal.reader();
        let _hold = self.journal.hold("quarantine retry", reader.earliest()?);
        let selected = self.select(&mut reader, request, end)?;
        let mut rows = selected.settled;
        let mut parser = Parser { retrier: self, dry_run: request.dry_run, benches: BTreeMap::new() };
        if let Some(first) = selected.offsets.first() {
            reader.seek(Offset(*first));
            let filter = own_events(&[QUARANTINE_MONITOR]);
            while let Some(block) = reader.next_block(&filter)? {
                for event in block.events().filter(|event| selected.offsets.contains(&event.offset.0)) {
                    rows.push(parser.frame(&event)?);
                }
                if block.header().end() > Offset(*selected.offsets.last().unwrap_or(&0)) {
                    break;
                }
            }
        }
        parser.finish()?;
        rows.sort_by_key(|row| row.offset);
        let mut report = RetryReport { frames: rows, dry_run: request.dry_run, durable: true, more: selected.more };
        if !request.dry_run {
            self.await_durable(&mut report, end)?;
        }
        Ok(report)
    }

    /// Which frames are meant and were not parsed again before. Only offsets are kept of them: frames may be large.
    fn select(
        &self,
        reader: &mut JournalReader,
        request: &RetryRequest,
        end: Offset,
    ) -> Result<Selected, RetryRefusal> {
        let limit = request.limit.unwrap_or(FRAMES_DEFAULT).max(request.offsets.len()).clamp(1, FRAMES_MAX);
        if request.offsets.len() > FRAMES_MAX {
            return Err(RetryRefusal::Unusable(format!("at most {FRAMES_MAX} offsets can be named at once")));
        }
        let since = match request.since.as_deref().map(str::parse::<jiff::Timestamp>) {
            None => None,
            Some(Ok(time)) => Some(UnixNanos(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))),
            Some(Err(error)) => return Err(RetryRefusal::Unusable(format!("`since`: {error}"))),
        };
        let named: HashSet<u64> = request.offsets.iter().copied().collect();
        let meant = |event: &Event<'_>| {
            (named.is_empty() || named.contains(&event.offset.0))
                && since.is_none_or(|since| event.received >= since)
                && request.monitor.as_deref().is_none_or(|name| event.key().is_some_and(|key| key == name))
        };
        let mut from = reader.earliest()?;
        if let Some(since) = since {
            reader.seek_received(since)?;
            from = from.max(reader.position());
        }
        if let Some(first) = named.iter().min() {
            from = from.max(Offset(*first));
        }
        let mut retried_named = HashSet::new();
        // A window of frames at a time, so that memory is bounded; each needs one look at all records behind it.
        loop {
            reader.seek(from);
            let mut frames = BTreeSet::new();
            let mut next = None;
            while let Some(block) = reader.next_block(&own_events(&[QUARANTINE_MONITOR, RETRIES_MONITOR]))? {
                if block.header().base() >= end {
                    break;
                }
                for event in block.events().filter(|event| event.offset < end && event.monitor == QUARANTINE_MONITOR) {
                    if !meant(&event) {
                        continue;
                    }
                    if frames.len() < FRAMES_MAX {
                        frames.insert(event.offset.0);
                    } else {
                        next.get_or_insert(event.offset);
                    }
                }
                if block.has_monitor(RETRIES_MONITOR, OWN_DOMAIN) {
                    for (_, record) in RetryMarks::records(&block) {
                        if frames.remove(&record.retried) && named.contains(&record.retried) {
                            retried_named.insert(record.retried);
                        }
                    }
                }
                self.check_open()?;
            }
            // More may be left than this window had, and less than it was asked for.
            let left = frames.len() > limit || next.is_some();
            if frames.is_empty()
                && let Some(next) = next
            {
                from = next;
                continue;
            }
            let offsets: BTreeSet<u64> = frames.into_iter().take(limit).collect();
            let settled = named
                .iter()
                .filter(|offset| !left && !offsets.contains(offset))
                .map(|offset| {
                    let was = retried_named.contains(offset);
                    row(*offset, None, if was { RetryOutcome::AlreadyRetried } else { RetryOutcome::Missing })
                })
                .collect();
            return Ok(Selected { offsets, settled, more: left });
        }
    }

    /// Waits until the records that were journaled can be read, and tells which events came of each frame.
    fn await_durable(&self, report: &mut RetryReport, from: Offset) -> Result<(), RetryRefusal> {
        let mut awaited: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, row) in report.frames.iter().enumerate() {
            if matches!(row.outcome, RetryOutcome::Event | RetryOutcome::Repeat | RetryOutcome::Control) {
                awaited.insert(row.offset, at);
            }
        }
        let deadline = Instant::now() + DURABLE_WAIT;
        let mut reader = self.journal.reader();
        reader.seek(from);
        let filter = own_events(&[RETRIES_MONITOR]);
        while !awaited.is_empty() {
            let Some(block) = reader.next_block(&filter)? else {
                if Instant::now() >= deadline || self.check_open().is_err() {
                    report.durable = false;
                    break;
                }
                std::thread::sleep(LOOK_INTERVAL);
                continue;
            };
            let marks = RetryMarks::of(&block);
            for (_, record) in RetryMarks::records(&block) {
                if let Some(at) = awaited.remove(&record.retried)
                    && record.events > 0
                {
                    report.frames[at].first_event = marks.events_of(record.retried).map(|events| events.start.0);
                }
            }
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), RetryRefusal> {
        match self.journal.state() {
            JournalState::Writable | JournalState::Full { .. } => Ok(()),
            JournalState::Failed(error) => Err(RetryRefusal::Unavailable(error.to_string())),
            JournalState::Closed => Err(RetryRefusal::Unavailable("the daemon is stopping".to_owned())),
        }
    }

    /// Hands a block over, however long it takes: its ids are remembered by now, so it must not be dropped.
    fn submit(&self, mut block: EncodedBlock) -> Result<(), RetryRefusal> {
        loop {
            match self.journal.try_submit(block) {
                Ok(()) => return Ok(()),
                Err(back) => block = back,
            }
            self.check_open()?;
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// The frames of one request.
struct Parser<'a> {
    retrier: &'a Retrier,
    dry_run: bool,
    benches: BTreeMap<UnitKey, Bench>,
}

impl Parser<'_> {
    fn frame(&mut self, event: &Event<'_>) -> Result<RetryRow, RetryRefusal> {
        let key = event.key().unwrap_or_default().into_owned();
        let refused = |outcome, reason: String| {
            Ok(RetryRow { reason: Some(reason), ..row(event.offset.0, Some(key.clone()), outcome) })
        };
        let Ok(frame) = serde_json::from_slice::<Quarantined>(event.payload) else {
            return refused(RetryOutcome::Unreadable, "its record in the journal is in no form we know".to_owned());
        };
        let message = match frame.message() {
            Ok(message) => message,
            Err(reason) => return refused(RetryOutcome::Cut, reason),
        };
        let retrier = self.retrier;
        let units = &retrier.upstreams;
        let control = units.control_of(&frame.upstream, &key).or_else(|| units.control(&frame.upstream));
        let Some(control) = control else {
            return refused(RetryOutcome::Orphaned, format!("no monitor watches upstream `{}`", frame.upstream));
        };
        let unit = match control.roster().path {
            Path::Smart => UnitKey::pool(&frame.upstream),
            Path::Legacy => UnitKey::dedicated(&frame.upstream, &key),
        };
        let bench = self.benches.entry(unit).or_insert_with(|| Bench::new(retrier, &control));
        let received = retrier.clock.stamp();
        if let Err(reason) = bench.read(&frame, &message, received) {
            return refused(RetryOutcome::Orphaned, reason);
        }
        let burst = bench.reading.burst();
        let reason =
            burst.quarantined.first().and_then(|frame| serde_json::from_slice::<Quarantined>(&frame.payload).ok());
        let reason = reason.map(|frame| frame.reason);
        let quarantined = u32::try_from(burst.quarantined.len()).unwrap_or(u32::MAX);
        let candidates = u32::try_from(burst.candidates.len()).unwrap_or(u32::MAX);
        let control = burst.control();
        if candidates == 0 && control == 0 {
            let reason = reason.unwrap_or_else(|| "the dialect kept it back".to_owned());
            return refused(RetryOutcome::Unreadable, reason);
        }
        let mut told =
            RetryRow { quarantined, reason, ..row(event.offset.0, Some(key.clone()), RetryOutcome::Control) };
        if self.dry_run {
            told.events = candidates;
        } else {
            // The last moment at which nothing is remembered yet.
            if !matches!(retrier.journal.state(), JournalState::Writable) {
                return Err(RetryRefusal::Unavailable("the journal takes nothing now; see `sluice health`".to_owned()));
            }
            let now = Instant::now();
            let mut closed = Vec::new();
            let before = bench.batcher.events();
            let absorbed = bench.batcher.absorb(burst, received, now, &mut closed);
            let after = bench.batcher.events();
            let marks = if closed.is_empty() { after - before } else { after };
            let record = RetryRecord {
                retried: event.offset.0,
                monitor: frame.monitor,
                upstream: frame.upstream,
                events: absorbed.events,
                repeats: absorbed.repeats,
                control,
                quarantined,
                marks,
            };
            bench.batcher.record_retry(&record, &key, received, now);
            if bench.batcher.events() >= retrier.batch.max_size
                || bench.batcher.bytes() >= retrier.batch.max_bytes.as_usize()
            {
                closed.extend(bench.batcher.close());
            }
            for block in closed {
                retrier.submit(block)?;
            }
            (told.events, told.repeats) = (absorbed.events, absorbed.repeats);
        }
        told.outcome = match (told.events, told.repeats) {
            (0, 0) => RetryOutcome::Control,
            (0, _) => RetryOutcome::Repeat,
            _ => RetryOutcome::Event,
        };
        Ok(told)
    }

    /// Hands over what is left.
    fn finish(&mut self) -> Result<(), RetryRefusal> {
        for bench in self.benches.values_mut() {
            if let Some(block) = bench.batcher.close() {
                self.retrier.submit(block)?;
            }
        }
        Ok(())
    }
}

impl Bench {
    fn new(retrier: &Retrier, control: &UpstreamControl) -> Self {
        let roster = control.roster();
        let settings = BatchSettings { max_size: u32::MAX, max_bytes: BATCH_BYTES_MAX, ..retrier.batch.clone() };
        let (own, window) = (retrier.own.clone(), Arc::clone(&retrier.window));
        Self {
            reading: Reading::again(Arc::clone(&roster)),
            session: control.dialect().session(&roster.topics, &roster.plan),
            batcher: Batcher::new(settings, Arc::clone(&roster), own, window).dropping_repeats(),
            roster,
        }
    }

    /// Reads a message: for its monitor alone, where it had got as far as that, else by the dialect as if it came now. The error
    /// says what is not in the settings any more.
    fn read(&mut self, frame: &Quarantined, message: &[u8], received: UnixNanos) -> Result<(), String> {
        self.reading.begin(received);
        let Some(name) = &frame.monitor else {
            let message = match std::str::from_utf8(message) {
                Ok(text) => Frame::Text(text),
                Err(_) => Frame::Binary(message),
            };
            self.session.receive(message, &mut self.reading, &mut Vec::new());
            // What it says of subscriptions is about a conversation that is long over.
            self.reading.take_news();
            return Ok(());
        };
        let monitor =
            self.roster.monitor_named(name).ok_or_else(|| format!("there is no monitor `{name}` any more"))?;
        let topic = frame.topic.as_deref().unwrap_or_default();
        // What was an element of a message is a part of the text already.
        let mut view = Vec::new();
        let is_view = frame.envelope.is_none() && self.session.view(message, &mut view).unwrap_or(false);
        let view = is_view.then_some(&*view);
        let watched =
            self.roster.topic_named(topic).is_some_and(|topic| self.reading.message_for(monitor, topic, message, view));
        if watched { Ok(()) } else { Err(format!("monitor `{name}` does not watch topic `{topic}` any more")) }
    }
}

fn own_events(monitors: &[&str]) -> BlockFilter {
    BlockFilter {
        monitors: monitors.iter().map(|&monitor| monitor.to_owned()).collect(),
        domains: vec![OWN_DOMAIN.to_owned()],
        ..BlockFilter::all()
    }
}

fn row(offset: u64, monitor: Option<String>, outcome: RetryOutcome) -> RetryRow {
    RetryRow { offset, monitor, outcome, events: 0, first_event: None, repeats: 0, quarantined: 0, reason: None }
}
