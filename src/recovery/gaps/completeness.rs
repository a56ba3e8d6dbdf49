//! What share of a topic was seen: of the time in which it was watched, and of its messages where a sequence tells how many
//! there were.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journaled::{Journaled, Key, Period};
use super::listing::{Bounds, GapQuery, each_of};
use crate::clock::UnixNanos;
use crate::journal::{BlockFilter, JournalError, JournalReader, Offset, TimeRange};

/// How complete a topic is, or all of them together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletenessRow {
    /// Whose; none in the sum.
    pub monitor: Option<String>,
    /// From where; none in the sum.
    pub upstream: Option<String>,
    /// Which; none in the sum.
    pub topic: Option<String>,
    /// How long it was watched: from when it was in force first until nobody wanted it.
    pub watched_seconds: f64,
    /// For how long of this it was not in force.
    pub gap_seconds: f64,
    /// For how long of this in turn it was got after all.
    pub filled_seconds: f64,
    /// Gaps in this time.
    pub gaps: u64,
    /// Of these, how many go on.
    pub open: u64,
    /// The share of the watched time in which nothing is missing, 0 to 1; none where there was no time.
    pub completeness: Option<f64>,
    /// Events of this time, where a sequence has told that some are missing.
    pub seen: Option<u64>,
    /// Messages that are missing, where a sequence tells.
    pub missing: Option<u64>,
    /// Both together.
    pub expected: Option<u64>,
}

/// How complete what was asked for is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completeness {
    /// Where the span begins, RFC 3339: as it was asked for, at the earliest with the journal, or what was watched first.
    pub since: String,
    /// Where it ends.
    pub until: String,
    /// Every topic.
    pub topics: Vec<CompletenessRow>,
    /// All of them together, each weighing as much as it was watched.
    pub total: CompletenessRow,
}

/// What was found of a topic.
#[derive(Debug, Default)]
struct Found {
    gaps: Vec<Bounds>,
    unfilled: Vec<Bounds>,
    open: u64,
    missing: Option<u64>,
}

/// How complete the topics of `query` are, from its `since` to its `until`, or `now`. Causes and what else it says of gaps do not
/// matter. Gaps that overlap count once.
///
/// # Errors
/// When the journal cannot be read.
pub fn completeness(
    reader: &mut JournalReader,
    query: &GapQuery,
    now: UnixNanos,
) -> Result<Completeness, JournalError> {
    let journaled = Journaled::read(reader, query.since.unwrap_or(UnixNanos(i64::MIN)))?;
    let first = journaled.watched.values().flatten().map(|period| period.since).min().unwrap_or(now);
    // Of what retention has deleted nobody knows what was missed.
    let begins = if reader.earliest()? == Offset::ZERO { first } else { first_received(reader)?.unwrap_or(now) };
    let since = query.since.unwrap_or(begins).max(begins);
    let until = query.until.unwrap_or(now).min(now).max(since);
    let span = (since, until);
    let every = GapQuery {
        causes: Vec::new(),
        open: false,
        unfilled: false,
        since: Some(since),
        until: Some(until),
        ..query.clone()
    };
    let mut found: BTreeMap<Key, Found> = BTreeMap::new();
    each_of(reader, &journaled, &every, now, |row, bounds| {
        let unfilled = row.is_unfilled();
        let key = Key {
            monitor: row.monitor.as_str().into(),
            topic: row.topic.as_str().into(),
            upstream: row.upstream.as_str().into(),
        };
        let topic = found.entry(key).or_default();
        topic.gaps.push(bounds);
        topic.open += u64::from(row.end.is_none());
        if let Some(missing) = row.missing {
            *topic.missing.get_or_insert(0) += if unfilled { missing } else { 0 };
        }
        if unfilled {
            topic.unfilled.push(row.left().unwrap_or(bounds));
        }
        ControlFlow::Continue(())
    })?;
    let counted = found.iter().filter(|(_, topic)| topic.missing.is_some()).map(|(key, _)| key.clone()).collect();
    let seen = count(reader, &counted, span)?;
    let mut total = Sum::default();
    let mut topics = Vec::new();
    for (key, periods) in &journaled.watched {
        let watched: Vec<Bounds> = periods.iter().filter_map(|period| within(*period, span)).collect();
        if watched.is_empty() || !query.takes_topic(&key.monitor, &key.upstream, &key.topic) {
            continue;
        }
        let mut topic = found.remove(key).unwrap_or_default();
        let sum = Sum {
            watched: length(&watched),
            gaps: overlap(&watched, &mut topic.gaps),
            unfilled: overlap(&watched, &mut topic.unfilled),
            count: topic.gaps.len() as u64,
            open: topic.open,
            seen: topic.missing.map(|_| seen.get(key).copied().unwrap_or_default()),
            missing: topic.missing,
        };
        total.add(&sum);
        let names = [&key.monitor, &key.upstream, &key.topic].map(|name| Some(name.to_string()));
        topics.push(sum.row(names));
    }
    Ok(Completeness {
        since: since.to_string(),
        until: until.to_string(),
        topics,
        total: total.row([None, None, None]),
    })
}

/// When the first event that is kept was received.
fn first_received(reader: &mut JournalReader) -> Result<Option<UnixNanos>, JournalError> {
    reader.seek(reader.earliest()?);
    while let Some(header) = reader.next_header()? {
        if header.events() > 0 {
            return Ok(Some(header.received().least));
        }
    }
    Ok(None)
}

/// Events of these topics. Only for topics of which a sequence told something: the journal's headers count by monitor, so that
/// the events themselves are read.
fn count(
    reader: &mut JournalReader,
    topics: &HashSet<Key>,
    (since, until): Bounds,
) -> Result<BTreeMap<Key, u64>, JournalError> {
    let mut counts: BTreeMap<Key, u64> = BTreeMap::new();
    if topics.is_empty() {
        return Ok(counts);
    }
    let mut monitors: Vec<String> = topics.iter().map(|key| key.monitor.to_string()).collect();
    monitors.sort();
    monitors.dedup();
    let filter =
        BlockFilter { monitors, received: Some(TimeRange { least: since, greatest: until }), ..BlockFilter::all() };
    reader.seek_received(since)?;
    while let Some(block) = reader.next_block(&filter)? {
        for event in block.events().filter(|event| filter.admits(event)) {
            // An event does not say by which upstream it came; of redundant ones each gets the count.
            for key in topics.iter().filter(|key| *key.monitor == *event.monitor && *key.topic == *event.topic) {
                *counts.entry(key.clone()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

#[derive(Debug, Default)]
struct Sum {
    watched: Duration,
    gaps: Duration,
    unfilled: Duration,
    count: u64,
    open: u64,
    seen: Option<u64>,
    missing: Option<u64>,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        let both = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or_default() + other.unwrap_or_default()),
        };
        self.watched += other.watched;
        self.gaps += other.gaps;
        self.unfilled += other.unfilled;
        self.count += other.count;
        self.open += other.open;
        self.seen = both(self.seen, other.seen);
        self.missing = both(self.missing, other.missing);
    }

    fn row(&self, [monitor, upstream, topic]: [Option<String>; 3]) -> CompletenessRow {
        let watched = self.watched.as_secs_f64();
        CompletenessRow {
            monitor,
            upstream,
            topic,
            watched_seconds: watched,
            gap_seconds: self.gaps.as_secs_f64(),
            filled_seconds: self.gaps.saturating_sub(self.unfilled).as_secs_f64(),
            gaps: self.count,
            open: self.open,
            completeness: (watched > 0.0).then(|| (self.watched.saturating_sub(self.unfilled)).as_secs_f64() / watched),
            seen: self.seen,
            missing: self.missing,
            expected: self.seen.zip(self.missing).map(|(seen, missing)| seen + missing),
        }
    }
}

/// The part of a period that lies in the span, if any of it does.
fn within(period: Period, (since, until): Bounds) -> Option<Bounds> {
    let (start, end) = (period.since.max(since), period.until.unwrap_or(until).min(until));
    (start < end).then_some((start, end))
}

fn length(spans: &[Bounds]) -> Duration {
    spans.iter().map(|(start, end)| end.since(*start)).sum()
}

/// For how long of `watched`, which do not overlap, at least one of `gaps` lasted.
fn overlap(watched: &[Bounds], gaps: &mut [Bounds]) -> Duration {
    gaps.sort_unstable();
    let mut sum = Duration::ZERO;
    for (start, end) in watched {
        let mut covered_to = *start;
        for (gap_start, gap_end) in &*gaps {
            let (from, to) = (covered_to.max(*gap_start), (*gap_end).min(*end));
            if from < to {
                sum += to.since(from);
                covered_to = to;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: i64, end: i64) -> Bounds {
        (UnixNanos(start * 1_000_000_000), UnixNanos(end * 1_000_000_000))
    }

    #[test]
    fn gaps_that_overlap_count_once_and_only_where_the_topic_was_watched() {
        let seconds = |watched: &[Bounds], gaps: &[Bounds]| overlap(watched, &mut gaps.to_vec()).as_secs();
        let watched = [span(10, 20), span(30, 40)];
        assert_eq!(seconds(&watched, &[]), 0);
        assert_eq!(seconds(&watched, &[span(12, 14), span(13, 16)]), 4);
        assert_eq!(seconds(&watched, &[span(11, 19), span(12, 13), span(18, 25)]), 9);
        assert_eq!(seconds(&watched, &[span(0, 100)]), 20);
        assert_eq!(seconds(&watched, &[span(15, 35)]), 10);
        assert_eq!(seconds(&watched, &[span(20, 30)]), 0);
    }
}
