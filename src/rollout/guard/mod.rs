//! The guard: whether the smart path is worse than the legacy one, on the same upstream and in the same window. Pure; figures and
//! time come in, about once a second.
//!
//! Where nothing of an upstream is on the legacy path, the smart path is held against itself in the last window in which it was well;
//! without such a window only memory is judged. What both paths suffer says nothing: neither an upstream that nobody reaches, nor
//! messages that neither can read.

mod verdict;
mod window;

use std::collections::BTreeMap;

use tokio::time::Instant;

pub use verdict::{Against, Check, GuardState, PathRates, Side, Verdict};
use window::Watch;

use super::Fraction;
use super::figures::PathFigures;
use crate::config::GuardSettings;
use crate::journal::Path;

/// A finding must hold for so many looks. Source: a guess; one look may fall between two figures that belong together.
const LOOKS: u32 = 3;

/// By how much a share must be worse than that of the other side, so that chance does not decide: half as bad again.
const WORSE: f64 = 1.5;

/// Fewer errors within a window are no evidence. Source: a guess.
const ERRORS_MIN: u64 = 10;

/// What the process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes that are resident.
    pub used: u64,
    /// Bytes that it may have; 0: not known.
    pub limit: u64,
}

impl MemoryUse {
    /// The one of the other.
    #[expect(clippy::cast_precision_loss, reason = "a share is a float")]
    pub fn share(self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// What the guard is shown.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'s> {
    /// Both paths of every upstream.
    pub figures: &'s [PathFigures],
    /// The process.
    pub memory: MemoryUse,
    /// The share of monitors on the smart path that is in force.
    pub fraction: Fraction,
    /// Whether every monitor is where it is to be.
    pub settled: bool,
}

/// What it finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// In a word.
    pub state: GuardState,
    /// What is worse, where that holds for long enough.
    pub verdict: Option<Verdict>,
    /// What is not well, in words.
    pub words: Option<String>,
    /// The fraction has been well for a window.
    pub good: bool,
}

/// What a window was like in which the smart path was well.
#[derive(Debug, Clone, Copy)]
struct Baseline {
    unreadable: f64,
    errors: f64,
}

/// The guard.
#[derive(Debug, Default)]
pub struct Guard {
    upstreams: BTreeMap<String, Watch>,
    baselines: BTreeMap<String, Baseline>,
    /// For how many looks something was found.
    found: BTreeMap<(Option<String>, Check), u32>,
    /// The memory's share when nothing was on the smart path.
    memory_before: Option<f64>,
    /// Since when the same fraction is in force and well.
    well: Option<(Fraction, Instant)>,
}

impl Guard {
    /// Takes a look. `enabled`: whether anything is to be found.
    pub fn look(&mut self, now: Instant, settings: &GuardSettings, enabled: bool, sight: Sight<'_>) -> Finding {
        self.take(now, settings, sight.figures);
        if !enabled {
            self.found.clear();
            self.well = None;
            return Finding { state: GuardState::Off, verdict: None, words: None, good: false };
        }
        let smart: Vec<&String> =
            self.upstreams.iter().filter(|(_, watch)| watch.has_smart()).map(|(name, _)| name).collect();
        if smart.is_empty() {
            self.memory_before = Some(sight.memory.share());
            self.found.clear();
            self.well = None;
            return Finding { state: GuardState::Idle, verdict: None, words: None, good: false };
        }
        let (mut judged, mut out, mut bad) = (false, None, Vec::new());
        for name in smart {
            let watch = &self.upstreams[name];
            if watch.is_out() {
                out = Some(format!("upstream `{name}` is not to be reached"));
                continue;
            }
            judged |= judge(name, watch, self.baselines.get(name).copied(), settings, now, &mut bad);
        }
        bad.extend(self.memory(settings, sight.memory));
        self.found.retain(|key, _| {
            bad.iter().any(|verdict| (verdict.upstream.as_ref(), verdict.check) == (key.0.as_ref(), key.1))
        });
        for verdict in &bad {
            *self.found.entry((verdict.upstream.clone(), verdict.check)).or_default() += 1;
        }
        let lasts = |verdict: &Verdict| {
            self.found.get(&(verdict.upstream.clone(), verdict.check)).is_some_and(|looks| *looks >= LOOKS)
        };
        let verdict = bad.iter().find(|verdict| lasts(verdict)).cloned();
        let state = match (&verdict, bad.is_empty(), &out, judged) {
            (Some(_), ..) => GuardState::Bad,
            (None, false, ..) => GuardState::Suspect,
            (None, true, Some(_), _) => GuardState::Outage,
            (None, true, None, true) => GuardState::Healthy,
            (None, true, None, false) => GuardState::Waiting,
        };
        let words = bad.first().map(Verdict::message).or(out);
        let good = self.note_well(now, settings, state, sight);
        Finding { state, verdict, words, good }
    }

    /// Begins anew: what was before a change of what is in force is no evidence for what comes of it.
    pub fn begin_anew(&mut self) {
        self.upstreams.values_mut().for_each(Watch::begin_anew);
        self.found.clear();
        self.well = None;
    }

    /// Both paths of every upstream, as people compare them.
    pub fn rates(&self, now: Instant) -> Vec<PathRates> {
        self.upstreams.iter().flat_map(|(name, watch)| watch.rates(name, now)).collect()
    }

    fn take(&mut self, now: Instant, settings: &GuardSettings, figures: &[PathFigures]) {
        let of = |upstream: &str, path: Path| figures.iter().find(|row| row.upstream == upstream && row.path == path);
        for row in figures {
            self.upstreams.entry(row.upstream.clone()).or_insert_with(Watch::new);
        }
        let known = |upstream: &str| figures.iter().any(|row| row.upstream == upstream);
        self.upstreams.retain(|name, _| known(name));
        self.baselines.retain(|name, _| known(name));
        for (name, watch) in &mut self.upstreams {
            watch.take(now, settings.window, [of(name, Path::Smart), of(name, Path::Legacy)]);
        }
    }

    fn memory(&self, settings: &GuardSettings, memory: MemoryUse) -> Option<Verdict> {
        let share = memory.share();
        // What the process had before anything was on the smart path is not that path's doing.
        let before = self.memory_before.is_some_and(|before| before > settings.memory);
        (settings.memory < 1.0 && share > settings.memory && !before).then(|| Verdict {
            check: Check::Memory,
            upstream: None,
            value: share,
            threshold: settings.memory,
            against: Against::Limit,
            other: self.memory_before,
            smart: Side::default(),
            legacy: None,
            window_seconds: 0.0,
        })
    }

    /// Keeps what a good window was like; true where the fraction has just been well for one.
    fn note_well(&mut self, now: Instant, settings: &GuardSettings, state: GuardState, sight: Sight<'_>) -> bool {
        if !sight.settled || !matches!(state, GuardState::Healthy | GuardState::Waiting) {
            self.well = None;
            return false;
        }
        match self.well {
            Some((fraction, since)) if fraction == sight.fraction => {
                // Too little to be judged is neither well nor not.
                let lasted = state == GuardState::Healthy && now.saturating_duration_since(since) >= settings.window;
                if lasted {
                    self.well = Some((fraction, now));
                    self.note_baselines(settings);
                }
                lasted
            }
            _ => {
                self.well = Some((sight.fraction, now));
                false
            }
        }
    }

    fn note_baselines(&mut self, settings: &GuardSettings) {
        for (name, watch) in &self.upstreams {
            let [smart, _] = watch.sides();
            if smart.messages >= settings.min_samples {
                let baseline = Baseline {
                    unreadable: share(smart.quarantined, smart.messages),
                    errors: share(smart.errors(), smart.messages),
                };
                self.baselines.insert(name.clone(), baseline);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share is a float")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What is worse at an upstream; true where there was enough to say anything.
fn judge(
    name: &str,
    watch: &Watch,
    baseline: Option<Baseline>,
    settings: &GuardSettings,
    now: Instant,
    bad: &mut Vec<Verdict>,
) -> bool {
    let [smart, legacy] = watch.sides();
    let verdict = |check, value, threshold, (against, other)| Verdict {
        check,
        upstream: Some(name.to_owned()),
        value,
        threshold,
        against,
        other: Some(other),
        smart: smart.clone(),
        legacy: watch.has_legacy().then(|| legacy.clone()),
        window_seconds: watch.span(now).as_secs_f64(),
    };
    bad.extend(failures(watch, baseline, settings).map(|(hour, against, other)| {
        let mut found =
            verdict(Check::ConnectionFailures, hour.0, f64::from(settings.connection_failures), (against, other));
        found.smart.connection_failures = hour.1;
        if let Some(legacy) = &mut found.legacy {
            legacy.connection_failures = hour.2;
        }
        found.window_seconds = 3600.0;
        found
    }));
    if smart.messages < settings.min_samples {
        return false;
    }
    let is_compared = watch.has_legacy() && legacy.messages >= settings.min_samples;
    let other = if is_compared {
        let of_legacy = Baseline {
            unreadable: share(legacy.quarantined, legacy.messages),
            errors: share(legacy.errors(), legacy.messages),
        };
        Some((Against::Legacy, of_legacy))
    } else {
        baseline.map(|baseline| (Against::LastGoodWindow, baseline))
    };
    let Some((against, other)) = other else { return true };
    let unreadable = share(smart.quarantined, smart.messages);
    if 1.0 - unreadable < settings.parse_rate && unreadable > WORSE * other.unreadable {
        bad.push(verdict(Check::ParseRate, 1.0 - unreadable, settings.parse_rate, (against, 1.0 - other.unreadable)));
    }
    let errors = smart.errors();
    #[expect(clippy::cast_precision_loss, reason = "a count is compared with a float")]
    let (count, expected) = (errors as f64, other.errors * smart.messages as f64);
    // Three times the root is more than chance makes of so many.
    if errors >= ERRORS_MIN && count > (1.0 + settings.errors) * expected + 3.0 * expected.sqrt() {
        bad.push(verdict(Check::Errors, share(errors, smart.messages), settings.errors, (against, other.errors)));
    }
    true
}

/// Connections lost within an hour, where they are too many: how many as a float, on both sides, and what they are held against.
type TooMany = ((f64, u64, u64), Against, f64);

fn failures(watch: &Watch, baseline: Option<Baseline>, settings: &GuardSettings) -> Option<TooMany> {
    let hour = watch.hour();
    let (against, expected) = match hour.expected.filter(|_| watch.has_legacy()) {
        Some(expected) => (Against::Legacy, expected),
        // A window that was good had none to speak of.
        None => (Against::LastGoodWindow, baseline.map(|_| 0.0)?),
    };
    #[expect(clippy::cast_precision_loss, reason = "few connections")]
    let lost = hour.smart as f64;
    let too_many = lost - expected > f64::from(settings.connection_failures) && lost > WORSE * expected;
    too_many.then_some(((lost, hour.smart, hour.legacy), against, expected))
}

#[cfg(test)]
mod tests;
