//! Times as stores of others have them.

use crate::clock::UnixNanos;
use crate::config::TimeUnit;
use crate::monitor::event_time;
use crate::recovery::compare::record::SourceError;

/// Before the year 2000 nobody received anything: what reads so counts another unit.
const EARLIEST: UnixNanos = UnixNanos(946_684_800_000_000_000);

/// Nor from 2200 on.
const LATEST: UnixNanos = UnixNanos(7_258_118_400_000_000_000);

/// Where fewer rows than one of so many have a time that can be read, the column or its unit is the wrong one.
const READABLE_OF: u64 = 100;

/// An example is cut to so many characters.
const EXAMPLE_CHARS: usize = 40;

/// The times of one reading of a source, and how many of them could be read.
#[derive(Debug)]
pub(super) struct Times<'a> {
    column: &'a str,
    unit: Option<TimeUnit>,
    readable: u64,
    unreadable: u64,
    example: Option<String>,
}

impl<'a> Times<'a> {
    pub(super) fn new(column: &'a str, unit: Option<TimeUnit>) -> Self {
        Self { column, unit, readable: 0, unreadable: 0, example: None }
    }

    /// A value's time, or none where it is no time that anybody can have received anything at.
    ///
    /// # Errors
    /// When it is a number, and nobody said what it counts.
    pub(super) fn read(&mut self, text: &str, is_number: bool) -> Result<Option<UnixNanos>, NoUnit> {
        match read(text, is_number, self.unit) {
            Ok(time) if (EARLIEST..LATEST).contains(&time) => {
                self.readable += 1;
                Ok(Some(time))
            }
            Ok(_) | Err(TimeProblem::Unreadable) => {
                self.unreadable += 1;
                self.example.get_or_insert_with(|| text.chars().take(EXAMPLE_CHARS).collect());
                Ok(None)
            }
            Err(TimeProblem::NoUnit) => Err(NoUnit),
        }
    }

    /// A time that the store itself knows as one.
    pub(super) fn is_known(&mut self) {
        self.readable += 1;
    }

    /// What to say of a number without a unit.
    pub(super) fn no_unit(&self, what: &str) -> SourceError {
        SourceError::Mapping(format!(
            "{what} has numbers in `{}`, which is its time; say what they count by `time_unit=` s, ms, us or ns",
            self.column
        ))
    }

    /// Whether enough of them could be read, after the last one.
    ///
    /// # Errors
    /// When next to none could.
    pub(super) fn check(&self, what: &str) -> Result<(), SourceError> {
        let Some(example) = &self.example else { return Ok(()) };
        if self.readable.saturating_mul(READABLE_OF) >= self.readable + self.unreadable {
            return Ok(());
        }
        let unit = self.unit.map_or("a text of a time", name);
        let units = [TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns, TimeUnit::Rfc3339, TimeUnit::HexS];
        let fitting = units.into_iter().find_map(|unit| {
            let time = read(example, false, Some(unit)).ok()?;
            (EARLIEST..LATEST).contains(&time).then(|| format!("; as {} it is {time}", name(unit)))
        });
        Err(SourceError::Mapping(format!(
            "{what}: `{}` is its time, and `{example}` in it is none when it is read as {unit}{}; say what it is by \
             `time_unit=` s, ms, us, ns, rfc3339 or hex_s, name another column by `time=COLUMN`, or none by `time=-`",
            self.column,
            fitting.unwrap_or_default()
        )))
    }
}

fn name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::S => "s",
        TimeUnit::Ms => "ms",
        TimeUnit::Us => "us",
        TimeUnit::Ns => "ns",
        TimeUnit::Rfc3339 => "rfc3339",
        TimeUnit::HexS => "hex_s",
    }
}

/// A number stands where nobody said what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoUnit;

/// What is wrong with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeProblem {
    /// A number, and nobody said what it counts.
    NoUnit,
    /// It is no time.
    Unreadable,
}

/// Reads a number, or a text of one, by its unit; without a unit a text as RFC 3339, or, as SQLite writes it, as
/// `2026-11-20 12:00:00` in UTC.
fn read(text: &str, is_number: bool, unit: Option<TimeUnit>) -> Result<UnixNanos, TimeProblem> {
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
