//! Which places look like a time, and in which unit.

use serde_json::Value;

use super::events::Record;
use super::leaves::{depth, places};

/// Moments that a feed may speak of, in seconds: the years 2009 to 2100.
const SECONDS: std::ops::Range<f64> = 1.23e9..4.1e9;
/// How far a time may be from when the message came, in seconds. Source: a guess; snapshots have old events.
const AWAY_MAX: f64 = 2.0 * 86_400.0;

/// A time.
#[derive(Debug, Clone)]
pub(super) struct FoundTime {
    pub(super) pointer: String,
    pub(super) unit: &'static str,
    pub(super) present: usize,
    /// How long before it came, in the middle of all, in seconds; none where nobody wrote down when it came.
    pub(super) lag: Option<f64>,
}

/// Seconds since 1970 of a value in a unit.
fn seconds(value: &Value, unit: &str) -> Option<f64> {
    let number = || match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => text.parse().ok(),
        _ => None,
    };
    let whole = || number().filter(|number| number.fract() == 0.0);
    match unit {
        "s" => number(),
        "ms" => Some(whole()? / 1e3),
        "us" => Some(whole()? / 1e6),
        "ns" => Some(whole()? / 1e9),
        "hex_s" => {
            let digits = value.as_str()?.strip_prefix("0x")?;
            i64::from_str_radix(digits, 16).ok().map(|seconds| seconds as f64)
        }
        _ => {
            let text =
                value.as_str().filter(|text| text.len() >= 19 && text.as_bytes()[10].eq_ignore_ascii_case(&b'T'))?;
            text.parse::<jiff::Timestamp>().ok().map(|time| time.as_nanosecond() as f64 / 1e9)
        }
    }
    .filter(|seconds| SECONDS.contains(seconds))
}

/// The unit in which all values are times.
fn unit_of(values: &[&Value]) -> Option<&'static str> {
    let units = ["rfc3339", "ms", "s", "us", "ns", "hex_s"];
    units.into_iter().find(|unit| !values.is_empty() && values.iter().all(|value| seconds(value, unit).is_some()))
}

/// Whether values are times, and not numbers that happen to look so: those are far from when the messages came.
pub(super) fn is_near(records: &[Record<'_>], values: &[&Value]) -> bool {
    let Some(unit) = unit_of(values) else { return false };
    let away = records.iter().zip(values).filter_map(|(record, value)| Some(record.at? - seconds(value, unit)?));
    let away: Vec<f64> = away.collect();
    away.is_empty() || away.iter().any(|away| away.abs() <= AWAY_MAX)
}

/// The time of events: the one that all have, and of several the one by a name that says so, then the earliest.
pub(super) fn find(records: &[Record<'_>]) -> Option<FoundTime> {
    let first = records.first()?;
    let mut best: Option<(i32, FoundTime)> = None;
    // What the first lacks may be in others: a snapshot often has no time.
    let mut pointers: Vec<String> = Vec::new();
    for record in [first, &records[records.len() / 2], &records[records.len() - 1]] {
        let scalars = places(record.value).into_iter().filter(|(_, value)| value.is_string() || value.is_number());
        pointers.extend(scalars.map(|(pointer, _)| pointer));
    }
    pointers.sort();
    pointers.dedup();
    for pointer in pointers {
        let found = records.iter().filter_map(|record| Some((record, record.value.pointer(&pointer)?)));
        let found: Vec<(&Record<'_>, &Value)> = found.filter(|(_, value)| !value.is_null()).collect();
        let values: Vec<&Value> = found.iter().map(|(_, value)| *value).collect();
        if values.len() * 10 < records.len() * 9 {
            continue;
        }
        let Some(unit) = unit_of(&values) else { continue };
        let mut lags: Vec<f64> =
            found.iter().filter_map(|(record, value)| Some(record.at? - seconds(value, unit)?)).collect();
        lags.sort_by(f64::total_cmp);
        let lag = lags.get(lags.len() / 2).copied();
        if lag.is_some_and(|lag| lag.abs() > AWAY_MAX) {
            continue;
        }
        let small = pointer.rsplit('/').next().unwrap_or_default().to_lowercase();
        let named = ["time", "ts", "timestamp", "t", "e", "created_at", "time_us", "tms", "date"];
        let says_so = named.contains(&small.as_str()) || small.contains("time") || small.ends_with("_at");
        let all = values.len() == records.len();
        let score = i32::from(all) * 20 + i32::from(says_so) * 10 - i32::try_from(depth(&pointer)).unwrap_or(9);
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, FoundTime { pointer, unit, present: values.len(), lag }));
        }
    }
    best.map(|(_, time)| time)
}
