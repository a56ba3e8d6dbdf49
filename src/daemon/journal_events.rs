//! What a full disk made the journal delete unread, told in the journal itself.

use std::sync::Arc;

use serde::Serialize;

use super::own_events::event_block;
use crate::clock::ReceivedClock;
use crate::journal::{DroppedSpan, EncodedBlock, MonitorIdentity};

/// The topic of such events, under the domain `_sluice`.
const DROPPED_TOPIC: &str = "dropped";

/// Events that are gone, as the journal holds it. What a sink then leaves out it tells by itself, when it gets there.
#[derive(Debug, Serialize)]
struct DroppedRecord<'a> {
    cause: &'static str,
    from: u64,
    to: u64,
    /// Who still held some of them: what a sink had taken long ago, within its `rewind`, is among them too.
    holders: Vec<HolderRecord<'a>>,
    time: String,
}

#[derive(Debug, Serialize)]
struct HolderRecord<'a> {
    who: &'a str,
    held_from: u64,
}

/// Makes the records. Belongs to the journal's writer, so it holds nothing that holds the journal.
pub(super) struct DropTeller {
    monitor: Arc<MonitorIdentity>,
    clock: Arc<ReceivedClock>,
}

impl DropTeller {
    /// Under `monitor`.
    pub(super) fn new(monitor: Arc<MonitorIdentity>, clock: Arc<ReceivedClock>) -> Self {
        Self { monitor, clock }
    }

    /// The record, as a block.
    pub(super) fn block(&self, span: &DroppedSpan) -> EncodedBlock {
        let received = self.clock.stamp();
        let holders = span.holders.iter().map(|(who, from)| HolderRecord { who, held_from: from.0 });
        let record = DroppedRecord {
            cause: "drop_oldest",
            from: span.from.0,
            to: span.to.0,
            holders: holders.collect(),
            time: received.to_string(),
        };
        event_block(&self.monitor, DROPPED_TOPIC, &record, received)
    }
}

/// Says what is about to be deleted, and who loses it, before it is.
pub(super) fn announce(span: &DroppedSpan) {
    let DroppedSpan { from, to, holders } = span;
    if holders.is_empty() {
        tracing::warn!(%from, %to, "the disk is full: the oldest events are deleted, as journal.when_full says; nobody holds them");
    }
    for (who, held) in holders {
        tracing::error!(
            %from, %to, held_from = %held,
            "the disk is full: events are deleted, as journal.when_full says; {who} loses those that it has not taken"
        );
    }
}
