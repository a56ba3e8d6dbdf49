//! How a link ends: why, and what it owes the journal.

use tokio::time::Instant;
use tokio::time::timeout;

use super::CLOSE_TIMEOUT;
use super::Link;
use super::is_over;
use crate::journal::EncodedBlock;
use crate::monitor::gap::GapCause;
use crate::upstream::wire::{Wire, WireError};

/// How a link ended.
#[derive(Debug)]
pub(in crate::upstream) enum LinkEnd {
    /// It was asked to stop.
    Stopped,
    /// It was asked to close, and what it misses from now on has this cause.
    Closed { cause: GapCause },
    /// The connection is gone, or of no use; the reason for people, and a short name for metrics.
    Lost { reason: String, cause: &'static str },
}

/// The cause of a link that is lost because nothing comes.
pub(super) const SILENCE: &str = "silence";

impl Link<'_> {
    pub(super) fn gone(&mut self, error: Option<&WireError>, now: Instant) -> LinkEnd {
        let (reason, cause) = match error {
            None | Some(WireError::Closed) => {
                (self.closed_by.take().unwrap_or_else(|| "the upstream closed it".to_owned()), "closed")
            }
            Some(error @ WireError::TooLong { .. }) => {
                let reason = format!("{error}; raise `upstreams.{}.max_message` if it is meant", self.shared.name);
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "too_large")
            }
            Some(error @ (WireError::NotText(_) | WireError::Protocol { .. })) => {
                let reason = error.to_string();
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "protocol")
            }
            Some(error @ (WireError::Reset(_) | WireError::Io(_))) => (error.to_string(), "reset"),
            Some(WireError::Refused { reason, wait }) => {
                if let Some(wait) = wait {
                    self.shared.pace.hold_until(now, now + *wait);
                }
                (reason.clone(), "refused")
            }
            Some(error @ WireError::Other(_)) => (error.to_string(), "other"),
        };
        self.absorb(now);
        LinkEnd::Lost { reason, cause }
    }

    /// Hands everything to the journal, however long it takes, and says goodbye if there is still someone to hear it.
    pub(super) async fn finish(mut self, wire: &mut Wire, end: &LinkEnd) {
        let cause = match end {
            LinkEnd::Closed { cause } => *cause,
            LinkEnd::Lost { .. } if self.is_held() => GapCause::Backpressure,
            LinkEnd::Lost { cause: SILENCE, .. } => GapCause::Silence,
            LinkEnd::Lost { .. } => GapCause::Disconnect,
            // To be opened anew with other settings; where the daemon stops, the ledger knows.
            LinkEnd::Stopped => GapCause::Handover,
        };
        // Whatever the moment of a loss was, nothing came after the last burst. A link that is stopped has read until now.
        let until_now = matches!(end, LinkEnd::Stopped | LinkEnd::Closed { .. }) && !self.is_held();
        let whole_until = if until_now { self.shared.clock.stamp() } else { self.whole_until() };
        self.lose_in_force(whole_until, cause);
        self.beat(Instant::now());
        self.shared.status.leave_link(self.number, &self.subscriptions.carried().collect::<Vec<_>>());
        self.closed.extend(self.batcher.close());
        self.submit_waiting();
        while let Some(bytes) = self.waiting.front().map(EncodedBlock::bytes)
            && !is_over(&self.shared.journal)
        {
            self.shared.journal.room(bytes).await;
            self.submit_waiting();
        }
        if matches!(end, LinkEnd::Stopped | LinkEnd::Closed { .. }) && !self.receipts.is_empty() {
            // What is not told in time is sent again, and told by its id.
            timeout(CLOSE_TIMEOUT, self.settle_receipts(wire)).await.ok();
        }
        if matches!(end, LinkEnd::Stopped | LinkEnd::Closed { .. } | LinkEnd::Lost { cause: "closed", .. }) {
            // A peer that does not answer has been told all the same when the socket closes.
            timeout(CLOSE_TIMEOUT, wire.close()).await.ok();
        }
    }
}
