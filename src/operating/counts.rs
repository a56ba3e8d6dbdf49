//! What was counted, by hour, out of the headers of blocks. Neither the daemon's own events nor what is only compared counts.

use std::collections::BTreeMap;

use super::runs::Runs;
use crate::clock::UnixNanos;
use crate::journal::{JournalError, JournalReader, OWN_DOMAIN, Offset, QUARANTINE_MONITOR, SHADOW_DOMAINS};

/// An hour in nanoseconds.
const HOUR: i64 = 3_600_000_000_000;

/// The most hours that are told one by one, the newest: three months.
const HOURS_MAX: usize = 24 * 92;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hour {
    /// Messages that should be events: control left out.
    pub data: u64,
    /// Events.
    pub events: u64,
    /// Repeats that were dropped.
    pub repeats: u64,
    /// What could not be read.
    pub quarantined: u64,
}

impl Hour {
    /// Share of what should be events that could be read.
    #[expect(clippy::cast_precision_loss, reason = "a share of counts that a float holds well enough")]
    pub fn parse_rate(&self) -> Option<f64> {
        (self.data > 0).then(|| 1.0 - self.quarantined as f64 / self.data as f64)
    }

    fn add(&mut self, other: Self) {
        self.data += other.data;
        self.events += other.events;
        self.repeats += other.repeats;
        self.quarantined += other.quarantined;
    }
}

/// Of a span and of the one before it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// All of the span.
    pub(super) total: Hour,
    /// All of as long a span before it.
    pub(super) before: Hour,
    /// By the hour's beginning.
    pub(super) hours: BTreeMap<UnixNanos, Hour>,
    /// By monitor.
    pub(super) monitors: BTreeMap<String, Hour>,
    /// Frames that could not be read and were kept.
    pub(super) kept: u64,
    /// Whether anything was only compared.
    pub(super) shadowed: bool,
    /// When the first and the last of the links' events of the span were received.
    pub(super) seen: Option<(UnixNanos, UnixNanos)>,
}

/// Monitors that are told one by one. Source: a guess; a report is read by a person.
const MONITORS_MAX: usize = 10_000;

impl Counts {
    /// Reads headers from `from` on, and tells `runs` of each.
    pub(super) fn read(
        reader: &mut JournalReader,
        from: Offset,
        (before, since, until): (UnixNanos, UnixNanos, UnixNanos),
        runs: &mut Runs,
    ) -> Result<Self, JournalError> {
        let mut counts = Self::default();
        reader.seek(from);
        // Of blocks that only count nobody knows when; it was after the ones before them.
        let mut now = UnixNanos(i64::MIN);
        while let Some(header) = reader.next_header()? {
            let mut last = None;
            if header.events() > 0 {
                now = header.received().least;
                last = Some(header.received().greatest);
            }
            let of_links = |name: &str| !name.starts_with('_');
            let data = header
                .rows()
                .iter()
                .filter(|row| of_links(&row.monitor.domain))
                .filter_map(|row| row.received)
                .map(|received| received.least)
                .min();
            if let Some(last) = last {
                runs.sign(header.base(), last, data);
            }
            if now >= until || now < before {
                continue;
            }
            for row in header.rows() {
                let domain = &*row.monitor.domain;
                if now >= since {
                    counts.shadowed |= domain.starts_with(SHADOW_DOMAINS);
                    if domain == OWN_DOMAIN && *row.monitor.name == *QUARANTINE_MONITOR {
                        counts.kept += row.events;
                    }
                }
                // What belongs to no monitor is an upstream's, under our own domain.
                let unrouted = domain == OWN_DOMAIN && row.monitor.name.starts_with("upstream:");
                if !of_links(domain) && !unrouted {
                    continue;
                }
                let hour = Hour {
                    data: row.account.messages.saturating_sub(row.account.control),
                    events: row.events,
                    repeats: row.account.repeats,
                    quarantined: row.account.quarantined,
                };
                if now < since {
                    counts.before.add(hour);
                    continue;
                }
                counts.total.add(hour);
                counts.hours.entry(UnixNanos(now.0 - now.0.rem_euclid(HOUR))).or_default().add(hour);
                if counts.hours.len() > HOURS_MAX {
                    counts.hours.pop_first();
                }
                if let Some(of) = counts.monitors.get_mut(&*row.monitor.name) {
                    of.add(hour);
                } else if counts.monitors.len() < MONITORS_MAX {
                    counts.monitors.insert(row.monitor.name.to_string(), hour);
                }
            }
            if let (Some(first), Some(last)) = (data, last)
                && now >= since
            {
                let seen = counts.seen.get_or_insert((first, last));
                *seen = (seen.0.min(first), seen.1.max(last));
            }
        }
        Ok(counts)
    }
}
