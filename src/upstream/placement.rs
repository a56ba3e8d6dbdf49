//! Which link carries which topic, and what it takes to change that.
//!
//! Places only: it knows neither sockets nor time. It is told what happened (topics are wanted, a link was lost, topics are in
//! force there, a link has let go of them) and answers with what links are to be told. A topic that changes links with an overlap is
//! asked for on the new link, and let go by the old one when it is in force there; one that must not come twice is let go first.

use std::collections::BTreeMap;

use crate::dialect::TopicId;
use crate::monitor::roster::Roster;

/// The place of a link, whether it is open or not: an index of the pool's slots.
pub(super) type SlotNumber = usize;

/// Where a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    /// Nobody wants it.
    Unwanted,
    /// No link has room for it.
    LeftOut,
    /// Here.
    On(SlotNumber),
    /// Here, and asked for there.
    Joining { from: SlotNumber, to: SlotNumber },
    /// In force there; here what is still under way is taken.
    Leaving { from: SlotNumber, to: SlotNumber },
    /// Being let go here; asked for elsewhere behind that.
    Parting { from: SlotNumber, to: SlotNumber },
}

/// What links are to be told, each kind for all topics of a link at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for these. `overlapping`: they are on another link still.
    Take { topics: Vec<TopicId>, overlapping: bool },
    /// Read what is under way of these, then let them go.
    Drain { topics: Vec<TopicId> },
    /// Let these go at once; what comes later of them is no event.
    Drop { topics: Vec<TopicId>, why: DropReason },
    /// Another link begins to bring these as well.
    Overlap { topics: Vec<TopicId> },
    /// No other link brings these any more.
    Alone { topics: Vec<TopicId> },
    /// These were lost elsewhere and are in force here: the span that was not seen ends.
    Seen { topics: Vec<TopicId> },
}

/// Why a link lets topics go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// They go to another link, and must not come twice.
    Moved,
    /// Nobody wants them any more.
    Unwanted,
    /// More important ones need the room.
    LeftOut,
}

/// Steps by slot, in order.
pub(super) type Steps = Vec<(SlotNumber, Step)>;

/// A slot as placement sees it.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Topics that are on it or asked for there.
    topics: usize,
    /// Whether topics may be given to it.
    usable: bool,
    /// Whether it is open.
    open: bool,
}

/// Places of all topics of an upstream.
#[derive(Debug)]
pub(super) struct Placement {
    homes: Vec<Home>,
    /// Topics that may overlap, whatever comes of them.
    overlaps: Vec<bool>,
    /// Topics that may overlap since all that came of them has ids.
    with_ids: Vec<bool>,
    slots: Vec<Slot>,
    per_slot: usize,
}

/// The steps of one decision, gathered by slot and kind.
#[derive(Default)]
struct Gathered(BTreeMap<(SlotNumber, u8), Vec<TopicId>>);

const DROP_MOVED: u8 = 0;
const DROP_UNWANTED: u8 = 1;
const DROP_LEFT_OUT: u8 = 2;
const OVERLAP: u8 = 3;
const TAKE: u8 = 4;
const TAKE_OVERLAPPING: u8 = 5;
const DRAIN: u8 = 6;
const ALONE: u8 = 7;
const SEEN: u8 = 8;

impl Gathered {
    fn add(&mut self, slot: SlotNumber, kind: u8, topic: TopicId) {
        self.0.entry((slot, kind)).or_default().push(topic);
    }

    fn steps(self) -> Steps {
        let step = |kind, topics| match kind {
            DROP_MOVED => Step::Drop { topics, why: DropReason::Moved },
            DROP_UNWANTED => Step::Drop { topics, why: DropReason::Unwanted },
            DROP_LEFT_OUT => Step::Drop { topics, why: DropReason::LeftOut },
            OVERLAP => Step::Overlap { topics },
            TAKE => Step::Take { topics, overlapping: false },
            TAKE_OVERLAPPING => Step::Take { topics, overlapping: true },
            DRAIN => Step::Drain { topics },
            ALONE => Step::Alone { topics },
            _ => Step::Seen { topics },
        };
        self.0.into_iter().map(|((slot, kind), topics)| (slot, step(kind, topics))).collect()
    }
}

/// How many links a pool opens for `topics`.
pub(super) fn links_wanted(topics: usize, per_link: u32, min: u32, max: u32, idle_links: bool) -> usize {
    let needed = topics.div_ceil(per_link.max(1) as usize);
    let wanted = needed.clamp(min as usize, max.max(min) as usize);
    // Where an upstream closes links that ask for nothing, one without a topic would be lost again and again.
    if idle_links { wanted.max(1) } else { wanted.min(topics).max(1) }
}

impl Placement {
    /// Of a pool with so many slots, each with room for `per_slot` topics. None may be used yet.
    pub(super) fn new(slots: usize, per_slot: u32) -> Self {
        Self {
            homes: Vec::new(),
            overlaps: Vec::new(),
            with_ids: Vec::new(),
            slots: vec![Slot::default(); slots],
            per_slot: per_slot.max(1) as usize,
        }
    }

    /// Of which topics all events had ids so far, by number.
    pub(super) fn know_ids(&mut self, with_ids: Vec<bool>) {
        self.with_ids = with_ids;
    }

    fn overlaps(&self, topic: TopicId) -> bool {
        let is = |flags: &[bool]| flags.get(topic.0 as usize) == Some(&true);
        is(&self.overlaps) || is(&self.with_ids)
    }

    /// Whether topics may be given to a slot.
    pub(super) fn set_usable(&mut self, slot: SlotNumber, usable: bool) {
        self.slots[slot].usable = usable;
    }

    /// Topics that are on a slot, or asked for there.
    pub(super) fn count(&self, slot: SlotNumber) -> usize {
        self.slots[slot].topics
    }

    /// Topics for which no link has room.
    pub(super) fn left_out(&self) -> impl Iterator<Item = TopicId> {
        (0..).map(TopicId).zip(&self.homes).filter(|(_, home)| **home == Home::LeftOut).map(|(topic, _)| topic)
    }

    /// Whether no link has room for a topic.
    pub(super) fn is_left_out(&self, topic: TopicId) -> bool {
        self.homes.get(topic.0 as usize) == Some(&Home::LeftOut)
    }

    /// Topics that somebody wants.
    pub(super) fn wanted(&self) -> usize {
        self.homes.iter().filter(|home| **home != Home::Unwanted).count()
    }

    /// What a link asks for when it is opened in this slot, and which of it comes over another link as well.
    pub(super) fn topics_of(&self, slot: SlotNumber) -> (Vec<TopicId>, Vec<TopicId>) {
        let (mut topics, mut overlapping) = (Vec::new(), Vec::new());
        for (topic, home) in (0..).map(TopicId).zip(&self.homes) {
            match home {
                Home::On(at) if *at == slot => topics.push(topic),
                Home::Joining { to, .. } | Home::Leaving { to, .. } if *to == slot => {
                    topics.push(topic);
                    overlapping.push(topic);
                }
                Home::Joining { from, .. } if *from == slot => {
                    topics.push(topic);
                    overlapping.push(topic);
                }
                _ => {}
            }
        }
        (topics, overlapping)
    }

    /// The slot with the fewest topics that has room.
    fn roomiest(&self, but: Option<SlotNumber>, open_only: bool) -> Option<SlotNumber> {
        let fits = |(number, slot): &(usize, &Slot)| {
            slot.usable && slot.topics < self.per_slot && Some(*number) != but && (slot.open || !open_only)
        };
        let slots = self.slots.iter().enumerate().filter(fits);
        slots.min_by_key(|(_, slot)| slot.topics).map(|(number, _)| number)
    }

    fn home(&mut self, topic: TopicId, home: Home) {
        let touched = |home: Home| match home {
            Home::Unwanted | Home::LeftOut => [None, None],
            Home::On(slot) => [Some(slot), None],
            Home::Joining { from, to } | Home::Leaving { from, to } | Home::Parting { from, to } => {
                [Some(from), Some(to)]
            }
        };
        for slot in touched(self.homes[topic.0 as usize]).into_iter().flatten() {
            self.slots[slot].topics -= 1;
        }
        for slot in touched(home).into_iter().flatten() {
            self.slots[slot].topics += 1;
        }
        self.homes[topic.0 as usize] = home;
    }

    /// What is wanted from now on: topics that are new get a place, the most important first, those that nobody wants any more
    /// lose theirs, and where there is not room for all the least important ones stay out.
    pub(super) fn want(&mut self, roster: &Roster) -> Steps {
        let mut steps = Gathered::default();
        self.homes.resize(roster.topics.len().max(self.homes.len()), Home::Unwanted);
        self.overlaps = roster.topics.iter().map(|topic| roster.overlaps(topic.id)).collect();
        let wanted = roster.wanted();
        let room = self.slots.iter().filter(|slot| slot.usable).count() * self.per_slot;
        let (kept, left_out) = wanted.split_at(wanted.len().min(room));
        let mut goes: Vec<Option<u8>> = vec![Some(DROP_UNWANTED); self.homes.len()];
        for topic in kept {
            goes[topic.0 as usize] = None;
        }
        for topic in left_out {
            goes[topic.0 as usize] = Some(DROP_LEFT_OUT);
        }
        for (topic, why) in (0..).map(TopicId).zip(goes) {
            if let Some(why) = why {
                self.let_go(topic, why, &mut steps);
            }
        }
        for topic in kept {
            if matches!(self.homes[topic.0 as usize], Home::Unwanted | Home::LeftOut) {
                self.give(*topic, &mut steps);
            }
        }
        steps.steps()
    }

    fn let_go(&mut self, topic: TopicId, why: u8, steps: &mut Gathered) {
        match self.homes[topic.0 as usize] {
            Home::Unwanted | Home::LeftOut => {}
            Home::On(slot) | Home::Parting { from: slot, .. } => steps.add(slot, why, topic),
            Home::Joining { from, to } | Home::Leaving { from, to } => {
                // The span is recorded once.
                steps.add(to, DROP_MOVED, topic);
                steps.add(from, why, topic);
            }
        }
        self.home(topic, if why == DROP_LEFT_OUT { Home::LeftOut } else { Home::Unwanted });
    }

    fn give(&mut self, topic: TopicId, steps: &mut Gathered) {
        match self.roomiest(None, false) {
            Some(slot) => {
                self.home(topic, Home::On(slot));
                steps.add(slot, TAKE, topic);
            }
            None => self.home(topic, Home::LeftOut),
        }
    }

    /// A link is open, and has asked for what [`Placement::topics_of`] said.
    pub(super) fn opened(&mut self, slot: SlotNumber) {
        self.slots[slot].open = true;
    }

    /// A link was lost, or could not be opened. Its topics go to open ones with room; `stay` keeps those that have no other place
    /// where they would miss less. What remains is asked for when the slot is open again.
    pub(super) fn lost(&mut self, slot: SlotNumber, stay: bool) -> Steps {
        self.slots[slot].open = false;
        let mut steps = Gathered::default();
        for number in 0..self.homes.len() {
            let topic = TopicId(u32::try_from(number).unwrap_or(u32::MAX));
            match self.homes[number] {
                Home::On(at) if at == slot => {
                    if let Some(other) = self.roomiest(Some(slot), true).filter(|_| !stay) {
                        self.home(topic, Home::On(other));
                        steps.add(other, TAKE, topic);
                    }
                }
                Home::Joining { from, to } | Home::Leaving { from, to } if to == slot => {
                    // Where it has been let go there a moment ago, it is asked for again when that is heard.
                    self.home(topic, Home::On(from));
                    steps.add(from, ALONE, topic);
                }
                Home::Joining { from, to } | Home::Leaving { from, to } if from == slot => {
                    self.home(topic, Home::On(to));
                    steps.add(to, ALONE, topic);
                    steps.add(to, SEEN, topic);
                }
                Home::Parting { from, to } if from == slot => {
                    self.home(topic, Home::On(to));
                    steps.add(to, TAKE, topic);
                }
                _ => {}
            }
        }
        steps.steps()
    }

    /// Topics are in force on a link, or have been asked for long enough.
    pub(super) fn up(&mut self, slot: SlotNumber, topics: &[TopicId]) -> Steps {
        let mut steps = Gathered::default();
        for topic in topics {
            if let Home::Joining { from, to } = self.homes[topic.0 as usize]
                && to == slot
            {
                self.home(*topic, Home::Leaving { from, to });
                steps.add(from, DRAIN, *topic);
            }
        }
        steps.steps()
    }

    /// Topics were refused on a link. Where they are in force on another they stay there.
    pub(super) fn refused(&mut self, slot: SlotNumber, topics: &[TopicId]) -> Steps {
        let mut steps = Gathered::default();
        for topic in topics {
            if let Home::Joining { from, to } = self.homes[topic.0 as usize]
                && to == slot
            {
                self.home(*topic, Home::On(from));
                steps.add(to, DROP_MOVED, *topic);
                steps.add(from, ALONE, *topic);
            }
        }
        steps.steps()
    }

    /// A link has let topics go that it was told to.
    pub(super) fn left(&mut self, slot: SlotNumber, topics: &[TopicId]) -> Steps {
        let mut steps = Gathered::default();
        for topic in topics {
            match self.homes[topic.0 as usize] {
                Home::Leaving { from, to } if from == slot => {
                    self.home(*topic, Home::On(to));
                    steps.add(to, ALONE, *topic);
                    // Where the old link brought nothing to its end, it has said so.
                    steps.add(to, SEEN, *topic);
                }
                Home::Parting { from, to } if from == slot => {
                    let usable = self.slots[to].usable && self.slots[to].open;
                    let to = if usable { to } else { self.roomiest(None, true).unwrap_or(to) };
                    self.home(*topic, Home::On(to));
                    steps.add(to, TAKE, *topic);
                }
                // It was let go when it was to go on here after all.
                Home::On(at) if at == slot => steps.add(at, TAKE, *topic),
                _ => {}
            }
        }
        steps.steps()
    }

    /// Moves topics of a slot to others, those first that cost nothing to move. `most`: no more of them.
    fn move_from(&mut self, from: SlotNumber, to: Option<SlotNumber>, topics: &[TopicId], steps: &mut Gathered) {
        for topic in topics {
            if self.homes[topic.0 as usize] != Home::On(from) {
                continue;
            }
            let Some(to) = to.or_else(|| self.roomiest(Some(from), true)) else { return };
            if self.slots[to].topics >= self.per_slot {
                continue;
            }
            if !self.slots[from].open {
                self.home(*topic, Home::On(to));
                steps.add(to, TAKE, *topic);
            } else if self.overlaps(*topic) {
                self.home(*topic, Home::Joining { from, to });
                steps.add(from, OVERLAP, *topic);
                steps.add(to, TAKE_OVERLAPPING, *topic);
            } else {
                self.home(*topic, Home::Parting { from, to });
                steps.add(from, DROP_MOVED, *topic);
            }
        }
    }

    /// A slot's topics go to others, as far as those have room; it gets no more.
    pub(super) fn empty(&mut self, slot: SlotNumber) -> Steps {
        self.slots[slot].usable = false;
        let mut steps = Gathered::default();
        let topics = self.resting_on(slot);
        self.move_from(slot, None, &topics, &mut steps);
        steps.steps()
    }

    /// One topic goes to another link, if there is one with room.
    pub(super) fn elsewhere(&mut self, slot: SlotNumber, topic: TopicId) -> Steps {
        let mut steps = Gathered::default();
        self.move_from(slot, None, &[topic], &mut steps);
        steps.steps()
    }

    /// Whether there are topics on a slot that no other one has.
    pub(super) fn has_resting(&self, slot: SlotNumber) -> bool {
        self.homes.contains(&Home::On(slot))
    }

    /// Topics that are on a slot and on no other.
    fn resting_on(&self, slot: SlotNumber) -> Vec<TopicId> {
        let homes = (0..).map(TopicId).zip(&self.homes);
        homes.filter(|(_, home)| **home == Home::On(slot)).map(|(topic, _)| topic).collect()
    }

    /// Moves topics from the heaviest slot to the lightest where they differ by more than `tolerance` of the mean. Only topics that
    /// change links without a pause: balance is not worth a gap. `rates` are messages a second, by topic.
    pub(super) fn rebalance(&mut self, rates: &[f64], tolerance: f64) -> Steps {
        let mut steps = Gathered::default();
        let mut loads: Vec<(SlotNumber, f64)> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].usable).map(|slot| (slot, 0.0)).collect();
        for (number, home) in self.homes.iter().enumerate() {
            let (Home::On(at)
            | Home::Joining { to: at, .. }
            | Home::Leaving { to: at, .. }
            | Home::Parting { to: at, .. }) = home
            else {
                continue;
            };
            if let Some((_, load)) = loads.iter_mut().find(|(slot, _)| slot == at) {
                *load += weight(rates, number);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "links are few")]
        let mean = loads.iter().map(|(_, load)| load).sum::<f64>() / loads.len().max(1) as f64;
        let Some((heaviest, most)) = loads.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1)) else {
            return Steps::new();
        };
        let Some((lightest, least)) = loads.iter().copied().min_by(|one, other| one.1.total_cmp(&other.1)) else {
            return Steps::new();
        };
        let mut surplus = (most - least) / 2.0;
        if most - least <= mean * tolerance || !self.slots[heaviest].open {
            return Steps::new();
        }
        let mut movable: Vec<TopicId> =
            self.resting_on(heaviest).into_iter().filter(|topic| self.overlaps(*topic)).collect();
        // The heaviest first, so that few are moved.
        movable.sort_by(|one, other| weight(rates, other.0 as usize).total_cmp(&weight(rates, one.0 as usize)));
        for topic in movable {
            let weight = weight(rates, topic.0 as usize);
            if weight <= surplus {
                surplus -= weight;
                self.move_from(heaviest, Some(lightest), &[topic], &mut steps);
            }
        }
        steps.steps()
    }
}

/// A topic costs something also where nothing comes, so that idle ones are spread too.
fn weight(rates: &[f64], topic: usize) -> f64 {
    1.0 + rates.get(topic).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
