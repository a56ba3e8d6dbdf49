//! What is shared about business counters: which are wanted, and where they stand. Whoever builds them writes it, snapshots and
//! the server read it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::{CounterSettings, Settings};
use crate::journal::Offset;

/// (monitor, counter)
pub(super) type CounterName = (Box<str>, Box<str>);

/// A counter as the journal keeps it, in every snapshot and in the history of figures: what retention has deleted stays
/// counted by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRecord {
    /// Whose events.
    pub monitor: String,
    /// Its name.
    pub counter: String,
    /// What it counts; of another definition the total says nothing.
    pub counts: CounterSettings,
    /// Of all events before this offset,
    pub up_to: u64,
    /// so many.
    pub total: u64,
}

/// A business counter as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CounterNow {
    /// Whose events.
    pub monitor: String,
    /// Its name.
    pub counter: String,
    /// Since it was first declared, over restarts.
    pub total: u64,
    /// Of the last 60 minutes, by when events were received.
    pub last_hour: u64,
    /// Every event before this offset is in it.
    pub up_to: u64,
    /// Keys that are remembered; none of a counter that compares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Keys that had to be forgotten for want of memory: such a one counts again when it comes again.
    #[serde(skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// Offsets that retention deleted before they were counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// By hour, the last 48: its start, RFC 3339, and how many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<(String, u64)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A counter that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: CounterName,
    pub(super) settings: CounterSettings,
}

/// The board.
#[derive(Debug, Default)]
pub struct CounterBoard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts changes of `wanted`.
    generation: u64,
    wanted: Vec<Wanted>,
    records: BTreeMap<CounterName, CounterRecord>,
    now: Vec<CounterNow>,
}

impl CounterBoard {
    /// With what the journal had on record when it was opened, and the counters of `settings`.
    pub fn new(journaled: Vec<CounterRecord>, durable: Offset, settings: &Settings) -> Self {
        // A record is behind all that it counts; one that is not is of something else.
        let records = journaled.into_iter().filter(|record| record.up_to <= durable.0);
        let records =
            records.map(|record| ((record.monitor.as_str().into(), record.counter.as_str().into()), record)).collect();
        let board = Self { state: Mutex::new(State { records, ..State::default() }) };
        board.want(settings);
        board
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the counters of these settings are wanted.
    pub fn want(&self, settings: &Settings) {
        let wanted: Vec<Wanted> = settings
            .monitors
            .iter()
            .flat_map(|(monitor, of)| of.counters.iter().map(move |(counter, settings)| (monitor, counter, settings)))
            .map(|(monitor, counter, settings)| Wanted {
                name: (monitor.as_str().into(), counter.as_str().into()),
                settings: settings.clone(),
            })
            .collect();
        let mut state = self.lock();
        if state.wanted == wanted && state.generation > 0 {
            return;
        }
        state.generation += 1;
        let is_wanted = |name: &CounterName, counts: &CounterSettings| {
            wanted.iter().any(|wanted| wanted.name == *name && wanted.settings == *counts)
        };
        state.records.retain(|name, record| is_wanted(name, &record.counts));
        state
            .now
            .retain(|now| wanted.iter().any(|wanted| *wanted.name.0 == *now.monitor && *wanted.name.1 == *now.counter));
        state.wanted = wanted;
    }

    /// What is wanted, where it changed since `generation`, which is moved on.
    pub(super) fn wanted_since(&self, generation: &mut u64) -> Option<Vec<Wanted>> {
        let state = self.lock();
        (std::mem::replace(generation, state.generation) != state.generation).then(|| state.wanted.clone())
    }

    /// What is on record of a counter of this definition.
    pub(super) fn on_record(&self, wanted: &Wanted) -> Option<CounterRecord> {
        self.lock().records.get(&wanted.name).filter(|record| record.counts == wanted.settings).cloned()
    }

    /// How counters of a generation stand now. What is on record never goes back: a view that is built anew has to come as far first.
    pub(super) fn publish(&self, generation: u64, now: Vec<CounterNow>, records: Vec<CounterRecord>) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        for record in records {
            let name = (record.monitor.as_str().into(), record.counter.as_str().into());
            if state.records.get(&name).is_none_or(|known| known.up_to <= record.up_to) {
                state.records.insert(name, record);
            }
        }
        state.now = now;
    }

    /// For the journal.
    pub fn records(&self) -> Vec<CounterRecord> {
        self.lock().records.values().cloned().collect()
    }

    /// All counters, those of a view that is not built yet by what is on record.
    pub fn now(&self) -> Vec<CounterNow> {
        let state = self.lock();
        let unbuilt = state.records.values().filter(|record| {
            !state.now.iter().any(|now| now.monitor == record.monitor && now.counter == record.counter)
        });
        let on_record = unbuilt.map(|record| CounterNow {
            monitor: record.monitor.clone(),
            counter: record.counter.clone(),
            total: record.total,
            last_hour: 0,
            up_to: record.up_to,
            keys: None,
            forgotten: 0,
            missed: 0,
            hours: Vec::new(),
        });
        let mut all: Vec<CounterNow> = on_record.chain(state.now.iter().cloned()).collect();
        all.sort_by(|one, other| (&one.monitor, &one.counter).cmp(&(&other.monitor, &other.counter)));
        all
    }
}
