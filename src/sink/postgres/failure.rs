//! What the server's and the library's errors mean for a sink: try again, put a row aside, or ask a person.

use std::error::Error as _;

use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use super::super::store::StoreError;
use super::address::ServerName;
use crate::journal::Offset;

/// The longest part of the server's words that is passed on: they may quote a whole row.
const WORDS_MAX: usize = 600;

/// An error before it is known what it means.
#[derive(Debug)]
pub(super) enum Failure {
    /// Of the server or of the connection to it.
    Postgres(Error),
    /// Of a row, with its offset where the server names it.
    Row {
        /// What the server says.
        error: Error,
        /// Which.
        offset: Option<Offset>,
    },
    /// Known already.
    Known(StoreError),
    /// Nothing came back for too long.
    Silent,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Known(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => Self::Postgres(error),
            PoolError::Timeout(_) => Self::Silent,
            other => Self::Known(StoreError::Unavailable(other.to_string())),
        }
    }
}

impl Failure {
    /// What the server said, if it was the server.
    pub(super) fn said(&self) -> Option<&DbError> {
        match self {
            Self::Postgres(error) | Self::Row { error, .. } => error.as_db_error(),
            _ => None,
        }
    }

    /// Whether the connection can be used on.
    pub(super) fn leaves_the_session(&self) -> bool {
        match self {
            // Severities may be in the server's language; this is not.
            Self::Postgres(error) | Self::Row { error, .. } => {
                error.as_db_error().is_some_and(|said| said.parsed_severity() == Some(Severity::Error))
            }
            Self::Known(_) => true,
            Self::Silent => false,
        }
    }

    /// What it means. `doing` is what was being done: `write to the table public.events`.
    pub(super) fn meaning(self, server: &ServerName, doing: &str) -> StoreError {
        let context = format!("PostgreSQL {server}, to {doing}");
        let (error, offset) = match self {
            Self::Known(error) => return error,
            Self::Silent => return StoreError::Unavailable(format!("{context}: no answer in time")),
            Self::Postgres(error) => (error, None),
            Self::Row { error, offset } => (error, offset),
        };
        match error.as_db_error().map(|said| meaning_of(said, &context)) {
            Some(StoreError::Refused { reason, .. }) => StoreError::Refused { reason, offset },
            Some(other) => other,
            None => of_the_connection(&error, &context),
        }
    }
}

fn of_the_connection(error: &Error, context: &str) -> StoreError {
    let words = format!("{context}: {}", chain(error));
    // The library tells its kinds apart in words only.
    let kind = error.to_string();
    if kind.starts_with("invalid configuration") || kind.starts_with("authentication error") {
        return StoreError::Stop(format!("{words}; see to the credentials in the sink's `url`"));
    }
    if kind.contains("TLS") {
        let hint = "the certificate must be vouched for by the system's authorities or `ca_file`, and name the host";
        return StoreError::Unavailable(format!("{words} ({hint}; `sslmode=disable` goes without TLS)"));
    }
    StoreError::Unavailable(words)
}

/// By the class of the state, its first two characters, or by the state itself.
fn meaning_of(said: &DbError, context: &str) -> StoreError {
    let code = said.code().code();
    let words = words(said);
    match (&code[..2.min(code.len())], code) {
        // The row: its values, a constraint, a limit of its size, a trigger's refusal.
        ("22" | "23" | "27" | "38" | "39" | "44" | "54" | "P0", _) => {
            StoreError::Refused { reason: words, offset: None }
        }
        // A lost connection, a conflict with others, no resources, an operator's hand, the server's own troubles; a server
        // that was demoted; a lock or an object in use; a session that lost its statements to a proxy.
        ("08" | "40" | "53" | "55" | "57" | "58" | "XX", _) | (_, "25006" | "25P02" | "25P03" | "26000") => {
            StoreError::Unavailable(format!("{context}: {words}"))
        }
        ("28", _) => StoreError::Stop(format!("{context}: {words}; see to the credentials in the sink's `url`")),
        ("3D", _) => StoreError::Stop(format!("{context}: {words}; create the database, or mend the sink's `url`")),
        (_, "42501") => StoreError::Stop(format!(
            "{context}: {words}; grant the role what it lacks (on the table: SELECT, INSERT, UPDATE, DELETE), then switch the sink on again"
        )),
        (_, "42P01" | "42703" | "42804" | "3F000") => StoreError::Stop(format!(
            "{context}: {words}; somebody changed the table under the sink: restart the sink to have it checked and made again"
        )),
        _ => StoreError::Stop(format!("{context}: {words}")),
    }
}

/// The server's own words, without the row that a refusal quotes.
fn words(said: &DbError) -> String {
    let mut text = said.message().to_owned();
    // "Failing row contains (…)" repeats what is parked beside the reason.
    if let Some(detail) = said.detail().filter(|detail| !detail.starts_with("Failing row contains")) {
        text = format!("{text} ({detail})");
    }
    if text.len() > WORDS_MAX {
        let end = (0..=WORDS_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    let column = said.where_().and_then(|place| place.split(", column ").nth(1));
    let column = column.and_then(|rest| rest.split([':', '\n']).next());
    match column {
        Some(column) => format!("{text}, column {column} [SQLSTATE {}]", said.code().code()),
        None => format!("{text} [SQLSTATE {}]", said.code().code()),
    }
}

/// The number, from 1, of the row of a COPY into `table` that the server complains of. The words around it are in the server's
/// language: `COPY events, line 12, column payload`.
pub(super) fn copied_line(said: &DbError, table: &str) -> Option<usize> {
    line_in(said.where_()?, table)
}

fn line_in(place: &str, table: &str) -> Option<usize> {
    let start = format!("COPY {table}, ");
    let rest = place.lines().find_map(|line| line.find(&start).map(|at| &line[at + start.len()..]))?;
    let digits = rest.trim_start_matches(|other: char| !other.is_ascii_digit());
    let end = digits.find(|other: char| !other.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// An error with what caused it.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = source.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_line_is_found_in_the_servers_words() {
        let line = |place| line_in(place, "events");
        assert_eq!(line("COPY events, line 12, column payload"), Some(12));
        assert_eq!(line("COPY events, line 3"), Some(3));
        assert_eq!(line("JSON data, line 1: {\"a\":\nCOPY events, line 7, column payload"), Some(7));
        assert_eq!(line("COPY events, ligne 8, colonne payload: « 9 »"), Some(8));
        assert_eq!(line("COPY other, line 12"), None);
        assert_eq!(line_in("COPY events2026, line 5", "events2026"), Some(5));
        assert_eq!(line("PL/pgSQL function check_it() line 3 at RAISE"), None);
    }
}
