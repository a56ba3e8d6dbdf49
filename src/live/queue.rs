//! What waits for one client.
//!
//! Three priorities with a bound each: a client that cannot keep up loses low ones first, and is told. What is left goes out in the
//! order of offsets whatever its priority, so that the last offset that a client has seen is where it can go on. A client that may
//! lose nothing is not dropped from: it leaves the live flow and reads the journal until it has caught up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use super::message::LiveMessage;
use crate::config::Priority;
use crate::journal::Offset;

/// How many of each priority may wait.
const HIGH_MAX: usize = 1000;
const MEDIUM_MAX: usize = 500;
const LOW_MAX: usize = 100;

/// The most bytes that wait for one client; a larger event is alone. Source: a guess: 1,600 events of 650 bytes.
const BYTES_MAX: usize = 1 << 20;

/// On what terms a client listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// It hears what is now, and loses what it cannot keep up with.
    Newest,
    /// It gets every event.
    Every,
}

/// What a client was not given, of one stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// The first offset.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// By priority.
    pub high: u64,
    /// By priority.
    pub medium: u64,
    /// By priority.
    pub low: u64,
}

impl Drops {
    fn note(&mut self, message: &LiveMessage) {
        if self.total() == 0 {
            (self.from, self.to) = (message.offset.0, message.offset.0);
        }
        self.from = self.from.min(message.offset.0);
        self.to = self.to.max(message.offset.0);
        match message.priority {
            Priority::High => self.high += 1,
            Priority::Medium => self.medium += 1,
            Priority::Low => self.low += 1,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.high + self.medium + self.low
    }
}

/// What a client is to do next.
#[derive(Debug)]
pub enum Polled {
    /// Send these.
    Messages(Vec<Arc<LiveMessage>>),
    /// Tell what it was not given, then go on.
    Dropped(Drops),
    /// Read the journal from here on: it fell behind.
    Behind(Offset),
    /// Tell why and go.
    Cut(String),
}

/// What became of messages that were to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// False when the client is not to be given more: it fell behind, or is cut off.
    pub goes_on: bool,
    /// How many, of these or of those before, it will not be given.
    pub dropped: u64,
}

/// What waits for one client.
#[derive(Debug)]
pub struct Queue {
    terms: Terms,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By priority, each in order.
    lanes: [VecDeque<Arc<LiveMessage>>; 3],
    bytes: usize,
    drops: Drops,
    /// All that were ever dropped.
    dropped: u64,
    /// The first event that a client who gets everything was not given.
    behind: Option<Offset>,
    cut: Option<String>,
}

fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Medium => 1,
        Priority::Low => 2,
    }
}

impl Queue {
    /// An empty one.
    pub fn new(terms: Terms) -> Self {
        Self { terms, waiting: Mutex::default(), news: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts messages behind those that wait, in order.
    pub fn push(&self, messages: &[Arc<LiveMessage>]) -> Pushed {
        let mut waiting = self.lock();
        let before = waiting.dropped;
        // Who had taken everything is not slow, however much comes at once: a block is bounded by itself.
        let whole = waiting.first().is_none();
        let goes_on = messages.iter().all(|message| waiting.push(message, self.terms, whole));
        let dropped = waiting.dropped - before;
        drop(waiting);
        self.news.notify_one();
        Pushed { goes_on, dropped }
    }

    /// Ends it, with a reason for the client.
    pub fn cut(&self, reason: &str) {
        self.lock().cut.get_or_insert_with(|| reason.to_owned());
        self.news.notify_one();
    }

    /// What to do next, at most so many bytes of messages at once. Waits for news. Cancelling loses nothing.
    pub async fn next(&self, bytes_max: usize) -> Polled {
        loop {
            let news = self.news.notified();
            if let Some(polled) = self.take(bytes_max) {
                return polled;
            }
            news.await;
        }
    }

    /// As [`Queue::next`], of what is there.
    pub fn take(&self, bytes_max: usize) -> Option<Polled> {
        let mut waiting = self.lock();
        // Before what came behind it: a client knows of a hole when it comes to it.
        if waiting.drops.total() > 0 && waiting.first().is_none_or(|(_, offset)| offset.0 > waiting.drops.from) {
            return Some(Polled::Dropped(std::mem::take(&mut waiting.drops)));
        }
        let mut messages = Vec::new();
        let mut bytes = 0;
        while let Some((lane, offset)) = waiting.first() {
            if waiting.drops.total() > 0 && offset.0 > waiting.drops.from {
                break;
            }
            let size = waiting.lanes[lane][0].bytes();
            if !messages.is_empty() && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            messages.extend(waiting.lanes[lane].pop_front());
        }
        if !messages.is_empty() {
            waiting.bytes -= bytes;
            return Some(Polled::Messages(messages));
        }
        waiting.behind.take().map(Polled::Behind).or_else(|| waiting.cut.clone().map(Polled::Cut))
    }

    /// What waits, in events and bytes.
    pub fn depth(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.lanes.iter().map(VecDeque::len).sum(), waiting.bytes)
    }
}

impl Waiting {
    /// The lane and the offset of the first that waits.
    fn first(&self) -> Option<(usize, Offset)> {
        let heads = self.lanes.iter().enumerate().filter_map(|(lane, events)| Some((lane, events.front()?.offset)));
        heads.min_by_key(|(_, offset)| *offset)
    }

    fn push(&mut self, message: &Arc<LiveMessage>, terms: Terms, whole: bool) -> bool {
        if self.behind.is_some() || self.cut.is_some() {
            return false;
        }
        if whole {
            self.add(lane(message.priority), message);
            return true;
        }
        let max = [HIGH_MAX, MEDIUM_MAX, LOW_MAX];
        let to = lane(message.priority);
        let empty = self.lanes.iter().all(VecDeque::is_empty);
        let has_room = |waiting: &Self, lane: usize| {
            waiting.lanes[lane].len() < max[lane] && (empty || waiting.bytes + message.bytes() <= BYTES_MAX)
        };
        if has_room(self, to) {
            self.add(to, message);
            return true;
        }
        if terms == Terms::Every {
            self.behind = Some(message.offset);
            return false;
        }
        // Its own lane is full: the oldest there makes room. Where bytes are short, what is worth less goes first.
        if self.lanes[to].len() >= max[to] {
            if to == lane(Priority::High) {
                self.cut = Some(format!("too slow: {HIGH_MAX} events of high priority waited"));
                return false;
            }
            self.drop_oldest(to);
        }
        for victim in (to..3).rev() {
            while !has_room(self, to) && !self.lanes[victim].is_empty() {
                if victim == lane(Priority::High) {
                    self.cut = Some(format!("too slow: {BYTES_MAX} bytes of high priority waited"));
                    return false;
                }
                self.drop_oldest(victim);
            }
        }
        if has_room(self, to) || self.lanes.iter().all(VecDeque::is_empty) {
            self.add(to, message);
        } else {
            self.lose(message);
        }
        true
    }

    fn add(&mut self, to: usize, message: &Arc<LiveMessage>) {
        self.bytes += message.bytes();
        self.lanes[to].push_back(Arc::clone(message));
    }

    fn drop_oldest(&mut self, from: usize) {
        let Some(oldest) = self.lanes[from].pop_front() else { return };
        self.bytes -= oldest.bytes();
        self.lose(&oldest);
    }

    fn lose(&mut self, message: &LiveMessage) {
        self.drops.note(message);
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(polled: Option<Polled>) -> Vec<u64> {
        match polled {
            Some(Polled::Messages(messages)) => messages.iter().map(|message| message.offset.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn message(offset: u64, priority: Priority) -> Arc<LiveMessage> {
        LiveMessage::of_length(offset, priority, 20)
    }

    #[test]
    fn what_waits_goes_out_in_the_order_of_offsets_whatever_its_priority() {
        let queue = Queue::new(Terms::Newest);
        let mixed = [Priority::Low, Priority::High, Priority::Medium, Priority::Low];
        queue.push(&(0..).zip(mixed).map(|(at, priority)| message(at, priority)).collect::<Vec<_>>());
        assert_eq!(offsets(queue.take(usize::MAX)), [0, 1, 2, 3]);
        assert!(queue.take(usize::MAX).is_none());
    }

    #[test]
    fn low_ones_are_dropped_first_and_the_client_is_told_before_it_comes_to_the_hole() {
        let queue = Queue::new(Terms::Newest);
        let lows: Vec<_> = (0..150).map(|at| message(at, Priority::Low)).collect();
        let highs: Vec<_> = (150..250).map(|at| message(at, Priority::High)).collect();
        assert!(queue.push(&lows[..1]).dropped == 0 && queue.push(&lows[1..]).dropped == 50);
        assert_eq!(queue.push(&highs).dropped, 0);
        let Some(Polled::Dropped(drops)) = queue.take(usize::MAX) else { panic!("nothing was told") };
        assert_eq!(drops, Drops { from: 0, to: 49, low: 50, ..Drops::default() });
        assert_eq!(offsets(queue.take(usize::MAX)), (50..250).collect::<Vec<_>>());
    }

    #[test]
    fn a_client_whose_high_ones_do_not_fit_is_cut_off_with_a_reason_behind_what_it_has() {
        let queue = Queue::new(Terms::Newest);
        let highs: Vec<_> = (0..1001).map(|at| message(at, Priority::High)).collect();
        assert!(queue.push(&highs[..1]).goes_on && !queue.push(&highs[1..]).goes_on);
        assert_eq!(offsets(queue.take(usize::MAX)).len(), 1000);
        let Some(Polled::Cut(reason)) = queue.take(usize::MAX) else { panic!("it was not cut off") };
        assert!(reason.contains("1000 events of high priority"), "{reason}");
    }

    #[test]
    fn a_client_that_gets_everything_is_sent_to_the_journal_where_it_fell_behind() {
        let queue = Queue::new(Terms::Every);
        let lows: Vec<_> = (0..101).map(|at| message(at, Priority::Low)).collect();
        assert!(queue.push(&lows[..1]).goes_on && !queue.push(&lows[1..]).goes_on);
        assert!(!queue.push(&[message(101, Priority::High)]).goes_on);
        assert_eq!(offsets(queue.take(usize::MAX)), (0..100).collect::<Vec<_>>());
        assert!(matches!(queue.take(usize::MAX), Some(Polled::Behind(Offset(100)))));
    }

    #[test]
    fn who_has_taken_everything_is_not_slow_however_much_comes_at_once() {
        let queue = Queue::new(Terms::Newest);
        let lows: Vec<_> = (0..800).map(|at| message(at, Priority::Low)).collect();
        assert_eq!(queue.push(&lows), Pushed { goes_on: true, dropped: 0 });
        assert_eq!(offsets(queue.take(usize::MAX)).len(), 800);
    }

    #[test]
    fn bytes_are_bounded_too_and_one_that_is_larger_is_alone() {
        let queue = Queue::new(Terms::Newest);
        assert!(queue.push(&[LiveMessage::of_length(0, Priority::Low, 3 << 20)]).goes_on);
        assert_eq!(queue.depth().0, 1);
        assert!(queue.push(&[message(1, Priority::Low)]).goes_on);
        assert!(matches!(queue.take(usize::MAX), Some(Polled::Dropped(Drops { low: 1, .. }))));
        assert_eq!(offsets(queue.take(usize::MAX)), [1]);
    }
}
