//! What was made against what is in the journal.
//!
//! Gaps tell received times: from the last that came of a lost connection to the first that came after it. A connection keeps
//! the order in which its messages were made, however long they are under way; so a lost one lies within a gap when it was made
//! after the last one that had come by the gap's start over the connection that was lost (topics whose gap starts at the same
//! moment were on it), and not later than the gap's end. For that the gap has to start when something came: an event, a frame that
//! was put aside, the end of the gap before; or so little later that it was a frame that is nowhere else to be seen, such as a
//! repeat. Where it starts later than that, it tells of nothing that was made before its start.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;
use sluice::journal::{BlockFilter, JournalReader, OWN_DOMAIN};
use sluice::simulator::Made;

/// How much later than the last event a gap may start. Frames of these feeds are a few milliseconds apart, and a tenth of a second
/// when they trickle; what a start that is wrong would miss lasts as long as a missed ping at least.
const UNSEEN_FRAMES: i64 = 250_000_000;

/// A monitor's topic.
pub(super) type Watched = (String, String);

/// What is in the journal.
#[derive(Debug, Default)]
pub(super) struct Journaled {
    /// Of each monitor's topic the ids, with when they were received, in the journal's order.
    pub(super) events: HashMap<Watched, Vec<(String, i64)>>,
    pub(super) gaps: Vec<Gap>,
    /// When frames came that were put aside.
    quarantined: HashSet<i64>,
}

/// A span that was not seen, as the journal tells it. Fields that are not needed here may come and go, and so may causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) watched: Watched,
    pub(super) upstream: String,
    pub(super) cause: String,
    pub(super) start: i64,
    /// None: it goes on.
    pub(super) end: Option<i64>,
    /// Its number, where it has one.
    id: Option<u64>,
}

impl Gap {
    /// Of this topic.
    fn of(record: &Value, topic: &str, id: Option<u64>) -> Self {
        let text = |name: &str| record[name].as_str().unwrap_or_else(|| panic!("`{name}` in {record}")).to_owned();
        let time = |text: &str| {
            let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{error}: {text} in {record}"));
            i64::try_from(time.as_nanosecond()).expect("this century")
        };
        Self {
            watched: (text("monitor"), topic.to_owned()),
            upstream: text("upstream"),
            cause: text("cause"),
            start: time(&text("start")),
            end: record["end"].as_str().map(time),
            id,
        }
    }

    /// Gaps that are told of when they begin: several topics at once, numbered on from the first.
    fn opened(record: &Value) -> Vec<Self> {
        let topics = record["topics"].as_array().expect("topics").iter();
        let numbered = topics.zip(record["id"].as_u64().expect("a number")..);
        numbered.map(|(topic, id)| Self::of(record, topic.as_str().expect("a name"), Some(id))).collect()
    }
}

impl Journaled {
    /// Reads what is durable, as any reader beside the daemon does.
    pub(super) fn read(journal: &Path) -> Self {
        let mut found = Self::default();
        let mut reader = JournalReader::open(journal).expect("a journal");
        while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap_or_else(|error| panic!("{error}")) {
            for event in block.events() {
                if event.domain != OWN_DOMAIN {
                    let id = event.id().unwrap_or_default();
                    // The dialect puts the topic before the id: `btcusdt@trade:17`.
                    let id = id.rsplit_once(':').map_or(&*id, |(_, id)| id).to_owned();
                    let watched = (event.monitor.to_owned(), event.topic.to_owned());
                    found.events.entry(watched).or_default().push((id, event.received.0));
                } else if event.monitor == "quarantine" {
                    found.quarantined.insert(event.received.0);
                } else if event.monitor == "gaps" {
                    let record: Value = serde_json::from_slice(event.payload).expect("JSON");
                    found.gaps.push(Gap::of(&record, record["topic"].as_str().expect("a name"), record["id"].as_u64()));
                } else if event.monitor == "coverage" {
                    let record: Value = serde_json::from_slice(event.payload).expect("JSON");
                    if record["record"] == "gap_open" {
                        found.gaps.extend(Gap::opened(&record));
                    }
                }
            }
        }
        // One that was told of when it began, and again when it was over, is one. From the stop on the daemon is down.
        let over: HashSet<u64> = found.gaps.iter().filter(|gap| gap.end.is_some()).filter_map(|gap| gap.id).collect();
        found.gaps.retain(|gap| {
            gap.end.is_some() || (gap.cause != "downtime" && gap.id.is_none_or(|id| !over.contains(&id)))
        });
        found
    }
}

/// The account of one upstream.
#[derive(Debug, Default)]
pub(super) struct Row {
    name: String,
    /// Of each monitor's topic, from its first event in the journal on.
    made: u64,
    journaled: u64,
    in_gaps: u64,
    lost: u64,
    doubled: u64,
    foreign: u64,
    gaps: BTreeMap<String, u64>,
    open_gaps: u64,
    /// Gaps that start when nothing came.
    late_gaps: u64,
    /// The first things that are wrong, for whoever has to find out why.
    wrong: Vec<String>,
}

/// Holds what an upstream made against what the journal has of it. `watched` are the monitors' topics.
pub(super) fn hold(name: &str, made: &[Made], watched: &BTreeSet<Watched>, journal: &Journaled) -> Row {
    let mut row = Row { name: name.to_owned(), ..Row::default() };
    // The place of each in the order of making.
    let mut place_of: HashMap<(&str, &str), usize> = HashMap::with_capacity(made.len());
    let mut by_topic: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, one) in made.iter().enumerate() {
        assert_eq!(place_of.insert((&one.topic, &one.id), place), None, "it is made but once: {one:?}");
        by_topic.entry(&one.topic).or_default().push(place);
    }
    let gaps = journal.gaps.iter().filter(|gap| gap.upstream == name);
    for gap in gaps.clone() {
        *row.gaps.entry(gap.cause.clone()).or_default() += 1;
        row.open_gaps += u64::from(gap.end.is_none());
    }
    let mut known = Arrivals::default();
    for each in watched {
        let arrived = journal.events.get(each).into_iter().flatten();
        known.of.insert(each, arrived.filter_map(|(id, at)| Some((*at, *place_of.get(&(&*each.1, &**id))?))).collect());
    }
    known.sort();
    let mut lost_with: HashMap<i64, Vec<&Watched>> = HashMap::new();
    for gap in gaps.clone() {
        lost_with.entry(gap.start).or_default().push(&gap.watched);
    }
    let mut evidence: HashSet<i64> = journal.quarantined.clone();
    evidence.extend(known.of.values().flatten().map(|(at, _)| *at));
    evidence.extend(gaps.clone().filter_map(|gap| gap.end));
    for each in watched {
        let places: &[usize] = by_topic.get(&*each.1).map_or(&[], Vec::as_slice);
        let mut counts: HashMap<usize, u64> = HashMap::new();
        for (id, received) in journal.events.get(each).into_iter().flatten() {
            if let Some(place) = place_of.get(&(&*each.1, &**id)) {
                *counts.entry(*place).or_default() += 1;
            } else {
                row.foreign += 1;
                row.note(|| format!("never made: {each:?} {id}, received {}", at(*received)));
            }
        }
        let first = counts.keys().min().copied().unwrap_or(usize::MAX);
        // Of each gap the span of places that may be missing.
        let mut spans: Vec<Span> = Vec::new();
        for gap in gaps.clone().filter(|gap| gap.watched == *each) {
            let lost = || lost_with[&gap.start].iter().filter_map(|lost| known.last_by(lost, gap.start));
            let near = lost().map(|(at, _)| at).max().is_some_and(|at| gap.start - at <= UNSEEN_FRAMES);
            let in_time = near || evidence.contains(&gap.start);
            row.late_gaps += u64::from(!in_time);
            let from = lost().map(|(_, place)| place).max().map_or(0, |last| {
                // The feed holds one message of a topic back behind the next one, to be out of order: the last two may
                // be missing, and all else that was made by then must have come.
                let made_by_then = &places[..places.partition_point(|place| *place <= last)];
                let mut messages = made_by_then.chunk_by(|one, next| made[*one].message == made[*next].message).rev();
                messages.nth(1).map_or(0, |held| held[0])
            });
            let made_from = if in_time { i64::MIN } else { gap.start };
            spans.push(Span { from, made: made_from..=gap.end.unwrap_or(i64::MAX) });
        }
        for place in places.iter().copied().filter(|place| *place >= first) {
            row.made += 1;
            let one = &made[place];
            match counts.get(&place) {
                Some(1) => row.journaled += 1,
                Some(times) => {
                    row.journaled += 1;
                    row.doubled += times - 1;
                    row.note(|| format!("{times} times: {each:?} {}, made {}", one.id, at(one.at)));
                }
                None if spans.iter().any(|span| span.has(place, one.at)) => row.in_gaps += 1,
                None => {
                    row.lost += 1;
                    row.note(|| {
                        let around = known.around(each, place).map(|found| found.map_or_else(|| "nothing".into(), at));
                        let near = gaps.clone().filter(|gap| gap.watched == *each);
                        let near = near.min_by_key(|gap| (gap.start - one.at).abs());
                        let near = near.map(|gap| format!("{} {} to {:?}", gap.cause, at(gap.start), gap.end.map(at)));
                        let id = &one.id;
                        format!(
                            "lost: {each:?} {id}, made {}; the one before was received {}, the one after {}; nearest gap: {near:?}",
                            at(one.at), around[0], around[1]
                        )
                    });
                }
            }
        }
    }
    row
}

/// What a gap tells of.
struct Span {
    /// The first place, in the order of making, that may be missing.
    from: usize,
    made: RangeInclusive<i64>,
}

impl Span {
    fn has(&self, place: usize, made: i64) -> bool {
        place >= self.from && self.made.contains(&made)
    }
}

/// What came of each monitor's topic: when, and its place in the order of making.
#[derive(Default)]
struct Arrivals<'a> {
    of: HashMap<&'a Watched, Vec<(i64, usize)>>,
    /// By when it came, the greatest place that had come by then.
    greatest: HashMap<&'a Watched, Vec<(i64, usize)>>,
}

impl Arrivals<'_> {
    fn sort(&mut self) {
        for (watched, arrivals) in &mut self.of {
            arrivals.sort_unstable();
            let mut greatest = 0;
            let running = arrivals.iter().map(|(at, place)| {
                greatest = greatest.max(*place);
                (*at, greatest)
            });
            self.greatest.insert(watched, running.collect());
        }
    }

    /// When the last one came by this moment, and the greatest place that had come by then.
    fn last_by(&self, watched: &Watched, moment: i64) -> Option<(i64, usize)> {
        let arrivals = self.greatest.get(watched)?;
        let come = arrivals.partition_point(|(at, _)| *at <= moment);
        Some(arrivals[come.checked_sub(1)?])
    }

    /// When the neighbours of a place came.
    fn around(&self, watched: &Watched, place: usize) -> [Option<i64>; 2] {
        let arrivals = self.of.get(watched).map_or(&[][..], Vec::as_slice);
        let before = arrivals.iter().filter(|(_, other)| *other < place).max_by_key(|(_, other)| *other);
        let after = arrivals.iter().filter(|(_, other)| *other > place).min_by_key(|(_, other)| *other);
        [before.map(|(at, _)| *at), after.map(|(at, _)| *at)]
    }
}

fn at(nanos: i64) -> String {
    sluice::clock::UnixNanos(nanos).to_string()
}

impl Row {
    fn note(&mut self, say: impl FnOnce() -> String) {
        const WRONG_MAX: usize = 20;
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(say());
        }
    }

    fn is_right(&self) -> bool {
        self.lost + self.doubled + self.foreign + self.open_gaps == 0 && self.made == self.journaled + self.in_gaps
    }
}

/// The account of a run.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) seed: u64,
    pub(super) rows: Vec<Row>,
    /// How often each fault was made.
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Connections that came to the proxies.
    pub(super) connections: u64,
    /// The daemon's resident memory in KiB: when faults began, and when they ended.
    pub(super) resident: [u64; 2],
}

impl Account {
    pub(super) fn assert_right(&self) {
        assert!(self.rows.iter().all(Row::is_right), "{self}");
        assert!(self.rows.iter().all(|row| row.journaled > 0 && row.in_gaps > 0), "nothing was tried: {self}");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "account of seed {}: {} connections", self.seed, self.connections)?;
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "  faults: {}", faults.join(", "))?;
        for row in &self.rows {
            writeln!(
                f,
                "  {:<10} {:>9} made: {:>9} in the journal, {:>8} in gaps, {} lost, {} doubled, {} foreign",
                row.name, row.made, row.journaled, row.in_gaps, row.lost, row.doubled, row.foreign
            )?;
            let gaps: Vec<String> = row.gaps.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
            writeln!(
                f,
                "             gaps: {}; {} still open, {} start too late",
                gaps.join(", "),
                row.open_gaps,
                row.late_gaps
            )?;
            for wrong in &row.wrong {
                writeln!(f, "             {wrong}")?;
            }
        }
        write!(
            f,
            "  resident memory of the daemon: {} KiB at first, {} KiB at last",
            self.resident[0], self.resident[1]
        )
    }
}

/// Three messages of a topic that came, two that did not, one that came again after them, a second before the next each.
#[cfg(test)]
fn example(gaps: &[(i64, i64)]) -> Row {
    const SECOND: i64 = 1_000_000_000;
    let watched: Watched = ("m".to_owned(), "t".to_owned());
    let made: Vec<Made> = (0_i64..8)
        .map(|number| Made {
            topic: "t".into(),
            id: number.to_string(),
            message: number.cast_unsigned(),
            at: number * SECOND,
        })
        .collect();
    let came = [0, 1, 2, 3, 6, 7];
    let mut journal = Journaled::default();
    // A quarter of a second under way.
    let events = came.map(|number: i64| (number.to_string(), number * SECOND + SECOND / 4)).to_vec();
    journal.events.insert(watched.clone(), events);
    journal.gaps = gaps
        .iter()
        .map(|(start, end)| Gap {
            watched: watched.clone(),
            upstream: "u".to_owned(),
            cause: "disconnect".to_owned(),
            start: *start * SECOND / 4,
            end: Some(*end * SECOND / 4),
            id: None,
        })
        .collect();
    hold("u", &made, &BTreeSet::from([watched]), &journal)
}

#[test]
fn what_is_missing_is_lost_unless_a_gap_tells_of_it() {
    let counts = |row: &Row| (row.made, row.journaled, row.in_gaps, row.lost);
    // From the arrival of number 3 to that of number 6.
    assert_eq!(counts(&example(&[(13, 25)])), (8, 6, 2, 0));
    assert_eq!(counts(&example(&[])), (8, 6, 0, 2), "no gap");
    assert_eq!(counts(&example(&[(13, 18)])), (8, 6, 1, 1), "it ends too soon");
    assert_eq!(counts(&example(&[(29, 40)])), (8, 6, 0, 2), "it starts behind the next one that came");
    assert_eq!(counts(&example(&[(17, 25)])), (8, 6, 1, 1), "it starts when nothing came");
    assert_eq!(counts(&example(&[(13, 17), (17, 25)])), (8, 6, 2, 0), "it goes on from another one");
    assert!(!example(&[]).is_right() && example(&[(13, 25)]).is_right());
}
