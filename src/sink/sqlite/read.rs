//! Reading rows back.

use std::ops::Range;
use std::path::Path;

use rusqlite::params;
use rusqlite::types::ValueRef;

use super::day_file::{DayFile, signed};
use super::error;
use super::writer::list;
use crate::clock::UnixNanos;
use crate::journal::Offset;
use crate::sink::batch::Parked;
use crate::sink::store::{Opening, StoreError};
use crate::sink::worker::{ReadRow, RowSender};

/// Reads a span, after SQLite's own check of every file that has rows of it.
pub(super) fn read_back(
    folder: &Path,
    opening: &Opening,
    span: &Range<Offset>,
    out: &mut RowSender,
) -> Result<(), StoreError> {
    for day in list(folder)? {
        let file = DayFile::read(folder, day)?;
        file.check_all("integrity_check")?;
        let lineage = file.lineage(opening.journal, &opening.ancestors)?;
        // A replay may have written rows of an ancestor's span anew, among those that the ancestor wrote.
        let whose: Vec<String> =
            lineage.iter().map(|(number, end)| format!("(journal = {number} AND offset < {})", signed(*end))).collect();
        if whose.is_empty() {
            continue;
        }
        let query = format!(
            "SELECT offset, monitor, received_time, payload FROM events WHERE ({}) AND offset >= ?1 AND offset < ?2 \
             ORDER BY offset",
            whose.join(" OR ")
        );
        let read = |out: &mut RowSender| {
            let mut statement = file.connection().prepare(&query)?;
            let mut rows = statement.query(params![signed(span.start), signed(span.end)])?;
            while let Some(row) = rows.next()? {
                if !out.push(read_row(row)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if !read(out).map_err(|error| error::sort(&file.path, &error, None))? {
            break;
        }
    }
    Ok(())
}

fn read_row(row: &rusqlite::Row<'_>) -> Result<ReadRow, rusqlite::Error> {
    let payload = match row.get_ref(3)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        other => return Err(rusqlite::Error::InvalidColumnType(3, "payload".into(), other.data_type())),
    };
    Ok(ReadRow {
        offset: Offset(row.get::<_, i64>(0)?.cast_unsigned()),
        monitor: row.get(1)?,
        received: UnixNanos(row.get(2)?),
        payload,
        rewritten: false,
    })
}

/// Parked rows, oldest first.
pub(super) fn parked(folder: &Path, opening: &Opening, limit: usize) -> Result<Vec<Parked>, StoreError> {
    let mut parked = Vec::new();
    for day in list(folder)? {
        let file = DayFile::read(folder, day)?;
        for (number, end) in file.lineage(opening.journal, &opening.ancestors)? {
            let room = i64::try_from(limit - parked.len()).unwrap_or(i64::MAX);
            let read = || {
                let mut statement = file.connection().prepare(
                    "SELECT offset, monitor, domain, parked_time, reason, payload FROM parked \
                     WHERE journal = ?1 AND offset < ?2 ORDER BY offset LIMIT ?3",
                )?;
                let rows = statement.query_map(params![number, signed(end), room], |row| {
                    Ok(Parked {
                        offset: row.get::<_, i64>(0)?.cast_unsigned(),
                        monitor: row.get(1)?,
                        domain: row.get(2)?,
                        parked_time: row.get(3)?,
                        reason: row.get(4)?,
                        payload: row.get(5)?,
                    })
                })?;
                rows.collect::<Result<Vec<_>, _>>()
            };
            parked.extend(read().map_err(|error| file.sort(&error))?);
        }
        if parked.len() >= limit {
            break;
        }
    }
    Ok(parked)
}
