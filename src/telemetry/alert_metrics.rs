//! Metrics of alerts: names, meaning and handles.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::alert::Severity;
use crate::alert::book::{Held, What, Withheld};

const OPEN: &str = "sluice_alerts_open";
const OPENED: &str = "sluice_alerts_opened_total";
const ACKNOWLEDGED: &str = "sluice_alerts_acknowledged_total";
const RESOLVED: &str = "sluice_alerts_resolved_total";
const SUPPRESSED: &str = "sluice_alerts_suppressed_total";

/// Counts what becomes of alerts.
#[derive(Debug)]
pub struct AlertMetrics(());

impl Default for AlertMetrics {
    fn default() -> Self {
        describe_gauge!(OPEN, "Alerts that nobody has seen to");
        describe_counter!(OPENED, "Alerts opened");
        describe_counter!(ACKNOWLEDGED, "Alerts that somebody began to see to");
        describe_counter!(RESOLVED, "Alerts that are over");
        describe_counter!(SUPPRESSED, "Alerts that nobody was told of when they opened, by why");
        Self(())
    }
}

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
