//! What was not seen, and what is fetched in its place.

use metrics::{counter, gauge};

use crate::monitor::ledger::GapFigures;

super::metrics! {
    GAPS_OPEN = Gauge "sluice_gaps_open" ["upstream"]
        "Topics that are not in force now, counted for each monitor that wants them";
    GAP_SECONDS = Counter "sluice_gap_seconds_total" ["upstream", "cause"]
        "Time in gaps that are over, by cause; each monitor and topic counts",
        "once a gap has ended";
    BACKFILLS = Counter "sluice_backfills_total" ["monitor", "upstream", "outcome"]
        "Attempts to fetch what was not seen, by how they ended",
        "once a gap was to be filled";
    BACKFILL_EVENTS = Counter "sluice_backfill_events_total" ["monitor", "upstream"]
        "Events that were fetched because they had not been seen",
        "once a gap was filled";
    POLLING = Gauge "sluice_polling" ["monitor", "upstream"]
        "1 while a monitor is polled over HTTP in the place of its upstream, else 0",
        "once a monitor was polled";
    POLL_SWITCHES = Counter "sluice_poll_switches_total" ["monitor", "upstream", "to"]
        "How often a monitor was switched to polling, or back",
        "once a monitor was polled";
    POLLS = Counter "sluice_polls_total" ["monitor", "upstream", "outcome"]
        "Polls, by how they ended",
        "once a monitor was polled";
    POLL_EVENTS = Counter "sluice_poll_events_total" ["monitor", "upstream"]
        "Events that polls brought",
        "once a monitor was polled";
}

/// Figures of what was not seen.
#[derive(Debug)]
pub struct GapMetrics(());

impl GapMetrics {
    /// Brings the metrics of an upstream up to how the ledger stands.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(upstream: &str, figures: &GapFigures) {
        gauge!(GAPS_OPEN, "upstream" => upstream.to_owned()).set(figures.open as f64);
        for (cause, time) in &figures.closed {
            counter!(GAP_SECONDS, "upstream" => upstream.to_owned(), "cause" => cause.as_str())
                .absolute(time.as_secs());
        }
    }
}

/// Figures of what is fetched to fill gaps.
#[derive(Debug, Clone)]
pub struct BackfillMetrics {
    labels: [(&'static str, String); 2],
}

impl BackfillMetrics {
    /// Of a monitor and an upstream.
    pub fn new(monitor: &str, upstream: &str) -> Self {
        Self { labels: [("monitor", monitor.to_owned()), ("upstream", upstream.to_owned())] }
    }

    /// A gap was filled, by so many events.
    pub fn filled(&self, events: u64) {
        self.ended("filled");
        counter!(BACKFILL_EVENTS, &self.labels).increment(events);
    }

    /// One was not.
    pub fn failed(&self) {
        self.ended("failed");
    }

    fn ended(&self, outcome: &'static str) {
        let [monitor, upstream] = self.labels.clone();
        counter!(BACKFILLS, &[monitor, upstream, ("outcome", outcome.to_owned())]).increment(1);
    }
}

/// Figures of a monitor's fall-back.
#[derive(Debug, Clone)]
pub struct PollMetrics {
    labels: [(&'static str, String); 2],
}

impl PollMetrics {
    /// Of a monitor and an upstream.
    pub fn new(monitor: &str, upstream: &str) -> Self {
        Self { labels: [("monitor", monitor.to_owned()), ("upstream", upstream.to_owned())] }
    }

    /// It is polled from now on, or no longer.
    pub fn turned(&self, polling: bool) {
        gauge!(POLLING, &self.labels).set(f64::from(u8::from(polling)));
        let to = if polling { "polling" } else { "live" };
        counter!(POLL_SWITCHES, &self.with("to", to)).increment(1);
    }

    /// It was polled, which brought so many events.
    pub fn polled(&self, events: u64) {
        counter!(POLLS, &self.with("outcome", "done")).increment(1);
        counter!(POLL_EVENTS, &self.labels).increment(events);
    }

    /// It could not be.
    pub fn failed(&self) {
        counter!(POLLS, &self.with("outcome", "failed")).increment(1);
    }

    fn with(&self, name: &'static str, value: &str) -> [(&'static str, String); 3] {
        let [monitor, upstream] = self.labels.clone();
        [monitor, upstream, (name, value.to_owned())]
    }
}
