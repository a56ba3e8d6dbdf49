//! Which events a reader wants; blocks without any are passed over by their headers.

use super::block::{BlockHeader, Event, MonitorRow, TimeRange};

/// Which events are wanted. Empty lists and absent ranges admit everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockFilter {
    /// Names of monitors.
    pub monitors: Vec<String>,
    /// Domains.
    pub domains: Vec<String>,
    /// When the event was received.
    pub received: Option<TimeRange>,
    /// When the event says it happened; for one that does not say, when it was received.
    pub event_time: Option<TimeRange>,
}

impl BlockFilter {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether the event is wanted.
    pub fn admits(&self, event: &Event<'_>) -> bool {
        self.admits_monitor(event.monitor, event.domain)
            && self.received.is_none_or(|range| range.contains(event.received))
            && self.event_time.is_none_or(|range| range.contains(event.event_time.unwrap_or(event.received)))
    }

    /// Whether some event of the block may be wanted.
    pub fn may_admit(&self, header: &BlockHeader) -> bool {
        self.received.is_none_or(|range| range.overlaps(header.received()))
            && header.rows().iter().any(|row| self.may_admit_row(row))
    }

    /// Whether some event of these may be wanted.
    pub(crate) fn may_admit_row(&self, row: &MonitorRow) -> bool {
        row.events > 0
            && self.admits_monitor(&row.monitor.name, &row.monitor.domain)
            && self.received.is_none_or(|range| row.received.is_some_and(|received| received.overlaps(range)))
            && self.event_time.is_none_or(|range| row.may_have_time_in(range))
    }

    fn admits_monitor(&self, name: &str, domain: &str) -> bool {
        let among = |list: &[String], name: &str| list.is_empty() || list.iter().any(|wanted| wanted == name);
        among(&self.monitors, name) && among(&self.domains, domain)
    }
}
