//! Gaps that are to be filled: found as they become durable, filled one after the other for each upstream, as operations.
//!
//! What is to be filled is read from the journal and from nowhere else: gaps that were over before the start and were not filled, and
//! then each one as its record becomes durable. So nothing of it has to be remembered over a crash.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::fetching::{Fetching, Place};
use super::works::Works;
use crate::breaker::CircuitKind;
use crate::clock::UnixNanos;
use crate::journal::{BlockFilter, COVERAGE_MONITOR, GAPS_MONITOR, Journal, JournalError, JournalReader, OWN_DOMAIN};
use crate::monitor::fetched::FetchedBy;
use crate::monitor::gap::{CoverageRecord, GapCause, GapRecord};
use crate::recovery::backfill::{Declaration, FillError, Gap, PROGRESS_TOTAL, fill, preview};
use crate::recovery::gaps::{GapQuery, GapRow, each_gap};
use crate::server::{FillRequest, FillRow, Refusal};
use crate::telemetry::BackfillMetrics;

/// The kind of these operations.
const BACKFILL: &str = "backfill";

/// Gaps that wait; of more it is left to `sluice gaps fill`. Source: a guess; ten thousand topics that are lost at once fit.
const WAITING_MAX: usize = 20_000;

/// So many are filled at once, each of another upstream. Source: a guess.
const AT_ONCE_MAX: usize = 4;

/// How far back a start looks for gaps that were not filled. Source: a guess; older ones are filled by command.
const LOOK_BACK: Duration = Duration::from_hours(24);

/// Time between two looks at what has become durable. Source: a guess; a gap is over for at least that long anyway.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The wait before a gap is tried again that could not be filled, doubled each time.
const AGAIN_MIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_hours(1);

/// Gaps that are remembered in case it turns out that they were not filled after all.
const RECENT_MAX: usize = 4096;

/// A gap that waits to be filled.
#[derive(Debug, Clone)]
struct Job {
    gap: Gap,
    due: Instant,
    failures: u32,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// What is being filled, by upstream.
    running: BTreeMap<Arc<str>, u64>,
    crowded: bool,
}

/// What became of a gap that is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Queued,
    AlreadyThere,
    Full,
}

/// Fills gaps.
pub(super) struct Backfills {
    fetching: Arc<Fetching>,
    works: Arc<Works>,
    journal: Arc<Journal>,
    state: Mutex<State>,
    wake: Notify,
}

/// A gap, out of what a list has of it; none of one that goes on.
fn gap_of(row: &GapRow) -> Option<Gap> {
    let cause = serde_json::from_value(serde_json::Value::from(row.cause.as_str())).unwrap_or(GapCause::Unknown);
    Some(Gap {
        id: row.id?,
        monitor: row.monitor.as_str().into(),
        upstream: row.upstream.as_str().into(),
        topic: row.topic.as_str().into(),
        cause,
        start: row.start.parse().ok()?,
        end: row.end.as_deref()?.parse().ok()?,
    })
}

fn place_of(gap: &Gap) -> Place {
    Place { monitor: Arc::clone(&gap.monitor), upstream: Arc::clone(&gap.upstream), topic: Arc::clone(&gap.topic) }
}

impl Backfills {
    pub(super) fn new(fetching: Arc<Fetching>, works: Arc<Works>, journal: Arc<Journal>) -> Self {
        Self { fetching, works, journal, state: Mutex::default(), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds gaps and has them filled, until operations are stopped.
    pub(super) fn begin(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.works.operations.attend(async move {
            let stop = this.fetching.stop.clone();
            // All that was durable at a moment, and then what became so later.
            let from = this.journal.durable();
            let mut reader = this.journal.reader();
            reader.seek(from);
            let mut follower = Some(Follower { reader, recent: VecDeque::new() });
            let listing = Arc::clone(&this);
            let mut looking = tokio::task::spawn_blocking(move || listing.find_unfilled());
            loop {
                this.begin_due();
                let next = this.next_due().unwrap_or_else(|| Instant::now() + LOOK_INTERVAL * 4);
                let next = next.min(Instant::now() + LOOK_INTERVAL);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = this.wake.notified() => continue,
                    () = tokio::time::sleep_until(next) => {}
                }
                if !looking.is_finished() {
                    continue;
                }
                let Some(mut following) = follower.take() else { break };
                let looker = Arc::clone(&this);
                let looked = tokio::task::spawn_blocking(move || {
                    let outcome = following.look(&looker);
                    (following, outcome)
                });
                match looked.await {
                    Ok((following, outcome)) => {
                        if let Err(error) = outcome {
                            tracing::debug!("gaps that are to be filled cannot be read now: {error}");
                        }
                        follower = Some(following);
                    }
                    // The process is ending.
                    Err(_) => break,
                }
                looking = tokio::task::spawn_blocking(|| {});
            }
        });
    }

    /// Gaps of before the start.
    fn find_unfilled(&self) {
        if self.fetching.live.settings().monitors.values().all(|monitor| monitor.backfill.is_empty()) {
            return;
        }
        let now = UnixNanos::now();
        let query = GapQuery { since: Some(now.saturating_sub(LOOK_BACK)), unfilled: true, ..GapQuery::default() };
        let found = each_gap(&mut self.journal.reader(), &query, now, |row| {
            if let Some(gap) = gap_of(&row) {
                self.found(gap);
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = found {
            tracing::warn!("gaps of before the start cannot be read, so that they are not filled: {error}");
        }
    }

    /// A gap is over and was not filled: it will be, if that is declared.
    fn found(&self, gap: Gap) {
        match self.fetching.backfill(&place_of(&gap)) {
            Ok(Some(declaration)) if declaration.has_range() && declaration.fills(gap.cause) => {
                if self.offer(gap) == Offered::Full && !std::mem::replace(&mut self.lock().crowded, true) {
                    tracing::warn!(
                        "more than {WAITING_MAX} gaps wait to be filled; fill the others by `sluice gaps fill`"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(monitor = %gap.monitor, topic = %gap.topic, "not filled: {error}"),
        }
    }

    fn offer(&self, gap: Gap) -> Offered {
        let mut state = self.lock();
        let known = state.running.values().any(|id| *id == gap.id);
        if let Some(waiting) = state.waiting.iter_mut().find(|job| job.gap.id == gap.id) {
            // Asked for again: at once.
            waiting.due = Instant::now();
            return Offered::AlreadyThere;
        }
        if known {
            return Offered::AlreadyThere;
        }
        if state.waiting.len() >= WAITING_MAX {
            return Offered::Full;
        }
        state.waiting.push_back(Job { gap, due: Instant::now(), failures: 0 });
        drop(state);
        self.wake.notify_one();
        Offered::Queued
    }

    fn next_due(&self) -> Option<Instant> {
        self.lock().waiting.iter().map(|job| job.due).min()
    }

    /// Begins what is due, one for each upstream.
    fn begin_due(self: &Arc<Self>) {
        loop {
            let job = {
                let (mut state, now) = (self.lock(), Instant::now());
                if state.running.len() >= AT_ONCE_MAX {
                    return;
                }
                let State { waiting, running, .. } = &mut *state;
                let is_due = |job: &Job| job.due <= now && !running.contains_key(&job.gap.upstream);
                let Some(at) = waiting.iter().position(is_due) else { return };
                let Some(job) = waiting.remove(at) else { return };
                running.insert(Arc::clone(&job.gap.upstream), job.gap.id);
                job
            };
            self.start(job);
        }
    }

    fn start(self: &Arc<Self>, job: Job) {
        let Gap { id, monitor, topic, .. } = &job.gap;
        let operation =
            self.works.operations.begin(BACKFILL, &format!("gap {id}: {monitor} {topic}"), (0, PROGRESS_TOTAL));
        let (this, task) = (Arc::clone(self), Arc::clone(&operation));
        let ending = Ending { backfills: Arc::clone(self), upstream: Arc::clone(&job.gap.upstream) };
        self.works.operations.run(&operation, async move {
            // Given also where the task breaks.
            let _ending = ending;
            let metrics = BackfillMetrics::new(&job.gap.monitor, &job.gap.upstream);
            let outcome = this.fill(&job.gap, &task.progress).await;
            match outcome {
                Ok(outcome) => {
                    metrics.filled(outcome.events);
                    let Gap { id, monitor, topic, .. } = &job.gap;
                    tracing::info!(gap = id, %monitor, %topic, events = outcome.events, requests = outcome.requests, "gap filled");
                    serde_json::to_value(outcome).map_err(|error| error.to_string())
                }
                Err(error) => {
                    if !matches!(error, FillError::Stopped) {
                        metrics.failed();
                    }
                    let reason = error.to_string();
                    if matches!(error, FillError::Later(_)) {
                        this.again(job);
                    }
                    Err(reason)
                }
            }
        });
    }

    async fn fill(
        &self,
        gap: &Gap,
        progress: &crate::recovery::replay::Progress,
    ) -> Result<crate::recovery::backfill::FillOutcome, FillError> {
        let place = place_of(gap);
        let declaration = self.fetching.backfill(&place).map_err(FillError::Refused)?;
        let declaration =
            declaration.ok_or_else(|| FillError::Refused("no backfill is declared for it any more".into()))?;
        let scene =
            self.fetching.scene(CircuitKind::Backfill, &gap.upstream, &declaration).map_err(FillError::Later)?;
        let by = (FetchedBy::Backfill, Some(gap.id));
        let taker = self.fetching.taker(&place, &declaration, by).map_err(FillError::Later)?;
        // What it reads must still be there.
        let mut reader = self.journal.reader();
        reader.seek_received(gap.start.saturating_sub(LOOK_BACK))?;
        let _hold = self.journal.hold(BACKFILL, reader.position());
        fill(&scene, gap, declaration, taker, progress).await
    }

    fn again(&self, Job { gap, failures, .. }: Job) {
        let wait = AGAIN_MIN.saturating_mul(1 << failures.min(20)).min(AGAIN_MAX);
        let mut state = self.lock();
        if state.waiting.len() < WAITING_MAX {
            state.waiting.push_back(Job { gap, due: Instant::now() + wait, failures: failures + 1 });
        }
    }

    /// Has gaps filled that an operator names, whatever their cause and age. Blocking.
    pub(super) fn request(&self, request: &FillRequest) -> Result<Vec<FillRow>, Refusal> {
        let query = GapQuery { monitors: request.monitors.clone(), unfilled: true, ..GapQuery::default() };
        let mut rows = Vec::new();
        let mut wrong = None;
        let found = each_gap(&mut self.journal.reader(), &query, UnixNanos::now(), |row| {
            if request.gap.is_some_and(|id| row.id != Some(id)) {
                return ControlFlow::Continue(());
            }
            match gap_of(&row) {
                Some(gap) => rows.push(self.fill_row(&row, gap, request.dry_run)),
                None if request.gap.is_some() => {
                    wrong = Some("it goes on; it is filled when it is over".to_owned());
                }
                None => {}
            }
            ControlFlow::Continue(())
        });
        found.map_err(|error| Refusal { status: 500, error: error.to_string() })?;
        match (wrong, request.gap) {
            (Some(error), _) => Err(Refusal { status: 409, error }),
            (None, Some(id)) if rows.is_empty() => Err(Refusal {
                status: 404,
                error: format!("there is no gap {id} that is not filled; `sluice gaps --unfilled` lists them"),
            }),
            _ => Ok(rows),
        }
    }

    fn fill_row(&self, row: &GapRow, gap: Gap, dry_run: bool) -> FillRow {
        let mut told = FillRow {
            gap: gap.id,
            monitor: row.monitor.clone(),
            upstream: row.upstream.clone(),
            topic: row.topic.clone(),
            cause: row.cause.clone(),
            start: row.start.clone(),
            end: row.end.clone().unwrap_or_default(),
            state: String::new(),
            from: None,
            to: None,
            url: None,
            reason: None,
        };
        let declaration: Result<Declaration, String> = match self.fetching.backfill(&place_of(&gap)) {
            Ok(Some(declaration)) if declaration.has_range() => Ok(declaration),
            Ok(_) => Err(format!("no backfill is declared for topic `{}` of monitor `{}`", row.topic, row.monitor)),
            Err(error) => Err(error),
        };
        match declaration {
            Err(reason) => {
                told.state = "not_declared".into();
                told.reason = Some(reason);
            }
            Ok(declaration) if dry_run => {
                told.state = "would_ask".into();
                told.url = Some(declaration.shown_url());
                match preview(&self.journal, &gap, &declaration) {
                    Ok((from, to)) => (told.from, told.to) = (Some(from), Some(to)),
                    Err(error) => told.reason = Some(error.to_string()),
                }
            }
            Ok(_) => {
                let offered = self.offer(gap);
                told.state = if offered == Offered::Full { "refused" } else { "queued" }.into();
                told.reason = (offered == Offered::Full).then(|| format!("{WAITING_MAX} gaps wait already"));
            }
        }
        told
    }
}

/// Lets the next one of an upstream begin.
struct Ending {
    backfills: Arc<Backfills>,
    upstream: Arc<str>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.backfills.lock().running.remove(&self.upstream);
        self.backfills.wake.notify_one();
    }
}

/// Reads gaps as they become durable.
struct Follower {
    reader: JournalReader,
    /// The last ones that were filled when they ended.
    recent: VecDeque<Gap>,
}

impl Follower {
    fn look(&mut self, backfills: &Backfills) -> Result<(), JournalError> {
        let filter = BlockFilter {
            monitors: vec![GAPS_MONITOR.into(), COVERAGE_MONITOR.into()],
            domains: vec![OWN_DOMAIN.into()],
            ..BlockFilter::all()
        };
        while let Some(block) = self.reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                if event.monitor == GAPS_MONITOR {
                    if let Ok(record) = serde_json::from_slice::<GapRecord>(event.payload) {
                        self.closed(record, backfills);
                    }
                } else if let Ok(CoverageRecord::Amended(amended)) = serde_json::from_slice(event.payload)
                    && amended.unfilled
                    && let Some(at) = self.recent.iter().position(|gap| gap.id == amended.id)
                    && let Some(gap) = self.recent.remove(at)
                {
                    backfills.found(gap);
                }
            }
        }
        Ok(())
    }

    fn closed(&mut self, record: GapRecord, backfills: &Backfills) {
        let (Some(id), Ok(start), Ok(end)) = (record.id, record.start.parse(), record.end.parse()) else { return };
        let gap = Gap {
            id,
            monitor: record.monitor.into(),
            upstream: record.upstream.into(),
            topic: record.topic.into(),
            cause: record.cause,
            start,
            end,
        };
        if record.filled.is_none() && record.missing != Some(0) {
            backfills.found(gap);
            return;
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(gap);
    }
}
