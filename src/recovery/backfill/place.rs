//! Where something stands in a span, and the span itself.

use std::fmt;

use crate::clock::UnixNanos;
use crate::config::{RangeBy, RangeSettings, TimeUnit};
use crate::monitor::event_time;
use crate::scanner::{Token, TokenKind};

/// A place: a number, of which times are those of nanoseconds since 1970; or a text that says nothing to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A number, or a time.
    At(i128),
    /// An id that is no number, or a word of the provider's, such as `latest`.
    Text(String),
}

impl Place {
    /// The number, if it is one.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::At(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

/// How places are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// What is measured by.
    pub(super) by: RangeBy,
    unit: TimeUnit,
    hex: bool,
}

impl Measure {
    /// As settings say.
    pub(super) fn of(range: &RangeSettings) -> Self {
        Self { by: range.by, unit: range.unit.unwrap_or_default(), hex: range.hex }
    }

    /// Whether it is time.
    pub(super) fn is_time(self) -> bool {
        self.by == RangeBy::Time
    }

    /// The place that a raw token names; none where it names none.
    pub(super) fn read(self, raw: &[u8]) -> Option<Place> {
        if self.is_time() {
            return event_time::read(raw, self.unit).map(|time| Place::At(time.0.into()));
        }
        let token = Token::new(raw);
        if matches!(token.kind(), TokenKind::Object | TokenKind::Array | TokenKind::Null | TokenKind::Bool) {
            return None;
        }
        let text = token.text();
        let number = match text.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        Some(number.map_or_else(|| Place::Text(text.into_owned()), Place::At))
    }

    /// A place as the provider writes it.
    pub(super) fn write(self, place: &Place) -> String {
        match place {
            Place::Text(text) => text.clone(),
            Place::At(number) if !self.is_time() => {
                if self.hex {
                    format!("{number:#x}")
                } else {
                    number.to_string()
                }
            }
            Place::At(nanoseconds) => {
                let nanoseconds = *nanoseconds;
                match self.unit {
                    TimeUnit::S => nanoseconds.div_euclid(1_000_000_000).to_string(),
                    TimeUnit::Ms => nanoseconds.div_euclid(1_000_000).to_string(),
                    TimeUnit::Us => nanoseconds.div_euclid(1_000).to_string(),
                    TimeUnit::Ns => nanoseconds.to_string(),
                    TimeUnit::Rfc3339 => moment(nanoseconds).to_string(),
                    TimeUnit::HexS => format!("{:#x}", nanoseconds.div_euclid(1_000_000_000)),
                }
            }
        }
    }

    /// The least step from one place to another that a request can tell apart.
    pub(super) fn grain(self) -> i128 {
        match (self.is_time(), self.unit) {
            (false, _) | (true, TimeUnit::Ns | TimeUnit::Rfc3339) => 1,
            (true, TimeUnit::S | TimeUnit::HexS) => 1_000_000_000,
            (true, TimeUnit::Ms) => 1_000_000,
            (true, TimeUnit::Us) => 1_000,
        }
    }
}

/// The moment of a place in time.
pub(super) fn moment(nanoseconds: i128) -> UnixNanos {
    let least = if nanoseconds < 0 { i64::MIN } else { i64::MAX };
    UnixNanos(i64::try_from(nanoseconds).unwrap_or(least))
}

/// What is asked for, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Where it begins.
    pub(super) from: Place,
    /// Where it ends.
    pub(super) to: Place,
}

impl Span {
    /// Whether a place is in it. Where that cannot be told it is.
    pub(super) fn has(&self, place: &Place, grain: i128) -> bool {
        let Some(at) = place.number() else { return true };
        self.from.number().is_none_or(|from| at > from - grain) && self.to.number().is_none_or(|to| at < to + grain)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(toml: &str) -> Measure {
        Measure::of(&toml::from_str(toml).unwrap())
    }

    #[test]
    fn places_are_read_and_written_as_the_provider_does() {
        for (toml, raw, written) in [
            ("by = \"time\"", "1723161255342", "1723161255342"),
            ("by = \"time\"\nunit = \"s\"", "1723161255.342", "1723161255"),
            ("by = \"time\"\nunit = \"rfc3339\"", "\"2024-08-08T23:54:15.342Z\"", "2024-08-08T23:54:15.342Z"),
            ("by = \"block\"\nhex = true", "\"0x1f\"", "0x1f"),
            ("by = \"block\"", "\"0x1f\"", "31"),
            ("by = \"id\"", "\"42\"", "42"),
            ("by = \"id\"", "\"a-b\"", "a-b"),
        ] {
            let measure = measure(toml);
            let place = measure.read(raw.as_bytes()).unwrap_or_else(|| panic!("{toml} {raw}"));
            assert_eq!(measure.write(&place), written, "{toml}");
        }
        assert_eq!(measure("by = \"id\"").read(b"null"), None);
        assert_eq!(measure("by = \"time\"").read(b"\"soon\""), None);
    }

    #[test]
    fn a_span_has_its_ends_and_the_grain_around_them() {
        let span = Span { from: Place::At(10), to: Place::At(20) };
        let has = |at| span.has(&Place::At(at), 1);
        assert_eq!([9, 10, 20, 21].map(has), [false, true, true, false]);
        assert!(span.has(&Place::Text("x".into()), 1));
        let open = Span { from: Place::At(10), to: Place::Text("latest".into()) };
        assert!(open.has(&Place::At(1000), 1) && !open.has(&Place::At(9), 1));
    }
}
