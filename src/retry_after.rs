//! `Retry-After`: for how long an upstream wants to be left alone.

use std::time::Duration;

use jiff::fmt::rfc2822;

use crate::clock::UnixNanos;

/// No upstream is left alone for longer because it said so: it may have meant another unit. Source: a guess.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// The wait that `Retry-After` asks for, in seconds or until a date. A date is held against the sender's own clock where it tells
/// that, since ours may differ.
pub(crate) fn wait_of(retry_after: &str, date: Option<&str>, now: UnixNanos) -> Option<Duration> {
    let retry_after = retry_after.trim();
    let wait = match retry_after.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(retry_after)?.since(date.and_then(http_date).unwrap_or(now)),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// `Wed, 21 Oct 2026 07:28:00 GMT`; the two obsolete forms are not read.
pub(crate) fn http_date(text: &str) -> Option<UnixNanos> {
    let timestamp = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text.trim()).ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok().map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos(1_792_566_000_000_000_000); // 2026-10-21T07:00:00Z

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let wait = |text| wait_of(text, None, NOW);
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_mins(28)));
        assert_eq!(wait("Wed, 21 Oct 2026 06:28:00 GMT"), Some(Duration::ZERO), "it is over");
        for nonsense in ["", "soon", "-5", "1.5", "Wed, 99 Oct 2026 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT"]
        {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_is_held_against_the_senders_own_clock() {
        let (until, theirs) = ("Wed, 21 Oct 2026 09:28:00 GMT", "Wed, 21 Oct 2026 09:27:30 GMT");
        assert_eq!(wait_of(until, Some(theirs), NOW), Some(Duration::from_secs(30)));
        assert_eq!(wait_of(until, Some("no date"), NOW), Some(Duration::from_mins(148)));
    }

    #[test]
    fn no_number_of_an_upstream_stops_us_for_good() {
        assert_eq!(wait_of("18446744073709551615", None, NOW), Some(RETRY_AFTER_MAX));
        assert_eq!(wait_of("Fri, 31 Dec 2199 23:59:59 GMT", None, NOW), Some(RETRY_AFTER_MAX));
    }
}
