//! What goes out to people and other programs: alerts, notifications, exports.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::alert::{AlertKind, Severity};

super::metrics! {
    ALERTS = Gauge "sluice_alerts_open" ["type", "severity"]
        "Alerts that are not over",
        "once an alert of the type was opened";
    NOTIFICATIONS = Counter "sluice_notifications_total" ["channel", "outcome"]
        "Notifications by how they ended: sent, failed, dropped",
        "once a channel was to tell something";
    NOTIFYING = Histogram "sluice_notification_seconds" ["channel"]
        "How long it took to hand a notification over, attempts and waits together",
        "once a channel was to tell something";
    PUSHES = Counter "sluice_exports_total" ["exporter", "outcome"]
        "Exports to other systems, by how they ended: sent, failed",
        "with an exporter, once it was due";
    EXPORT_EVENTS = Counter "sluice_export_events_total" ["exporter", "outcome"]
        "Events of the daemon's own that were exported: sent, dropped",
        "with an exporter, once there was an event";
}

/// Figures of alerts.
#[derive(Debug)]
pub struct AlertMetrics;

impl AlertMetrics {
    /// So many of a type and severity are not over.
    #[expect(clippy::cast_precision_loss, reason = "alerts are few")]
    pub fn set_open(kind: AlertKind, severity: Severity, alerts: usize) {
        gauge!(ALERTS, "type" => kind.as_str(), "severity" => severity.as_str()).set(alerts as f64);
    }
}

/// Figures of notifications.
#[derive(Debug)]
pub struct NotificationMetrics;

impl NotificationMetrics {
    /// A channel was told, or not: `outcome` is `sent`, `failed` or `dropped`.
    pub fn ended(channel: &str, outcome: &'static str, took: Duration) {
        counter!(NOTIFICATIONS, "channel" => channel.to_owned(), "outcome" => outcome).increment(1);
        histogram!(NOTIFYING, "channel" => channel.to_owned()).record(took.as_secs_f64());
    }
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
