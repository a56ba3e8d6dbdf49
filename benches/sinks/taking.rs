//! A sink, with its runner as the daemon has it, takes a journal; how long that takes, and how much CPU.

use std::sync::Arc;
use std::time::Duration;

use sluice::circuits::Circuits;
use sluice::config::Settings;
use sluice::journal::Journal;
use sluice::sink::{LostCause, ReadySinks, SinkStart};
use tokio::time::Instant;

/// Far more than any of them needs.
const PATIENCE: Duration = Duration::from_mins(5);

/// What something took.
pub(crate) struct Taken {
    pub(crate) elapsed: Duration,
    /// User and system time of this process.
    pub(crate) cpu: Duration,
}

/// Measures some work.
pub(crate) fn measured(work: impl FnOnce()) -> Taken {
    let (started, cpu) = (Instant::now(), cpu_of_process());
    work();
    Taken { elapsed: started.elapsed(), cpu: cpu_of_process().saturating_sub(cpu) }
}

/// Runs the one sink of these settings from the journal's first event to its last.
pub(crate) fn take(settings: &Settings, journal: &Arc<Journal>, rows: u64) -> Taken {
    let ready = ReadySinks::new(settings).expect("usable settings");
    let start = SinkStart {
        journal: Arc::clone(journal),
        ancestors: Arc::new([]),
        last_received: None,
        remembered: Vec::new(),
        switches: Vec::new(),
        circuits: Arc::new(Circuits::new(true, Vec::new())),
        lost_log: Arc::new(|_| true),
        lost_why: Arc::new(|_| LostCause::Retention),
        enrichment: None,
    };
    let mut running = None;
    let taken = measured(|| {
        let sinks = running.insert(ready.start(&start)).sinks();
        let deadline = Instant::now() + PATIENCE;
        while sinks.rows()[0].cursor != Some(rows) {
            assert!(Instant::now() < deadline, "it did not come to its end: {:?}", sinks.rows());
            if let Some(error) = &sinks.rows()[0].error {
                panic!("{error}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    drop(running);
    taken
}

pub(crate) fn cpu_of_process() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
