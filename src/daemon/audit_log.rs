//! What was changed over HTTP, and by whom, as events of the daemon's own.

use std::sync::Arc;

use super::own_events::event_block;
use crate::clock::ReceivedClock;
use crate::journal::{Journal, MonitorIdentity};
use crate::server::AuditRecord;

/// The topic of these events.
const CHANGE_TOPIC: &str = "change";

/// Where changes are written to.
pub(super) struct AuditLog {
    pub(super) monitor: Arc<MonitorIdentity>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<ReceivedClock>,
}

impl AuditLog {
    /// Notes one. Nothing is waited for: what the journal has no room for stays in the log alone.
    pub(super) fn note(&self, record: &AuditRecord) {
        let block = event_block(&self.monitor, CHANGE_TOPIC, record, self.clock.stamp());
        if self.journal.try_submit_own(block).is_err() {
            tracing::warn!(
                request_id = record.request_id,
                "a change is not on record in the journal, only in this log"
            );
        }
    }
}
