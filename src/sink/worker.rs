//! A thread that owns what blocks: files, and SQLite's connections.
//!
//! Jobs run one after the other, also when nobody waits for an answer any more: a write whose caller gave up after the
//! sink's `timeout` goes on, and whatever is asked next (the store is opened again) sees it whole or not at all.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::store::{StoreError, StoredPayload, StoredRow};
use crate::clock::UnixNanos;
use crate::journal::Offset;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Jobs that may wait while one runs. One is enough for a caller that gave up and comes again.
const WAITING_MAX: usize = 1;

/// The thread, from its callers' side. It ends when this is dropped and the last job is done.
#[derive(Debug)]
pub(super) struct Worker<S> {
    jobs: SyncSender<Job<S>>,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts the thread. `tick` is run when nothing was asked for `pause`.
    pub(super) fn start(name: &str, mut state: S, pause: Duration, tick: fn(&mut S)) -> Result<Self, StoreError> {
        let (jobs, inbox) = sync_channel(WAITING_MAX);
        let work = move || run(&inbox, &mut state, pause, tick);
        std::thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(work)
            .map_err(|error| StoreError::Unavailable(format!("no thread could be started for it: {error}")))?;
        Ok(Self { jobs })
    }

    /// Runs `job` on the thread. Dropping the future does not end the job.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            // Nobody waits for it any more.
            answer.send(job(state)).ok();
        });
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(StoreError::Unavailable("it is still busy with what it was asked before".into()));
            }
            Err(TrySendError::Disconnected(_)) => return Err(gone()),
        }
        answered.await.map_err(|_| gone())
    }
}

fn run<S>(inbox: &Receiver<Job<S>>, state: &mut S, pause: Duration, tick: fn(&mut S)) {
    loop {
        match inbox.recv_timeout(pause) {
            Ok(job) => job(state),
            Err(RecvTimeoutError::Timeout) => tick(state),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Its thread panicked, which is a bug of ours; its message is in the log.
pub(super) fn gone() -> StoreError {
    StoreError::Stop("its thread has ended; restart the daemon, and report the message logged before this one".into())
}

/// A row on its way from the thread that reads it to who asked for it.
#[derive(Debug)]
pub(super) struct ReadRow {
    pub(super) offset: Offset,
    pub(super) monitor: String,
    pub(super) received: UnixNanos,
    pub(super) payload: Vec<u8>,
    /// The payload is the same JSON value, and not the same to the byte.
    pub(super) rewritten: bool,
}

/// Hands rows over, a few at a time.
pub(super) struct RowSender {
    rows: Vec<ReadRow>,
    bytes: usize,
    out: mpsc::Sender<Vec<ReadRow>>,
}

impl RowSender {
    /// Takes a row. False: nobody wants more.
    pub(super) fn push(&mut self, row: ReadRow) -> bool {
        /// Bounds what waits in memory together with the channel's length.
        const BYTES_MAX: usize = 256 << 10;
        const ROWS_MAX: usize = 1024;
        self.bytes += row.payload.len();
        self.rows.push(row);
        if self.rows.len() < ROWS_MAX && self.bytes < BYTES_MAX { true } else { self.flush() }
    }

    fn flush(&mut self) -> bool {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        rows.is_empty() || self.out.blocking_send(rows).is_ok()
    }
}

/// Runs `read` where it may block, and gives `take` what it reads, in order.
pub(super) async fn read_rows(
    read: impl FnOnce(&mut RowSender) -> Result<(), StoreError> + Send + 'static,
    take: &mut (dyn FnMut(StoredRow<'_>) + Send),
) -> Result<(), StoreError> {
    let (out, mut rows) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || {
        let mut sender = RowSender { rows: Vec::new(), bytes: 0, out };
        read(&mut sender)?;
        sender.flush();
        Ok(())
    });
    while let Some(some) = rows.recv().await {
        for row in &some {
            let payload =
                if row.rewritten { StoredPayload::Json(&row.payload) } else { StoredPayload::Raw(&row.payload) };
            take(StoredRow { offset: row.offset, monitor: &row.monitor, received: row.received, payload });
        }
    }
    reading.await.map_err(|_| gone())?
}
