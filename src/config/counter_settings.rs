//! `counters` of `[monitors.NAME]`: what of a monitor's events is counted as business.

use serde::{Deserialize, Serialize};

/// A business counter, by its name. Either `pointer` and `equals`, or `first_seen`. Pointers are RFC 6901, into the event's
/// payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CounterSettings {
    /// Events are counted whose value here
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// is this one, or any of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<CounterValue>,
    /// Events are counted whose value here no event of the monitor had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
}

/// What a counter's pointer must find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, `true`, `false`, or a list of these")]
pub enum CounterValue {
    /// `true` or `false`
    Truth(bool),
    /// This whole number.
    Integer(i64),
    /// This text.
    Text(String),
    /// Any of these.
    AnyOf(Vec<CounterValue>),
}
