//! The store `jsonl`: files of JSON lines, each line what `sluice query --output json` prints of the event.
//!
//! | file        | is                                                                                |
//! |-------------|-----------------------------------------------------------------------------------|
//! | `names`     | what names of files say                                                             |
//! | `open_file` | the file that lines are appended to, and what a crash leaves of it                   |
//! | `state`     | whose offsets they are, and how far the journal was taken                            |
//! | `writer`    | the folder: opening, writing, finishing, deleting                                     |
//! | `compress`  | finished files are compressed                                                        |
//! | `replay`    | writing a span anew                                                                  |
//! | `swap`      | a replay's files take the place of those that were there                             |
//! | `read`      | reading back                                                                        |
//!
//! The last line is the cursor: lines and cursor are durable in one step, the file's sync. A line that a crash tore is cut
//! off and written again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::batch::{Batch, Parked};
use super::file_work::FileWorker;
use super::store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredRow};
use super::worker::read_rows;
use crate::config::{ByteSize, FileCompression, Settings, SinkSettings};
use crate::journal::Offset;

mod compress;
mod names;
mod open_file;
mod read;
mod replay;
mod state;
mod swap;
mod writer;

use replay::Replay;
use writer::{Figures, Plan, Writer};

/// Size at which a file is finished when nobody said. A guess: quick to compress and to send, and not too many.
const ROTATE_SIZE: ByteSize = ByteSize::mib(64);

/// Age at which a file is finished when nobody said.
const ROTATE_INTERVAL: Duration = Duration::from_hours(1);

/// The store `jsonl`.
#[derive(Debug)]
pub struct JsonlStore {
    plan: Plan,
    figures: Arc<Figures>,
    worker: FileWorker,
}

impl JsonlStore {
    /// As the settings say. Nothing is touched yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(name: &str, sink: &SinkSettings, _settings: &Settings) -> Result<Self, StoreError> {
        let folder = sink
            .folder
            .clone()
            .ok_or_else(|| StoreError::Stop(format!("sink {name} has no `folder`; set `sinks.{name}.folder`")))?;
        let plan = Plan {
            folder,
            rotate_size: sink.rotate_size.unwrap_or(ROTATE_SIZE).0,
            rotate_interval: sink.rotate_interval.unwrap_or(ROTATE_INTERVAL),
            retention: sink.retention_days.map(|days| Duration::from_hours(u64::from(days) * 24)),
            compression: sink.compression.unwrap_or(FileCompression::None),
        };
        Ok(Self { plan, figures: Arc::default(), worker: FileWorker::new(name) })
    }
}

impl Store for JsonlStore {
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
                let look = move || writer::inspect(&folder, &opening);
                let looked = tokio::task::spawn_blocking(look).await;
                looked.map_err(|_| super::worker::gone())?
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

    /// There are none: nothing that an event may be is refused by a file.
    async fn parked(&mut self, _opening: &Opening, _limit: usize) -> Result<Vec<Parked>, StoreError> {
        Ok(Vec::new())
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures {
            files: Some(self.figures.files.load(Ordering::Relaxed)),
            bytes: Some(self.figures.bytes.load(Ordering::Relaxed)),
            sequence: None,
        }
    }
}
