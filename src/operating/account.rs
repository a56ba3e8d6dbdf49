//! The report: a value that programs get, that is read back as a baseline, and of which pages are made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::measure::Measured;
use super::runs::Ending;
use crate::clock::UnixNanos;
use crate::rollout::report::{TargetVerdict, Targets};

/// Restarts that are told one by one, the newest. Source: a guess; a report is read by a person.
const RESTARTS_MAX: usize = 100;

/// What a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they say themselves what they are")]
pub enum Section {
    Throughput,
    Parsing,
    Latency,
    Recovery,
    Breakers,
    Checkpoints,
    Gaps,
    Completeness,
    Uptime,
    Memory,
    Sinks,
    Quarantine,
    DataMatch,
    Trends,
}

impl Section {
    /// Every one, in the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Throughput,
        Self::Parsing,
        Self::Latency,
        Self::Recovery,
        Self::Breakers,
        Self::Checkpoints,
        Self::Gaps,
        Self::Completeness,
        Self::Uptime,
        Self::Memory,
        Self::Sinks,
        Self::Quarantine,
        Self::DataMatch,
        Self::Trends,
    ];

    /// As programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Parsing => "parsing",
            Self::Latency => "latency",
            Self::Recovery => "recovery",
            Self::Breakers => "breakers",
            Self::Checkpoints => "checkpoints",
            Self::Gaps => "gaps",
            Self::Completeness => "completeness",
            Self::Uptime => "uptime",
            Self::Memory => "memory",
            Self::Sinks => "sinks",
            Self::Quarantine => "quarantine",
            Self::DataMatch => "data_match",
            Self::Trends => "trends",
        }
    }
}

/// A figure, and how it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is about.
    pub section: Section,
    /// Which: a name that stays.
    pub name: String,
    /// Its number; none: nobody knows.
    pub value: Option<f64>,
    /// `count`, `share` (0 to 1), `seconds`, `bytes`, `bytes_per_hour`, `per_second`, `change` (a share of what was before), `points` (a
    /// difference of shares), `difference`.
    pub unit: String,
    /// What is asked of it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<TargetVerdict>,
    /// Why it is not known, or not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same of what it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
}

/// A process that took over from one that was gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestartRow {
    /// When the one before was there last, RFC 3339.
    pub down: String,
    /// How it ended.
    pub ending: Ending,
    /// When the next one began.
    pub started: String,
    /// When that one was ready to take events.
    pub ready: String,
    /// When an event of it was durable; none: none came.
    pub first_durable: Option<String>,
    /// What counts as recovery: after a kill from then on, after a stop from the next start on.
    pub seconds_to_ready: f64,
    /// The same until an event was durable.
    pub seconds_to_first_durable_event: Option<f64>,
}

/// An hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HourRow {
    /// When it begins, RFC 3339.
    pub start: String,
    /// Events.
    pub events: u64,
    /// A second, over the part of the hour that lies in the span.
    pub events_per_second: Option<f64>,
    /// Share of messages that could be read.
    pub parse_rate: Option<f64>,
    /// What could not be.
    pub quarantined: u64,
}

/// How the daemon did over a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatingReport {
    /// The version of Sluice that made it.
    pub version: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// From when on it was asked for.
    pub since: String,
    /// Up to when.
    pub until: String,
    /// From when on anything is known.
    pub known_from: String,
    /// Whether a daemon was running when it was made.
    pub running: bool,
    /// Not met where any target is not, unknown where any is that.
    pub verdict: TargetVerdict,
    /// All figures.
    pub figures: Vec<Figure>,
    /// The newest restarts, oldest first.
    pub restarts: Vec<RestartRow>,
    /// What was counted by hour.
    pub hours: Vec<HourRow>,
    /// The span that it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<[String; 2]>,
    /// What must be known to read it.
    pub notes: Vec<String>,
}

impl OperatingReport {
    /// Of what was measured.
    pub fn new(measured: &Measured, targets: &Targets) -> Self {
        let figures = Figures::new(measured, targets).all();
        // An aim is aimed at; what nobody compared no longer hangs over a feed that runs on one path.
        let required = |figure: &&Figure| figure.name != "parse_rate_aim" && figure.section != Section::DataMatch;
        let any = |verdict| figures.iter().filter(required).any(|figure| figure.verdict == Some(verdict));
        let failed = figures
            .iter()
            .any(|figure| figure.section == Section::DataMatch && figure.verdict == Some(TargetVerdict::NotMet));
        let verdict = if any(TargetVerdict::NotMet) || failed {
            TargetVerdict::NotMet
        } else if any(TargetVerdict::Unknown) {
            TargetVerdict::Unknown
        } else {
            TargetVerdict::Met
        };
        let (since, until) = (measured.asked.since, measured.asked.until);
        let mut restarts: Vec<RestartRow> =
            measured.runs.restarts(measured.known_from, until).map(RestartRow::of).collect();
        let untold = restarts.len().saturating_sub(RESTARTS_MAX);
        restarts.drain(..untold);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made: UnixNanos::now().to_string(),
            since: since.to_string(),
            until: until.to_string(),
            known_from: measured.known_from.to_string(),
            running: measured.asked.running,
            verdict,
            figures,
            restarts,
            hours: hours(measured),
            compared_with: None,
            notes: notes(measured, untold),
        }
    }

    /// Sets the figures of another report beside these.
    pub fn compare(&mut self, baseline: &Self) {
        for figure in &mut self.figures {
            let same = |other: &&Figure| other.section == figure.section && other.name == figure.name;
            figure.before = baseline.figures.iter().find(same).and_then(|other| other.value);
        }
        self.compared_with = Some([baseline.since.clone(), baseline.until.clone()]);
    }
}

impl RestartRow {
    fn of(restart: super::runs::Restart) -> Self {
        Self {
            down: restart.down.to_string(),
            ending: restart.ending,
            started: restart.started.to_string(),
            ready: restart.ready.to_string(),
            first_durable: restart.first_durable.map(|time| time.to_string()),
            seconds_to_ready: restart.recovery().as_secs_f64(),
            seconds_to_first_durable_event: restart.recovery_to_event().map(|span| span.as_secs_f64()),
        }
    }
}

fn hours(measured: &Measured) -> Vec<HourRow> {
    let (from, until) = (measured.known_from, measured.asked.until);
    let row = |(start, hour): (&UnixNanos, &super::Hour)| {
        let end = start.saturating_add(Duration::from_hours(1));
        let seconds = end.min(until).since((*start).max(from)).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate of a count")]
        let events_per_second = (seconds > 0.0).then(|| hour.events as f64 / seconds);
        HourRow {
            start: start.to_string(),
            events: hour.events,
            events_per_second,
            parse_rate: hour.parse_rate(),
            quarantined: hour.quarantined,
        }
    };
    measured.counts.hours.iter().map(row).collect()
}

fn notes(measured: &Measured, untold: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if measured.known_from > measured.asked.since {
        let why = if measured.trimmed { "what was before is deleted" } else { "nothing ran before" };
        notes.push(format!("known from {} on: {why}", measured.known_from));
    }
    if untold > 0 {
        notes.push(format!("{untold} older restarts are counted and not listed"));
    }
    let mut restarts = measured.runs.restarts(measured.known_from, measured.asked.until);
    if restarts.any(|restart| restart.ending == Ending::Killed) {
        notes.push(
            "a process that is killed counts as down from the last that is known of it; what it had not told yet of latencies, \
             breakers, checkpoints, sinks and memory, at most a minute, is not in these figures"
                .to_owned(),
        );
    }
    notes
}
