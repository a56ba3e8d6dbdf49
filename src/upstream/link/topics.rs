//! A link's topics: asked for, taken over and let go as the keeper says, and what became of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use super::{Draining, Overlapping, resumed};
use crate::clock::UnixNanos;
use crate::dialect::{Resumption, TopicId};
use crate::monitor::gap::GapCause;
use crate::monitor::ledger::ResumedFrom;
use crate::monitor::meeting::Proof;
use crate::monitor::reading::SubscriptionNews;
use crate::upstream::meeting::Parting;
use crate::upstream::orders::Order;
use crate::upstream::orders::Report;
use crate::upstream::placement::DropReason;
use crate::upstream::placement::Step;
use crate::upstream::resume::ResumePoint;
use crate::upstream::status::TopicState;

/// How long a drained link is waited for to bring what the new one has brought. Source: a guess.
const PROOF_WAIT: Duration = Duration::from_secs(2);

/// An upstream that goes on with answers and heartbeats is not taken to hold messages back for longer. Source: a guess.
const BACKLOG_MAX: Duration = Duration::from_secs(10);

impl Link<'_> {
    /// Asks for topics, and waits for each to be in force.
    pub(super) fn ask(&mut self, topics: &[TopicId]) {
        self.queue_outgoing();
        self.session.subscribe(topics, &mut self.outbox);
        self.queue_requests();
        self.subscriptions.asked(topics, Instant::now());
        let now = self.shared.clock.stamp();
        self.handed_over.retain(|_, at| now.since(*at) < BACKLOG_MAX);
        let late: Vec<TopicId> = topics.iter().copied().filter(|topic| self.handed_over.contains_key(topic)).collect();
        self.reading.await_acknowledgement(&late);
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        self.shared.status.set_on_link(self.number, topics.iter().copied(), &TopicState::Asked);
    }

    /// Does what the keeper says.
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Adopt(roster) => {
                let in_force: Vec<TopicId> = self.subscriptions.in_force().collect();
                let left = self.shared.ledger().left(&self.roster, &roster, in_force, self.whole_until());
                self.batcher.record_ledger(&left, self.shared.clock.stamp(), Instant::now(), &mut self.closed);
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
                let whole_until = self.whole_until();
                for topic in topics {
                    self.batcher.mark_handover(topic, true);
                    self.overlapping.insert(topic, Overlapping { whole_until, over: None });
                }
            }
            Order::Step(Step::Alone { topics }) => {
                let over = self.shared.clock.stamp();
                for topic in &topics {
                    self.batcher.mark_handover(*topic, false);
                    self.joining.remove(topic);
                    if let Some(overlapping) = self.overlapping.get_mut(topic) {
                        overlapping.over = Some(over);
                    }
                }
                for drain in &mut self.draining {
                    drain.topics.retain(|topic| !topics.contains(topic));
                }
                self.draining.retain(|drain| !drain.topics.is_empty());
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
            self.batcher.drop_repeats();
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
            self.lose(&lost, self.whole_until(), cause);
        }
        self.let_go(topics);
    }

    /// Lets go what was drained: what both links have brought, and, when that was waited for long enough, what neither has brought,
    /// as long as the link is alive. Of what only the other one brings, what was under way here may be missing: that is a gap.
    pub(super) fn let_go_drained(&mut self, now: Instant) {
        let (number, last_seen) = (self.number, self.last_seen);
        let (mut done, mut unproven) = (Vec::new(), Vec::new());
        let Self { draining, subscriptions, shared, .. } = self;
        for Draining { since, answered, topics, .. } in draining.iter_mut() {
            let waited = answered.is_some_and(|at| now >= at + PROOF_WAIT);
            let alive = last_seen.is_some_and(|seen| seen > *since);
            topics.retain(|topic| {
                if !subscriptions.carries(*topic) {
                    return false;
                }
                match shared.meetings.standing(number, *topic) {
                    Parting::Unproven(_) if !waited => return true,
                    // The other link is gone: the keeper is about to say that the topic stays here.
                    Parting::Alone => return true,
                    Parting::Covered | Parting::Unproven(Proof::Once | Proof::Whole) => {}
                    Parting::Unproven(Proof::Quiet) if alive => {}
                    Parting::Unproven(_) => unproven.push(*topic),
                }
                done.push(*topic);
                false
            });
        }
        draining.retain(|drain| !drain.topics.is_empty());
        if done.is_empty() {
            return;
        }
        let live: BTreeSet<TopicId> = self.subscriptions.in_force().collect();
        let whole_until = self.whole_until();
        for topic in unproven.into_iter().filter(|topic| live.contains(topic)) {
            self.lose(&[topic], self.whole_alone(topic, whole_until), GapCause::Handover);
        }
        self.hand_over(done);
    }

    /// Until when this link has brought whatever the upstream had sent for it.
    pub(super) fn whole_until(&self) -> UnixNanos {
        let frame = self.last_seen.map(|seen| seen.saturating_sub(BACKLOG_MAX));
        self.last_data.max(frame).unwrap_or_else(|| self.shared.clock.stamp())
    }

    /// The same of a topic that another link brings as well, or brought a moment ago: what that one brought may be newer than what
    /// is under way here.
    fn whole_alone(&self, topic: TopicId, whole_until: UnixNanos) -> UnixNanos {
        let Some(overlapping) = self.overlapping.get(&topic) else { return whole_until };
        let now = self.shared.clock.stamp();
        let caught_up = overlapping.over.is_some_and(|over| now.since(over) > BACKLOG_MAX);
        if caught_up { whole_until } else { whole_until.min(overlapping.whole_until) }
    }

    /// Topics that are in force are lost, nothing having been missed until `whole_until`, or until they were in force. What another
    /// link brings as well is missed only as far as it did not bring it.
    pub(super) fn lose_in_force(&mut self, whole_until: UnixNanos, cause: GapCause) {
        let in_force: Vec<(TopicId, UnixNanos)> = self.subscriptions.in_force_since().collect();
        let mut lost: BTreeMap<UnixNanos, Vec<TopicId>> = BTreeMap::new();
        for (topic, since) in in_force {
            let start = match self.shared.meetings.part(self.number, topic) {
                Parting::Covered => continue,
                Parting::Alone | Parting::Unproven(_) => self.whole_alone(topic, whole_until.max(since)),
            };
            lost.entry(start).or_default().push(topic);
        }
        for (start, topics) in lost {
            self.lose(&topics, start, cause);
        }
    }

    /// Ends topics here and says so.
    pub(super) fn let_go(&mut self, topics: Vec<TopicId>) {
        self.queue_outgoing();
        self.session.unsubscribe(&topics, &mut self.outbox);
        self.let_gone(topics);
    }

    /// Ends topics here that another link goes on with, and says so.
    fn hand_over(&mut self, topics: Vec<TopicId>) {
        self.queue_outgoing();
        let (marked, told): (Vec<TopicId>, Vec<TopicId>) =
            topics.iter().copied().partition(|topic| self.batcher.marks_handover(*topic));
        self.session.unsubscribe(&marked, &mut self.outbox);
        self.session.hand_over(&told, &mut self.outbox);
        let now = self.shared.clock.stamp();
        self.handed_over.extend(told.iter().map(|topic| (*topic, now)));
        self.let_gone(topics);
    }

    fn let_gone(&mut self, topics: Vec<TopicId>) {
        self.queue_requests();
        self.reading.forget(&topics);
        self.subscriptions.left(&topics);
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        for topic in &topics {
            self.batcher.mark_handover(*topic, false);
            self.joining.remove(topic);
            self.overlapping.remove(topic);
        }
        for topic in &topics {
            self.shared.meetings.part(self.number, *topic);
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
                if self.subscriptions.live(topic, self.received) {
                    self.shared.status.set_on_link(self.number, [topic], &TopicState::Live);
                }
            }
            SubscriptionNews::Refused(topics, reason) => {
                let reason = self.scrubbed(&reason);
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
                self.shared.counts.refused(topics.len().max(1));
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
            // Whatever comes now was not left over from an earlier subscription.
            self.reading.forget(&overdue.again);
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
