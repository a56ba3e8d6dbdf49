//! Things that take a while and are done once: begun, watched, ended, and remembered for a while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use tokio::runtime::{self, Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::operation_log::OperationLog;
use crate::clock::UnixNanos;
use crate::recovery::replay::Progress;
use crate::server::{OperationRow, OperationState};
use crate::telemetry::OperationMetrics;

/// So many are remembered after their end.
const ENDED_MAX: usize = 100;

/// One of them.
#[derive(Debug)]
pub(super) struct Operation {
    id: String,
    kind: &'static str,
    subject: String,
    started: UnixNanos,
    began: Instant,
    /// From where to where it goes.
    span: (u64, u64),
    pub(super) progress: Progress,
    end: Mutex<Option<End>>,
    ended: Arc<Ended>,
    log: Arc<OnceLock<OperationLog>>,
}

/// Those that have ended, and of these those that failed.
#[derive(Debug, Default)]
struct Ended {
    all: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Clone)]
struct End {
    at: UnixNanos,
    /// How long it took.
    took: std::time::Duration,
    outcome: Result<Value, String>,
}

impl Operation {
    fn end(&self, outcome: Result<Value, String>) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_some() {
            return;
        }
        self.ended.all.fetch_add(1, Ordering::Relaxed);
        self.ended.failed.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
        let took = self.began.elapsed();
        OperationMetrics::ended(self.kind, outcome.is_ok(), took);
        *end = Some(End { at: UnixNanos::now(), took, outcome });
        drop(end);
        self.tell();
    }

    fn tell(&self) {
        if let Some(log) = self.log.get() {
            log.tell(&self.row());
        }
    }

    fn has_ended(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// As it stands now.
    pub(super) fn row(&self) -> OperationRow {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seconds = end.as_ref().map_or_else(|| self.began.elapsed(), |end| end.took).as_secs_f64();
        let (from, to) = self.span;
        let events = self.progress.events();
        #[expect(clippy::cast_precision_loss, reason = "a rate has three digits")]
        let rate = events as f64 / seconds.max(0.001);
        OperationRow {
            id: self.id.clone(),
            kind: self.kind.to_owned(),
            subject: self.subject.clone(),
            state: match &end {
                None => OperationState::Running,
                Some(End { outcome: Ok(_), .. }) => OperationState::Done,
                Some(End { outcome: Err(_), .. }) => OperationState::Failed,
            },
            started: self.started.to_string(),
            ended: end.as_ref().map(|end| end.at.to_string()),
            duration_seconds: seconds,
            done: self.progress.at().0.saturating_sub(from),
            total: to - from,
            events,
            rate,
            waiting: self.progress.waiting().filter(|_| end.is_none()),
            outcome: end.as_ref().and_then(|end| end.outcome.clone().ok()),
            error: end.and_then(|end| end.outcome.err()),
        }
    }
}

/// All of them, on threads of their own.
pub(super) struct Operations {
    runtime: Mutex<Option<Runtime>>,
    tasks: TaskTracker,
    /// Given to each: those that can go on later end.
    pub(super) stop: CancellationToken,
    list: Mutex<VecDeque<Arc<Operation>>>,
    ended: Arc<Ended>,
    log: Arc<OnceLock<OperationLog>>,
}

impl Operations {
    /// None so far.
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).thread_name("operations").enable_all().build()?;
        Ok(Self {
            runtime: Mutex::new(Some(runtime)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            list: Mutex::default(),
            ended: Arc::default(),
            log: Arc::default(),
        })
    }

    /// Has all of them told in the journal from now on.
    pub(super) fn tell(&self, log: OperationLog) {
        let _first = self.log.set(log).is_ok();
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Arc<Operation>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What runs them; none once they have stopped.
    pub(super) fn handle(&self) -> Option<Handle> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Begins one that goes over `span`.
    pub(super) fn begin(&self, kind: &'static str, subject: &str, span: (u64, u64)) -> Arc<Operation> {
        let operation = Arc::new(Operation {
            id: Uuid::now_v7().to_string(),
            kind,
            subject: subject.to_owned(),
            started: UnixNanos::now(),
            began: Instant::now(),
            span,
            progress: Progress::default(),
            end: Mutex::default(),
            ended: Arc::clone(&self.ended),
            log: Arc::clone(&self.log),
        });
        operation.tell();
        OperationMetrics::began(kind);
        let mut list = self.list();
        list.push_back(Arc::clone(&operation));
        while list.iter().filter(|operation| operation.has_ended()).count() > ENDED_MAX {
            let oldest = list.iter().position(|operation| operation.has_ended());
            oldest.and_then(|oldest| list.remove(oldest));
        }
        operation
    }

    /// Does one that was begun. False when the daemon is stopping.
    pub(super) fn run(
        &self,
        operation: &Arc<Operation>,
        work: impl Future<Output = Result<Value, String>> + Send + 'static,
    ) -> bool {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = runtime.as_ref().filter(|_| !self.stop.is_cancelled()) else {
            operation.end(Err("the daemon is stopping".to_owned()));
            return false;
        };
        let ending = Ending(Arc::clone(operation));
        let task = async move {
            let outcome = work.await;
            if let Err(error) = &outcome {
                tracing::warn!(kind = ending.0.kind, subject = %ending.0.subject, "not completed: {error}");
            }
            ending.0.end(outcome);
        };
        // Whoever asks for the operation is told of its end; the handle would tell nothing more.
        drop(self.tasks.spawn_on(task, runtime.handle()));
        true
    }

    /// Something that goes on as long as operations do. It ends by itself when [`Operations::stop`] is given.
    pub(super) fn attend(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &*self.runtime.lock().unwrap_or_else(PoisonError::into_inner) {
            // It tells of itself.
            drop(self.tasks.spawn_on(work, runtime.handle()));
        }
    }

    /// Does something quick that is on record as an operation. Blocking.
    pub(super) fn record<T, E: std::fmt::Display>(
        &self,
        kind: &'static str,
        subject: &str,
        work: impl FnOnce() -> Result<(T, Value), E>,
    ) -> Result<T, E> {
        let operation = self.begin(kind, subject, (0, 0));
        match work() {
            Ok((done, outcome)) => {
                operation.end(Ok(outcome));
                Ok(done)
            }
            Err(error) => {
                operation.end(Err(error.to_string()));
                Err(error)
            }
        }
    }

    /// Whether one of this kind and subject goes on, and which.
    pub(super) fn running(&self, kind: &str, subject: &str) -> Option<Arc<Operation>> {
        let list = self.list();
        list.iter()
            .find(|operation| operation.kind == kind && operation.subject == subject && !operation.has_ended())
            .cloned()
    }

    /// How many have ended since the start, and how many of them failed. Those that people have done by settings are among them.
    pub(super) fn ended(&self) -> (u64, u64) {
        let failed = self.ended.failed.load(Ordering::Relaxed);
        (self.ended.all.load(Ordering::Relaxed), failed)
    }

    /// All, oldest first.
    pub(super) fn rows(&self) -> Vec<OperationRow> {
        self.list().iter().map(|operation| operation.row()).collect()
    }

    /// One by its id.
    pub(super) fn row(&self, id: &str) -> Option<OperationRow> {
        self.list().iter().find(|operation| operation.id == id).map(|operation| operation.row())
    }

    /// Ends those that go on; they can be gone on with later. False when one did not end before `deadline`.
    pub(super) async fn stop(&self, deadline: Instant) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok();
        self.shut_down();
        ended
    }

    fn shut_down(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Dropping it waits, which is not allowed where others are driven.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// An operation's task that ends without having said how has panicked.
struct Ending(Arc<Operation>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err("it broke off; this is a bug, or the process is ending".to_owned()));
    }
}
