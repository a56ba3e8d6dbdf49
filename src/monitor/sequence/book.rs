//! Every series of the daemon, and what is missing in them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::numbers::{Counting, Numbers};
use super::series::{Arrival, Noted, Series, Span};
use crate::clock::UnixNanos;
use crate::monitor::ledger::Missed;

/// How long numbers that were passed over are waited for: disorder, and what another link has still to read.
/// Source: a guess.
pub const SETTLING: Duration = Duration::from_secs(5);

/// The most series; with more keys than this the longest idle ones are begun anew when they come back. Source: a guess. A
/// series takes about 200 bytes, and 80 for each span that it waits for.
pub const SERIES_MAX: usize = 10_000;

/// How many go at once when there are too many, so that the sorting is not done for each.
const CROWDED_OUT: usize = SERIES_MAX / 16;

/// What a monitor's topic had of a sequence since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SequenceCounts {
    /// Numbers that came. Of a chain, which has none: messages.
    pub seen: u64,
    /// Numbers that did not come.
    pub missing: u64,
    /// In how many spans; all that is known of a chain.
    pub breaks: u64,
    /// How often the counting began anew.
    pub restarts: u64,
}

/// A topic of a monitor and what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceRow {
    /// Whose.
    pub monitor: Arc<str>,
    /// Which topic.
    pub topic: Arc<str>,
    /// What.
    pub counts: SequenceCounts,
}

/// What is missing of a topic: of one look, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leap {
    /// From where the message came that showed it.
    pub upstream: Arc<str>,
    /// Whose.
    pub monitor: Arc<str>,
    /// Which topic.
    pub topic: Arc<str>,
    /// From when to when, and how many messages, where they are what is counted.
    pub missed: Missed,
}

/// Whose numbers these are.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The series. A hash, so that nobody can choose it.
    pub series: u64,
    /// Whose.
    pub monitor: &'a Arc<str>,
    /// Which topic.
    pub topic: &'a Arc<str>,
    /// From where it came this time.
    pub upstream: &'a str,
}

/// The numbers of one message.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// What they count.
    pub counting: Counting,
    /// Which they are.
    pub numbers: Numbers,
    /// Its event came before.
    pub repeat: bool,
}

/// Every series of the daemon.
#[derive(Debug, Default)]
pub struct SequenceBook {
    state: Mutex<State>,
    connections: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    series: HashMap<u64, Known, BuildHasherDefault<AsItIs>>,
    /// What is missing and was not taken yet, so that whoever takes it late gets no more than one for each topic.
    leaps: BTreeMap<Subject, Leap>,
    /// Of series that are gone.
    gone: BTreeMap<Subject, SequenceCounts>,
}

type Subject = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Known {
    series: Series,
    counting: Counting,
    monitor: Arc<str>,
    topic: Arc<str>,
    upstream: Arc<str>,
    counts: SequenceCounts,
}

/// The book, locked for a burst.
#[derive(Debug)]
pub struct Noting<'a> {
    state: MutexGuard<'a, State>,
    received: UnixNanos,
    now: Instant,
    given_up: Vec<Span>,
}

impl SequenceBook {
    /// A number for a connection, for series that are of one alone.
    pub fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the book for the numbers of a burst.
    pub fn begin(&self, received: UnixNanos, now: Instant) -> Noting<'_> {
        Noting { state: self.lock(), received, now, given_up: Vec::new() }
    }

    /// A series that ends: what is still missing will not come.
    pub fn end(&self, series: u64) {
        self.lock().end(series);
    }

    /// What is missing and was waited for long enough, together for each topic.
    pub fn take_settled(&self, now: Instant) -> Vec<Leap> {
        let mut state = self.lock();
        let Some(found_before) = now.checked_sub(SETTLING) else { return Vec::new() };
        state.settle(|series, given_up| series.settle(found_before, given_up));
        std::mem::take(&mut state.leaps).into_values().collect()
    }

    /// All that is missing, where nothing more will come.
    pub fn take_all(&self) -> Vec<Leap> {
        let mut state = self.lock();
        state.settle(Series::settle_all);
        std::mem::take(&mut state.leaps).into_values().collect()
    }

    /// What every topic had, by monitor.
    pub fn rows(&self) -> Vec<SequenceRow> {
        let state = self.lock();
        let mut rows = state.gone.clone();
        for known in state.series.values() {
            rows.entry(known.subject()).or_default().add(&known.counts);
        }
        rows.into_iter().map(|((monitor, topic), counts)| SequenceRow { monitor, topic, counts }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole after every step: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noting<'_> {
    /// Notes a message's numbers.
    pub fn note(&mut self, origin: Origin<'_>, arrived: Arrived) {
        let Self { state, received, now, given_up } = self;
        let Arrived { counting, numbers, repeat } = arrived;
        let arrival = Arrival { counting, numbers, repeat, received: *received, now: *now };
        let Some(known) = state.series.get_mut(&origin.series) else {
            state.add(origin, &arrival);
            return;
        };
        match known.series.note(&arrival, given_up) {
            Noted::Fresh(count) => known.counts.seen += count,
            Noted::Anew(from) => {
                known.counts.seen += arrival.all();
                known.counts.restarts += 1;
                tracing::info!(
                    monitor = %known.monitor, topic = %known.topic, from,
                    "a sequence counts anew: what was missed meanwhile is not known"
                );
            }
        }
        if !given_up.is_empty() {
            let leap = known.give_up(given_up);
            state.leap(leap);
        } else if *known.upstream != *origin.upstream && !known.series.is_waiting() {
            known.upstream = origin.upstream.into();
        }
    }
}

impl State {
    fn add(&mut self, origin: Origin<'_>, arrival: &Arrival) {
        if self.series.len() >= SERIES_MAX {
            self.make_room();
        }
        let Origin { series, monitor, topic, upstream } = origin;
        let known = Known {
            series: Series::begin(arrival),
            counting: arrival.counting,
            monitor: Arc::clone(monitor),
            topic: Arc::clone(topic),
            upstream: upstream.into(),
            counts: SequenceCounts { seen: arrival.all(), ..SequenceCounts::default() },
        };
        self.series.insert(series, known);
    }

    fn make_room(&mut self) {
        let mut by_age: Vec<(Instant, u64)> =
            self.series.iter().map(|(series, known)| (known.series.advanced(), *series)).collect();
        by_age.sort_unstable();
        for (_, series) in by_age.into_iter().take(CROWDED_OUT) {
            self.end(series);
        }
    }

    fn end(&mut self, series: u64) {
        let Some(mut known) = self.series.remove(&series) else { return };
        let mut given_up = Vec::new();
        known.series.settle_all(&mut given_up);
        if !given_up.is_empty() {
            let leap = known.give_up(&mut given_up);
            self.leap(leap);
        }
        self.gone.entry(known.subject()).or_default().add(&known.counts);
    }

    fn settle(&mut self, settle: impl Fn(&mut Series, &mut Vec<Span>)) {
        let (mut given_up, mut leaps) = (Vec::new(), Vec::new());
        for known in self.series.values_mut().filter(|known| known.series.is_waiting()) {
            settle(&mut known.series, &mut given_up);
            if !given_up.is_empty() {
                leaps.push(known.give_up(&mut given_up));
            }
        }
        for leap in leaps {
            self.leap(leap);
        }
    }

    fn leap(&mut self, leap: Leap) {
        let subject = (Arc::clone(&leap.monitor), Arc::clone(&leap.topic));
        match self.leaps.get_mut(&subject) {
            Some(known) => known.missed = together(known.missed, leap.missed),
            None => {
                self.leaps.insert(subject, leap);
            }
        }
    }
}

impl Known {
    fn subject(&self) -> Subject {
        (Arc::clone(&self.monitor), Arc::clone(&self.topic))
    }

    /// Counts what will not come; there is at least one.
    fn give_up(&mut self, spans: &mut Vec<Span>) -> Leap {
        let (mut start, mut end, mut missing) = (UnixNanos(i64::MAX), UnixNanos(i64::MIN), 0);
        for span in spans.drain(..) {
            (start, end) = (start.min(span.start), end.max(span.end));
            missing += span.length();
            self.counts.breaks += 1;
        }
        // What is between two links of a chain is no number of anything.
        self.counts.missing += if self.counting == Counting::Chain { 0 } else { missing };
        let missing = (self.counting == Counting::Messages).then_some(missing);
        Leap {
            upstream: Arc::clone(&self.upstream),
            monitor: Arc::clone(&self.monitor),
            topic: Arc::clone(&self.topic),
            missed: Missed { start, end, missing },
        }
    }
}

impl SequenceCounts {
    /// Numbers that there were.
    pub fn expected(&self) -> u64 {
        self.seen + self.missing
    }

    /// Adds another topic's, or an ended series'.
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.missing += other.missing;
        self.breaks += other.breaks;
        self.restarts += other.restarts;
    }
}

fn together(one: Missed, other: Missed) -> Missed {
    let missing = match (one.missing, other.missing) {
        (Some(one), Some(other)) => Some(one + other),
        _ => None,
    };
    Missed { start: one.start.min(other.start), end: one.end.max(other.end), missing }
}

/// Series are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests;
