//! Topics and who is subscribed to them. Each topic is one series of events, made while somebody listens.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dialects::{Draft, Moment, Series};
use super::figures::{Counters, Made, add, sub};
use super::settings::{SimulatedDialect, SimulatorSettings};

/// Events waiting for a connection at most. A topic makes no events while one of its subscribers is full.
const MAILBOX_EVENTS_MAX: usize = 1024;
/// Topics a simulator makes at most; more are refused.
const TOPICS_MAX: usize = 100_000;
/// Events made before connections get a turn.
const SLICE_EVENTS_MAX: usize = 256;
/// Events that are kept for whoever takes the feed up again.
const HISTORY_EVENTS_MAX: usize = 20_000;

/// An event of a topic.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_index: usize,
    pub(crate) draft: Draft,
}

/// Events on their way to one connection.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The connection's number.
    pub(crate) connection: u64,
    events: Mutex<VecDeque<Arc<Event>>>,
    waiting: AtomicUsize,
    arrived: Notify,
}

impl Mailbox {
    pub(crate) fn new(connection: u64) -> Arc<Self> {
        Arc::new(Self {
            connection,
            events: Mutex::new(VecDeque::new()),
            waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
        })
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MAILBOX_EVENTS_MAX
    }

    fn push(&self, event: Arc<Event>) {
        let mut events = lock(&self.events);
        events.push_back(event);
        self.waiting.store(events.len(), Ordering::Relaxed);
        drop(events);
        self.arrived.notify_one();
    }

    /// Resolves when events wait. Dropping the future loses nothing.
    pub(crate) async fn arrived(&self) {
        while self.waiting.load(Ordering::Relaxed) == 0 {
            self.arrived.notified().await;
        }
    }

    /// Moves up to `most` events into `out`.
    pub(crate) fn take(&self, most: usize, out: &mut Vec<Arc<Event>>) {
        let mut events = lock(&self.events);
        let count = most.min(events.len());
        out.extend(events.drain(..count));
        self.waiting.store(events.len(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves queues that are whole: no section below panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct TopicState {
    name: Arc<str>,
    series: Box<dyn Series>,
    subscribers: Vec<Arc<Mailbox>>,
    /// Whether it makes events also while nobody is subscribed.
    unasked: bool,
}

#[derive(Default)]
struct State {
    by_name: HashMap<Arc<str>, usize>,
    topics: Vec<TopicState>,
    /// Topics that somebody is subscribed to or that go on unasked, in the order of their turns.
    active: Vec<usize>,
    turn: usize,
    /// What was made, in that order; at most so many.
    made: Vec<Made>,
    made_max: usize,
    messages: u64,
    paused: bool,
    /// What was made last, in dialects that can be taken up again.
    history: VecDeque<Arc<Event>>,
}

impl State {
    /// Enters the events of a draft before anybody gets them.
    fn note_made(&mut self, topic: &Arc<str>, draft: &Draft, moment: Moment, counters: &Counters) {
        add(&counters.events, draft.ids.len() as u64);
        if self.made_max == 0 {
            return;
        }
        self.messages += 1;
        for id in &draft.ids {
            if self.made.len() < self.made_max {
                self.made.push(Made {
                    topic: Arc::clone(topic),
                    id: id.clone(),
                    message: self.messages,
                    at: moment.nanos(),
                });
            } else {
                add(&counters.made_lost, 1);
            }
        }
    }
}

/// All topics of a simulator.
pub(crate) struct Hub {
    dialect: SimulatedDialect,
    seed: u64,
    first_id: u64,
    counters: Arc<Counters>,
    state: Mutex<State>,
    /// A mailbox has got room, or a topic its first subscriber.
    stirred: Notify,
}

impl Hub {
    /// Of these settings. An error names a topic of theirs that the dialect does not have.
    pub(crate) fn new(
        dialect: SimulatedDialect,
        settings: &SimulatorSettings,
        first_id: u64,
        counters: Arc<Counters>,
    ) -> Result<Self, String> {
        let mut state = State { made_max: settings.made_max, ..State::default() };
        let hub =
            Self { dialect, seed: settings.seed, first_id, counters, state: Mutex::default(), stirred: Notify::new() };
        for topic in &settings.topics {
            let unknown = || format!("the dialect {dialect} has no topic `{topic}`");
            let index = hub.topic(&mut state, topic).ok_or_else(unknown)?;
            if !std::mem::replace(&mut state.topics[index].unasked, true) && !state.topics[index].series.timed() {
                state.active.push(index);
            }
        }
        Ok(Self { state: Mutex::new(state), ..hub })
    }

    /// A topic's number. None: there is no such topic.
    fn topic(&self, state: &mut State, topic: &str) -> Option<usize> {
        if let Some(index) = state.by_name.get(topic) {
            return Some(*index);
        }
        if state.topics.len() >= TOPICS_MAX {
            return None;
        }
        let series = self.dialect.series(topic, self.seed, self.first_id)?;
        let name: Arc<str> = Arc::from(topic);
        state.by_name.insert(Arc::clone(&name), state.topics.len());
        state.topics.push(TopicState { name, series, subscribers: Vec::new(), unasked: false });
        Some(state.topics.len() - 1)
    }

    /// What was made so far, in that order.
    pub(crate) fn made(&self) -> Vec<Made> {
        lock(&self.state).made.clone()
    }

    /// While it pauses, no events are made; what was made before still comes.
    pub(crate) fn pause(&self, paused: bool) {
        lock(&self.state).paused = paused;
        self.stirred.notify_one();
    }

    /// Subscribes `mailbox` to a topic. Gives the topic's number and the event that the upstream begins it with.
    /// None: there is no such topic, so that nothing will come.
    pub(crate) fn subscribe(&self, topic: &str, mailbox: &Arc<Mailbox>) -> Option<(usize, Option<Arc<Event>>)> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let index = self.topic(state, topic)?;
        let entry = &mut state.topics[index];
        if entry.subscribers.iter().any(|other| other.connection == mailbox.connection) {
            return Some((index, None));
        }
        let moment = Moment::now();
        let opening = entry.series.snapshot(moment);
        entry.subscribers.push(Arc::clone(mailbox));
        if entry.subscribers.len() == 1 && !entry.unasked && !entry.series.timed() {
            state.active.push(index);
        }
        let name = Arc::clone(&entry.name);
        let opening = opening.map(|draft| {
            state.note_made(&name, &draft, moment, &self.counters);
            Arc::new(Event { topic: name, topic_index: index, draft })
        });
        add(&self.counters.subscriptions, 1);
        drop(guard);
        self.stirred.notify_one();
        Some((index, opening))
    }

    /// Subscribes `mailbox` to topics at once. Gives their numbers, and what was made of them from the position `since` on;
    /// all that is made later goes to the mailbox.
    pub(crate) fn resume(
        &self,
        topics: &[String],
        mailbox: &Arc<Mailbox>,
        since: Option<u64>,
    ) -> (Vec<(String, usize)>, Vec<Arc<Event>>) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let mut numbers = Vec::new();
        for topic in topics {
            let Some(index) = self.topic(state, topic) else { continue };
            numbers.push((topic.clone(), index));
            let entry = &mut state.topics[index];
            if entry.subscribers.iter().any(|other| other.connection == mailbox.connection) {
                continue;
            }
            entry.subscribers.push(Arc::clone(mailbox));
            if entry.subscribers.len() == 1 && !entry.unasked && !entry.series.timed() {
                state.active.push(index);
            }
            add(&self.counters.subscriptions, 1);
        }
        let wanted = |event: &&Arc<Event>| {
            let again = since.zip(event.draft.position).is_some_and(|(since, position)| position >= since);
            again && numbers.iter().any(|(_, index)| *index == event.topic_index)
        };
        let events = state.history.iter().filter(wanted).cloned().collect();
        drop(guard);
        self.stirred.notify_one();
        (numbers, events)
    }

    /// Ends a topic for `connection`; events already on their way still come.
    pub(crate) fn unsubscribe(&self, index: usize, connection: u64) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let Some(entry) = state.topics.get_mut(index) else { return };
        let before = entry.subscribers.len();
        entry.subscribers.retain(|mailbox| mailbox.connection != connection);
        sub(&self.counters.subscriptions, (before - entry.subscribers.len()) as u64);
        if entry.subscribers.is_empty() && before > 0 && !entry.unasked {
            state.active.retain(|active| *active != index);
        }
        drop(guard);
        // The one who left may have been the one that had no room.
        self.stirred.notify_one();
    }

    /// Says that a mailbox has been emptied.
    pub(crate) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Makes up to `most` events, one a topic in turn; says how many were made.
    fn produce(&self, most: u64) -> u64 {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let moment = Moment::now();
        if state.paused {
            return 0;
        }
        let (mut made, mut passed_over) = (0, 0);
        while made < most && passed_over < state.active.len() {
            state.turn = if state.turn + 1 < state.active.len() { state.turn + 1 } else { 0 };
            let index = state.active[state.turn];
            let topic = &mut state.topics[index];
            if !topic.subscribers.iter().all(|mailbox| mailbox.has_room()) {
                passed_over += 1;
                continue;
            }
            passed_over = 0;
            let draft = topic.series.next(moment);
            made += draft.ids.len() as u64;
            let name = Arc::clone(&topic.name);
            state.note_made(&name, &draft, moment, &self.counters);
            let event = Arc::new(Event { topic: name, topic_index: index, draft });
            for mailbox in &state.topics[index].subscribers {
                mailbox.push(Arc::clone(&event));
            }
            if self.dialect.resumes() {
                if state.history.len() == HISTORY_EVENTS_MAX {
                    state.history.pop_front();
                }
                state.history.push_back(event);
            }
        }
        made
    }

    /// Makes events at `rate` a second, or as fast as they are taken, until cancelled.
    pub(crate) async fn run(&self, rate: u64, cancel: CancellationToken) {
        let work = async { if rate == 0 { self.run_unpaced().await } else { self.run_paced(rate).await } };
        cancel.run_until_cancelled(work).await;
    }

    async fn run_unpaced(&self) {
        loop {
            if self.produce(SLICE_EVENTS_MAX as u64) == 0 {
                self.stirred.notified().await;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn run_paced(&self, rate: u64) {
        // What could not be made within a tenth of a second is not made up for, or a client that stood still
        // for a minute would get a minute's events at once.
        let debt_max = (rate / 10).max(1);
        let mut start = Instant::now();
        let mut made = 0_u64;
        loop {
            let due = start.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
            let due = u64::try_from(due).unwrap_or(u64::MAX);
            let debt = due.saturating_sub(made);
            if debt > 0 {
                let now = self.produce(debt.min(SLICE_EVENTS_MAX as u64));
                made += now;
                if now > 0 && debt > now {
                    tokio::task::yield_now().await;
                    continue;
                }
                if now == 0 && debt > debt_max {
                    start = Instant::now();
                    made = 0;
                }
            }
            let next = Duration::from_nanos((made + 1).saturating_sub(due).saturating_mul(1_000_000_000) / rate);
            tokio::time::sleep(next.clamp(Duration::from_millis(1), Duration::from_millis(200))).await;
        }
    }
}
