//! The dedupe window.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use crate::pipeline::dedupe::WindowFigures;

super::metrics! {
    WINDOW_IDS = Gauge "sluice_dedupe_ids" []
        "Ids remembered";
    WINDOW_BYTES = Gauge "sluice_dedupe_bytes" []
        "Memory of remembered ids";
    WINDOW_REACH = Gauge "sluice_dedupe_window_seconds" []
        "How far back ids are remembered; below dedupe.ttl when memory is short";
    WINDOW_CROWDED = Counter "sluice_dedupe_crowded_out_total" []
        "Ids forgotten before their time, for want of memory";
}

/// Figures of the dedupe window.
pub struct WindowMetrics {
    ids: Gauge,
    bytes: Gauge,
    reach: Gauge,
    crowded_out: Counter,
}

impl Default for WindowMetrics {
    fn default() -> Self {
        Self {
            ids: gauge!(WINDOW_IDS),
            bytes: gauge!(WINDOW_BYTES),
            reach: gauge!(WINDOW_REACH),
            crowded_out: counter!(WINDOW_CROWDED),
        }
    }
}

impl WindowMetrics {
    /// Sets what [`crate::pipeline::dedupe::DedupeWindow::tend`] told.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, figures: &WindowFigures, ttl: Duration) {
        self.ids.set(figures.ids as f64);
        self.bytes.set(figures.bytes as f64);
        self.reach.set(figures.reach.unwrap_or(ttl).as_secs_f64());
        self.crowded_out.increment(figures.crowded_out);
    }
}
