//! What an upstream's links and topics are doing: written by their tasks, read by the server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::monitor::gap::GapCause;
use crate::monitor::reading::IdsSeen;

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
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Connecting, Self::Open, Self::Held, Self::Waiting];

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
    /// Topics placed on it.
    pub topics: usize,
    /// Connections made so far.
    pub connects: u64,
    /// When the connection that is open now was opened.
    pub opened: Option<Instant>,
    /// Messages so far, over all its connections.
    pub messages: u64,
    /// Messages a second lately.
    pub rate: f64,
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

/// A topic, where it is, and what comes of it.
#[derive(Debug, Clone, Default)]
pub struct TopicStatus {
    /// How it stands.
    pub state: TopicState,
    /// The link that it is on, or was last.
    pub link: Option<usize>,
    /// Messages so far.
    pub messages: u64,
    /// Messages a second lately.
    pub rate: f64,
    /// When the last one came, to the second.
    pub last: Option<UnixNanos>,
    /// Whether its events had ids.
    pub ids: IdsSeen,
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
    /// Links that there are to be.
    wanted: AtomicUsize,
    links: Mutex<Vec<LinkStatus>>,
    topics: Mutex<Vec<TopicStatus>>,
    gaps: Mutex<BTreeMap<TopicId, OpenGap>>,
}

impl UpstreamStatus {
    /// Of so many links and topics, none of which has done anything yet.
    pub(crate) fn new(links: usize, topics: usize) -> Self {
        Self {
            wanted: AtomicUsize::new(0),
            links: Mutex::new(vec![LinkStatus::default(); links]),
            topics: Mutex::new(vec![TopicStatus::default(); topics]),
            gaps: Mutex::default(),
        }
    }

    /// How many links there are to be.
    pub fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn set_wanted(&self, links: usize) {
        self.wanted.store(links, Ordering::Relaxed);
    }

    /// Every link as it stands.
    pub fn links(&self) -> Vec<LinkStatus> {
        lock(&self.links).clone()
    }

    /// How every topic stands, by [`TopicId`].
    pub fn topics(&self) -> Vec<TopicState> {
        lock(&self.topics).iter().map(|topic| topic.state.clone()).collect()
    }

    /// Every topic with what comes of it, by [`TopicId`].
    pub fn topic_details(&self) -> Vec<TopicStatus> {
        lock(&self.topics).clone()
    }

    /// Messages a second of every topic, by [`TopicId`].
    pub(super) fn topic_rates(&self) -> Vec<f64> {
        lock(&self.topics).iter().map(|topic| topic.rate).collect()
    }

    /// Whether all events of a topic had ids, by [`TopicId`].
    pub(super) fn topics_with_ids(&self) -> Vec<bool> {
        lock(&self.topics).iter().map(|topic| topic.ids.all()).collect()
    }

    /// Notes whether events of topics had ids.
    pub(super) fn note_ids(&self, seen: impl Iterator<Item = (TopicId, IdsSeen)>) {
        let mut topics = lock(&self.topics);
        for (topic, seen) in seen {
            let ids = &mut topics[topic.0 as usize].ids;
            *ids = ids.and(seen);
        }
    }

    /// Makes room for the topics of a roster's next generation.
    pub(super) fn grow(&self, topics: usize) {
        let mut known = lock(&self.topics);
        let topics = topics.max(known.len());
        known.resize(topics, TopicStatus::default());
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
                status.opened = Some(Instant::now());
            }
            if !matches!(state, LinkState::Open | LinkState::Held) {
                status.opened = None;
                status.rate = 0.0;
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
            states[topic.0 as usize].state.clone_from(state);
        }
    }

    /// Topics are in this state on a link. Of a topic that is live on another link nothing changes but by being live here.
    pub(super) fn set_on_link(&self, link: usize, topics: impl IntoIterator<Item = TopicId>, state: &TopicState) {
        let mut topics_now = lock(&self.topics);
        for topic in topics {
            let now = &mut topics_now[topic.0 as usize];
            if now.link.is_none_or(|known| known == link) || now.state != TopicState::Live || *state == TopicState::Live
            {
                now.link = Some(link);
                now.state.clone_from(state);
            }
        }
    }

    /// A link no longer carries topics; those that are on another by now are left as they are.
    pub(super) fn leave_link(&self, link: usize, topics: &[TopicId]) {
        let mut topics_now = lock(&self.topics);
        for topic in topics {
            let now = &mut topics_now[topic.0 as usize];
            if now.link == Some(link) {
                now.state = TopicState::Waiting;
                now.link = None;
            }
        }
    }

    /// Notes what came over a link in the last `seconds`: of its topics, and messages of any kind.
    pub(super) fn note_messages(
        &self,
        link: usize,
        counts: impl Iterator<Item = (TopicId, u32)>,
        messages: u64,
        seconds: f64,
        now: UnixNanos,
    ) {
        let mut topics = lock(&self.topics);
        for (topic, messages) in counts {
            let status = &mut topics[topic.0 as usize];
            status.messages += u64::from(messages);
            status.rate = smoothed(status.rate, f64::from(messages), seconds);
            if messages > 0 {
                status.last = Some(now);
            }
        }
        drop(topics);
        self.update_link(link, |link| {
            link.messages += messages;
            #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
            let counted = messages as f64;
            link.rate = smoothed(link.rate, counted, seconds);
        });
    }
}

/// A rate in which what is ten seconds old counts for a third.
fn smoothed(rate: f64, messages: f64, seconds: f64) -> f64 {
    const MEMORY_SECONDS: f64 = 10.0;
    if seconds <= 0.0 {
        return rate;
    }
    let old = (-seconds / MEMORY_SECONDS).exp();
    rate * old + messages / seconds * (1.0 - old)
}

/// Plain values, whole after every assignment: a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
