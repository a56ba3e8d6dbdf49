//! Subscription ids as the upstream gave them, and the topics behind each.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use super::TopicId;
use super::topic_book::KeyHasher;

/// Ids of ended subscriptions that are remembered, so that late notifications are known for what they are.
/// Source: a guess; more than a link ends in the seconds that such notifications are under way.
const ENDED_MAX: usize = 1024;

/// What became of a subscription after a topic left it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Other topics still share it.
    Shared,
    /// It was the last: the upstream has to be told.
    Last(Box<[u8]>),
    /// The topic was in none.
    None,
}

/// Ids are raw tokens, compared as text: `0` is an id like any other, and `1` is not `"1"`. An upstream may give one id to
/// two topics that mean the same; then one end would end both, so the topics of an id are counted.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    topics: HashMap<Box<[u8]>, Vec<TopicId>, BuildHasherDefault<KeyHasher>>,
    ids: HashMap<TopicId, Box<[u8]>>,
    /// With the topic that another link goes on with, where it does.
    ended: HashMap<Box<[u8]>, Option<TopicId>>,
    ended_order: VecDeque<Box<[u8]>>,
}

impl Subscriptions {
    /// Topics of an id.
    #[inline]
    pub(crate) fn topics(&self, id: &[u8]) -> Option<&[TopicId]> {
        self.topics.get(id).map(Vec::as_slice)
    }

    /// Whether an id was ours and has ended.
    pub(crate) fn has_ended(&self, id: &[u8]) -> bool {
        self.ended.contains_key(id)
    }

    /// The topic that still takes what comes late under an id that has ended, if one does.
    pub(crate) fn late(&self, id: &[u8]) -> Option<TopicId> {
        *self.ended.get(id)?
    }

    /// Topics that are subscribed, with their ids.
    pub(crate) fn ids_of(&self, topics: &[TopicId]) -> Vec<(TopicId, Box<[u8]>)> {
        topics.iter().filter_map(|topic| Some((*topic, self.ids.get(topic)?.clone()))).collect()
    }

    /// What comes late under ids that have ended is taken for their topics all the same.
    pub(crate) fn take_late(&mut self, ended: Vec<(TopicId, Box<[u8]>)>) {
        for (topic, id) in ended {
            if let Some(late) = self.ended.get_mut(&id) {
                *late = Some(topic);
            }
        }
    }

    /// The id under which a topic is subscribed.
    pub(crate) fn id_of(&self, topic: TopicId) -> Option<&[u8]> {
        self.ids.get(&topic).map(|id| &**id)
    }

    /// Puts a topic under an id.
    pub(crate) fn add(&mut self, topic: TopicId, id: &[u8]) {
        if self.ended.remove(id).is_some() {
            self.ended_order.retain(|other| **other != *id);
        }
        let topics = self.topics.entry(id.into()).or_default();
        if !topics.contains(&topic) {
            topics.push(topic);
        }
        self.ids.insert(topic, id.into());
    }

    /// Takes a topic out.
    pub(crate) fn remove(&mut self, topic: TopicId) -> Left {
        let Some(id) = self.ids.remove(&topic) else { return Left::None };
        let Some(topics) = self.topics.get_mut(&id) else { return Left::None };
        topics.retain(|other| *other != topic);
        if !topics.is_empty() {
            return Left::Shared;
        }
        self.topics.remove(&id);
        self.end(&id);
        Left::Last(id)
    }

    /// Remembers an id as ended.
    pub(crate) fn end(&mut self, id: &[u8]) {
        if self.ended_order.len() == ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        if self.ended.insert(id.into(), None).is_none() {
            self.ended_order.push_back(id.into());
        }
    }
}
