//! The store `postgres`: a table of events, a table of cursors and one of rows that were put aside, all in one schema.
//!
//! | file         | is                                                                       |
//! |--------------|--------------------------------------------------------------------------|
//! | `address`    | where the server is, how it is spoken to, the pool of connections          |
//! | `unverified` | TLS that takes any certificate, for `sslmode=prefer`                       |
//! | `session`    | a connection on loan from the pool                                         |
//! | `table`      | the form of the tables                                                     |
//! | `schema`     | the tables in the database: checked, or created                            |
//! | `cursor`     | how far the sink is                                                        |
//! | `writing`    | a batch in one transaction                                                 |
//! | `row`        | an event as a row of a binary COPY                                         |
//! | `field`      | columns of declared fields; `numeric` is how decimal numbers are written   |
//! | `reading`    | what the tables hold                                                       |
//! | `foreign`    | a table of somebody else's, to be compared                                 |
//! | `trial`      | whether the sink could write, tried and taken back                       |
//! | `failure`    | what an error means                                                        |

use std::ops::Range;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::time::Instant;

use super::batch::{Batch, Parked};
use super::interest::Interest;
use super::store::{Opening, Purpose, Store, StoreError, StoreFigures, StoredRow};
use crate::config::{Settings, SinkSettings};
use crate::journal::Offset;

mod address;
mod cursor;
mod failure;
mod field;
mod foreign;
mod numeric;
mod reading;
mod row;
mod schema;
mod session;
mod table;
mod trial;
mod unverified;
mod writing;

pub(crate) use foreign::{ForeignError, ForeignField, ForeignTable, ForeignTime, ForeignValue};

use address::{Caller, ServerName};
use failure::Failure;
use field::DeclaredFields;
use row::RowEncoder;
use session::Session;
use table::{Column, TableSetting};
use writing::{Manner, Writing};

/// The table where settings name none.
const TABLE_DEFAULT: &str = "events";

/// How often the table's size is asked for. A guess: it is for people to look at.
const MEASURE_INTERVAL: Duration = Duration::from_mins(1);

/// The store `postgres`.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    server: ServerName,
    table: TableSetting,
    columns: Vec<Column>,
    timeout: Duration,
    rows: RowEncoder,
    writing: Option<Writing>,
    figures: StoreFigures,
    measured: Option<Instant>,
}

impl PostgresStore {
    /// As the settings say. Nothing is touched yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(name: &str, sink: &SinkSettings, settings: &Settings) -> Result<Self, StoreError> {
        let missing =
            || StoreError::Stop(format!("`sinks.{name}.url` is missing; write postgres://USER@HOST/DATABASE"));
        let url = sink.url.as_ref().ok_or_else(missing)?.reveal();
        let caller = Caller { sink: name, timeout: sink.timeout };
        let (pool, server) = address::pool(url, sink.ca_file.as_deref(), &caller)?;
        let payload = sink.payload.unwrap_or_default();
        let fields = DeclaredFields::of(sink, settings)?;
        let interest = Interest::new(name, sink);
        let enriched =
            settings.monitors.iter().any(|(monitor, of)| !of.enrich.is_empty() && interest.admits(monitor, &of.domain));
        if enriched && fields.columns().iter().any(|column| column.name == table::ENRICHED) {
            let reason =
                "a field of its monitors is named `enriched`, as the column for what is looked up is; choose another";
            return Err(StoreError::Stop(format!("`sinks.{name}`: {reason}")));
        }
        Ok(Self {
            pool,
            server,
            table: TableSetting::parse(sink.table.as_deref().unwrap_or(TABLE_DEFAULT))?,
            columns: table::columns(payload, enriched, fields.columns()),
            timeout: sink.timeout,
            rows: RowEncoder::new(payload, enriched, fields),
            writing: None,
            figures: StoreFigures::default(),
            measured: None,
        })
    }

    async fn open_for_writing(&mut self, opening: &Opening) -> Result<Option<Offset>, Failure> {
        let session = Session::of(&self.pool).await?;
        let opened = self.prepare(&session, opening).await;
        let (tables, cursor) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                session.settle(failure.leaves_the_session()).await;
                return Err(failure);
            }
        };
        let manner = match opening.purpose {
            Purpose::Replay { .. } => Manner::Merged,
            Purpose::Live | Purpose::Inspect => Manner::Copied,
        };
        self.rows.set_journal(opening.journal);
        let columns = self.columns.clone();
        self.writing = Some(Writing::new(session, tables, columns, opening, cursor.is_some(), manner).await?);
        self.measure().await;
        Ok(cursor)
    }

    async fn prepare(&self, session: &Session, opening: &Opening) -> Result<(schema::Tables, Option<Offset>), Failure> {
        let client = session.client();
        let tables = schema::ready(client, &self.table, &self.columns).await?;
        let cursor = cursor::find(client, &tables.names, opening, &self.server).await?;
        Ok((tables, cursor))
    }

    /// The cursor, if there are tables at all.
    async fn look(&self, opening: &Opening) -> Result<Option<Offset>, Failure> {
        let session = Session::of(&self.pool).await?;
        let client = session.client();
        let cursor = match schema::find(client, &self.table).await? {
            Some((names, _)) if schema::exists(client, &names.cursors()).await? => {
                cursor::find(client, &names, opening, &self.server).await?
            }
            _ => None,
        };
        session.give_back();
        Ok(cursor)
    }

    /// Asks for the table's size, now and then. Of no consequence if it fails.
    async fn measure(&mut self) {
        let Some(writing) = &self.writing else { return };
        if self.measured.is_some_and(|measured| measured.elapsed() < MEASURE_INTERVAL) {
            return;
        }
        self.measured = Some(Instant::now());
        // With its indexes, and the parts of a partitioned one.
        let size = "SELECT coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree($1::oid)), \
                    pg_total_relation_size($1::oid))::bigint";
        match writing.session.client().query_one(size, &[&writing.tables.oid]).await {
            Ok(row) => self.figures.bytes = row.get::<_, Option<i64>>(0).and_then(|bytes| u64::try_from(bytes).ok()),
            Err(error) => tracing::debug!(%error, "the table's size is not known"),
        }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(Failure::Silent))
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} the table {}", self.table.shown())
    }
}

impl Store for PostgresStore {
    async fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        // Lost in the middle of something: closed, so that the server ends what is under way.
        self.writing = None;
        let patience = self.timeout;
        let opened = async {
            if opening.purpose == Purpose::Inspect {
                self.look(opening).await
            } else {
                self.open_for_writing(opening).await
            }
        };
        let opened = tokio::time::timeout(patience, opened).await.unwrap_or(Err(Failure::Silent));
        opened.map_err(|failure| match failure.meaning(&self.server, &self.doing("open")) {
            // There is no row yet that could be put aside.
            StoreError::Refused { reason, .. } => StoreError::Stop(reason),
            other => other,
        })
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // Put back only when all went well: whoever drops this future in the middle leaves no half of a transaction behind.
        let Some(mut writing) = self.writing.take() else {
            return Err(StoreError::Unavailable("the store was not opened".into()));
        };
        let written = tokio::time::timeout(self.timeout, writing.write(batch, &mut self.rows)).await;
        match written.unwrap_or(Err(Failure::Silent)) {
            Ok(()) => {
                self.writing = Some(writing);
                self.measure().await;
                Ok(())
            }
            Err(failure) => {
                let usable = failure.leaves_the_session();
                let meaning = failure.meaning(&self.server, &self.doing("write to"));
                // Only a refusal ends the COPY in a known place. After anything else answers to what was sent ahead may be
                // outstanding, which the next user would take for answers to its own questions: the connection is closed.
                if matches!(meaning, StoreError::Refused { .. })
                    && tokio::time::timeout(self.timeout, writing.session.settle(usable)).await.is_err()
                {
                    tracing::debug!("a connection did not end its transaction in time, and was closed");
                }
                Err(meaning)
            }
        }
    }

    async fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let closed = self.within(writing.close(complete)).await;
        closed.map_err(|failure| failure.meaning(&self.server, &self.doing("finish with")))
    }

    async fn read_back(
        &mut self,
        opening: &Opening,
        span: Range<Offset>,
        take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> Result<(), StoreError> {
        let read = async {
            let session = Session::of(&self.pool).await?;
            let client = session.client();
            if let Some((names, jsonb)) = self.within(schema::find(client, &self.table)).await? {
                reading::read_back(client, (&names, jsonb), opening, span, self.timeout, take).await?;
            }
            session.give_back();
            Ok(())
        };
        read.await.map_err(|failure: Failure| failure.meaning(&self.server, &self.doing("read")))
    }

    async fn parked(&mut self, opening: &Opening, limit: usize) -> Result<Vec<Parked>, StoreError> {
        let read = async {
            let session = Session::of(&self.pool).await?;
            let client = session.client();
            let rows = match schema::find(client, &self.table).await? {
                Some((names, _)) if schema::exists(client, &names.parked()).await? => {
                    reading::parked(client, &names, opening, limit).await?
                }
                _ => Vec::new(),
            };
            session.give_back();
            Ok(rows)
        };
        let read = self.within(read).await;
        read.map_err(|failure: Failure| failure.meaning(&self.server, &self.doing("read what was put aside beside")))
    }

    fn figures(&self) -> StoreFigures {
        self.figures
    }
}
