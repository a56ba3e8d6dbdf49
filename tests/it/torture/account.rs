//! What was sent, what was promised, what is where.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use sluice::journal::{BlockFilter, JournalReader, OWN_DOMAIN, Offset};

use super::super::ledger::{Mark, Sent};
use super::plan::End;
use super::stores::StoredRow;

/// The account of a run.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) seed: u64,
    /// How the daemon ended in each cycle, and how often each server was killed.
    pub(crate) done: Vec<&'static str>,
    pub(crate) servers_killed: Vec<(&'static str, u32)>,
    /// Distinct events that were handed to sockets, and repeats of them.
    sent: u64,
    repeats: u64,
    /// The durable offset as the daemon last told it.
    pub(crate) promised: u64,
    pub(crate) slowest_ready: Duration,
    pub(crate) slowest_event: Duration,
    journal: Vec<Entry>,
    places: Vec<Found>,
}

/// An event as it was first read in the journal, by offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    crc: u32,
    /// The daemon's own; no sink of these runs takes them.
    own: bool,
}

/// What is wrong in a place.
#[derive(Debug, Clone, Default)]
struct Found {
    name: &'static str,
    events: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    changed: u64,
}

impl Found {
    fn is_right(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.changed == 0
    }
}

impl Account {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(crate) fn note(&mut self, end: End) {
        self.done.push(match end {
            End::KilledStarting(_) => "killed while starting",
            End::Killed(_) => "killed under load",
            End::Stopped(_) => "stopped",
            End::PowerCut(_) => "power cut",
        });
    }

    /// Enters what has become durable since the last time. What was promised has to be there.
    pub(crate) fn read_on(&mut self, journal: &Path) {
        let found = read(journal, self.journal.len() as u64, |_| {});
        self.journal.extend(found);
        let there = self.journal.len() as u64;
        assert!(there >= self.promised, "seed {}: {} were promised, {there} are there", self.seed, self.promised);
    }

    /// Reads the whole journal: what was read before must be as it was.
    pub(crate) fn read_again(&mut self, journal: &Path) -> Vec<Mark> {
        let mut marks = Vec::new();
        let found = read(journal, 0, |mark| marks.push(mark));
        let mut right = Found { name: "journal", events: found.len() as u64, ..Found::default() };
        right.lost =
            (self.journal.len().max(usize::try_from(self.promised).unwrap()) as u64).saturating_sub(right.events);
        right.changed = self.journal.iter().zip(&found).filter(|(before, now)| before != now).count() as u64;
        self.places.retain(|place| place.name != right.name);
        self.places.push(right);
        self.journal = found;
        marks
    }

    /// Holds the journal's events of the feed against what was sent: of each connection the first so many, in order, none twice.
    pub(crate) fn hold_against_ledger(&mut self, marks: &[Mark], ledger: &[Sent]) {
        let mut place_of: HashMap<Mark, (u64, u64)> = HashMap::with_capacity(ledger.len());
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for frame in ledger {
            if frame.is_repeat() {
                self.repeats += 1;
                continue;
            }
            let count = counts.entry(frame.connection).or_default();
            place_of.insert(frame.mark(), (frame.connection, *count));
            *count += 1;
        }
        self.sent = place_of.len() as u64;
        let mut found = Found { name: "journal against the feed", events: marks.len() as u64, ..Found::default() };
        let mut next: HashMap<u64, u64> = HashMap::new();
        for mark in marks {
            let Some((connection, place)) = place_of.get(mark) else {
                found.changed += 1;
                continue;
            };
            let next = next.entry(*connection).or_default();
            match place.cmp(next) {
                // Below the next one: it was here before, or is too late.
                std::cmp::Ordering::Less => found.duplicated += 1,
                std::cmp::Ordering::Equal => *next += 1,
                std::cmp::Ordering::Greater => {
                    found.lost += place - *next;
                    *next = place + 1;
                }
            }
        }
        self.places.push(found);
    }

    /// Holds what a store has against the journal: each event that is not the daemon's own once, in order.
    pub(crate) fn hold_store(&mut self, name: &'static str, rows: &[StoredRow]) {
        let mut found = Found { name, events: rows.len() as u64, ..Found::default() };
        let mut seen = vec![false; self.journal.len()];
        let mut last = None;
        for row in rows {
            let Some(entry) = self.journal.get(usize::try_from(row.offset).unwrap()) else {
                found.changed += 1;
                continue;
            };
            let seen = &mut seen[usize::try_from(row.offset).unwrap()];
            found.duplicated += u64::from(*seen);
            *seen = true;
            found.changed += u64::from(entry.crc != row.crc || entry.own);
            found.reordered += u64::from(last.is_some_and(|last| row.offset < last));
            last = Some(row.offset);
        }
        found.lost = self.journal.iter().zip(&seen).filter(|(entry, seen)| !entry.own && !**seen).count() as u64;
        self.places.push(found);
    }

    /// That nothing is wrong anywhere.
    pub(crate) fn assert_right(&self) {
        assert!(self.places.iter().all(Found::is_right), "{self}");
        assert!(self.places.iter().all(|place| place.events > 0), "nothing was tried: {self}");
    }
}

/// Reads what is durable from an offset on, as any reader beside the daemon does.
fn read(journal: &Path, from: u64, mut feed: impl FnMut(Mark)) -> Vec<Entry> {
    let mut entries = Vec::new();
    // Killed before it made its folder.
    let Ok(mut reader) = JournalReader::open(journal) else { return entries };
    reader.seek(Offset(from));
    while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap_or_else(|error| panic!("{error}")) {
        for event in block.events() {
            assert_eq!(event.offset.0, from + entries.len() as u64, "offsets are dense");
            let (crc, own) = (crc32c::crc32c(event.payload), event.domain == OWN_DOMAIN);
            entries.push(Entry { crc, own });
            if !own {
                let id = event.id().unwrap_or_default();
                // The dialect puts the topic before the id: `btcusdt@trade:17`.
                let id = id.rsplit_once(':').map_or(&*id, |(_, id)| id);
                feed((event.topic.to_owned(), id.to_owned(), crc));
            }
        }
    }
    entries
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |what| self.done.iter().filter(|done| **done == what).count();
        writeln!(
            f,
            "account of seed {}: {} cycles ({} killed under load, {} killed while starting, {} stopped in order, {} power cuts)",
            self.seed,
            self.done.len(),
            count("killed under load"),
            count("killed while starting"),
            count("stopped"),
            count("power cut")
        )?;
        for (server, kills) in &self.servers_killed {
            writeln!(f, "  {server} killed {kills} times")?;
        }
        writeln!(f, "  sent        {:>10}, and {} repeats", self.sent, self.repeats)?;
        let own = self.journal.iter().filter(|entry| entry.own).count();
        writeln!(
            f,
            "  durable     {:>10}, {own} of them the daemon's own; {} promised",
            self.journal.len(),
            self.promised
        )?;
        for place in &self.places {
            writeln!(
                f,
                "  {:<26} {:>10} events: {} lost, {} duplicated, {} reordered, {} changed",
                place.name, place.events, place.lost, place.duplicated, place.reordered, place.changed
            )?;
        }
        write!(
            f,
            "  slowest recovery: {:.3} s to ready, {:.3} s to the first new durable event",
            self.slowest_ready.as_secs_f64(),
            self.slowest_event.as_secs_f64()
        )
    }
}
