//! The file of one day: its tables, and the transaction that writes rows and moves the cursor.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::day::Day;
use super::error;
use crate::crash_point::crash_point;
use crate::journal::{Ancestor, Event, JournalId, Offset};
use crate::sink::batch::{Batch, Parked};
use crate::sink::store::StoreError;

/// `PRAGMA user_version` of the files that this version writes and reads.
const FORMAT: i64 = 2;

/// The form before it, which had no `enriched`: read as it is, and brought to the new form when it is written to.
const FORMAT_BEFORE: i64 = 1;

const TO_FORMAT_2: &str = "ALTER TABLE events ADD COLUMN enriched TEXT";

/// `PRAGMA application_id`: "Slce".
const APPLICATION: i64 = 0x536c_6365;

/// The longest a statement waits for another program's lock before the runner is told, which then tries again.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A newest file up to this size is checked whole when it is opened; of a larger one the end only, so that opening takes no
/// longer for a large day. `sluice verify` checks all of every file.
const CHECKED_BYTES_MAX: u64 = 16 << 20;

/// Rows at the end of a large file that are read when it is opened.
const CHECKED_ROWS: u32 = 1000;

/// Offsets are unique within a journal, and a folder may outlive a journal's restore from a backup: hence both in the key.
/// Without a rowid there is one tree and no index beside it, to which rows are appended in order.
const TABLES: &str = "
    CREATE TABLE journals (
        number INTEGER PRIMARY KEY,
        id     TEXT NOT NULL UNIQUE,  -- the journal's id
        next   INTEGER NOT NULL       -- the cursor: the first offset that is not taken yet
    );
    CREATE TABLE events (
        journal       INTEGER NOT NULL REFERENCES journals (number),
        offset        INTEGER NOT NULL,
        path          TEXT NOT NULL,
        monitor       TEXT NOT NULL,
        domain        TEXT NOT NULL,
        topic         TEXT NOT NULL,
        key           TEXT,
        id            TEXT,
        event_time    INTEGER,            -- nanoseconds since 1970
        received_time INTEGER NOT NULL,   -- nanoseconds since 1970
        conflict      INTEGER NOT NULL DEFAULT 0,
        handover      INTEGER NOT NULL DEFAULT 0,
        payload       NOT NULL,           -- to the byte: text, or a blob where it is not UTF-8
        enriched      TEXT,               -- JSON: what was looked up, by look-up
        PRIMARY KEY (journal, offset)
    ) WITHOUT ROWID;
    CREATE TABLE parked (                 -- events that were refused, by a trigger for example
        journal     INTEGER NOT NULL REFERENCES journals (number),
        offset      INTEGER NOT NULL,
        monitor     TEXT NOT NULL,
        domain      TEXT NOT NULL,
        parked_time TEXT NOT NULL,
        reason      TEXT NOT NULL,
        payload     TEXT NOT NULL,
        PRIMARY KEY (journal, offset)
    ) WITHOUT ROWID;
    CREATE TABLE replays (                -- replays under way, and how far they are
        id      TEXT NOT NULL PRIMARY KEY,
        journal INTEGER NOT NULL REFERENCES journals (number),
        next    INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// A replay may have been there first, with the same event.
const INSERT: &str = "
    INSERT INTO events (journal, offset, path, monitor, domain, topic, key, id, event_time, received_time, conflict,
                        handover, payload, enriched)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
    ON CONFLICT (journal, offset) DO UPDATE SET
        path = excluded.path, monitor = excluded.monitor, domain = excluded.domain, topic = excluded.topic,
        key = excluded.key, id = excluded.id, event_time = excluded.event_time, received_time = excluded.received_time,
        conflict = excluded.conflict, handover = excluded.handover, payload = excluded.payload,
        enriched = coalesce(excluded.enriched, enriched)";

/// An open file.
#[derive(Debug)]
pub(super) struct DayFile {
    connection: Connection,
    pub(super) path: PathBuf,
    pub(super) day: Day,
    inode: u64,
    /// Has tables.
    made: bool,
}

/// Which cursor a transaction moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move<'a> {
    /// The sink's.
    Live {
        /// Where it stands in this file; none where the file has none of this journal.
        from: Option<Offset>,
        /// Where to.
        to: Offset,
    },
    /// A replay's. The sink's own stays.
    Replay {
        /// Which replay.
        id: &'a str,
        /// Where to.
        to: Offset,
        /// The file ends before this, at least.
        next: Offset,
        /// Journals that this one was restored from: their rows of the same offsets are the same events.
        before: &'a [Ancestor],
    },
}

impl DayFile {
    /// Opens the file of a day, making it if there is none.
    pub(super) fn create(folder: &Path, day: Day) -> Result<Self, StoreError> {
        let mut file = Self::open_with(folder, day, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if !file.made {
            file.make_tables().map_err(|error| error::sort(&file.path, &error, None))?;
            file.made = true;
        }
        Ok(file)
    }

    /// Opens the file of a day, to write to it.
    pub(super) fn open(folder: &Path, day: Day) -> Result<Self, StoreError> {
        Self::open_with(folder, day, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Opens the file of a day, to read it.
    pub(super) fn read(folder: &Path, day: Day) -> Result<Self, StoreError> {
        Self::open_with(folder, day, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn open_with(folder: &Path, day: Day, flags: OpenFlags) -> Result<Self, StoreError> {
        let path = day.path(folder);
        let sorted = |error: rusqlite::Error| error::sort(&path, &error, None);
        let mut connection =
            Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sorted)?;
        let format = prepare(&connection).map_err(sorted)?;
        let inode = std::fs::metadata(&path).map(|metadata| metadata.ino()).unwrap_or_default();
        let made = match format {
            Some(FORMAT) => true,
            Some(FORMAT_BEFORE) => {
                if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
                    bring_up(&mut connection).map_err(sorted)?;
                }
                true
            }
            None => false,
            Some(other) => {
                return Err(StoreError::Stop(format!(
                    "{} has the form {other} of another program or version; move it out of its folder",
                    path.display()
                )));
            }
        };
        Ok(Self { connection, path, day, inode, made })
    }

    fn make_tables(&mut self) -> Result<(), rusqlite::Error> {
        // The file says for itself how it is logged; this cannot be part of a transaction.
        self.connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been quicker.
        if format_of(&transaction)?.is_none() {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
        }
        crash_point!("sqlite.tables_made");
        transaction.commit()?;
        crash_point!("sqlite.file_made");
        Ok(())
    }

    /// Whether its name still leads to it: a person may have moved it away.
    pub(super) fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// The journals that it has a cursor of.
    pub(super) fn cursors(&self) -> Result<Vec<(JournalId, Offset)>, StoreError> {
        if !self.made {
            return Ok(Vec::new());
        }
        let read = || {
            let mut statement = self.connection.prepare("SELECT id, next FROM journals")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        let rows = read().map_err(|error| self.sort(&error))?;
        let id = |text: String| uuid::Uuid::try_parse(&text).ok().map(JournalId);
        let rows = rows.into_iter().map(|(text, next)| Some((id(text)?, Offset(u64::try_from(next).ok()?))));
        rows.collect::<Option<_>>().ok_or_else(|| StoreError::Stop(error::damaged(&self.path, &"its cursor is absurd")))
    }

    /// Looks for damage, no longer in a large file than in a small one.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size <= CHECKED_BYTES_MAX {
            return self.check_all("quick_check");
        }
        let read = || {
            let newest = "SELECT length(payload) FROM events ORDER BY journal DESC, offset DESC LIMIT ?1";
            let mut statement = self.connection.prepare(newest)?;
            let mut rows = statement.query(params![CHECKED_ROWS])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        read().map_err(|error| self.sort(&error))
    }

    /// Looks at every page, as `PRAGMA quick_check` or `PRAGMA integrity_check` do.
    pub(super) fn check_all(&self, pragma: &str) -> Result<(), StoreError> {
        let said = self.connection.query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get::<_, String>(0));
        match said.map_err(|error| self.sort(&error))?.as_str() {
            "ok" => Ok(()),
            said => Err(StoreError::Stop(error::damaged(&self.path, &said))),
        }
    }

    /// Writes rows and moves a cursor, all or nothing. When this returns, a crash does not undo it.
    pub(super) fn write(&mut self, journal: JournalId, batch: &Batch, cursor: Move<'_>) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut at = None;
        match write(&mut self.connection, journal, batch, cursor, &mut at) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Moved(format!("somebody else moved the cursor in {}", path.display()))),
            Err(error) => Err(error::sort(&path, &error, at)),
        }
    }

    /// The replay's cursor, where the file knows it.
    pub(super) fn replay(&self, id: &str) -> Result<Option<Offset>, StoreError> {
        if !self.made {
            return Ok(None);
        }
        let next =
            self.connection.query_row("SELECT next FROM replays WHERE id = ?1", [id], |row| row.get::<_, i64>(0));
        Ok(next.optional().map_err(|error| self.sort(&error))?.map(|next| Offset(next.cast_unsigned())))
    }

    /// Forgets a replay.
    pub(super) fn forget_replay(&self, id: &str) -> Result<(), StoreError> {
        if !self.made {
            return Ok(());
        }
        let done = self.connection.execute("DELETE FROM replays WHERE id = ?1", [id]);
        done.map(|_| ()).map_err(|error| self.sort(&error))
    }

    /// Whether it has this event.
    pub(super) fn has(&self, journal: JournalId, before: &[Ancestor], offset: Offset) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM events WHERE journal = ?1 AND offset = ?2)";
        for (number, end) in self.lineage(journal, before)? {
            let found = self.connection.query_row(query, params![number, signed(offset)], |row| row.get(0));
            if offset < end && found.map_err(|error| self.sort(&error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Numbers of the journals whose rows count, each with the offset from which on they do not, in the order of offsets.
    pub(super) fn lineage(&self, journal: JournalId, before: &[Ancestor]) -> Result<Vec<(i64, Offset)>, StoreError> {
        if !self.made {
            return Ok(Vec::new());
        }
        let mut line: Vec<_> = before.iter().map(|ancestor| (ancestor.journal, ancestor.end)).collect();
        line.sort_by_key(|(_, end)| *end);
        line.push((journal, Offset(i64::MAX.cast_unsigned())));
        let mut numbers = Vec::new();
        for (id, end) in line {
            let number = number(&self.connection, id).map_err(|error| self.sort(&error))?;
            numbers.extend(number.map(|number| (number, end)));
        }
        Ok(numbers)
    }

    /// Its connection, for reading.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// An error of its connection.
    pub(super) fn sort(&self, error: &rusqlite::Error) -> StoreError {
        error::sort(&self.path, error, None)
    }
}

/// Brings a file of the form before to this one.
fn bring_up(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    if format_of(&transaction)? == Some(FORMAT_BEFORE) {
        transaction.execute_batch(TO_FORMAT_2)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()
}

/// Sets a connection up. Says which form the file has; none for one without tables.
fn prepare(connection: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    connection.busy_timeout(LOCK_PATIENCE)?;
    // Every commit is synced: with less, an acknowledged transaction can be gone after a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    format_of(connection)
}

fn format_of(connection: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != 0 {
        return Ok(Some(version));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((tables > 0).then_some(0))
}

fn number(connection: &Connection, journal: JournalId) -> Result<Option<i64>, rusqlite::Error> {
    let query = "SELECT number FROM journals WHERE id = ?1";
    connection.query_row(query, [journal.to_string()], |row| row.get(0)).optional()
}

/// False: the cursor was not where it should be. `at` says which row is being written.
fn write(
    connection: &mut Connection,
    journal: JournalId,
    batch: &Batch,
    cursor: Move<'_>,
    at: &mut Option<Offset>,
) -> Result<bool, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = journal.to_string();
    let number = match cursor {
        Move::Live { from: Some(from), to } => {
            let update = "UPDATE journals SET next = ?1 WHERE id = ?2 AND next = ?3 RETURNING number";
            let moved = transaction.query_row(update, params![signed(to), id, signed(from)], |row| row.get(0));
            let Some(number) = moved.optional()? else { return Ok(false) };
            number
        }
        Move::Live { from: None, to } => {
            let insert = "INSERT INTO journals (id, next) VALUES (?1, ?2) ON CONFLICT DO NOTHING RETURNING number";
            let moved = transaction.query_row(insert, params![id, signed(to)], |row| row.get(0));
            let Some(number) = moved.optional()? else { return Ok(false) };
            number
        }
        Move::Replay { id: replay, to, next, before } => {
            // A file made by a replay has a cursor too: it says which offsets are in it.
            let insert = "INSERT INTO journals (id, next) VALUES (?1, ?2) \
                          ON CONFLICT (id) DO UPDATE SET next = max(next, excluded.next) RETURNING number";
            let number: i64 = transaction.query_row(insert, params![id, signed(next)], |row| row.get(0))?;
            transaction.execute(
                "INSERT INTO replays (id, journal, next) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET next = ?3",
                params![replay, number, signed(to)],
            )?;
            forget_parked(&transaction, number, batch)?;
            for ancestor in before {
                let delete =
                    "DELETE FROM events WHERE journal = (SELECT number FROM journals WHERE id = ?1) AND offset = ?2";
                let mut delete = transaction.prepare(delete)?;
                for event in batch.events().take_while(|event| event.offset < ancestor.end) {
                    delete.execute(params![ancestor.journal.to_string(), signed(event.offset)])?;
                }
            }
            number
        }
    };
    if !batch.is_empty() {
        let mut insert = transaction.prepare(INSERT)?;
        for (event, enriched) in batch.enriched_events() {
            *at = Some(event.offset);
            write_row(&mut insert, number, &event, enriched)?;
        }
        *at = None;
    }
    for parked in batch.parked() {
        write_parked(&transaction, number, parked)?;
    }
    crash_point!("sqlite.inserted");
    transaction.commit()?;
    crash_point!("sqlite.committed");
    Ok(true)
}

/// What is written now is put aside no longer.
fn forget_parked(connection: &Connection, number: i64, batch: &Batch) -> Result<(), rusqlite::Error> {
    let any = "SELECT EXISTS (SELECT 1 FROM parked WHERE journal = ?1 AND offset >= ?2 AND offset < ?3)";
    let span = params![number, signed(batch.from()), signed(batch.to())];
    if connection.query_row(any, span, |row| row.get(0))? {
        let mut delete = connection.prepare("DELETE FROM parked WHERE journal = ?1 AND offset = ?2")?;
        for event in batch.events() {
            delete.execute(params![number, signed(event.offset)])?;
        }
    }
    Ok(())
}

fn write_row(
    insert: &mut rusqlite::Statement<'_>,
    number: i64,
    event: &Event<'_>,
    enriched: Option<&str>,
) -> Result<(), rusqlite::Error> {
    let payload = match std::str::from_utf8(event.payload) {
        Ok(_) => ValueRef::Text(event.payload),
        Err(_) => ValueRef::Blob(event.payload),
    };
    insert.execute(params![
        number,
        signed(event.offset),
        event.path.as_str(),
        event.monitor,
        event.domain,
        event.topic,
        event.key(),
        event.id(),
        event.event_time.map(|time| time.0),
        event.received.0,
        event.conflict,
        event.handover,
        ToSqlOutput::Borrowed(payload),
        enriched,
    ])?;
    Ok(())
}

fn write_parked(connection: &Connection, number: i64, parked: &Parked) -> Result<(), rusqlite::Error> {
    connection.execute(
        "INSERT OR REPLACE INTO parked (journal, offset, monitor, domain, parked_time, reason, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            number,
            parked.offset.cast_signed(),
            parked.monitor,
            parked.domain,
            parked.parked_time,
            parked.reason,
            parked.payload
        ],
    )?;
    Ok(())
}

/// SQLite's numbers are signed; no journal has more than 2^63 events.
pub(super) fn signed(offset: Offset) -> i64 {
    offset.0.cast_signed()
}
