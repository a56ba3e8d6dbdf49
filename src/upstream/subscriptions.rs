//! How the subscriptions of one link stand: asked for, in force, refused, or never answered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::UnixNanos;
use crate::dialect::TopicId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Asked { due: Instant, times: u8 },
    Live { since: UnixNanos },
    Settled,
}

/// Subscriptions of a link.
#[derive(Debug)]
pub(super) struct Subscriptions {
    topics: BTreeMap<TopicId, Standing>,
    /// When those that were asked for are overdue, soonest first; also of some that have been answered since.
    due: VecDeque<(Instant, TopicId)>,
    confirm_timeout: Duration,
}

/// What is overdue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overdue {
    /// Asked for once and not answered: to be asked for again.
    pub(super) again: Vec<TopicId>,
    /// Asked for twice and not answered.
    pub(super) given_up: Vec<TopicId>,
}

impl Subscriptions {
    /// Of a link that carries nothing yet.
    pub(super) fn new(confirm_timeout: Duration) -> Self {
        Self { topics: BTreeMap::new(), due: VecDeque::new(), confirm_timeout }
    }

    /// Topics are asked for at this moment.
    pub(super) fn asked(&mut self, topics: &[TopicId], now: Instant) {
        let due = now + self.confirm_timeout;
        for topic in topics {
            self.topics.insert(*topic, Standing::Asked { due, times: 1 });
            self.due.push_back((due, *topic));
        }
    }

    /// Topics that the link no longer carries.
    pub(super) fn left(&mut self, topics: &[TopicId]) {
        for topic in topics {
            self.topics.remove(topic);
        }
    }

    /// Every topic of the link, however it stands.
    pub(super) fn carried(&self) -> impl Iterator<Item = TopicId> {
        self.topics.keys().copied()
    }

    /// Whether the link carries a topic.
    pub(super) fn carries(&self, topic: TopicId) -> bool {
        self.topics.contains_key(&topic)
    }

    /// A topic was acknowledged, or its data came. True when it was not in force before.
    pub(super) fn live(&mut self, topic: TopicId, at: UnixNanos) -> bool {
        match self.topics.get_mut(&topic) {
            Some(Standing::Live { .. }) | None => false,
            Some(standing) => {
                *standing = Standing::Live { since: at };
                true
            }
        }
    }

    /// A topic was refused.
    pub(super) fn refused(&mut self, topic: TopicId) {
        if let Some(standing) = self.topics.get_mut(&topic) {
            *standing = Standing::Settled;
        }
    }

    /// Those in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = TopicId> {
        self.in_force_since().map(|(topic, _)| topic)
    }

    /// Those in force, and since when.
    pub(super) fn in_force_since(&self) -> impl Iterator<Item = (TopicId, UnixNanos)> {
        self.topics.iter().filter_map(|(topic, standing)| match standing {
            Standing::Live { since } => Some((*topic, *since)),
            _ => None,
        })
    }

    /// When the next one is overdue.
    pub(super) fn next_check(&mut self) -> Option<Instant> {
        while let Some((due, topic)) = self.due.front() {
            if self.is_due(*topic, *due) {
                return Some(*due);
            }
            self.due.pop_front();
        }
        None
    }

    fn is_due(&self, topic: TopicId, at: Instant) -> bool {
        matches!(self.topics.get(&topic), Some(Standing::Asked { due, .. }) if *due == at)
    }

    /// Takes note of what is overdue.
    pub(super) fn check(&mut self, now: Instant) -> Overdue {
        let mut overdue = Overdue::default();
        while let Some((due, topic)) = self.due.front().copied() {
            if due > now {
                break;
            }
            self.due.pop_front();
            if !self.is_due(topic, due) {
                continue;
            }
            let Some(standing @ Standing::Asked { times: 1, .. }) = self.topics.get_mut(&topic) else {
                overdue.given_up.push(topic);
                self.topics.insert(topic, Standing::Settled);
                continue;
            };
            overdue.again.push(topic);
            let due = now + self.confirm_timeout;
            *standing = Standing::Asked { due, times: 2 };
            self.due.push_back((due, topic));
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_subscription_is_asked_for_once_more_and_then_given_up() {
        let start = Instant::now();
        let mut subscriptions = Subscriptions::new(LIMIT);
        subscriptions.asked(&[TopicId(0), TopicId(1)], start);
        assert!(subscriptions.live(TopicId(0), UnixNanos(1)));
        assert!(!subscriptions.live(TopicId(0), UnixNanos(1)), "the second acknowledgement is no news");
        assert_eq!(subscriptions.next_check(), Some(start + LIMIT));
        assert_eq!(subscriptions.check(start + LIMIT).again, [TopicId(1)]);
        assert_eq!(subscriptions.check(start + LIMIT), Overdue::default());
        assert_eq!(subscriptions.check(start + LIMIT * 2).given_up, [TopicId(1)]);
        assert_eq!(subscriptions.next_check(), None);
        assert!(subscriptions.live(TopicId(1), UnixNanos(1)), "late data is welcome all the same");
        assert_eq!(subscriptions.in_force().count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_left_and_came_back_is_waited_for_anew() {
        let start = Instant::now();
        let mut subscriptions = Subscriptions::new(LIMIT);
        subscriptions.asked(&[TopicId(7)], start);
        subscriptions.left(&[TopicId(7)]);
        assert_eq!(subscriptions.next_check(), None);
        subscriptions.asked(&[TopicId(7)], start + LIMIT / 2);
        assert_eq!(subscriptions.check(start + LIMIT), Overdue::default());
        assert_eq!(subscriptions.check(start + LIMIT * 2).again, [TopicId(7)]);
    }
}
