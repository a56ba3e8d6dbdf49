//! Sinks.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge};

use crate::breaker::BreakerState;
use crate::sink::{SinkRow, SinkState};

super::metrics! {
    SINK_TRANSACTION = Histogram "sluice_sink_transaction_seconds" ["sink"]
        "Duration of a sink's transactions",
        "with a sink, once it has taken something";
    SINK_STATE = Gauge "sluice_sink_state" ["sink", "state"]
        "1 for the state that a sink is in, 0 for the others",
        "with a sink";
    SINK_BREAKER = Gauge "sluice_sink_breaker_state" ["sink", "state"]
        "1 for the state that a sink's breaker is in, 0 for the others",
        "with a sink";
    SINK_CURSOR = Gauge "sluice_sink_cursor_offset" ["sink"]
        "The offset after the last event that a sink has",
        "with a sink";
    SINK_LAG_EVENTS = Gauge "sluice_sink_lag_events" ["sink"]
        "Events of the journal that a sink may still have to take",
        "with a sink";
    SINK_LAG = Gauge "sluice_sink_lag_seconds" ["sink"]
        "The age of the oldest event that a sink has not taken",
        "with a sink";
    SINK_ROWS = Counter "sluice_sink_rows_total" ["sink"]
        "Rows written to a sink",
        "with a sink";
    SINK_PARKED = Counter "sluice_sink_parked_total" ["sink"]
        "Rows that a sink refused, and that were put aside",
        "with a sink";
    SINK_RETRIES = Counter "sluice_sink_retries_total" ["sink"]
        "Attempts at a sink that failed",
        "with a sink";
    SINK_LOST = Counter "sluice_sink_lost_events_total" ["sink"]
        "Offsets that were no longer in the journal for a sink, or that an operator had it pass over",
        "with a sink";
    SINK_FILES = Gauge "sluice_sink_files" ["sink"]
        "Files that hold a sink's events",
        "with a sink";
    SINK_BYTES = Gauge "sluice_sink_bytes" ["sink"]
        "Bytes that hold a sink's events",
        "with a sink";
}

/// Figures of one sink.
pub struct SinkMetrics {
    transaction: Histogram,
    states: Vec<(SinkState, Gauge)>,
    breaker: Vec<(BreakerState, Gauge)>,
    cursor: Gauge,
    lag_events: Gauge,
    lag: Gauge,
    rows: Counter,
    parked: Counter,
    retries: Counter,
    lost: Counter,
    files: Gauge,
    bytes: Gauge,
}

impl SinkMetrics {
    /// The handles of `sink`.
    pub fn new(sink: &str) -> Self {
        let labels = [("sink", sink.to_owned())];
        let state = |name, state| gauge!(name, "sink" => sink.to_owned(), "state" => state);
        Self {
            transaction: metrics::histogram!(SINK_TRANSACTION, &labels),
            states: SinkState::ALL.map(|each| (each, state(SINK_STATE, each.as_str()))).into(),
            breaker: BreakerState::ALL.map(|each| (each, state(SINK_BREAKER, each.as_str()))).into(),
            cursor: gauge!(SINK_CURSOR, &labels),
            lag_events: gauge!(SINK_LAG_EVENTS, &labels),
            lag: gauge!(SINK_LAG, &labels),
            rows: counter!(SINK_ROWS, &labels),
            parked: counter!(SINK_PARKED, &labels),
            retries: counter!(SINK_RETRIES, &labels),
            lost: counter!(SINK_LOST, &labels),
            files: gauge!(SINK_FILES, &labels),
            bytes: gauge!(SINK_BYTES, &labels),
        }
    }

    /// A transaction was confirmed.
    pub fn transaction(&self, took: Duration) {
        self.transaction.record(took.as_secs_f64());
    }

    /// Brings the metrics up to how the sink stands. What is not known is not a number.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, row: &SinkRow) {
        let flag = |on| if on { 1.0 } else { 0.0 };
        let known = |value: Option<u64>| value.map_or(f64::NAN, |value| value as f64);
        for (state, gauge) in &self.states {
            gauge.set(flag(*state == row.state));
        }
        for (state, gauge) in &self.breaker {
            gauge.set(flag(*state == row.breaker));
        }
        self.cursor.set(known(row.cursor));
        self.lag_events.set(known(row.lag_events));
        self.lag.set(row.lag_seconds.unwrap_or(f64::NAN));
        self.rows.absolute(row.rows);
        self.parked.absolute(row.parked);
        self.retries.absolute(row.retries);
        self.lost.absolute(row.lost);
        self.files.set(known(row.files));
        self.bytes.set(known(row.bytes));
    }
}
