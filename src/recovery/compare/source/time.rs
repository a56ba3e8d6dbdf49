//! Times as stores of others have them.

use crate::clock::UnixNanos;
use crate::config::TimeUnit;
use crate::monitor::event_time;

/// What is wrong with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeProblem {
    /// A number, and nobody said what it counts.
    NoUnit,
    /// It is no time.
    Unreadable,
}

/// Reads a number, or a text of one, by its unit; without a unit a text as RFC 3339, or, as SQLite writes it, as
/// `2026-11-20 12:00:00` in UTC.
pub(super) fn read(text: &str, is_number: bool, unit: Option<TimeUnit>) -> Result<UnixNanos, TimeProblem> {
    let text = text.trim();
    match unit {
        None if is_number => Err(TimeProblem::NoUnit),
        None | Some(TimeUnit::Rfc3339) => moment(text).ok_or(TimeProblem::Unreadable),
        Some(TimeUnit::HexS) => {
            event_time::read(format!("\"{text}\"").as_bytes(), TimeUnit::HexS).ok_or(TimeProblem::Unreadable)
        }
        // A text in a column of numbers: SQLite has no types of columns.
        Some(unit) => event_time::read(text.as_bytes(), unit).or_else(|| moment(text)).ok_or(TimeProblem::Unreadable),
    }
}

fn moment(text: &str) -> Option<UnixNanos> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let timestamp = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    i64::try_from(timestamp.as_nanosecond()).ok().map(UnixNanos)
}

/// What to say of a number without a unit.
pub(super) fn no_unit(what: &str, column: &str) -> String {
    format!("{what} has numbers in `{column}`, which is its time; say what they count by `time_unit=` s, ms, us or ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_stores_write_them() {
        let noon = UnixNanos(1_763_640_000_123_000_000);
        for (text, unit) in [
            ("1763640000123", Some(TimeUnit::Ms)),
            ("1763640000.123", Some(TimeUnit::S)),
            ("1763640000123000000", Some(TimeUnit::Ns)),
        ] {
            assert_eq!(read(text, true, unit), Ok(noon), "{text}");
        }
        for text in [
            "2025-11-20T12:00:00.123Z",
            "2025-11-20 12:00:00.123",
            "2025-11-20T13:00:00.123+01:00",
            "2025-11-20 12:00:00.123+00",
        ] {
            assert_eq!(read(text, false, None), Ok(noon), "{text}");
            assert_eq!(read(text, false, Some(TimeUnit::Ms)), Ok(noon), "{text}");
        }
        assert_eq!(read("1763640000", true, None), Err(TimeProblem::NoUnit));
        assert_eq!(read("noon", false, None), Err(TimeProblem::Unreadable));
    }
}
