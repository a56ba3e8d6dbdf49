//! How long a bare fdatasync takes while the daemon works: what no journal on this disk can beat.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

/// Appends and syncs a little, again and again.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl Probe {
    /// Begins probing with a file at `path`.
    pub(crate) fn start(path: &Path) -> Self {
        let mut file = File::create(path).expect("a file");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut millis = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                file.write_all(&[7; 4096]).expect("a write");
                let started = Instant::now();
                file.sync_data().expect("a sync");
                millis.push(started.elapsed().as_secs_f64() * 1000.0);
                std::thread::sleep(Duration::from_millis(20));
            }
            millis
        });
        Self { stop, thread }
    }

    /// The 99th percentile, in milliseconds.
    pub(crate) fn finish(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut millis = self.thread.join().expect("it probed");
        millis.sort_by(f64::total_cmp);
        millis[millis.len() * 99 / 100]
    }
}
