//! Views of the journal that are quick to ask: statistics of each monitor, business counters, and the newest event of each key.
//!
//! They are built behind the journal by a thread of low priority, and kept in a folder so that a restart goes on where
//! they stood. Nothing is only here: whatever is wrong with the folder, it is deleted, said so, and built anew. Commands on the
//! data folder never read it.
//!
//! | file          | is                                                           |
//! |---------------|--------------------------------------------------------------|
//! | `builder`     | the thread: follows the journal, keeps the folder            |
//! | `statistics`  | counts by monitor, hour and day, out of headers              |
//! | `counters`    | events with a certain value, or a new one                    |
//! | `first_seen`  | keys that a counter has seen                                 |
//! | `counter_board` | which counters are wanted, and where they stand            |
//! | `latest`      | the newest event of each monitor and key                     |
//! | `whole_payloads` | payloads too long for the folder, read in the journal     |
//! | `store`       | the folder: sled, with a digest over everything              |
//! | `probe`       | a child process that opens the folder first                  |
//!
//! **What a last value promises.** Of each monitor and key that has an event at or behind `complete_from` and before `up_to`,
//! the value is the newest such event. The thread takes at most a tenth of a core; when it falls behind by more than
//! two million events (a view that is built anew over a large journal, or more than some hundred thousand events a second), it goes
//! on closer to the end and moves `complete_from` there: keys that were last seen before it may show an older value or none.

mod builder;
mod counter_board;
mod counters;
mod first_seen;
mod latest;
mod probe;
mod statistics;
mod store;
mod whole_payloads;

pub use builder::Views;
pub use counter_board::{CounterBoard, CounterNow, CounterRecord};
pub use latest::LatestValue;
pub use probe::{PROBE_COMMAND, Probe, run as probe};
pub use statistics::Counted;

use crate::clock::UnixNanos;

/// What was counted of a monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorStatistics {
    /// Its name.
    pub monitor: String,
    /// Its domain.
    pub domain: String,
    /// In all.
    pub counted: Counted,
    /// Today, by UTC.
    pub today: Counted,
    /// Events a second over the last minute.
    pub rate: f64,
    /// When its last event was received.
    pub last_received: Option<UnixNanos>,
    /// The greatest plausible event time.
    pub last_event_time: Option<UnixNanos>,
    /// By hour; empty where not asked for.
    pub hours: Vec<(UnixNanos, Counted)>,
    /// By day (UTC); empty where not asked for.
    pub days: Vec<(UnixNanos, Counted)>,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct StatisticsNow {
    /// Events from this offset on,
    pub from: u64,
    /// up to this one.
    pub to: u64,
    /// By domain and monitor, the daemon's own among them.
    pub monitors: Vec<MonitorStatistics>,
}

/// Last values, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestNow {
    /// Complete for events from this offset on,
    pub complete_from: u64,
    /// up to this one.
    pub up_to: u64,
    /// Each with its payload.
    pub values: Vec<(LatestValue, Vec<u8>)>,
    /// How many there are in all.
    pub held: usize,
}

/// Why a view cannot be asked now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the views are not to be had now: {0}")]
pub struct ViewError(pub String);
