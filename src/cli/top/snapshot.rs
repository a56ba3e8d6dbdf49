//! What the daemon answers, a round of questions at a time. What it has no answer to is left out and shown as unknown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::alert::{Alert, AlertStatus};
use crate::circuits::CircuitRow;
use crate::server::{CanaryStatus, MonitorRow, PoolRow};
use crate::sink::SinkRow;

/// How the daemon is; words of a newer one are shown as they are.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct HealthNow {
    pub(super) status: String,
    pub(super) uptime: u64,
    pub(super) journal: String,
    pub(super) memory: MemoryNow,
    #[serde(default)]
    pub(super) reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct MemoryNow {
    pub(super) used: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct StatisticsNow {
    #[serde(default)]
    pub(super) latency_ms: LatencyNow,
    #[serde(default)]
    pub(super) buffer: BufferNow,
    #[serde(default)]
    monitors: Vec<RateNow>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct LatencyNow {
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct BufferNow {
    pub(super) utilization_percent: f64,
}

#[derive(Debug, Clone, Deserialize)]
struct RateNow {
    monitor: String,
    domain: String,
    rate_1m: f64,
    last_received_time: Option<String>,
}

/// All answers of a round.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) health: HealthNow,
    pub(super) monitors: Vec<MonitorRow>,
    pub(super) pools: Vec<PoolRow>,
    pub(super) sinks: Vec<SinkRow>,
    pub(super) circuits: Vec<CircuitRow>,
    pub(super) canary: Option<CanaryStatus>,
    /// None: the daemon has no such list.
    pub(super) alerts: Option<Vec<Alert>>,
    pub(super) statistics: Option<StatisticsNow>,
    /// Events a second of the last minute, by monitor, and when the last one was received.
    pub(super) rates: BTreeMap<String, (f64, Option<String>)>,
}

/// Why there is no snapshot: in words.
pub type Away = String;

/// A list, or an object with the list under a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Alerts {
    List(Vec<Alert>),
    Under { alerts: Vec<Alert> },
}

impl Snapshot {
    /// Asks for each resource by `ask`, which gives an answer's body.
    ///
    /// # Errors
    /// When the daemon cannot be asked, or gives no account of its health and its monitors.
    pub fn read(mut ask: impl FnMut(&str) -> Result<Vec<u8>, Away>) -> Result<Self, Away> {
        let health = of("/v1/health/ready", &ask("/v1/health/ready")?)?;
        let monitors = of("/api/v1/monitors", &ask("/api/v1/monitors")?)?;
        let mut others = |path: &str| ask(path).ok();
        let statistics: Option<StatisticsNow> = others("/api/v1/statistics").and_then(|body| part(&body));
        let rates = statistics.iter().flat_map(|statistics| &statistics.monitors);
        let rates = rates.filter(|row| !row.domain.starts_with('_'));
        let rates = rates.map(|row| (row.monitor.clone(), (row.rate_1m, row.last_received_time.clone()))).collect();
        let alerts: Option<Alerts> = others("/api/v1/monitoring/alerts").and_then(|body| part(&body));
        let alerts = alerts.map(|alerts| match alerts {
            Alerts::List(alerts) | Alerts::Under { alerts } => alerts,
        });
        Ok(Self {
            health,
            monitors,
            pools: others("/api/v1/pool").and_then(|body| part(&body)).unwrap_or_default(),
            sinks: others("/api/v1/sinks").and_then(|body| part(&body)).unwrap_or_default(),
            circuits: others("/api/v1/circuits").and_then(|body| part(&body)).unwrap_or_default(),
            canary: others("/api/v1/canary").and_then(|body| part(&body)),
            alerts: alerts.map(|mut alerts| {
                alerts.retain(|alert| alert.status != AlertStatus::Resolved);
                alerts
            }),
            statistics,
            rates,
        })
    }

    /// Events since the start, each monitor once, however many upstreams bring it.
    pub(super) fn events(&self) -> u64 {
        let of_each: BTreeMap<&str, u64> = self.monitors.iter().map(|row| (row.name.as_str(), row.events)).collect();
        of_each.values().sum()
    }

    /// Events a second of the last minute.
    pub(super) fn rate_of_minute(&self) -> Option<f64> {
        self.statistics.as_ref().map(|_| self.rates.values().map(|(rate, _)| rate).sum())
    }
}

fn of<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, Away> {
    serde_json::from_slice(body)
        .map_err(|error| format!("the daemon's answer to {path} is in no form we know: {error}"))
}

fn part<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}
