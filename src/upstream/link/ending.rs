//! How a link ends: why, and what it owes the journal.

use tokio::time::Instant;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::CapacityError;

use super::CLOSE_TIMEOUT;
use super::Link;
use super::is_over;
use crate::journal::EncodedBlock;
use crate::monitor::gap::GapCause;
use crate::upstream::connect::Socket;

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
    pub(super) fn gone(&mut self, error: Option<&tungstenite::Error>, now: Instant) -> LinkEnd {
        let (reason, cause) = match error {
            None | Some(tungstenite::Error::ConnectionClosed) => {
                (self.closed_by.take().unwrap_or_else(|| "the upstream closed it".to_owned()), "closed")
            }
            Some(tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size })) => {
                let reason = format!(
                    "a message of {size} bytes is above the limit of {max_size}; raise `upstreams.{}.max_message` if it is meant",
                    self.shared.name
                );
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "too_large")
            }
            Some(tungstenite::Error::Utf8(detail)) => {
                let reason = format!("a text frame is not UTF-8: {detail}");
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "protocol")
            }
            Some(
                error @ tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => (error.to_string(), "reset"),
            Some(error @ tungstenite::Error::Protocol(_)) => {
                let reason = format!("it broke the WebSocket protocol: {error}");
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "protocol")
            }
            Some(tungstenite::Error::Io(error)) => (format!("the connection broke: {error}"), "reset"),
            Some(error) => (error.to_string(), "other"),
        };
        self.absorb(now);
        LinkEnd::Lost { reason, cause }
    }

    /// Hands everything to the journal, however long it takes, and says goodbye if there is still someone to hear it.
    pub(super) async fn finish(mut self, socket: &mut Socket, end: &LinkEnd) {
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
        if matches!(end, LinkEnd::Stopped | LinkEnd::Closed { .. } | LinkEnd::Lost { cause: "closed", .. }) {
            // A peer that does not answer has been told all the same when the socket closes.
            timeout(CLOSE_TIMEOUT, socket.close(None)).await.ok();
        }
    }
}
