//! What an upstream's links and topics are doing: written by their tasks, read by the server.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::monitor::gap::GapCause;

/// What a link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Nothing yet.
    #[default]
    Idle,
    /// Name, TCP, TLS, handshake.
    Connecting,
    /// Open.
    Open,
    /// Open, but not read from: the journal cannot take more.
    Held,
    /// Waiting before the next attempt.
    Waiting,
}

impl LinkState {
    /// For people, metrics and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Held => "held",
            Self::Waiting => "waiting",
        }
    }
}

/// A link as it stands.
#[derive(Debug, Clone, Default)]
pub struct LinkStatus {
    /// What it is doing.
    pub state: LinkState,
    /// Since when.
    pub since: Option<Instant>,
    /// Topics it carries.
    pub topics: usize,
    /// Connections made so far.
    pub connects: u64,
    /// Time between the last ping and its answer.
    pub latency: Option<Duration>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A topic as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TopicState {
    /// Not asked for yet, or not since the link was lost.
    #[default]
    Waiting,
    /// Asked for.
    Asked,
    /// Acknowledged, or data came.
    Live,
    /// Asked for twice, and neither acknowledged nor refused.
    Unconfirmed,
    /// Refused or ended by the upstream, with its reason.
    Refused(String),
    /// No link has room for it.
    LeftOut,
}

impl TopicState {
    /// For people and programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Asked => "asked",
            Self::Live => "live",
            Self::Unconfirmed => "unconfirmed",
            Self::Refused(_) => "refused",
            Self::LeftOut => "left_out",
        }
    }
}

/// A span of a topic that is still going on: it was in force, its link was lost, and it has not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenGap {
    /// When the topic was lost, as received time.
    pub start: UnixNanos,
    /// Why.
    pub cause: GapCause,
}

/// All of an upstream.
#[derive(Debug)]
pub struct UpstreamStatus {
    links: Mutex<Vec<LinkStatus>>,
    topics: Mutex<Vec<TopicState>>,
    gaps: Mutex<BTreeMap<TopicId, OpenGap>>,
}

impl UpstreamStatus {
    /// Of so many links and topics, none of which has done anything yet.
    pub(crate) fn new(links: usize, topics: usize) -> Self {
        Self {
            links: Mutex::new(vec![LinkStatus::default(); links]),
            topics: Mutex::new(vec![TopicState::default(); topics]),
            gaps: Mutex::default(),
        }
    }

    /// Every link as it stands.
    pub fn links(&self) -> Vec<LinkStatus> {
        lock(&self.links).clone()
    }

    /// Every topic as it stands, by [`TopicId`].
    pub fn topics(&self) -> Vec<TopicState> {
        lock(&self.topics).clone()
    }

    /// Every topic that was lost and is not back, with the span so far.
    pub fn gaps(&self) -> Vec<(TopicId, OpenGap)> {
        lock(&self.gaps).iter().map(|(topic, gap)| (*topic, *gap)).collect()
    }

    /// Whether at least one link is open.
    pub fn is_connected(&self) -> bool {
        lock(&self.links).iter().any(|link| matches!(link.state, LinkState::Open | LinkState::Held))
    }

    pub(super) fn set_link(&self, link: usize, state: LinkState) {
        let mut links = lock(&self.links);
        let status = &mut links[link];
        if status.state != state {
            if state == LinkState::Open && status.state == LinkState::Connecting {
                status.connects += 1;
            }
            status.state = state;
            status.since = Some(Instant::now());
        }
    }

    /// Topics were lost while in force. Of one that was lost before and is not back, that goes on.
    pub(crate) fn begin_gaps(&self, topics: impl Iterator<Item = TopicId>, gap: OpenGap) {
        let mut gaps = lock(&self.gaps);
        for topic in topics {
            gaps.entry(topic).or_insert(gap);
        }
    }

    /// A topic is in force: the span that it missed, if it did.
    pub(super) fn end_gap(&self, topic: TopicId) -> Option<OpenGap> {
        lock(&self.gaps).remove(&topic)
    }

    pub(super) fn update_link(&self, link: usize, update: impl FnOnce(&mut LinkStatus)) {
        update(&mut lock(&self.links)[link]);
    }

    pub(crate) fn set_topics(&self, topics: impl IntoIterator<Item = TopicId>, state: &TopicState) {
        let mut states = lock(&self.topics);
        for topic in topics {
            states[topic.0 as usize].clone_from(state);
        }
    }
}

/// Plain values, whole after every assignment: a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
