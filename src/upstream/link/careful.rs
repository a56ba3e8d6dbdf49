//! The legacy path's way with a message: it is read, journaled in a block of its own, and the next one is read when it is durable.

use tokio::time::Instant;

use super::Link;
use crate::journal::Path;

impl Link<'_> {
    /// Whether each message is to be durable before the next one is read. A link that only brings what is under way, since the other
    /// path has its monitor already, need not be: it should be done soon.
    pub(super) fn is_careful(&self) -> bool {
        let roster = &self.roster;
        let drains = |path| {
            let crossings = roster.monitors.iter().filter_map(|monitor| monitor.crossing.as_ref());
            roster.crosses && crossings.into_iter().any(|crossing| crossing.drains(path))
        };
        roster.path == Path::Legacy && !drains(Path::Legacy)
    }

    /// Whether nothing is read for now: the journal has too much of the link's, or the last message is not durable yet. What is not
    /// read says nothing of the upstream.
    pub(super) fn reads_nothing(&self) -> bool {
        self.is_held() || self.unsafe_yet.is_some()
    }

    /// The last message is durable. The answer to a ping may lie unread since; another one is asked when its time is over.
    pub(super) fn now_safe(&mut self, now: Instant) {
        self.unsafe_yet = None;
        if self.ping.as_ref().is_some_and(|ping| now >= ping.deadline(self.shared.pool.pong_timeout)) {
            self.ping = None;
            self.next_ping = now;
        }
    }

    /// Gives what was read to the journal, and has the next message wait for it. Counts alone need not: they are not worth a sync.
    pub(super) fn make_safe(&mut self) {
        if self.batcher.events() > 0 {
            self.closed.extend(self.batcher.close());
            self.unsafe_yet = Some(self.batcher.awaited(false));
        }
        self.submit_waiting();
    }
}
