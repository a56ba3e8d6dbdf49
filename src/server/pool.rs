//! `/api/v1/pool`: the links of every upstream, and where its topics are.

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::serve::Shown;
use crate::breaker::BreakerState;
use crate::config::Rate;
use crate::journal::Path;

/// The pool of an upstream as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolRow {
    /// Whose.
    pub upstream: String,
    /// `smart`: a pool. `legacy`: the links of one monitor.
    #[serde(default)]
    pub path: Path,
    /// The monitor that has them for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// `closed`, `open`, `half_open`; none where nothing stands before its connects.
    pub circuit: Option<BreakerState>,
    /// `polling` while a monitor of it is fetched over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Links that there are to be.
    pub links_wanted: usize,
    /// Links that are open.
    pub links_open: usize,
    /// Links that there may be.
    pub links_max: usize,
    /// Topics that have a place on a link, whether it is open or not.
    pub topics_placed: usize,
    /// Topics for which no link has room.
    pub topics_left_out: usize,
    /// Messages a second lately, over all links.
    pub messages_per_second: f64,
    /// What the upstream allows.
    pub limits: PoolLimits,
    /// Every link that is open, is to be, or was.
    pub links: Vec<LinkRow>,
    /// Every topic that is wanted; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<TopicRow>>,
}

/// Limits that are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolLimits {
    /// Topics on one link.
    pub topics_per_link: u32,
    /// Attempts to connect.
    pub connects: Option<Rate>,
    /// What is sent over a link.
    pub messages: Option<Rate>,
    /// Requests over a link that subscribe or end a subscription.
    pub subscriptions: Option<Rate>,
}

/// A link as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Its number in the pool, from 0.
    pub link: usize,
    /// `idle`, `connecting`, `open`, `held`, `waiting`.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// Topics placed on it.
    pub topics: usize,
    /// Messages since the start, over all its connections.
    pub messages: u64,
    /// Messages a second lately.
    pub messages_per_second: f64,
    /// Time between the last ping and its answer.
    pub latency_ms: Option<f64>,
    /// How long the connection has been open.
    pub age_seconds: Option<f64>,
    /// Connections made since the start.
    pub connects: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A topic as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicRow {
    /// In the upstream's own words.
    pub topic: String,
    /// The link that it is on.
    pub link: Option<usize>,
    /// `waiting`, `asked`, `live`, `unconfirmed`, `refused`, `left_out`.
    pub state: String,
    /// Messages since the start.
    pub messages: u64,
    /// Messages a second lately.
    pub messages_per_second: f64,
    /// When the last one came, to the second, RFC 3339.
    pub last_seen: Option<String>,
    /// Why it was refused.
    pub error: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PoolQuery {
    upstream: Option<String>,
    #[serde(default)]
    topics: bool,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/pool", get(pool))
}

async fn pool(State(shown): State<Shown>, Query(query): Query<PoolQuery>) -> Response {
    let rows = shown.view.pool(query.upstream.as_deref(), query.topics);
    match query.upstream {
        Some(name) if rows.is_empty() => {
            let error = format!("no monitor watches an upstream `{name}`; `sluice pool` lists those that are watched");
            Problem::new(StatusCode::NOT_FOUND, error).into_response()
        }
        _ => Json(rows).into_response(),
    }
}
