//! Two sides in order are gone through together, one identity after the other.
//!
//! Of an identity, records with the same payload pair up first; what is left of both sides pairs up as differing, and what is left then
//! has no partner. No identity takes more memory than another, however many records it has.

use std::collections::{BTreeMap, VecDeque};

use super::delays::Delays;
use super::entry::{Entry, IDENTIFIED, PAIRED, SINGLE};
use super::record::Repeats;
use super::spill::{Sorted, SpillError};

/// Records of one identity that wait for one of the other side; more are counted, and can be no examples.
const WAITING_MAX: usize = 256;

/// What was found of one monitor, or of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) left: u64,
    pub(super) right: u64,
    pub(super) both: u64,
    pub(super) differing: u64,
    pub(super) only_left: u64,
    pub(super) only_right: u64,
    pub(super) left_repeats: u64,
    pub(super) right_repeats: u64,
    pub(super) at_edge: u64,
    pub(super) delays: Delays,
}

impl Tally {
    /// Adds another to this one.
    pub(super) fn add(&mut self, other: &Self) {
        self.left += other.left;
        self.right += other.right;
        self.both += other.both;
        self.differing += other.differing;
        self.only_left += other.only_left;
        self.only_right += other.only_right;
        self.left_repeats += other.left_repeats;
        self.right_repeats += other.right_repeats;
        self.at_edge += other.at_edge;
        self.delays.add_all(&other.delays);
    }
}

/// An example of a difference. Without the one side: only the other has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) left: Option<Entry>,
    pub(super) right: Option<Entry>,
    /// The other side has it too, but not as often.
    pub(super) repeated: bool,
}

/// The first examples of one kind, by their place.
#[derive(Debug)]
pub(super) struct FirstFound {
    most: usize,
    by_place: BTreeMap<(u64, u64), Found>,
}

impl FirstFound {
    fn new(most: usize) -> Self {
        Self { most, by_place: BTreeMap::new() }
    }

    fn offer(&mut self, found: Found) {
        let place = |entry: Option<Entry>| entry.map_or(0, |entry| entry.place);
        let (left, right) = (place(found.left), place(found.right));
        let key = if found.left.is_some() { (left, right) } else { (right, 0) };
        self.by_place.insert(key, found);
        if self.by_place.len() > self.most {
            self.by_place.pop_last();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Found> {
        self.by_place.values()
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) groups: Vec<Tally>,
    pub(super) only_left: FirstFound,
    pub(super) only_right: FirstFound,
    pub(super) differing: FirstFound,
    repeats: Repeats,
}

/// Of one identity: what of a side has no partner yet.
#[derive(Debug, Default)]
struct Waiting {
    first: VecDeque<Entry>,
    more: Vec<(u32, u32, u64)>,
    seen: u64,
    seen_in_span: u64,
}

impl Waiting {
    fn push(&mut self, entry: Entry) {
        if self.first.len() < WAITING_MAX {
            self.first.push_back(entry);
            return;
        }
        // By group and flags: few of them.
        match self.more.iter_mut().find(|(group, flags, _)| (*group, *flags) == (entry.group, entry.flags)) {
            Some((_, _, count)) => *count += 1,
            None => self.more.push((entry.group, entry.flags, 1)),
        }
    }

    fn pop(&mut self) -> Option<Waiter> {
        if let Some(entry) = self.first.pop_front() {
            return Some(Waiter::Known(entry));
        }
        let (group, flags, count) = self.more.last_mut()?;
        let waiter = Waiter::Counted { group: *group, flags: *flags };
        *count -= 1;
        if *count == 0 {
            self.more.pop();
        }
        Some(waiter)
    }

    fn clear(&mut self) {
        self.first.clear();
        self.more.clear();
        (self.seen, self.seen_in_span) = (0, 0);
    }
}

#[derive(Debug, Clone, Copy)]
enum Waiter {
    Known(Entry),
    Counted { group: u32, flags: u32 },
}

impl Waiter {
    fn group_and_flags(&self) -> (u32, u32) {
        match self {
            Self::Known(entry) => (entry.group, entry.flags),
            Self::Counted { group, flags } => (*group, *flags),
        }
    }

    fn entry(self) -> Option<Entry> {
        match self {
            Self::Known(entry) => Some(entry),
            Self::Counted { .. } => None,
        }
    }
}

/// Goes through both sides. `tick` hears now and then how many entries are done.
pub(super) fn join(
    left: &mut Sorted,
    right: &mut Sorted,
    (groups, examples, repeats): (usize, usize, Repeats),
    tick: &mut dyn FnMut(u64),
) -> Result<Joined, SpillError> {
    let first = || FirstFound::new(examples);
    let mut joined = Joined {
        groups: vec![Tally::default(); groups],
        only_left: first(),
        only_right: first(),
        differing: first(),
        repeats,
    };
    let (mut l, mut r) = (left.next()?, right.next()?);
    let (mut waiting_left, mut waiting_right) = (Waiting::default(), Waiting::default());
    let mut done = 0_u64;
    while let Some(hash) = [&l, &r].into_iter().flatten().map(|entry| entry.hash).min() {
        // Of one identity, in the order of payloads.
        loop {
            let here = |entry: &Option<Entry>| entry.filter(|entry| entry.hash == hash);
            match (here(&l), here(&r)) {
                (None, None) => break,
                (Some(a), Some(b)) if a.digest == b.digest => {
                    joined.arrive(&a, &mut waiting_left, false);
                    joined.arrive(&b, &mut waiting_right, true);
                    joined.pair(Waiter::Known(a), Waiter::Known(b), false);
                    (l, r) = (left.next()?, right.next()?);
                    done += 2;
                }
                (Some(a), b) if b.is_none_or(|b| a.digest < b.digest) => {
                    joined.arrive(&a, &mut waiting_left, false);
                    match waiting_right.pop() {
                        Some(b) => joined.pair(Waiter::Known(a), b, true),
                        None => waiting_left.push(a),
                    }
                    l = left.next()?;
                    done += 1;
                }
                (_, Some(b)) => {
                    joined.arrive(&b, &mut waiting_right, true);
                    match waiting_left.pop() {
                        Some(a) => joined.pair(a, Waiter::Known(b), true),
                        None => waiting_right.push(b),
                    }
                    r = right.next()?;
                    done += 1;
                }
                (Some(_), None) => unreachable!("a guard above takes it"),
            }
            if done.is_multiple_of(4096) {
                tick(done);
            }
        }
        let (known_left, known_right) = (waiting_left.seen > 0, waiting_right.seen > 0);
        while let Some(waiter) = waiting_left.pop() {
            joined.alone(waiter, false, known_right);
        }
        while let Some(waiter) = waiting_right.pop() {
            joined.alone(waiter, true, known_left);
        }
        waiting_left.clear();
        waiting_right.clear();
    }
    tick(done);
    Ok(joined)
}

impl Joined {
    fn tally(&mut self, group: u32) -> &mut Tally {
        &mut self.groups[group as usize]
    }

    /// A record of one side, whatever becomes of it.
    fn arrive(&mut self, entry: &Entry, of_its_identity: &mut Waiting, right: bool) {
        of_its_identity.seen += 1;
        if !entry.has(PAIRED) {
            return;
        }
        let again = of_its_identity.seen_in_span > 0;
        of_its_identity.seen_in_span += 1;
        let tally = self.tally(entry.group);
        let (count, repeats) = if right {
            (&mut tally.right, &mut tally.right_repeats)
        } else {
            (&mut tally.left, &mut tally.left_repeats)
        };
        *count += 1;
        *repeats += u64::from(again);
    }

    fn pair(&mut self, left: Waiter, right: Waiter, differ: bool) {
        let ((group, left_flags), (_, right_flags)) = (left.group_and_flags(), right.group_and_flags());
        if (left_flags | right_flags) & PAIRED == 0 {
            return;
        }
        let (left, right) = (left.entry(), right.entry());
        let tally = self.tally(group);
        tally.both += 1;
        tally.differing += u64::from(differ);
        if let Some((left, right)) = left.and_then(|entry| entry.time()).zip(right.and_then(|entry| entry.time())) {
            tally.delays.add(right.0.saturating_sub(left.0));
        }
        if differ && left.is_some() && right.is_some() {
            self.differing.offer(Found { left, right, repeated: false });
        }
    }

    /// A record without a partner. `known`: the other side has its identity, but not as often.
    fn alone(&mut self, waiter: Waiter, right: bool, known: bool) {
        let (group, flags) = waiter.group_and_flags();
        if known && self.repeats == Repeats::Counted && flags & IDENTIFIED != 0 {
            return;
        }
        let tally = self.tally(group);
        if flags & SINGLE == 0 {
            tally.at_edge += u64::from(flags & PAIRED != 0);
            return;
        }
        let entry = waiter.entry();
        if right {
            tally.only_right += 1;
            self.offer(|joined| &mut joined.only_right, Found { left: None, right: entry, repeated: known });
        } else {
            tally.only_left += 1;
            self.offer(|joined| &mut joined.only_left, Found { left: entry, right: None, repeated: known });
        }
    }

    fn offer(&mut self, kind: impl FnOnce(&mut Self) -> &mut FirstFound, found: Found) {
        if found.left.is_some() || found.right.is_some() {
            kind(self).offer(found);
        }
    }
}
