//! One sink at work: reads the journal behind its own cursor, writes to its store, tries again, puts aside what is refused.
//!
//! A runner is a task that waits for nobody but its store and its orders. All that it knows is its own; others see the
//! [`SinkStatus`]. What the store says of its cursor counts, always: after any error it is opened again and asked, so that a write of
//! which only the acknowledgement was lost is not written twice.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::{Batch, BatchBuilder, BatchLimits};
use super::following::{CURSOR_INTERVAL, Following};
use super::hold::RewindHold;
use super::interest::Interest;
use super::lost::{LostCause, LostLog, LostSpan, LostWhy};
use super::narrowing::Narrowing;
use super::pacing::Pacing;
use super::reading::ReadAhead;
use super::status::{Phase, SinkStatus};
use super::store::{Opening, Store, StoreError};
use crate::backoff::Backoff;
use crate::breaker::{BreakerState, Permit, Refusal};
use crate::clock::UnixNanos;
use crate::config::SinkSettings;
use crate::crash_point::crash_point;
use crate::enrich::Enrichment;
use crate::journal::{Journal, JournalError, Offset};
use crate::telemetry::SinkMetrics;

/// Waits between attempts: doubled from the least to the most, with jitter. Source: as links of upstreams have it.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Where a person must decide it is looked again now and then whether one has.
const STOPPED_RETRY: Duration = Duration::from_mins(1);

/// A cursor that is moved by somebody else is read again at once, but not for ever.
const MOVED_IN_A_ROW_MAX: u32 = 3;

/// The longest a store may take to close in order. What it leaves behind is settled when it is opened again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a runner is told; the newest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orders {
    /// Whether to run.
    pub(super) enabled: bool,
    /// An operator does not want what is before this.
    pub(super) start_at: Offset,
    /// Counts how often it was told to try at once.
    pub(super) nudges: u64,
    /// Counts how often a person decided to go on whatever the store remembers.
    pub(super) anew: u64,
    /// The journal is closed: end when everything was taken, or cannot be.
    pub(super) draining: bool,
}

/// What a runner is made of.
pub(super) struct Parts<S> {
    pub(super) store: S,
    pub(super) opening: Opening,
    pub(super) settings: SinkSettings,
    pub(super) interest: Arc<Interest>,
    pub(super) journal: Arc<Journal>,
    /// What was durable when the journal was opened.
    pub(super) durable_at_start: Offset,
    /// When the last event before that was received.
    pub(super) last_received: Option<UnixNanos>,
    /// Where the sink was when it was last heard of.
    pub(super) remembered: Option<Offset>,
    pub(super) status: Arc<SinkStatus>,
    pub(super) metrics: SinkMetrics,
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) lost_log: LostLog,
    pub(super) lost_why: LostWhy,
    /// What is known beside the payloads.
    pub(super) enrichment: Option<Arc<Enrichment>>,
}

/// A sink at work.
pub(super) struct Runner<S> {
    parts: Parts<S>,
    hold: Option<RewindHold>,
    backoff: Backoff,
    pacing: Pacing,
    following: Option<Following>,
    /// What its breaker shows.
    circuit: watch::Receiver<BreakerState>,
    /// For the attempt under way.
    permit: Option<Permit>,
    /// The furthest that a write of ours has ever tried to go.
    attempted: Offset,
    narrowing: Narrowing,
    moved_in_a_row: u32,
    disconnected_since: Option<Instant>,
    /// Of [`Orders::anew`], how many were carried out.
    anew_done: u64,
}

/// Why a runner does not go on following.
enum Pause {
    /// There are new orders.
    Ordered,
    /// It was to drain, and has.
    Drained,
}

/// What keeps a runner from going on.
enum Trouble {
    /// The store.
    Store(StoreError),
    /// The journal cannot be read.
    Journal(JournalError),
    /// A lost span cannot be put on record now.
    Unrecorded,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<S: Store> Runner<S> {
    /// Ready to run. What it may need of the journal is held from now on.
    pub(super) fn new(parts: Parts<S>) -> Self {
        let enabled = parts.orders.borrow().enabled;
        let hold = enabled.then(|| hold(&parts));
        let pacing = Pacing::new(usize::try_from(parts.settings.batch_max).unwrap_or(usize::MAX));
        Self {
            attempted: parts.durable_at_start,
            hold,
            pacing,
            circuit: parts.status.breaker.changes(),
            backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX),
            following: None,
            permit: None,
            narrowing: Narrowing::default(),
            moved_in_a_row: 0,
            disconnected_since: None,
            anew_done: 0,
            parts,
        }
    }

    /// Runs until it was told to drain, and has, or cannot.
    pub(super) async fn run(mut self) {
        loop {
            let orders = self.parts.orders.borrow_and_update().clone();
            if !orders.enabled {
                self.switch_off().await;
                if orders.draining || self.parts.orders.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let trouble = match self.serve(&orders).await {
                Ok(Pause::Ordered) => continue,
                Ok(Pause::Drained) => return self.close().await,
                Err(trouble) => trouble,
            };
            if self.rest(trouble).await.is_break() {
                return;
            }
        }
    }

    /// Opens the store, and follows the journal until something else is to be done.
    async fn serve(&mut self, orders: &Orders) -> Result<Pause, Trouble> {
        if self.hold.is_none() {
            self.hold = Some(hold(&self.parts));
        }
        self.parts.status.change(|now| {
            now.enabled = true;
            if now.phase == Phase::Off {
                now.phase = Phase::Disconnected;
            }
        });
        if self.permit.is_none() {
            self.permit = match self.parts.status.breaker.permit() {
                Ok(permit) => Some(permit),
                Err(refusal) => return Err(StoreError::Unavailable(refusal.to_string()).into()),
            };
        }
        let anew = orders.anew > self.anew_done;
        self.parts.opening.anew = anew;
        let opened = timed(self.parts.settings.timeout, self.parts.store.open(&self.parts.opening)).await;
        let cursor = match opened {
            Ok(cursor) => {
                self.anew_done = orders.anew;
                self.following = self.following.take().filter(|_| !anew);
                cursor
            }
            Err(error) => {
                self.settle(Some(&error));
                return Err(match error {
                    StoreError::Refused { reason, .. } => StoreError::Stop(reason),
                    other => other,
                }
                .into());
            }
        };
        self.reconcile(cursor, orders).await?;
        self.follow().await
    }

    /// Tells the breaker how an attempt went.
    fn settle(&mut self, error: Option<&StoreError>) {
        let Some(permit) = self.permit.take() else { return };
        match error {
            // A store that refuses a row is there.
            None | Some(StoreError::Refused { .. }) => permit.succeeded(),
            Some(StoreError::Unavailable(reason)) => permit.failed(reason),
            Some(StoreError::Moved(_) | StoreError::Stop(_)) => drop(permit),
        }
    }

    // --- where to go on ---

    /// Compares what the store says of its cursor with what we know.
    async fn reconcile(&mut self, cursor: Option<Offset>, orders: &Orders) -> Result<(), Trouble> {
        let name = Arc::clone(&self.parts.opening.sink);
        if let Some(cursor) = cursor
            && cursor > self.attempted
        {
            return Err(StoreError::Stop(format!(
                "it has taken events up to {cursor}, but this journal had {} when they should have come from it: was the journal \
                 restored from a backup, or does another daemon write to the same place? Stop, and put the newer journal back, or \
                 give the sink an empty place; nothing is written until then",
                self.attempted
            ))
            .into());
        }
        let keep = match (&mut self.following, cursor) {
            (None, _) => false,
            (Some(following), None) => !following.known,
            (Some(following), Some(cursor)) if cursor == following.cursor => {
                following.known = true;
                true
            }
            (Some(following), Some(cursor)) => match following.work.front() {
                // Only the acknowledgement was lost.
                Some(batch) if batch.to() == cursor => {
                    let batch = following.work.pop_front();
                    if let Some(batch) = batch {
                        self.took(&batch, None);
                    }
                    true
                }
                _ => {
                    if cursor < following.cursor {
                        tracing::warn!(
                            sink = %name,
                            "its store is at {cursor} and was at {}: it lost what it had confirmed; it gets that again",
                            following.cursor
                        );
                    }
                    false
                }
            },
        };
        if !keep {
            self.begin(cursor).await?;
        }
        self.skip_unwanted(orders.start_at)?;
        let Some(following) = &mut self.following else { unreachable!("it was kept or begun") };
        let (cursor, settled) = (following.cursor, following.settled());
        let figures = self.parts.store.figures();
        self.parts.status.change(|now| {
            now.cursor = Some(cursor);
            now.settled = settled;
            now.phase = Phase::Connected;
            now.error = None;
            now.figures = figures;
        });
        Ok(())
    }

    /// Reads from the store's cursor on; from the first event that is kept where it has none.
    async fn begin(&mut self, cursor: Option<Offset>) -> Result<(), Trouble> {
        let journal = Arc::clone(&self.parts.journal);
        let rewind_to = self.parts.last_received.map(|last| last.saturating_sub(self.parts.settings.rewind));
        let looked = tokio::task::spawn_blocking(move || {
            let mut reader = journal.reader();
            let earliest = reader.earliest()?;
            if let Some(rewind_to) = rewind_to {
                reader.seek_received(rewind_to)?;
            }
            Ok((earliest, reader.position()))
        });
        let (earliest, rewound) = match looked.await {
            Ok(looked) => looked.map_err(Trouble::Journal)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let from = cursor.unwrap_or(earliest);
        if let Some(hold) = &mut self.hold {
            hold.begin(rewound.min(from));
        }
        let bytes_max = self.parts.settings.read_ahead.as_usize();
        let ahead = ReadAhead::new(&self.parts.journal, Arc::clone(&self.parts.interest), bytes_max, from);
        let known = cursor.is_some();
        self.following = Some(Following { ahead, cursor: from, known, moved: Instant::now(), work: VecDeque::new() });
        Ok(())
    }

    /// Passes over what an operator does not want any longer.
    fn skip_unwanted(&mut self, start_at: Offset) -> Result<(), Trouble> {
        let Some(following) = &self.following else { return Ok(()) };
        let from = following.cursor;
        if from >= start_at || !following.work.is_empty() {
            return Ok(());
        }
        self.record_lost(from, start_at, LostCause::StartNow)?;
        let Some(following) = &mut self.following else { return Ok(()) };
        let bytes_max = self.parts.settings.read_ahead.as_usize();
        following.ahead = ReadAhead::new(&self.parts.journal, Arc::clone(&self.parts.interest), bytes_max, start_at);
        let mut skip = BatchBuilder::new(from);
        skip.reach(start_at);
        following.work.push_back(skip.finish());
        Ok(())
    }

    fn record_lost(&mut self, from: Offset, to: Offset, cause: LostCause) -> Result<(), Trouble> {
        let sink = self.parts.opening.sink.to_string();
        let span = LostSpan { sink, from: from.0, to: to.0, cause, time: UnixNanos::now().to_string() };
        if !(self.parts.lost_log)(&span) {
            return Err(Trouble::Unrecorded);
        }
        tracing::warn!(sink = %span.sink, %from, %to, ?cause, "a span of the journal is lost to this sink");
        self.parts.status.change(|now| now.lost += to.0 - from.0);
        Ok(())
    }

    fn record_holes(&mut self) -> Result<(), Trouble> {
        while let Some(following) = &mut self.following
            && let Some(&hole) = following.ahead.holes().first()
        {
            if !hole.is_empty() {
                self.record_lost(hole.from, hole.to, LostCause::Damage)?;
            }
            if let Some(following) = &mut self.following {
                following.ahead.holes().remove(0);
            }
        }
        Ok(())
    }

    // --- following ---

    async fn follow(&mut self) -> Result<Pause, Trouble> {
        loop {
            let (draining, wanted) = {
                let orders = self.parts.orders.borrow();
                (orders.draining, orders.enabled)
            };
            if !wanted {
                return Ok(Pause::Ordered);
            }
            self.record_holes()?;
            let Some(following) = &mut self.following else { unreachable!("the store was opened") };
            if let Some(batch) = following.work.front().cloned() {
                let batch = self.enrich(batch).await;
                self.write(&batch).await?;
                continue;
            }
            let now = Instant::now();
            let due = following.due(now, self.pacing.size(), self.parts.settings.flush_interval, draining);
            if due.is_some_and(|at| at <= now) {
                let limits = BatchLimits { rows: self.pacing.size(), bytes: self.parts.settings.read_ahead.as_usize() };
                let batch = following.ahead.take(following.cursor, limits);
                following.work.push_back(batch);
                continue;
            }
            if draining && due.is_none() && following.ahead.reached() >= self.parts.journal.durable() {
                return Ok(Pause::Drained);
            }
            // The store answered, and there is nothing for it to do.
            self.settle(None);
            self.answered();
            let Some(following) = &mut self.following else { unreachable!("the store was opened") };
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                ordered = self.parts.orders.changed() => {
                    if ordered.is_err() {
                        return Ok(Pause::Drained);
                    }
                    continue;
                }
                () = wait => continue,
                read = following.ahead.more() => read,
            };
            self.look_at(read)?;
        }
    }

    /// What became of reading on.
    fn look_at(&mut self, read: Result<(), JournalError>) -> Result<(), Trouble> {
        let Some(following) = &mut self.following else { unreachable!("somebody has read") };
        match read {
            Ok(()) => {
                let (settled, oldest) = (following.settled(), following.ahead.oldest_received());
                self.parts.status.change(|now| {
                    now.settled = settled;
                    now.oldest_waiting = oldest;
                });
                Ok(())
            }
            Err(JournalError::OffsetGone { earliest, .. }) if earliest > following.ahead.reached() => {
                let from = following.ahead.reached();
                self.record_lost(from, earliest, (self.parts.lost_why)(from))?;
                if let Some(following) = &mut self.following {
                    following.ahead.skip_to(earliest);
                }
                Ok(())
            }
            Err(error) => Err(Trouble::Journal(error)),
        }
    }

    /// What is next in hand with what is known beside its payloads. Waits a short time for what is looked up, unless there is more to
    /// write: who is behind does not fall further behind.
    async fn enrich(&mut self, batch: Batch) -> Batch {
        let Some(enrichment) = self.parts.enrichment.clone() else { return batch };
        if batch.is_empty() || batch.is_enriched() || enrichment.is_idle() {
            return batch;
        }
        let pending = enrichment.ask(batch.events());
        let Some(following) = &mut self.following else { return batch };
        if !pending.is_empty() && batch.len() < self.pacing.size() && !self.parts.orders.borrow().draining {
            let answered = enrichment.answered(pending);
            tokio::pin!(answered);
            let mut reads = true;
            loop {
                tokio::select! {
                    biased;
                    () = &mut answered => break,
                    // What goes wrong is met again, and dealt with, later.
                    read = following.ahead.more(), if reads => reads = read.is_ok(),
                }
            }
        }
        let known = enrichment.known(batch.events());
        let enriched = batch.enriched_with(known);
        // So that another attempt writes the same.
        if let Some(front) = following.work.front_mut() {
            *front = enriched.clone();
        }
        enriched
    }

    /// Writes what is next in hand; meanwhile it is read on.
    async fn write(&mut self, batch: &Batch) -> Result<(), Trouble> {
        if self.permit.is_none() {
            self.permit = match self.parts.status.breaker.permit() {
                Ok(permit) => Some(permit),
                Err(refusal) => return Err(StoreError::Unavailable(refusal.to_string()).into()),
            };
        }
        self.attempted = self.attempted.max(batch.to());
        let Some(following) = &mut self.following else { unreachable!("the store was opened") };
        let started = Instant::now();
        let written = {
            let write = timed(self.parts.settings.timeout, self.parts.store.write(batch));
            tokio::pin!(write);
            let mut reads = true;
            loop {
                tokio::select! {
                    biased;
                    written = &mut write => break written,
                    // What goes wrong is met again, and dealt with, when this is done.
                    read = following.ahead.more(), if reads => reads = read.is_ok(),
                }
            }
        };
        self.settle(written.as_ref().err());
        written?;
        crash_point!("sink.taken");
        if let Some(following) = &mut self.following {
            following.work.pop_front();
        }
        self.took(batch, Some(started.elapsed()));
        Ok(())
    }

    /// The store has this now.
    fn took(&mut self, batch: &Batch, latency: Option<Duration>) {
        self.answered();
        if let Some(latency) = latency {
            self.pacing.took(batch.len(), latency);
            self.parts.status.latency.record(latency, 1);
            self.parts.metrics.transaction(latency);
        }
        if !batch.is_empty() {
            self.narrowing.begin_anew();
        }
        let Some(following) = &mut self.following else { unreachable!("something was written") };
        following.cursor = batch.to();
        following.known = true;
        following.moved = Instant::now();
        if let Some(hold) = &mut self.hold {
            hold.cursor(batch.to());
        }
        let (settled, oldest) = (following.settled(), following.ahead.oldest_received());
        let last = batch.events().next_back().map(|event| event.received);
        let figures = self.parts.store.figures();
        self.parts.status.change(|now| {
            now.cursor = Some(batch.to());
            now.settled = settled;
            now.oldest_waiting = oldest;
            now.last_taken = last.or(now.last_taken);
            now.rows += batch.len() as u64;
            now.parked += batch.parked().len() as u64;
            now.figures = figures;
        });
    }

    fn answered(&mut self) {
        self.backoff.reset();
        self.moved_in_a_row = 0;
        if let Some(since) = self.disconnected_since.take() {
            tracing::info!(sink = %self.parts.opening.sink, "writing again, after {:.0?}", since.elapsed());
        }
    }

    // --- trouble ---

    /// Deals with what went wrong, and waits as long as that asks for. Break: it was to end, and does.
    async fn rest(&mut self, trouble: Trouble) -> ControlFlow<()> {
        self.permit = None;
        let (error, wait) = match trouble {
            Trouble::Store(StoreError::Refused { reason, offset }) => match self.narrow(&reason, offset) {
                Ok(()) => return ControlFlow::Continue(()),
                Err(message) => return self.stand_still(message).await,
            },
            Trouble::Store(StoreError::Stop(message)) => return self.stand_still(message).await,
            Trouble::Journal(
                error @ (JournalError::Damaged { .. }
                | JournalError::Incomplete { .. }
                | JournalError::Version { .. }
                | JournalError::Foreign { .. }),
            ) => return self.stand_still(error.to_string()).await,
            Trouble::Store(StoreError::Moved(message)) => {
                self.moved_in_a_row += 1;
                tracing::warn!(sink = %self.parts.opening.sink, "somebody else moved its cursor; it is read again: {message}");
                if self.moved_in_a_row <= MOVED_IN_A_ROW_MAX {
                    self.parts.status.change(|now| now.retries += 1);
                    return ControlFlow::Continue(());
                }
                (message, self.backoff.next(None))
            }
            Trouble::Store(StoreError::Unavailable(message)) => (message, self.backoff.next(None)),
            Trouble::Journal(error) => (error.to_string(), self.backoff.next(None)),
            Trouble::Unrecorded => (
                "a lost span cannot be put on record: the journal takes no more of the daemon's own events".into(),
                self.backoff.next(None),
            ),
        };
        if self.disconnected_since.is_none() {
            self.disconnected_since = Some(Instant::now());
            tracing::warn!(sink = %self.parts.opening.sink, "cannot write, trying again: {error}");
        }
        self.parts.status.change(|now| {
            now.phase = Phase::Disconnected;
            now.error = Some(error);
            now.retries += 1;
        });
        if self.wait(Instant::now() + wait).await.is_break() {
            return ControlFlow::Break(());
        }
        // As long as the breaker is open, and no longer.
        while self.parts.status.breaker.state() != BreakerState::Closed {
            let until = match self.parts.status.breaker.permit() {
                Ok(permit) => {
                    self.permit = Some(permit);
                    break;
                }
                Err(Refusal::Until(until)) => until,
                Err(Refusal::Probing | Refusal::Forced) => Instant::now() + CURSOR_INTERVAL,
            };
            if self.wait(until).await.is_break() {
                return ControlFlow::Break(());
            }
            if !self.parts.orders.borrow().enabled {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Waits, or until there are new orders, or its breaker changes. Break: it is to end, and there is no point in waiting on.
    async fn wait(&mut self, until: Instant) -> ControlFlow<()> {
        if self.parts.orders.borrow().draining {
            return ControlFlow::Break(());
        }
        self.circuit.mark_unchanged();
        tokio::select! {
            () = tokio::time::sleep_until(until) => ControlFlow::Continue(()),
            // An operator may have let it go. The other end is in `parts`, and lives as long.
            _ = self.circuit.changed() => ControlFlow::Continue(()),
            ordered = self.parts.orders.changed() => {
                if ordered.is_err() || self.parts.orders.borrow().draining {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }
        }
    }

    /// A person must decide. It is looked again now and then, and at once when an operator says so.
    async fn stand_still(&mut self, message: String) -> ControlFlow<()> {
        let nudges = self.parts.orders.borrow().nudges;
        if self.parts.status.now().error.as_ref() != Some(&message) {
            tracing::error!(sink = %self.parts.opening.sink, "stopped: {message}");
        }
        self.parts.status.change(|now| {
            now.phase = Phase::Refused;
            now.error = Some(message);
        });
        let ended = self.wait(Instant::now() + STOPPED_RETRY).await;
        if self.parts.orders.borrow().nudges != nudges {
            self.narrowing.begin_anew();
        }
        ended
    }

    /// Puts what is refused aside.
    fn narrow(&mut self, reason: &str, offset: Option<Offset>) -> Result<(), String> {
        let Some(following) = &mut self.following else { return Err(reason.to_owned()) };
        self.narrowing.narrow(&self.parts.opening.sink, &mut following.work, reason, offset)
    }

    // --- the end ---

    async fn switch_off(&mut self) {
        let was_on = self.hold.take().is_some() || self.following.is_some();
        self.following = None;
        self.permit = None;
        self.backoff.reset();
        self.disconnected_since = None;
        self.parts.status.change(|now| {
            now.enabled = false;
            now.phase = Phase::Off;
            now.oldest_waiting = None;
            now.error = None;
        });
        if was_on {
            self.close().await;
        }
    }

    async fn close(&mut self) {
        if let Err(error) = timed(CLOSE_TIMEOUT, self.parts.store.close(true)).await {
            tracing::warn!(sink = %self.parts.opening.sink, "not closed in order, which is made good when it is opened again: {error}");
        }
    }
}

fn hold<S>(parts: &Parts<S>) -> RewindHold {
    // Until the store has said where it is, everything that it may need.
    let known = parts.status.now().cursor.or(parts.remembered).unwrap_or(Offset::ZERO);
    RewindHold::new(&parts.journal, &parts.opening.sink, known, parts.settings.rewind)
}

/// Within so much time, or not at all: the store is then opened again.
async fn timed<T>(limit: Duration, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answered) => answered,
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {limit:?}"))),
    }
}

#[cfg(test)]
mod tests;
