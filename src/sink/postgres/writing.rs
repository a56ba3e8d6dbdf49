//! A batch in one transaction: the cursor first, then the rows, then what was put aside.
//!
//! The cursor is moved only from where we left it, and before a single row is sent. So whoever else is there, be it an
//! earlier connection of ours that the server has not given up yet, only one of the two comes through.

use std::io::Cursor;
use std::pin::pin;

use futures_util::SinkExt as _;
use futures_util::future::{join, join3};
use tokio_postgres::{Client, CopyInSink, Error, Statement};

use super::super::batch::{Batch, Parked};
use super::super::store::{Opening, StoreError};
use super::cursor;
use super::failure::{Failure, copied_line};
use super::row::RowEncoder;
use super::schema::Tables;
use super::session::Session;
use super::table::{Column, ENRICHED, Names, list, quote};
use crate::crash_point::crash_point;
use crate::journal::{JournalId, Offset};

/// Bytes that are sent at once. Large enough that the connection's task is woken seldom, small enough that the server works
/// while we still write, and that memory for it is kept by the allocator instead of being asked for each time.
const CHUNK_BYTES: usize = 64 << 10;

/// Where rows wait that may be in the table already.
const STAGING: &str = "sluice_staging";

/// Piece of a COPY.
type Chunk = Cursor<Vec<u8>>;

/// How rows come into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Copied straight into it: they are new.
    Copied,
    /// Copied into a table of the session's own and merged from there: some may be in it already.
    Merged,
}

/// A session that is ready to write for one cursor.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) session: Session,
    pub(super) tables: Tables,
    /// The cursor's name, which is the sink's or a replay's.
    key: String,
    sink: String,
    journal: JournalId,
    /// Other names of the same events' journals, each with the offset from which on they are others.
    ancestors: Vec<(JournalId, Offset)>,
    /// Whether the cursor's row is there.
    begun: bool,
    columns: Vec<Column>,
    advance: Statement,
    begin_cursor: Statement,
    copy: Statement,
    manner: Manner,
    /// Whether the session has its table for merging.
    staged: bool,
}

impl Writing {
    pub(super) async fn new(
        session: Session,
        tables: Tables,
        columns: Vec<Column>,
        opening: &Opening,
        begun: bool,
        manner: Manner,
    ) -> Result<Self, Failure> {
        let client = session.client();
        let cursors = tables.names.cursors();
        let advance = format!(
            "UPDATE {cursors} SET next = $1, updated_at = now() WHERE sink = $2 AND journal = $3 AND next = $4"
        );
        let advance = client.prepare_cached(&advance).await?;
        let begin_cursor =
            format!("INSERT INTO {cursors} (next, sink, journal) VALUES ($1, $2, $3) ON CONFLICT (sink) DO NOTHING");
        let begin_cursor = client.prepare_cached(&begin_cursor).await?;
        let copy = client.prepare_cached(&Names::copy_into(&tables.names.events(), &columns)).await?;
        Ok(Self {
            session,
            tables,
            key: cursor::key(opening),
            sink: opening.sink.to_string(),
            journal: opening.journal,
            ancestors: opening.ancestors.iter().map(|ancestor| (ancestor.journal, ancestor.end)).collect(),
            begun,
            columns,
            advance,
            begin_cursor,
            copy,
            manner,
            staged: false,
        })
    }

    /// Takes a batch and moves the cursor.
    pub(super) async fn write(&mut self, batch: &Batch, rows: &mut RowEncoder) -> Result<(), Failure> {
        let written = match self.manner {
            Manner::Copied => self.copy(batch, rows).await,
            Manner::Merged => self.merge(batch, rows).await,
        };
        let written = match written {
            // Rows that a replay brought before us, or another sink of the same table. Where it is a key of the user's own that
            // is violated, merging says so again.
            Err(failure) if self.manner == Manner::Copied && is_duplicate(&failure) => {
                self.session.client().batch_execute("ROLLBACK").await?;
                tracing::info!(sink = self.key, from = %batch.from(), to = %batch.to(), "some rows are there already: merging");
                self.merge(batch, rows).await
            }
            other => other,
        };
        if written.is_ok() {
            self.begun = true;
        }
        written
    }

    /// Ends well. A replay that came to its end leaves no cursor behind.
    pub(super) async fn close(self, complete: bool) -> Result<(), Failure> {
        if complete && self.key != self.sink {
            let delete = format!("DELETE FROM {} WHERE sink = $1 AND journal = $2", self.tables.names.cursors());
            self.session.client().execute(&delete, &[&self.key, &self.journal.0]).await?;
        }
        self.session.give_back();
        Ok(())
    }

    async fn copy(&self, batch: &Batch, rows: &mut RowEncoder) -> Result<(), Failure> {
        let client = self.session.client();
        if batch.is_empty() {
            if batch.parked().is_empty() {
                let moved = self.advance(batch).await?;
                return self.only_if(moved);
            }
            let (begun, moved) = join(client.batch_execute("BEGIN"), self.advance(batch)).await;
            begun?;
            self.only_if(moved?)?;
            self.park(batch.parked()).await?;
            return Ok(client.batch_execute("COMMIT").await?);
        }
        let copying = self.begin(batch, &self.copy).await?;
        crash_point!("postgres.begun");
        if batch.parked().is_empty() {
            // Sent behind the last row at once. Should the rows be refused, the server makes a rollback of it.
            let (copied, committed) =
                join(send(copying, batch, rows, &self.tables.names.table), client.batch_execute("COMMIT")).await;
            copied?;
            committed?;
            crash_point!("postgres.committed");
        } else {
            send(copying, batch, rows, &self.tables.names.table).await?;
            self.park(batch.parked()).await?;
            client.batch_execute("COMMIT").await?;
        }
        Ok(())
    }

    /// As [`Writing::copy`], for rows that may be there: those are overwritten where they differ.
    async fn merge(&mut self, batch: &Batch, rows: &mut RowEncoder) -> Result<(), Failure> {
        if batch.is_empty() {
            return self.copy(batch, rows).await;
        }
        self.stage().await?;
        let client = self.session.client();
        let staging = format!("pg_temp.{STAGING}");
        let copy = client.prepare_cached(&Names::copy_into(&staging, &self.columns)).await?;
        let copying = self.begin(batch, &copy).await?;
        send(copying, batch, rows, STAGING).await?;

        let (events, parked) = (self.tables.names.events(), self.tables.names.parked());
        // The same event under the number of a journal that this one was restored from gives way.
        for (journal, end) in &self.ancestors {
            let delete = format!(
                "DELETE FROM {events} held USING {staging} new WHERE held.journal = $1 AND held.\"offset\" = new.\"offset\" \
                 AND new.\"offset\" < $2"
            );
            client.execute(&delete, &[&journal.0, &cursor::number(*end)]).await?;
        }
        // What had been refused and is not any more.
        let ours = [(self.journal, Offset(i64::MAX.cast_unsigned()))];
        for (journal, end) in self.ancestors.iter().chain(&ours) {
            let delete = format!(
                "DELETE FROM {parked} held USING {staging} new WHERE held.sink = $1 AND held.journal = $2 \
                 AND held.\"offset\" = new.\"offset\" AND new.\"offset\" < $3"
            );
            client.execute(&delete, &[&self.sink, &journal.0, &cursor::number(*end)]).await?;
        }
        client.execute(&self.upsert(&events, &staging), &[]).await?;
        self.park(batch.parked()).await?;
        Ok(client.batch_execute("COMMIT").await?)
    }

    fn upsert(&self, events: &str, staging: &str) -> String {
        let columns = list(&self.columns);
        let others = || self.columns.iter().filter(|column| !["journal", "offset"].contains(&column.name.as_str()));
        let of = |table: &str| {
            let names: Vec<_> = others().map(|column| format!("{table}.{}", quote(&column.name))).collect();
            names.join(", ")
        };
        // What was known then is not forgotten for what is not known now.
        let set = |(keeps, name): (bool, String)| match keeps {
            true => format!("{name} = coalesce(EXCLUDED.{name}, held.{name})"),
            false => format!("{name} = EXCLUDED.{name}"),
        };
        let sets: Vec<_> = others().map(|column| (column.name == ENRICHED, quote(&column.name))).map(set).collect();
        format!(
            "INSERT INTO {events} AS held ({columns}) SELECT {columns} FROM {staging} ORDER BY \"offset\" \
             ON CONFLICT (journal, \"offset\") DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})",
            sets.join(", "),
            of("held"),
            of("EXCLUDED")
        )
    }

    /// The session's own table, empty at the end of each transaction.
    async fn stage(&mut self) -> Result<(), Failure> {
        if !self.staged {
            let create = format!(
                "DROP TABLE IF EXISTS pg_temp.{STAGING}; CREATE TEMP TABLE {STAGING} ON COMMIT DELETE ROWS \
                 AS SELECT {} FROM {} WITH NO DATA",
                list(&self.columns),
                self.tables.names.events()
            );
            self.session.client().batch_execute(&create).await?;
            self.staged = true;
        }
        Ok(())
    }

    /// Begins a transaction, moves the cursor and begins a COPY, in one round trip.
    async fn begin(&self, batch: &Batch, copy: &Statement) -> Result<CopyInSink<Chunk>, Failure> {
        let client: &Client = self.session.client();
        // Polled in this order, and each sends when it is polled first.
        let (begun, moved, copying) =
            join3(client.batch_execute("BEGIN"), self.advance(batch), client.copy_in(copy)).await;
        begun?;
        self.only_if(moved?)?;
        crash_point!("postgres.cursor_moved");
        Ok(copying?)
    }

    /// How many cursors were moved: one, or none when it was not where we left it. Sends at once, with a statement that was
    /// prepared before: whatever is sent behind it is not to overtake it.
    async fn advance(&self, batch: &Batch) -> Result<u64, Error> {
        let client = self.session.client();
        let (from, to) = (cursor::number(batch.from()), cursor::number(batch.to()));
        if self.begun {
            client.execute(&self.advance, &[&to, &self.key, &self.journal.0, &from]).await
        } else {
            client.execute(&self.begin_cursor, &[&to, &self.key, &self.journal.0]).await
        }
    }

    fn only_if(&self, moved: u64) -> Result<(), Failure> {
        if moved == 1 {
            return Ok(());
        }
        let reason = format!("the cursor of `{}` is not where this sink left it: somebody else moved it", self.key);
        Err(StoreError::Moved(reason).into())
    }

    async fn park(&self, parked: &[Parked]) -> Result<(), Failure> {
        let client = self.session.client();
        let insert = format!(
            "INSERT INTO {} (sink, journal, \"offset\", monitor, domain, parked_time, reason, payload) \
             VALUES ($1, $2, $3, $4, $5, ($6::text)::timestamp with time zone, $7, $8) \
             ON CONFLICT (sink, journal, \"offset\") DO UPDATE SET parked_time = EXCLUDED.parked_time, \
             reason = EXCLUDED.reason, payload = EXCLUDED.payload",
            self.tables.names.parked()
        );
        for row in parked {
            let offset = cursor::number(Offset(row.offset));
            // No text of the server holds a NUL; the payload's column is of bytes.
            let [monitor, domain, reason] =
                [&row.monitor, &row.domain, &row.reason].map(|text| text.replace('\0', "\\0"));
            let insert = client.prepare_cached(&insert).await?;
            client
                .execute(
                    &insert,
                    &[
                        &self.sink,
                        &self.journal.0,
                        &offset,
                        &monitor,
                        &domain,
                        &row.parked_time,
                        &reason,
                        &row.payload.as_bytes(),
                    ],
                )
                .await?;
        }
        Ok(())
    }
}

/// Sends the rows of a batch to a COPY into `table`, and waits until the server has taken them.
async fn send(copying: CopyInSink<Chunk>, batch: &Batch, rows: &mut RowEncoder, table: &str) -> Result<(), Failure> {
    let mut copying = pin!(copying);
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
    RowEncoder::begin(&mut chunk);
    for (event, enriched) in batch.enriched_events() {
        rows.put(&event, enriched, &mut chunk);
        if chunk.len() >= CHUNK_BYTES {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4));
            copying.feed(Cursor::new(full)).await?;
        }
    }
    RowEncoder::end(&mut chunk);
    copying.feed(Cursor::new(chunk)).await?;
    match copying.finish().await {
        // How many is not looked at: a trigger of the user's may have put rows elsewhere.
        Ok(_) => Ok(()),
        Err(error) => Err(refused(error, batch, table)),
    }
}

/// With the offset of the row, where the server names it.
fn refused(error: Error, batch: &Batch, table: &str) -> Failure {
    let line = error.as_db_error().and_then(|said| copied_line(said, table));
    let offset = line.and_then(|line| batch.events().nth(line.checked_sub(1)?)).map(|event| event.offset);
    Failure::Row { error, offset }
}

fn is_duplicate(failure: &Failure) -> bool {
    failure.said().is_some_and(|said| said.code().code() == "23505")
}
