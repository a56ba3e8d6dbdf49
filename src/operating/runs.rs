//! Processes that ran, one after the other: when each was up, how it ended, and what it took until the next one had an event durable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::points::{Made, Point};
use crate::clock::UnixNanos;
use crate::journal::Offset;

/// The most that are remembered, the newest. Source: a guess; 100 bytes each, and a process that starts so often has other troubles.
const RUNS_MAX: usize = 10_000;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// In order: it said so.
    Stopped,
    /// Without a word: killed, or the machine died.
    Killed,
}

impl Ending {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }
}

/// One process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) started: UnixNanos,
    /// Where its first record is.
    first: Offset,
    ready: Option<UnixNanos>,
    first_durable: Option<UnixNanos>,
    /// When its first event of a link was received.
    first_event: Option<UnixNanos>,
    /// The last that is known of it.
    last_sign: UnixNanos,
    ended: Option<UnixNanos>,
}

impl Run {
    /// From when on it took events. Until it has said so itself, the first that it took is what shows it.
    pub(super) fn up_from(&self) -> UnixNanos {
        self.ready.or(self.first_event).unwrap_or(self.started)
    }

    /// Up to when it did, of one that is not there any more.
    pub(super) fn up_to(&self) -> UnixNanos {
        self.ended.unwrap_or(self.last_sign).max(self.up_from())
    }

    pub(super) fn ending(&self) -> Ending {
        if self.ended.is_some() { Ending::Stopped } else { Ending::Killed }
    }
}

/// From the end of a process to the next one's first durable event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    /// When the process before was there last.
    pub(super) down: UnixNanos,
    pub(super) ending: Ending,
    pub(super) started: UnixNanos,
    pub(super) ready: UnixNanos,
    pub(super) first_durable: Option<UnixNanos>,
}

impl Restart {
    /// What counts as recovery: of a process that was killed from then on; of one that a person stopped from the next start on, since
    /// when that was to be was theirs to say.
    pub(super) fn recovery(&self) -> Duration {
        self.ready.since(self.counted_from())
    }

    /// The same until the first event was durable.
    pub(super) fn recovery_to_event(&self) -> Option<Duration> {
        Some(self.first_durable?.since(self.counted_from()))
    }

    fn counted_from(&self) -> UnixNanos {
        match self.ending {
            Ending::Killed => self.down,
            Ending::Stopped => self.started.max(self.down),
        }
    }
}

/// All that are known, oldest first.
#[derive(Debug, Default)]
pub(super) struct Runs {
    list: Vec<Run>,
    /// Which one the headers have come to.
    at: Option<usize>,
}

impl Runs {
    pub(super) fn take(&mut self, made: Made, point: &Point) {
        if self.list.last().is_none_or(|run| run.started != made.started) {
            if self.list.len() == RUNS_MAX {
                self.list.remove(0);
            }
            self.list.push(Run {
                started: made.started,
                first: made.offset,
                ready: None,
                first_durable: None,
                first_event: None,
                last_sign: made.received,
                ended: None,
            });
        }
        let Some(run) = self.list.last_mut() else { return };
        run.last_sign = run.last_sign.max(made.received);
        run.ready = run.ready.or(point.ready());
        run.first_durable = run.first_durable.or(point.first_durable());
        run.ended = run.ended.or(point.ended());
    }

    /// A block was written at `offset`, its last event received then; `data`: the first of a link's events in it was received then.
    pub(super) fn sign(&mut self, offset: Offset, last: UnixNanos, data: Option<UnixNanos>) {
        let next = self.at.map_or(0, |at| at + 1);
        let newer = self.list[next..].iter().take_while(|run| run.first <= offset).count();
        if newer > 0 {
            self.at = Some(next + newer - 1);
        }
        let Some(run) = self.at.and_then(|at| self.list.get_mut(at)) else { return };
        run.last_sign = run.last_sign.max(last);
        run.first_event = run.first_event.or(data.filter(|data| *data >= run.started));
    }

    /// When they were up, oldest first. `running`: the last one still is.
    pub(super) fn up(&self, until: UnixNanos, running: bool) -> Vec<(UnixNanos, UnixNanos)> {
        let last = self.list.len().saturating_sub(1);
        let up = |(number, run): (usize, &Run)| {
            let is_there = running && number == last && run.ended.is_none();
            (run.up_from(), if is_there { until.max(run.up_from()) } else { run.up_to() })
        };
        self.list.iter().enumerate().map(up).collect()
    }

    /// Restarts that were ready in a span.
    pub(super) fn restarts(&self, since: UnixNanos, until: UnixNanos) -> impl Iterator<Item = Restart> {
        self.list.windows(2).filter_map(move |pair| {
            let [before, run] = pair else { return None };
            let ready = run.up_from();
            (ready >= since && ready < until).then(|| Restart {
                down: before.up_to().min(ready),
                ending: before.ending(),
                started: run.started,
                ready,
                first_durable: run.first_durable.or(run.first_event),
            })
        })
    }

    /// When the first one began.
    pub(super) fn first_start(&self) -> Option<UnixNanos> {
        self.list.first().map(|run| run.started)
    }
}

/// How much of a span lies in any of `spans`, which are in the order of their beginnings.
pub(super) fn covered(spans: &[(UnixNanos, UnixNanos)], since: UnixNanos, until: UnixNanos) -> Duration {
    let mut sum = Duration::ZERO;
    let mut to = since;
    for (start, end) in spans {
        let (from, end) = ((*start).max(to), (*end).min(until));
        if from < end {
            sum += end.since(from);
            to = end;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos((1_000_000 + seconds) * 1_000_000_000)
    }

    fn made(offset: u64, received: i64, started: i64) -> Made {
        Made { offset: Offset(offset), received: at(received), started: at(started), figures: true }
    }

    fn point(text: &str) -> Point {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_kill_counts_from_the_last_sign_and_a_stop_from_the_next_start() {
        let mut runs = Runs::default();
        runs.take(made(0, 1, 0), &point(r#"{"started": ""}"#));
        runs.take(made(10, 50, 40), &point(&format!(r#"{{"started": "", "ready": "{}"}}"#, at(42))));
        runs.take(made(15, 60, 40), &point(&format!(r#"{{"started": "", "ended": "{}"}}"#, at(60))));
        runs.take(made(20, 105, 100), &point(&format!(r#"{{"started": "", "ready": "{}"}}"#, at(103))));
        runs.sign(Offset(1), at(2), Some(at(2)));
        runs.sign(Offset(9), at(30), Some(at(30)));
        runs.sign(Offset(11), at(55), Some(at(45)));
        runs.sign(Offset(21), at(110), Some(at(107)));
        let restarts: Vec<Restart> = runs.restarts(at(0), at(1000)).collect();
        let seconds = |span: Option<Duration>| span.map(|span| span.as_secs());
        let shown: Vec<_> = restarts
            .iter()
            .map(|restart| (restart.ending, restart.recovery().as_secs(), seconds(restart.recovery_to_event())))
            .collect();
        assert_eq!(shown, [(Ending::Killed, 12, Some(15)), (Ending::Stopped, 3, Some(7))]);
        let up = runs.up(at(200), true);
        assert_eq!(up, [(at(2), at(30)), (at(42), at(60)), (at(103), at(200))]);
        assert_eq!(covered(&up, at(0), at(200)).as_secs(), 28 + 18 + 97);
        assert_eq!(covered(&runs.up(at(200), false), at(20), at(50)).as_secs(), 10 + 8);
    }

    #[test]
    fn spans_that_overlap_count_once() {
        assert_eq!(covered(&[(at(0), at(10)), (at(5), at(20)), (at(6), at(7))], at(0), at(100)).as_secs(), 20);
    }
}
