//! What is looked after while the daemon runs: what the writer tells, and what is done once a second.

use super::super::alerts::Alerts;
use super::super::attend::Attendant;
use super::super::canary::Canary;
use super::super::figures::Commits;
use super::super::gap_log::GapLog;
use super::super::history::History;
use super::super::journal_events::announce;
use super::super::status_line::StatusLine;
use super::super::take_over::Measuring;
use super::super::view::DaemonView;
use super::TEND_INTERVAL;
use crate::crash_point::crash_point;
use crate::journal::Notice;
use crate::pulse::Pulse;
use crate::server::ServerError;
use crate::telemetry::JournalMetrics;
use crate::telemetry::MetricsHandle;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Measures what the journal's writer does, and logs what an operator should know of it.
pub(super) fn observe(notice: &Notice<'_>, metrics: &JournalMetrics, commits: &Commits) {
    match notice {
        Notice::Committed(report) => {
            metrics.committed(report);
            commits.add(report);
        }
        Notice::Full { free, needed } => {
            metrics.set_writable(false);
            tracing::error!(free, needed, "the disk is full: nothing is taken until there is room again");
        }
        Notice::Room => {
            metrics.set_writable(true);
            tracing::info!("there is room on the disk again");
        }
        Notice::Sealed { segment, bytes } => tracing::debug!(segment = %segment.display(), bytes, "segment sealed"),
        Notice::Retired { from, to, bytes } => {
            metrics.deleted("retention", *bytes);
            tracing::info!(%from, %to, "retention deleted a segment");
        }
        Notice::Retention(status) => {
            metrics.retention(status);
            commits.retention_ran(false);
        }
        Notice::Dropping(span) => announce(span),
        Notice::Dropped { from, to, bytes } => {
            metrics.deleted("drop_oldest", *bytes);
            tracing::warn!(%from, %to, "the disk is full: events were deleted unread, as journal.when_full says");
        }
        Notice::RetentionFailed(error) => {
            commits.retention_ran(true);
            tracing::warn!("retention: {error}");
        }
        Notice::Failed(error) => {
            metrics.set_writable(false);
            tracing::error!("{error}");
        }
    }
}

/// Series of what is no more are looked for at every so many looks; it goes through all series.
const SWEEP_EVERY: u32 = 5;

/// What is looked after once a second.
pub(super) struct Attending {
    pub(super) history: Arc<History>,
    pub(super) gap_log: Arc<GapLog>,
    pub(super) attendant: Attendant,
    /// Given when another process goes on: nothing is decided here any more.
    pub(super) over: CancellationToken,
    pub(super) measuring: Option<Measuring>,
    pub(super) canary: Arc<Canary>,
    pub(super) alerts: Arc<Alerts>,
    /// Answered between two turns.
    pub(super) pulse: Arc<Pulse>,
}

/// Keeps gauges true, the history and the gap ledger going, and what runs in step with pressure and watched files.
pub(super) async fn tend(
    view: Arc<DaemonView>,
    mut attending: Attending,
    metrics: MetricsHandle,
) -> Result<(), ServerError> {
    let mut status = StatusLine::default();
    let mut ticks = tokio::time::interval(TEND_INTERVAL);
    let mut looks = 0u32;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = attending.pulse.asked() => {
                attending.pulse.answer();
                continue;
            }
        }
        crash_point!("stage.tend");
        view.tend();
        if looks.is_multiple_of(SWEEP_EVERY) {
            metrics.keep(&view.living());
        }
        looks = looks.wrapping_add(1);
        if attending.over.is_cancelled() {
            continue;
        }
        attending.history.tend(Instant::now());
        attending.gap_log.tend();
        attending.attendant.look(view.pressure());
        attending.canary.look(Instant::now());
        attending.alerts.look();
        status.tell(&view, Instant::now());
        if let Some(measuring) = &attending.measuring {
            measuring.tend(Instant::now());
        }
    }
}
