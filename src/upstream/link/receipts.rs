//! What an upstream waits to hear of: acknowledgements that go out when what they are about is durable, and not before.

use std::collections::VecDeque;

use super::Link;
use crate::dialect::Receipt;
use crate::journal::Awaited;
use crate::pipeline::batcher::Absorbed;

/// Receipts that are not given yet, oldest first. How many there may be the upstream bounds, by what it sends without them; an
/// entry a burst.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    waiting: VecDeque<(Awaited, Vec<Receipt>)>,
}

impl Receipts {
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
    pub(super) fn note_receipts(&mut self, absorbed: Absorbed) {
        let receipts = self.session.take_receipts();
        if !receipts.is_empty() {
            self.receipts.waiting.push_back((self.batcher.awaited(absorbed.repeats > 0), receipts));
        }
    }

    /// Gives what is due.
    pub(super) fn give_receipts(&mut self) {
        let durable = self.receipts.take_durable();
        if !durable.is_empty() {
            self.session.durable(&durable, &mut self.outbox);
        }
    }
}
