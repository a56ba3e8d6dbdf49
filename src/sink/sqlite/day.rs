//! Days, and the files that are named after them.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::clock::UnixNanos;

const NANOS_OF_DAY: i64 = 24 * 3600 * 1_000_000_000;

/// A day in UTC, as a number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i64);

impl Day {
    /// The day of a moment.
    pub(super) fn of(moment: UnixNanos) -> Self {
        Self(moment.0.div_euclid(NANOS_OF_DAY))
    }

    /// The day so many days before.
    pub(super) fn back(self, days: u32) -> Self {
        Self(self.0 - i64::from(days))
    }

    /// The day's file.
    pub(super) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("events-{self}.db"))
    }

    /// The day of a file's name; none for files that are not ours.
    fn parse(name: &str) -> Option<Self> {
        let text = name.strip_prefix("events-")?.strip_suffix(".db")?;
        let date: jiff::civil::Date = text.parse().ok()?;
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let day = Self(midnight.as_second().div_euclid(24 * 3600));
        (day.to_string() == text).then_some(day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.saturating_mul(24 * 3600)) {
            Ok(midnight) => midnight.strftime("%Y-%m-%d").fmt(f),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

/// The days that have a file, oldest first; none where there is no folder.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<Day>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut days = Vec::new();
    for entry in entries {
        days.extend(entry?.file_name().to_str().and_then(Day::parse));
    }
    days.sort_unstable();
    Ok(days)
}

/// The files beside a day's file: the log of what was written last, and its index.
pub(super) fn companions(file: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|ending| {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        name.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc_and_names_its_file() {
        let new_year = 1_767_225_600_000_000_000;
        assert_eq!(Day::of(UnixNanos(new_year)).to_string(), "2026-01-01");
        assert_eq!(Day::of(UnixNanos(new_year - 1)).to_string(), "2025-12-31");
        assert_eq!(Day::parse("events-2026-01-01.db"), Some(Day::of(UnixNanos(new_year))));
        for other in ["events-2026-01-01.db-wal", "events-2026-1-1.db", "events.db", "events-2026-02-30.db"] {
            assert_eq!(Day::parse(other), None, "{other}");
        }
    }
}
