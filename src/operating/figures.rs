//! Figures of a span, each with its target where there is one.

use super::account::{Figure, Section};
use super::losses::DROPS_SPAN;
use super::measure::Measured;
use crate::rollout::report::{TargetVerdict, Targets, percent};

/// What makes a figure.
pub(super) struct Figures<'a> {
    measured: &'a Measured,
    targets: &'a Targets,
    pub(super) list: Vec<Figure>,
}

/// A value that is an exact count.
#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 in a report's span")]
fn count(number: u64) -> f64 {
    number as f64
}

/// How a figure does that is known, where more is asked of it than its number.
type Held<'a> = (String, Box<dyn Fn(f64) -> TargetVerdict + 'a>);

impl<'a> Figures<'a> {
    pub(super) fn new(measured: &'a Measured, targets: &'a Targets) -> Self {
        Self { measured, targets, list: Vec::new() }
    }

    fn put(&mut self, section: Section, name: impl Into<String>, unit: &str, value: Option<f64>, unknown: &str) {
        self.held(section, name, unit, value, unknown, None);
    }

    fn counted(&mut self, section: Section, name: impl Into<String>, number: u64) {
        self.put(section, name, "count", Some(count(number)), "");
    }

    fn held(
        &mut self,
        section: Section,
        name: impl Into<String>,
        unit: &str,
        value: Option<f64>,
        unknown: &str,
        target: Option<Held<'_>>,
    ) {
        let value = value.filter(|value| value.is_finite());
        let verdict = target.as_ref().map(|(_, met)| value.map_or(TargetVerdict::Unknown, met));
        self.list.push(Figure {
            section,
            name: name.into(),
            value,
            unit: unit.to_owned(),
            target: target.map(|(target, _)| target),
            verdict,
            reason: value.is_none().then(|| unknown.to_owned()),
            before: None,
        });
    }

    /// Every one of them.
    pub(super) fn all(mut self) -> Vec<Figure> {
        self.throughput();
        self.parsing();
        self.latency();
        self.recovery();
        self.breakers();
        self.checkpoints();
        self.gaps();
        self.completeness();
        self.uptime();
        self.memory();
        self.sinks();
        self.quarantine();
        self.data();
        self.trends();
        self.list
    }

    /// Seconds in which something could be taken: of the processes where they are known.
    fn taking_seconds(&self) -> Option<f64> {
        let seconds = self.measured.up.unwrap_or(self.measured.known()).as_secs_f64();
        (seconds > 0.0).then_some(seconds)
    }

    #[expect(clippy::cast_precision_loss, reason = "rates of counts")]
    fn throughput(&mut self) {
        let total = self.measured.counts.total;
        let rate = self.taking_seconds().map(|seconds| total.events as f64 / seconds);
        let least = self.targets.throughput;
        let target: Held<'_> =
            (format!("at least {least} a second"), Box::new(move |rate| TargetVerdict::of(rate >= least)));
        self.held(Section::Throughput, "events_per_second", "per_second", rate, "no process was up", Some(target));
        self.counted(Section::Throughput, "events", total.events);
        self.counted(Section::Throughput, "repeats", total.repeats);
        let busiest = self.measured.counts.hours.values().map(|hour| hour.events).max();
        self.put(Section::Throughput, "events_in_the_busiest_hour", "count", busiest.map(count), "there was no event");
        let silent = self.measured.counts.seen.is_none().then_some("no event was received");
        let first = self.measured.counts.seen.map(|(first, last)| last.since(first).as_secs_f64());
        self.put(Section::Throughput, "from_first_to_last_event", "seconds", first, silent.unwrap_or_default());
    }

    fn parsing(&mut self) {
        let total = self.measured.counts.total;
        let (least, aim) = (self.targets.parse_rate, self.targets.parse_rate_aim);
        let above = |least: f64| -> Held<'static> {
            (format!("> {}", percent(least)), Box::new(move |rate| TargetVerdict::of(rate > least)))
        };
        let none = "there was no message";
        self.held(Section::Parsing, "parse_rate", "share", total.parse_rate(), none, Some(above(least)));
        self.held(Section::Parsing, "parse_rate_aim", "share", total.parse_rate(), none, Some(above(aim)));
        self.counted(Section::Parsing, "messages", total.data);
        let mut monitors: Vec<(String, super::Hour)> =
            self.measured.counts.monitors.iter().map(|(name, hour)| (name.clone(), *hour)).collect();
        monitors.retain(|(_, hour)| hour.quarantined > 0);
        monitors.sort_by_key(|(_, hour)| std::cmp::Reverse(hour.quarantined));
        for (name, hour) in monitors.into_iter().take(WORST_MAX) {
            self.put(Section::Parsing, format!("parse_rate of {name}"), "share", hour.parse_rate(), "");
        }
    }

    fn latency(&mut self) {
        let most = self.targets.latency.as_secs_f64();
        let history = &self.measured.history;
        let none = "no process told of an event that came from a link; the first telling is a minute after the start";
        for (name, fraction) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let target: Option<Held<'_>> = (name == "p95").then(|| {
                let target = format!("< {}", crate::config::units::show_duration(self.targets.latency));
                (
                    target,
                    Box::new(move |latency| TargetVerdict::of(latency < most)) as Box<dyn Fn(f64) -> TargetVerdict>,
                )
            });
            self.held(Section::Latency, name, "seconds", history.latency(fraction), none, target);
        }
        self.counted(Section::Latency, "events_timed", history.timed());
    }

    fn recovery(&mut self) {
        let measured = self.measured;
        let (mut restarts, mut killed) = (0, 0);
        let (mut ready, mut event): (Option<f64>, Option<f64>) = (None, None);
        for restart in measured.runs.restarts(measured.known_from, measured.asked.until) {
            restarts += 1;
            killed += u64::from(restart.ending == super::Ending::Killed);
            ready = ready.max_of(Some(restart.recovery().as_secs_f64()));
            event = event.max_of(restart.recovery_to_event().map(|span| span.as_secs_f64()));
        }
        let most = self.targets.recovery.as_secs_f64();
        let within = || -> Option<Held<'static>> {
            let target = format!("< {most} s");
            Some((target, Box::new(move |span| TargetVerdict::of(span < most))))
        };
        self.counted(Section::Recovery, "restarts", restarts);
        self.counted(Section::Recovery, "of_these_after_a_kill", killed);
        let none = "nothing was started again, so there was nothing to recover";
        // Where nothing had to recover, nothing took too long.
        let target = if restarts == 0 { None } else { within() };
        self.held(Section::Recovery, "longest_from_down_to_ready", "seconds", ready, none, target);
        let none = if restarts == 0 { none } else { "no event came since the restart" };
        self.put(Section::Recovery, "longest_from_down_to_first_durable_event", "seconds", event, none);
        let lost = measured.losses.lost_connections();
        let watched = measured.known() >= DROPS_SPAN;
        let allowed = self.targets.dropped_connections;
        let target = format!("at most {allowed} in 24 hours");
        #[expect(clippy::cast_precision_loss, reason = "nobody loses 2^52 connections")]
        let met = move |lost: f64| match (lost > allowed as f64, watched) {
            (true, _) => TargetVerdict::NotMet,
            // Too many are too many after an hour; none are only none after a day.
            (false, false) => TargetVerdict::Unknown,
            (false, true) => TargetVerdict::Met,
        };
        self.held(Section::Recovery, "connections_lost", "count", Some(count(lost)), "", Some((target, Box::new(met))));
        if let (false, Some(figure)) = (watched || lost > allowed, self.list.last_mut()) {
            figure.reason = Some("less than 24 hours are known".to_owned());
        }
        let longest = (measured.losses.longest > 0.0).then_some(measured.losses.longest);
        let target = longest.and_then(|_| within());
        let none = "no connection was lost";
        self.held(Section::Recovery, "longest_from_a_lost_connection_to_data", "seconds", longest, none, target);
    }

    fn breakers(&mut self) {
        let history = &self.measured.history;
        let told = history.records > 0;
        let sum = told.then(|| history.openings.values().sum()).map(count);
        self.put(Section::Breakers, "trips", "count", sum, NO_RECORD);
        let rows: Vec<_> = history
            .openings
            .iter()
            .filter(|(_, trips)| **trips > 0)
            .map(|((kind, name), trips)| (format!("trips of {kind} {name}"), *trips))
            .collect();
        for (name, trips) in rows.into_iter().take(WORST_MAX) {
            self.counted(Section::Breakers, name, trips);
        }
    }

    fn checkpoints(&mut self) {
        let of = self.measured.history.checkpoints;
        self.put(Section::Checkpoints, "written", "count", of.map(|of| count(of.written)), NO_RECORD);
        self.put(Section::Checkpoints, "failed", "count", of.map(|of| count(of.failed)), NO_RECORD);
    }

    fn gaps(&mut self) {
        let causes = &self.measured.losses.causes;
        self.counted(Section::Gaps, "gaps", causes.values().map(|of| of.gaps).sum());
        self.counted(Section::Gaps, "open", causes.values().map(|of| of.open).sum());
        self.put(Section::Gaps, "topic_seconds", "seconds", Some(causes.values().map(|of| of.seconds).sum()), "");
        self.counted(Section::Gaps, "filled", causes.values().map(|of| of.filled).sum());
        let missing = causes.values().filter_map(|of| of.missing).reduce(|one, other| one + other);
        let none = "no feed that numbers its messages had a gap";
        self.put(Section::Gaps, "missing_messages", "count", missing.map(count), none);
        let rows: Vec<_> = causes.iter().map(|(cause, of)| (cause.clone(), *of)).collect();
        for (cause, of) in rows {
            self.counted(Section::Gaps, format!("gaps by {cause}"), of.gaps);
            self.put(Section::Gaps, format!("topic_seconds by {cause}"), "seconds", Some(of.seconds), "");
            self.counted(Section::Gaps, format!("filled of {cause}"), of.filled);
        }
    }

    fn completeness(&mut self) {
        let total = self.measured.completeness.total.clone();
        let none = "no topic was watched";
        self.put(Section::Completeness, "of_time", "share", total.completeness, none);
        let messages = total.expected.filter(|expected| *expected > 0).zip(total.seen);
        #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
        let messages = messages.map(|(expected, seen)| seen as f64 / expected as f64);
        let none = "no feed that numbers its messages missed any";
        self.put(Section::Completeness, "of_numbered_messages", "share", messages, none);
        let mut topics: Vec<_> =
            self.measured.completeness.topics.iter().filter(|row| row.gap_seconds > 0.0).cloned().collect();
        topics.sort_by(|one, other| other.gap_seconds.total_cmp(&one.gap_seconds));
        for row in topics.into_iter().take(WORST_MAX) {
            let name = format!("of {} {}", row.monitor.unwrap_or_default(), row.topic.unwrap_or_default());
            self.put(Section::Completeness, name, "share", row.completeness, "");
        }
    }

    fn uptime(&mut self) {
        let known = self.measured.known().as_secs_f64();
        let share = self.measured.up.filter(|_| known > 0.0).map(|up| (up.as_secs_f64() / known).min(1.0));
        let least = self.targets.uptime;
        let target: Held<'_> =
            (format!("at least {}", percent(least)), Box::new(move |share| TargetVerdict::of(share >= least)));
        let none = "no process said that it ran";
        self.held(Section::Uptime, "share", "share", share, none, Some(target));
        let up = self.measured.up.map(|up| up.as_secs_f64());
        self.put(Section::Uptime, "up", "seconds", up, none);
        self.put(Section::Uptime, "down", "seconds", up.map(|up| (known - up).max(0.0)), none);
        self.put(Section::Uptime, "known", "seconds", Some(known), "");
    }

    #[expect(clippy::cast_precision_loss, reason = "memory to 15 digits")]
    fn memory(&mut self) {
        let memory = &self.measured.history.memory;
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
        let (last, greatest, slope) = (bytes(memory.last), bytes(memory.greatest), memory.slope());
        self.put(Section::Memory, "last", "bytes", last, NO_RECORD);
        self.put(Section::Memory, "greatest", "bytes", greatest, NO_RECORD);
        self.put(Section::Memory, "slope", "bytes_per_hour", slope, "less than half an hour of it is known");
    }

    fn sinks(&mut self) {
        let sinks: Vec<_> = self.measured.history.sinks.values().cloned().collect();
        let none = "it did not say";
        for sink in sinks {
            let name = |what: &str| format!("{what} of {}", sink.last.name);
            let unlike = if sink.last.state == "connected" { None } else { Some(sink.last.state.clone()) };
            self.counted(Section::Sinks, name("rows"), sink.rows);
            self.put(
                Section::Sinks,
                name("lag"),
                "count",
                sink.last.lag_events.map(count),
                unlike.as_deref().unwrap_or(none),
            );
            self.put(Section::Sinks, name("greatest_lag"), "count", sink.lag_events.map(count), none);
            self.put(Section::Sinks, name("greatest_lag_time"), "seconds", sink.lag_seconds, none);
            let latency = sink.latency_p95_ms.map(|latency| latency / 1e3);
            self.put(Section::Sinks, name("latency_p95"), "seconds", latency, "it wrote nothing");
            self.counted(Section::Sinks, name("parked"), sink.parked);
        }
    }

    fn quarantine(&mut self) {
        let counts = &self.measured.counts;
        let (quarantined, kept) = (counts.total.quarantined, counts.kept);
        self.counted(Section::Quarantine, "messages", quarantined);
        self.counted(Section::Quarantine, "kept_frames", kept);
    }

    fn data(&mut self) {
        let least = self.targets.data_match;
        let target: Held<'_> =
            (format!("at least {}", percent(least)), Box::new(move |share| TargetVerdict::of(share >= least)));
        let none = "no monitor was shadowed; see `monitors shadow` and `monitors compare`";
        self.held(Section::DataMatch, "data_match", "share", self.measured.asked.data_match, none, Some(target));
    }

    #[expect(clippy::cast_precision_loss, reason = "rates of counts")]
    fn trends(&mut self) {
        let Measured { counts, asked, before_known, .. } = self.measured;
        let seconds = asked.until.since(asked.since).as_secs_f64();
        let none = "the journal does not reach back to all of the span before";
        let was = |value: Option<f64>| value.filter(|_| *before_known && seconds > 0.0);
        let (now, before) = (counts.total, counts.before);
        let relative = |now: f64, before: f64| (before > 0.0).then(|| now / before - 1.0);
        let events = relative(now.events as f64, before.events as f64);
        let parsed = now.parse_rate().zip(before.parse_rate()).map(|(now, before)| now - before);
        let quarantined = now.quarantined as f64 - before.quarantined as f64;
        let hours = counts.hours.values().map(|hour| hour.events as f64);
        let slope = slope(&hours.collect::<Vec<_>>());
        self.put(Section::Trends, "events_before", "count", was(Some(count(before.events))), none);
        self.put(Section::Trends, "events_against_before", "change", was(events), none);
        self.put(Section::Trends, "parse_rate_against_before", "points", was(parsed), none);
        self.put(Section::Trends, "quarantined_against_before", "difference", was(Some(quarantined)), none);
        let none = "it takes three whole hours";
        self.put(Section::Trends, "events_an_hour_each_hour", "difference", slope, none);
    }
}

/// Rows of what was worst. Source: a guess; a report is read by a person, and programs can ask for all.
const WORST_MAX: usize = 20;

/// Why a figure of the processes is not known.
const NO_RECORD: &str = "no process told its figures in this span; it does so every minute and at a stop";

/// By how much more there was each hour, by the line through all but the first and the last, which are hours in part.
#[expect(clippy::cast_precision_loss, reason = "a report has some hundred hours")]
fn slope(hours: &[f64]) -> Option<f64> {
    let whole = hours.get(1..hours.len().checked_sub(1)?)?;
    if whole.len() < 3 {
        return None;
    }
    let middle = (whole.len() - 1) as f64 / 2.0;
    let average = whole.iter().sum::<f64>() / whole.len() as f64;
    let products: f64 = whole.iter().enumerate().map(|(at, value)| (at as f64 - middle) * (value - average)).sum();
    let squares: f64 = (0..whole.len()).map(|at| (at as f64 - middle).powi(2)).sum();
    Some(products / squares)
}

/// The greater of two that may be unknown.
trait MaxOf {
    fn max_of(self, other: Self) -> Self;
}

impl MaxOf for Option<f64> {
    fn max_of(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_in_part_are_no_part_of_a_trend() {
        assert_eq!(slope(&[1.0, 10.0, 20.0, 30.0, 2.0]), Some(10.0));
        assert_eq!(slope(&[10.0, 20.0, 30.0, 40.0]), None);
        assert_eq!(slope(&[]), None);
    }
}
