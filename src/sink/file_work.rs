//! What a store of files does on its thread: the same calls for a live writer and for a replay, of every kind of file.

use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use super::batch::Batch;
use super::store::{Opening, Purpose, StoreError};
use super::worker::Worker;
use crate::journal::Offset;

/// Time between looks at what time asks for.
const PAUSE: Duration = Duration::from_secs(1);

/// What owns a store's files. It may block. Errors are as [`Store`](super::store::Store) has them.
pub(super) trait FileWork: fmt::Debug + Send + 'static {
    /// Finds out where it is, and readies itself to write from there on.
    fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError>;
    /// Writes a batch and moves the cursor, in one step.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;
    /// Ends in order. `complete`: a replay has all that it was to have.
    fn close(&mut self, complete: bool) -> Result<(), StoreError>;
    /// Does what time asks for.
    fn tick(&mut self) {}
}

/// The thread of a store's files, started when they are first opened, and another when they are opened for something else.
#[derive(Debug)]
pub(super) struct FileWorker {
    name: String,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    purpose: Discriminant<Purpose>,
    worker: Worker<Box<dyn FileWork>>,
}

impl FileWorker {
    /// Of the sink `name`. No thread yet.
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), open: None }
    }

    /// Opens what is at work for this purpose, or what `make` gives.
    pub(super) async fn open(
        &mut self,
        opening: &Opening,
        make: impl FnOnce() -> Box<dyn FileWork>,
    ) -> Result<Option<Offset>, StoreError> {
        let purpose = discriminant(&opening.purpose);
        let open = match &mut self.open {
            Some(open) if open.purpose == purpose => open,
            other => {
                other.insert(Open { purpose, worker: Worker::start(&self.name, make(), PAUSE, |work| work.tick())? })
            }
        };
        let opening = opening.clone();
        open.worker.call(move |work| work.open(&opening)).await?
    }

    /// Writes a batch.
    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let Some(Open { worker, .. }) = &self.open else {
            return Err(StoreError::Moved("the folder is not open".into()));
        };
        let batch = batch.clone();
        worker.call(move |work| work.write(&batch)).await?
    }

    /// Closes in order, and ends the thread.
    pub(super) async fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        match self.open.take() {
            Some(Open { worker, .. }) => worker.call(move |work| work.close(complete)).await?,
            None => Ok(()),
        }
    }
}
