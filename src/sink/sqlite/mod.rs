//! The store `sqlite`: a file a day, `events-YYYY-MM-DD.db`, by the day (UTC) on which events were received.
//!
//! | file       | is                                                                       |
//! |------------|--------------------------------------------------------------------------|
//! | `day`      | days and the names of their files                                         |
//! | `day_file` | a file's tables, and the transaction that writes rows and moves the cursor |
//! | `writer`   | the folder: which file's cursor counts, the turn of the day, deleting      |
//! | `replay`   | writing a span anew                                                        |
//! | `read`     | reading back                                                              |
//! | `error`    | what SQLite says, sorted by what is done about it                         |
//!
//! Each file holds a cursor of its own, so that no transaction spans two files; the newest file's counts.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::batch::{Batch, Parked};
use super::store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredRow};
use super::worker::{Worker, read_rows};
use crate::config::{Settings, SinkSettings};
use crate::journal::Offset;

mod day;
mod day_file;
mod error;
mod read;
mod replay;
mod writer;

use replay::Replay;
use writer::{Figures, Plan, Writer};

/// Days that files are kept when nobody said.
const RETENTION_DAYS: u32 = 14;

/// Time between looks at what time asks for.
const PAUSE: Duration = Duration::from_secs(1);

/// The store `sqlite`.
#[derive(Debug)]
pub struct SqliteStore {
    name: String,
    plan: Plan,
    figures: Arc<Figures>,
    open: Option<Open>,
}

/// What it is open for.
#[derive(Debug)]
enum Open {
    Live(Worker<Writer>),
    Replay(Worker<Replay>),
}

impl SqliteStore {
    /// As the settings say. Nothing is touched yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(name: &str, sink: &SinkSettings, _settings: &Settings) -> Result<Self, StoreError> {
        let folder = sink
            .folder
            .clone()
            .ok_or_else(|| StoreError::Stop(format!("sink {name} has no `folder`; set `sinks.{name}.folder`")))?;
        let plan = Plan { folder, retention_days: sink.retention_days.unwrap_or(RETENTION_DAYS) };
        Ok(Self { name: name.to_owned(), plan, figures: Arc::default(), open: None })
    }
}

impl Store for SqliteStore {
    async fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        let opening = opening.clone();
        match opening.purpose {
            Purpose::Live => {
                let worker = match &mut self.open {
                    Some(Open::Live(worker)) => worker,
                    other => {
                        let writer = Writer::new(self.plan.clone(), Arc::clone(&self.figures));
                        let started = Worker::start(&self.name, writer, PAUSE, Writer::tick)?;
                        let Open::Live(worker) = other.insert(Open::Live(started)) else {
                            unreachable!("just put there")
                        };
                        worker
                    }
                };
                worker.call(move |writer| writer.open(&opening)).await?
            }
            Purpose::Replay { .. } => {
                let worker = match &mut self.open {
                    Some(Open::Replay(worker)) => worker,
                    other => {
                        let started = Worker::start(&self.name, Replay::new(self.plan.clone()), PAUSE, |_| {})?;
                        let Open::Replay(worker) = other.insert(Open::Replay(started)) else {
                            unreachable!("just put there")
                        };
                        worker
                    }
                };
                worker.call(move |replay| replay.open(&opening)).await?
            }
            Purpose::Inspect => {
                let folder = self.plan.folder.clone();
                let look = move || writer::standing(&folder, &opening, false);
                let looked = tokio::task::spawn_blocking(look).await;
                Ok(looked.map_err(|_| super::worker::gone())??.cursor)
            }
        }
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let batch = batch.clone();
        match &self.open {
            Some(Open::Live(worker)) => worker.call(move |writer| writer.write(&batch)).await?,
            Some(Open::Replay(worker)) => worker.call(move |replay| replay.write(&batch)).await?,
            None => Err(StoreError::Moved("the folder is not open".into())),
        }
    }

    async fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        match self.open.take() {
            Some(Open::Live(worker)) => worker.call(Writer::close).await?,
            Some(Open::Replay(worker)) => worker.call(move |replay| replay.close(complete)).await?,
            None => Ok(()),
        }
    }

    async fn read_back(
        &mut self,
        opening: &Opening,
        span: Range<Offset>,
        take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        let (folder, opening) = (self.plan.folder.clone(), opening.clone());
        read_rows(move |out| read::read_back(&folder, &opening, &span, out), take).await
    }

    async fn parked(&mut self, opening: &Opening, limit: usize) -> Result<Vec<Parked>, StoreError> {
        let (folder, opening) = (self.plan.folder.clone(), opening.clone());
        let read = move || read::parked(&folder, &opening, limit);
        tokio::task::spawn_blocking(read).await.map_err(|_| super::worker::gone())?
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures {
            files: Some(self.figures.files.load(Ordering::Relaxed)),
            bytes: Some(self.figures.bytes.load(Ordering::Relaxed)),
            sequence: None,
        }
    }
}
