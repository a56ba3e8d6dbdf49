//! Notices of alerts.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::alert::notify::Outcome;

super::metrics! {
    NOTIFICATIONS = Counter "sluice_notifications_total" ["channel", "outcome"]
        "Notices of alerts, by channel and how telling them ended: sent, failed, dropped",
        "with a channel of notifications";
    NOTIFICATION = Histogram "sluice_notification_seconds" ["channel"]
        "Time from a notice's being due to its end, by channel",
        "with a channel of notifications, once one was told";
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
            let counter = counter!(NOTIFICATIONS, "channel" => channel.to_owned(), "outcome" => outcome.as_str());
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
