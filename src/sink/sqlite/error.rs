//! What SQLite says, sorted by what a sink's runner does about it.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::journal::Offset;
use crate::sink::store::StoreError;

/// Sorts an error on the file of a day; `row` is the row that was being written, if one was.
pub(super) fn sort(path: &Path, error: &Error, row: Option<Offset>) -> StoreError {
    let file = path.display();
    let Some(code) = error.sqlite_error_code() else {
        return StoreError::Stop(foreign(path, error));
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Unavailable(format!(
            "{file} is locked by another program for longer than we wait ({error}); it is tried again; close what holds it"
        )),
        ErrorCode::DiskFull => {
            StoreError::Unavailable(format!("no room left to write {file} ({error}); free some on that disk"))
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Stop(damaged(path, error)),
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => {
            StoreError::Refused { reason: error.to_string(), offset: row }
        }
        ErrorCode::Unknown => StoreError::Stop(foreign(path, error)),
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen => StoreError::Unavailable(format!(
            "cannot write {file} ({error}); let the daemon's user write there, or set another `folder`"
        )),
        _ => StoreError::Unavailable(format!("cannot write {file}: {error}")),
    }
}

/// What to do about a damaged file. Nothing was changed in it.
pub(super) fn damaged(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!(
        "{} is damaged ({what}). Nothing was deleted. Move it out of its folder, together with the files of the same name \
         that end in -wal and -shm; then switch the sink on again: events of the newest day are written anew by themselves, \
         those of an older day by `sluice replay --since DAY --sink NAME`, as far as the journal still has them",
        path.display()
    )
}

fn foreign(path: &Path, error: &Error) -> String {
    format!(
        "the tables of {} are not as we made them ({error}); put them right, or move the file out of its folder and switch \
         the sink on again",
        path.display()
    )
}
