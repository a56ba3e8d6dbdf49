//! What a link says, at the pace that the upstream allows, and what it asks to know that the other side is there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use futures_util::Sink;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;

use super::Link;
use crate::dialect::OutFrame;
use crate::upstream::connect::Socket;
use crate::upstream::pace::Sending;

/// A ping that is not answered.
#[derive(Debug)]
pub(super) struct Ping {
    pub(super) token: u64,
    pub(super) queued: Instant,
    /// None: the pace of sending holds it up.
    pub(super) sent: Option<Instant>,
}

impl Ping {
    /// When it should have been answered. A peer that does not even take it in three times that is not reading.
    pub(super) fn deadline(&self, limit: Duration) -> Instant {
        self.sent.map_or(self.queued + limit * 3, |sent| sent + limit)
    }
}

fn message_of(frame: OutFrame) -> Message {
    match frame {
        OutFrame::Text(text) => Message::text(text),
        OutFrame::Binary(bytes) => Message::binary(bytes),
    }
}

impl Link<'_> {
    pub(super) fn poll_send(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Result<bool, tungstenite::Error> {
        let mut sent = false;
        while let Some((sending, None)) = self.next_sending(Instant::now()) {
            match Pin::new(&mut *socket).poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => break,
            }
            let queue = if sending == Sending::Other { &mut self.outgoing } else { &mut self.requests };
            let Some(message) = queue.pop_front() else { break };
            let now = Instant::now();
            if let (Message::Ping(_), Some(ping)) = (&message, &mut self.ping) {
                ping.sent = Some(now);
            }
            Pin::new(&mut *socket).start_send(message)?;
            self.pace.sent(sending, now);
            self.last_sent = sending;
            self.unflushed = true;
            sent = true;
        }
        if self.unflushed {
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(sent)
    }

    /// What is to be sent next, and when where that is not now.
    pub(super) fn next_sending(&self, now: Instant) -> Option<(Sending, Option<Instant>)> {
        let due = |queue: &VecDeque<Message>, sending| {
            (!queue.is_empty()).then(|| (sending, self.pace.next_at(sending, now)))
        };
        match (due(&self.outgoing, Sending::Other), due(&self.requests, Sending::Subscription)) {
            // Both at once take turns, so that neither has to wait for an end of the other.
            (Some((_, None)), Some(request @ (_, None))) if self.last_sent == Sending::Other => Some(request),
            (Some(other), Some(request)) => Some(if other.1 <= request.1 { other } else { request }),
            (other, request) => other.or(request),
        }
    }

    pub(super) fn queue_outgoing(&mut self) {
        self.outgoing.extend(self.outbox.drain(..).map(message_of));
    }

    pub(super) fn queue_requests(&mut self) {
        self.requests.extend(self.outbox.drain(..).map(message_of));
    }

    pub(super) fn pong(&mut self, payload: &[u8]) {
        // Any other pong answers no ping of ours and proves nothing about this moment.
        if let Some(Ping { token, sent: Some(at), .. }) = self.ping
            && payload == token.to_le_bytes()
        {
            self.ping = None;
            let latency = at.elapsed();
            self.shared.metrics.ping_answered(latency);
            self.health.pong(latency);
            self.shared.status.update_link(self.number, |link| link.latency = Some(latency));
            let answered = Some(Instant::now());
            for drain in self.draining.iter_mut().filter(|drain| drain.token <= token) {
                drain.answered = drain.answered.or(answered);
            }
        }
    }
}
