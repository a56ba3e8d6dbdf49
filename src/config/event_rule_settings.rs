//! `[[monitors.NAME.event]]`: how an event is read out of a message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::units;

/// One rule of how an event is read out of a message; of several the first that fits wins. Pointers are RFC 6901,
/// relative to the element of `each` where that is set; `frame:/x` reaches the whole message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventRuleSettings {
    /// Pointers and the values they must have (one, or any of a list; `true`: present, `false`: absent).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Condition>,
    /// Messages that fit are counted as control and not journaled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore: bool,
    /// Pointer to an array: one event an element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Pointer narrowing the payload; absent: the whole message or element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Pointers of the id's parts, or `hash`; absent: never deduplicated.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub id: Vec<String>,
    /// Pointer of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Pointer of the event time; absent: the received time stands in and the event has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How the event time is written.
    pub time_unit: TimeUnit,
    /// A message without its event time is taken all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub time_optional: bool,
    /// Where the feed numbers its messages; absent: nobody can tell what did not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceSettings>,
}

/// Where a message says which numbers of a sequence it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a pointer, or a table with `value`, with `first` and `last`, or with `value` and `previous`"
)]
pub enum SequenceSettings {
    /// Pointer of a number that counts up by one.
    Value(String),
    /// More than that.
    Table(SequenceTable),
}

/// A sequence that is more than one number that counts up by one for each topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceTable {
    /// Pointer of the message's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Pointer of the number of the message before it, where they do not count up by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Pointer of the first of several numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Pointer of the last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// What has a sequence of its own.
    pub per: SequencePer,
}

/// What has a sequence of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequencePer {
    /// A topic.
    #[default]
    Topic,
    /// A key within a topic.
    Key,
    /// A connection, over all topics and monitors.
    Link,
}

/// What a pointer of `when` must find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, `true`, `false`, or a list of these")]
pub enum Condition {
    /// `true`: something is there; `false`: nothing is.
    Present(bool),
    /// This integer.
    Integer(i64),
    /// This string.
    Text(String),
    /// Any of these.
    AnyOf(Vec<Condition>),
}

/// How an event time is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since 1970, with or without a fraction, number or string.
    S,
    /// Milliseconds since 1970.
    #[default]
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
    /// `2026-11-20T12:00:00.123Z`
    Rfc3339,
    /// Seconds since 1970 as a hexadecimal string, `0x6553f100`.
    HexS,
}
