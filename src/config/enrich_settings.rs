//! `[monitors.NAME.enrich.LOOKUP]`: what is looked up for a monitor's events, and added beside their payload.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hole_template::HoleTemplate;
use super::units;

/// A look-up: over HTTP (`url`), or in a file (`file`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrichSettings {
    /// An `http` or `https` address with holes: `{key}`, `{id}`, `{topic}`, or a pointer into the payload, `{/mint}`. The answer is JSON;
    /// 404 and 410 mean that there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<HoleTemplate>,
    /// Beside `url`: a PEM file of certificates trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A `.csv` file with a line of names, or a `.json` file: an array of objects, or an object of objects. It is read again when
    /// it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Beside `file`: what is looked for; absent: `{key}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<HoleTemplate>,
    /// Beside `file`: the column, or the pointer in each object, that has the key. Absent: the first column, or the names in an
    /// object of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_field: Option<String>,
    /// What is taken: names, and the pointers into the answer or object, or the columns.
    pub fields: BTreeMap<String, String>,
    /// How long an answer is good; absent: `cache.ttl`. Multiplied by `cache.ttl_multiplier`, as is `negative_ttl`.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How long it is believed that there is nothing.
    #[serde(default = "EnrichSettings::default_negative_ttl", with = "units::duration")]
    pub negative_ttl: Duration,
    /// The longest an answer may take.
    #[serde(default = "EnrichSettings::default_timeout", with = "units::duration")]
    pub timeout: Duration,
    /// The most requests a second.
    #[serde(default = "EnrichSettings::default_rate")]
    pub rate: u32,
    /// The most requests at once.
    #[serde(default = "EnrichSettings::default_concurrency")]
    pub concurrency: u32,
    /// The longest a sink waits for answers about the events that it is to write; 0: it does not.
    #[serde(default = "EnrichSettings::default_wait", with = "units::duration")]
    pub wait: Duration,
}

impl EnrichSettings {
    fn default_negative_ttl() -> Duration {
        Duration::from_secs(30)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(2)
    }

    fn default_rate() -> u32 {
        20
    }

    fn default_concurrency() -> u32 {
        4
    }

    fn default_wait() -> Duration {
        Duration::from_millis(250)
    }
}
