//! What a block says of one monitor without its events being read: how many, from when to when, and the account.

use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::journal::identity::MonitorIdentity;
use crate::journal::varint::{Input, Malformed, put, unzigzag, zigzag};

/// 2000-01-01T00:00:00Z. An event time before it is implausible and is kept out of ranges.
const PLAUSIBLE_FROM: i64 = 946_684_800 * 1_000_000_000;
/// An event time further than a day ahead of its receipt is implausible too.
const PLAUSIBLE_AHEAD: i64 = 86_400 * 1_000_000_000;

/// What was counted of a monitor since the block before. At all times messages = events + repeats + control +
/// quarantined; the events are those of the block itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountDelta {
    /// Messages taken from links.
    pub messages: u64,
    /// Of these, repeats within the dedupe window.
    pub repeats: u64,
    /// Of these, acknowledgements, heartbeats and whatever else is no event.
    pub control: u64,
    /// Of these, what could not be read.
    pub quarantined: u64,
}

impl AccountDelta {
    /// Adds another to this one.
    pub fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.repeats = self.repeats.saturating_add(other.repeats);
        self.control = self.control.saturating_add(other.control);
        self.quarantined = self.quarantined.saturating_add(other.quarantined);
    }
}

/// From one moment to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The least.
    pub least: UnixNanos,
    /// The greatest.
    pub greatest: UnixNanos,
}

impl TimeRange {
    /// The range of one moment.
    pub fn of(moment: UnixNanos) -> Self {
        Self { least: moment, greatest: moment }
    }

    /// Whether the two have a moment in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.least <= other.greatest && other.least <= self.greatest
    }

    /// Whether `moment` is in it.
    pub fn contains(self, moment: UnixNanos) -> bool {
        self.least <= moment && moment <= self.greatest
    }

    #[inline]
    fn widen(&mut self, moment: UnixNanos) {
        if moment < self.least {
            self.least = moment;
        }
        if moment > self.greatest {
            self.greatest = moment;
        }
    }

    /// The range of both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), greatest: self.greatest.max(other.greatest) }
    }
}

/// One monitor's part of a block; summed up over blocks, of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorRow {
    /// Whose.
    pub monitor: Arc<MonitorIdentity>,
    /// Its events here.
    pub events: u64,
    /// When they were received; none without events.
    pub received: Option<TimeRange>,
    /// The plausible event times among them; none if there are none.
    pub event_time: Option<TimeRange>,
    /// Events without an event time.
    pub untimed: u64,
    /// Events with an implausible event time, which is in no range.
    pub implausible: u64,
    /// What was counted.
    pub account: AccountDelta,
}

impl MonitorRow {
    pub(crate) fn new(monitor: Arc<MonitorIdentity>) -> Self {
        Self {
            monitor,
            events: 0,
            received: None,
            event_time: None,
            untimed: 0,
            implausible: 0,
            account: AccountDelta::default(),
        }
    }

    /// Counts one event in. Received times come in order.
    #[inline]
    pub(crate) fn count(&mut self, received: UnixNanos, event_time: Option<UnixNanos>) {
        self.events += 1;
        match &mut self.received {
            Some(range) => range.greatest = received,
            none => *none = Some(TimeRange::of(received)),
        }
        match event_time {
            None => self.untimed += 1,
            Some(time) if time.0 < PLAUSIBLE_FROM || time.0 > received.0.saturating_add(PLAUSIBLE_AHEAD) => {
                self.implausible += 1;
            }
            Some(time) => match &mut self.event_time {
                Some(range) => range.widen(time),
                none => *none = Some(TimeRange::of(time)),
            },
        }
    }

    /// Adds another block's row of the same monitor. Saturating: sums of what stands on disk must not panic.
    pub(crate) fn join(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.untimed = self.untimed.saturating_add(other.untimed);
        self.implausible = self.implausible.saturating_add(other.implausible);
        self.account.add(other.account);
        self.received = join_ranges(self.received, other.received);
        self.event_time = join_ranges(self.event_time, other.event_time);
    }

    /// Whether some event here may have its time (its received time, where it has none) in `range`.
    pub fn may_have_time_in(&self, range: TimeRange) -> bool {
        self.implausible > 0
            || self.event_time.is_some_and(|times| times.overlaps(range))
            || self.untimed > 0 && self.received.is_some_and(|times| times.overlaps(range))
    }

    /// Appends everything but the name. Times are relative to `base`.
    pub(crate) fn write(&self, base: UnixNanos, out: &mut Vec<u8>) {
        put(out, self.events);
        if self.events > 0 {
            put_range(out, base, self.received.unwrap_or(TimeRange::of(base)));
            put(out, self.untimed);
            put(out, self.implausible);
            if let Some(range) = self.event_time {
                put_range(out, base, range);
            }
        }
        put(out, self.account.messages);
        put(out, self.account.repeats);
        put(out, self.account.control);
        put(out, self.account.quarantined);
    }

    pub(crate) fn read(
        monitor: Arc<MonitorIdentity>,
        base: UnixNanos,
        input: &mut Input<'_>,
    ) -> Result<Self, Malformed> {
        let mut row = Self::new(monitor);
        row.events = input.varint()?;
        if row.events > 0 {
            row.received = Some(get_range(input, base)?);
            row.untimed = input.varint()?;
            row.implausible = input.varint()?;
            let aside = row.untimed.checked_add(row.implausible).ok_or(Malformed("a count overflows"))?;
            if aside > row.events {
                return Err(Malformed("a monitor has more events without a time than events"));
            }
            if aside < row.events {
                row.event_time = Some(get_range(input, base)?);
            }
        }
        row.account = AccountDelta {
            messages: input.varint()?,
            repeats: input.varint()?,
            control: input.varint()?,
            quarantined: input.varint()?,
        };
        Ok(row)
    }
}

fn join_ranges(a: Option<TimeRange>, b: Option<TimeRange>) -> Option<TimeRange> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.joined(b)),
        (one, other) => one.or(other),
    }
}

fn put_range(out: &mut Vec<u8>, base: UnixNanos, range: TimeRange) {
    put(out, zigzag(range.least.0.wrapping_sub(base.0)));
    put(out, range.greatest.0.wrapping_sub(range.least.0).cast_unsigned());
}

fn get_range(input: &mut Input<'_>, base: UnixNanos) -> Result<TimeRange, Malformed> {
    let least = base.0.wrapping_add(unzigzag(input.varint()?));
    let greatest = least.wrapping_add(input.varint()?.cast_signed());
    if greatest < least {
        return Err(Malformed("a range of times ends before it begins"));
    }
    Ok(TimeRange { least: UnixNanos(least), greatest: UnixNanos(greatest) })
}
