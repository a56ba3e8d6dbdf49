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

use super::batch::{Batch, Parked};
use super::file_work::FileWorker;
use super::store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredRow};
use super::worker::read_rows;
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

/// The store `sqlite`.
#[derive(Debug)]
pub struct SqliteStore {
    plan: Plan,
    figures: Arc<Figures>,
    worker: FileWorker,
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
        Ok(Self { plan, figures: Arc::default(), worker: FileWorker::new(name) })
    }
}

impl Store for SqliteStore {
    async fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        match opening.purpose {
            Purpose::Live => {
                let (plan, figures) = (self.plan.clone(), Arc::clone(&self.figures));
                self.worker.open(opening, move || Box::new(Writer::new(plan, figures))).await
            }
            Purpose::Replay { .. } => {
                let plan = self.plan.clone();
                self.worker.open(opening, move || Box::new(Replay::new(plan))).await
            }
            Purpose::Inspect => {
                let (folder, opening) = (self.plan.folder.clone(), opening.clone());
                let look = move || writer::standing(&folder, &opening, false);
                let looked = tokio::task::spawn_blocking(look).await;
                Ok(looked.map_err(|_| super::worker::gone())??.cursor)
            }
        }
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.worker.write(batch).await
    }

    async fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        self.worker.close(complete).await
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
