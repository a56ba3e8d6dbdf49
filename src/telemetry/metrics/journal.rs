//! The journal: its writer, retention, and the daemon's own events.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, counter, gauge};

use super::{Kind, Metric};
use crate::journal::{CommitReport, RetentionStatus};
use crate::telemetry::latency::LatencyHistogram;

super::metrics! {
    LATENCY = Histogram "sluice_event_durable_seconds" []
        "Time from reading an event off the socket to its being durable";
    BLOCKS = Counter "sluice_journal_blocks_total" []
        "Blocks written to the journal";
    JOURNAL_BYTES = Counter "sluice_journal_written_bytes_total" []
        "Bytes written to the journal";
    SYNC = Histogram "sluice_journal_sync_seconds" []
        "Duration of the journal's syncs";
    DURABLE = Gauge "sluice_journal_durable_offset" []
        "Events below this offset are durable";
    QUEUE = Gauge "sluice_journal_queue_bytes" []
        "Bytes of blocks waiting for the journal's writer";
    JOURNAL_WRITABLE = Gauge "sluice_journal_writable" []
        "1 while the journal takes events, 0 while it is full or has failed";
    RETENTION_RUN = Gauge "sluice_journal_retention_last_run_seconds" []
        "When retention last looked at the journal, seconds since 1970",
        "once retention has looked";
    DELETED_SEGMENTS = Counter "sluice_journal_deleted_segments_total" ["cause"]
        "Segments deleted, by cause",
        "once a segment was deleted";
    DELETED_BYTES = Counter "sluice_journal_deleted_bytes_total" ["cause"]
        "Bytes of segments deleted, by cause",
        "once a segment was deleted";
    HELD_BYTES = Gauge "sluice_journal_held_bytes" ["holder"]
        "Bytes that the journal keeps beyond its limits because a reader needs them",
        "while a reader holds retention back";
    HELD_FROM = Gauge "sluice_journal_held_from_offset" ["holder"]
        "The first event that this reader needs, where it holds retention back",
        "while a reader holds retention back";
    OWN_REFUSED = Counter "sluice_own_events_refused_total" []
        "Events of the daemon's own that the journal had no room for, and that were dropped",
        "once an own event was dropped";
}

/// The metric that [`LatencyHistogram`] renders.
pub(super) const LATENCY_METRIC: &Metric = &METRICS[0];
const _: () = assert!(matches!(LATENCY_METRIC.kind, Kind::Histogram));

/// Figures of the journal.
pub struct JournalMetrics {
    latency: Arc<LatencyHistogram>,
    blocks: Counter,
    bytes: Counter,
    sync: Histogram,
    durable: Gauge,
    writable: Gauge,
    /// Who held retention back when it last looked.
    holder: Mutex<Option<Arc<str>>>,
}

impl JournalMetrics {
    pub(super) fn new(latency: Arc<LatencyHistogram>) -> Self {
        let writable = gauge!(JOURNAL_WRITABLE);
        writable.set(1.0);
        Self {
            latency,
            blocks: counter!(BLOCKS),
            bytes: counter!(JOURNAL_BYTES),
            sync: metrics::histogram!(SYNC),
            durable: gauge!(DURABLE),
            writable,
            holder: Mutex::default(),
        }
    }

    /// A group of blocks became durable.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn committed(&self, report: &CommitReport<'_>) {
        self.blocks.increment(report.blocks);
        self.bytes.increment(report.bytes);
        self.sync.record(report.sync.as_secs_f64());
        self.durable.set(report.durable.0 as f64);
        for run in report.received {
            self.latency.record(report.at.since(run.received), run.events);
        }
    }

    /// Whether the journal takes events.
    pub fn set_writable(&self, writable: bool) {
        self.writable.set(if writable { 1.0 } else { 0.0 });
    }

    /// A segment was deleted.
    pub fn deleted(&self, cause: &'static str, bytes: u64) {
        counter!(DELETED_SEGMENTS, "cause" => cause).increment(1);
        counter!(DELETED_BYTES, "cause" => cause).increment(bytes);
    }

    /// Retention has looked.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn retention(&self, status: &RetentionStatus) {
        if let Some(at) = status.last_run {
            gauge!(RETENTION_RUN).set(at.0 as f64 / 1e9);
        }
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let held = status.held.as_ref();
        if let Some(before) = holder.take().filter(|before| held.is_none_or(|held| held.who != *before)) {
            gauge!(HELD_BYTES, "holder" => before.to_string()).set(0.0);
        }
        if let Some(held) = held {
            gauge!(HELD_BYTES, "holder" => held.who.to_string()).set(held.bytes as f64);
            gauge!(HELD_FROM, "holder" => held.who.to_string()).set(held.from.0 as f64);
            *holder = Some(Arc::clone(&held.who));
        }
    }

    /// Bytes that wait for the writer.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set_queue(queued_bytes: usize) {
        gauge!(QUEUE).set(queued_bytes as f64);
    }
}

/// An event of the daemon's own was refused by the journal, and dropped.
pub fn own_event_refused() {
    counter!(OWN_REFUSED).increment(1);
}
