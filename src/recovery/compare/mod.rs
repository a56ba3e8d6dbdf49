//! Compares two sources of records that need not know of each other: which of them both have, which only one, which differ, and how much
//! later or earlier the one had them than the other.
//!
//! | file      | is                                                                                      |
//! |-----------|-----------------------------------------------------------------------------------------|
//! | `record`  | what is compared: records, sources, what they are joined by, which of them count        |
//! | `payload` | how payloads are compared                                                               |
//! | `entry`   | a record by its hashes                                                                  |
//! | `spill`   | entries put in order in bounded memory                                                  |
//! | `join`    | both sides gone through together                                                        |
//! | `delays`  | how much later or earlier                                                               |
//! | `outcome` | what came of it                                                                         |
//! | `against` | the journal against a store of others, as it is told                                     |
//! | `mapping` | which column of a table, or pointer into a line, is what                                |
//! | `source/` | records out of the journal, SQLite, PostgreSQL, lines of JSON                           |
//!
//! Each side is read once, record by record; what is kept of a record has one size, and goes to a file when there are many. So memory
//! does not grow with the data. Where something differs both sides are read once more, up to the last record that is shown.

mod against;
mod delays;
mod entry;
mod join;
pub mod mapping;
mod outcome;
mod payload;
mod record;
pub mod source;
mod spill;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::clock::UnixNanos;
use crate::config::ByteSize;

use self::entry::{Entry, Hasher, PAIRED, SINGLE};
use self::join::{Found, Joined, Tally};
use self::spill::{Sorted, Sorter};

pub use self::against::{AgainstStore, StoreCounts, StoreDifference, StoreExample, StoreMonitor};
pub(crate) use self::against::{ID_CHARS, NAME_CHARS, PAYLOAD_CHARS, counted, delay_table};
pub use self::delays::{DelayFigures, LengthFigures};
pub use self::outcome::{Compared, Counts, Example, Kind};
pub use self::payload::PayloadForm;
pub use self::record::{Counted, Join, Record, Repeats, Source, SourceError, Span, Spans, Terms};
pub use self::spill::SpillError;

/// Monitors that are told apart; a column that has more is none of monitors, and all others are counted together.
const MONITORS_MAX: usize = 20_000;

/// Records between two calls of the progress.
const TICK: u64 = 4096;

/// What comparing may take.
#[derive(Debug, Clone)]
pub struct Workroom {
    /// Where what does not fit into memory goes for the time of it.
    pub folder: PathBuf,
    /// Memory for records, both sides together.
    pub memory: ByteSize,
    /// Examples of each kind of difference.
    pub examples: usize,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What is done: `reading the journal`.
    pub doing: &'a str,
    /// How much of it.
    pub done: u64,
    /// Out of how much, where that is known.
    pub total: Option<u64>,
    /// Records so far.
    pub records: u64,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What is compared cannot be kept.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

/// Compares two sources. Blocking, and long.
///
/// # Errors
/// When a source cannot be read to its end, or what is compared not kept.
pub fn compare(
    left: &mut dyn Source,
    right: &mut dyn Source,
    terms: &Terms,
    room: &Workroom,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Compared, CompareError> {
    let entries_max = room.memory.as_usize() / 2 / size_of::<Entry>();
    let mut reading =
        Reading { terms, hasher: Hasher::new(), groups: Groups::default(), untimed: 0, room, entries_max };
    let (mut left_sorted, left_times, left_count) = reading.side(left, progress)?;
    let (mut right_sorted, right_times, right_count) = reading.side(right, progress)?;
    let total = left_count + right_count;
    let mut tick = |done| {
        progress(Progress { doing: "comparing", done, total: Some(total), records: done });
    };
    let joined = join::join(
        &mut left_sorted,
        &mut right_sorted,
        (reading.groups.names.len(), room.examples, terms.repeats),
        &mut tick,
    )?;
    // What is kept of records is not needed any more.
    drop((left_sorted, right_sorted));
    let examples = Examples::of(&joined).fill(left, right, &mut reading.hasher, terms, progress)?;
    let mut all = Tally::default();
    let mut monitors = BTreeMap::new();
    for (name, tally) in reading.groups.names.iter().zip(&joined.groups) {
        all.add(tally);
        if tally.left + tally.right + tally.both + tally.at_edge > 0 {
            monitors.insert(name.clone(), Counts::from(tally));
        }
    }
    Ok(Compared {
        total: Counts::from(&all),
        monitors: monitors.into_iter().collect(),
        examples,
        left_times,
        right_times,
        untimed: reading.untimed,
        notes: left.notes().into_iter().chain(right.notes()).collect(),
    })
}

type Times = Option<(UnixNanos, UnixNanos)>;

/// Reads sides.
struct Reading<'a> {
    terms: &'a Terms,
    hasher: Hasher,
    groups: Groups,
    untimed: u64,
    room: &'a Workroom,
    entries_max: usize,
}

impl Reading<'_> {
    fn side(
        &mut self,
        source: &mut dyn Source,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Sorted, Times, u64), CompareError> {
        let mut sorter = Sorter::new(&self.room.folder, self.entries_max);
        let doing = format!("reading {}", source.name());
        let total = source.total();
        let (mut times, mut records, mut failure) = (None, 0_u64, None);
        let mut done = 0;
        progress(Progress { doing: &doing, done: 0, total, records: 0 });
        source.read(None, &mut |record| {
            records += 1;
            done = record.done;
            if records.is_multiple_of(TICK) {
                progress(Progress { doing: &doing, done, total, records });
            }
            match self.take(record, &mut sorter, &mut times) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        progress(Progress { doing: &doing, done: total.unwrap_or(done), total, records });
        Ok((sorter.finish()?, times, records))
    }

    fn take(&mut self, record: &Record<'_>, sorter: &mut Sorter, times: &mut Times) -> Result<(), SpillError> {
        let spans = self.terms.spans.of(record.monitor);
        let within = |of: fn(&Counted) -> Span, time| spans.iter().any(|counted| of(counted).contains(time));
        let flags = match record.time {
            Some(time) if !within(|counted| counted.read, time) => return Ok(()),
            Some(time) => {
                let paired = within(|counted| counted.paired, time);
                if paired {
                    let (first, last) = times.unwrap_or((time, time));
                    *times = Some((first.min(time), last.max(time)));
                }
                (if paired { PAIRED } else { 0 }) | if within(|counted| counted.single, time) { SINGLE } else { 0 }
            }
            None if spans.is_empty() => return Ok(()),
            None => {
                self.untimed += 1;
                PAIRED | if spans.iter().any(|counted| counted.read.is_open()) { SINGLE } else { 0 }
            }
        };
        let group = self.groups.number(record.monitor);
        sorter.push(self.hasher.entry(record, self.terms, group, flags))
    }
}

/// Monitors by number.
#[derive(Debug, Default)]
struct Groups {
    names: Vec<Option<String>>,
    numbers: HashMap<Option<String>, u32>,
    last: Option<(Option<String>, u32)>,
}

impl Groups {
    fn number(&mut self, monitor: Option<&str>) -> u32 {
        if let Some((name, number)) = &self.last
            && name.as_deref() == monitor
        {
            return *number;
        }
        let mut name = monitor.map(str::to_owned);
        if self.names.len() >= MONITORS_MAX && !self.numbers.contains_key(&name) {
            name = None;
        }
        let number = self.numbers.get(&name).copied().unwrap_or_else(|| {
            let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            self.names.push(name.clone());
            self.numbers.insert(name.clone(), number);
            number
        });
        self.last = Some((name, number));
        number
    }
}

/// Examples on their way to having words.
struct Examples {
    all: Vec<(Kind, Found)>,
}

/// What a side says of an example.
#[derive(Debug, Clone, Default)]
struct Words {
    monitor: Option<String>,
    key: Option<String>,
    id: Option<String>,
    payload: Option<Vec<u8>>,
}

/// Of a payload that is shown, as much is kept: what is shown of it lies around the first difference.
const KEPT_BYTES: usize = 1 << 20;

impl Examples {
    fn of(joined: &Joined) -> Self {
        let kinds = [
            (Kind::OnlyLeft, &joined.only_left),
            (Kind::OnlyRight, &joined.only_right),
            (Kind::Differing, &joined.differing),
        ];
        let all = kinds.into_iter().flat_map(|(kind, found)| found.iter().map(move |found| (kind, *found))).collect();
        Self { all }
    }

    /// Reads both sides once more for what entries do not tell.
    fn fill(
        self,
        left: &mut dyn Source,
        right: &mut dyn Source,
        hasher: &mut Hasher,
        terms: &Terms,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Example>, CompareError> {
        let entries = |side: fn(&Found) -> Option<Entry>| {
            self.all.iter().filter_map(move |(_, found)| side(found)).map(|entry| (entry.place, entry.hash)).collect()
        };
        let left_words = words(left, &entries(|found| found.left), hasher, terms, progress)?;
        let right_words = words(right, &entries(|found| found.right), hasher, terms, progress)?;
        let examples = self.all.into_iter().map(|(kind, found)| {
            let of = |entry: Option<Entry>, words: &HashMap<u64, Words>| {
                entry.and_then(|entry| words.get(&entry.place).cloned()).unwrap_or_default()
            };
            let (on_left, on_right) = (of(found.left, &left_words), of(found.right, &right_words));
            let (left_payload, right_payload) = match (&on_left.payload, &on_right.payload) {
                (Some(left), Some(right)) => {
                    let (left, right) = payload::views(left, right);
                    (Some(left), Some(right))
                }
                (left, right) => {
                    let beginning = |payload: &Option<Vec<u8>>| payload.as_deref().map(payload::beginning);
                    (beginning(left), beginning(right))
                }
            };
            Example {
                kind,
                left_place: found.left.map(|entry| entry.place),
                right_place: found.right.map(|entry| entry.place),
                monitor: on_left.monitor.or(on_right.monitor),
                key: on_left.key.or(on_right.key),
                id: on_left.id.or(on_right.id),
                time: found.left.and_then(|entry| entry.time()).or_else(|| found.right?.time()),
                repeated: found.repeated,
                left_payload,
                right_payload,
            }
        });
        Ok(examples.collect())
    }
}

/// What a source says of the records at some places. One that is not the same any more is left out.
fn words(
    source: &mut dyn Source,
    wanted: &BTreeMap<u64, [u64; 2]>,
    hasher: &mut Hasher,
    terms: &Terms,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<HashMap<u64, Words>, CompareError> {
    let mut found = HashMap::new();
    let places: BTreeSet<u64> = wanted.keys().copied().collect();
    let Some(last) = places.last().copied() else { return Ok(found) };
    let doing = format!("looking up what differs in {}", source.name());
    let total = source.total();
    let mut records = 0_u64;
    source.read(Some(&places), &mut |record| {
        records += 1;
        if records.is_multiple_of(TICK) {
            progress(Progress { doing: &doing, done: record.done, total, records });
        }
        if wanted.get(&record.place).is_some_and(|hash| hasher.entry(record, terms, 0, 0).hash == *hash) {
            let kept = |payload: &[u8]| payload[..payload.len().min(KEPT_BYTES)].to_vec();
            let words = Words {
                monitor: record.monitor.map(str::to_owned),
                key: record.key.map(str::to_owned),
                id: record.id.map(str::to_owned),
                payload: record.payload.map(kept),
            };
            found.insert(record.place, words);
        }
        if record.place >= last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
