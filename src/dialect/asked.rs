//! Which topics a session has asked for, in dialects whose topics need no forms.

use std::sync::Arc;

use super::topic_book::Phase;
use super::{Topic, TopicId};

/// All topics of the upstream, and how far each has come on this link.
#[derive(Debug)]
pub(super) struct Asked {
    topics: Arc<[Topic]>,
    /// By topic id.
    phases: Vec<Phase>,
    /// Those asked for and not in force yet.
    waiting: usize,
}

impl Asked {
    /// Nothing is asked for yet.
    pub(super) fn new(topics: &Arc<[Topic]>) -> Self {
        let mut asked = Self { topics: Arc::clone(topics), phases: Vec::new(), waiting: 0 };
        asked.adopt(topics);
        asked
    }

    /// Goes on with more topics, under the same numbers.
    pub(super) fn adopt(&mut self, topics: &Arc<[Topic]>) {
        let size = topics.iter().map(|topic| topic.id.0 as usize + 1).max().unwrap_or(0);
        self.phases.resize(size.max(self.phases.len()), Phase::Idle);
        self.topics = Arc::clone(topics);
    }

    /// What the settings call a topic.
    pub(super) fn name(&self, topic: TopicId) -> Option<&Arc<str>> {
        // They are numbered densely, so that the first look mostly finds it.
        let at = self.topics.get(topic.0 as usize).filter(|found| found.id == topic);
        at.or_else(|| self.topics.iter().find(|other| other.id == topic)).map(|topic| &topic.name)
    }

    pub(super) fn phase(&self, topic: TopicId) -> Phase {
        self.phases.get(topic.0 as usize).copied().unwrap_or(Phase::Idle)
    }

    pub(super) fn set(&mut self, topic: TopicId, phase: Phase) {
        if let Some(slot) = self.phases.get_mut(topic.0 as usize) {
            self.waiting -= usize::from(matches!(slot, Phase::Asked(_)));
            self.waiting += usize::from(matches!(phase, Phase::Asked(_)));
            *slot = phase;
        }
    }

    /// Whether some topic is asked for and not in force yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Notes that a topic is asked for, perhaps again.
    pub(super) fn ask(&mut self, topic: TopicId) {
        let tries = if let Phase::Asked(tries) = self.phase(topic) { tries } else { 0 };
        self.set(topic, Phase::Asked(tries.saturating_add(1)));
    }

    /// Notes that a topic is in force. True where it was waited for.
    pub(super) fn confirm(&mut self, topic: TopicId) -> bool {
        let waited = matches!(self.phase(topic), Phase::Asked(_));
        if waited {
            self.set(topic, Phase::Active);
        }
        waited
    }

    /// Topics that are asked for and not in force yet.
    pub(super) fn unconfirmed(&self) -> Vec<TopicId> {
        let asked = (0..).zip(&self.phases).filter(|(_, phase)| matches!(phase, Phase::Asked(_)));
        asked.map(|(id, _)| TopicId(id)).collect()
    }

    /// Topics whose messages are expected, with their names.
    pub(super) fn expected(&self) -> impl Iterator<Item = (TopicId, &Arc<str>)> {
        let phases = (0..).zip(&self.phases);
        let expected = phases.filter(|(_, phase)| matches!(phase, Phase::Asked(_) | Phase::Active));
        expected.filter_map(|(id, _)| Some((TopicId(id), self.name(TopicId(id))?)))
    }
}
