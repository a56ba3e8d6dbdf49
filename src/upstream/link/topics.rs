//! A link's topics: asked for, taken over and let go as the keeper says, and what became of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::Link;
use super::{Draining, resumed};
use crate::clock::UnixNanos;
use crate::dialect::{Resumption, TopicId};
use crate::monitor::gap::GapCause;
use crate::monitor::ledger::ResumedFrom;
use crate::monitor::reading::SubscriptionNews;
use crate::upstream::orders::Order;
use crate::upstream::orders::Report;
use crate::upstream::placement::DropReason;
use crate::upstream::placement::Step;
use crate::upstream::resume::ResumePoint;
use crate::upstream::status::TopicState;

/// How long a drained link is waited for to bring something, as proof that it was alive. Source: a guess.
const PROOF_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

impl Link<'_> {
    /// Asks for topics, and waits for each to be in force.
    pub(super) fn ask(&mut self, topics: &[TopicId]) {
        self.queue_outgoing();
        self.session.subscribe(topics, &mut self.outbox);
        self.queue_requests();
        self.subscriptions.asked(topics, Instant::now());
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        self.shared.status.set_on_link(self.number, topics.iter().copied(), &TopicState::Asked);
    }

    /// Does what the keeper says.
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Adopt(roster) => {
                self.batcher.adopt(Arc::clone(&roster), &mut self.closed);
                self.reading.adopt(Arc::clone(&roster));
                self.session.adopt(&roster.topics, &roster.plan);
                self.roster = roster;
                self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
                // For monitors that are new, or awake again, and want what is in force already.
                let at = self.shared.clock.stamp();
                self.cover(self.subscriptions.in_force().collect(), at, Instant::now());
            }
            Order::Step(Step::Take { mut topics, overlapping }) => {
                topics.retain(|topic| !self.subscriptions.carries(*topic));
                if overlapping {
                    for topic in &topics {
                        self.batcher.mark_handover(*topic, true);
                        self.joining.insert(*topic);
                    }
                }
                self.go_on_from(&topics);
                self.ask(&topics);
            }
            Order::Step(Step::Overlap { topics }) => {
                for topic in topics {
                    self.batcher.mark_handover(topic, true);
                }
            }
            Order::Step(Step::Alone { topics }) => {
                for topic in &topics {
                    self.batcher.mark_handover(*topic, false);
                    self.joining.remove(topic);
                }
            }
            Order::Step(Step::Drain { topics }) => {
                // One that is sent from now on: an answer to an earlier one says nothing of what came behind it.
                let (token, since) = (self.pings + 1, self.shared.clock.stamp());
                self.draining.push(Draining { token, since, answered: None, topics });
                self.next_ping = Instant::now();
            }
            Order::Step(Step::Drop { topics, why }) => self.drop_at_once(topics, why),
            Order::Renew(topics) => {
                self.queue_outgoing();
                self.session.unsubscribe(&topics, &mut self.outbox);
                self.queue_requests();
                self.reading.forget(&topics);
                self.ask(&topics);
            }
            // Heard where the link can end.
            Order::Close(_) => {}
            Order::Step(Step::Seen { mut topics }) => {
                // One that is still asked for here ends its gap when it is acknowledged.
                let in_force: BTreeSet<TopicId> = self.subscriptions.in_force().collect();
                topics.retain(|topic| in_force.contains(topic));
                let at = self.shared.clock.stamp();
                self.cover(topics, at, Instant::now());
            }
        }
    }

    /// Topics that were lost elsewhere are asked for from where they were durable last, where the upstream can do that within
    /// a connection, and where what comes twice will be told.
    pub(super) fn go_on_from(&mut self, topics: &[TopicId]) {
        let Some(point) = ResumePoint::of(self.shared, &self.roster, topics) else { return };
        let by_opening = self.shared.dialect.resumption().is_some_and(Resumption::is_by_opening);
        if !by_opening && point.is_remembered(self.shared) {
            self.session.resume_from(&point.point);
            self.resumed.extend(resumed(topics, Some(point)));
        }
    }

    pub(super) fn drop_at_once(&mut self, mut topics: Vec<TopicId>, why: DropReason) {
        topics.retain(|topic| self.subscriptions.carries(*topic));
        let cause = match why {
            DropReason::Moved => Some(GapCause::Handover),
            DropReason::LeftOut => Some(GapCause::LeftOut),
            DropReason::Unwanted => None,
        };
        if let Some(cause) = cause {
            let live: BTreeSet<TopicId> = self.subscriptions.in_force().collect();
            // Of a topic that comes over another link as well nothing is missed.
            let lost = topics.iter().copied().filter(|topic| live.contains(topic) && !self.joining.contains(topic));
            let lost: Vec<TopicId> = lost.collect();
            let start = self.last_seen.unwrap_or_else(|| self.shared.clock.stamp());
            self.lose(&lost, start, cause);
        }
        self.let_go(topics);
    }

    /// Lets go what was drained. That the upstream answers a ping does not say that it sent what it had: only a frame that came
    /// after the other link had the topics in force does. Where none comes, what was not seen since the last one is a gap.
    pub(super) fn let_go_drained(&mut self, now: Instant) {
        let proven = self.last_seen;
        let done = |drain: &mut Draining| {
            drain.answered.is_some_and(|at| proven.is_some_and(|seen| seen > drain.since) || now >= at + PROOF_WAIT)
        };
        let drained: Vec<Draining> = self.draining.extract_if(.., done).collect();
        for Draining { since, mut topics, .. } in drained {
            topics.retain(|topic| self.subscriptions.carries(*topic));
            if proven.is_none_or(|seen| seen <= since) {
                let live: BTreeSet<TopicId> = self.subscriptions.in_force().collect();
                let lost: Vec<TopicId> = topics.iter().copied().filter(|topic| live.contains(topic)).collect();
                self.lose(&lost, proven.unwrap_or(since), GapCause::Handover);
            }
            self.let_go(topics);
        }
    }

    /// Ends topics here and says so.
    pub(super) fn let_go(&mut self, topics: Vec<TopicId>) {
        self.queue_outgoing();
        self.session.unsubscribe(&topics, &mut self.outbox);
        self.queue_requests();
        self.reading.forget(&topics);
        self.subscriptions.left(&topics);
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        for topic in &topics {
            self.batcher.mark_handover(*topic, false);
            self.joining.remove(topic);
        }
        self.shared.status.leave_link(self.number, &topics);
        self.report(Report::Left { slot: self.number, topics });
    }

    pub(super) fn report(&mut self, report: Report) {
        self.unsent.push_back(report);
    }

    /// Topics that were to come over from another link have, or have been waited for long enough.
    pub(super) fn joined(&mut self, topics: impl Iterator<Item = TopicId>) {
        let joined: Vec<TopicId> = topics.filter(|topic| self.joining.remove(topic)).collect();
        if !joined.is_empty() {
            self.report(Report::Up { slot: self.number, topics: joined });
        }
    }

    /// Topics are in force since `at`: records what they missed before, or that they are watched from now on.
    pub(super) fn cover(&mut self, topics: Vec<TopicId>, at: UnixNanos, now: Instant) {
        let mut together: Vec<(Option<Arc<ResumedFrom>>, Vec<TopicId>)> = Vec::new();
        for topic in topics {
            let resumed = self.resumed.remove(&topic);
            match together.iter_mut().find(|(known, _)| *known == resumed) {
                Some((_, topics)) => topics.push(topic),
                None => together.push((resumed, vec![topic])),
            }
        }
        for (resumed, topics) in together {
            let records = self.shared.ledger().covered(&self.roster, topics, at, resumed.as_deref());
            self.batcher.record_ledger(&records, at, now, &mut self.closed);
        }
    }

    /// Topics are not in force any more since `start`.
    pub(super) fn lose(&mut self, topics: &[TopicId], start: UnixNanos, cause: GapCause) {
        let records = self.shared.ledger().lost(&self.roster, topics.iter().copied(), start, cause);
        self.batcher.record_ledger(&records, self.shared.clock.stamp(), Instant::now(), &mut self.closed);
    }

    pub(super) fn note(&mut self, news: SubscriptionNews) {
        match news {
            SubscriptionNews::Live(topic) => {
                if self.subscriptions.live(topic) {
                    self.shared.status.set_on_link(self.number, [topic], &TopicState::Live);
                }
            }
            SubscriptionNews::Refused(topics, reason) => {
                let reason = self.scrubbed(reason);
                for topic in &topics {
                    self.subscriptions.refused(*topic);
                }
                let refused = TopicState::Refused(reason.clone());
                self.shared.status.set_on_link(self.number, topics.iter().copied(), &refused);
                let joining: Vec<TopicId> = topics.iter().copied().filter(|topic| self.joining.remove(topic)).collect();
                // One that comes over another link goes on there.
                let lost: Vec<TopicId> = topics.iter().copied().filter(|topic| !joining.contains(topic)).collect();
                self.lose(&lost, self.received, GapCause::Refused);
                if !joining.is_empty() {
                    self.report(Report::Refused { slot: self.number, topics: joining });
                }
                self.shared.metrics.subscriptions_refused(topics.len().max(1));
                let names: Vec<&str> = topics.iter().map(|topic| &**self.roster.topic_name(*topic)).collect();
                tracing::error!(
                    upstream = %self.shared.name, link = self.number, topics = %names.join(", "), reason,
                    "the upstream refused a subscription; check the topic's wording and your rights there"
                );
                self.shared.status.update_link(self.number, |link| link.last_error = Some(reason));
            }
        }
    }

    pub(super) fn check_subscriptions(&mut self, now: Instant) {
        let overdue = self.subscriptions.check(now);
        if !overdue.again.is_empty() {
            tracing::warn!(
                upstream = %self.shared.name, link = self.number, topics = overdue.again.len(),
                "subscriptions unanswered for {:?}; asking once more", self.shared.pool.confirm_timeout
            );
            self.queue_outgoing();
            self.session.subscribe(&overdue.again, &mut self.outbox);
            self.queue_requests();
        }
        if !overdue.given_up.is_empty() {
            let names: Vec<&str> =
                overdue.given_up.iter().take(10).map(|topic| &**self.roster.topic_name(*topic)).collect();
            tracing::warn!(
                upstream = %self.shared.name, link = self.number, topics = %names.join(", "), count = overdue.given_up.len(),
                "subscriptions neither acknowledged nor refused, and no data came; the feed may be quiet, or the topic unknown"
            );
            let given_up = overdue.given_up;
            self.shared.status.set_on_link(self.number, given_up.iter().copied(), &TopicState::Unconfirmed);
            self.joined(given_up.into_iter());
        }
    }
}
