//! What was measured of both paths, held against targets: is the smart path fit to take over?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::{Cell, Mark, Report, ReportTable};

/// The span that dropped connections are counted over.
const DROPS_SPAN: Duration = Duration::from_hours(24);

/// What the smart path must reach. The defaults are those that a change-over is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Share of messages that can be read, above which the change-over may go on.
    pub parse_rate: f64,
    /// Share that is aimed at; below it the change-over may go on all the same.
    pub parse_rate_aim: f64,
    /// Events a second, as a multiple of the legacy path's, at least.
    pub throughput_ratio: f64,
    /// Memory, as a multiple of the legacy path's, at most.
    pub memory_ratio: f64,
    /// Connections lost within 24 hours, at most.
    pub dropped_connections: u64,
    /// Share of events that both paths have alike, at least.
    pub data_match: f64,
    /// From the socket to durable, the 95th of 100: below this.
    pub latency: Duration,
    /// Events a second, at least.
    pub throughput: f64,
    /// Share of the time in which it could take events, at least.
    pub uptime: f64,
    /// From the loss of a connection to data again, below this.
    pub recovery: Duration,
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            parse_rate: 0.95,
            parse_rate_aim: 0.98,
            throughput_ratio: 1.5,
            memory_ratio: 1.2,
            dropped_connections: 0,
            data_match: 1.0,
            latency: Duration::from_millis(100),
            throughput: 100.0,
            uptime: 0.999,
            recovery: Duration::from_secs(30),
        }
    }
}

/// What was measured of one path. None: nobody measured it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeasuredPath {
    /// Events a second.
    pub events_per_second: Option<f64>,
    /// Share of messages that could be read.
    pub parse_rate: Option<f64>,
    /// Bytes of memory for each monitor.
    pub memory_per_monitor: Option<f64>,
    /// From the socket to durable, the 95th of 100.
    pub latency_p95: Option<Duration>,
    /// Connections that were lost within [`CanaryFigures::observed`], at most the last 24 hours.
    pub dropped_connections: Option<u64>,
    /// Share of the time in which it could take events.
    pub uptime: Option<f64>,
    /// The longest from the loss of a connection to data again; zero where none was lost.
    pub recovery: Option<Duration>,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CanaryFigures {
    /// Over how long.
    pub observed: Duration,
    /// Of the smart path.
    pub smart: MeasuredPath,
    /// Of the legacy path.
    pub legacy: MeasuredPath,
    /// Share of events that both paths have alike, as [`super::shadow`] found.
    pub data_match: Option<f64>,
}

/// How a figure does against its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetVerdict {
    /// It reaches it.
    Met,
    /// It does not.
    NotMet,
    /// It cannot be said.
    Unknown,
}

impl TargetVerdict {
    pub(crate) fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::NotMet }
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::Unknown => "unknown",
        }
    }

    /// How it is coloured.
    pub(crate) fn mark(self) -> Mark {
        match self {
            Self::Met => Mark::Good,
            Self::NotMet => Mark::Bad,
            Self::Unknown => Mark::Unknown,
        }
    }
}

/// A figure and its target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetRow {
    /// Which: a name that stays.
    pub name: &'static str,
    /// What is asked for, for people: `> 95 %`.
    pub target: String,
    /// What was measured, for people; none: nobody measured it.
    pub value: Option<String>,
    /// The number of it, in the unit that the name of the target has: a share, a multiple, seconds, events a second.
    pub number: Option<f64>,
    /// How it does.
    pub verdict: TargetVerdict,
    /// Why it cannot be said.
    pub reason: Option<String>,
    /// Whether the change-over waits for it. Others are aims.
    pub required: bool,
}

/// Whether the change-over may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Go {
    /// All that is required is met.
    Go,
    /// Something that is required is not met.
    NoGo,
    /// Something that is required is not known, and all else is met.
    Unknown,
}

/// What was measured, held against targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CanaryReport {
    /// Whether the change-over may go on.
    pub verdict: Go,
    /// Over how many seconds it was measured.
    pub observed_seconds: f64,
    /// A row for each target.
    pub targets: Vec<TargetRow>,
}

impl CanaryReport {
    /// Holds figures against targets.
    pub fn new(targets: &Targets, figures: &CanaryFigures) -> Self {
        let rows = rows(targets, figures);
        let any = |verdict| rows.iter().any(|row| row.required && row.verdict == verdict);
        let verdict = if any(TargetVerdict::NotMet) {
            Go::NoGo
        } else if any(TargetVerdict::Unknown) {
            Go::Unknown
        } else {
            Go::Go
        };
        Self { verdict, observed_seconds: figures.observed.as_secs_f64(), targets: rows }
    }

    /// For people.
    pub fn report(&self) -> Report {
        let verdict = match self.verdict {
            Go::Go => Cell::marked("go: all that is required is met", Mark::Good),
            Go::NoGo => Cell::marked("no go: something that is required is not met", Mark::Bad),
            Go::Unknown => Cell::marked("unknown: something that is required was not measured", Mark::Unknown),
        };
        let rows = self.targets.iter().map(|row| {
            vec![
                Cell::from(row.name.replace('_', " ") + if row.required { "" } else { " (an aim)" }),
                row.target.clone().into(),
                row.value.clone().unwrap_or_else(|| "-".into()).into(),
                Cell::marked(row.verdict.as_str(), row.verdict.mark()),
                row.reason.clone().unwrap_or_default().into(),
            ]
        });
        let observed = Duration::from_secs_f64(self.observed_seconds.round());
        Report {
            title: "The smart path against its targets".into(),
            verdict,
            facts: vec![("measured over".into(), crate::config::units::show_duration(observed).into())],
            tables: vec![ReportTable {
                heading: "Targets".into(),
                columns: vec!["Figure", "Target", "Measured", "Verdict", "Why"],
                rows: rows.collect(),
            }],
            ..Report::default()
        }
    }
}

/// A figure on its way to a row.
struct Figure {
    name: &'static str,
    target: String,
    number: Option<f64>,
    shown: fn(f64) -> String,
    unknown: &'static str,
}

impl Figure {
    fn row(self, met: impl FnOnce(f64) -> bool) -> TargetRow {
        let number = self.number.filter(|number| number.is_finite());
        TargetRow {
            name: self.name,
            target: self.target,
            value: number.map(self.shown),
            number,
            verdict: number.map_or(TargetVerdict::Unknown, |number| TargetVerdict::of(met(number))),
            reason: number.is_none().then(|| self.unknown.to_owned()),
            required: true,
        }
    }
}

fn rows(targets: &Targets, figures: &CanaryFigures) -> Vec<TargetRow> {
    let (smart, legacy) = (&figures.smart, &figures.legacy);
    let parse_rate = |name, least| {
        let unknown = "the smart path had no message";
        Figure { name, target: format!("> {}", percent(least)), number: smart.parse_rate, shown: percent, unknown }
            .row(|rate| rate > least)
    };
    let aim = TargetRow { required: false, ..parse_rate("parse_rate_aim", targets.parse_rate_aim) };
    let throughput_ratio = Figure {
        name: "throughput_ratio",
        target: format!("at least {} × legacy", targets.throughput_ratio),
        number: ratio(smart.events_per_second, legacy.events_per_second),
        shown: times,
        unknown: "both paths must have had events",
    };
    let memory_ratio = Figure {
        name: "memory_ratio",
        target: format!("at most {} × legacy", targets.memory_ratio),
        number: ratio(smart.memory_per_monitor, legacy.memory_per_monitor),
        shown: times,
        unknown: "memory was not measured on both paths",
    };
    let data_match = Figure {
        name: "data_match",
        target: format!("at least {}", percent(targets.data_match)),
        number: figures.data_match,
        shown: percent,
        unknown: "no monitor was shadowed; see `monitors shadow` and `monitors compare`",
    };
    let latency = Figure {
        name: "latency_p95_seconds",
        target: format!("< {}", crate::config::units::show_duration(targets.latency)),
        number: smart.latency_p95.map(|latency| latency.as_secs_f64()),
        shown: seconds,
        unknown: "the smart path had no event",
    };
    let throughput = Figure {
        name: "throughput",
        target: format!("at least {} a second", targets.throughput),
        number: smart.events_per_second,
        shown: |rate| format!("{rate:.1} a second"),
        unknown: "the smart path had no event",
    };
    let uptime = Figure {
        name: "uptime",
        target: format!("at least {}", percent(targets.uptime)),
        number: smart.uptime,
        shown: percent,
        unknown: "it was not measured",
    };
    let recovery = Figure {
        name: "recovery_seconds",
        target: format!("< {}", crate::config::units::show_duration(targets.recovery)),
        number: smart.recovery.map(|recovery| recovery.as_secs_f64()),
        shown: seconds,
        unknown: "it was not measured",
    };
    vec![
        parse_rate("parse_rate", targets.parse_rate),
        aim,
        throughput_ratio.row(|ratio| ratio >= targets.throughput_ratio),
        memory_ratio.row(|ratio| ratio <= targets.memory_ratio),
        dropped_connections(targets, figures),
        data_match.row(|share| share >= targets.data_match),
        latency.row(|latency| latency < targets.latency.as_secs_f64()),
        throughput.row(|rate| rate >= targets.throughput),
        uptime.row(|share| share >= targets.uptime),
        recovery.row(|recovery| recovery < targets.recovery.as_secs_f64()),
    ]
}

/// Too many are too many after an hour; none are only none after a day.
fn dropped_connections(targets: &Targets, figures: &CanaryFigures) -> TargetRow {
    let dropped = figures.smart.dropped_connections;
    let (verdict, reason) = match dropped {
        None => (TargetVerdict::Unknown, Some("it was not measured".to_owned())),
        Some(dropped) if dropped > targets.dropped_connections => (TargetVerdict::NotMet, None),
        Some(_) if figures.observed < DROPS_SPAN => {
            let observed = crate::config::units::show_duration(Duration::from_secs(figures.observed.as_secs()));
            (TargetVerdict::Unknown, Some(format!("it was measured over {observed} of 24 hours")))
        }
        Some(_) => (TargetVerdict::Met, None),
    };
    #[expect(clippy::cast_precision_loss, reason = "nobody loses 2^52 connections")]
    let number = dropped.map(|dropped| dropped as f64);
    TargetRow {
        name: "dropped_connections",
        target: format!("at most {} in 24 hours", targets.dropped_connections),
        value: dropped.map(|dropped| dropped.to_string()),
        number,
        verdict,
        reason,
        required: true,
    }
}

fn ratio(smart: Option<f64>, legacy: Option<f64>) -> Option<f64> {
    let (smart, legacy) = (smart?, legacy?);
    (legacy > 0.0).then(|| smart / legacy)
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

/// A time for people.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

/// Never more than it is: 100 % is all.
pub(crate) fn percent(share: f64) -> String {
    // Less a little for what a float cannot hold: 0.29 times 100,000 is 28,999.99….
    let shown = (share * 100_000.0 + 1e-6).floor() / 1000.0;
    format!("{shown} %")
}

#[cfg(test)]
mod tests;
