//! The life of alerts: opened, acknowledged, resolved; who is told of each, and who is not because of a cooldown or a silence.
//!
//! Pure: moments come in, [`Change`]s come out, which the daemon makes durable and tells. What it knows is in every snapshot
//! ([`BookRecord`]), and each change is a [`Held`] of its own, so that both together give it back after a restart.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::notify::{Delivery, Occasion};
use super::rules::Rule;
use super::silence::Silence;
use super::{Alert, AlertKind, AlertStatus, Severity};
use crate::clock::UnixNanos;

/// The most alerts that are open or acknowledged. Source: a guess: far more than a person can see to.
pub const LIVE_MAX: usize = 1000;
/// The most that are over and remembered; older ones are in the journal.
pub const RESOLVED_MAX: usize = 1000;
/// The most silences.
pub const SILENCES_MAX: usize = 200;
/// The most deliveries that are remembered of an alert, the newest.
const DELIVERIES_MAX: usize = 50;

/// Who resolves an alert whose condition has ended.
pub const SLUICE: &str = "sluice";

/// Why nobody is told of an alert for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// Somebody was told of the same rule and subject a short time ago.
    Cooldown,
    /// A silence fits it.
    Silence,
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It has begun.
    Opened,
    /// It was withheld, and is told now.
    Told,
    /// Somebody sees to it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// An alert and what is known of it beside: an event of the monitor `alerts` of `_sluice`, and a row of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// The rule that found it: its type, or the name of an own rule.
    #[serde(default)]
    pub rule: String,
    /// What happened last.
    #[serde(default = "opened")]
    pub what: What,
    /// Whether nobody was told when it opened, because of the cooldown.
    #[serde(default)]
    pub suppressed: bool,
    /// Why nobody is told now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// When somebody was told first, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<String>,
}

fn opened() -> What {
    What::Opened
}

impl Held {
    fn key(&self) -> Key {
        // One that an older release wrote has no rule.
        let rule = if self.rule.is_empty() { self.alert.kind.as_str() } else { &self.rule };
        (rule.to_owned(), self.alert.subject.clone())
    }
}

/// A rule and a subject.
type Key = (String, String);

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The alert as it stands now.
    pub held: Held,
    /// Why somebody is to be told; none: nobody is.
    pub tell: Option<Occasion>,
}

/// Why an operator's change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("there is no alert `{0}`; `sluice alerts list` lists them")]
    Unknown(String),
    /// It is in another state.
    #[error("alert `{id}` is {} and cannot be {wanted}", state(*.status))]
    State {
        /// Which.
        id: String,
        /// Where it stands.
        status: AlertStatus,
        /// What was wanted.
        wanted: &'static str,
    },
}

fn state(status: AlertStatus) -> &'static str {
    match status {
        AlertStatus::Open => "OPEN",
        AlertStatus::Acknowledged => "ACKNOWLEDGED",
        AlertStatus::Resolved => "RESOLVED",
    }
}

/// What a rule found of a subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// What it is about.
    pub subject: &'a str,
    /// What was measured.
    pub value: f64,
    /// In a sentence.
    pub message: &'a str,
}

/// When somebody was told of a rule and subject, or until when nothing is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    rule: String,
    subject: String,
    time: String,
}

/// All that must outlive old segments, as snapshots have it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BookRecord {
    live: Vec<Held>,
    told: Vec<Mark>,
    held_off: Vec<Mark>,
    silences: Vec<Silence>,
}

impl BookRecord {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every alert that is not over, the last ones that are, and silences.
#[derive(Debug, Clone, Default)]
pub struct Book {
    live: BTreeMap<Key, Held>,
    /// Oldest first.
    resolved: VecDeque<Held>,
    silences: BTreeMap<String, Silence>,
    /// When somebody was told last, for the cooldown.
    told: BTreeMap<Key, UnixNanos>,
    /// Until when nothing is opened, because an operator resolved what goes on.
    held_off: BTreeMap<Key, UnixNanos>,
    /// Alerts that there was no room for.
    overflowed: u64,
}

impl Book {
    /// What a rule found to be wrong. One that is open already has its value brought up to date.
    pub fn firing(&mut self, rule: &Rule, found: Found<'_>, now: UnixNanos) -> Option<Change> {
        let key = (rule.name.to_string(), found.subject.to_owned());
        if let Some(held) = self.live.get_mut(&key) {
            held.alert.value = found.value;
            return None;
        }
        if self.held_off.get(&key).is_some_and(|until| now < *until) {
            return None;
        }
        self.open(rule, rule.severity, found, now)
    }

    /// Opens one, whatever was before, where there is room. An event that happened elsewhere begins with it.
    pub fn open(&mut self, rule: &Rule, severity: Severity, found: Found<'_>, now: UnixNanos) -> Option<Change> {
        let key = (rule.name.to_string(), found.subject.to_owned());
        if self.live.len() >= LIVE_MAX && !self.live.contains_key(&key) {
            self.overflowed += 1;
            return None;
        }
        let alert = Alert {
            id: Uuid::now_v7().to_string(),
            kind: rule.kind,
            severity,
            status: AlertStatus::Open,
            subject: found.subject.to_owned(),
            message: found.message.to_owned(),
            value: found.value,
            threshold: rule.threshold,
            created_at: now.to_string(),
            acknowledged_at: None,
            acknowledged_by: None,
            notes: None,
            resolved_at: None,
            resolved_by: None,
            resolution: None,
            notifications: Vec::new(),
        };
        let withheld = self.withheld(&rule.name, &alert, rule.cooldown, now);
        let mut held = Held {
            alert,
            rule: rule.name.to_string(),
            what: What::Opened,
            suppressed: withheld == Some(Withheld::Cooldown),
            withheld,
            told_at: None,
        };
        let tell = withheld.is_none().then_some(Occasion::Opened);
        if tell.is_some() {
            held.told_at = Some(now.to_string());
            self.told.insert(key.clone(), now);
        }
        self.held_off.remove(&key);
        self.live.insert(key, held.clone());
        Some(Change { held, tell })
    }

    fn withheld(&self, rule: &str, alert: &Alert, cooldown: Duration, now: UnixNanos) -> Option<Withheld> {
        let key = (rule.to_owned(), alert.subject.clone());
        if self.silences.values().any(|silence| silence.is_at(now) && silence.fits(rule, alert)) {
            return Some(Withheld::Silence);
        }
        let cools = self.told.get(&key).is_some_and(|told| now < told.saturating_add(cooldown));
        cools.then_some(Withheld::Cooldown)
    }

    /// What a rule no longer finds; `how` says why.
    pub fn clear(&mut self, rule: &str, subject: &str, how: &str, now: UnixNanos) -> Option<Change> {
        let key = (rule.to_owned(), subject.to_owned());
        self.held_off.remove(&key);
        let held = self.live.remove(&key)?;
        Some(self.end(held, SLUICE, Some(how), now))
    }

    fn end(&mut self, mut held: Held, by: &str, how: Option<&str>, now: UnixNanos) -> Change {
        let alert = &mut held.alert;
        alert.status = AlertStatus::Resolved;
        alert.resolved_at = Some(now.to_string());
        alert.resolved_by = Some(by.to_owned());
        alert.resolution = how.map(str::to_owned);
        (held.what, held.withheld) = (What::Resolved, None);
        self.remember(held.clone());
        let tell = held.told_at.is_some().then_some(Occasion::Resolved);
        Change { held, tell }
    }

    fn remember(&mut self, held: Held) {
        self.resolved.push_back(held);
        if self.resolved.len() > RESOLVED_MAX {
            self.resolved.pop_front();
        }
    }

    /// Alerts that were withheld and need not be any longer, and that nobody has seen to. Forgets what is over.
    pub fn due(&mut self, cooldown: impl Fn(&str) -> Duration, now: UnixNanos) -> Vec<Change> {
        self.silences.retain(|_, silence| silence.is_at(now));
        self.told.retain(|(rule, _), told| now < told.saturating_add(cooldown(rule)));
        self.held_off.retain(|_, until| now < *until);
        let waiting = self.live.iter().filter(|(_, held)| held.withheld.is_some());
        let waiting: Vec<Key> = waiting.map(|(key, _)| key.clone()).collect();
        let mut changes = Vec::new();
        for key in waiting {
            let held = &self.live[&key];
            let withheld = self.withheld(&key.0, &held.alert, cooldown(&key.0), now);
            let is_open = held.alert.status == AlertStatus::Open;
            let Some(held) = self.live.get_mut(&key) else { continue };
            held.withheld = withheld;
            if withheld.is_some() || !is_open {
                continue;
            }
            (held.what, held.told_at) = (What::Told, Some(now.to_string()));
            changes.push(Change { held: held.clone(), tell: Some(Occasion::Opened) });
            self.told.insert(key, now);
        }
        changes
    }

    /// Somebody sees to it.
    ///
    /// # Errors
    /// When it is not open.
    pub fn acknowledge(
        &mut self,
        id: &str,
        by: Option<&str>,
        notes: Option<&str>,
        now: UnixNanos,
    ) -> Result<Change, Refused> {
        let key = self.key_of(id, "acknowledged")?;
        let held = self.live.get_mut(&key).ok_or_else(|| Refused::Unknown(id.to_owned()))?;
        if held.alert.status != AlertStatus::Open {
            let status = held.alert.status;
            return Err(Refused::State { id: id.to_owned(), status, wanted: "acknowledged" });
        }
        held.alert.status = AlertStatus::Acknowledged;
        held.alert.acknowledged_at = Some(now.to_string());
        held.alert.acknowledged_by = by.map(str::to_owned);
        held.alert.notes = notes.map(str::to_owned);
        held.what = What::Acknowledged;
        let tell = held.told_at.is_some().then_some(Occasion::Acknowledged);
        Ok(Change { held: held.clone(), tell })
    }

    /// Somebody says that it is over. Where its condition goes on it is opened anew only after `cooldown`.
    ///
    /// # Errors
    /// When it is over already.
    pub fn resolve(
        &mut self,
        id: &str,
        by: &str,
        resolution: Option<&str>,
        cooldown: Duration,
        now: UnixNanos,
    ) -> Result<Change, Refused> {
        let key = self.key_of(id, "resolved")?;
        let held = self.live.remove(&key).ok_or_else(|| Refused::Unknown(id.to_owned()))?;
        self.held_off.insert(key, now.saturating_add(cooldown));
        Ok(self.end(held, by, resolution, now))
    }

    fn key_of(&self, id: &str, wanted: &'static str) -> Result<Key, Refused> {
        match self.live.iter().find(|(_, held)| held.alert.id == id) {
            Some((key, _)) => Ok(key.clone()),
            None if self.resolved.iter().any(|held| held.alert.id == id) => {
                Err(Refused::State { id: id.to_owned(), status: AlertStatus::Resolved, wanted })
            }
            None => Err(Refused::Unknown(id.to_owned())),
        }
    }

    /// Begins a silence. False when there are too many.
    pub fn silence(&mut self, silence: Silence) -> bool {
        let fits = self.silences.len() < SILENCES_MAX || self.silences.contains_key(&silence.id);
        if fits {
            self.silences.insert(silence.id.clone(), silence);
        }
        fits
    }

    /// Ends one before its time.
    pub fn unsilence(&mut self, id: &str, now: UnixNanos) -> Option<Silence> {
        let mut silence = self.silences.remove(id)?;
        silence.until = now.to_string();
        Some(silence)
    }

    /// Silences in force.
    pub fn silences(&self, now: UnixNanos) -> impl Iterator<Item = &Silence> {
        self.silences.values().filter(move |silence| silence.is_at(now))
    }

    /// Takes one back that never came to be.
    pub fn forget(&mut self, held: &Held) {
        self.live.remove(&held.key());
        self.told.remove(&held.key());
    }

    /// What became of telling somebody.
    pub fn delivered(&mut self, delivery: Delivery) {
        let all = self.live.values_mut().chain(self.resolved.iter_mut().rev());
        let Some(held) = all.into_iter().find(|held| held.alert.id == delivery.alert) else { return };
        let known = &mut held.alert.notifications;
        if known.len() >= DELIVERIES_MAX {
            known.remove(0);
        }
        known.push(delivery);
    }

    /// Alerts that are open or acknowledged.
    pub fn live(&self) -> impl Iterator<Item = &Held> {
        self.live.values()
    }

    /// Whether one of a rule and subject is.
    pub fn is_live(&self, rule: &str, subject: &str) -> bool {
        self.live.contains_key(&(rule.to_owned(), subject.to_owned()))
    }

    /// Alerts that are over, oldest first.
    pub fn resolved(&self) -> impl DoubleEndedIterator<Item = &Held> {
        self.resolved.iter()
    }

    /// One by its id.
    pub fn get(&self, id: &str) -> Option<&Held> {
        self.live.values().chain(&self.resolved).find(|held| held.alert.id == id)
    }

    /// Subjects of live alerts of a type.
    pub fn subjects_of(&self, kind: AlertKind) -> Vec<String> {
        self.live().filter(|held| held.alert.kind == kind).map(|held| held.alert.subject.clone()).collect()
    }

    /// Alerts that there was no room for, since the start.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// For a snapshot.
    pub fn record(&self) -> BookRecord {
        let marks = |marks: &BTreeMap<Key, UnixNanos>| {
            let mark = |((rule, subject), time): (&Key, &UnixNanos)| Mark {
                rule: rule.clone(),
                subject: subject.clone(),
                time: time.to_string(),
            };
            marks.iter().map(mark).collect()
        };
        BookRecord {
            live: self.live.values().cloned().collect(),
            told: marks(&self.told),
            held_off: marks(&self.held_off),
            silences: self.silences.values().cloned().collect(),
        }
    }

    /// Takes what a snapshot has in the place of what is known; what is over is kept.
    pub fn restore(&mut self, record: BookRecord) {
        let marks = |marks: Vec<Mark>| {
            let mark = |mark: Mark| Some(((mark.rule, mark.subject), mark.time.parse().ok()?));
            marks.into_iter().filter_map(mark).collect()
        };
        self.live = record.live.into_iter().map(|held| (held.key(), held)).collect();
        self.told = marks(record.told);
        self.held_off = marks(record.held_off);
        self.silences = record.silences.into_iter().map(|silence| (silence.id.clone(), silence)).collect();
    }

    /// Takes a change that is on record. `cooldown`: how long nothing is opened where an operator resolved what goes on.
    pub fn replay(&mut self, mut held: Held, cooldown: impl Fn(&str) -> Duration) {
        let key = held.key();
        held.rule.clone_from(&key.0);
        if let Some(told) = held.told_at.as_deref().and_then(|told| told.parse::<UnixNanos>().ok()) {
            let last = self.told.entry(key.clone()).or_insert(told);
            *last = (*last).max(told);
        }
        if held.alert.status != AlertStatus::Resolved {
            self.live.insert(key, held);
            return;
        }
        if self.live.get(&key).is_some_and(|live| live.alert.id == held.alert.id) {
            self.live.remove(&key);
        }
        let by_operator = held.alert.resolved_by.as_deref().is_some_and(|by| by != SLUICE);
        let at = held.alert.resolved_at.as_deref().and_then(|at| at.parse::<UnixNanos>().ok());
        if let Some(at) = at.filter(|_| by_operator) {
            self.held_off.insert(key.clone(), at.saturating_add(cooldown(&key.0)));
        }
        self.remember(held);
    }

    /// Takes a silence that is on record; one that has ended is not kept.
    pub fn replay_silence(&mut self, silence: Silence) {
        self.silences.insert(silence.id.clone(), silence);
    }
}

#[cfg(test)]
mod tests;
