//! The store `jsonl`.

use std::ops::Range;

use super::batch::{Batch, Parked};
use super::store::{Opening, Store, StoreError, StoreFigures, StoredRow};
use crate::config::{Settings, SinkSettings};
use crate::journal::Offset;

/// The store `jsonl`.
#[derive(Debug)]
pub struct JsonlStore {}

impl JsonlStore {
    /// As the settings say. Nothing is touched yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(_name: &str, _sink: &SinkSettings, _settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self {})
    }
}

impl Store for JsonlStore {
    async fn open(&mut self, _opening: &Opening) -> Result<Option<Offset>, StoreError> {
        Err(StoreError::Stop("not built yet".into()))
    }

    async fn write(&mut self, _batch: &Batch) -> Result<(), StoreError> {
        Err(StoreError::Stop("not built yet".into()))
    }

    async fn close(&mut self, _complete: bool) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read_back(
        &mut self,
        _opening: &Opening,
        _span: Range<Offset>,
        _take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        Err(StoreError::Stop("not built yet".into()))
    }

    async fn parked(&mut self, _opening: &Opening, _limit: usize) -> Result<Vec<Parked>, StoreError> {
        Ok(Vec::new())
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures::default()
    }
}
