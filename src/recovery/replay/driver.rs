//! Writes the span of a replay into a store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, ReplayError};
use super::source::Source;
use crate::backoff::Backoff;
use crate::config::SinkSettings;
use crate::enrich::RecordedAnswers;
use crate::journal::{JournalError, JournalReader, Offset};
use crate::sink::{Batch, BatchLimits, Interest, Opening, Store, StoreError};

/// Waits between attempts: doubled from the least to the most, with jitter. Source: as sinks have it.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// So many rows are put aside without a single one being taken, then it ends: it is not the rows that are wrong.
const PARKED_IN_A_ROW_MAX: u32 = 100;

/// How far a replay is, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    at: AtomicU64,
    events: AtomicU64,
    waiting: Mutex<Option<String>>,
}

impl Progress {
    /// The offset that it has come to.
    pub fn at(&self) -> Offset {
        Offset(self.at.load(Ordering::Relaxed))
    }

    /// Events written in this run.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// What it waits for, if the store does not take anything.
    pub fn waiting(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has come to `at`, by so many events more, and waits for nothing.
    pub(crate) fn reached(&self, at: Offset, events: usize) {
        self.at.store(at.0, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.wait_for(None);
    }

    /// It waits for something, or no longer.
    pub(crate) fn wait_for(&self, what: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

/// What a complete replay did, in the run that completed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which sink.
    pub sink: String,
    /// The first offset of the whole span.
    pub from_offset: u64,
    /// The offset after its last.
    pub to_offset: u64,
    /// Where this run went on.
    pub continued_at: Option<u64>,
    /// Events written in this run.
    pub events: u64,
    /// Of these, put aside because the store refuses them.
    pub parked: u64,
    /// Offsets that no event has any longer.
    pub holes: u64,
    /// How long this run took.
    pub seconds: f64,
    /// Events a second.
    pub rate: f64,
}

/// Does a replay to its end: with retries for as long as the store does not answer. `reached` is told of every batch that the
/// store has. Bounded in memory by two batches.
///
/// # Errors
/// When a person must decide, the journal cannot be read, or `stop` was given; the same plan then goes on later.
pub async fn run<S: Store>(
    store: &mut S,
    opening: &Opening,
    (plan, sink): (Arc<Plan>, &SinkSettings),
    reader: JournalReader,
    progress: &Progress,
    stop: &CancellationToken,
    reached: impl Fn(Offset) + Send + Sync,
) -> Result<Outcome, ReplayError> {
    let started = Instant::now();
    let interest = Arc::new(Interest::new(&plan.sink, sink));
    let limits = BatchLimits { rows: sink.batch_max as usize, bytes: sink.read_ahead.as_usize() };
    let mut replay = Replay {
        store,
        opening,
        plan: &plan,
        timeout: sink.timeout,
        progress,
        stop,
        backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX),
        at: Offset(plan.from),
    };
    replay.open().await?;
    let begun_at = replay.at;
    progress.reached(begun_at, 0);
    reached(begun_at);
    // What was known when, as the journal has it: what is known now need not be what was.
    let (reader, mut recorded) = recorded_answers(reader).await?;
    let mut source = Source::new(Arc::clone(&plan), interest, limits, reader, begun_at);
    let mut work: VecDeque<Batch> = VecDeque::new();
    let (mut parked, mut parked_in_a_row) = (0, 0);
    loop {
        if stop.is_cancelled() {
            // What it leaves behind is settled when it is opened again.
            timeout(sink.timeout, replay.store.close(false)).await.ok();
            return Err(ReplayError::Stopped { at: replay.at });
        }
        let batch = match work.pop_front() {
            Some(batch) => batch,
            None => match source.next().await? {
                Some(batch) => {
                    let known =
                        batch.events().map(|event| recorded.enriched(&event).map(String::into_boxed_str)).collect();
                    batch.enriched_with(known)
                }
                None => break,
            },
        };
        let written = match timeout(replay.timeout, replay.store.write(&batch)).await {
            Ok(written) => written,
            Err(_) => Err(StoreError::Unavailable(format!("it did not answer within {:?}", replay.timeout))),
        };
        match written {
            Ok(()) => {
                replay.backoff.reset();
                replay.at = batch.to();
                progress.reached(batch.to(), batch.len() + batch.parked().len());
                reached(batch.to());
                parked += batch.parked().len() as u64;
                if !batch.is_empty() {
                    parked_in_a_row = 0;
                }
            }
            Err(StoreError::Refused { reason, offset }) => {
                if batch.len() == 1 {
                    parked_in_a_row += 1;
                }
                if batch.is_empty() || parked_in_a_row > PARKED_IN_A_ROW_MAX {
                    return Err(
                        replay.store_error(StoreError::Stop(format!("it refuses whatever it is given: {reason}")))
                    );
                }
                narrow(&batch, &reason, offset, &mut work);
                replay.reopen_at(batch.from(), &mut source, &mut work).await?;
            }
            Err(error @ StoreError::Stop(_)) => return Err(replay.store_error(error)),
            Err(StoreError::Unavailable(reason) | StoreError::Moved(reason)) => {
                work.push_front(batch.clone());
                replay.rest(reason).await?;
                replay.reopen_at(batch.from(), &mut source, &mut work).await?;
                // It was taken, and only nobody was told.
                let taken = if replay.at == batch.to() { batch.len() + batch.parked().len() } else { 0 };
                parked += if taken > 0 { batch.parked().len() as u64 } else { 0 };
                progress.reached(replay.at, taken);
                reached(replay.at);
            }
        }
    }
    let closed = replay.store.close(true).await;
    closed.map_err(|error| replay.store_error(error))?;
    let (events, seconds) = (progress.events(), started.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "a rate has three digits")]
    let rate = events as f64 / seconds.max(0.001);
    Ok(Outcome {
        sink: plan.sink.clone(),
        from_offset: plan.from,
        to_offset: plan.to,
        continued_at: (begun_at.0 > plan.from).then_some(begun_at.0),
        events,
        parked,
        holes: source.holes().await,
        seconds,
        rate,
    })
}

/// All answers of look-ups that the journal has.
async fn recorded_answers(mut reader: JournalReader) -> Result<(JournalReader, RecordedAnswers), ReplayError> {
    let read = tokio::task::spawn_blocking(move || {
        let from = reader.position();
        reader.seek(reader.earliest()?);
        let recorded = RecordedAnswers::read(&mut reader)?;
        reader.seek(from);
        Ok::<_, JournalError>((reader, recorded))
    });
    match read.await {
        Ok(read) => Ok(read?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Finds the rows that are refused by halving, puts one aside that is alone.
fn narrow(batch: &Batch, reason: &str, offset: Option<Offset>, work: &mut VecDeque<Batch>) {
    if batch.len() == 1 {
        work.push_front(batch.park(reason));
        return;
    }
    // Where the store says which it is: all before it first, then it alone.
    let named = offset.and_then(|offset| batch.events().position(|event| event.offset == offset));
    let middle = match named {
        Some(0) => 1,
        Some(position) => position,
        None => batch.len() / 2,
    };
    let (first, second) = batch.split_at(middle);
    work.push_front(second);
    work.push_front(first);
}

struct Replay<'a, S> {
    store: &'a mut S,
    opening: &'a Opening,
    plan: &'a Plan,
    timeout: Duration,
    progress: &'a Progress,
    stop: &'a CancellationToken,
    backoff: Backoff,
    /// The store's cursor.
    at: Offset,
}

impl<S: Store> Replay<'_, S> {
    fn store_error(&self, reason: StoreError) -> ReplayError {
        ReplayError::Store { sink: self.plan.sink.clone(), reason }
    }

    /// Opens the store, as often as it takes, and asks it where the replay is.
    async fn open(&mut self) -> Result<(), ReplayError> {
        loop {
            let opened = match timeout(self.timeout, self.store.open(self.opening)).await {
                Ok(opened) => opened,
                Err(_) => Err(StoreError::Unavailable(format!("it did not answer within {:?}", self.timeout))),
            };
            match opened {
                Ok(cursor) => {
                    let span = Offset(self.plan.from)..=Offset(self.plan.to);
                    let at = cursor.unwrap_or(Offset(self.plan.from));
                    if !span.contains(&at) {
                        let message = format!(
                            "its cursor of this replay stands at {at}, outside {} to {}",
                            self.plan.from, self.plan.to
                        );
                        return Err(self.store_error(StoreError::Stop(message)));
                    }
                    self.at = at;
                    return Ok(());
                }
                Err(error @ (StoreError::Stop(_) | StoreError::Refused { .. })) => return Err(self.store_error(error)),
                Err(StoreError::Unavailable(reason) | StoreError::Moved(reason)) => self.rest(reason).await?,
            }
        }
    }

    /// After an error: opens the store again. What it says of its cursor counts; only where that is not the beginning of what is
    /// in hand, it is read anew from there.
    async fn reopen_at(
        &mut self,
        from: Offset,
        source: &mut Source,
        work: &mut VecDeque<Batch>,
    ) -> Result<(), ReplayError> {
        self.open().await?;
        if self.at != from {
            work.clear();
            source.go_to(self.at).await;
        }
        Ok(())
    }

    /// Waits before another attempt.
    async fn rest(&mut self, reason: String) -> Result<(), ReplayError> {
        self.progress.wait_for(Some(reason));
        let wait = self.backoff.next(None);
        tokio::select! {
            () = self.stop.cancelled() => Err(ReplayError::Stopped { at: self.at }),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}
