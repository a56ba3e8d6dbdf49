//! Every gap of a span: those that are over as they ended, then those that go on.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::journaled::{Journaled, filter};
use crate::clock::UnixNanos;
use crate::journal::{GAPS_MONITOR, JournalError, JournalReader};
use crate::monitor::gap::Filled;

/// Which gaps are meant. Empty lists admit everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GapQuery {
    /// Whose.
    pub monitors: Vec<String>,
    /// From where.
    pub upstreams: Vec<String>,
    /// Of which topics.
    pub topics: Vec<String>,
    /// For which causes, as records have them.
    pub causes: Vec<String>,
    /// Those that had not ended before.
    pub since: Option<UnixNanos>,
    /// Those that had begun before.
    pub until: Option<UnixNanos>,
    /// Only those that go on.
    pub open: bool,
    /// Only those that were not filled.
    pub unfilled: bool,
}

/// A gap for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapRow {
    /// Its number in the journal; older releases gave none.
    pub id: Option<u64>,
    /// Whose.
    pub monitor: String,
    /// From where.
    pub upstream: String,
    /// Which topic.
    pub topic: String,
    /// Why.
    pub cause: String,
    /// When it was lost, RFC 3339.
    pub start: String,
    /// When it was back; none while it goes on.
    pub end: Option<String>,
    /// How long it took, or takes so far.
    pub seconds: f64,
    /// How many messages were missed, where a sequence tells.
    pub missing: Option<u64>,
    /// By what it was filled; none where it was not.
    pub filled: Option<String>,
    /// Where the upstream was asked to go on from.
    pub resumed_from: Option<String>,
    /// How many events were fetched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<u64>,
    /// From when on something of it is missing, where it was filled in part, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_from: Option<String>,
    /// Up to when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to: Option<String>,
}

impl GapRow {
    /// What of it is missing, where it was filled in part.
    pub(super) fn left(&self) -> Option<Bounds> {
        let time = |text: &Option<String>| text.as_deref()?.parse().ok();
        time(&self.left_from).zip(time(&self.left_to))
    }

    /// Whether anything is missing because of it, as far as is known.
    pub fn is_unfilled(&self) -> bool {
        (self.filled.is_none() && self.missing != Some(0)) || self.left_from.is_some()
    }
}

/// A gap that is over, as the journal has it: causes of newer releases keep their names.
#[derive(Deserialize)]
struct Closed {
    id: Option<u64>,
    monitor: String,
    upstream: String,
    topic: String,
    cause: String,
    start: String,
    end: String,
    resumed_from: Option<String>,
    missing: Option<u64>,
    filled: Option<String>,
}

/// Where a gap began, and where it ended or it is now.
pub(super) type Bounds = (UnixNanos, UnixNanos);

/// Gives every gap that is meant to `take`: those that are over in the journal's order, which is about that of their ends, then
/// those that go on, by number. `now` is how far they have got. Reads the journal twice, by headers where nothing is wanted.
///
/// # Errors
/// When the journal cannot be read.
pub fn each_gap(
    reader: &mut JournalReader,
    query: &GapQuery,
    now: UnixNanos,
    mut take: impl FnMut(GapRow) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let journaled = Journaled::read(reader, query.since.unwrap_or(UnixNanos(i64::MIN)))?;
    each_of(reader, &journaled, query, now, |row, _| take(row))
}

pub(super) fn each_of(
    reader: &mut JournalReader,
    journaled: &Journaled,
    query: &GapQuery,
    now: UnixNanos,
    mut take: impl FnMut(GapRow, Bounds) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    if !query.open {
        let filter = filter(&[GAPS_MONITOR]);
        match query.since {
            // The event is received when the gap ends.
            Some(since) => reader.seek_received(since)?,
            None => reader.seek(reader.earliest()?),
        }
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                let Ok(closed) = serde_json::from_slice::<Closed>(event.payload) else { continue };
                let Some((row, bounds)) = closed.row(journaled) else { continue };
                if query.takes(&row, bounds) && take(row, bounds).is_break() {
                    return Ok(());
                }
            }
        }
    }
    for gap in journaled.open.values() {
        let bounds = (gap.start, now.max(gap.start));
        let row = GapRow {
            id: Some(gap.id),
            monitor: gap.monitor.to_string(),
            upstream: gap.upstream.to_string(),
            topic: gap.topic.to_string(),
            cause: gap.cause.as_str().to_owned(),
            start: gap.start.to_string(),
            end: None,
            seconds: now.since(gap.start).as_secs_f64(),
            missing: None,
            filled: None,
            resumed_from: None,
            fetched: None,
            left_from: None,
            left_to: None,
        };
        if query.takes(&row, bounds) && take(row, bounds).is_break() {
            break;
        }
    }
    Ok(())
}

impl Closed {
    fn row(self, journaled: &Journaled) -> Option<(GapRow, Bounds)> {
        let (start, end) = (self.start.parse().ok()?, self.end.parse().ok()?);
        let more = self.id.and_then(|id| journaled.amended.get(&id)).copied().unwrap_or_default();
        let filled = self.filled.filter(|_| !more.unfilled);
        let row = GapRow {
            id: self.id,
            monitor: self.monitor,
            upstream: self.upstream,
            topic: self.topic,
            cause: self.cause,
            start: self.start,
            end: Some(self.end),
            seconds: UnixNanos::since(end, start).as_secs_f64(),
            missing: more.missing.or(self.missing),
            filled: more.filled.map(|filled: Filled| filled.as_str().to_owned()).or(filled),
            resumed_from: self.resumed_from,
            fetched: more.fetched,
            left_from: more.left.map(|(from, _)| from.to_string()),
            left_to: more.left.map(|(_, to)| to.to_string()),
        };
        Some((row, (start, end)))
    }
}

impl GapQuery {
    /// Whether a topic is meant, whatever its gaps.
    pub(super) fn takes_topic(&self, monitor: &str, upstream: &str, topic: &str) -> bool {
        among(&self.monitors, monitor) && among(&self.upstreams, upstream) && among(&self.topics, topic)
    }

    fn takes(&self, row: &GapRow, (start, end): Bounds) -> bool {
        self.takes_topic(&row.monitor, &row.upstream, &row.topic)
            && among(&self.causes, &row.cause)
            && self.since.is_none_or(|since| end >= since)
            && self.until.is_none_or(|until| start < until)
            && (!self.unfilled || row.is_unfilled())
    }
}

fn among(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|known| known == name)
}
