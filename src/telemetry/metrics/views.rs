//! Views of the journal, business counters among them.

use metrics::{counter, gauge};

super::metrics! {
    VIEW_OFFSET = Gauge "sluice_view_offset" ["view"]
        "Up to which offset a view is built";
    VIEW_REBUILDS = Counter "sluice_view_rebuilds_total" []
        "Views thrown away and built anew from the journal";
    VIEW_SKIPPED = Counter "sluice_view_skipped_events_total" []
        "Events that last values passed over to catch up";
    BUSINESS = Counter "sluice_business_counter_total" ["monitor", "counter"]
        "Events that a business counter of a monitor counted since it was declared",
        "with a business counter";
    BUSINESS_HOUR = Gauge "sluice_business_counter_last_hour" ["monitor", "counter"]
        "The same of the last 60 minutes",
        "with a business counter";
}

/// Figures of the views.
#[derive(Debug)]
pub struct ViewMetrics(());

impl Default for ViewMetrics {
    /// None of them has been built anew yet.
    fn default() -> Self {
        counter!(VIEW_REBUILDS).absolute(0);
        counter!(VIEW_SKIPPED).absolute(0);
        Self(())
    }
}

impl ViewMetrics {
    /// They were thrown away.
    pub fn rebuilt(&self) {
        counter!(VIEW_REBUILDS).increment(1);
    }

    /// So many events were passed over.
    pub fn skipped(&self, events: u64) {
        counter!(VIEW_SKIPPED).increment(events);
    }

    /// A business counter. Once a second.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn count(&self, monitor: &str, name: &str, total: u64, last_hour: u64) {
        let labels = [("monitor", monitor.to_owned()), ("counter", name.to_owned())];
        counter!(BUSINESS, &labels).absolute(total);
        gauge!(BUSINESS_HOUR, &labels).set(last_hour as f64);
    }

    /// How far each is. Once a second.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, offsets: &[(&'static str, u64)]) {
        for (view, offset) in offsets {
            gauge!(VIEW_OFFSET, "view" => *view).set(*offset as f64);
        }
    }
}
