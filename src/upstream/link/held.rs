//! Going on with a link that was opened beside another process's: what it has brought is read as if it came now.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Link;
use super::ending::LinkEnd;
use crate::dialect::TopicId;
use crate::upstream::prepare::{Held, HeldEnd, Taken};
use crate::upstream::status::TopicState;

impl Link<'_> {
    /// Takes what was held. Gives the end of the link, if it was lost before.
    pub(super) fn go_on_with(&mut self, held: Held) -> Option<LinkEnd> {
        let Held { session, asked, unanswered, bursts, outgoing, requests, unflushed, pace, pings, .. } = held;
        self.session = session;
        // Topics have the same numbers; there may be more of them now.
        self.session.adopt(&self.roster.topics, &self.roster.plan);
        (self.outgoing, self.requests, self.unflushed) = (outgoing, requests, unflushed);
        (self.pace, self.pings, self.next_keep_alive) = (pace, pings, held.next_keep_alive);
        let wanted: BTreeSet<TopicId> = std::mem::take(&mut self.begin).into_iter().collect();
        let (carried, unwanted): (Vec<TopicId>, Vec<TopicId>) =
            asked.iter().copied().partition(|topic| wanted.contains(topic));
        let more: Vec<TopicId> = wanted.iter().copied().filter(|topic| !asked.contains(topic)).collect();
        self.subscriptions.asked(&carried, Instant::now());
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        self.shared.status.set_on_link(self.number, carried.iter().copied(), &TopicState::Asked);

        let let_go = self.shared.let_go_at();
        let mut taken = Taken { links: 1, ..Taken::default() };
        let mut beside = true;
        // On the legacy path too: the other process has brought some of it.
        self.batcher.drop_repeats();
        self.mark(&carried, true);
        for burst in bursts {
            if beside && let_go.is_some_and(|let_go| burst.received > let_go) {
                // The other process has brought nothing of this.
                self.mark(&carried, false);
                beside = false;
            }
            self.received = self.shared.clock.stamp();
            self.reading.begin(self.received);
            burst.say_to(&mut self.reading);
            self.frames += burst.frames;
            self.frame_bytes += burst.frame_bytes;
            let absorbed = self.absorb_with(Instant::now(), burst.received, burst.tokens, burst.receipts);
            taken.frames += burst.frames;
            taken.events += u64::from(absorbed.events);
            taken.repeats += u64::from(absorbed.repeats);
        }
        self.mark(&carried, false);
        self.shared.note_taken(taken);

        let live: BTreeSet<TopicId> = self.subscriptions.in_force().collect();
        let settled = |topic: &TopicId| wanted.contains(topic) && !live.contains(topic);
        let unanswered: Vec<TopicId> = unanswered.into_iter().filter(settled).collect();
        for topic in &unanswered {
            // Waited for long enough already; data of it is welcome all the same.
            self.subscriptions.refused(*topic);
        }
        self.shared.status.set_on_link(self.number, unanswered, &TopicState::Unconfirmed);
        if !unwanted.is_empty() {
            self.queue_outgoing();
            self.session.unsubscribe(&unwanted, &mut self.outbox);
            self.queue_requests();
            self.reading.forget(&unwanted);
        }
        if !more.is_empty() {
            self.ask(&more);
        }
        if let Some(proved) = &mut self.proved {
            proved.goes_on_with(&self.shared.credentials);
        }
        let lost = held.ended.map(|HeldEnd { reason, cause }| LinkEnd::Lost { reason, cause });
        let broken = self.reading.take_broken().map(|reason| LinkEnd::Lost { reason, cause: "protocol" });
        let closed = self.closed_by.take().map(|reason| LinkEnd::Lost { reason, cause: "closed" });
        tracing::debug!(upstream = %self.shared.name, link = self.number, ?taken, "went on with a link that was opened beside");
        lost.or(broken).or(closed)
    }

    /// Events without ids that come while the other process takes them as well are marked.
    fn mark(&mut self, topics: &[TopicId], marked: bool) {
        for topic in topics {
            self.batcher.mark_handover(*topic, marked);
        }
    }
}
