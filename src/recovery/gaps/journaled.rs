//! What the records of the gap ledger say together.
//!
//! Records of one topic may come from several links and so in any order, and snapshots tell what was live when they were made,
//! ahead of records that were still on their way. So nothing here depends on order: a gap is open when anything says that it
//! opened and no record with its number says that it is over. An end that was lost in a crash leaves it open, which claims
//! too much and never too little.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::UnixNanos;
use crate::journal::{
    BlockFilter, COVERAGE_MONITOR, Event, GAPS_MONITOR, JournalError, JournalReader, OWN_DOMAIN, Offset, Passage,
    STATE_MONITOR,
};
use crate::monitor::gap::{CoverageRecord, Filled, GapCause, WatchedRecord};
use crate::monitor::ledger::{OpenGap, Standing, StandingTopic};

/// How far before the journal's end the reading begins at a start: an end that became durable later than this behind what
/// opened is not missed, because a snapshot that old still has the gap. Source: a guess, far above what a block waits.
const LOOK_BACK: Duration = Duration::from_mins(1);

/// What a closed block may wait for the journal's writer while others get through. Source: a guess. The writer takes all that
/// is queued at once, so a link that found the queue full has its turn after at most some commits; 2 s are 40 of 50 ms.
const BLOCK_WAITS_MAX: Duration = Duration::from_secs(2);

/// How much may be missing at the journal's end after a crash, counted from its last received time: events wait in a link's
/// batch for at most `batch_timeout`, and in its closed blocks for the writer, while another link's newer ones are durable
/// already. Not covered: a link that was kept from the writer for longer than [`BLOCK_WAITS_MAX`] by others that were not.
pub fn crash_grace(batch_timeout: Duration) -> Duration {
    batch_timeout + BLOCK_WAITS_MAX
}

/// A topic of a monitor, from one upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) monitor: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) upstream: Arc<str>,
}

impl Key {
    fn new(monitor: &str, topic: &str, upstream: &str) -> Self {
        Self { monitor: monitor.into(), topic: topic.into(), upstream: upstream.into() }
    }
}

/// What became known of a gap after it had ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Amendment {
    pub(super) missing: Option<u64>,
    pub(super) filled: Option<Filled>,
    pub(super) unfilled: bool,
    pub(super) fetched: Option<u64>,
    /// What of it is missing although it was filled.
    pub(super) left: Option<(UnixNanos, UnixNanos)>,
}

/// A time in which a topic was watched; without an end it still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) since: UnixNanos,
    pub(super) until: Option<UnixNanos>,
}

/// All that was read.
#[derive(Debug, Default)]
pub(super) struct Journaled {
    pub(super) watched: BTreeMap<Key, Vec<Period>>,
    pub(super) open: BTreeMap<u64, OpenGap>,
    pub(super) amended: HashMap<u64, Amendment>,
    over: HashSet<u64>,
    next_id: u64,
}

/// What a gap's end says, as far as it matters here.
#[derive(Deserialize)]
struct Over {
    id: Option<u64>,
}

/// What a snapshot says of the ledger. Older releases have no numbers, and no topics.
#[derive(Deserialize)]
struct Snapshot {
    #[serde(default)]
    next_gap_id: u64,
    #[serde(default)]
    gaps: Vec<SnapshotGap>,
    #[serde(default)]
    watched: Vec<WatchedRecord>,
}

#[derive(Deserialize)]
struct SnapshotGap {
    id: Option<u64>,
    monitor: String,
    upstream: String,
    topic: String,
    cause: GapCause,
    start: String,
}

impl Journaled {
    /// Reads from the newest snapshot that is no younger than `time` to the end; from the beginning where there is none.
    pub(super) fn read(reader: &mut JournalReader, time: UnixNanos) -> Result<Self, JournalError> {
        let filter = filter(&[STATE_MONITOR, GAPS_MONITOR, COVERAGE_MONITOR]);
        let base = base_before(reader, time)?;
        reader.seek(base);
        let mut journaled = Self::default();
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                journaled.take(&event);
            }
        }
        Ok(journaled)
    }

    /// A record that cannot be read is none of ours, or of a newer release.
    fn take(&mut self, event: &Event<'_>) {
        match event.monitor {
            GAPS_MONITOR => {
                if let Ok(Over { id: Some(id) }) = serde_json::from_slice(event.payload) {
                    self.over(id);
                }
            }
            COVERAGE_MONITOR => {
                if let Ok(record) = serde_json::from_slice(event.payload) {
                    self.take_coverage(record);
                }
            }
            STATE_MONITOR => {
                if let Ok(snapshot) = serde_json::from_slice(event.payload) {
                    self.take_snapshot(snapshot);
                }
            }
            _ => {}
        }
    }

    fn take_snapshot(&mut self, snapshot: Snapshot) {
        self.next_id = self.next_id.max(snapshot.next_gap_id);
        for watched in snapshot.watched {
            self.take_coverage(CoverageRecord::Watched(watched));
        }
        for gap in snapshot.gaps {
            if let (Some(id), Ok(start)) = (gap.id, gap.start.parse()) {
                self.opened(id, Key::new(&gap.monitor, &gap.topic, &gap.upstream), start, gap.cause);
            }
        }
    }

    fn take_coverage(&mut self, record: CoverageRecord) {
        match record {
            CoverageRecord::Watched(record) => {
                let Ok(since) = record.since.parse() else { return };
                for topic in &record.topics {
                    self.watched_since(Key::new(&record.monitor, topic, &record.upstream), since);
                }
            }
            CoverageRecord::GapOpen(record) => {
                let Ok(start) = record.start.parse() else { return };
                for (id, topic) in (record.id..).zip(&record.topics) {
                    self.opened(id, Key::new(&record.monitor, topic, &record.upstream), start, record.cause);
                }
            }
            CoverageRecord::Unwatched(record) => {
                let Ok(until) = record.until.parse() else { return };
                for topic in &record.topics {
                    self.unwatched_from(&Key::new(&record.monitor, topic, &record.upstream), until);
                }
            }
            CoverageRecord::Amended(record) => {
                let amendment = self.amended.entry(record.id).or_default();
                amendment.missing = record.missing.or(amendment.missing);
                amendment.unfilled = record.unfilled || amendment.unfilled && record.filled.is_none();
                amendment.filled = if amendment.unfilled { None } else { record.filled.or(amendment.filled) };
                amendment.fetched = record.fetched.or(amendment.fetched);
                if record.filled.is_some() {
                    let time = |text: Option<String>| text?.parse::<UnixNanos>().ok();
                    amendment.left = time(record.left_from).zip(time(record.left_to));
                }
            }
        }
    }

    fn opened(&mut self, id: u64, key: Key, start: UnixNanos, cause: GapCause) {
        self.next_id = self.next_id.max(id + 1);
        let ended =
            |periods: &Vec<Period>| periods.last().is_some_and(|last| last.until.is_some_and(|until| until >= start));
        if self.over.contains(&id) || self.watched.get(&key).is_some_and(ended) {
            return;
        }
        self.watched_since(key.clone(), start);
        let Key { monitor, topic, upstream } = key;
        self.open.insert(id, OpenGap { id, monitor, upstream, topic, start, cause });
    }

    fn over(&mut self, id: u64) {
        self.next_id = self.next_id.max(id + 1);
        self.over.insert(id);
        self.open.remove(&id);
    }

    fn watched_since(&mut self, key: Key, since: UnixNanos) {
        let periods = self.watched.entry(key).or_default();
        match periods.last_mut() {
            Some(Period { since: known, until: None }) => *known = since.min(*known),
            Some(Period { until: Some(until), .. }) if since <= *until => {}
            _ => periods.push(Period { since, until: None }),
        }
    }

    fn unwatched_from(&mut self, key: &Key, until: UnixNanos) {
        if let Some(Period { since, until: end @ None }) =
            self.watched.get_mut(key).and_then(|periods| periods.last_mut())
            && *since <= until
        {
            *end = Some(until);
        }
        let of_key = |gap: &OpenGap| {
            gap.monitor == key.monitor && gap.topic == key.topic && gap.upstream == key.upstream && gap.start <= until
        };
        self.open.retain(|_, gap| !of_key(gap));
    }
}

/// The ledger as the journal has it. Meant for the start.
///
/// # Errors
/// When the journal cannot be read.
pub fn read_standing(reader: &mut JournalReader, last_received: UnixNanos) -> Result<Standing, JournalError> {
    let Journaled { watched, open, next_id, .. } = Journaled::read(reader, last_received.saturating_sub(LOOK_BACK))?;
    let mut open_of: BTreeMap<Key, Vec<(u64, UnixNanos, GapCause)>> = BTreeMap::new();
    for (id, gap) in open {
        let key = Key { monitor: gap.monitor, topic: gap.topic, upstream: gap.upstream };
        open_of.entry(key).or_default().push((id, gap.start, gap.cause));
    }
    let topics = watched.into_iter().filter_map(|(key, periods)| {
        let since = periods.last().filter(|last| last.until.is_none())?.since;
        let open = open_of.remove(&key).unwrap_or_default();
        let Key { monitor, topic, upstream } = key;
        Some(StandingTopic { monitor, upstream, topic, since, open })
    });
    Ok(Standing { next_id, topics: topics.collect() })
}

/// When the last event of the journal was received; none of an empty one.
///
/// # Errors
/// When the journal cannot be read.
pub fn last_received(reader: &mut JournalReader) -> Result<Option<UnixNanos>, JournalError> {
    for base in reader.segment_bases()?.into_iter().rev() {
        reader.seek(base);
        let mut last = None;
        while let Some(header) = reader.next_header()? {
            last = last.max((header.events() > 0).then(|| header.received().greatest));
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

pub(super) fn filter(monitors: &[&str]) -> BlockFilter {
    BlockFilter {
        monitors: monitors.iter().map(|&monitor| monitor.to_owned()).collect(),
        domains: vec![OWN_DOMAIN.into()],
        ..BlockFilter::all()
    }
}

/// The beginning of the newest segment whose snapshot is no younger than `time`. One that recovery made has none.
fn base_before(reader: &mut JournalReader, time: UnixNanos) -> Result<Offset, JournalError> {
    let bases = reader.segment_bases()?;
    if time == UnixNanos(i64::MIN) {
        return Ok(bases.first().copied().unwrap_or(Offset::ZERO));
    }
    let mut end = None;
    for &base in bases.iter().rev() {
        if first_snapshot(reader, base, end)?.is_some_and(|made| made <= time) {
            return Ok(base);
        }
        end = Some(base);
    }
    Ok(bases.first().copied().unwrap_or(Offset::ZERO))
}

fn first_snapshot(
    reader: &mut JournalReader,
    base: Offset,
    end: Option<Offset>,
) -> Result<Option<UnixNanos>, JournalError> {
    let filter = filter(&[STATE_MONITOR]);
    reader.seek(base);
    while let Some(passage) = reader.next_passage(|header| filter.may_admit(header))? {
        if let Passage::Block(block) = passage
            && let Some(event) = block.events().find(|event| filter.admits(event))
        {
            return Ok(Some(event.received).filter(|_| end.is_none_or(|end| event.offset < end)));
        }
        if end.is_some_and(|end| reader.position() >= end) {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::gap::{AmendedRecord, GapOpenRecord, UnwatchedRecord};

    fn second(seconds: i64) -> UnixNanos {
        UnixNanos(seconds * 1_000_000_000)
    }

    fn text(seconds: i64) -> String {
        second(seconds).to_string()
    }

    fn opened(id: u64, start: i64, topics: &[&str]) -> CoverageRecord {
        CoverageRecord::GapOpen(GapOpenRecord {
            id,
            monitor: "m".into(),
            upstream: "u".into(),
            cause: GapCause::Disconnect,
            start: text(start),
            topics: topics.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn a_gap_whose_end_comes_before_its_opening_is_over() {
        let mut journaled = Journaled::default();
        journaled.over(7);
        journaled.take_coverage(opened(7, 10, &["a", "b"]));
        let open: Vec<(u64, &str)> = journaled.open.values().map(|gap| (gap.id, &*gap.topic)).collect();
        assert_eq!(open, [(8, "b")], "the second topic's is not");
        assert_eq!(journaled.next_id, 9);
    }

    #[test]
    fn that_a_snapshot_does_not_have_it_ends_no_gap() {
        let mut journaled = Journaled::default();
        journaled.take_coverage(opened(0, 10, &["a"]));
        journaled.take_snapshot(serde_json::from_str(r#"{"next_gap_id": 5, "gaps": [], "watched": []}"#).unwrap());
        assert_eq!(journaled.open.len(), 1);
        assert_eq!(journaled.next_id, 5);
    }

    #[test]
    fn a_snapshot_of_an_older_release_is_read_for_nothing() {
        let mut journaled = Journaled::default();
        let old = r#"{"gaps":[{"monitor":"m","upstream":"u","topic":"t","cause":"disconnect","start":"1970-01-01T00:00:01Z"}]}"#;
        journaled.take_snapshot(serde_json::from_str(old).unwrap());
        assert!(journaled.open.is_empty() && journaled.watched.is_empty());
    }

    #[test]
    fn what_is_not_wanted_any_more_has_no_open_gap_and_may_be_wanted_again() {
        let mut journaled = Journaled::default();
        let unwatched = CoverageRecord::Unwatched(UnwatchedRecord {
            monitor: "m".into(),
            upstream: "u".into(),
            until: text(20),
            topics: vec!["a".into()],
        });
        let watched = CoverageRecord::Watched(WatchedRecord {
            monitor: "m".into(),
            upstream: "u".into(),
            since: text(1),
            topics: vec!["a".into()],
        });
        journaled.take_coverage(watched.clone());
        journaled.take_coverage(opened(0, 10, &["a"]));
        journaled.take_coverage(unwatched);
        assert!(journaled.open.is_empty());
        journaled.take_coverage(opened(1, 15, &["a"]));
        journaled.take_coverage(watched);
        assert!(journaled.open.is_empty(), "it was on its way when the topic was given up");
        journaled.take_coverage(opened(2, 30, &["a"]));
        assert_eq!(journaled.open.len(), 1);
        let periods = journaled.watched.values().next().unwrap();
        assert_eq!(periods[0], Period { since: second(1), until: Some(second(20)) });
        assert_eq!(periods[1], Period { since: second(30), until: None });
    }

    #[test]
    fn what_was_taken_for_filled_and_is_not_stays_so_until_it_is() {
        let amended = |filled, unfilled| {
            CoverageRecord::Amended(AmendedRecord {
                id: 3,
                monitor: "m".into(),
                upstream: "u".into(),
                topic: "a".into(),
                missing: None,
                filled,
                unfilled,
                ..AmendedRecord::default()
            })
        };
        let mut journaled = Journaled::default();
        journaled.take_coverage(amended(None, true));
        assert!(journaled.amended[&3].unfilled);
        journaled.take_coverage(amended(Some(Filled::Backfill), false));
        assert!(!journaled.amended[&3].unfilled);
        assert_eq!(journaled.amended[&3].filled, Some(Filled::Backfill));
    }
}
