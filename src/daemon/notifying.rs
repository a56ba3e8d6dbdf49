//! What became of notices, on record: an event of the daemon's own each.

use std::sync::Arc;

use super::own_events::event_block;
use crate::alert::notify::{Delivery, Notifier};
use crate::clock::ReceivedClock;
use crate::journal::{Journal, MonitorIdentity};
use crate::telemetry;

/// Their topic.
const DELIVERY_TOPIC: &str = "delivery";

/// Has every delivery journaled. One that the journal has no room for is among the last ones only, and counted.
pub(super) fn record_deliveries(
    notifier: &Notifier,
    journal: &Arc<Journal>,
    clock: &Arc<ReceivedClock>,
    identity: Arc<MonitorIdentity>,
) {
    // The notifier ends before the journal is closed, and must not keep it open.
    let (journal, clock) = (Arc::downgrade(journal), Arc::clone(clock));
    notifier.listen(move |delivery: &Delivery| {
        let Some(journal) = journal.upgrade() else { return };
        if journal.try_submit_own(event_block(&identity, DELIVERY_TOPIC, delivery, clock.stamp())).is_err() {
            telemetry::own_event_refused();
        }
    });
}
