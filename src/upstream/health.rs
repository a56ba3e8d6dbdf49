//! Whether a link should be replaced before it fails: judged by its own usual figures, never by those of another.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::dialect::MaxAge;

/// A window of frames is closed after this, if it has enough of them.
const WINDOW: Duration = Duration::from_secs(10);

/// Fewer frames say nothing of a share.
const FRAMES_MIN: u64 = 100;

/// A link is sick when this share of its frames cannot be read, and so many times its usual one. Source: guesses. What cannot be read
/// from the beginning is a matter of settings, which another link would not mend.
const UNREADABLE_SHARE: f64 = 0.2;
const UNREADABLE_TIMES: f64 = 4.0;

/// So many pings teach what is usual, and so many in a row that are not make a link sick. Source: guesses.
const PINGS_TO_LEARN: u32 = 5;
const SLOW_IN_A_ROW: u32 = 3;

/// A ping is slow when it takes so many times the usual, and at least this. Source: guesses.
const SLOW_TIMES: f64 = 10.0;
const SLOW_MIN: Duration = Duration::from_millis(500);

/// How much a new figure counts against what was usual.
const LEARNING: f64 = 1.0 / 16.0;

/// Why a link should be replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sick {
    /// Many of its frames cannot be read, which is not usual for it.
    Unreadable {
        /// Of the frames of the last window.
        share: f64,
        /// Of those before.
        usual: f64,
    },
    /// It answers pings late, which is not usual for it.
    Slow {
        /// The last one.
        latency: Duration,
        /// Those before.
        usual: Duration,
    },
    /// The upstream will close it for its age.
    Old {
        /// How old it is.
        age: Duration,
        /// The age at which the upstream closes it.
        max: Duration,
    },
}

impl Sick {
    /// A short name for metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Slow { .. } => "slow",
            Self::Old { .. } => "age",
        }
    }
}

impl fmt::Display for Sick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { share, usual } => {
                write!(f, "{:.0} % of its frames cannot be read; usual are {:.0} %", share * 100.0, usual * 100.0)
            }
            Self::Slow { latency, usual } => {
                write!(f, "it answers pings after {latency:.0?}; usual are {usual:.0?}")
            }
            Self::Old { age, max } => write!(
                f,
                "it is {} old, and the upstream closes links after {}",
                crate::config::units::show_duration(Duration::from_secs(age.as_secs())),
                crate::config::units::show_duration(*max)
            ),
        }
    }
}

/// How one link is, from its connection on.
#[derive(Debug)]
pub struct LinkHealth {
    opened: Instant,
    /// The age at which it is to be replaced, and the one at which the upstream closes it.
    replaced_at: Option<(Duration, Duration)>,
    window: Window,
    usual_share: Option<f64>,
    unreadable: Option<Sick>,
    pings: u32,
    usual_latency: f64,
    slow: u32,
    latency: Duration,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    frames: u64,
    unreadable: u64,
}

impl LinkHealth {
    /// Of a link that was opened then. `spread`, from 0 to 1 and another for each link, is where in the first half of the margin
    /// before `max_age` it is replaced, so that links that were opened together are not all replaced together.
    pub fn new(opened: Instant, max_age: Option<MaxAge>, spread: f64) -> Self {
        let replaced_at = max_age.map(|limit| {
            let late = limit.margin.mul_f64(spread.clamp(0.0, 1.0) / 2.0);
            (limit.replace_at() + late, limit.age)
        });
        Self {
            opened,
            replaced_at,
            window: Window { began: opened, frames: 0, unreadable: 0 },
            usual_share: None,
            unreadable: None,
            pings: 0,
            usual_latency: 0.0,
            slow: 0,
            latency: Duration::ZERO,
        }
    }

    /// So many frames came, of which so many could not be read.
    pub fn frames(&mut self, now: Instant, frames: u64, unreadable: u64) {
        self.window.frames += frames;
        self.window.unreadable += unreadable;
        if self.window.frames < FRAMES_MIN || now.saturating_duration_since(self.window.began) < WINDOW {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share has three digits")]
        let share = self.window.unreadable as f64 / self.window.frames as f64;
        self.window = Window { began: now, frames: 0, unreadable: 0 };
        let usual = *self.usual_share.get_or_insert(share);
        let sick = share >= UNREADABLE_SHARE && share >= UNREADABLE_TIMES * usual;
        self.unreadable = sick.then_some(Sick::Unreadable { share, usual });
        self.usual_share = Some(usual + (share - usual) * LEARNING);
    }

    /// A ping was answered after this time.
    pub fn pong(&mut self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let usual = self.usual_latency;
        self.latency = latency;
        self.pings = self.pings.saturating_add(1);
        if self.pings <= PINGS_TO_LEARN {
            self.usual_latency += (seconds - usual) / f64::from(self.pings);
            return;
        }
        if latency >= SLOW_MIN && seconds >= SLOW_TIMES * usual {
            self.slow += 1;
        } else {
            self.slow = 0;
        }
        self.usual_latency += (seconds - usual).min(usual) * LEARNING;
    }

    /// When it will be too old, if nothing else happens.
    pub fn replaced_at(&self) -> Option<Instant> {
        self.replaced_at.map(|(at, _)| self.opened + at)
    }

    /// Whether it should be replaced, and why.
    pub fn judge(&self, now: Instant) -> Option<Sick> {
        let age = now.saturating_duration_since(self.opened);
        let old = self.replaced_at.filter(|(at, _)| age >= *at).map(|(_, max)| Sick::Old { age, max });
        let usual = Duration::from_secs_f64(self.usual_latency);
        let slow = (self.slow >= SLOW_IN_A_ROW).then_some(Sick::Slow { latency: self.latency, usual });
        old.or(self.unreadable).or(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn healthy() -> (LinkHealth, Instant) {
        let now = Instant::now();
        (LinkHealth::new(now, None, 0.0), now)
    }

    /// Windows of frames of which so many in a hundred cannot be read.
    fn windows(health: &mut LinkHealth, now: &mut Instant, windows: u32, unreadable: u64) {
        for _ in 0..windows {
            *now += WINDOW;
            health.frames(*now, 100, unreadable);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_suddenly_cannot_be_read_make_a_link_sick() {
        let (mut health, mut now) = healthy();
        windows(&mut health, &mut now, 20, 1);
        assert_eq!(health.judge(now), None);
        windows(&mut health, &mut now, 1, 60);
        let sick = health.judge(now).unwrap();
        assert_eq!(
            (sick.cause(), sick.to_string()),
            ("unreadable", "60 % of its frames cannot be read; usual are 1 %".into())
        );
        windows(&mut health, &mut now, 1, 0);
        assert_eq!(health.judge(now), None, "it has recovered");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_never_be_read_is_no_sickness_of_the_link() {
        let (mut health, mut now) = healthy();
        windows(&mut health, &mut now, 50, 90);
        assert_eq!(health.judge(now), None, "the next link would have the same");
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_few_frames_says_nothing() {
        let (mut health, mut now) = healthy();
        windows(&mut health, &mut now, 5, 0);
        for _ in 0..9 {
            now += WINDOW;
            health.frames(now, 10, 10);
            assert_eq!(health.judge(now), None);
        }
        now += WINDOW;
        health.frames(now, 10, 10);
        assert_eq!(health.judge(now).map(|sick| sick.cause()), Some("unreadable"), "a hundred frames are enough");
    }

    #[tokio::test(start_paused = true)]
    async fn pings_that_take_far_longer_than_usual_make_a_link_sick() {
        let (mut health, now) = healthy();
        let usual = Duration::from_millis(80);
        (0..50).for_each(|_| health.pong(usual));
        health.pong(Duration::from_secs(3));
        health.pong(usual);
        (0..2).for_each(|_| health.pong(Duration::from_secs(3)));
        assert_eq!(health.judge(now), None, "one or two are an accident");
        health.pong(Duration::from_secs(3));
        let sick = health.judge(now).unwrap();
        assert!(sick.to_string().starts_with("it answers pings after 3s; usual are"), "{sick}");
        assert_eq!(sick.cause(), "slow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_was_always_slow_or_is_only_slower_is_not_sick() {
        let (mut far, now) = healthy();
        (0..50).for_each(|_| far.pong(Duration::from_secs(2)));
        (0..50).for_each(|_| far.pong(Duration::from_secs(4)));
        assert_eq!(far.judge(now), None);
        let (mut near, now) = healthy();
        (0..50).for_each(|_| near.pong(Duration::from_micros(100)));
        (0..50).for_each(|_| near.pong(Duration::from_millis(50)));
        assert_eq!(near.judge(now), None, "a busy moment of a near one");
    }

    #[tokio::test(start_paused = true)]
    async fn links_are_replaced_before_the_upstream_closes_them_and_not_all_at_once() {
        let (now, limit) = (Instant::now(), MaxAge::new(DAY, Some(Duration::from_mins(10))));
        let links: Vec<LinkHealth> = (0..5).map(|link| LinkHealth::new(now, limit, f64::from(link) / 4.0)).collect();
        let at: Vec<Duration> = links.iter().map(|link| link.replaced_at().unwrap() - now).collect();
        assert_eq!(at[0] + Duration::from_mins(10), DAY);
        assert_eq!(at[4] + Duration::from_mins(5), DAY);
        assert!(at.windows(2).all(|pair| pair[0] < pair[1]), "{at:?}");
        assert_eq!(links[2].judge(now + at[2] - Duration::from_secs(1)), None);
        let sick = links[0].judge(now + at[0]).unwrap();
        assert_eq!(sick.to_string(), "it is 23h 50m old, and the upstream closes links after 1day");
        assert_eq!(LinkHealth::new(now, None, 0.0).judge(now + 365 * DAY), None);
    }
}
