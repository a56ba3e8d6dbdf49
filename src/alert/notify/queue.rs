//! Notices that wait for a channel: in their order, at most so many, the least severe given up for one that is more so.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use tokio::time::Instant;

use super::{Delivery, Notice};
use crate::clock::UnixNanos;

/// A notice on its way to one channel.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) notice: Notice,
    /// The message's own id, the same however often it is tried.
    pub(super) id: String,
    /// When it was to be told.
    pub(super) told: UnixNanos,
    pub(super) offered: Instant,
    /// It is not tried behind this.
    pub(super) give_up: Instant,
    /// Who waits to hear what became of it.
    pub(super) answer: Option<SyncSender<Delivery>>,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    room: usize,
}

impl Queue {
    pub(super) fn new(room: usize) -> Self {
        Self { waiting: VecDeque::new(), room: room.max(1) }
    }

    /// Puts one at the end. What had to go for it, which may be the one itself.
    pub(super) fn push(&mut self, one: Waiting) -> Option<Waiting> {
        self.waiting.push_back(one);
        if self.waiting.len() <= self.room {
            return None;
        }
        // Of several that are the least severe the first one, which is the oldest: what came later is nearer to how things are.
        let least = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.notice.alert.severity)?.0;
        self.waiting.remove(least)
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notify::message::tests::notice;
    use crate::alert::{AlertKind, Severity};

    fn waiting(id: &str, severity: Severity) -> Waiting {
        let mut notice = notice(AlertKind::HighCpu);
        notice.alert.severity = severity;
        notice.alert.id = id.into();
        let now = Instant::now();
        Waiting { notice, id: id.into(), told: UnixNanos::now(), offered: now, give_up: now, answer: None }
    }

    #[test]
    fn the_least_severe_goes_first_when_it_is_full_and_the_others_keep_their_order() {
        let mut queue = Queue::new(2);
        assert!(queue.push(waiting("a", Severity::Warning)).is_none());
        assert!(queue.push(waiting("b", Severity::Info)).is_none());
        let gone = |one: Option<Waiting>| one.map(|gone| gone.id);
        assert_eq!(gone(queue.push(waiting("c", Severity::Critical))).as_deref(), Some("b"));
        assert_eq!(gone(queue.push(waiting("d", Severity::Info))).as_deref(), Some("d"), "less than all that wait");
        assert_eq!(gone(queue.push(waiting("e", Severity::Warning))).as_deref(), Some("a"), "the older of two alike");
        let left: Vec<String> = std::iter::from_fn(|| queue.pop().map(|waiting| waiting.id)).collect();
        assert_eq!(left, ["c", "e"]);
    }
}
