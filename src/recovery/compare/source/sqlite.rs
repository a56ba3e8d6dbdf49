//! Rows of a table in a file of SQLite as records.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::time::{NoUnit, Times};
use super::{Request, StoreSource, joined_id};
use crate::clock::UnixNanos;
use crate::config::{TimeUnit, suggestion};
use crate::journal::payload_of_text;
use crate::recovery::compare::mapping::{Columns, Part};
use crate::recovery::compare::payload::PayloadForm;
use crate::recovery::compare::record::{Record, Source, SourceError};

/// How long a writer is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The table where none is named.
const TABLE_DEFAULT: &str = "events";

/// A table, read by a stepping statement: no more than a row is in memory.
#[derive(Debug)]
pub struct SqliteSource {
    connection: Connection,
    path: PathBuf,
    name: String,
    query: String,
    request: Request,
    columns: Columns,
    time_column: String,
    unit: Option<TimeUnit>,
    total: Option<u64>,
}

impl SqliteSource {
    /// Opens a file, and sees to its table and columns.
    ///
    /// # Errors
    /// When there is no such file, table or column.
    pub fn open(path: &Path, request: Request) -> Result<Self, SourceError> {
        if !path.is_file() {
            return Err(SourceError::Mapping(format!("there is no file {}", path.display())));
        }
        let fail = |error: &rusqlite::Error| cannot_read(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| fail(&error))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| fail(&error))?;
        let list = |query: &str, parameters: &[&str]| {
            let mut statement = connection.prepare(query)?;
            let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(0))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        let tables = list("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name", &[]);
        let tables = tables.map_err(|error| fail(&error))?;
        let table = request.mapping.table().unwrap_or(TABLE_DEFAULT).to_owned();
        if !tables.contains(&table) {
            let names = tables.iter().map(String::as_str).filter(|name| !name.starts_with("sqlite_"));
            let hint = suggestion(&table, names);
            return Err(SourceError::Mapping(format!("{} has no table `{table}`{hint}", path.display())));
        }
        let known = list("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1", &[&table]);
        let known = known.map_err(|error| fail(&error))?;
        let what = format!("table `{table}` of {}", path.display());
        let columns = request.mapping.resolve(&what, &known, request.needs_id).map_err(SourceError::Mapping)?;
        let total = connection.query_row(&format!("SELECT max(rowid) FROM {}", quote(&table)), [], |row| row.get(0));
        let total = total.ok().flatten().and_then(|most: i64| u64::try_from(most).ok());
        let unit = request.mapping.time_unit().or_else(|| {
            // As our own sink writes it.
            (!request.mapping.names(Part::Time)).then_some(TimeUnit::Ns)
        });
        let time_column = columns.one(Part::Time).map(|column| known[column].clone()).unwrap_or_default();
        Ok(Self {
            query: query(&table, &known, &columns, &request),
            name: what,
            path: path.to_owned(),
            connection,
            request,
            columns,
            time_column,
            unit,
            total,
        })
    }

    /// Gives a row to `take`, if it is meant.
    fn give(
        &self,
        (row, place, id): (&Row<'_>, u64, &mut String),
        times: &mut Times<'_>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Problem> {
        let mut at = 0;
        let mut next = |there: bool| {
            at += usize::from(there);
            there.then(|| at - 1)
        };
        let ids: Vec<_> = self.columns.of(Part::Id).iter().map(|_| next(true)).collect();
        let mut text = |part: Part| {
            next(self.columns.has(part)).map_or(Ok(None), |at| row.get_ref(at)?.as_str_or_null().map_err(Problem::from))
        };
        let (key, monitor, domain, topic, path) =
            (text(Part::Key)?, text(Part::Monitor)?, text(Part::Domain)?, text(Part::Topic)?, text(Part::Path)?);
        if !self.request.selection.takes(monitor, domain, topic, path) {
            return Ok(ControlFlow::Continue(()));
        }
        let time = match next(self.columns.has(Part::Time)) {
            Some(at) => time(row.get_ref(at)?, times)?,
            None => None,
        };
        let raw = match next(self.columns.has(Part::Payload) && self.request.needs_payload) {
            Some(at) => match row.get_ref(at)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
                _ => None,
            },
            None => None,
        };
        // What was no text when it came is what it was again.
        let unmarked = raw.and_then(payload_of_text);
        let parts = ids.into_iter().flatten().map(|at| row.get_ref(at).ok().and_then(|value| value.as_str().ok()));
        let has_id = joined_id(parts, id);
        let record = Record {
            place,
            done: place,
            monitor,
            topic,
            key,
            id: has_id.then_some(id.as_str()),
            time,
            payload: unmarked.as_deref().or(raw),
            repeats_dropped: has_id,
        };
        Ok(take(&record))
    }
}

/// Why a row cannot be taken.
enum Problem {
    Sqlite(rusqlite::Error),
    NoUnit,
}

impl From<NoUnit> for Problem {
    fn from(NoUnit: NoUnit) -> Self {
        Self::NoUnit
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for Problem {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

fn time(value: ValueRef<'_>, times: &mut Times<'_>) -> Result<Option<UnixNanos>, NoUnit> {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Ok(None),
        ValueRef::Integer(number) => times.read(&number.to_string(), true),
        ValueRef::Real(number) => times.read(&number.to_string(), true),
        ValueRef::Text(text) => times.read(&String::from_utf8_lossy(text), false),
    }
}

/// The columns in the order in which [`SqliteSource::give`] takes them; all but times and payloads as texts.
fn query(table: &str, known: &[String], columns: &Columns, request: &Request) -> String {
    let text = |column: &usize| format!("CAST({} AS TEXT)", quote(&known[*column]));
    let mut wanted: Vec<String> = columns.of(Part::Id).iter().map(text).collect();
    for part in [Part::Key, Part::Monitor, Part::Domain, Part::Topic, Part::Path] {
        wanted.extend(columns.of(part).iter().map(text));
    }
    wanted.extend(columns.of(Part::Time).iter().map(|column| quote(&known[*column])));
    if request.needs_payload {
        let payload = |column: &usize| {
            let name = quote(&known[*column]);
            format!("CASE WHEN typeof({name}) IN ('integer', 'real') THEN CAST({name} AS TEXT) ELSE {name} END")
        };
        wanted.extend(columns.of(Part::Payload).iter().map(payload));
    }
    let wanted = if wanted.is_empty() { "1".to_owned() } else { wanted.join(", ") };
    format!("SELECT {wanted} FROM {}", quote(table))
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cannot_read(path: &Path, error: &rusqlite::Error) -> SourceError {
    SourceError::Unreachable(format!("{} cannot be read: {error}", path.display()))
}

impl StoreSource for SqliteSource {
    fn has(&self, part: Part) -> bool {
        self.columns.has(part)
    }

    fn payload_form(&self) -> PayloadForm {
        PayloadForm::Bytes
    }
}

impl Source for SqliteSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn place_name(&self) -> &'static str {
        "row"
    }

    fn total(&self) -> Option<u64> {
        self.total
    }

    fn read(
        &mut self,
        only: Option<&BTreeSet<u64>>,
        take: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let mut times = Times::new(&self.time_column, self.unit);
        let mut step = || -> Result<(), Problem> {
            let mut statement = self.connection.prepare(&self.query)?;
            let mut rows = statement.query([])?;
            let (mut place, mut id) = (0, String::new());
            while let Some(row) = rows.next()? {
                place += 1;
                if self.give((row, place, &mut id), &mut times, take)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        let stepped = step();
        stepped.map_err(|problem| match problem {
            Problem::Sqlite(error) => cannot_read(&self.path, &error),
            Problem::NoUnit => times.no_unit(&self.name),
        })?;
        if only.is_none() { times.check(&self.name) } else { Ok(()) }
    }

    fn notes(&self) -> Vec<String> {
        self.request.selection.blind_note(&self.columns).into_iter().collect()
    }
}
