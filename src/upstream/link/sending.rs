//! What a link says, at the pace that the upstream allows, and what it asks to know that the other side is there.

use std::collections::VecDeque;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use crate::upstream::pace::Sending;
use crate::upstream::wire::{Outgoing, Wire, WireError};

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

impl Link<'_> {
    pub(super) fn poll_send(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Result<bool, WireError> {
        let mut sent = false;
        while let Some((sending, None)) = self.next_sending(Instant::now()) {
            match wire.poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => break,
            }
            let queue = if sending == Sending::Other { &mut self.outgoing } else { &mut self.requests };
            let Some(message) = queue.pop_front() else { break };
            let now = Instant::now();
            if let (Outgoing::Ping(_), Some(ping)) = (&message, &mut self.ping) {
                ping.sent = Some(now);
            }
            wire.start_send(self.with_credentials(message))?;
            self.pace.sent(sending, now);
            self.last_sent = sending;
            self.unflushed = true;
            sent = true;
        }
        if self.unflushed {
            match wire.poll_flush(cx) {
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
        let due = |queue: &VecDeque<Outgoing>, sending| {
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
        self.outgoing.extend(self.outbox.drain(..).map(Outgoing::from));
    }

    pub(super) fn queue_requests(&mut self) {
        self.requests.extend(self.outbox.drain(..).map(Outgoing::from));
    }

    pub(super) fn pong(&mut self, answered: u64) {
        // Any other pong answers no ping of ours and proves nothing about this moment.
        if let Some(Ping { token, sent: Some(at), .. }) = self.ping
            && answered == token
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
