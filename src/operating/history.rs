//! What the figures that processes told every minute come to over a span. What counts up does so since a process began, so what
//! happened in the span is the difference to what was told last before it.

use std::collections::BTreeMap;

use super::points::{CheckpointsPoint, Made, Point, SinkPoint};
use crate::clock::UnixNanos;

/// Of the process whose records are being read.
#[derive(Debug, Default)]
struct Current {
    started: Option<UnixNanos>,
    steps: BTreeMap<u64, u64>,
    openings: BTreeMap<(String, String), u64>,
    checkpoints: CheckpointsPoint,
    /// Rows and parked rows, by sink.
    sinks: BTreeMap<String, (u64, u64)>,
}

/// What is told of a sink.
#[derive(Debug, Clone)]
pub(super) struct SinkFigures {
    /// As it was told last.
    pub(super) last: SinkPoint,
    /// The most of its lags.
    pub(super) lag_events: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    /// The most of its latencies.
    pub(super) latency_p95_ms: Option<f64>,
    /// In the span.
    pub(super) rows: u64,
    pub(super) parked: u64,
}

/// Of a span.
#[derive(Debug, Default)]
pub(super) struct History {
    current: Current,
    /// Events by how long they took from socket to durable: the greatest microsecond of a step.
    pub(super) steps: BTreeMap<u64, u64>,
    /// How often breakers opened, by kind and name.
    pub(super) openings: BTreeMap<(String, String), u64>,
    /// Whether any record said anything of checkpoints.
    pub(super) checkpoints: Option<CheckpointsPoint>,
    pub(super) sinks: BTreeMap<String, SinkFigures>,
    pub(super) memory: Memory,
    /// Records of the span.
    pub(super) records: u64,
}

/// Memory of the processes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) greatest: Option<u64>,
    pub(super) last: Option<u64>,
    /// For the line through them: count, and sums of hours, bytes, their products and squared hours.
    count: f64,
    sums: [f64; 4],
    first: Option<UnixNanos>,
    times: Option<(UnixNanos, UnixNanos)>,
}

impl Memory {
    /// Bytes an hour; none before there was half an hour of it, since what a process takes while it starts tells nothing.
    pub(super) fn slope(&self) -> Option<f64> {
        let (first, last) = self.times?;
        let [hours, bytes, products, squares] = self.sums;
        let spread = self.count * squares - hours * hours;
        let long = last.since(first).as_secs() >= 1800;
        (long && spread > 0.0).then(|| (self.count * products - hours * bytes) / spread)
    }

    #[expect(clippy::cast_precision_loss, reason = "memory to 15 digits")]
    fn take(&mut self, at: UnixNanos, used: u64) {
        self.greatest = self.greatest.max(Some(used));
        self.last = Some(used);
        let first = *self.first.get_or_insert(at);
        let (hours, bytes) = (at.since(first).as_secs_f64() / 3600.0, used as f64);
        self.count += 1.0;
        for (sum, more) in self.sums.iter_mut().zip([hours, bytes, hours * bytes, hours * hours]) {
            *sum += more;
        }
        self.times = Some(self.times.map_or((at, at), |(first, _)| (first, at)));
    }
}

/// What was added, where a process counts from 0 and one that lost its counts began anew.
fn more(now: u64, before: u64) -> u64 {
    if now < before { now } else { now - before }
}

impl History {
    /// Takes a record: of the span, or what was before it.
    pub(super) fn take(&mut self, made: Made, point: &Point, (since, until): (UnixNanos, UnixNanos)) {
        if !made.figures || made.received >= until {
            return;
        }
        let in_span = made.received >= since;
        if self.current.started != Some(made.started) {
            self.current = Current { started: Some(made.started), ..Current::default() };
            // What it did before it is heard of for the first time was in the span only if it began in it.
            if in_span && made.started < since {
                self.take_as_before(point);
            }
        }
        if in_span {
            self.records += 1;
            self.add(made, point);
        }
        self.take_as_before(point);
    }

    fn take_as_before(&mut self, point: &Point) {
        let current = &mut self.current;
        current.steps = point.journal.latency_steps.iter().copied().collect();
        let openings = point.circuits.iter().map(|row| ((row.kind.clone(), row.name.clone()), row.openings));
        current.openings = openings.collect();
        current.checkpoints = point.checkpoints.unwrap_or_default();
        current.sinks = point.sinks.iter().map(|sink| (sink.name.clone(), (sink.rows, sink.parked))).collect();
    }

    fn add(&mut self, made: Made, point: &Point) {
        for (bound, count) in &point.journal.latency_steps {
            let added = more(*count, self.current.steps.get(bound).copied().unwrap_or(0));
            if added > 0 {
                *self.steps.entry(*bound).or_default() += added;
            }
        }
        for row in &point.circuits {
            let key = (row.kind.clone(), row.name.clone());
            let added = more(row.openings, self.current.openings.get(&key).copied().unwrap_or(0));
            *self.openings.entry(key).or_default() += added;
        }
        if let Some(now) = point.checkpoints {
            let all = self.checkpoints.get_or_insert_default();
            all.written += more(now.written, self.current.checkpoints.written);
            all.failed += more(now.failed, self.current.checkpoints.failed);
        }
        for sink in &point.sinks {
            let (rows, parked) = self.current.sinks.get(&sink.name).copied().unwrap_or_default();
            let figures = self.sinks.entry(sink.name.clone()).or_insert_with(|| SinkFigures {
                last: sink.clone(),
                lag_events: None,
                lag_seconds: None,
                latency_p95_ms: None,
                rows: 0,
                parked: 0,
            });
            let greater = |one: Option<f64>, other: Option<f64>| match (one, other) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            };
            figures.last = sink.clone();
            figures.lag_events = figures.lag_events.max(sink.lag_events);
            figures.lag_seconds = greater(figures.lag_seconds, sink.lag_seconds);
            figures.latency_p95_ms = greater(figures.latency_p95_ms, sink.latency_p95_ms);
            figures.rows += more(sink.rows, rows);
            figures.parked += more(sink.parked, parked);
        }
        if let Some(used) = point.memory_bytes {
            self.memory.take(made.received, used);
        }
    }

    /// The time, in seconds, that this fraction of the events stayed within: at most an eighth above what it was. None before the first.
    #[expect(clippy::cast_precision_loss, reason = "ranks and microseconds far below 2^52")]
    pub(super) fn latency(&self, fraction: f64) -> Option<f64> {
        let total: u64 = self.steps.values().sum();
        let rank = (total as f64 * fraction).ceil().max(1.0);
        let mut passed = 0;
        let found = self.steps.iter().find(|(_, count)| {
            passed += **count;
            passed as f64 >= rank
        });
        found.map(|(bound, _)| *bound as f64 / 1e6)
    }

    /// Events whose latency is known.
    pub(super) fn timed(&self) -> u64 {
        self.steps.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Offset;

    fn record(seconds: i64, started: i64, steps: &str, openings: u64) -> (Made, Point) {
        let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
        let made = Made { offset: Offset(0), received: at(seconds), started: at(started), figures: true };
        let text = format!(
            r#"{{"started": "", "journal": {{"latency_steps": {steps}}}, "memory_bytes": {},
                 "circuits": [{{"kind": "sink", "name": "s", "openings": {openings}}}],
                 "checkpoints": {{"written": {openings}, "failed": 0}}, "newer": true}}"#,
            1000 + seconds
        );
        (made, serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn only_what_was_counted_in_the_span_counts_over_processes_too() {
        let mut history = History::default();
        let span = (UnixNanos(100_000_000_000), UnixNanos(10_000_000_000_000));
        for (made, point) in [
            record(50, 0, "[[10, 5]]", 1),
            record(150, 0, "[[10, 6], [500, 1]]", 3),
            record(250, 200, "[[10, 1]]", 1),
            record(4000, 200, "[[10, 1], [9000, 7]]", 1),
            record(20_000, 200, "[[10, 99]]", 99),
        ] {
            history.take(made, &point, span);
        }
        assert_eq!(history.steps, BTreeMap::from([(10, 2), (500, 1), (9000, 7)]));
        assert_eq!(history.openings.values().sum::<u64>(), 3);
        assert_eq!(history.checkpoints.unwrap().written, 3);
        assert_eq!(history.latency(0.5), Some(0.009));
        assert_eq!(history.latency(0.2), Some(0.000_01));
        assert_eq!((history.memory.greatest, history.records), (Some(5000), 3));
        let slope = history.memory.slope().unwrap();
        assert!((slope - 3600.0).abs() < 1.0, "a byte a second: {slope}");
    }

    #[test]
    fn a_process_that_is_first_heard_of_in_the_span_and_began_before_it_counts_from_then_on() {
        let mut history = History::default();
        let span = (UnixNanos(100_000_000_000), UnixNanos(10_000_000_000_000));
        for (made, point) in [record(150, 0, "[[10, 6]]", 7), record(250, 0, "[[10, 8]]", 8)] {
            history.take(made, &point, span);
        }
        assert_eq!((history.timed(), history.openings.values().sum::<u64>()), (2, 1));
        assert_eq!(history.memory.slope(), None, "too short to tell");
    }
}
