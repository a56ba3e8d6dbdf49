//! Checkpoints and replays of a running daemon: what the API can ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use super::operations::Operations;
use crate::checkpoint::{self, Cause, CheckpointRow, Keeper};
use crate::config::Settings;
use crate::journal::Journal;
use crate::recovery::replay::{self, Plan, ReplayError, ReplayRequest, Scene};
use crate::server::{OperationRow, Refusal, ReplayAnswer};
use crate::sink::{AnyStore, Interest, Opening, Purpose};

const REPLAY: &str = "replay";
const CHECKPOINT: &str = "checkpoint";

/// What is done once, by request or from time to time.
pub(super) struct Works {
    pub(super) settings: Settings,
    pub(super) journal: Arc<Journal>,
    pub(super) keeper: Keeper,
    pub(super) operations: Operations,
    beginning: Mutex<()>,
    /// Whether checkpoints are written from time to time.
    periodic: AtomicBool,
}

impl Works {
    /// Of a daemon that has just started.
    pub(super) fn new(settings: &Settings, journal: Arc<Journal>, keeper: Keeper) -> std::io::Result<Self> {
        let operations = Operations::new()?;
        let periodic = AtomicBool::new(settings.fault_tolerance.enabled);
        Ok(Self { settings: settings.clone(), journal, keeper, operations, beginning: Mutex::default(), periodic })
    }

    /// Whether checkpoints are written from time to time from now on.
    pub(super) fn set_periodic(&self, periodic: bool) {
        self.periodic.store(periodic, Ordering::Relaxed);
    }

    /// Writes a checkpoint from time to time, as long as that is wanted, until operations are stopped. How it goes the keeper tells.
    pub(super) fn write_periodically(self: &Arc<Self>) {
        let works = Arc::clone(self);
        let (interval, stop) = (self.settings.checkpoint.interval, self.operations.stop.clone());
        self.operations.attend(async move {
            let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                if !works.periodic.load(Ordering::Relaxed) {
                    continue;
                }
                let writer = Arc::clone(&works);
                // A failure is told by the keeper; a panic would be a bug that the next one meets again.
                drop(tokio::task::spawn_blocking(move || writer.keeper.write(Cause::Periodic)).await);
            }
        });
    }

    /// Operations and checkpoints that have ended since the start, and those of them that failed.
    pub(super) fn ended(&self) -> (u64, u64) {
        let ((ended, broken), (written, failed)) = (self.operations.ended(), self.keeper.counts());
        (ended + written + failed, broken + failed)
    }

    /// Every checkpoint in the folder.
    pub(super) fn checkpoints(&self) -> Result<Vec<CheckpointRow>, Refusal> {
        let listed = checkpoint::list(self.keeper.dir(), Some(self.journal.id()));
        let listed = listed.map_err(|error| Refusal { status: 500, error: error.to_string() })?;
        Ok(listed.iter().map(CheckpointRow::of).collect())
    }

    /// Writes one now.
    pub(super) fn create_checkpoint(&self) -> Result<CheckpointRow, Refusal> {
        let written = self.operations.record(CHECKPOINT, "", || {
            self.keeper.write(Cause::Demand).map(|written| {
                let id = written.name.to_string();
                (written, json!({ "checkpoint": id }))
            })
        });
        written
            .map(|written| CheckpointRow::from(&written))
            .map_err(|error| Refusal { status: 503, error: error.to_string() })
    }

    /// Begins a replay, or tells of the same one that goes on.
    pub(super) fn replay(&self, request: &ReplayRequest) -> Result<ReplayAnswer, Refusal> {
        // One after the other: the second sees what the first has begun.
        let _beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let scene = Scene { settings: &self.settings, journal: self.journal.id() };
        // Before the span is fixed: what is in it must still be there when it is read.
        let hold = self.journal.hold(REPLAY, crate::journal::Offset::ZERO);
        let mut reader = self.journal.reader();
        let plan = Plan::of(request, scene, &mut reader).map_err(|error| refusal(&error))?;
        hold.advance(crate::journal::Offset(plan.from));
        let Some(sink) = self.settings.sinks.get(&plan.sink).cloned() else {
            return Err(Refusal { status: 404, error: format!("there is no sink `{}`", plan.sink) });
        };
        if request.dry_run {
            let interest = Interest::new(&plan.sink, &sink);
            let would_write = plan.count(&interest, &mut reader).map_err(|error| refusal(&error))?;
            let resumed = plan.resumed;
            return Ok(ReplayAnswer { plan, resumed, would_write: Some(would_write), operation: None });
        }
        if let Some(running) = self.operations.running(REPLAY, &plan.sink) {
            if plan.resumed {
                let operation = Some(running.row());
                return Ok(ReplayAnswer { plan, resumed: true, would_write: None, operation });
            }
            let error = format!("another replay into `{}` goes on; see `GET /api/v1/operations`", plan.sink);
            return Err(Refusal { status: 409, error });
        }
        plan.keep().map_err(|error| refusal(&error))?;
        let mut store = AnyStore::new(&plan.sink, &sink, &self.settings)
            .map_err(|reason| Refusal { status: 422, error: reason.to_string() })?;
        let plan = Arc::new(plan);
        let ancestors = reader.ancestors().map_err(|error| refusal(&error.into()))?;
        let opening = Opening {
            ancestors: ancestors.into(),
            purpose: Purpose::Replay { id: plan.id.clone(), to: plan.target.clone() },
            ..Opening::live(&plan.sink, self.journal.id())
        };
        let operation = self.operations.begin(REPLAY, &plan.sink, (plan.from, plan.to));
        let (task, doing, stop) = (Arc::clone(&operation), Arc::clone(&plan), self.operations.stop.clone());
        tracing::info!(sink = %plan.sink, from = plan.from, to = plan.to, resumed = plan.resumed, "replay begins");
        self.operations.run(&operation, async move {
            let reached = |at| hold.advance(at);
            let work = (Arc::clone(&doing), &sink);
            let outcome = replay::run(&mut store, &opening, work, reader, &task.progress, &stop, reached).await;
            let outcome = outcome.map_err(|error| error.to_string())?;
            doing.forget().map_err(|error| error.to_string())?;
            tracing::info!(sink = %doing.sink, events = outcome.events, "replay complete");
            serde_json::to_value(outcome).map_err(|error| error.to_string())
        });
        let (resumed, operation) = (plan.resumed, Some(operation.row()));
        Ok(ReplayAnswer { plan: Plan::clone(&plan), resumed, would_write: None, operation })
    }

    /// Everything that was begun and is remembered.
    pub(super) fn operations(&self) -> Vec<OperationRow> {
        self.operations.rows()
    }
}

fn refusal(error: &ReplayError) -> Refusal {
    let status = match error {
        ReplayError::Request(_) => 400,
        ReplayError::Checkpoint(_) => 404,
        ReplayError::Journal(crate::journal::JournalError::OffsetGone { .. }) => 410,
        ReplayError::Store { .. } => 422,
        ReplayError::Journal(_) | ReplayError::Io { .. } | ReplayError::Stopped { .. } => 500,
    };
    Refusal { status, error: error.to_string() }
}
