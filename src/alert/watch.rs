//! How a figure of one subject becomes the value that a rule holds against its threshold.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::rules::{Nature, Rule};

/// Sums that are kept of a window: its end is as precise as a twelfth of it.
const STEPS: u32 = 12;

/// Windows that a baseline is made of before anything is held against it. Source: a guess; of fewer the deviation is not known.
const BASELINE_WINDOWS: u32 = 10;
/// How much a new window counts in the baseline: the last half hour of windows of a minute, about. Source: a guess.
const BASELINE_SHARE: f64 = 0.05;
/// A feed is never taken to be steadier than this share of its usual rate. Source: a guess: what a feed does anyway.
const STEADIEST: f64 = 0.1;

/// A window counts in what is the usual deviation with no more than so many of it. Source: a guess.
const WIDEST: f64 = 2.0;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// Too little is known.
    Unknown,
    /// So much, of a span that began before the process or the subject did: it may be wrong already, and is not known to be well.
    Partial(f64),
    /// So much.
    Whole(f64),
    /// There was nothing in the window that could be wrong.
    Nothing,
}

/// What is remembered of a figure of one subject for one rule.
#[derive(Debug)]
pub(super) enum Measure {
    Now,
    Window(Window),
    Absence { last: f64, changed: Instant, has_changed: bool },
    Deviation(Window, Baseline),
}

impl Measure {
    pub(super) fn new(rule: &Rule, now: Instant, value: f64, of: f64) -> Self {
        match rule.nature {
            Nature::Threshold => Self::Now,
            Nature::Absence => Self::Absence { last: value, changed: now, has_changed: false },
            Nature::Rate | Nature::Ratio | Nature::Growth => Self::Window(Window::new(now, value, of)),
            Nature::Deviation => Self::Deviation(Window::new(now, value, of), Baseline::default()),
        }
    }

    /// Takes a sample.
    pub(super) fn take(&mut self, rule: &Rule, now: Instant, value: f64, of: f64) -> Reading {
        match self {
            Self::Now => Reading::Whole(value),
            Self::Absence { last, changed, has_changed } => {
                #[expect(clippy::float_cmp, reason = "a count that is the same is the same to the bit")]
                let is_same = *last == value;
                if !is_same {
                    (*last, *changed, *has_changed) = (value, now, true);
                }
                let silent = now.saturating_duration_since(*changed).as_secs_f64();
                if *has_changed { Reading::Whole(silent) } else { Reading::Partial(silent) }
            }
            Self::Window(window) => {
                let growth = window.take(now, value, of, rule.window);
                match rule.nature {
                    Nature::Ratio => share(growth, rule.least),
                    Nature::Growth => match growth {
                        Growth { whole: true, from, by, .. } if from > 0.0 => Reading::Whole(100.0 * by / from),
                        _ => Reading::Unknown,
                    },
                    _ if growth.whole => Reading::Whole(growth.by),
                    _ => Reading::Partial(growth.by),
                }
            }
            Self::Deviation(window, baseline) => {
                let growth = window.take(now, value, of, rule.window);
                if growth.whole { baseline.take(now, growth.by, rule) } else { Reading::Unknown }
            }
        }
    }
}

fn share(growth: Growth, least: f64) -> Reading {
    if growth.of <= 0.0 {
        return if growth.whole { Reading::Nothing } else { Reading::Unknown };
    }
    let share = 100.0 * growth.by / growth.of;
    if growth.of < least {
        Reading::Unknown
    } else if growth.whole {
        Reading::Whole(share)
    } else {
        Reading::Partial(share)
    }
}

/// By how much two counts have grown.
#[derive(Debug, Clone, Copy)]
struct Growth {
    /// What the first was when the window began.
    from: f64,
    by: f64,
    of: f64,
    /// Whether the whole window has been seen.
    whole: bool,
}

/// Two counts over a span that goes along.
#[derive(Debug)]
pub(super) struct Window {
    /// When, and what they were; oldest first.
    sums: VecDeque<(Instant, f64, f64)>,
}

impl Window {
    fn new(now: Instant, value: f64, of: f64) -> Self {
        Self { sums: VecDeque::from([(now, value, of)]) }
    }

    fn take(&mut self, now: Instant, value: f64, of: f64, span: Duration) -> Growth {
        let step = span / STEPS;
        // The one before the last that is old enough begins the window.
        while self.sums.get(1).is_some_and(|(at, ..)| now.saturating_duration_since(*at) >= span) {
            self.sums.pop_front();
        }
        if self.sums.back().is_none_or(|(at, ..)| now.saturating_duration_since(*at) >= step) {
            self.sums.push_back((now, value, of));
        }
        let (began, first, first_of) = self.sums.front().copied().unwrap_or((now, value, of));
        let whole = now.saturating_duration_since(began) >= span;
        Growth { from: first, by: value - first, of: of - first_of, whole }
    }
}

/// What is usual: a moving mean and variance of what a window brings, taken once a window.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    mean: f64,
    variance: f64,
    windows: u32,
    taken: Option<Instant>,
}

impl Baseline {
    fn take(&mut self, now: Instant, value: f64, rule: &Rule) -> Reading {
        let known = self.windows >= BASELINE_WINDOWS;
        // A count deviates by its root by chance alone.
        let deviation = self.variance.sqrt().max(self.mean.max(1.0).sqrt()).max(STEADIEST * self.mean);
        let away = (value - self.mean).abs() / deviation;
        let is_due = self.taken.is_none_or(|taken| now.saturating_duration_since(taken) >= rule.window);
        if is_due {
            self.taken = Some(now);
            self.learn(value, known.then_some((deviation * rule.threshold, deviation * WIDEST)));
        }
        if !known {
            return Reading::Unknown;
        }
        // Of a feed that brings hardly anything no rate is unusual.
        if self.mean < rule.least && value < rule.least { Reading::Nothing } else { Reading::Whole(away) }
    }

    /// What is unusual moves the baseline only as far as the threshold: a change that stays becomes usual after a while.
    /// And it widens what is usual hardly, or else a silence behind a burst would be none.
    fn learn(&mut self, value: f64, limits: Option<(f64, f64)>) {
        self.windows = self.windows.saturating_add(1);
        let share = BASELINE_SHARE.max(1.0 / f64::from(self.windows));
        let away = value - self.mean;
        let moves = limits.map_or(away, |(limit, _)| away.clamp(-limit, limit));
        let away = limits.map_or(away, |(_, limit)| away.clamp(-limit, limit));
        self.mean += share * moves;
        self.variance = if self.windows == 1 { 0.0 } else { (1.0 - share) * (self.variance + share * away * away) };
    }
}
