//! Events of the daemon's own that no link brings: how a record becomes one, and what records have in common.
//!
//! They are journaled under the domain `_sluice`, one monitor a kind, with a JSON object as payload. Names of fields are
//! stable; readers pass over those that they do not know. So a part that comes later and has something to tell adds a
//! field of its own: to [`super::snapshot::StateRecord`] what is live and must outlive old segments (open alerts,
//! breakers held open, a rollout), to [`super::history::MetricsRecord`] figures. What happens at a moment is an event under a
//! monitor of its own, made by [`event_block`].

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::gap_log::LedgerIdentities;
use super::watched::Watched;
use crate::clock::UnixNanos;
use crate::journal::{
    AccountDelta, BlockBuilder, EncodedBlock, Encoder, EventId, MonitorIdentity, NewEvent, Part, Path, SourceSlot,
};
use crate::monitor::gap::{COVERAGE_TOPIC, GAP_TOPIC, LedgerRecord};
use crate::monitor::totals::TotalsNow;

/// What was counted of a monitor, or of frames of an upstream that belong to none (`upstream:NAME`), since the start. As in
/// the journal's account, messages = events + repeats + control + quarantined; what still waits to be written is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CountsRecord {
    pub(super) monitor: Arc<str>,
    pub(super) domain: Arc<str>,
    pub(super) upstream: String,
    pub(super) messages: u64,
    pub(super) events: u64,
    pub(super) repeats: u64,
    pub(super) control: u64,
    pub(super) quarantined: u64,
}

impl CountsRecord {
    /// Of every monitor, and of every upstream's own.
    pub(super) fn of_all(watched: &[Watched]) -> Vec<Self> {
        let of = |Watched { roster, .. }: &Watched| {
            let monitors = roster.monitors.iter().map(|monitor| (&monitor.identity, &monitor.totals));
            let counts = monitors.chain([(&roster.upstream_identity, &roster.upstream_totals)]);
            counts.map(|(identity, totals)| Self::new(identity, &roster.upstream, totals.now())).collect::<Vec<_>>()
        };
        // Once a monitor, however many upstreams bring it the same.
        let mut places: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
        let mut records: Vec<Self> = Vec::new();
        for record in watched.iter().flat_map(of) {
            let place =
                *places.entry((Arc::clone(&record.domain), Arc::clone(&record.monitor))).or_insert(records.len());
            match records.get_mut(place) {
                // A unit more of the same upstream.
                Some(known) if known.upstream.split(", ").any(|name| name == record.upstream) => {}
                Some(known) => known.upstream = format!("{}, {}", known.upstream, record.upstream),
                None => records.push(record),
            }
        }
        records
    }

    fn new(identity: &MonitorIdentity, upstream: &str, totals: TotalsNow) -> Self {
        let TotalsNow { messages, events, repeats, control, quarantined, conflicts: _ } = totals;
        Self {
            monitor: Arc::clone(&identity.name),
            domain: Arc::clone(&identity.domain),
            upstream: upstream.to_owned(),
            messages,
            events,
            repeats,
            control,
            quarantined,
        }
    }
}

/// An event of the daemon's own that goes with others.
pub(super) struct OwnEvent {
    monitor: Arc<MonitorIdentity>,
    topic: &'static str,
    payload: Vec<u8>,
}

impl OwnEvent {
    /// With `record` as its payload.
    pub(super) fn new(monitor: &Arc<MonitorIdentity>, topic: &'static str, record: &impl Serialize) -> Self {
        // Strings and numbers only: serialization has nothing to refuse.
        let payload = serde_json::to_vec(record).unwrap_or_default();
        Self { monitor: Arc::clone(monitor), topic, payload }
    }
}

/// A block of one event with `record` as its payload. Memory is taken for it alone: there is one a minute, and one a segment.
pub(super) fn event_block(
    monitor: &Arc<MonitorIdentity>,
    topic: &'static str,
    record: &impl Serialize,
    received: UnixNanos,
) -> EncodedBlock {
    events_block(&[OwnEvent::new(monitor, topic, record)], received)
}

/// A block of several, so that all of them become durable or none.
pub(super) fn events_block(events: &[OwnEvent], received: UnixNanos) -> EncodedBlock {
    let mut builder = BlockBuilder::new(Path::Smart);
    for (slot, OwnEvent { monitor, topic, payload }) in (0..).zip(events) {
        let source = builder.source(monitor, topic, SourceSlot(slot));
        builder.account(monitor, AccountDelta { messages: 1, ..AccountDelta::default() });
        builder.push(&NewEvent {
            source,
            received,
            event_time: None,
            payload,
            id: EventId::None,
            key: None,
            hash: None,
            conflict: false,
            handover: false,
        });
    }
    builder.finish(&mut Encoder::new())
}

/// A block of the gap ledger's records.
pub(super) fn ledger_block<'a>(
    records: impl IntoIterator<Item = &'a LedgerRecord>,
    identities: &LedgerIdentities,
    received: UnixNanos,
) -> EncodedBlock {
    let mut builder = BlockBuilder::new(Path::Smart);
    for record in records {
        let (monitor, topic, slot) = match record {
            LedgerRecord::Gap(_) => (&identities.gaps, GAP_TOPIC, 0),
            LedgerRecord::Coverage(_) => (&identities.coverage, COVERAGE_TOPIC, 1),
        };
        let source = builder.source(monitor, topic, SourceSlot(slot));
        builder.account(monitor, AccountDelta { messages: 1, ..AccountDelta::default() });
        builder.push(&NewEvent {
            source,
            received,
            event_time: None,
            payload: &record.to_payload(),
            id: EventId::None,
            key: Some(Part::Literal(record.monitor().as_bytes())),
            hash: None,
            conflict: false,
            handover: false,
        });
    }
    builder.finish(&mut Encoder::new())
}
