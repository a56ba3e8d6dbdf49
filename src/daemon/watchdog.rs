//! Watches over the daemon's stages: each is asked something empty, and must answer within the deadline. As long as all do, the service
//! manager is told that the daemon lives; one that does not is named in the log and in metrics, and the manager, no longer told, has
//! the daemon start anew.
//!
//! What a stage waits for is its own affair: a quiet feed, a full disk, a store that does not answer. A stage that waits as it should still
//! comes by to answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::service_manager::{self, Word};
use super::watched::{Watched, WatchedList};
use crate::journal::Journal;
use crate::pulse::Pulse;
use crate::telemetry::StageMetrics;
use crate::upstream::unit_name;

/// How long a stage may take to answer where the service manager sets no time. Source: a guess, far above the longest sync of a disk that
/// works.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest between two questions.
const ROUND_MAX: Duration = Duration::from_secs(5);
/// How much longer a start may take each time it is seen to work.
const START_LONGER: Duration = Duration::from_secs(30);
/// CPU time in a round that shows a start at work. Source: measured, this thread uses less than a tenth of it.
const WORK_MIN: Duration = Duration::from_millis(5);
/// Bytes read in a round that show the same of one that waits for the disk.
const READ_MIN: u64 = 64 << 10;
/// How much longer than the hand-over's own deadline its process is held to be alive. Source: as long as it waits for an answer, twice.
const YIELD_GRACE: Duration = Duration::from_secs(30);

/// Something that must answer.
pub(super) struct Stage {
    name: String,
    pulse: Arc<Pulse>,
    by: By,
}

/// How a stage is asked.
enum By {
    /// Threads that run tasks: one more, which answers.
    Runtime(Handle),
    /// The journal's writer, which is woken.
    Journal(Arc<Journal>),
    /// It looks by itself.
    Itself,
}

impl Stage {
    /// Threads that run tasks.
    pub(super) fn runtime(name: &str, handle: Handle) -> Self {
        Self { name: name.to_owned(), pulse: Arc::new(Pulse::always()), by: By::Runtime(handle) }
    }

    /// The journal's writer.
    pub(super) fn journal(journal: Arc<Journal>) -> Self {
        Self { name: "journal".to_owned(), pulse: journal.pulse(), by: By::Journal(journal) }
    }

    /// What looks at its pulse by itself.
    pub(super) fn of(name: &str, pulse: Arc<Pulse>) -> Self {
        Self { name: name.to_owned(), pulse, by: By::Itself }
    }

    fn ask(&self) {
        self.pulse.ask();
        match &self.by {
            By::Runtime(handle) => {
                let pulse = Arc::clone(&self.pulse);
                // It is over as soon as it runs, and is never asked again before.
                drop(handle.spawn(async move { pulse.answer() }));
            }
            By::Journal(journal) => journal.wake(),
            By::Itself => {}
        }
    }
}

/// Everything that is watched.
pub(super) struct Stages {
    pub(super) fixed: Vec<Stage>,
    /// Whose keepers come and go.
    pub(super) upstreams: Arc<WatchedList>,
}

impl Stages {
    /// All of now, those of each upstream by its pulse.
    fn now(&self) -> impl Iterator<Item = (String, Asked<'_>)> {
        let fixed = self.fixed.iter().map(|stage| (stage.name.clone(), Asked::Stage(stage)));
        let keepers = self.upstreams.now().into_iter().map(|Watched { of, roster, status, .. }| {
            let name = format!("upstream {}", unit_name(&roster.upstream, of.as_deref()));
            (name, Asked::Pulse(status.pulse()))
        });
        fixed.chain(keepers)
    }
}

enum Asked<'s> {
    Stage(&'s Stage),
    Pulse(Arc<Pulse>),
}

impl Asked<'_> {
    fn ask(&self) {
        match self {
            Self::Stage(stage) => stage.ask(),
            Self::Pulse(pulse) => pulse.ask(),
        }
    }

    fn is_answered(&self) -> bool {
        match self {
            Self::Stage(stage) => stage.pulse.is_answered(),
            Self::Pulse(pulse) => pulse.is_answered(),
        }
    }
}

/// What is known of a stage between two rounds.
struct Known {
    asked: Instant,
    told: bool,
    metrics: StageMetrics,
}

/// What came of a look at the stages.
#[derive(Default)]
struct Rounds(BTreeMap<String, Known>);

impl Rounds {
    /// Looks who has answered, asks them anew, and says whether nobody is late.
    fn look(&mut self, now: Instant, deadline: Duration, stages: &Stages) -> bool {
        let mut all_well = true;
        let mut seen = std::mem::take(&mut self.0);
        for (name, stage) in stages.now() {
            let mut known = seen.remove(&name).unwrap_or_else(|| {
                let metrics = StageMetrics::new(&name);
                stage.ask();
                Known { asked: now, told: false, metrics }
            });
            let waited = now - known.asked;
            if stage.is_answered() {
                if std::mem::take(&mut known.told) {
                    tracing::info!(stage = %name, "it answers again, after {} s", waited.as_secs());
                }
                known.metrics.set(Duration::ZERO, false);
                stage.ask();
                known.asked = now;
            } else {
                let late = waited >= deadline;
                known.metrics.set(waited, late);
                if late && !std::mem::replace(&mut known.told, true) {
                    tracing::error!(
                        stage = %name,
                        "it has not answered for {} s: the service manager is no longer told that we are alive",
                        waited.as_secs_f64().round()
                    );
                }
                all_well &= !late;
            }
            self.0.insert(name, known);
        }
        // Stages that are no more.
        for known in seen.into_values() {
            known.metrics.set(Duration::ZERO, false);
        }
        all_well
    }
}

/// What the daemon does, as far as watching it goes.
enum Phase {
    /// It starts: the manager is asked for more time as long as it works.
    Starting,
    Watching(Stages, Rounds),
    /// It hands over, which has a deadline of its own.
    Yielding {
        until: Instant,
    },
    /// Nothing is told any more.
    Over,
}

struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Phase> {
        // Whole after every step: a panic elsewhere leaves nothing half done.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that watches. Ends when it is dropped.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Begins, with a daemon that starts.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared { phase: Mutex::new(Phase::Starting), changed: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("watchdog".into()).spawn(move || watch(&watched))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn enter(&self, phase: Phase) {
        *self.shared.lock() = phase;
        self.shared.changed.notify_all();
    }

    /// The daemon starts, once more.
    pub(super) fn starting(&self) {
        self.enter(Phase::Starting);
    }

    /// It runs.
    pub(super) fn watch(&self, stages: Stages) {
        self.enter(Phase::Watching(stages, Rounds::default()));
    }

    /// It hands over, which takes no longer than this once the other process has everything.
    pub(super) fn yielding(&self, within: Duration) {
        self.enter(Phase::Yielding { until: Instant::now() + within + YIELD_GRACE });
    }

    /// It stops.
    pub(super) fn over(&self) {
        self.enter(Phase::Over);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watchdog's thread panicked; this is a bug");
        }
    }
}

fn watch(shared: &Shared) {
    let interval = service_manager::watchdog_interval();
    let deadline = interval.map_or(DEADLINE, |interval| interval / 2);
    // Often enough that a word which is lost on the way is not missed.
    let round = (deadline / 3).min(ROUND_MAX);
    let feed = || {
        if interval.is_some() {
            service_manager::tell(&Word::Alive);
        }
    };
    let mut work = Work::default();
    let mut phase = shared.lock();
    loop {
        match &mut *phase {
            Phase::Starting => {
                if work.goes_on() {
                    service_manager::tell(&Word::Longer(START_LONGER));
                }
            }
            Phase::Watching(stages, rounds) => {
                if rounds.look(Instant::now(), deadline, stages) {
                    feed();
                }
            }
            Phase::Yielding { until } => {
                if Instant::now() < *until {
                    feed();
                }
            }
            Phase::Over => return,
        }
        phase = shared.changed.wait_timeout(phase, round).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// What this process has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Done {
    cpu: Duration,
    read: u64,
}

/// Whether this process is at work, or hangs.
#[derive(Debug, Default)]
struct Work(Option<Done>);

impl Work {
    /// Whether something was done since the last look.
    fn goes_on(&mut self) -> bool {
        let now = Done {
            cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default(),
            read: bytes_read().unwrap_or_default(),
        };
        let before = self.0.replace(now);
        before.is_none_or(|before| now.is_more_than(before))
    }
}

impl Done {
    fn is_more_than(self, before: Self) -> bool {
        self.cpu.saturating_sub(before.cpu) >= WORK_MIN || self.read.saturating_sub(before.read) >= READ_MIN
    }
}

/// Bytes that this process has read from anywhere.
fn bytes_read() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(fixed: Vec<Stage>) -> Stages {
        Stages { fixed, upstreams: Arc::default() }
    }

    #[test]
    fn a_stage_that_does_not_answer_in_time_ends_the_feeding_until_it_does() {
        let pulse = Arc::new(Pulse::always());
        let stages = stages(vec![Stage::of("one", Arc::clone(&pulse))]);
        let (mut rounds, start) = (Rounds::default(), Instant::now());
        let mut well_after =
            |seconds| rounds.look(start + Duration::from_secs(seconds), Duration::from_secs(10), &stages);
        assert!(well_after(0));
        assert!(well_after(9), "it has time left");
        assert!(!well_after(10));
        assert!(!well_after(11));
        pulse.answer();
        assert!(well_after(12), "it answered");
        assert!(well_after(21), "and has as much time again");
        assert!(!well_after(22));
    }

    #[test]
    fn a_runtime_whose_threads_hang_does_not_answer() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let stages = stages(vec![Stage::runtime("one", runtime.handle().clone())]);
        let (mut rounds, start) = (Rounds::default(), Instant::now());
        assert!(rounds.look(start, Duration::from_secs(10), &stages));
        while !stages.fixed[0].pulse.is_answered() {
            thread::yield_now();
        }
        let (free, held) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        let hangs = runtime.spawn(async move {
            begun.send(()).unwrap();
            held.recv().ok()
        });
        begins.recv().unwrap();
        assert!(rounds.look(start + Duration::from_secs(5), Duration::from_secs(10), &stages), "it answered before");
        assert!(!rounds.look(start + Duration::from_secs(15), Duration::from_secs(10), &stages));
        free.send(()).unwrap();
        runtime.block_on(hangs).unwrap();
        while !stages.fixed[0].pulse.is_answered() {
            thread::yield_now();
        }
        assert!(rounds.look(start + Duration::from_secs(16), Duration::from_secs(10), &stages));
    }

    #[test]
    fn a_start_that_reads_or_computes_is_told_from_one_that_hangs() {
        let before = Done { cpu: Duration::from_secs(1), read: 1 << 20 };
        assert!(!before.is_more_than(before));
        assert!(!Done { cpu: before.cpu + Duration::from_millis(1), read: before.read + 500 }.is_more_than(before));
        assert!(Done { cpu: before.cpu + Duration::from_millis(5), ..before }.is_more_than(before));
        assert!(Done { read: before.read + (64 << 10), ..before }.is_more_than(before));
        let mut work = Work::default();
        assert!(work.goes_on(), "the first look");
        assert!(bytes_read().is_some_and(|bytes| bytes > 0));
    }
}
