//! What is done once, told in the journal: its begin and its end.

use std::sync::Arc;

use super::own_events::event_block;
use crate::clock::ReceivedClock;
use crate::journal::{Journal, MonitorIdentity};
use crate::server::OperationRow;

/// The topic of these events, under the domain `_sluice`.
const OPERATIONS_TOPIC: &str = "operations";

/// Journals how operations stand. What the journal does not take now stays untold: the list of operations has it.
pub(super) struct OperationLog {
    pub(super) journal: Arc<Journal>,
    pub(super) identity: Arc<MonitorIdentity>,
    pub(super) clock: Arc<ReceivedClock>,
}

impl OperationLog {
    /// As it stands now.
    pub(super) fn tell(&self, row: &OperationRow) {
        let block = event_block(&self.identity, OPERATIONS_TOPIC, row, self.clock.stamp());
        if self.journal.try_submit_own(block).is_err() {
            crate::telemetry::own_event_refused();
        }
    }
}

impl std::fmt::Debug for OperationLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperationLog").finish_non_exhaustive()
    }
}
