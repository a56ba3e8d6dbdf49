//! What an upstream's links and topics are doing: written by their tasks, read by the server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::quietness::{QuietBounds, Quietness, Second, Silence};
use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::monitor::reading::IdsSeen;
use crate::pulse::Pulse;

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
    /// What is usual for it.
    pub(super) quietness: Quietness,
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
    /// The beat before that: nothing was missed so far.
    pub(super) whole_until: Option<UnixNanos>,
    /// What is usual for it.
    pub(super) quietness: Quietness,
}

/// What came over a link between two beats.
pub(super) struct Beat {
    pub(super) link: usize,
    /// When the beat before was.
    pub(super) since: UnixNanos,
    /// Messages of any kind.
    pub(super) messages: u64,
    pub(super) seconds: f64,
    pub(super) now: UnixNanos,
    /// Absent while nothing is read, so that quiet says nothing.
    pub(super) bounds: Option<QuietBounds>,
}

/// What nothing comes of.
#[derive(Debug, Default)]
pub(super) struct Silent {
    /// The link as a whole.
    pub(super) link: Option<Silence>,
    /// Its topics.
    pub(super) topics: Vec<SilentTopic>,
    /// Topics of which it could be said.
    pub(super) judged: usize,
}

/// A topic of which nothing comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SilentTopic {
    pub(super) topic: TopicId,
    pub(super) silence: Silence,
    /// The last message came behind this, and less than a beat later.
    pub(super) whole_until: UnixNanos,
}

/// All of an upstream.
#[derive(Debug)]
pub struct UpstreamStatus {
    /// Links that there are to be.
    wanted: AtomicUsize,
    began: Instant,
    /// Answered by who keeps its links, as long as somebody does.
    pulse: Arc<Pulse>,
    links: Mutex<Vec<LinkStatus>>,
    topics: Mutex<Vec<TopicStatus>>,
}

impl UpstreamStatus {
    /// Of so many links and topics, none of which has done anything yet.
    pub(crate) fn new(links: usize, topics: usize) -> Self {
        Self {
            wanted: AtomicUsize::new(0),
            began: Instant::now(),
            pulse: Arc::default(),
            links: Mutex::new(vec![LinkStatus::default(); links]),
            topics: Mutex::new(vec![TopicStatus::default(); topics]),
        }
    }

    /// What who keeps its links answers, as long as somebody does.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
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
    /// By number, of which topics all events had ids so far.
    pub fn topics_with_ids(&self) -> Vec<bool> {
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

    /// Whether at least one link is open.
    pub fn is_connected(&self) -> bool {
        lock(&self.links).iter().any(|link| matches!(link.state, LinkState::Open | LinkState::Held))
    }

    pub(super) fn set_link(&self, link: usize, state: LinkState) {
        let second = self.second();
        let mut links = lock(&self.links);
        let status = &mut links[link];
        if status.state != state {
            if state == LinkState::Open && status.state == LinkState::Connecting {
                status.connects += 1;
                status.quietness.interrupted(second);
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
        let second = self.second();
        let mut topics_now = lock(&self.topics);
        for topic in topics {
            let now = &mut topics_now[topic.0 as usize];
            if now.link == Some(link) {
                now.state = TopicState::Waiting;
                now.link = None;
                now.quietness.interrupted(second);
            }
        }
    }

    /// Seconds that quiet is counted in.
    fn second(&self) -> Second {
        Second(u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX))
    }

    /// Notes what came over a link and of its topics. Gives what is silent.
    pub(super) fn beat(&self, beat: &Beat, counts: impl Iterator<Item = (TopicId, u32)>) -> Silent {
        let mut silent = Silent::default();
        let second = self.second();
        let mut topics = lock(&self.topics);
        for (topic, messages) in counts {
            let status = &mut topics[topic.0 as usize];
            status.messages += u64::from(messages);
            status.rate = smoothed(status.rate, f64::from(messages), beat.seconds);
            if messages > 0 {
                status.last = Some(beat.now);
                status.whole_until = Some(beat.since);
                status.quietness.seen(second);
            } else if beat.bounds.is_none() {
                status.quietness.interrupted(second);
            }
            let Some(bounds) = beat.bounds.filter(|_| status.state == TopicState::Live) else { continue };
            silent.judged += usize::from(status.quietness.threshold(second, bounds).is_some());
            if let (Some(silence), Some(whole_until)) = (status.quietness.silence(second, bounds), status.whole_until) {
                status.quietness.said(second);
                silent.topics.push(SilentTopic { topic, silence, whole_until });
            }
        }
        drop(topics);
        self.update_link(beat.link, |link| {
            link.messages += beat.messages;
            #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
            let counted = beat.messages as f64;
            link.rate = smoothed(link.rate, counted, beat.seconds);
            match beat.bounds {
                _ if beat.messages > 0 => link.quietness.seen(second),
                Some(bounds) if link.topics > 0 => silent.link = link.quietness.silence(second, bounds),
                _ => link.quietness.interrupted(second),
            }
        });
        silent
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
