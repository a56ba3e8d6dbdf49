//! What is measured of notifications.

use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use crate::alert::notify::Outcome;

const NOTIFICATIONS: &str = "sluice_notifications_total";
const NOTIFICATION: &str = "sluice_notification_seconds";

/// Says what the metrics mean.
pub(super) fn describe() {
    describe_counter!(NOTIFICATIONS, "Notices of alerts, by channel and how telling them ended: sent, failed, dropped");
    describe_histogram!(NOTIFICATION, Unit::Seconds, "Time from a notice's being due to its end, by channel");
}

/// Figures of one channel.
pub struct NotificationMetrics {
    outcomes: [(Outcome, Counter); 3],
    took: Histogram,
}

impl NotificationMetrics {
    /// The handles of a channel.
    pub fn new(channel: &str) -> Self {
        let outcome = |outcome: Outcome| {
            let counter =
                counter!(NOTIFICATIONS, "channel" => channel.to_owned(), "outcome" => outcome.as_str());
            counter.absolute(0);
            (outcome, counter)
        };
        let outcomes = [Outcome::Sent, Outcome::Failed, Outcome::Dropped].map(outcome);
        Self { outcomes, took: histogram!(NOTIFICATION, "channel" => channel.to_owned()) }
    }

    /// A notice is over, after so long.
    pub fn ended(&self, ended: Outcome, took: Duration) {
        for (outcome, counter) in &self.outcomes {
            if *outcome == ended {
                counter.increment(1);
            }
        }
        self.took.record(took.as_secs_f64());
    }
}
