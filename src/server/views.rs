//! `/api/v1/statistics` and `/api/v1/latest`: what the views of the journal say.

use std::collections::BTreeMap;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::operations::{OperationRow, OperationState};
use super::problem::Problem;
use super::serve::Shown;
use crate::clock::UnixNanos;
use crate::enrich::LookUpRow;
use crate::sink::SinkRow;
use crate::value_cache::CacheFigures;
use crate::views::{Counted, CounterNow, LatestNow, LatestValue, MonitorStatistics, StatisticsNow, ViewError};

/// Last values of an answer that does not say how many.
const VALUES_DEFAULT: usize = 1000;

/// What the daemon knows of itself beside the views.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Running {
    /// Bytes that wait for the journal's writer.
    pub buffer: Buffer,
    /// From socket to durable, of this run.
    pub latency_ms: Latency,
}

/// A queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Buffer {
    /// Bytes in it.
    pub bytes: u64,
    /// The most it takes.
    pub capacity: u64,
    /// The share of it that is taken.
    pub utilization_percent: f64,
}

/// Times in milliseconds; none before the first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "quantiles say what they are")]
pub struct Latency {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatisticsQuery {
    /// By hour and day as well.
    #[serde(default)]
    history: bool,
    monitor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LatestQuery {
    monitor: Option<String>,
    key: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct StatisticsBody {
    events_total: u64,
    events_today: u64,
    counted_from: u64,
    counted_to: u64,
    monitors: Vec<MonitorBody>,
    counters: Vec<CounterNow>,
    enrichment: Vec<LookUpRow>,
    caches: BTreeMap<String, CacheFigures>,
    sinks: Vec<SinkRow>,
    operations: OperationCounts,
    #[serde(flatten)]
    running: Running,
}

/// Things that are done once, as far as they are remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct OperationCounts {
    running: usize,
    failed: usize,
    total: usize,
}

impl OperationCounts {
    /// Of these.
    pub(super) fn of(rows: &[OperationRow]) -> Self {
        let count = |state| rows.iter().filter(|row| row.state == state).count();
        Self { running: count(OperationState::Running), failed: count(OperationState::Failed), total: rows.len() }
    }
}

#[derive(Debug, Serialize)]
struct MonitorBody {
    monitor: String,
    domain: String,
    events: u64,
    events_today: u64,
    rate_1m: f64,
    parse_rate: Option<f64>,
    messages: u64,
    duplicates: u64,
    control: u64,
    quarantined: u64,
    last_event_time: Option<String>,
    last_received_time: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hours: Vec<BucketBody>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    days: Vec<BucketBody>,
}

#[derive(Debug, Serialize)]
struct BucketBody {
    start: String,
    #[serde(flatten)]
    counted: Counted,
}

impl BucketBody {
    fn all(buckets: Vec<(UnixNanos, Counted)>) -> Vec<Self> {
        buckets.into_iter().map(|(start, counted)| Self { start: start.to_string(), counted }).collect()
    }
}

impl From<MonitorStatistics> for MonitorBody {
    fn from(of: MonitorStatistics) -> Self {
        let counted = of.counted;
        let read = counted.events + counted.repeats;
        #[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
        let parse_rate = (read + counted.quarantined > 0).then(|| read as f64 / (read + counted.quarantined) as f64);
        Self {
            monitor: of.monitor,
            domain: of.domain,
            events: counted.events,
            events_today: of.today.events,
            rate_1m: of.rate,
            parse_rate,
            messages: counted.messages,
            duplicates: counted.repeats,
            control: counted.control,
            quarantined: counted.quarantined,
            last_event_time: of.last_event_time.map(|time| time.to_string()),
            last_received_time: of.last_received.map(|time| time.to_string()),
            hours: BucketBody::all(of.hours),
            days: BucketBody::all(of.days),
        }
    }
}

#[derive(Debug, Serialize)]
struct LatestBody {
    complete_from: u64,
    up_to: u64,
    held: usize,
    values: Vec<ValueBody>,
}

#[derive(Debug, Serialize)]
struct ValueBody {
    #[serde(flatten)]
    value: LatestValue,
    #[serde(flatten)]
    payload: Payload,
}

/// A JSON text as it came, any other text, or anything else; what was cut is never JSON.
#[derive(Debug, Serialize)]
enum Payload {
    #[serde(rename = "payload")]
    Json(Box<RawValue>),
    #[serde(rename = "payload")]
    Text(String),
    #[serde(rename = "payload_base64")]
    Bytes(String),
}

impl Payload {
    fn of(raw: Vec<u8>, cut: bool) -> Self {
        use base64::Engine as _;
        match String::from_utf8(raw) {
            Ok(text) if cut => Self::Text(text),
            Ok(text) => match serde_json::from_str::<Box<RawValue>>(&text) {
                Ok(json) => Self::Json(json),
                Err(_) => Self::Text(text),
            },
            Err(error) if cut && error.utf8_error().error_len().is_none() => {
                // The cut went through a character.
                let valid = error.utf8_error().valid_up_to();
                Self::Text(String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned())
            }
            Err(error) => Self::Bytes(base64::engine::general_purpose::STANDARD.encode(error.as_bytes())),
        }
    }
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/latest", get(latest))
        // As it was called first.
        .route("/api/v1/last-values", get(latest))
        .route("/api/v1/statistics", get(statistics))
}

async fn statistics(State(shown): State<Shown>, Query(query): Query<StatisticsQuery>) -> Response {
    answer(move || {
        let (StatisticsNow { from, to, monitors }, running) = shown.view.statistics(query.history)?;
        let mut counters = shown.view.counters();
        counters.retain(|of| query.monitor.as_ref().is_none_or(|monitor| of.monitor == *monitor));
        if !query.history {
            for counter in &mut counters {
                counter.hours.clear();
            }
        }
        let body = StatisticsBody {
            events_total: monitors.iter().map(|monitor| monitor.counted.events).sum(),
            events_today: monitors.iter().map(|monitor| monitor.today.events).sum(),
            counted_from: from,
            counted_to: to,
            monitors: monitors
                .into_iter()
                .filter(|of| query.monitor.as_ref().is_none_or(|monitor| of.monitor == *monitor))
                .map(MonitorBody::from)
                .collect(),
            counters,
            enrichment: shown.view.look_ups(),
            caches: shown.view.caches(),
            sinks: shown.view.sinks(),
            operations: OperationCounts::of(&shown.view.operations()),
            running,
        };
        Ok(Json(body).into_response())
    })
    .await
}

async fn latest(State(shown): State<Shown>, Query(query): Query<LatestQuery>) -> Response {
    answer(move || {
        let limit = query.limit.unwrap_or(VALUES_DEFAULT);
        let LatestNow { complete_from, up_to, values, held } =
            shown.view.latest(query.monitor.as_deref(), query.key.as_deref(), limit)?;
        let values = values.into_iter().map(|(value, payload)| {
            let payload = Payload::of(payload, value.cut);
            ValueBody { value, payload }
        });
        Ok(Json(LatestBody { complete_from, up_to, held, values: values.collect() }).into_response())
    })
    .await
}

/// Off the server's thread, since the folder may be asked.
async fn answer(work: impl FnOnce() -> Result<Response, ViewError> + Send + 'static) -> Response {
    let refused = |status: StatusCode, reason: String| Problem::new(status, reason).into_response();
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug of Sluice: {error}")),
    }
}
