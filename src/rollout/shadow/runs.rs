//! When a path brought a monitor's events: spans without long pauses.

use crate::clock::UnixNanos;
use crate::journal::TimeRange;

/// So many spans of a monitor are kept apart; beyond, the oldest are one.
const RUNS_MAX: usize = 1024;

/// Spans in which events came, in their order, with more than a pause between two of them.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    pause_nanos: i64,
    all: Vec<TimeRange>,
}

impl Runs {
    /// `pause_nanos`: what lies so close together is one.
    pub(super) fn new(pause_nanos: i64) -> Self {
        Self { pause_nanos, all: Vec::new() }
    }

    pub(super) fn add(&mut self, range: TimeRange) {
        // Blocks of a path mostly come in the order of time: then this is at the end.
        let mut at = self.all.partition_point(|run| run.least <= range.least);
        self.all.insert(at, range);
        if at > 0 && self.is_close(at - 1) {
            at -= 1;
            self.merge(at);
        }
        while at + 1 < self.all.len() && self.is_close(at) {
            self.merge(at);
        }
        if self.all.len() > RUNS_MAX {
            self.merge(0);
        }
    }

    fn is_close(&self, at: usize) -> bool {
        self.all[at + 1].least.0.saturating_sub(self.all[at].greatest.0) <= self.pause_nanos
    }

    fn merge(&mut self, at: usize) {
        let next = self.all.remove(at + 1);
        self.all[at] = self.all[at].joined(next);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether something came in a span.
    fn came_within(&self, range: TimeRange) -> bool {
        // They do not overlap, so their ends are in order too.
        let first = self.all.partition_point(|run| run.greatest < range.least);
        self.all.get(first).is_some_and(|run| run.overlaps(range))
    }

    /// The same, but a pause in which none of `others` had anything either is none: a monitor may be quiet.
    pub(super) fn while_others(&self, others: [&Self; 2]) -> Vec<TimeRange> {
        let mut joined: Vec<TimeRange> = Vec::new();
        for run in &self.all {
            match joined.last_mut() {
                Some(last) if !others.iter().any(|other| other.came_within(self.inner(*last, *run))) => {
                    *last = last.joined(*run);
                }
                _ => joined.push(*run),
            }
        }
        joined
    }

    /// What lies between two spans, but for their edges: the same event need not come by both paths at once.
    fn inner(&self, before: TimeRange, after: TimeRange) -> TimeRange {
        let edge = (after.least.0.saturating_sub(before.greatest.0) / 4).min(self.pause_nanos);
        TimeRange { least: UnixNanos(before.greatest.0 + edge), greatest: UnixNanos(after.least.0 - edge) }
    }

    /// The spans in which something came of both.
    pub(super) fn common(&self, other: &Self) -> Vec<TimeRange> {
        let (mut common, mut a, mut b) = (Vec::new(), self.all.iter().peekable(), other.all.iter().peekable());
        while let (Some(one), Some(two)) = (a.peek(), b.peek()) {
            if one.overlaps(**two) {
                common.push(TimeRange { least: one.least.max(two.least), greatest: one.greatest.min(two.greatest) });
            }
            if one.greatest <= two.greatest {
                a.next();
            } else {
                b.next();
            }
        }
        common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(least: i64, greatest: i64) -> TimeRange {
        TimeRange { least: UnixNanos(least), greatest: UnixNanos(greatest) }
    }

    fn runs(all: &[(i64, i64)]) -> Runs {
        let mut runs = Runs::new(10);
        for (least, greatest) in all {
            runs.add(range(*least, *greatest));
        }
        runs
    }

    #[test]
    fn only_more_than_a_pause_parts_two_spans_in_whatever_order_they_come() {
        assert_eq!(runs(&[(0, 5), (15, 20), (31, 40)]).all, [range(0, 20), range(31, 40)]);
        assert_eq!(runs(&[(31, 40), (0, 5), (15, 20)]).all, [range(0, 20), range(31, 40)]);
        assert_eq!(runs(&[(0, 5), (40, 50), (2, 35)]).all, [range(0, 50)]);
        let mut many = Runs::new(10);
        (0..5000).for_each(|number| many.add(range(number * 100, number * 100 + 1)));
        assert_eq!((many.all.len(), many.all[0].least), (RUNS_MAX, UnixNanos(0)));
    }

    #[test]
    fn a_pause_of_all_is_none() {
        let nothing = Runs::new(10);
        let shadow = runs(&[(0, 5), (100, 105), (200, 205)]);
        let other = runs(&[(1, 6), (101, 104), (150, 151), (199, 204)]);
        assert_eq!(shadow.while_others([&other, &nothing]), [range(0, 105), range(200, 205)]);
        assert_eq!(shadow.while_others([&nothing, &nothing]), [range(0, 205)]);
        assert_eq!(shadow.common(&other), [range(1, 5), range(101, 104), range(200, 204)]);
    }
}
