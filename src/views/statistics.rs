//! Counts of each monitor, in all, by hour and by day; out of the headers of blocks, whose events are never read for it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::store::Change;
use crate::clock::UnixNanos;
use crate::journal::{BlockHeader, MonitorRow};

/// Hours that are kept behind the newest.
const HOURS_KEPT: i64 = 48;
/// Days that are kept behind the newest.
const DAYS_KEPT: i64 = 35;
/// Seconds over which the rate is told.
const RATE_SECONDS: usize = 60;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_HOUR: i64 = 3600;
const SECONDS_PER_DAY: i64 = 24 * SECONDS_PER_HOUR;

/// What was counted. messages = events + repeats + control + quarantined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Events.
    pub events: u64,
    /// Messages of any kind.
    pub messages: u64,
    /// Repeats that were dropped.
    pub repeats: u64,
    /// Acknowledgements, heartbeats and the like.
    pub control: u64,
    /// Unreadable ones.
    pub quarantined: u64,
}

impl Counted {
    fn add(&mut self, row: &MonitorRow) {
        self.events = self.events.saturating_add(row.events);
        self.messages = self.messages.saturating_add(row.account.messages);
        self.repeats = self.repeats.saturating_add(row.account.repeats);
        self.control = self.control.saturating_add(row.account.control);
        self.quarantined = self.quarantined.saturating_add(row.account.quarantined);
    }
}

/// A span of time of a monitor's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bucket {
    All,
    Hour(i64),
    Day(i64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    #[serde(flatten)]
    counted: Counted,
    /// Nanoseconds since 1970.
    last_received: Option<i64>,
    last_event_time: Option<i64>,
}

/// The figures of a monitor.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    whole: Whole,
    hours: BTreeMap<i64, Counted>,
    days: BTreeMap<i64, Counted>,
    /// Events of the last seconds, by second; not kept over a restart.
    seconds: Option<Box<[(i64, u32); RATE_SECONDS]>>,
}

/// (domain, monitor)
pub(super) type Name = (Box<str>, Box<str>);

/// All figures.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    monitors: BTreeMap<Name, Figures>,
    newest: i64,
    changed: BTreeSet<(Name, Bucket)>,
}

impl Statistics {
    /// Counts a block.
    pub(super) fn add(&mut self, header: &BlockHeader) {
        for row in header.rows() {
            // A block spans half a second; on the hour its events go with its last.
            let received = row.received.unwrap_or(header.received()).greatest;
            let second = received.0.div_euclid(NANOS_PER_SECOND);
            let (hour, day) = (second.div_euclid(SECONDS_PER_HOUR), second.div_euclid(SECONDS_PER_DAY));
            let name: Name = (row.monitor.domain.as_ref().into(), row.monitor.name.as_ref().into());
            let figures = self.monitors.entry(name.clone()).or_default();
            figures.whole.counted.add(row);
            if row.events > 0 {
                figures.whole.last_received = figures.whole.last_received.max(Some(received.0));
                let event_time = row.event_time.map(|range| range.greatest.0);
                figures.whole.last_event_time = figures.whole.last_event_time.max(event_time);
                figures.count_second(second, row.events);
            }
            for (bucket, cell) in [
                (Bucket::Hour(hour), figures.hours.entry(hour).or_default()),
                (Bucket::Day(day), figures.days.entry(day).or_default()),
            ] {
                cell.add(row);
                self.changed.insert((name.clone(), bucket));
            }
            self.changed.insert((name, Bucket::All));
            self.newest = self.newest.max(second);
        }
    }

    /// Forgets hours and days that are too old.
    fn expire(&mut self) {
        let oldest_hour = self.newest.div_euclid(SECONDS_PER_HOUR) - HOURS_KEPT;
        let oldest_day = self.newest.div_euclid(SECONDS_PER_DAY) - DAYS_KEPT;
        for (name, figures) in &mut self.monitors {
            while let Some(entry) = figures.hours.first_entry().filter(|entry| *entry.key() < oldest_hour) {
                self.changed.insert((name.clone(), Bucket::Hour(entry.remove_entry().0)));
            }
            while let Some(entry) = figures.days.first_entry().filter(|entry| *entry.key() < oldest_day) {
                self.changed.insert((name.clone(), Bucket::Day(entry.remove_entry().0)));
            }
        }
    }

    /// What the folder has to learn.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        self.expire();
        let changed = std::mem::take(&mut self.changed);
        let change = |(name, bucket): (Name, Bucket)| {
            let figures = self.monitors.get(&name)?;
            let value = match bucket {
                Bucket::All => serde_json::to_vec(&figures.whole).ok(),
                Bucket::Hour(hour) => figures.hours.get(&hour).and_then(|cell| serde_json::to_vec(cell).ok()),
                Bucket::Day(day) => figures.days.get(&day).and_then(|cell| serde_json::to_vec(cell).ok()),
            };
            Some((key_of(&name, bucket), value))
        };
        changed.into_iter().filter_map(change).collect()
    }

    /// Takes an entry of the folder; none if it is none of these.
    pub(super) fn load(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (name, bucket) = read_key(key)?;
        let figures = self.monitors.entry(name).or_default();
        match bucket {
            Bucket::All => {
                figures.whole = serde_json::from_slice(value).ok()?;
                let received = figures.whole.last_received.unwrap_or_default();
                self.newest = self.newest.max(received.div_euclid(NANOS_PER_SECOND));
            }
            Bucket::Hour(hour) => {
                figures.hours.insert(hour, serde_json::from_slice(value).ok()?);
            }
            Bucket::Day(day) => {
                figures.days.insert(day, serde_json::from_slice(value).ok()?);
            }
        }
        Some(())
    }

    /// All monitors with their figures.
    pub(super) fn monitors(&self) -> impl Iterator<Item = (&Name, &Figures)> {
        self.monitors.iter()
    }
}

impl Figures {
    fn count_second(&mut self, second: i64, events: u64) {
        let seconds = self.seconds.get_or_insert_with(|| Box::new([(0, 0); RATE_SECONDS]));
        // The remainder of a division by 60 is an index.
        let at = usize::try_from(second.rem_euclid(60)).unwrap_or_default();
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        match &mut seconds[at] {
            (of, count) if *of == second => *count = count.saturating_add(events),
            slot => *slot = (second, events),
        }
    }

    /// What was counted in all.
    pub(super) fn counted(&self) -> Counted {
        self.whole.counted
    }

    /// When the last event was received.
    pub(super) fn last_received(&self) -> Option<UnixNanos> {
        self.whole.last_received.map(UnixNanos)
    }

    /// The greatest plausible event time.
    pub(super) fn last_event_time(&self) -> Option<UnixNanos> {
        self.whole.last_event_time.map(UnixNanos)
    }

    /// Events a second over the last minute.
    pub(super) fn rate(&self, now: UnixNanos) -> f64 {
        let now = now.0.div_euclid(NANOS_PER_SECOND);
        let recent = |(second, _): &&(i64, u32)| *second > now - 60 && *second <= now + 1;
        let events: u64 =
            self.seconds.iter().flat_map(|seconds| seconds.iter().filter(recent)).map(|(_, n)| u64::from(*n)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
        let rate = events as f64 / 60.0;
        rate
    }

    /// By hour, each with its start.
    pub(super) fn hours(&self) -> impl Iterator<Item = (UnixNanos, Counted)> {
        self.hours.iter().map(|(hour, cell)| (UnixNanos(hour * SECONDS_PER_HOUR * NANOS_PER_SECOND), *cell))
    }

    /// By day (UTC), each with its start.
    pub(super) fn days(&self) -> impl Iterator<Item = (UnixNanos, Counted)> {
        self.days.iter().map(|(day, cell)| (UnixNanos(day * SECONDS_PER_DAY * NANOS_PER_SECOND), *cell))
    }

    /// Of the day on which `now` is.
    pub(super) fn today(&self, now: UnixNanos) -> Counted {
        self.days.get(&now.0.div_euclid(SECONDS_PER_DAY * NANOS_PER_SECOND)).copied().unwrap_or_default()
    }
}

/// `a` all, `h` and `d` with hour or day; then domain, zero, monitor. Names have no zeros; one that has is shown as it is cut.
fn key_of((domain, monitor): &Name, bucket: Bucket) -> Vec<u8> {
    let mut key = Vec::with_capacity(domain.len() + monitor.len() + 10);
    match bucket {
        Bucket::All => key.push(b'a'),
        Bucket::Hour(hour) => {
            key.push(b'h');
            key.extend_from_slice(&hour.to_be_bytes());
        }
        Bucket::Day(day) => {
            key.push(b'd');
            key.extend_from_slice(&day.to_be_bytes());
        }
    }
    key.extend_from_slice(domain.as_bytes());
    key.push(0);
    key.extend_from_slice(monitor.as_bytes());
    key
}

fn read_key(key: &[u8]) -> Option<(Name, Bucket)> {
    let (kind, rest) = key.split_first()?;
    let timed =
        |rest: &[u8]| rest.split_first_chunk::<8>().map(|(time, name)| (i64::from_be_bytes(*time), name.to_vec()));
    let (bucket, name) = match kind {
        b'a' => (Bucket::All, rest.to_vec()),
        b'h' => timed(rest).map(|(hour, name)| (Bucket::Hour(hour), name))?,
        b'd' => timed(rest).map(|(day, name)| (Bucket::Day(day), name))?,
        _ => return None,
    };
    let text = String::from_utf8(name).ok()?;
    let (domain, monitor) = text.split_once('\0')?;
    Some(((domain.into(), monitor.into()), bucket))
}
