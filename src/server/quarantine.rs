//! `POST /api/v1/quarantine/retry`: quarantined frames are parsed again by the rules in force.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::serve::Shown;

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
    Router::new().route("/api/v1/quarantine/retry", post(retry))
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
