//! `[export.otlp]` and `[export.statsd]`: where metrics and the daemon's own events are sent to.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::endpoint::{self, Endpoint};
use super::units;

/// `[export]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSettings {
    /// OpenTelemetry.
    pub otlp: OtlpSettings,
    /// StatsD.
    pub statsd: StatsdSettings,
}

/// `[export.otlp]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSettings {
    /// Whether anything is sent.
    pub enabled: bool,
    /// `http://` or `https://` address of a receiver of OTLP over HTTP; `/v1/metrics` and `/v1/logs` are put behind it. A user and
    /// password in it are sent as such.
    #[serde(deserialize_with = "over_http")]
    pub url: Endpoint,
    /// Time between two pushes.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// The longest a push may take.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Whether the daemon's own events are sent too, as logs.
    pub events: bool,
}

/// `[export.statsd]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsdSettings {
    /// Whether anything is sent.
    pub enabled: bool,
    /// `HOST:PORT`, or `unix:/PATH` of a datagram socket.
    pub address: String,
    /// `dogstatsd`: labels are tags. `statsd`: their values are parts of the name.
    pub format: StatsdFormat,
    /// Time between two rounds.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// Whether the daemon's own events are sent too; only `dogstatsd` has such.
    pub events: bool,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatsdFormat {
    /// With tags and events.
    Dogstatsd,
    /// As StatsD had it first.
    Statsd,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        // The port that OTLP has over HTTP.
        let url = Url::parse("http://127.0.0.1:4318").expect("it is an address");
        Self {
            enabled: false,
            url: url.into(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            events: true,
        }
    }
}

impl Default for StatsdSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            address: "127.0.0.1:8125".into(),
            format: StatsdFormat::Dogstatsd,
            interval: Duration::from_secs(10),
            events: true,
        }
    }
}

fn over_http<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
    endpoint::over_http(deserializer)
}
