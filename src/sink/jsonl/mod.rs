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
use super::store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredRow};
use super::worker::{Worker, read_rows};
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

/// Time between looks at what age asks for.
const PAUSE: Duration = Duration::from_secs(1);

/// The store `jsonl`.
#[derive(Debug)]
pub struct JsonlStore {
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
        Ok(Self { name: name.to_owned(), plan, figures: Arc::default(), open: None })
    }
}

impl Store for JsonlStore {
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
                let look = move || writer::inspect(&folder, &opening);
                let looked = tokio::task::spawn_blocking(look).await;
                looked.map_err(|_| super::worker::gone())?
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
