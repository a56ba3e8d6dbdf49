//! How much later or earlier one side had what both have: percentiles out of counts, in little memory however many there are.

use std::collections::BTreeMap;

use serde::Serialize;

/// Buckets of each doubling: what is told is at most a 32nd above what was.
const STEPS_LOG2: u32 = 5;

/// Counts of lengths of time by how long they are. Takes memory for each bucket that is not empty, at most 1,920 of them.
#[derive(Debug, Clone, Default)]
struct Lengths {
    buckets: BTreeMap<u32, u64>,
    count: u64,
    greatest: u64,
}

impl Lengths {
    fn add(&mut self, nanos: u64) {
        *self.buckets.entry(bucket_of(nanos)).or_default() += 1;
        self.count += 1;
        self.greatest = self.greatest.max(nanos);
    }

    /// The length that this share of all stays within.
    fn quantile(&self, hundredths: u64) -> u64 {
        let rank = (self.count * hundredths).div_ceil(100).max(1);
        let mut passed = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            passed += **count;
            passed >= rank
        });
        found.map_or(0, |(bucket, _)| bound_of(*bucket).min(self.greatest))
    }

    fn figures(&self) -> Option<LengthFigures> {
        (self.count > 0).then(|| LengthFigures {
            events: self.count,
            p50_ms: millis(self.quantile(50)),
            p95_ms: millis(self.quantile(95)),
            p99_ms: millis(self.quantile(99)),
            max_ms: millis(self.greatest),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what a float loses of nanoseconds is far below a microsecond within a month"
)]
fn millis(nanos: u64) -> f64 {
    // To the microsecond: what lies below is of no meaning between two clocks.
    (nanos as f64 / 1000.0).round() / 1000.0
}

fn bucket_of(nanos: u64) -> u32 {
    let log2 = nanos.max(1).ilog2();
    if log2 < STEPS_LOG2 {
        return u32::try_from(nanos).unwrap_or(0);
    }
    let step = (nanos >> (log2 - STEPS_LOG2)) & ((1 << STEPS_LOG2) - 1);
    ((log2 - STEPS_LOG2 + 1) << STEPS_LOG2) + u32::try_from(step).unwrap_or(0)
}

/// The greatest length of a bucket.
fn bound_of(bucket: u32) -> u64 {
    let (octave, step) = (bucket >> STEPS_LOG2, u64::from(bucket & ((1 << STEPS_LOG2) - 1)));
    if octave == 0 {
        return step;
    }
    let bound = (u128::from((1_u64 << STEPS_LOG2) + step) + 1) << (octave - 1);
    u64::try_from(bound - 1).unwrap_or(u64::MAX)
}

/// How much later or earlier the one side had what both have.
#[derive(Debug, Clone, Default)]
pub(super) struct Delays {
    later: Lengths,
    earlier: Lengths,
    at_once: u64,
}

impl Delays {
    /// Counts one that came so many nanoseconds later; earlier, where negative.
    pub(super) fn add(&mut self, nanos: i64) {
        match nanos {
            0 => self.at_once += 1,
            1.. => self.later.add(nanos.unsigned_abs()),
            _ => self.earlier.add(nanos.unsigned_abs()),
        }
    }

    /// Counts all of another.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (ours, theirs) in [(&mut self.later, &other.later), (&mut self.earlier, &other.earlier)] {
            for (bucket, count) in &theirs.buckets {
                *ours.buckets.entry(*bucket).or_default() += count;
            }
            ours.count += theirs.count;
            ours.greatest = ours.greatest.max(theirs.greatest);
        }
        self.at_once += other.at_once;
    }

    pub(super) fn figures(&self) -> DelayFigures {
        DelayFigures { later: self.later.figures(), earlier: self.earlier.figures(), at_once: self.at_once }
    }
}

/// Of the events that both sides have with their times: how much later or earlier the second side had them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DelayFigures {
    /// Of those that it had later: how much.
    pub later: Option<LengthFigures>,
    /// Of those that it had earlier: how much.
    pub earlier: Option<LengthFigures>,
    /// That have the same time on both sides.
    pub at_once: u64,
}

/// Lengths of time, in milliseconds; percentiles are at most a 32nd above the true ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthFigures {
    /// Of how many events.
    pub events: u64,
    /// Half of them stay within.
    pub p50_ms: f64,
    /// 95 of 100 do.
    pub p95_ms: f64,
    /// 99 of 100 do.
    pub p99_ms: f64,
    /// All do.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_at_most_a_32nd_above_what_it_stands_for() {
        for nanos in (0..5000).chain([123_456_789, u64::MAX / 3, u64::MAX]) {
            let bound = bound_of(bucket_of(nanos));
            assert!(bound >= nanos && bound - nanos <= nanos / 32, "{nanos} is counted as {bound}");
        }
        assert!(bucket_of(u64::MAX) < 1920);
    }

    #[test]
    fn later_and_earlier_are_told_apart() {
        let mut delays = Delays::default();
        for _ in 0..98 {
            delays.add(2_000_000);
        }
        delays.add(50_000_000);
        delays.add(80_000_000);
        delays.add(-3_000_000);
        delays.add(0);
        let figures = delays.figures();
        let later = figures.later.unwrap();
        assert_eq!((later.events, later.max_ms, figures.at_once), (100, 80.0, 1));
        assert!((2.0..2.1).contains(&later.p95_ms) && (50.0..52.0).contains(&later.p99_ms), "{later:?}");
        let earlier = figures.earlier.unwrap();
        assert_eq!((earlier.events, earlier.p50_ms, earlier.p99_ms), (1, 3.0, 3.0));
    }
}
