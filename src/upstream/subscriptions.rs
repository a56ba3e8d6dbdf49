//! How the subscriptions of one link stand: asked for, in force, refused, or never answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::dialect::TopicId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Asked { at: Instant, times: u8 },
    Live,
    Settled,
}

/// Subscriptions of a link, from its connection on.
#[derive(Debug)]
pub(super) struct Subscriptions {
    topics: Vec<(TopicId, Standing)>,
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
    /// `topics` were asked for `at` this moment.
    pub(super) fn new(topics: &[TopicId], at: Instant, confirm_timeout: Duration) -> Self {
        let topics = topics.iter().map(|topic| (*topic, Standing::Asked { at, times: 1 })).collect();
        Self { topics, confirm_timeout }
    }

    /// A topic was acknowledged, or its data came. True when it was not in force before.
    pub(super) fn live(&mut self, topic: TopicId) -> bool {
        self.settle(topic, Standing::Live)
    }

    /// A topic was refused.
    pub(super) fn refused(&mut self, topic: TopicId) {
        self.settle(topic, Standing::Settled);
    }

    /// Those in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = TopicId> {
        self.topics.iter().filter(|(_, standing)| *standing == Standing::Live).map(|(topic, _)| *topic)
    }

    /// When the next one is overdue.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.topics
            .iter()
            .filter_map(|(_, standing)| match standing {
                Standing::Asked { at, .. } => Some(*at + self.confirm_timeout),
                _ => None,
            })
            .min()
    }

    /// Takes note of what is overdue.
    pub(super) fn check(&mut self, now: Instant) -> Overdue {
        let mut overdue = Overdue::default();
        for (topic, standing) in &mut self.topics {
            let Standing::Asked { at, times } = *standing else { continue };
            if at + self.confirm_timeout > now {
                continue;
            }
            if times == 1 {
                overdue.again.push(*topic);
                *standing = Standing::Asked { at: now, times: 2 };
            } else {
                overdue.given_up.push(*topic);
                *standing = Standing::Settled;
            }
        }
        overdue
    }

    fn settle(&mut self, topic: TopicId, to: Standing) -> bool {
        match self.topics.iter_mut().find(|(known, _)| *known == topic) {
            Some((_, standing)) if *standing != to => {
                *standing = to;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_subscription_is_asked_for_once_more_and_then_given_up() {
        let start = Instant::now();
        let mut subscriptions = Subscriptions::new(&[TopicId(0), TopicId(1)], start, LIMIT);
        assert!(subscriptions.live(TopicId(0)));
        assert!(!subscriptions.live(TopicId(0)), "the second acknowledgement is no news");
        assert_eq!(subscriptions.next_check(), Some(start + LIMIT));
        assert_eq!(subscriptions.check(start + LIMIT).again, [TopicId(1)]);
        assert_eq!(subscriptions.check(start + LIMIT), Overdue::default());
        assert_eq!(subscriptions.check(start + LIMIT * 2).given_up, [TopicId(1)]);
        assert_eq!(subscriptions.next_check(), None);
        assert!(subscriptions.live(TopicId(1)), "late data is welcome all the same");
        assert_eq!(subscriptions.in_force().count(), 2);
    }
}
