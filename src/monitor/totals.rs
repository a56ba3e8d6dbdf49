//! What was counted of a monitor since the start: added to by its links once a burst, read by metrics and the server.

use std::sync::atomic::{AtomicU64, Ordering};

use super::burst::Counts;

/// Running counts of a monitor.
#[derive(Debug, Default)]
pub struct Totals {
    messages: AtomicU64,
    control: AtomicU64,
    quarantined: AtomicU64,
    repeats: AtomicU64,
    conflicts: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TotalsNow {
    /// Messages of any kind.
    pub messages: u64,
    /// Of these, events.
    pub events: u64,
    /// Of these, dropped repeats.
    pub repeats: u64,
    /// Of these, acknowledgements, heartbeats and what a rule ignores.
    pub control: u64,
    /// Of these, unreadable ones.
    pub quarantined: u64,
    /// Ids that came back with another payload; among the repeats where they are dropped, among the events where kept.
    pub conflicts: u64,
}

impl TotalsNow {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            events: self.events + other.events,
            repeats: self.repeats + other.repeats,
            control: self.control + other.control,
            quarantined: self.quarantined + other.quarantined,
            conflicts: self.conflicts + other.conflicts,
        }
    }
}

impl Totals {
    /// Adds a burst's counts.
    pub fn add(&self, counts: Counts) {
        self.messages.fetch_add(counts.messages.into(), Ordering::Relaxed);
        if counts.control > 0 {
            self.control.fetch_add(counts.control.into(), Ordering::Relaxed);
        }
        if counts.quarantined > 0 {
            self.quarantined.fetch_add(counts.quarantined.into(), Ordering::Relaxed);
        }
    }

    /// Adds a dropped repeat.
    pub fn add_repeat(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an id that came back with another payload.
    pub fn add_conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn now(&self) -> TotalsNow {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (repeats, control, quarantined) = (load(&self.repeats), load(&self.control), load(&self.quarantined));
        let messages = load(&self.messages);
        // A burst being added may show in one count and not yet in another.
        let events = messages.saturating_sub(repeats + control + quarantined);
        TotalsNow { messages, events, repeats, control, quarantined, conflicts: load(&self.conflicts) }
    }
}

impl TotalsNow {
    /// Of the messages that should be events, how many could be read; none before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
    pub fn parse_rate(&self) -> Option<f64> {
        let read = self.events + self.repeats;
        let should = read + self.quarantined;
        (should > 0).then(|| read as f64 / should as f64)
    }
}
