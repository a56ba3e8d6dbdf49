//! How the daemon's stages answer its watchdog.

use std::time::Duration;

use metrics::{Gauge, gauge};

super::metrics! {
    STAGE_WAIT = Gauge "sluice_stage_unanswered_seconds" ["stage"]
        "How long a stage of the daemon has not answered the watchdog; 0 where it has";
    STAGE_HUNG = Gauge "sluice_stage_hung" ["stage"]
        "1 for a stage that has not answered the watchdog in time, else 0";
}

/// How a stage of the daemon answers the watchdog.
pub struct StageMetrics {
    wait: Gauge,
    hung: Gauge,
}

impl StageMetrics {
    /// The handles of `stage`.
    pub fn new(stage: &str) -> Self {
        let labels = [("stage", stage.to_owned())];
        Self { wait: gauge!(STAGE_WAIT, &labels), hung: gauge!(STAGE_HUNG, &labels) }
    }

    /// For how long it has not answered, and whether that is too long.
    pub fn set(&self, wait: Duration, hung: bool) {
        self.wait.set(wait.as_secs_f64());
        self.hung.set(u8::from(hung));
    }
}
