//! Whether a topic has been quiet for longer than it ever is: learned from its own pace, so that a quiet feed is not taken for
//! a dead one.
//!
//! What counts is the time between seconds in which something came. A topic that is quiet for 24 times its mean, and for twice its
//! longest usual quiet, is silent. Of arrivals at random (Poisson) less than one in 10⁸ comes that late by itself, and while
//! the pace is still being learned less than one topic in 10⁵ is taken for silent. Feeds that pause by the clock are not random:
//! each word that was wrong doubles the patience, and a pause that outlasts two of them becomes a usual one.

use std::time::Duration;

use crate::config::PoolSettings;

/// Quiet for so many times the mean is silence. Source: the promise above; the mean is known to about a tenth.
const MEANS: f64 = 24.0;

/// Quiet for so many times the longest usual quiet is silence. Source: a guess.
const LONGEST: f64 = 2.0;

/// Nothing is said of a topic of which less was seen: so many spans between two seconds with messages.
const SPANS_MIN: u16 = 20;

/// The mean is over about so many spans.
const SPANS_MEAN: u16 = 64;

/// The longest usual quiet counts half as much after this time, so that one bad day is forgotten. Source: a guess.
const HALF_LIFE_SECONDS: f64 = 86_400.0;

/// A quiet that outlasts so many words of silence, each of which brought a new subscription, is the feed's own.
const WORDS_IN_VAIN: u8 = 2;

/// A moment, in whole seconds since one that the caller keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Second(pub u32);

impl Second {
    fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Between what bounds a topic may be found silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietBounds {
    /// Never sooner.
    pub min: Duration,
    /// A topic that would have to be quiet for longer is not judged; 0: none is.
    pub max: Duration,
}

impl QuietBounds {
    /// As a pool's settings have them.
    pub fn new(pool: &PoolSettings) -> Self {
        Self { min: pool.silence_min, max: pool.silence_max }
    }
}

/// A topic is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// For so long, or since it was last said.
    pub quiet: Duration,
    /// After so long it is.
    pub threshold: Duration,
}

/// What was learned of one topic's pace, or of a link's as a whole. There may be ten thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quietness {
    /// When quiet is counted from: the last second with a message, or a later interruption of ours.
    from: Second,
    /// The last second with a message.
    last: Second,
    mean: f32,
    longest: f32,
    longest_at: Second,
    spans: u16,
    /// Said since the last message.
    words: u8,
    /// Whether there was a message yet, and whether the running quiet is one of ours.
    running: Running,
}

const _: () = assert!(size_of::<Quietness>() <= 32, "it is kept for each topic");

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Running {
    #[default]
    Never,
    Counts,
    Interrupted,
}

impl Quietness {
    /// Something came. Costs a comparison, but for the first time in a second.
    #[inline]
    pub fn seen(&mut self, now: Second) {
        if now > self.last || self.running != Running::Counts {
            self.learn(now);
        }
    }

    fn learn(&mut self, now: Second) {
        let usual = self.running == Running::Counts && self.words == 0;
        // A new subscription that brought it back was needed, or nobody could know; one that did not was not.
        if usual || self.words > WORDS_IN_VAIN {
            self.note(now.since(self.last), now);
        }
        self.last = now;
        self.from = now;
        self.words = 0;
        self.running = Running::Counts;
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean has three digits")]
    fn note(&mut self, span: u32, now: Second) {
        self.spans = self.spans.saturating_add(1);
        let span = span as f32;
        self.mean += (span - self.mean) / f32::from(self.spans.min(SPANS_MEAN));
        if f64::from(span) >= self.longest_usual(now) {
            self.longest = span;
            self.longest_at = now;
        }
    }

    fn longest_usual(&self, now: Second) -> f64 {
        f64::from(self.longest) * (-f64::from(now.since(self.longest_at)) / HALF_LIFE_SECONDS).exp2()
    }

    /// Its subscription ended or begins anew: by a lost link, or by us. Quiet is counted from here, and nothing is learned of what
    /// was before.
    pub fn interrupted(&mut self, now: Second) {
        self.from = now;
        if self.running == Running::Counts {
            self.running = Running::Interrupted;
        }
    }

    /// After how long a quiet it is silent; none where that is not judged: too little was seen, it is too seldom for the
    /// bounds, or it was said too often in vain.
    pub fn threshold(&self, now: Second, bounds: QuietBounds) -> Option<Duration> {
        if self.spans < SPANS_MIN {
            return None;
        }
        let learned = (MEANS * f64::from(self.mean)).max(LONGEST * self.longest_usual(now));
        let patience = learned.max(bounds.min.as_secs_f64()) * f64::from(self.words).exp2();
        (patience <= bounds.max.as_secs_f64()).then(|| Duration::from_secs_f64(patience))
    }

    /// Whether it is silent now.
    pub fn silence(&self, now: Second, bounds: QuietBounds) -> Option<Silence> {
        let quiet = Duration::from_secs(now.since(self.from).into());
        // Most are asked while they are not: this keeps the dear part away from them.
        if quiet <= bounds.min {
            return None;
        }
        let threshold = self.threshold(now, bounds)?;
        (quiet > threshold).then_some(Silence { quiet, threshold })
    }

    /// Its silence was acted upon. It is not silent again before twice the time, unless something comes.
    pub fn said(&mut self, now: Second) {
        self.from = now;
        self.words = self.words.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: QuietBounds = QuietBounds { min: Duration::from_secs(30), max: Duration::from_hours(24) };

    /// Arrivals at random, so many a second on average.
    struct Poisson {
        rate: f64,
        at: f64,
        random: fastrand::Rng,
    }

    impl Poisson {
        fn new(rate: f64, seed: u64) -> Self {
            Self { rate, at: 0.0, random: fastrand::Rng::with_seed(seed) }
        }

        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
        fn next(&mut self) -> Second {
            self.at -= (1.0 - self.random.f64()).ln() / self.rate;
            Second(self.at as u32)
        }
    }

    /// From 100 a second to one in ten minutes.
    fn rates() -> impl Iterator<Item = f64> {
        (0..25).map(|step| 100.0 * (1.0_f64 / 60_000.0).powf(f64::from(step) / 24.0))
    }

    #[test]
    fn no_random_feed_is_taken_for_dead() {
        let (mut arrivals, mut judged) = (0, 0);
        for rate in rates() {
            for seed in 0..20 {
                let (mut feed, mut quietness) = (Poisson::new(rate, seed), Quietness::default());
                for _ in 0..4000 {
                    let now = feed.next();
                    let silence = quietness.silence(now, BOUNDS);
                    assert_eq!(silence, None, "{rate} a second, seed {seed}, at {now:?}: {quietness:?}");
                    judged += u32::from(quietness.threshold(now, BOUNDS).is_some());
                    quietness.seen(now);
                    arrivals += 1;
                }
            }
        }
        assert!(judged > arrivals / 2, "{judged} of {arrivals} could have been found silent");
    }

    #[test]
    fn a_feed_that_stops_is_found_within_its_threshold_which_follows_its_pace() {
        for rate in rates() {
            let (mut feed, mut quietness) = (Poisson::new(rate, 7), Quietness::default());
            let mut last = Second(0);
            // Ten minutes' worth at least, and enough of the slow ones.
            while last.0 < 600 || quietness.spans < 200 {
                last = feed.next();
                quietness.seen(last);
            }
            let threshold = quietness.threshold(last, BOUNDS).unwrap();
            let seconds = threshold.as_secs_f64();
            assert!(seconds >= 30.0 && seconds <= (60.0 / rate).max(60.0), "{rate} a second: {threshold:?}");
            let later = last.0..last.0 + 86_400;
            let found = later.map(Second).find(|now| quietness.silence(*now, BOUNDS).is_some()).unwrap();
            assert!(
                f64::from(found.since(last)) <= seconds + 1.0,
                "{rate} a second: found after {}",
                found.since(last)
            );
        }
    }

    fn steady(every: u32, until: u32) -> Quietness {
        let mut quietness = Quietness::default();
        for second in (0..=until).filter(|second| second % every == 0) {
            quietness.seen(Second(second));
        }
        quietness
    }

    #[test]
    fn nothing_is_said_of_a_topic_before_enough_of_it_was_seen() {
        let hour = Second(3600);
        assert_eq!(Quietness::default().silence(hour, BOUNDS), None, "it never came");
        assert_eq!(steady(1, 19).silence(hour, BOUNDS), None);
        assert!(steady(1, 20).silence(hour, BOUNDS).is_some());
        // A snapshot in a thousand messages is one second.
        let mut snapshot = Quietness::default();
        (0..1000).for_each(|_| snapshot.seen(Second(5)));
        assert_eq!(snapshot.silence(hour, BOUNDS), None);
    }

    #[test]
    fn the_bounds_hold_and_none_is_judged_where_they_are_switched_off() {
        let slow = steady(60, 6000);
        let long_after = Second(100_000);
        assert_eq!(slow.threshold(Second(6000), BOUNDS), Some(Duration::from_mins(24)));
        let narrow = QuietBounds { max: Duration::from_mins(20), ..BOUNDS };
        assert_eq!(slow.silence(long_after, narrow), None, "it is too seldom to be judged within 20 minutes");
        let off = QuietBounds { max: Duration::ZERO, ..BOUNDS };
        assert_eq!(steady(1, 1000).silence(long_after, off), None);
        let patient = QuietBounds { min: Duration::from_mins(5), ..BOUNDS };
        assert_eq!(steady(1, 1000).silence(Second(1300), patient), None);
        assert!(steady(1, 1000).silence(Second(1301), patient).is_some());
    }

    #[test]
    fn what_was_said_in_vain_is_said_ever_more_seldom_and_then_learned() {
        let mut quietness = steady(1, 1000);
        let mut said = Vec::new();
        // The market closes for eight hours.
        for now in (1000..1000 + 8 * 3600).map(Second) {
            if quietness.silence(now, QuietBounds { max: Duration::from_hours(1), ..BOUNDS }).is_some() {
                said.push(now.0 - 1000);
                quietness.said(now);
                quietness.interrupted(now);
            }
        }
        assert!(said.len() <= 7, "{said:?}");
        assert!(said.windows(3).all(|three| three[2] - three[1] > three[1] - three[0]), "{said:?}");
        let open = 1000 + 8 * 3600;
        quietness.seen(Second(open));
        let patience = quietness.threshold(Second(open), BOUNDS).unwrap();
        assert!(patience >= Duration::from_hours(16), "the next night is no surprise: {patience:?}");
        for second in open..open + 7 * 86_400 {
            quietness.seen(Second(second));
        }
        let later = quietness.threshold(Second(open + 7 * 86_400), BOUNDS).unwrap();
        assert!(later <= Duration::from_mins(10), "but it is forgotten after a week without: {later:?}");
    }

    #[test]
    fn an_outage_that_a_new_subscription_ended_is_not_taken_for_a_usual_quiet() {
        let mut quietness = steady(1, 1000);
        let before = quietness.threshold(Second(1000), BOUNDS);
        let now = Second(1600);
        assert!(quietness.silence(now, BOUNDS).is_some());
        quietness.said(now);
        quietness.interrupted(now);
        quietness.seen(Second(1601));
        assert_eq!(quietness.threshold(Second(1601), BOUNDS), before);
        // A link that was lost for an hour neither.
        quietness.interrupted(Second(1700));
        assert_eq!(quietness.silence(Second(1710), BOUNDS), None, "it counts from the new subscription on");
        quietness.interrupted(Second(5300));
        quietness.seen(Second(5301));
        assert_eq!(quietness.threshold(Second(5301), BOUNDS), before);
    }
}
