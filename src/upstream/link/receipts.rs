//! What an upstream waits to hear of: acknowledgements that go out when what they are about is durable, and not before.

use std::collections::VecDeque;
use std::future::poll_fn;

use super::Link;
use crate::dialect::Receipt;
use crate::journal::Awaited;
use crate::pipeline::batcher::Absorbed;
use crate::upstream::wire::Wire;

/// Receipts that are not given yet, oldest first. How many there may be the upstream bounds, by what it sends without them; an
/// entry a burst.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    waiting: VecDeque<(Awaited, Vec<Receipt>)>,
}

impl Receipts {
    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What the oldest waits for.
    pub(super) fn next(&self) -> Option<Awaited> {
        self.waiting.front().map(|(awaited, _)| awaited.clone())
    }

    /// All that may be given now. In order: what a broker is told out of turn it may not take.
    fn take_durable(&mut self) -> Vec<Receipt> {
        let mut durable = Vec::new();
        while let Some((_, receipts)) = self.waiting.pop_front_if(|(awaited, _)| awaited.is_durable()) {
            durable.extend(receipts);
        }
        durable
    }
}

impl Link<'_> {
    /// Notes what the burst that was absorbed last must be acknowledged for.
    pub(super) fn note_receipts(&mut self, absorbed: Absorbed, receipts: Vec<Receipt>) {
        if !receipts.is_empty() {
            self.receipts.waiting.push_back((self.batcher.awaited(absorbed.repeats > 0), receipts));
        }
    }

    /// Waits for what is on its way to the disk, and gives the receipts, so that an end in order leaves nothing to be sent again.
    pub(super) async fn settle_receipts(&mut self, wire: &mut Wire) {
        while let Some(awaited) = self.receipts.next() {
            awaited.durable().await;
            self.give_receipts();
        }
        self.queue_outgoing();
        for message in std::mem::take(&mut self.outgoing) {
            // Who cannot be told will send it again.
            let sent = poll_fn(|cx| wire.poll_ready(cx)).await.and_then(|()| wire.start_send(message));
            if sent.is_err() {
                return;
            }
        }
        // As above.
        poll_fn(|cx| wire.poll_flush(cx)).await.ok();
    }

    /// Gives what is due.
    pub(super) fn give_receipts(&mut self) {
        let durable = self.receipts.take_durable();
        if !durable.is_empty() {
            self.session.durable(&durable, &mut self.outbox);
        }
    }
}
