//! Where a runner is in the journal: what it has read ahead, what it is writing, and when the next batch is due.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::reading::ReadAhead;
use crate::journal::Offset;

/// Where nothing is wanted the cursor moves this often, and not with every block of the journal.
pub(super) const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// Where a runner is in the journal.
pub(super) struct Following {
    pub(super) ahead: ReadAhead,
    /// As the store has it.
    pub(super) cursor: Offset,
    /// Whether the store has any cursor yet.
    pub(super) known: bool,
    /// When it was last moved.
    pub(super) moved: Instant,
    /// What is being written, in order: one batch, or what was made of it when it was refused.
    pub(super) work: VecDeque<Batch>,
}

impl Following {
    /// Nothing before this is left to take.
    pub(super) fn settled(&self) -> Offset {
        if self.work.is_empty() && self.ahead.rows() == 0 { self.ahead.reached().max(self.cursor) } else { self.cursor }
    }

    /// When the next batch is due; none as long as there is nothing for one.
    pub(super) fn due(&self, now: Instant, size: usize, flush_interval: Duration, draining: bool) -> Option<Instant> {
        let rows = self.ahead.rows();
        if let Some(since) = self.ahead.waiting_since() {
            let at_once = draining || rows >= size || self.ahead.is_full();
            return Some(if at_once { now } else { since + flush_interval });
        }
        (self.ahead.reached() > self.cursor).then(|| if draining { now } else { self.moved + CURSOR_INTERVAL })
    }
}
