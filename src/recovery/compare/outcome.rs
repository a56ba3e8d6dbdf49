//! What comparing two sides came to.

use serde::Serialize;

use super::delays::DelayFigures;
use super::join::Tally;

/// What was found.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Over all monitors.
    pub total: Counts,
    /// By monitor; None for records that tell none.
    pub monitors: Vec<(Option<String>, Counts)>,
    /// The first differences of each kind, by their places.
    pub examples: Vec<Example>,
    /// When the first and the last record of each side was received, of those that count.
    pub left_times: Option<(crate::clock::UnixNanos, crate::clock::UnixNanos)>,
    /// As `left_times`.
    pub right_times: Option<(crate::clock::UnixNanos, crate::clock::UnixNanos)>,
    /// Records without a received time. Where a span was asked for they count only in pairs.
    pub untimed: u64,
    /// What there is to know beside.
    pub notes: Vec<String>,
}

impl Compared {
    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.total.only_left == 0 && self.total.only_right == 0 && self.total.differing == 0
    }
}

/// Counts of what both sides have, or one of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Records of the left side.
    pub left: u64,
    /// Records of the right side.
    pub right: u64,
    /// Pairs, those that differ included.
    pub both: u64,
    /// Pairs whose payloads differ.
    pub differing: u64,
    /// Records that only the left side has.
    pub only_left: u64,
    /// Records that only the right side has.
    pub only_right: u64,
    /// Records of the left side whose identity it had before.
    pub left_repeats: u64,
    /// Records of the right side whose identity it had before.
    pub right_repeats: u64,
    /// Records without a partner at the edge of the span, where it may lie outside.
    pub at_edge: u64,
    /// How much later the right side had what both have.
    pub delay: DelayFigures,
}

impl From<&Tally> for Counts {
    fn from(tally: &Tally) -> Self {
        Self {
            left: tally.left,
            right: tally.right,
            both: tally.both,
            differing: tally.differing,
            only_left: tally.only_left,
            only_right: tally.only_right,
            left_repeats: tally.left_repeats,
            right_repeats: tally.right_repeats,
            at_edge: tally.at_edge,
            delay: tally.delays.figures(),
        }
    }
}

/// How a record differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only the left side has it.
    OnlyLeft,
    /// Only the right side has it.
    OnlyRight,
    /// Both have it, with payloads that differ.
    Differing,
}

/// A record that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// How.
    pub kind: Kind,
    /// Its number on the left side.
    pub left_place: Option<u64>,
    /// Its number on the right side.
    pub right_place: Option<u64>,
    /// Its monitor, where a side tells.
    pub monitor: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// When it was received: on the left side, else on the right.
    pub time: Option<crate::clock::UnixNanos>,
    /// The other side has it too, but not as often.
    pub repeated: bool,
    /// What the left side has, around the first character that differs.
    pub left_payload: Option<String>,
    /// What the right side has.
    pub right_payload: Option<String>,
}
