//! OTLP over HTTP, in protobuf: metrics as they stand since the start, own events as logs.

use std::time::Duration;

use prost::Message;

use super::Standing;
use super::events::{OwnEvent, OwnEvents};
use super::messages::{
    AnyValue, Data, Gauge, Histogram, HistogramPoint, KeyValue, LogRecord, LogsRequest, Metric, MetricsRequest, Number,
    NumberPoint, Resource, ResourceLogs, ResourceMetrics, Scope, ScopeLogs, ScopeMetrics, Sum, Temporality,
};
use crate::clock::UnixNanos;
use crate::config::{Endpoint, OtlpSettings};
use crate::http_client::{HttpClient, HttpError, HttpSettings};
use crate::telemetry::metrics::Metric as Known;
use crate::telemetry::{ExportMetrics, Family, MetricsHandle, Series, Value};

/// The name of it in metrics and logs.
const NAME: &str = "otlp";

/// The most points of a request. Receivers take some MiB at least; a point is some 200 bytes.
const POINTS_MAX: usize = 5_000;

/// An answer to a push says little.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const SEVERITY_INFO: i32 = 9;
const SEVERITY_WARN: i32 = 13;

pub(super) struct Otlp {
    client: HttpClient,
    url: Endpoint,
    interval: Duration,
    metrics: MetricsHandle,
    events: Option<OwnEvents>,
    started: UnixNanos,
}

/// What became of a push.
enum Pushed {
    Taken,
    /// It would be refused again.
    Refused(String),
    Failed(String),
}

impl Otlp {
    pub(super) fn new(
        settings: &OtlpSettings,
        metrics: MetricsHandle,
        events: Option<OwnEvents>,
    ) -> Result<Self, HttpError> {
        let http = HttpSettings { ca_file: None, timeout: settings.timeout, body_bytes_max: ANSWER_BYTES_MAX };
        let client = HttpClient::new(&http)?;
        let (url, interval) = (settings.url.clone(), settings.interval);
        Ok(Self { client, url, interval, metrics, events, started: UnixNanos::now() })
    }

    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.interval);
        // A receiver that is slow is not asked for more than that.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut standing = Standing::default();
        loop {
            ticks.tick().await;
            let outcome = self.push().await;
            standing.note(NAME, &outcome);
        }
    }

    async fn push(&mut self) -> Result<(), String> {
        for request in requests(&self.metrics.snapshot(), self.started, UnixNanos::now()) {
            match self.post("v1/metrics", request.encode_to_vec()).await {
                Pushed::Taken => {}
                Pushed::Refused(reason) | Pushed::Failed(reason) => return Err(reason),
            }
        }
        let Some(mut events) = self.events.take() else { return Ok(()) };
        let outcome = self.push_events(&mut events).await;
        self.events = Some(events);
        outcome
    }

    /// What is refused for good is dropped, else it would be in the way of all that follows.
    async fn push_events(&self, events: &mut OwnEvents) -> Result<(), String> {
        loop {
            let next = events.next();
            if next.is_empty() {
                return Ok(());
            }
            let body = logs(next, UnixNanos::now()).encode_to_vec();
            match self.post("v1/logs", body).await {
                Pushed::Taken => ExportMetrics::events(NAME, true, events.confirm()),
                Pushed::Refused(reason) => {
                    ExportMetrics::events(NAME, false, events.confirm());
                    return Err(reason);
                }
                Pushed::Failed(reason) => return Err(reason),
            }
        }
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Pushed {
        let mut url = self.url.reveal().clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        let request = self.client.client().post(url).header("content-type", "application/x-protobuf").body(body);
        let request = match request.build() {
            Ok(request) => request,
            Err(error) => return Pushed::Failed(error.without_url().to_string()),
        };
        match self.client.send(request).await {
            Ok(answer) if answer.is_success() => Pushed::Taken,
            Ok(answer) => {
                let reason = format!("{} answered {}", self.url.address(), answer.status);
                // Those that the specification has repeated; a wait that is asked for is at most an interval late.
                if matches!(answer.status, 429 | 502 | 503 | 504) {
                    Pushed::Failed(reason)
                } else {
                    Pushed::Refused(reason)
                }
            }
            Err(error) => Pushed::Failed(error.to_string()),
        }
    }
}

fn nanos(at: UnixNanos) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

fn resource() -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Resource {
        attributes: vec![
            KeyValue::text("service.name", "sluice"),
            KeyValue::text("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::text("host.name", host.trim()),
            KeyValue::int("process.pid", u64::from(std::process::id())),
        ],
    }
}

fn scope() -> Scope {
    Scope { name: "sluice".into(), version: env!("CARGO_PKG_VERSION").into() }
}

/// All metrics, in requests of a bounded size.
fn requests(families: &[Family], started: UnixNanos, now: UnixNanos) -> Vec<MetricsRequest> {
    let mut batches: Vec<(usize, Vec<Metric>)> = Vec::new();
    for family in families {
        for series in family.series.chunks(POINTS_MAX) {
            let Some(metric) = metric(family, series, started, now) else { continue };
            match batches.last_mut().filter(|(points, _)| points + series.len() <= POINTS_MAX) {
                Some((points, metrics)) => {
                    *points += series.len();
                    metrics.push(metric);
                }
                None => batches.push((series.len(), vec![metric])),
            }
        }
    }
    let request = |metrics| MetricsRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource()),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics }],
        }],
    };
    batches.into_iter().map(|(_, metrics)| request(metrics)).collect()
}

/// Series of one metric; none where nothing of them is known now.
fn metric(family: &Family, series: &[Series], started: UnixNanos, now: UnixNanos) -> Option<Metric> {
    let (start_time_unix_nano, time_unix_nano) = (nanos(started), nanos(now));
    let attributes = |series: &Series| series.labels.iter().map(|(key, value)| KeyValue::text(key, value)).collect();
    let number = |series: &Series, value, start_time_unix_nano| NumberPoint {
        attributes: attributes(series),
        start_time_unix_nano,
        time_unix_nano,
        value: Some(value),
    };
    let (mut counts, mut gauges, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
    for series in series {
        match &series.value {
            Value::Counter(count) => {
                let count = Number::Int(i64::try_from(*count).unwrap_or(i64::MAX));
                counts.push(number(series, count, start_time_unix_nano));
            }
            // What is not known is left out; a number has no way to say it.
            Value::Gauge(value) if value.is_nan() => {}
            Value::Gauge(value) => gauges.push(number(series, Number::Double(*value), 0)),
            Value::Histogram { bounds, counts, sum } => histograms.push(HistogramPoint {
                attributes: attributes(series),
                start_time_unix_nano,
                time_unix_nano,
                count: counts.iter().sum(),
                sum: Some(*sum),
                bucket_counts: counts.clone(),
                explicit_bounds: bounds.to_vec(),
            }),
        }
    }
    let aggregation_temporality = Temporality::Cumulative.into();
    let data = if !counts.is_empty() {
        Data::Sum(Sum { data_points: counts, aggregation_temporality, is_monotonic: true })
    } else if !gauges.is_empty() {
        Data::Gauge(Gauge { data_points: gauges })
    } else if !histograms.is_empty() {
        Data::Histogram(Histogram { data_points: histograms, aggregation_temporality })
    } else {
        return None;
    };
    // As UCUM has it.
    let unit = match Known::unit_of(&family.name) {
        "seconds" => "s",
        "bytes" => "By",
        _ => "1",
    };
    Some(Metric { name: family.name.clone(), description: family.help.clone(), unit: unit.into(), data: Some(data) })
}

/// Events as log records.
fn logs(events: &[OwnEvent], now: UnixNanos) -> LogsRequest {
    let record = |event: &OwnEvent| LogRecord {
        time_unix_nano: nanos(event.at),
        observed_time_unix_nano: nanos(now),
        severity_number: if event.is_warning() { SEVERITY_WARN } else { SEVERITY_INFO },
        severity_text: if event.is_warning() { "WARN" } else { "INFO" }.into(),
        body: Some(AnyValue::text(&event.text)),
        attributes: vec![
            KeyValue::text("sluice.monitor", &event.monitor),
            KeyValue::text("sluice.topic", &event.topic),
            KeyValue::int("sluice.offset", event.offset),
        ],
        event_name: format!("sluice.{}", event.monitor),
    };
    LogsRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource()),
            scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records: events.iter().map(record).collect() }],
        }],
    }
}

#[cfg(test)]
mod tests;
