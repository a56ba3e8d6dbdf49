//! What a session made of the frames that a tap was shown.

use std::sync::Arc;

use crate::dialect::{Intake, Message, Topic, TopicId};

/// Refusals that are kept with their reasons; further ones are counted. Source: a guess; more are not read.
const REFUSALS_MAX: usize = 1000;

/// A topic that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardTopic {
    /// As the settings call it.
    pub name: Arc<str>,
    /// Messages that belong to it.
    pub messages: u64,
    /// Whether it was acknowledged, or its data came.
    pub in_force: bool,
}

/// What came, as the dialect reads it.
#[derive(Debug, Default)]
pub struct Heard {
    /// By number.
    pub topics: Vec<HeardTopic>,
    /// Acknowledgements, heartbeats and the like.
    pub control: u64,
    /// Frames, or parts of them, that it does not understand.
    pub unreadable: u64,
    /// Topics that were refused, and why; no topics: the upstream did not say which.
    pub refused: Vec<(Vec<Arc<str>>, String)>,
    pub(super) broken: Option<String>,
}

impl Heard {
    pub(super) fn of(topics: &[Topic]) -> Self {
        let topic = |topic: &Topic| HeardTopic { name: Arc::clone(&topic.name), messages: 0, in_force: false };
        Self { topics: topics.iter().map(topic).collect(), ..Self::default() }
    }
}

impl Intake for Heard {
    fn message(&mut self, topic: TopicId, _message: Message<'_>) {
        if let Some(topic) = self.topics.get_mut(topic.0 as usize) {
            topic.messages += 1;
            topic.in_force = true;
        }
    }

    fn converted(&mut self, topic: TopicId, _raw: &[u8], view: Message<'_>) {
        self.message(topic, view);
    }

    fn control(&mut self, _topic: Option<TopicId>) {
        self.control += 1;
    }

    fn acknowledged(&mut self, topic: TopicId) {
        if let Some(topic) = self.topics.get_mut(topic.0 as usize) {
            topic.in_force = true;
        }
    }

    fn refused(&mut self, topics: &[TopicId], reason: &str) {
        if self.refused.len() < REFUSALS_MAX {
            let names = topics.iter().filter_map(|topic| self.topics.get(topic.0 as usize));
            self.refused.push((names.map(|topic| Arc::clone(&topic.name)).collect(), reason.to_owned()));
        }
    }

    fn unreadable(&mut self, _topic: Option<TopicId>, _reason: &str, _raw: &[u8]) {
        self.unreadable += 1;
    }

    fn broken(&mut self, reason: &str) {
        self.broken.get_or_insert_with(|| reason.to_owned());
    }
}
