//! Holds figures against rules. Pure: moments, rules and samples come in, findings come out.
//!
//! A finding is a state and no change of one, so that it does not matter what was found before a restart:
//! [`book::Book`](super::book::Book) knows what is open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::figure::{Figure, Sample};
use super::rules::{Rule, Side};
use super::watch::{Measure, Reading};
use super::{AlertKind, rules::Nature};

/// The most pairs of rule and subject that are watched. Source: a guess: 10,000 monitors and what else there is; about 20 MiB.
const WATCHED_MAX: usize = 60_000;

/// A subject without a figure for so long is no longer there. Source: a guess: longer than any change of settings takes.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// A figure that goes to and fro is told no more often. Source: a guess; who streams them has the alerts, too.
const CROSSING_INTERVAL: Duration = Duration::from_secs(10);

/// The most crossings that are told of one look; the rest are not.
const CROSSINGS_MAX: usize = 1_000;

/// How a subject is by a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It has been wrong for as long as the rule says.
    Firing {
        /// The rule's place in the list.
        rule: usize,
        /// Whose.
        subject: Arc<str>,
        /// What was measured.
        value: f64,
        /// In a sentence.
        message: String,
    },
    /// It has been well for as long as the rule says.
    Clear {
        /// The rule's place in the list.
        rule: usize,
        /// Whose.
        subject: Arc<str>,
        /// Why, in words.
        how: String,
    },
}

/// A figure that has gone over its rule's threshold, or come back; told before it is known whether it lasts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crossing {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Whose.
    pub subject: Arc<str>,
    /// Whether it is over the threshold now, on the side that is wrong.
    pub over: bool,
    /// What was measured; none where nothing came.
    pub value: Option<f64>,
    /// What it is held against.
    pub threshold: f64,
}

/// What was seen of a subject last, for those who ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whose.
    pub subject: Arc<str>,
    /// What was measured; none as long as too little is known.
    pub value: Option<f64>,
    /// Whether it is wrong now.
    pub wrong: bool,
}

#[derive(Debug)]
struct Watched {
    measure: Measure,
    /// When it was sampled last.
    sampled: Instant,
    /// Since when it is wrong.
    wrong: Option<Instant>,
    /// Since when it is well.
    well: Option<Instant>,
    value: Option<f64>,
    /// The last crossing that was told, and when.
    crossed: Option<(bool, Instant)>,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Engine {
    watched: BTreeMap<(Arc<str>, Arc<str>), Watched>,
    /// What rules were like when they were looked at last, so that one that measures otherwise begins anew.
    measured: BTreeMap<Arc<str>, (Figure, Option<Figure>, Nature, Duration)>,
    /// Whether pairs had no room.
    crowded: bool,
    /// Since this was last asked for.
    crossings: Vec<Crossing>,
}

impl Engine {
    /// Figures that went over their thresholds or came back since this was last asked.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        std::mem::take(&mut self.crossings)
    }

    /// Takes a look. What a finding says of a rule is its place in `rules`.
    pub fn look(&mut self, now: Instant, rules: &[Rule], samples: &[Sample]) -> Vec<Finding> {
        let mut by_figure: BTreeMap<Figure, BTreeMap<&str, &Sample>> = BTreeMap::new();
        for sample in samples {
            by_figure.entry(sample.figure).or_default().insert(&sample.subject, sample);
        }
        self.forget_other_rules(rules);
        let mut findings = Vec::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.enabled) {
            let Some(samples) = by_figure.get(&rule.figure) else { continue };
            let whole = rule.of.and_then(|of| by_figure.get(&of));
            for (subject, sample) in samples.iter().filter(|(subject, _)| rule.is_about(subject)) {
                let of = whole.and_then(|whole| whole.get(subject)).map_or(0.0, |sample| sample.value);
                if let Some(finding) = self.take(now, index, rule, sample, of) {
                    findings.push(finding);
                }
            }
        }
        self.forget_subjects(now, rules, &mut findings);
        findings
    }

    fn take(&mut self, now: Instant, index: usize, rule: &Rule, sample: &Sample, of: f64) -> Option<Finding> {
        let key = (Arc::clone(&rule.name), Arc::clone(&sample.subject));
        if !self.watched.contains_key(&key) && self.watched.len() >= WATCHED_MAX {
            if !std::mem::replace(&mut self.crowded, true) {
                tracing::warn!(most = WATCHED_MAX, "there are more figures than alert rules can watch; some are not");
            }
            return None;
        }
        let watched = self.watched.entry(key).or_insert_with(|| Watched {
            measure: Measure::new(rule, now, sample.value, of),
            sampled: now,
            wrong: None,
            well: None,
            value: None,
            crossed: None,
        });
        watched.sampled = now;
        let reading = watched.measure.take(rule, now, sample.value, of);
        let is_wrong = |value: f64| rule.side.has(value, rule.threshold);
        let (value, wrong) = match reading {
            Reading::Unknown => (None, None),
            // A span that is not whole may be wrong, and is not known to be well.
            Reading::Partial(value) => (Some(value), is_wrong(value).then_some(true)),
            Reading::Whole(value) => (Some(value), Some(is_wrong(value))),
            Reading::Nothing => (None, Some(false)),
        };
        watched.value = value;
        watched.wrong = if wrong == Some(true) { watched.wrong.or(Some(now)) } else { None };
        watched.well = if wrong == Some(false) { watched.well.or(Some(now)) } else { None };
        if let Some(over) = wrong
            && watched.crossed.map_or(over, |(before, told)| {
                before != over && now.saturating_duration_since(told) >= CROSSING_INTERVAL
            })
            && self.crossings.len() < CROSSINGS_MAX
        {
            watched.crossed = Some((over, now));
            self.crossings.push(Crossing {
                rule: Arc::clone(&rule.name),
                subject: Arc::clone(&sample.subject),
                over,
                value,
                threshold: rule.threshold,
            });
        }
        let lasted =
            |since: Option<Instant>| since.is_some_and(|since| now.saturating_duration_since(since) >= rule.lasts);
        let subject = Arc::clone(&sample.subject);
        if lasted(watched.wrong) {
            let value = value.unwrap_or_default();
            return Some(Finding::Firing { rule: index, subject, value, message: message(rule, sample, value) });
        }
        lasted(watched.well).then(|| {
            let how = match value {
                Some(value) => format!("it is {} now", amount(value, &rule.unit)),
                None => "nothing of it came within the window".to_owned(),
            };
            Finding::Clear { rule: index, subject, how }
        })
    }

    /// A rule that measures something else begins anew.
    fn forget_other_rules(&mut self, rules: &[Rule]) {
        let like = |rule: &Rule| (rule.figure, rule.of, rule.nature, rule.window);
        let now: BTreeMap<Arc<str>, _> =
            rules.iter().filter(|rule| rule.enabled).map(|rule| (Arc::clone(&rule.name), like(rule))).collect();
        if now != self.measured {
            let before = std::mem::replace(&mut self.measured, now);
            self.watched
                .retain(|(rule, _), _| self.measured.get(rule).is_some_and(|now| before.get(rule) == Some(now)));
        }
    }

    /// What is no longer sampled is no longer wrong.
    fn forget_subjects(&mut self, now: Instant, rules: &[Rule], findings: &mut Vec<Finding>) {
        let gone = |watched: &Watched| now.saturating_duration_since(watched.sampled) >= GONE_AFTER;
        let places: BTreeMap<&Arc<str>, usize> =
            rules.iter().enumerate().map(|(index, rule)| (&rule.name, index)).collect();
        self.watched.retain(|(rule, subject), watched| {
            if !gone(watched) {
                return true;
            }
            if let Some(&rule) = places.get(rule) {
                let (subject, how) = (Arc::clone(subject), "it is no longer measured".to_owned());
                findings.push(Finding::Clear { rule, subject, how });
            }
            false
        });
    }

    /// What a rule saw last, by subject.
    pub fn seen(&self, rule: &str) -> Vec<Seen> {
        let of_rule = self.watched.iter().filter(|((name, _), _)| **name == *rule);
        let seen = |((_, subject), watched): (&(Arc<str>, Arc<str>), &Watched)| Seen {
            subject: Arc::clone(subject),
            value: watched.value,
            wrong: watched.wrong.is_some(),
        };
        of_rule.map(seen).collect()
    }

    /// Whether a pair is known at all.
    pub fn is_watched(&self, rule: &str, subject: &str) -> bool {
        self.watched.contains_key(&(Arc::from(rule), Arc::from(subject)))
    }
}

/// What is wrong, for people.
fn message(rule: &Rule, sample: &Sample, value: f64) -> String {
    let Rule { kind, name, nature, side, threshold, unit, window, figure, .. } = rule;
    let subject = &sample.subject;
    let own = if *kind == AlertKind::Custom { format!("{name}: ") } else { String::new() };
    let note = sample.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    let within = if window.is_zero() {
        String::new()
    } else {
        format!(" within {}", crate::config::units::show_duration(*window))
    };
    let value = amount(value, unit);
    let bound = match side {
        Side::Above => "more than",
        Side::Below => "less than",
    };
    let limit = amount(*threshold, unit);
    let what = match (kind, nature) {
        (AlertKind::CircuitOpen, _) => format!("circuit of {} is not closed", subject.replacen(':', " ", 1)),
        (AlertKind::SinkDown, _) => format!("sink `{subject}` takes nothing"),
        (AlertKind::NoEvents, _) => format!("monitor `{subject}` has brought no message for {value}"),
        (AlertKind::CertificateExpiring, _) => format!("{subject} ends in {value}"),
        (AlertKind::GapOpened, _) => format!("upstream `{subject}`: topics were not seen"),
        (_, Nature::Absence) => format!("{figure} of `{subject}` has not changed for {value}"),
        (_, Nature::Deviation) => format!("{figure} of `{subject}`: {value} from its own baseline{within}"),
        (AlertKind::Custom, _) => format!("{figure} of `{subject}` is {value}{within}, {bound} {limit}"),
        _ => format!("`{subject}`: {value}{within}, {bound} {limit}"),
    };
    format!("{own}{what}{note}")
}

/// A value as people read it.
fn amount(value: f64, unit: &str) -> String {
    let shown = if value.fract().abs() < 0.005 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    };
    match unit {
        "0 or 1" | "" => shown,
        "%" => format!("{shown} %"),
        unit => format!("{shown} {unit}"),
    }
}

#[cfg(test)]
mod tests;
