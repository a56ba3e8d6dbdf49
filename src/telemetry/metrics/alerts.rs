//! Alerts.

use metrics::{counter, gauge};

use crate::alert::Severity;
use crate::alert::book::{Held, What, Withheld};

super::metrics! {
    OPEN = Gauge "sluice_alerts_open" ["severity"]
        "Alerts that nobody has seen to, by severity", "once rules were looked at";
    OPENED = Counter "sluice_alerts_opened_total" ["type"]
        "Alerts opened, by type", "once one was opened";
    ACKNOWLEDGED = Counter "sluice_alerts_acknowledged_total" ["type"]
        "Alerts that somebody began to see to, by type", "once one was acknowledged";
    RESOLVED = Counter "sluice_alerts_resolved_total" ["type"]
        "Alerts that are over, by type", "once one was over";
    SUPPRESSED = Counter "sluice_alerts_suppressed_total" ["type", "reason"]
        "Alerts that nobody was told of when they opened, by type and why", "once there was one";
}

/// Counts what becomes of alerts.
#[derive(Debug, Default)]
pub struct AlertMetrics(());

impl AlertMetrics {
    /// Something has happened to one.
    pub fn changed(&self, held: &Held) {
        let kind = held.alert.kind.as_str();
        match held.what {
            What::Opened => counter!(OPENED, "type" => kind).increment(1),
            What::Acknowledged => counter!(ACKNOWLEDGED, "type" => kind).increment(1),
            What::Resolved => counter!(RESOLVED, "type" => kind).increment(1),
            What::Told => {}
        }
        if held.what == What::Opened
            && let Some(withheld) = held.withheld
        {
            let why = match withheld {
                Withheld::Cooldown => "cooldown",
                Withheld::Silence => "silence",
            };
            counter!(SUPPRESSED, "type" => kind, "reason" => why).increment(1);
        }
    }

    /// So many are open, by severity.
    pub fn set_open(&self, open: impl Fn(Severity) -> usize) {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            #[expect(clippy::cast_precision_loss, reason = "alerts are few")]
            gauge!(OPEN, "severity" => severity.as_str()).set(open(severity) as f64);
        }
    }
}
