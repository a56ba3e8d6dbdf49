//! What goes out to other programs.

use metrics::counter;

super::metrics! {
    PUSHES = Counter "sluice_exports_total" ["exporter", "outcome"]
        "Exports to other systems, by how they ended: sent, failed",
        "with an exporter, once it was due";
    EXPORT_EVENTS = Counter "sluice_export_events_total" ["exporter", "outcome"]
        "Events of the daemon's own that were exported: sent, dropped",
        "with an exporter, once there was an event";
}

/// Figures of what is exported to other systems.
#[derive(Debug)]
pub struct ExportMetrics;

impl ExportMetrics {
    /// All metrics were handed over, or could not be.
    pub fn pushed(exporter: &'static str, sent: bool) {
        counter!(PUSHES, "exporter" => exporter, "outcome" => if sent { "sent" } else { "failed" }).increment(1);
    }

    /// So many events were.
    pub fn events(exporter: &'static str, sent: bool, events: u64) {
        if events > 0 {
            let outcome = if sent { "sent" } else { "dropped" };
            counter!(EXPORT_EVENTS, "exporter" => exporter, "outcome" => outcome).increment(events);
        }
    }
}
