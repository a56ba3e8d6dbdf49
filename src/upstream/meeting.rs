//! Topics that two links bring at once because they change links, and what of them both have brought.
//!
//! The keeper says which topics change links, links say what they bring of them, and ask when they let them go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::placement::{SlotNumber, Step, Steps};
use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::monitor::meeting::{Meeting, Proof, Side};

/// What a link may do with a topic that it lets go, or that it loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// No other link brings it.
    Alone,
    /// The other link has everything that this one has not.
    Covered,
    /// The other link brings it as well, and what this one has not brought of the time before may be missing.
    Unproven(Proof),
}

/// A topic on its way from one link to another.
#[derive(Debug)]
struct Moving {
    from: SlotNumber,
    to: SlotNumber,
    from_gone: bool,
    to_gone: bool,
    meeting: Meeting,
}

/// All topics of an upstream that change links.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    topics: Mutex<HashMap<TopicId, Moving>>,
    /// How many there are, so that links need no lock to see that there is none.
    count: AtomicUsize,
}

impl Meetings {
    fn lock(&self) -> MutexGuard<'_, HashMap<TopicId, Moving>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any topic changes links.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Takes note of what links are about to be told.
    pub(super) fn follow(&self, steps: &Steps) {
        if steps.is_empty() {
            return;
        }
        let mut moving = self.lock();
        for (slot, step) in steps {
            match step {
                Step::Overlap { topics } => {
                    for topic in topics {
                        let meeting = Meeting::default();
                        let (from, to) = (*slot, *slot);
                        moving.insert(*topic, Moving { from, to, from_gone: false, to_gone: false, meeting });
                    }
                }
                Step::Drop { topics, .. } | Step::Alone { topics } | Step::Take { topics, overlapping: false } => {
                    for topic in topics {
                        moving.remove(topic);
                    }
                }
                Step::Take { .. } | Step::Drain { .. } | Step::Seen { .. } => {}
            }
        }
        for (slot, step) in steps {
            if let Step::Take { topics, overlapping: true } = step {
                for topic in topics {
                    if let Some(meeting) = moving.get_mut(topic) {
                        meeting.to = *slot;
                    }
                }
            }
        }
        self.count.store(moving.len(), Ordering::Release);
    }

    /// A burst of a link has brought events, told by a hash of their ids.
    pub(super) fn brought(&self, slot: SlotNumber, at: UnixNanos, events: impl Iterator<Item = (TopicId, u64)>) {
        let mut moving = self.lock();
        for (topic, hash) in events {
            let Some(moved) = moving.get_mut(&topic) else { continue };
            let side = if moved.from == slot {
                Side::Old
            } else if moved.to == slot {
                Side::New
            } else {
                continue;
            };
            moved.meeting.brought(side, at, hash);
        }
    }

    /// How a topic stands for the link of a slot, which goes on carrying it.
    pub(super) fn standing(&self, slot: SlotNumber, topic: TopicId) -> Parting {
        self.lock().get(&topic).map_or(Parting::Alone, |moved| moved.standing(slot))
    }

    /// The link of a slot does not carry a topic any more. From here on the other one is alone with it.
    pub(super) fn part(&self, slot: SlotNumber, topic: TopicId) -> Parting {
        let mut moving = self.lock();
        let Some(meeting) = moving.get_mut(&topic) else { return Parting::Alone };
        let parting = meeting.standing(slot);
        meeting.from_gone |= meeting.from == slot;
        meeting.to_gone |= meeting.to == slot;
        parting
    }
}

impl Moving {
    fn standing(&self, slot: SlotNumber) -> Parting {
        if slot == self.from && !self.to_gone && self.to != self.from {
            return match self.meeting.proof() {
                Proof::Whole => Parting::Covered,
                proof => Parting::Unproven(proof),
            };
        }
        if slot == self.to && !self.from_gone { Parting::Covered } else { Parting::Alone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [TopicId; 2] = [TopicId(0), TopicId(1)];

    fn moving() -> Meetings {
        let meetings = Meetings::default();
        let (old, new) = (Step::Overlap { topics: TOPICS.to_vec() }, TOPICS.to_vec());
        meetings.follow(&vec![(0, old), (1, Step::Take { topics: new, overlapping: true })]);
        assert!(meetings.any());
        meetings
    }

    fn brought(meetings: &Meetings, slot: SlotNumber, second: i64, topic: TopicId, hashes: &[u64]) {
        meetings.brought(slot, UnixNanos(second), hashes.iter().map(|hash| (topic, *hash)));
    }

    #[test]
    fn a_link_may_let_go_when_both_have_brought_two_events_whoever_was_first() {
        let meetings = moving();
        brought(&meetings, 0, 1, TOPICS[0], &[1, 2]);
        assert_eq!(meetings.standing(0, TOPICS[0]), Parting::Unproven(Proof::Quiet));
        brought(&meetings, 1, 2, TOPICS[0], &[4, 5, 6]);
        assert_eq!(meetings.standing(0, TOPICS[0]), Parting::Unproven(Proof::Behind), "3 may be on its way still");
        brought(&meetings, 0, 3, TOPICS[0], &[4, 5]);
        assert_eq!(meetings.standing(0, TOPICS[0]), Parting::Unproven(Proof::Once), "3 may come behind them");
        brought(&meetings, 0, 4, TOPICS[0], &[3, 6]);
        assert_eq!(meetings.standing(0, TOPICS[0]), Parting::Covered);
        assert_eq!(
            meetings.standing(0, TOPICS[1]),
            Parting::Unproven(Proof::Quiet),
            "of another topic that says nothing"
        );
        brought(&meetings, 0, 5, TOPICS[1], &[11, 12, 13]);
        brought(&meetings, 1, 6, TOPICS[1], &[12]);
        brought(&meetings, 1, 7, TOPICS[1], &[13]);
        assert_eq!(meetings.standing(0, TOPICS[1]), Parting::Covered);
    }

    #[test]
    fn whichever_link_goes_first_the_other_is_alone() {
        let meetings = moving();
        assert_eq!(meetings.part(1, TOPICS[0]), Parting::Covered, "the old one has it");
        assert_eq!(meetings.part(0, TOPICS[0]), Parting::Alone);
        let meetings = moving();
        assert!(matches!(meetings.part(0, TOPICS[0]), Parting::Unproven(_)));
        assert_eq!(meetings.part(1, TOPICS[0]), Parting::Alone);
        let meetings = moving();
        meetings.follow(&vec![(1, Step::Alone { topics: TOPICS.to_vec() })]);
        assert_eq!(meetings.part(1, TOPICS[0]), Parting::Alone);
        assert!(!meetings.any());
    }
}
