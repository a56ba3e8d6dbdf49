//! Which events somebody wants to see: the filters of `query`, `tail`, and the API.

use super::block::{Event, TimeRange};
use super::identity::{OWN_DOMAIN, Path, SHADOW_DOMAINS};
use super::{BlockFilter, JournalError, JournalReader, Offset};
use crate::clock::UnixNanos;

/// What is wanted. Of names, none means all.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFilter<'a> {
    /// Only these monitors.
    pub monitors: &'a [String],
    /// Only these domains.
    pub domains: &'a [String],
    /// Only these topics.
    pub topics: &'a [String],
    /// Only these keys.
    pub keys: &'a [String],
    /// Only what came by this path.
    pub path: Option<Path>,
    /// Received at or after.
    pub since: Option<UnixNanos>,
    /// Received before.
    pub until: Option<UnixNanos>,
    /// `since` and `until` mean the event's own time.
    pub event_time: bool,
    /// From this offset on.
    pub from: Option<Offset>,
    /// Up to, but without, this offset.
    pub to: Option<Offset>,
}

impl EventFilter<'_> {
    /// What whole blocks can be passed over by.
    pub fn block_filter(&self) -> BlockFilter {
        let times = (self.since.is_some() || self.until.is_some()).then(|| TimeRange {
            least: self.since.unwrap_or(UnixNanos(i64::MIN)),
            greatest: self.until.map_or(UnixNanos(i64::MAX), |until| UnixNanos(until.0.saturating_sub(1))),
        });
        BlockFilter {
            monitors: self.monitors.to_vec(),
            domains: self.domains.to_vec(),
            received: times.filter(|_| !self.event_time),
            event_time: times.filter(|_| self.event_time),
        }
    }

    /// Has a reader begin where the first of them may be.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn seek(&self, reader: &mut JournalReader) -> Result<(), JournalError> {
        match (self.from, self.since) {
            (Some(offset), _) => reader.seek(offset),
            (None, Some(since)) if !self.event_time => reader.seek_received(since)?,
            _ => reader.seek(reader.earliest()?),
        }
        Ok(())
    }

    /// Whether an event is meant. The daemon's own events are, when their domain or monitor is named.
    pub fn takes(&self, event: &Event<'_>) -> bool {
        if event.domain == OWN_DOMAIN && self.domains.is_empty() && self.monitors.is_empty() {
            return false;
        }
        // A shadow has its monitor's name.
        if event.domain.starts_with(SHADOW_DOMAINS) && self.domains.is_empty() {
            return false;
        }
        if self.path.is_some_and(|path| event.path != path) || self.from.is_some_and(|from| event.offset < from) {
            return false;
        }
        let named = |names: &[String], name: &str| names.iter().any(|known| known == name);
        let wanted = |names: &[String], name: &str| names.is_empty() || named(names, name);
        if !wanted(self.monitors, event.monitor)
            || !wanted(self.domains, event.domain)
            || !wanted(self.topics, event.topic)
        {
            return false;
        }
        if self.since.is_some() || self.until.is_some() {
            let time = if self.event_time { event.event_time } else { Some(event.received) };
            let Some(time) = time else { return false };
            if self.since.is_some_and(|since| time < since) || self.until.is_some_and(|until| time >= until) {
                return false;
            }
        }
        self.keys.is_empty() || event.key().is_some_and(|key| named(self.keys, key.as_ref()))
    }

    /// Whether an offset lies behind all of them.
    pub fn is_past(&self, offset: Offset) -> bool {
        self.to.is_some_and(|to| offset >= to)
    }
}
