//! What is in a journal, from seals and headers alone.

use std::collections::BTreeMap;

use super::block::{AccountDelta, MonitorRow};
use super::error::JournalError;
use super::hole::Hole;
use super::identity::{GAPS_MONITOR, OWN_DOMAIN};
use super::offset::{JournalId, Offset};
use super::reader::JournalReader;
use super::segment::{OpenSegment, list_segments};

/// What is in a journal. Serializing it is the command line's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStat {
    /// Whose; none while it has no segment.
    pub journal: Option<JournalId>,
    /// Durable events that are kept.
    pub events: u64,
    /// The first event that is kept.
    pub earliest: Offset,
    /// The offset after the last durable event.
    pub durable_offset: Offset,
    /// Files.
    pub segments: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Repeats that were dropped.
    pub duplicates: u64,
    /// Frames that could not be read.
    pub quarantined: u64,
    /// Gaps that were recorded.
    pub gaps: u64,
    /// Offsets that no event has, because a repair could not save what was there.
    pub holes: Vec<Hole>,
    /// By domain.
    pub domains: BTreeMap<String, DomainStat>,
    /// By domain and monitor.
    pub monitors: BTreeMap<(String, String), MonitorStat>,
}

/// What is in a journal of one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainStat {
    /// Durable events that are kept.
    pub events: u64,
    /// Monitors.
    pub monitors: u64,
}

/// What is in a journal of one monitor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MonitorStat {
    /// Durable events that are kept.
    pub events: u64,
    /// What was counted beside them.
    pub account: AccountDelta,
}

impl JournalReader {
    /// Counts what is in the journal: seals of sealed segments, headers of the newest one.
    ///
    /// # Errors
    /// What the system refused, or damage found on the way; [`JournalError::Incomplete`] where something durable is in no file.
    pub fn stat(&self) -> Result<JournalStat, JournalError> {
        self.check_end()?;
        let names = list_segments(self.storage().as_ref())?;
        let mut stat = JournalStat {
            journal: None,
            events: 0,
            earliest: names.first().map_or(Offset::ZERO, |first| first.base),
            durable_offset: Offset::ZERO,
            segments: names.len() as u64,
            bytes: 0,
            duplicates: 0,
            quarantined: 0,
            gaps: 0,
            holes: Vec::new(),
            domains: BTreeMap::new(),
            monitors: BTreeMap::new(),
        };
        for &name in &names {
            let segment = match OpenSegment::open(self.storage().as_ref(), name) {
                // Retention was faster.
                Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    stat.segments -= 1;
                    continue;
                }
                opened => opened?,
            };
            stat.bytes += segment.len;
            stat.journal = Some(segment.header.journal);
            if let Some(seal) = &segment.seal {
                stat.add(&seal.rows);
                if segment.header.whole_to.is_none() {
                    continue;
                }
                if let Some(index) = segment.index()? {
                    stat.holes.extend(index.holes);
                    continue;
                }
            }
            let (headers, holes) = self.headers_of(name)?;
            stat.holes.extend(holes);
            if segment.seal.is_none() {
                for header in headers {
                    stat.add(&header.rows);
                }
            }
        }
        // Asked for last: whatever was counted meanwhile was durable when it was.
        stat.durable_offset = self.durable()?;
        for (domain, _) in stat.monitors.keys() {
            stat.domains.entry(domain.clone()).or_default().monitors += 1;
        }
        for ((domain, monitor), counted) in &stat.monitors {
            stat.events = stat.events.saturating_add(counted.events);
            stat.duplicates = stat.duplicates.saturating_add(counted.account.repeats);
            stat.quarantined = stat.quarantined.saturating_add(counted.account.quarantined);
            if let Some(of_domain) = stat.domains.get_mut(domain) {
                of_domain.events = of_domain.events.saturating_add(counted.events);
            }
            if domain == OWN_DOMAIN && monitor == GAPS_MONITOR {
                stat.gaps = stat.gaps.saturating_add(counted.events);
            }
        }
        Ok(stat)
    }
}

impl JournalStat {
    fn add(&mut self, rows: &[MonitorRow]) {
        for row in rows {
            let name = (row.monitor.domain.to_string(), row.monitor.name.to_string());
            let counted = self.monitors.entry(name).or_default();
            counted.events = counted.events.saturating_add(row.events);
            counted.account.add(row.account);
        }
    }
}
