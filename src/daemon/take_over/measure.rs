//! What a take-over cost, measured: how long nothing was taken of each upstream, put into the log and on record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Predecessor;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::daemon::own_events::event_block;
use crate::journal::{Journal, MonitorIdentity};
use crate::monitor::ledger::GapLedger;
use crate::upstream::Prepared;

/// The topic of take-overs in the journal, under the domain `_sluice`.
const TAKE_OVER_TOPIC: &str = "take_over";

/// How long topics that were not in force when the old process let go are waited for. Source: a guess; what takes longer is in the gaps.
const PATIENCE: Duration = Duration::from_mins(1);

/// What it was, as the journal holds it.
#[derive(Debug, Serialize)]
struct TakeOverRecord {
    /// The process before, and which version of the program it was.
    from_pid: u32,
    from_version: String,
    version: &'static str,
    /// Whether it handed over; else it died meanwhile.
    handed_over: bool,
    /// Until when it had read everything, RFC 3339; absent where it died.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_until: Option<String>,
    /// From then until everything was started here, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_after_seconds: Option<f64>,
    upstreams: BTreeMap<String, UpstreamRecord>,
}

/// What it was for an upstream.
#[derive(Debug, Serialize)]
struct UpstreamRecord {
    /// The longest that nothing was taken of a topic, in seconds; 0 where all were in force here before the old process let go.
    gap_seconds: f64,
    /// Topics that are not in force again yet.
    #[serde(skip_serializing_if = "is_zero")]
    open: usize,
    /// Links that were opened beside the old process's.
    links_beside: usize,
    /// Frames that were buffered, what was journaled of them, and what the old process had brought already.
    buffered_frames: u64,
    buffered_events: u64,
    repeats_dropped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A take-over that has just been.
pub(in crate::daemon) struct Measuring {
    pub(in crate::daemon) predecessor: Predecessor,
    pub(in crate::daemon) read_until: Option<UnixNanos>,
    pub(in crate::daemon) prepared: Arc<Prepared>,
    pub(in crate::daemon) upstreams: Vec<String>,
    pub(in crate::daemon) ledger: Arc<GapLedger>,
    pub(in crate::daemon) journal: Arc<Journal>,
    pub(in crate::daemon) clock: Arc<ReceivedClock>,
    pub(in crate::daemon) identity: Arc<MonitorIdentity>,
    pub(in crate::daemon) started: (Instant, UnixNanos),
    pub(in crate::daemon) told: Mutex<bool>,
}

impl Measuring {
    /// Tells it once it is known. Called once a second.
    pub(in crate::daemon) fn tend(&self, now: Instant) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = self.ledger.hand_over_spans();
        let known = self.prepared.left() == 0 && spans.values().all(|span| span.open == 0);
        if *told || !(known || now >= self.started.0 + PATIENCE) {
            return;
        }
        let of = |upstream: &String| {
            let (span, taken) = (spans.get(&**upstream).copied().unwrap_or_default(), self.prepared.taken(upstream));
            UpstreamRecord {
                gap_seconds: span.longest.as_secs_f64(),
                open: span.open,
                links_beside: taken.links,
                buffered_frames: taken.frames,
                buffered_events: taken.events,
                repeats_dropped: taken.repeats,
            }
        };
        let upstreams: BTreeMap<String, UpstreamRecord> =
            self.upstreams.iter().map(|upstream| (upstream.clone(), of(upstream))).collect();
        let Predecessor { pid, program, handed_over } = self.predecessor.clone();
        let record = TakeOverRecord {
            from_pid: pid,
            from_version: program,
            version: env!("CARGO_PKG_VERSION"),
            handed_over,
            read_until: self.read_until.map(|at| at.to_string()),
            started_after_seconds: self.read_until.map(|at| self.started.1.since(at).as_secs_f64()),
            upstreams,
        };
        let block = event_block(&self.identity, TAKE_OVER_TOPIC, &record, self.clock.stamp());
        if self.journal.try_submit_own(block).is_err() {
            // Its queue is full: again in a second.
            return;
        }
        *told = true;
        // There may be fewer topics by now, and so fewer links.
        self.prepared.close();
        for (upstream, measured) in &record.upstreams {
            tracing::info!(
                upstream,
                gap_seconds = measured.gap_seconds,
                open = measured.open,
                links_beside = measured.links_beside,
                buffered_frames = measured.buffered_frames,
                buffered_events = measured.buffered_events,
                repeats_dropped = measured.repeats_dropped,
                "taken over from process {pid}"
            );
        }
    }
}
