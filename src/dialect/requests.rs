//! Requests of a session that have not been answered.

use std::collections::VecDeque;

use super::TopicId;
use super::topic_form::Purpose;

/// Requests kept for their answers. An upstream that never answers must not make us grow: the oldest are forgotten.
/// Source: a guess, twice the topics that the largest published limit allows on one link, asked one by one.
const OPEN_REQUESTS_MAX: usize = 2048;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) purpose: Purpose,
    /// Topics that its answer will be about.
    pub(crate) topics: Vec<TopicId>,
}

/// All of them, oldest first.
#[derive(Debug)]
pub(crate) struct Requests {
    next: u64,
    open: VecDeque<Request>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { next: 1, open: VecDeque::new() }
    }
}

impl Requests {
    /// An id for a request whose answer nobody waits for.
    pub(crate) fn spare_id(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }

    /// A new request's id.
    pub(crate) fn open(&mut self, purpose: Purpose, topics: Vec<TopicId>) -> u64 {
        let id = self.spare_id();
        if self.open.len() == OPEN_REQUESTS_MAX {
            self.open.pop_front();
        }
        self.open.push_back(Request { id, purpose, topics });
        id
    }

    /// Takes the request that has this id, written as a number or as a string.
    pub(crate) fn take(&mut self, id: &str) -> Option<Request> {
        let id: u64 = id.parse().ok()?;
        let at = self.open.iter().position(|request| request.id == id)?;
        self.open.remove(at)
    }

    /// Takes the oldest of a purpose, for upstreams whose answers do not say which they answer.
    pub(crate) fn take_oldest(&mut self, purpose: Purpose) -> Option<Request> {
        let at = self.open.iter().position(|request| request.purpose == purpose)?;
        self.open.remove(at)
    }

    /// Puts a request back that is answered only in part.
    pub(crate) fn put_back(&mut self, request: Request) {
        let at = self.open.partition_point(|other| other.id < request.id);
        self.open.insert(at, request);
    }

    /// Forgets a topic's part in requests of a purpose; a request without topics is done.
    pub(crate) fn settle(&mut self, purpose: Purpose, topic: TopicId) {
        for request in self.open.iter_mut().filter(|request| request.purpose == purpose) {
            request.topics.retain(|other| *other != topic);
        }
        self.open.retain(|request| !request.topics.is_empty());
    }

    /// Whether an answer of this purpose may still come.
    pub(crate) fn any(&self, purpose: Purpose) -> bool {
        self.open.iter().any(|request| request.purpose == purpose)
    }
}
