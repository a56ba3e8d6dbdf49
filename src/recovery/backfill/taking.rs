//! Items on their way into the journal: read by the monitor's rules, through the dedupe window, with a record of where they came from.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fill::FillError;
use super::items::{Item, ItemForm};
use super::place::Span;
use super::walk::Page;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::{BatchSettings, ByteSize};
use crate::dialect::TopicId;
use crate::journal::{EncodedBlock, Journal, JournalState};
use crate::monitor::burst::CandidateId;
use crate::monitor::event_id::DedupeKey;
use crate::monitor::fetched::{FetchedBy, FetchedRecord};
use crate::monitor::gap::LedgerRecord;
use crate::monitor::reading::Reading;
use crate::monitor::roster::Roster;
use crate::pipeline::batcher::{Batcher, OwnIdentities};
use crate::pipeline::dedupe::DedupeWindow;

/// Messages and bytes that are judged together. Source: as a link's burst.
const BURST_MESSAGES_MAX: usize = 1024;
const BURST_BYTES_MAX: usize = 256 << 10;

/// Payload bytes of a batch here. A burst's events share a block with the record of them, so it is not cut where a link's
/// would be.
const BATCH_BYTES_MAX: ByteSize = ByteSize(256 << 20);

/// What is fetched waits while the journal's queue is fuller than this part of it, so that links never wait for it.
const QUEUE_SHARE_MAX: usize = 4;

/// Time between two looks. Source: a guess, half of what a sync takes.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Counts of what was fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Events that are new.
    pub(super) events: u64,
    /// Items that the journal had already.
    pub(super) repeats: u64,
    /// Items that were not asked for.
    pub(super) foreign: u64,
    /// Items that could not be read.
    pub(super) unreadable: u64,
}

/// Takes items of one topic of a monitor.
pub struct Taker {
    journal: Arc<Journal>,
    clock: Arc<ReceivedClock>,
    reading: Reading,
    batcher: Batcher,
    batch: BatchSettings,
    window: Arc<DedupeWindow>,
    monitor: u32,
    topic: TopicId,
    record: FetchedRecord,
    message: Vec<u8>,
    pub(super) taken: Taken,
}

/// What a taker is made of.
pub struct Bench {
    /// Where events go.
    pub journal: Arc<Journal>,
    /// What was seen lately.
    pub window: Arc<DedupeWindow>,
    /// Stamps what is received.
    pub clock: Arc<ReceivedClock>,
    /// What the journal calls the daemon's own events.
    pub own: OwnIdentities,
    /// When a batch is closed.
    pub batch: BatchSettings,
}

impl Taker {
    /// For a topic of a monitor, for a gap or for none.
    ///
    /// # Errors
    /// When the roster's monitor does not watch the topic; in words.
    pub fn new(
        bench: &Bench,
        roster: Arc<Roster>,
        (monitor, topic): (&str, &str),
        (by, gap): (FetchedBy, Option<u64>),
    ) -> Result<Self, String> {
        let index = roster.monitor_named(monitor).ok_or_else(|| format!("there is no monitor `{monitor}` any more"))?;
        if roster.monitors[index as usize].pause.is_some() {
            return Err(format!("monitor `{monitor}` is stopped or rests"));
        }
        let id = roster
            .topic_named(topic)
            .filter(|id| roster.routes_of(*id).any(|route| roster.routes[route as usize].monitor == index));
        let id = id.ok_or_else(|| format!("monitor `{monitor}` does not watch topic `{topic}` any more"))?;
        let record = FetchedRecord {
            by,
            gap,
            monitor: monitor.to_owned(),
            upstream: roster.upstream.clone(),
            topic: topic.to_owned(),
            events: 0,
            repeats: 0,
            marks: 0,
        };
        let settings = BatchSettings { max_size: u32::MAX, max_bytes: BATCH_BYTES_MAX, ..bench.batch.clone() };
        Ok(Self {
            journal: Arc::clone(&bench.journal),
            clock: Arc::clone(&bench.clock),
            reading: Reading::new(Arc::clone(&roster)),
            batcher: Batcher::new(settings, roster, bench.own.clone(), Arc::clone(&bench.window)).dropping_repeats(),
            batch: bench.batch.clone(),
            window: Arc::clone(&bench.window),
            monitor: index,
            topic: id,
            record,
            message: Vec::new(),
            taken: Taken::default(),
        })
    }

    /// Takes the items of an answer; those outside of `span` are left. Says where they stand.
    ///
    /// # Errors
    /// When the journal takes no more, or what comes twice could not be told.
    pub(super) async fn take(
        &mut self,
        items: &[&[u8]],
        form: &mut ItemForm,
        span: Option<(&Span, i128)>,
    ) -> Result<Page, FillError> {
        let mut page = Page { items: items.len(), ..Page::default() };
        let mut received = self.clock.stamp();
        self.reading.begin(received);
        for item in items {
            let mut message = std::mem::take(&mut self.message);
            match form.read(item, &mut message) {
                Ok(Item::Foreign) => self.taken.foreign += 1,
                Ok(Item::Ours(place)) => {
                    let at = place.as_ref().and_then(super::place::Place::number);
                    page.least = [page.least, at].into_iter().flatten().min();
                    page.greatest = page.greatest.max(at);
                    if span.zip(place.as_ref()).is_none_or(|((span, grain), place)| span.has(place, grain)) {
                        self.reading.message_for(self.monitor, self.topic, &message, None);
                    } else {
                        self.taken.foreign += 1;
                    }
                }
                Err(reason) => self.reading.unreadable_for(self.monitor, self.topic, &reason, item),
            }
            self.message = message;
            let burst = self.reading.burst();
            if burst.candidates.len() >= BURST_MESSAGES_MAX || burst.payload_bytes() >= BURST_BYTES_MAX {
                self.absorb(received).await?;
                received = self.clock.stamp();
                self.reading.begin(received);
            }
        }
        self.absorb(received).await?;
        if self.record.by == FetchedBy::Poll {
            // A backfill may come upon the same and take it for journaled: it must be so before the gap is told as filled.
            self.finish(&[]).await?;
        }
        Ok(page)
    }

    async fn absorb(&mut self, received: UnixNanos) -> Result<(), FillError> {
        let burst = self.reading.burst();
        if burst.is_empty() {
            return Ok(());
        }
        if burst.candidates.iter().any(|candidate| candidate.id == CandidateId::None) {
            let reason = "events of this topic have no `id`, so that what comes twice could not be told";
            return Err(FillError::Refused(reason.into()));
        }
        self.taken.unreadable += burst.quarantined.len() as u64;
        for key in &mut burst.keys {
            // It has the same id and another text than what a link brings.
            (key.payload_check, key.source) = (DedupeKey::ANY_PAYLOAD, 0);
        }
        let (now, mut closed) = (Instant::now(), Vec::new());
        let before = self.batcher.events();
        let absorbed = self.batcher.absorb(burst, received, now, &mut closed);
        let after = self.batcher.events();
        for key in &burst.keys {
            // What an endpoint tells of again and again is known for as long as it does.
            self.window.remember_anew(now, *key);
        }
        self.taken.events += u64::from(absorbed.events);
        self.taken.repeats += u64::from(absorbed.repeats);
        if absorbed.events > 0 {
            let marks = if closed.is_empty() { after - before } else { after };
            let (events, repeats) = (absorbed.events, absorbed.repeats);
            let record = FetchedRecord { events, repeats, marks, ..self.record.clone() };
            self.batcher.record_fetched(&record, received, now);
        }
        if self.batcher.events() >= self.batch.max_size || self.batcher.bytes() >= self.batch.max_bytes.as_usize() {
            closed.extend(self.batcher.close());
        }
        for block in closed {
            self.submit(block).await?;
        }
        Ok(())
    }

    /// Puts records of the ledger behind everything that was taken, and hands all of it over.
    ///
    /// # Errors
    /// When the journal takes no more.
    pub(super) async fn finish(&mut self, records: &[LedgerRecord]) -> Result<(), FillError> {
        let mut closed = Vec::new();
        self.batcher.record_ledger(records, self.clock.stamp(), Instant::now(), &mut closed);
        closed.extend(self.batcher.close());
        for block in closed {
            self.submit(block).await?;
        }
        Ok(())
    }

    /// Hands a block over, however long it takes: its ids are remembered by now, so it must not be dropped.
    async fn submit(&self, mut block: EncodedBlock) -> Result<(), FillError> {
        loop {
            if self.journal.queued().0 < Journal::QUEUE_BYTES_MAX / QUEUE_SHARE_MAX {
                match self.journal.try_submit(block) {
                    Ok(()) => return Ok(()),
                    Err(back) => block = back,
                }
            }
            match self.journal.state() {
                JournalState::Writable | JournalState::Full { .. } => {}
                JournalState::Failed(error) => return Err(FillError::Later(error.to_string())),
                JournalState::Closed => return Err(FillError::Stopped),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
