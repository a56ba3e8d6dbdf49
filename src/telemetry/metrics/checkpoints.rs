//! Checkpoints.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

super::metrics! {
    CHECKPOINT_AGE = Gauge "sluice_checkpoint_age_seconds" []
        "Time since the newest checkpoint was written",
        "where checkpoints are written";
    CHECKPOINTS = Counter "sluice_checkpoints_written_total" []
        "Checkpoints written",
        "where checkpoints are written";
    CHECKPOINT_FAILURES = Counter "sluice_checkpoint_failures_total" []
        "Checkpoints that could not be written",
        "where checkpoints are written";
}

/// Figures of checkpoints.
pub struct CheckpointMetrics {
    age: Gauge,
    written: Counter,
    failures: Counter,
}

impl Default for CheckpointMetrics {
    fn default() -> Self {
        Self { age: gauge!(CHECKPOINT_AGE), written: counter!(CHECKPOINTS), failures: counter!(CHECKPOINT_FAILURES) }
    }
}

impl CheckpointMetrics {
    /// One was written.
    pub fn written(&self) {
        self.written.increment(1);
        self.age.set(0.0);
    }

    /// One could not be written.
    pub fn failed(&self) {
        self.failures.increment(1);
    }

    /// How old the newest is; none while there is none.
    pub fn set_age(&self, age: Option<Duration>) {
        self.age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
    }
}
