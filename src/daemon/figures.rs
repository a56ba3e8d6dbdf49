//! Figures of a running daemon that a person looks at: not of single monitors, but of links and of the journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::journal::{CommitReport, Offset};
use crate::telemetry::LatencyHistogram;

/// An upstream as it stands.
#[derive(Debug, Clone)]
pub struct UpstreamFigures {
    /// Its name.
    pub name: String,
    /// Links it has.
    pub links: usize,
    /// Of these, open ones.
    pub open: usize,
    /// Connections opened in the place of lost ones.
    pub reconnects: u64,
    /// Unreadable frames that belong to no monitor, since the start.
    pub quarantined: u64,
}

impl UpstreamFigures {
    /// Adds another unit of the same upstream, whose own counts they share.
    pub(super) fn add(&mut self, unit: &Self) {
        self.links += unit.links;
        self.open += unit.open;
        self.reconnects += unit.reconnects;
    }
}

/// The journal as it stands.
#[derive(Debug, Clone, Copy)]
pub struct JournalFigures {
    /// Events below this are durable.
    pub durable: Offset,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// The time from socket to durable that half of the events stayed within; none before the first.
    pub latency_p50: Option<Duration>,
    /// The same for 95 of 100.
    pub latency_p95: Option<Duration>,
    /// The same for 99 of 100.
    pub latency_p99: Option<Duration>,
}

/// What the journal's writer has done, added up.
#[derive(Debug)]
pub(super) struct Commits {
    written_bytes: AtomicU64,
    latency: Arc<LatencyHistogram>,
    /// When this process was ready to take events.
    ready: OnceLock<UnixNanos>,
    /// When the first event that a link brought had become durable.
    first_durable: OnceLock<UnixNanos>,
}

impl Commits {
    /// Nothing yet; `latency` is what the metrics record.
    pub(super) fn new(latency: Arc<LatencyHistogram>) -> Self {
        Self { written_bytes: AtomicU64::new(0), latency, ready: OnceLock::new(), first_durable: OnceLock::new() }
    }

    /// The process is ready: what comes from now on is taken.
    pub(super) fn set_ready(&self) {
        self.ready.get_or_init(UnixNanos::now);
    }

    /// When it was, if it was.
    pub(super) fn ready(&self) -> Option<UnixNanos> {
        self.ready.get().copied()
    }

    /// When the first event of a link had become durable.
    pub(super) fn first_durable(&self) -> Option<UnixNanos> {
        self.first_durable.get().copied()
    }

    /// How many events took how long from socket to durable: the greatest microsecond of a step, and how many were within it.
    pub(super) fn latency_steps(&self) -> Vec<(u64, u64)> {
        self.latency.steps()
    }

    pub(super) fn add(&self, report: &CommitReport<'_>) {
        self.written_bytes.fetch_add(report.bytes, Ordering::Relaxed);
        if !report.received.is_empty() {
            self.first_durable.get_or_init(|| report.at);
        }
    }

    /// The time from socket to durable at these quantiles, in milliseconds.
    pub(super) fn latencies_ms<const N: usize>(&self, quantiles: [f64; N]) -> [Option<f64>; N] {
        quantiles.map(|quantile| self.latency.quantile(quantile).map(|latency| latency.as_secs_f64() * 1000.0))
    }

    pub(super) fn figures(&self, durable: Offset) -> JournalFigures {
        JournalFigures {
            durable,
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            latency_p50: self.latency.quantile(0.5),
            latency_p95: self.latency.quantile(0.95),
            latency_p99: self.latency.quantile(0.99),
        }
    }
}
