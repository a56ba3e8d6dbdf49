//! The roll-out.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use crate::journal::Path;
use crate::rollout::guard::Check;

super::metrics! {
    CANARY_FRACTION = Gauge "sluice_canary_fraction" []
        "The share of monitors that is to be on the smart path";
    CANARY_STAGE = Gauge "sluice_canary_stage" []
        "The stage that the plan is in, from 1; 0 without a plan under way";
    CANARY_MONITORS = Gauge "sluice_canary_monitors" ["path"]
        "Monitors on a path now; one that changes paths counts where it was";
    CANARY_CROSSINGS = Gauge "sluice_canary_crossings" []
        "Monitors that are changing paths";
    CANARY_ROLLBACKS = Counter "sluice_canary_rollbacks_total" ["reason"]
        "How often the guard took monitors back from the smart path, by what was worse";
    CANARY_ROLLBACK = Gauge "sluice_canary_last_rollback_seconds" []
        "How long it took the last time until all were where they were to be";
    CANARY_COOLING = Gauge "sluice_canary_cooling" []
        "1 while the guard lets nothing be put on the smart path, else 0";
}

/// Figures of the roll-out.
pub struct CanaryMetrics {
    fraction: Gauge,
    stage: Gauge,
    monitors: [(Path, Gauge); 2],
    crossings: Gauge,
    rollbacks: Vec<(Check, Counter)>,
    rollback: Gauge,
    cooling: Gauge,
}

impl Default for CanaryMetrics {
    fn default() -> Self {
        let rollbacks = Check::ALL.map(|check| {
            let counter = counter!(CANARY_ROLLBACKS, "reason" => check.as_str());
            counter.absolute(0);
            (check, counter)
        });
        let monitors = |path: Path, word: &'static str| (path, gauge!(CANARY_MONITORS, "path" => word));
        Self {
            fraction: gauge!(CANARY_FRACTION),
            stage: gauge!(CANARY_STAGE),
            monitors: [monitors(Path::Smart, "smart"), monitors(Path::Legacy, "legacy")],
            crossings: gauge!(CANARY_CROSSINGS),
            rollbacks: rollbacks.into(),
            rollback: gauge!(CANARY_ROLLBACK),
            cooling: gauge!(CANARY_COOLING),
        }
    }
}

impl CanaryMetrics {
    /// Brings the gauges up to how things stand; `stage` is from 1, 0 without a plan under way.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, fraction: f64, stage: usize, monitors: impl Fn(Path) -> usize, crossings: usize, cooling: bool) {
        self.fraction.set(fraction);
        self.stage.set(stage as f64);
        for (path, gauge) in &self.monitors {
            gauge.set(monitors(*path) as f64);
        }
        self.crossings.set(crossings as f64);
        self.cooling.set(if cooling { 1.0 } else { 0.0 });
    }

    /// The guard takes monitors back.
    pub fn rolled_back(&self, reason: Check) {
        for (check, counter) in &self.rollbacks {
            if *check == reason {
                counter.increment(1);
            }
        }
    }

    /// All of them are where they are to be.
    pub fn rollback_took(&self, took: Duration) {
        self.rollback.set(took.as_secs_f64());
    }
}
