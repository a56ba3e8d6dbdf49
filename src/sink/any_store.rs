//! The store that a sink's settings mean.

use std::ops::Range;

use super::batch::{Batch, Parked};
use super::jsonl::JsonlStore;
use super::nats::NatsStore;
use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::store::{Opening, Store, StoreError, StoreFigures, StoredRow};
use crate::config::{Settings, SinkKind, SinkSettings};
use crate::journal::Offset;

/// Any of the stores.
#[derive(Debug)]
pub enum AnyStore {
    /// A table in PostgreSQL.
    Postgres(Box<PostgresStore>),
    /// A file a day.
    Sqlite(Box<SqliteStore>),
    /// A stream of NATS JetStream.
    Nats(Box<NatsStore>),
    /// Files of JSON lines.
    Jsonl(Box<JsonlStore>),
}

impl AnyStore {
    /// The store of the sink `name`. Nothing is touched yet.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn new(name: &str, sink: &SinkSettings, settings: &Settings) -> Result<Self, StoreError> {
        Ok(match sink.kind {
            SinkKind::Postgres => Self::Postgres(Box::new(PostgresStore::new(name, sink, settings)?)),
            SinkKind::Sqlite => Self::Sqlite(Box::new(SqliteStore::new(name, sink, settings)?)),
            SinkKind::Nats => Self::Nats(Box::new(NatsStore::new(name, sink, settings)?)),
            SinkKind::Jsonl => Self::Jsonl(Box::new(JsonlStore::new(name, sink, settings)?)),
        })
    }
}

macro_rules! each {
    ($any:expr, $store:ident => $do:expr) => {
        match $any {
            AnyStore::Postgres($store) => $do,
            AnyStore::Sqlite($store) => $do,
            AnyStore::Nats($store) => $do,
            AnyStore::Jsonl($store) => $do,
        }
    };
}

impl Store for AnyStore {
    async fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        each!(self, store => store.open(opening).await)
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        each!(self, store => store.write(batch).await)
    }

    async fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        each!(self, store => store.close(complete).await)
    }

    async fn read_back(
        &mut self,
        opening: &Opening,
        span: Range<Offset>,
        take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        each!(self, store => store.read_back(opening, span, take).await)
    }

    async fn parked(&mut self, opening: &Opening, limit: usize) -> Result<Vec<Parked>, StoreError> {
        each!(self, store => store.parked(opening, limit).await)
    }

    fn figures(&self) -> StoreFigures {
        each!(self, store => store.figures())
    }
}
