//! What goes out to people and other programs: alerts, notifications, exports.

use metrics::counter;

super::metrics! {
    ALERTS_OPEN = Gauge "sluice_alerts_open" ["severity"]
        "Alerts that nobody has seen to",
        "with alerts";
    ALERTS_OPENED = Counter "sluice_alerts_opened_total" ["type"]
        "Alerts opened",
        "once an alert of the type was opened";
    ALERTS_ACKNOWLEDGED = Counter "sluice_alerts_acknowledged_total" ["type"]
        "Alerts that somebody began to see to",
        "once an alert of the type was acknowledged";
    ALERTS_RESOLVED = Counter "sluice_alerts_resolved_total" ["type"]
        "Alerts that are over",
        "once an alert of the type was resolved";
    ALERTS_SUPPRESSED = Counter "sluice_alerts_suppressed_total" ["type", "reason"]
        "Alerts that nobody was told of when they opened, by why",
        "once nobody was told of an alert of the type";
    NOTIFICATIONS = Counter "sluice_notifications_total" ["channel", "outcome"]
        "Notices of alerts, by how telling them ended: sent, failed, dropped",
        "with a channel";
    NOTIFYING = Histogram "sluice_notification_seconds" ["channel"]
        "Time from a notice's being due to its end",
        "with a channel";
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
