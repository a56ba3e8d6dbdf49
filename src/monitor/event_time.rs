//! Event times as feeds write them: numbers or strings, of several units.

use crate::clock::UnixNanos;
use crate::config::TimeUnit;
use crate::scanner::Token;

/// Reads an event time; none when the token is not one in this unit, or lies outside the years 1677 to 2262.
pub(crate) fn read(token: &[u8], unit: TimeUnit) -> Option<UnixNanos> {
    match unit {
        TimeUnit::S => read_decimal(token, 9),
        TimeUnit::Ms => read_decimal(token, 6),
        TimeUnit::Us => read_decimal(token, 3),
        TimeUnit::Ns => read_decimal(token, 0),
        TimeUnit::Rfc3339 => {
            let text = Token::new(token).as_str()?;
            let timestamp: jiff::Timestamp = text.parse().ok()?;
            i64::try_from(timestamp.as_nanosecond()).ok().map(UnixNanos)
        }
        TimeUnit::HexS => {
            let text = Token::new(token).as_str()?;
            let seconds = i64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
            seconds.checked_mul(1_000_000_000).map(UnixNanos)
        }
    }
}

/// Reads a decimal number, or a string that holds one, and moves its point by `places` to the right: exactly, which a
/// float of 53 bits could not for nanoseconds. Digits beyond a nanosecond are cut.
fn read_decimal(token: &[u8], places: u32) -> Option<UnixNanos> {
    let digits = match token {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    };
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut value: i64 = 0;
    let mut places_left = places;
    let mut seen = 0;
    let mut after_point = false;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                seen += 1;
                if after_point {
                    if places_left == 0 {
                        continue;
                    }
                    places_left -= 1;
                }
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            b'.' if !after_point && seen > 0 => after_point = true,
            b'e' | b'E' if seen > 0 => return read_float(token, places),
            _ => return None,
        }
    }
    if seen == 0 {
        return None;
    }
    let value = value.checked_mul(10_i64.pow(places_left))?;
    Some(UnixNanos(if negative { -value } else { value }))
}

/// A number with an exponent; no feed known writes exact times so, and the float's grain is accepted.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn read_float(token: &[u8], places: u32) -> Option<UnixNanos> {
    let value: f64 = std::str::from_utf8(token).ok()?.trim_matches('"').parse().ok()?;
    let nanos = value * 10_f64.powi(places.cast_signed());
    (nanos.is_finite() && nanos.abs() < 9.2e18).then_some(UnixNanos(nanos as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_exactly_as_number_or_string() {
        let cases: [(&str, TimeUnit, i64); 12] = [
            ("1723161255343", TimeUnit::Ms, 1_723_161_255_343_000_000),
            ("\"1723161255343\"", TimeUnit::Ms, 1_723_161_255_343_000_000),
            ("1534614057.321597", TimeUnit::S, 1_534_614_057_321_597_000),
            ("\"1534614057.3215970001\"", TimeUnit::S, 1_534_614_057_321_597_000),
            ("1711411200", TimeUnit::S, 1_711_411_200_000_000_000),
            ("1641400000123456", TimeUnit::Us, 1_641_400_000_123_456_000),
            ("1641400000123456789", TimeUnit::Ns, 1_641_400_000_123_456_789),
            ("-1.5", TimeUnit::S, -1_500_000_000),
            ("1.5e3", TimeUnit::S, 1_500_000_000_000),
            ("\"2026-08-02T03:35:50.983359Z\"", TimeUnit::Rfc3339, 1_785_641_750_983_359_000),
            ("\"2021-04-17T00:00:00.000000Z\"", TimeUnit::Rfc3339, 1_618_617_600_000_000_000),
            ("\"0x6553f100\"", TimeUnit::HexS, 1_700_000_000_000_000_000),
        ];
        for (text, unit, nanos) in cases {
            assert_eq!(read(text.as_bytes(), unit), Some(UnixNanos(nanos)), "{text} as {unit:?}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (text, unit) in [
            ("\"\"", TimeUnit::Ms),
            ("true", TimeUnit::Ms),
            ("\"12x\"", TimeUnit::Ms),
            ("99999999999999999999", TimeUnit::Ms),
            ("1723161255343", TimeUnit::S),
            ("\"yesterday\"", TimeUnit::Rfc3339),
            ("\"6553f100\"", TimeUnit::HexS),
            ("null", TimeUnit::S),
            (".", TimeUnit::S),
        ] {
            // Milliseconds read as seconds lie beyond 2262.
            assert_eq!(read(text.as_bytes(), unit), None, "{text} as {unit:?}");
        }
    }
}
