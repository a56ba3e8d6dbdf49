//! What is done once: replays, checkpoints that are asked for, reports.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

super::metrics! {
    RUNNING = Gauge "sluice_operations_running" ["kind"]
        "Operations that go on",
        "once one of the kind was begun";
    ENDED = Counter "sluice_operations_total" ["kind", "outcome"]
        "Operations that ended: done or failed",
        "once one of the kind has ended";
    TOOK = Histogram "sluice_operation_seconds" ["kind"]
        "How long operations took",
        "once one of the kind has ended";
}

/// Figures of operations.
#[derive(Debug)]
pub struct OperationMetrics;

impl OperationMetrics {
    /// One begins.
    pub fn began(kind: &'static str) {
        gauge!(RUNNING, "kind" => kind).increment(1.0);
    }

    /// One that began has ended.
    pub fn ended(kind: &'static str, done: bool, took: Duration) {
        gauge!(RUNNING, "kind" => kind).decrement(1.0);
        let outcome = if done { "done" } else { "failed" };
        counter!(ENDED, "kind" => kind, "outcome" => outcome).increment(1);
        histogram!(TOOK, "kind" => kind).record(took.as_secs_f64());
    }
}
