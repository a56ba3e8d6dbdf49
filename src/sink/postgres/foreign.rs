//! A table of somebody else's, read whole and in a stream: for comparing the journal with what others wrote.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::{FromSql, Type};
use url::Url;

use super::address::{self, Caller, ServerName};
use super::failure::{Failure, chain};
use super::reading::Micros;
use super::row::EPOCH_MICROS;
use super::session::Session;
use super::table::quote;
use crate::clock::UnixNanos;
use crate::config::suggestion;
use crate::sink::store::StoreError;

/// The longest that any single answer may take, the first rows of a large table included.
/// Source: a guess; a server that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why a table cannot be read. The address's secrets are in no text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    /// It is not there, or not as it was named.
    #[error("{0}")]
    Named(String),
    /// The server cannot be reached, turns us away, or was lost.
    #[error("{0}")]
    Unreachable(String),
}

/// A part of a row, by the number of its column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ForeignField {
    /// As text, whatever its type.
    Text(usize),
    /// As a moment, where its type is one; else as text.
    Time(usize),
    /// As bytes, where its type is that; else as text.
    Payload(usize),
}

/// A part of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ForeignValue<'a> {
    /// `NULL`
    Null,
    /// Text or bytes. `is_number`: of a column of numbers.
    Bytes { bytes: &'a [u8], is_number: bool },
    /// A moment.
    Moment(UnixNanos),
}

/// A time as the table has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ForeignTime<'a> {
    /// A moment.
    Moment(UnixNanos),
    /// A text or a number, whose meaning others know.
    Text { text: &'a str, is_number: bool },
}

impl<'a> ForeignValue<'a> {
    /// As text; none for `NULL` and what is no text.
    pub(crate) fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes { bytes, .. } => Some(bytes),
            Self::Null | Self::Moment(_) => None,
        }
    }

    pub(crate) fn time(&self) -> Option<ForeignTime<'a>> {
        match self {
            Self::Null => None,
            Self::Moment(time) => Some(ForeignTime::Moment(*time)),
            Self::Bytes { is_number, .. } => Some(ForeignTime::Text { text: self.text()?, is_number: *is_number }),
        }
    }
}

/// A table that is open for reading, within one snapshot.
pub(crate) struct ForeignTable {
    session: Session,
    server: ServerName,
    /// In SQL.
    quoted: String,
    shown: String,
    columns: Vec<(String, String)>,
    rows_estimated: Option<u64>,
}

impl std::fmt::Debug for ForeignTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignTable").field("table", &self.shown).finish_non_exhaustive()
    }
}

impl ForeignTable {
    /// Connects, and looks the table (or view) up: `trades`, found by the search path, or `market.trades`.
    pub(crate) async fn open(url: &Url, ca_file: Option<&Path>, table: &str) -> Result<Self, ForeignError> {
        let caller = Caller { sink: "verify", timeout: PATIENCE };
        let (pool, server) = address::pool(url, ca_file, &caller).map_err(|error| {
            ForeignError::Named(error.to_string().replace("the sink's `url`", "the address of the server"))
        })?;
        let unreachable = |failure: Failure| lost(failure, &server, "connect");
        let session = Session::of(&pool).await.map_err(unreachable)?;
        // The same rows each time, and in the same order: one snapshot, one process on the server, from the table's beginning.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL max_parallel_workers_per_gather = 0; \
                     SET LOCAL synchronize_seqscans = off";
        session.client().batch_execute(begin).await.map_err(|error| unreachable(error.into()))?;
        let (schema, name) = match table.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, table),
        };
        let find = "SELECT c.oid, n.nspname::text, c.relname::text, c.reltuples::bigint FROM pg_class c \
                    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
                    AND c.relname = $1 AND (n.nspname = $2 OR $2 IS NULL AND pg_table_is_visible(c.oid))";
        let found = session.client().query_opt(find, &[&name, &schema]).await;
        let found = found.map_err(|error| unreachable(error.into()))?;
        let Some(found) = found else { return Err(no_table(&session, &server, table).await) };
        let (oid, schema, name): (u32, String, String) = (found.get(0), found.get(1), found.get(2));
        let list = "SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a \
                    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
        let columns = session.client().query(list, &[&oid]).await.map_err(|error| unreachable(error.into()))?;
        Ok(Self {
            columns: columns.iter().map(|column| (column.get(0), column.get(1))).collect(),
            rows_estimated: u64::try_from(found.get::<_, i64>(3)).ok().filter(|rows| *rows > 0),
            quoted: format!("{}.{}", quote(&schema), quote(&name)),
            shown: format!("table {schema}.{name} of {server}"),
            session,
            server,
        })
    }

    /// Its columns, each with its type as the server calls it.
    pub(crate) fn columns(&self) -> &[(String, String)] {
        &self.columns
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        self.shown.clone()
    }

    /// How many rows the server believes that there are.
    pub(crate) fn rows_estimated(&self) -> Option<u64> {
        self.rows_estimated
    }

    /// Gives the parts of each row to `take`, until it breaks. No more than a few rows are in memory.
    pub(crate) async fn read(
        &mut self,
        fields: &[ForeignField],
        take: &mut dyn FnMut(&[ForeignValue<'_>]) -> ControlFlow<()>,
    ) -> Result<(), ForeignError> {
        let (mut select, mut types) = (String::new(), Vec::new());
        for field in fields {
            let (expression, kind) = self.expression(*field);
            // A string takes whatever is written to it.
            write!(select, "{}{expression}", if select.is_empty() { "" } else { ", " }).ok();
            types.push(kind);
        }
        if fields.is_empty() {
            select.push_str("NULL::text");
            types.push(Type::TEXT);
        }
        let is_number: Vec<bool> = fields.iter().map(|field| self.is_number(*field)).collect();
        let copy = format!("COPY (SELECT {select} FROM {}) TO STDOUT (FORMAT binary)", self.quoted);
        let read = async {
            let stream = self.session.client().copy_out(&copy).await?;
            let mut rows = pin!(BinaryCopyOutStream::new(stream, &types));
            loop {
                let row = tokio::time::timeout(PATIENCE, rows.try_next()).await.map_err(|_| Failure::Silent)??;
                let Some(row) = row else { return Ok(()) };
                let values = types
                    .iter()
                    .enumerate()
                    .map(|(at, kind)| value(&row, at, kind, is_number.get(at).copied().unwrap_or(false)));
                // What is on its way still is taken from the connection by its own task, or ends with it.
                if take(&values.collect::<Result<Vec<_>, _>>()?).is_break() {
                    return Ok(());
                }
            }
        };
        read.await.map_err(|failure| lost(failure, &self.server, &format!("read {}", self.quoted)))
    }

    fn expression(&self, field: ForeignField) -> (String, Type) {
        let (ForeignField::Text(column) | ForeignField::Time(column) | ForeignField::Payload(column)) = field;
        let (name, kind) = &self.columns[column];
        let name = quote(name);
        match (field, kind.as_str()) {
            (ForeignField::Time(_), "timestamp with time zone") => (name, Type::TIMESTAMPTZ),
            // The session's zone is UTC.
            (ForeignField::Time(_), "timestamp without time zone" | "date") => {
                (format!("{name}::timestamp with time zone"), Type::TIMESTAMPTZ)
            }
            (ForeignField::Payload(_), "bytea") => (name, Type::BYTEA),
            _ => (format!("{name}::text"), Type::TEXT),
        }
    }

    fn is_number(&self, field: ForeignField) -> bool {
        let ForeignField::Time(column) = field else { return false };
        ["smallint", "integer", "bigint", "numeric", "real", "double precision"]
            .contains(&self.columns[column].1.as_str())
    }
}

/// A value's bytes, as they are.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT || *kind == Type::BYTEA
    }
}

fn value<'a>(
    row: &'a BinaryCopyOutRow,
    at: usize,
    kind: &Type,
    is_number: bool,
) -> Result<ForeignValue<'a>, tokio_postgres::Error> {
    if *kind == Type::TIMESTAMPTZ {
        return Ok(match row.try_get::<Option<Micros>>(at)? {
            Some(Micros(micros)) => {
                ForeignValue::Moment(UnixNanos(micros.saturating_add(EPOCH_MICROS).saturating_mul(1000)))
            }
            None => ForeignValue::Null,
        });
    }
    let bytes = row.try_get::<Option<Raw<'a>>>(at)?;
    Ok(bytes.map_or(ForeignValue::Null, |Raw(bytes)| ForeignValue::Bytes { bytes, is_number }))
}

/// A table is not there: which ones are.
async fn no_table(session: &Session, server: &ServerName, table: &str) -> ForeignError {
    let list = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END::text \
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
                AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' \
                ORDER BY 1 LIMIT 1000";
    let names: Vec<String> = match session.client().query(list, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) => return lost(error.into(), server, "list its tables"),
    };
    let hint = suggestion(table, names.iter().map(String::as_str));
    ForeignError::Named(format!("{server} has no table `{table}`{hint}"))
}

/// Whatever the server or the connection says.
fn lost(failure: Failure, server: &ServerName, doing: &str) -> ForeignError {
    let words = match &failure {
        Failure::Postgres(error) | Failure::Row { error, .. } => match error.as_db_error() {
            Some(said) => said.message().to_owned(),
            None => chain(error),
        },
        Failure::Known(StoreError::Unavailable(text) | StoreError::Stop(text)) => text.clone(),
        Failure::Known(other) => other.to_string(),
        Failure::Silent => "no answer in time".to_owned(),
    };
    ForeignError::Unreachable(format!("PostgreSQL {server}, to {doing}: {words}"))
}
