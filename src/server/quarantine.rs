//! `/api/v1/quarantine`: frames that could not be read; `retry`: they are parsed again by the rules in force.

use std::collections::VecDeque;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::serve::Shown;
use crate::clock::UnixNanos;
use crate::config::units::parse_moment;
use crate::journal::{EventFilter, JournalError, OWN_DOMAIN, QUARANTINE_MONITOR, RETRIES_MONITOR};
use crate::monitor::quarantine::Quarantined;
use crate::monitor::retry::RetryRecord;

/// Frames of an answer that does not say how many, and the most: each has its text.
const FRAMES_DEFAULT: usize = 100;
const FRAMES_MAX: usize = 1000;

/// Which frames are to be parsed again; all of them where nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRequest {
    /// Only these.
    pub offsets: Vec<u64>,
    /// Only this monitor's (`upstream:NAME` for frames that belong to none).
    pub monitor: Option<String>,
    /// Only those received at or after, RFC 3339.
    pub since: Option<String>,
    /// The most frames to parse, oldest first.
    pub limit: Option<usize>,
    /// Parse, and change nothing.
    pub dry_run: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOutcome {
    /// At least one new event came of it.
    Event,
    /// All of it was known already.
    Repeat,
    /// By today's rules it is no event.
    Control,
    /// It still cannot be read.
    Unreadable,
    /// Not all of it was kept.
    Cut,
    /// Its upstream, monitor or topic is not in the settings any more.
    Orphaned,
    /// It was parsed again before.
    AlreadyRetried,
    /// There is no such frame.
    Missing,
}

impl RetryOutcome {
    /// As programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Repeat => "repeat",
            Self::Control => "control",
            Self::Unreadable => "unreadable",
            Self::Cut => "cut",
            Self::Orphaned => "orphaned",
            Self::AlreadyRetried => "already_retried",
            Self::Missing => "missing",
        }
    }

    /// Whether the frame has been read by now.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Event | Self::Repeat | Self::Control | Self::AlreadyRetried)
    }
}

/// What became of one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRow {
    /// The quarantined frame.
    pub offset: u64,
    /// Whose it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// What became of it.
    pub outcome: RetryOutcome,
    /// Events that came of it.
    pub events: u32,
    /// The first of these events, once it is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_event: Option<u64>,
    /// Repeats in it.
    pub repeats: u32,
    /// Parts of it that are still unreadable.
    pub quarantined: u32,
    /// Why nothing came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryReport {
    /// A row for each frame, in order.
    pub frames: Vec<RetryRow>,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Whether what came of them is durable. If not, it is on its way.
    pub durable: bool,
    /// Whether frames are left because of the limit.
    pub more: bool,
}

/// Why nothing, or not everything, was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefusal {
    /// The request makes no sense.
    #[error("{0}")]
    Unusable(String),
    /// Another one is under way.
    #[error("frames are being parsed again already; wait for that to end")]
    Busy,
    /// Events cannot be taken now, or the journal cannot be read.
    #[error("{0}")]
    Unavailable(String),
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/quarantine", get(frames)).route("/api/v1/quarantine/retry", post(retry))
}

/// Which frames are to be listed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FramesQuery {
    /// Only this monitor's (`upstream:NAME` for frames that belong to none).
    monitor: Option<String>,
    /// Only those received at or after: `5m` (ago), or RFC 3339.
    since: Option<String>,
    /// The most, the newest; 100 where it is not said, at most 1,000.
    limit: Option<usize>,
}

/// A frame in quarantine.
#[derive(Debug, Serialize)]
struct FrameRow {
    offset: u64,
    received_time: String,
    /// Whether it was parsed again.
    retried: bool,
    #[serde(flatten)]
    frame: Quarantined,
}

async fn frames(State(shown): State<Shown>, Query(query): Query<FramesQuery>) -> Response {
    let since = match query.since.as_deref().map(parse_moment).transpose() {
        Ok(since) => since,
        Err(reason) => return Problem::parameter("since", reason).into_response(),
    };
    let limit = query.limit.unwrap_or(FRAMES_DEFAULT).clamp(1, FRAMES_MAX);
    match tokio::task::spawn_blocking(move || newest(&shown, query.monitor, since, limit)).await {
        Ok(Ok(rows)) => Json(rows).into_response(),
        Ok(Err(error)) => {
            let detail = format!("the journal cannot be read: {error}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
        Err(error) => Problem::bug(error).into_response(),
    }
}

fn newest(
    shown: &Shown,
    monitor: Option<String>,
    since: Option<UnixNanos>,
    limit: usize,
) -> Result<VecDeque<FrameRow>, JournalError> {
    let mut reader = shown.view.reader();
    let monitors = [QUARANTINE_MONITOR.to_owned(), RETRIES_MONITOR.to_owned()];
    let (domains, keys) = ([OWN_DOMAIN.to_owned()], monitor.map_or_else(Vec::new, |monitor| vec![monitor]));
    let wanted = EventFilter { monitors: &monitors, domains: &domains, keys: &keys, since, ..EventFilter::default() };
    wanted.seek(&mut reader)?;
    let filter = wanted.block_filter();
    let mut rows = VecDeque::<FrameRow>::new();
    while let Some(block) = reader.next_block(&filter)? {
        for event in block.events().filter(|event| wanted.takes(event)) {
            if event.monitor == RETRIES_MONITOR {
                let record: Option<RetryRecord> = serde_json::from_slice(event.payload).ok();
                let row = record.and_then(|record| rows.binary_search_by_key(&record.retried, |row| row.offset).ok());
                if let Some(row) = row.and_then(|at| rows.get_mut(at)) {
                    row.retried = true;
                }
            } else if let Ok(mut frame) = serde_json::from_slice::<Quarantined>(event.payload) {
                // Always somebody's, for programs.
                frame.monitor.get_or_insert_with(|| format!("upstream:{}", frame.upstream));
                if rows.len() == limit {
                    rows.pop_front();
                }
                let received_time = event.received.to_string();
                rows.push_back(FrameRow { offset: event.offset.0, received_time, retried: false, frame });
            }
        }
    }
    Ok(rows)
}

async fn retry(State(shown): State<Shown>, Json(request): Json<RetryRequest>) -> Response {
    // Not ended with the request: what was taken into the dedupe window has to reach the journal.
    let work = tokio::task::spawn_blocking(move || shown.view.retry_quarantined(&request));
    let refused = |status: StatusCode, reason: String| Problem::new(status, reason).into_response();
    match work.await {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(refusal)) => {
            let status = match refusal {
                RetryRefusal::Unusable(_) => StatusCode::BAD_REQUEST,
                RetryRefusal::Busy => StatusCode::CONFLICT,
                RetryRefusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            refused(status, refusal.to_string())
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug of Sluice: {error}")),
    }
}
