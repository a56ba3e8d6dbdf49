//! The history of the daemon's figures: an event a minute, and a last one at the stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::figures::Commits;
use super::own_events::{CountsRecord, event_block};
use super::watched::{Watched, WatchedList};
use crate::breaker::CircuitKind;
use crate::circuits::{CircuitRow, Circuits};
use crate::clock::{ReceivedClock, UnixNanos};
use crate::journal::{Journal, MonitorIdentity};
use crate::pipeline::dedupe::DedupeWindow;
use crate::sink::{SinkRow, SinkState, Sinks};
use crate::telemetry::{self, Memory};
use crate::views::{CounterBoard, CounterRecord};

/// The topic of figures in the journal, under the domain `_sluice`.
const METRICS_TOPIC: &str = "metrics";

/// How far apart two events of the history are. Source: a guess, as fine as anybody looks back. One takes some 700 bytes on
/// disk with 6 monitors of 3 upstreams, so a day at most a megabyte.
const INTERVAL: Duration = Duration::from_mins(1);

/// The daemon's figures as the journal holds them. Everything that counts up does so since `started`.
#[derive(Debug, Serialize)]
pub(super) struct MetricsRecord {
    /// When this run began, RFC 3339.
    started: String,
    /// When it was ready to take events.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<String>,
    /// When the first event that a link brought was durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_durable: Option<String>,
    /// When it stopped in order; with its last record only.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    /// What was counted since.
    monitors: Vec<CountsRecord>,
    /// Links now.
    upstreams: Vec<LinksRecord>,
    /// The journal before this event.
    journal: JournalRecord,
    /// The dedupe window.
    dedupe: DedupeRecord,
    /// Business counters, since they were declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counters: Vec<CounterRecord>,
    /// Bytes of memory that the process has resident; absent where the host does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    /// Circuit breakers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    circuits: Vec<OpeningsRecord>,
    /// Checkpoints of this run.
    checkpoints: CheckpointsRecord,
    /// Sinks now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sinks: Vec<SinkRecord>,
}

/// How often a circuit breaker has opened by itself since the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct OpeningsRecord {
    kind: CircuitKind,
    name: String,
    openings: u64,
}

#[derive(Debug, Serialize)]
struct CheckpointsRecord {
    written: u64,
    failed: u64,
}

/// A sink. Absent: it has not said so.
#[derive(Debug, Serialize)]
struct SinkRecord {
    name: String,
    state: SinkState,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
    /// Of its transactions since the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_p95_ms: Option<f64>,
    rows: u64,
    parked: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LinksRecord {
    upstream: String,
    /// Wanted.
    links: usize,
    /// Of these, open.
    open: usize,
    /// Opened in the place of lost ones.
    reconnects: u64,
}

#[derive(Debug, Serialize)]
struct JournalRecord {
    durable_offset: u64,
    /// By this run.
    written_bytes: u64,
    /// From socket to durable, of this run; absent before the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_p95_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_p99_seconds: Option<f64>,
    /// How many events of this run took how long: the greatest microsecond of a step, and how many were within it. The
    /// differences of two records tell of the time between them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latency_steps: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize)]
struct DedupeRecord {
    ids: u64,
}

/// Where figures come from.
pub(super) struct Sources {
    /// Links and counts.
    pub(super) watched: Arc<WatchedList>,
    /// What the writer has done.
    pub(super) commits: Arc<Commits>,
    /// Ids remembered.
    pub(super) window: Arc<DedupeWindow>,
    /// Business counters.
    pub(super) counters: Arc<CounterBoard>,
    /// Breakers.
    pub(super) circuits: Arc<Circuits>,
    /// What sinks say of themselves.
    pub(super) sinks: Option<Arc<Sinks>>,
    /// Checkpoints written and failed.
    pub(super) checkpoints: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
}

/// Writes the history.
pub(super) struct History {
    monitor: Arc<MonitorIdentity>,
    sources: Sources,
    journal: Arc<Journal>,
    clock: Arc<ReceivedClock>,
    started: UnixNanos,
    progress: Mutex<Progress>,
}

/// How far the history is.
struct Progress {
    due: Instant,
    /// What was told last; at the start that nothing has happened.
    told: Told,
    /// Whether anything was told.
    any: bool,
    ended: bool,
}

/// What must have changed for there to be something to tell. Not what the history itself moves, such as offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    monitors: Vec<CountsRecord>,
    upstreams: Vec<LinksRecord>,
    circuits: Vec<OpeningsRecord>,
}

impl History {
    /// Of a daemon that begins `now`, journaled under `monitor`.
    pub(super) fn new(
        monitor: Arc<MonitorIdentity>,
        sources: Sources,
        journal: Arc<Journal>,
        clock: Arc<ReceivedClock>,
        started: UnixNanos,
        now: Instant,
    ) -> Self {
        let told = Told::now(&sources);
        let progress = Mutex::new(Progress { due: now + INTERVAL, told, any: false, ended: false });
        Self { monitor, sources, journal, clock, started, progress }
    }

    /// Adds to the history when a minute is over in which something changed. Called more often than that.
    pub(super) fn tend(&self, now: Instant) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.ended || now < progress.due {
            return;
        }
        // From now and not from when it was due: after a suspended machine wakes there is one event and not one for each minute.
        progress.due = now + INTERVAL;
        let told = Told::now(&self.sources);
        if told != progress.told {
            self.tell(&told, None);
            (progress.told, progress.any) = (told, true);
        }
    }

    /// Adds the last counts, once links are done and before the journal closes. That the links are closed is no news; that it ended
    /// in order is, where anything was told of it.
    pub(super) fn end(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let told = Told::now(&self.sources);
        if !progress.ended && (progress.any || told.monitors != progress.told.monitors) {
            self.tell(&told, Some(UnixNanos::now()));
        }
        progress.ended = true;
    }

    /// What is refused is dropped: the next event counts from the start as well, so that only a point of the curve is missing.
    fn tell(&self, told: &Told, ended: Option<UnixNanos>) {
        let block = event_block(&self.monitor, METRICS_TOPIC, &self.record(told, ended), self.clock.stamp());
        if self.journal.try_submit_own(block).is_err() {
            telemetry::own_event_refused();
            tracing::warn!("an event of the metric history was dropped: the journal takes no more of the daemon's own");
        }
    }

    fn record(&self, told: &Told, ended: Option<UnixNanos>) -> MetricsRecord {
        let Told { monitors, upstreams, circuits } = told.clone();
        let (commits, (written, failed)) = (&self.sources.commits, (self.sources.checkpoints)());
        let time = |time: Option<UnixNanos>| time.map(|time| time.to_string());
        let journal = self.sources.commits.figures(self.journal.durable());
        MetricsRecord {
            started: self.started.to_string(),
            ready: time(commits.ready()),
            first_durable: time(commits.first_durable()),
            ended: time(ended),
            monitors,
            upstreams,
            journal: JournalRecord {
                durable_offset: journal.durable.0,
                written_bytes: journal.written_bytes,
                latency_p50_seconds: journal.latency_p50.map(|latency| latency.as_secs_f64()),
                latency_p95_seconds: journal.latency_p95.map(|latency| latency.as_secs_f64()),
                latency_p99_seconds: journal.latency_p99.map(|latency| latency.as_secs_f64()),
                latency_steps: commits.latency_steps(),
            },
            dedupe: DedupeRecord { ids: self.sources.window.ids() },
            counters: self.sources.counters.records(),
            memory_bytes: Some(Memory::now().used).filter(|used| *used > 0),
            circuits,
            checkpoints: CheckpointsRecord { written, failed },
            sinks: self.sources.sinks.iter().flat_map(|sinks| sinks.rows()).map(SinkRecord::of).collect(),
        }
    }
}

impl SinkRecord {
    fn of(row: SinkRow) -> Self {
        Self {
            name: row.name,
            state: row.state,
            lag_events: row.lag_events,
            lag_seconds: row.lag_seconds,
            latency_p95_ms: row.latency_ms.map(|latency| latency.p95),
            rows: row.rows,
            parked: row.parked,
        }
    }
}

impl Told {
    fn now(sources: &Sources) -> Self {
        let watched = &sources.watched.now();
        let opened = |row: CircuitRow| OpeningsRecord { kind: row.kind, name: row.name, openings: row.openings };
        // Of one that never opened there is nothing to tell, and there may be many.
        let circuits = sources.circuits.rows().into_iter().filter(|row| row.openings > 0).map(opened).collect();
        let links = |watched: &Watched| {
            let figures = watched.figures();
            LinksRecord {
                upstream: figures.name,
                links: figures.links,
                open: figures.open,
                reconnects: figures.reconnects,
            }
        };
        Self { monitors: CountsRecord::of_all(watched), upstreams: watched.iter().map(links).collect(), circuits }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::watching::watching;
    use super::*;
    use crate::config::JournalSettings;
    use crate::journal::{BlockFilter, JournalOptions};
    use crate::monitor::burst::Counts;

    fn told(journal: &Journal) -> Vec<Value> {
        journal.close().unwrap();
        let mut reader = journal.reader();
        let mut records = Vec::new();
        while let Some(block) = reader.next_block(&BlockFilter::all()).unwrap() {
            records.extend(block.events().map(|event| serde_json::from_slice::<Value>(event.payload).unwrap()));
        }
        records
    }

    #[test]
    fn a_minute_in_which_something_changed_is_told_and_the_stop_is() {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions::new(JournalSettings::default());
        let journal = Arc::new(Journal::open(dir.path(), options).unwrap().0);
        let (watched, monitor) = watching();
        let sources = Sources {
            watched: Arc::clone(&watched),
            commits: Arc::new(Commits::new(Arc::default())),
            window: Arc::new(DedupeWindow::new(Duration::from_mins(5), 1 << 20)),
            counters: Arc::default(),
            circuits: Arc::new(Circuits::new(true, Vec::new())),
            sinks: None,
            checkpoints: Box::new(|| (0, 0)),
        };
        let start = Instant::now();
        let history = History::new(monitor, sources, Arc::clone(&journal), Arc::default(), UnixNanos(0), start);
        let minute = |number: u32| start + INTERVAL * number;
        let count =
            || watched.now()[0].roster.monitors[1].totals.add(Counts { messages: 2, control: 0, quarantined: 1 });

        history.tend(minute(1));
        count();
        history.tend(minute(2) - Duration::from_millis(1));
        assert_eq!(journal.queued().1, 0, "nothing has changed, or it is not time yet");
        for number in 2..10 {
            history.tend(minute(number));
        }
        count();
        history.end();
        history.end();
        history.tend(minute(20));

        let records = told(&journal);
        assert_eq!(records.len(), 2, "{records:?}");
        for (record, times) in records.iter().zip(1..) {
            let names: Vec<&Value> = record["monitors"].as_array().unwrap().iter().map(|row| &row["monitor"]).collect();
            assert_eq!(names, ["a", "b", "upstream:u"]);
            let b = &record["monitors"][1];
            assert_eq!(
                (&b["messages"], &b["events"], &b["quarantined"]),
                (&(2 * times).into(), &times.into(), &times.into())
            );
            assert_eq!(record["upstreams"][0]["links"], 2);
            assert!(record["journal"]["latency_p50_seconds"].is_null(), "no event came from a socket");
        }
    }

    #[test]
    fn a_daemon_to_which_nothing_happened_has_no_history() {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions::new(JournalSettings::default());
        let journal = Arc::new(Journal::open(dir.path(), options).unwrap().0);
        let (watched, monitor) = watching();
        let sources = Sources {
            watched,
            commits: Arc::new(Commits::new(Arc::default())),
            window: Arc::new(DedupeWindow::new(Duration::from_mins(5), 1 << 20)),
            counters: Arc::default(),
            circuits: Arc::new(Circuits::new(true, Vec::new())),
            sinks: None,
            checkpoints: Box::new(|| (0, 0)),
        };
        let now = Instant::now();
        let history = History::new(monitor, sources, Arc::clone(&journal), Arc::default(), UnixNanos(0), now);
        history.tend(now + INTERVAL * 3);
        history.end();
        assert!(told(&journal).is_empty());
    }
}
