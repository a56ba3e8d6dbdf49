//! What both paths of one upstream did lately: sums at moments, so that any span between two of them can be told.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::verdict::{PathRates, Side};
use crate::journal::Path;
use crate::rollout::figures::PathFigures;

/// Moments that are kept of a window, however long.
const STEPS: u32 = 60;

/// Connections lost are told of so long.
const HOUR: Duration = Duration::from_hours(1);

/// And by parts of it.
const PART: Duration = Duration::from_mins(1);

/// What both paths lose within so long of one another is one fault around them. Source: a guess; the ends of connections that are cut
/// together are noticed within a second or two.
const SETTLE: Duration = Duration::from_secs(5);

/// The legacy path brings nothing any more if this long nothing came where several messages were to be expected: a dead network shows
/// in silence before it shows in lost connections.
const QUIET: Duration = Duration::from_secs(10);

/// Messages that are to be expected within [`QUIET`], so that none tells something.
const EXPECTED_MIN: f64 = 5.0;

/// Sums of one path since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    messages: u64,
    control: u64,
    events: u64,
    quarantined: u64,
    refused: u64,
    /// As they were told.
    told_failures: u64,
    /// Those that were no outage of the whole upstream.
    failures: u64,
}

impl Sums {
    fn since(self, before: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(before.messages),
            control: self.control.saturating_sub(before.control),
            events: self.events.saturating_sub(before.events),
            quarantined: self.quarantined.saturating_sub(before.quarantined),
            refused: self.refused.saturating_sub(before.refused),
            told_failures: self.told_failures.saturating_sub(before.told_failures),
            failures: self.failures.saturating_sub(before.failures),
        }
    }

    fn side(self, links: usize) -> Side {
        Side {
            messages: self.messages.saturating_sub(self.control),
            quarantined: self.quarantined,
            refused: self.refused,
            connection_failures: self.failures,
            links,
        }
    }
}

/// A path as it stands.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    monitors: usize,
    links: usize,
    open: usize,
    sums: Sums,
}

/// Connections lost within a minute, and how many there were to lose.
#[derive(Debug, Clone, Copy)]
struct Losses {
    from: Instant,
    failures: [u64; 2],
    told: [u64; 2],
    link_seconds: [f64; 2],
}

/// Which of the two.
const SMART: usize = 0;
const LEGACY: usize = 1;

/// The last hour's connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hour {
    /// Lost on the smart path.
    pub(super) smart: u64,
    /// Lost on the legacy path.
    pub(super) legacy: u64,
    /// What the smart path would have lost with as many for each link and second as the legacy path; none where that had no links.
    pub(super) expected: Option<f64>,
}

/// Both paths of an upstream.
#[derive(Debug)]
pub(super) struct Watch {
    now: [Standing; 2],
    looked: Option<Instant>,
    moments: VecDeque<(Instant, [Sums; 2])>,
    hour: VecDeque<Losses>,
    /// Failures that may turn out to be an outage of the upstream.
    pending: VecDeque<(Instant, [u64; 2])>,
    /// Failures since the smart path has no link, where there is no legacy path to ask.
    down: Option<Down>,
    outage: bool,
    /// When the legacy path last brought something.
    heard: Option<Instant>,
}

#[derive(Debug, Default)]
struct Down {
    failures: u64,
    /// A new connection could not be had either.
    in_vain: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            now: Default::default(),
            looked: None,
            moments: VecDeque::new(),
            hour: VecDeque::new(),
            pending: VecDeque::new(),
            down: None,
            outage: false,
            heard: None,
        }
    }

    /// Takes in what both paths did up to `now`.
    pub(super) fn take(&mut self, now: Instant, window: Duration, figures: [Option<&PathFigures>; 2]) {
        let before = self.now;
        let first = self.looked.is_none();
        let elapsed = self.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        self.looked = Some(now);
        let mut lost = [0; 2];
        for side in [SMART, LEGACY] {
            let standing = &mut self.now[side];
            if let Some(figures) = figures[side] {
                lost[side] = figures.connection_failures.saturating_sub(before[side].sums.told_failures);
                standing.set(figures);
            } else {
                (standing.monitors, standing.links, standing.open) = (0, 0, 0);
            }
        }
        if first {
            // What was before is not this window's.
            lost = [0; 2];
        }
        if self.now[LEGACY].sums.messages > before[LEGACY].sums.messages || self.heard.is_none() {
            self.heard = Some(now);
        }
        self.sort_out(now, lost, before[SMART].open == 0 && !first);
        self.count(now, elapsed, lost);
        let step = (window / STEPS).max(Duration::from_secs(1));
        let due = self.moments.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) + elapsed / 2 >= step);
        if due {
            self.moments.push_back((now, [self.now[SMART].sums, self.now[LEGACY].sums]));
        }
        // One that is as old as the window stays: the window begins there.
        while self.moments.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= window) {
            self.moments.pop_front();
        }
    }

    /// Tells failures that are one path's own from those of an upstream that nobody reaches.
    fn sort_out(&mut self, now: Instant, lost: [u64; 2], was_down: bool) {
        let [smart, legacy] = self.now;
        let is_down = smart.links > 0 && smart.open == 0;
        let has_legacy = legacy.links > 0;
        let without = has_legacy && (legacy.open == 0 || self.legacy_is_quiet(now));
        if is_down && has_legacy {
            self.outage = without;
        } else if is_down {
            let down = self.down.get_or_insert_default();
            down.in_vain |= was_down && lost[SMART] > 0;
            self.outage = down.in_vain;
        } else {
            self.outage = false;
        }
        if self.outage {
            // What was lost just before is the same fault.
            self.pending.clear();
        }
        match (&mut self.down, is_down && !has_legacy) {
            (Some(down), true) => {
                down.failures += lost[SMART];
                if lost[LEGACY] > 0 {
                    self.pending.push_back((now, [0, lost[LEGACY]]));
                }
                // Whether it is an outage is not known before it is over.
                return;
            }
            (down, _) => {
                let own = down.take().filter(|down| !down.in_vain).map_or(0, |down| down.failures);
                if !self.outage && (own + lost[SMART] + lost[LEGACY]) > 0 {
                    self.pending.push_back((now, [own + lost[SMART], lost[LEGACY]]));
                }
            }
        }
        while let Some((at, failures)) = self.pending.front().copied()
            && now.saturating_duration_since(at) >= SETTLE
        {
            self.pending.pop_front();
            for side in [SMART, LEGACY] {
                self.now[side].sums.failures += failures[side];
                if let Some(part) = self.hour.back_mut() {
                    part.failures[side] += failures[side];
                }
            }
        }
    }

    fn legacy_is_quiet(&self, now: Instant) -> bool {
        let Some(heard) = self.heard else { return false };
        let silence = now.saturating_duration_since(heard);
        let Some((since, before)) = self.moments.front() else { return false };
        let span = heard.saturating_duration_since(*since).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
        let messages = self.now[LEGACY].sums.messages.saturating_sub(before[LEGACY].messages) as f64;
        silence >= QUIET && span > 0.0 && messages / span * QUIET.as_secs_f64() >= EXPECTED_MIN
    }

    fn count(&mut self, now: Instant, elapsed: Duration, lost: [u64; 2]) {
        if self.hour.back().is_none_or(|part| now.saturating_duration_since(part.from) >= PART) {
            self.hour.push_back(Losses { from: now, failures: [0; 2], told: [0; 2], link_seconds: [0.0; 2] });
        }
        while self.hour.front().is_some_and(|part| now.saturating_duration_since(part.from) >= HOUR) {
            self.hour.pop_front();
        }
        if let Some(part) = self.hour.back_mut() {
            for side in [SMART, LEGACY] {
                part.told[side] += lost[side];
                #[expect(clippy::cast_precision_loss, reason = "few links")]
                let links = self.now[side].links as f64;
                part.link_seconds[side] += links * elapsed.as_secs_f64();
            }
        }
    }

    /// Whether nobody reaches the upstream.
    pub(super) fn is_out(&self) -> bool {
        self.outage
    }

    /// Whether anything is on the smart path.
    pub(super) fn has_smart(&self) -> bool {
        self.now[SMART].monitors > 0
    }

    /// Whether anything is on the legacy path.
    pub(super) fn has_legacy(&self) -> bool {
        self.now[LEGACY].monitors > 0
    }

    /// Both paths within the window.
    pub(super) fn sides(&self) -> [Side; 2] {
        let before =
            self.moments.front().map_or_else(|| [self.now[SMART].sums, self.now[LEGACY].sums], |(_, sums)| *sums);
        [SMART, LEGACY].map(|side| self.now[side].sums.since(before[side]).side(self.now[side].links))
    }

    /// How far back the window reaches.
    pub(super) fn span(&self, now: Instant) -> Duration {
        self.moments.front().map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }

    /// The connections of the last hour.
    pub(super) fn hour(&self) -> Hour {
        let mut failures = [0; 2];
        let mut link_seconds = [0.0; 2];
        for part in &self.hour {
            for side in [SMART, LEGACY] {
                failures[side] += part.failures[side];
                link_seconds[side] += part.link_seconds[side];
            }
        }
        // What may be an outage yet speaks for the smart path only.
        failures[LEGACY] += self.pending.iter().map(|(_, failures)| failures[LEGACY]).sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
        let expected =
            (link_seconds[LEGACY] > 0.0).then(|| failures[LEGACY] as f64 / link_seconds[LEGACY] * link_seconds[SMART]);
        Hour { smart: failures[SMART], legacy: failures[LEGACY], expected }
    }

    /// Forgets what was, but for where the sums stand.
    pub(super) fn begin_anew(&mut self) {
        self.moments.clear();
        self.hour.clear();
        self.pending.clear();
        self.down = None;
    }

    /// As people compare it.
    pub(super) fn rates(&self, upstream: &str, now: Instant) -> Vec<PathRates> {
        let before =
            self.moments.front().map_or_else(|| [self.now[SMART].sums, self.now[LEGACY].sums], |(_, sums)| *sums);
        let seconds = self.span(now).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let of = |(side, path): (usize, Path)| {
            let Standing { monitors, links, open, sums } = self.now[side];
            let within = sums.since(before[side]);
            PathRates {
                upstream: upstream.to_owned(),
                path,
                monitors,
                links,
                open,
                messages_per_second: rate(within.messages),
                events_per_second: rate(within.events),
                parse_rate: within.side(links).parse_rate(),
                connection_failures: self.hour.iter().map(|part| part.told[side]).sum(),
                refused: within.refused,
            }
        };
        [(SMART, Path::Smart), (LEGACY, Path::Legacy)].into_iter().map(of).collect()
    }
}

impl Standing {
    fn set(&mut self, figures: &PathFigures) {
        (self.monitors, self.links, self.open) = (figures.monitors, figures.links, figures.open);
        self.sums = Sums {
            messages: figures.messages,
            control: figures.control,
            events: figures.events,
            quarantined: figures.quarantined,
            refused: figures.refused,
            told_failures: figures.connection_failures,
            failures: self.sums.failures,
        };
    }
}
